"""Operators on sets of rows: unions, distinct rows, intersections and differences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import pyarrow as pa

from umbel.plan.operators import Distinct, Element, Except, Intersect, Operator, Union
from umbel.platforms.python.expressions import Evaluate, cast_evaluated
from umbel.platforms.python.failures import current, unhashable
from umbel.platforms.python.keys import Normalize, row_key
from umbel.platforms.python.loops import Calling, Ending, Loop, calling
from umbel.platforms.python.memory import size_of_piece
from umbel.platforms.python.relational import evaluating
from umbel.platforms.python.run import Piece, Run
from umbel.platforms.python.spill import DEEPEST, FANOUT, Collection, Partitions
from umbel.platforms.python.stream import Stream


def unified(stream: Stream, target: pa.Schema, operator: Operator) -> Stream:
    """Convert rows to the types of a set operation's output, where they differ."""
    source = stream.schema
    rows = stream.rows()
    if source.types == target.types:
        return rows
    casts = [
        cast_evaluated(_item(index), have.type, want.type)
        for index, (have, want) in enumerate(zip(source, target, strict=True))
    ]

    def make(row: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([cast(row) for cast in casts])

    step = evaluating(operator, make)
    return Stream(stream.run, map(step, rows), target, operator.element, as_rows=True)


def _item(index: int) -> Evaluate:
    return lambda row: row[index]


def build_union(operator: Union, run: Run, inputs: list[Stream]) -> Stream:
    """The rows of all inputs, one input after the other."""
    members = [unified(stream, operator.schema, operator) for stream in inputs]
    together: Iterable[Piece] = chain.from_iterable(members)
    if operator.distinct:
        together = distinct_pieces(operator, run, together, row_key(operator.schema.types))
    return Stream.of(run, operator, together, as_rows=True)


def build_distinct(operator: Distinct, run: Run, inputs: list[Stream]) -> Stream:
    """Each distinct row once, as soon as it is met."""
    key = row_key(operator.schema.types)
    source = inputs[0]
    # An object is its own key; it need not be made a row first.
    if source.as_rows or key is not None or operator.element is not Element.OBJECT:
        pieces = distinct_pieces(operator, run, source.rows(), key)
        return Stream.of(run, operator, pieces, as_rows=True)
    arriving, calls = source.parted(operator)
    pieces = _distinct_elements(operator, run, arriving, calls)
    return Stream.of(run, operator, pieces, as_rows=False)


def _distinct_elements(
    operator: Operator, run: Run, pieces: Iterable[Piece], calls: Sequence[Calling]
) -> Iterator[Piece]:
    """Yield each distinct element that the calls give, in one loop with them while memory lasts."""

    def explain(error: Exception, element: Any, _: Any) -> None:
        raise _unhashable_row(operator, error, (element,)) from error

    loop = Loop(calls, Ending.DISTINCT, explain=explain)
    seen: dict[Any, None] = {}
    held = 0
    arriving = iter(pieces)
    for piece in arriving:
        fresh: Piece = []
        loop((piece,), seen, fresh)
        yield fresh
        held += size_of_piece(fresh)
        if held > run.budget:
            rest = map(calling(calls), arriving) if calls else arriving
            yield from distinct_pieces(operator, run, rest, None, as_rows=False, seen=seen)


def distinct_pieces(
    operator: Operator,
    run: Run,
    pieces: Iterable[Piece],
    key: Normalize | None,
    depth: int = 0,
    *,
    as_rows: bool = True,
    seen: dict[Any, None] | None = None,
) -> Iterator[Piece]:
    """Yield the first row (or element, which is its own key) of every key.

    When the keys met take too much memory, they stay as they are, and rows of other keys are
    divided among files, to be worked on after; at once if keys `seen` before take all of it.
    """
    later: Partitions | None = None if seen is None else Partitions(run, depth)
    seen = {} if seen is None else seen
    held, key_of = 0, key or _itself
    for piece in pieces:
        keys = piece if key is None else list(map(key, piece))
        iterator = iter(keys)
        try:
            if key is None:
                fresh = [row for row in iterator if row not in seen]
                if later is None:
                    unique: dict[Any, None] = dict.fromkeys(fresh)
                    seen.update(unique)
                    fresh = list(unique)
            else:
                fresh = []
                for found, row in zip(iterator, piece, strict=True):
                    if found not in seen:
                        if later is None:
                            seen[found] = None
                        fresh.append(row)
        except TypeError as error:
            row = current(iterator, keys)
            raise _unhashable_row(operator, error, row if as_rows else (row,)) from error
        if later is not None:
            later.add(fresh, key_of)
            continue
        held += size_of_piece(fresh)
        if held > run.budget and depth < DEEPEST:
            later = Partitions(run, depth)
        yield fresh
    if later is not None:
        seen.clear()
        for part in later.drain():
            parts = run.pieces(part)
            yield from distinct_pieces(operator, run, parts, key, depth + 1, as_rows=as_rows)


def _itself(value: Any) -> Any:
    return value


def _unhashable_row(operator: Operator, error: Exception, row: Any) -> Exception:
    for value in row:
        try:
            hash(value)
        except TypeError:
            return unhashable(operator, value, "value")
    return error


def build_intersect(operator: Intersect, run: Run, inputs: list[Stream]) -> Stream:
    """The distinct rows in both inputs."""
    return _compared(operator, run, inputs, wanted=True)


def build_except(operator: Except, run: Run, inputs: list[Stream]) -> Stream:
    """The distinct rows of the left input that are not in the right one."""
    return _compared(operator, run, inputs, wanted=False)


def _compared(
    operator: Intersect | Except, run: Run, inputs: list[Stream], *, wanted: bool
) -> Stream:
    key = row_key(operator.schema.types)
    key_of = key or _itself

    def compare(left: Iterable[Piece], right: Iterable[Piece], depth: int) -> Iterator[Piece]:
        there: set[Any] = set()
        for piece in right:
            _update(operator, there, piece if key is None else list(map(key, piece)))

        def chosen() -> Iterator[Piece]:
            for piece in left:
                try:
                    yield [row for row in piece if (key_of(row) in there) is wanted]
                except TypeError as error:
                    _update(operator, set(), piece if key is None else list(map(key, piece)))
                    raise error

        yield from distinct_pieces(operator, run, chosen(), key, depth)

    def pieces() -> Iterator[Piece]:
        left, right = (unified(stream, operator.schema, operator) for stream in inputs)
        # The right input is kept, each distinct row once.
        kept = Collection(run).fill(distinct_pieces(operator, run, right, key))
        if not kept.spilled:
            yield from compare(left, run.pieces(kept), 0)
            return
        count = min(256, max(FANOUT, 2 * kept.size // run.budget))
        sides = (Partitions(run, count=count), Partitions(run, count=count))
        sources: tuple[Iterable[Piece], ...] = (left, run.pieces(kept))
        for partitions, source in zip(sides, sources, strict=True):
            for piece in source:
                _update(operator, set(), piece if key is None else list(map(key, piece)))
                partitions.add(piece, key_of)
        for left_part, right_part in zip(sides[0].parts, sides[1].parts, strict=True):
            yield from compare(run.pieces(left_part), run.pieces(right_part), 1)
            left_part.remove()
            right_part.remove()

    return Stream.of(run, operator, pieces(), as_rows=True)


def _update(operator: Operator, found: set[Any], keys: Piece) -> None:
    iterator = iter(keys)
    try:
        found.update(iterator)
    except TypeError as error:
        raise _unhashable_row(operator, error, current(iterator, keys)) from error
