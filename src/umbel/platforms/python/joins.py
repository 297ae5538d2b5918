"""Joins of relations: the right input is kept, the left one streams past it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from umbel.plan.operators import Join
from umbel.plan.safety import cannot_fail
from umbel.plan.types import common_type
from umbel.platforms.python.expressions import Evaluate, cast_evaluated, compile_expression
from umbel.platforms.python.failures import evaluation_error
from umbel.platforms.python.keys import normalizer
from umbel.platforms.python.run import LARGEST_PIECE, Piece, Run
from umbel.platforms.python.spill import FANOUT, Collection, Partitions
from umbel.platforms.python.stream import Stream

Row = tuple[Any, ...]


def build_join(operator: Join, run: Run, inputs: list[Stream]) -> Stream:
    """The pairs of rows that match, and for outer joins the rows without a partner."""
    if operator.on:
        pieces = _by_key(operator, run, inputs)
    elif operator.how == "cross":
        pieces = _cross(run, inputs)
    else:
        pieces = _nested_loop(operator, run, inputs)
    return Stream.of(run, operator, pieces, as_rows=True)


def _cross(run: Run, inputs: list[Stream]) -> Iterator[Piece]:
    right = Collection(run).fill(inputs[1].rows())
    for piece in inputs[0].rows():
        for batch in right.batches():
            for left in piece:
                for part in run.cut(batch):
                    yield [left + other for other in part]
    right.remove()


def _condition(operator: Join) -> Callable[[Row], bool] | None:
    """Give the residual condition over a pair of rows, with its errors placed."""
    if operator.residual is None:
        return None
    evaluate = compile_expression(operator.residual, operator.pair_schema)

    def holds(row: Row) -> bool:
        try:
            return evaluate(row) is True
        except Exception as error:
            raise evaluation_error(operator, error, row) from error

    return holds


def join_keys(operator: Join) -> tuple[Evaluate, Evaluate]:
    """Give the functions from a left and a right row to its key; None where a part is null."""
    left, right = operator.left.schema, operator.right.schema
    sides: tuple[list[Evaluate], list[Evaluate]] = ([], [])
    for names in operator.on:
        types = [s.field(n).type for s, n in zip((left, right), names, strict=True)]
        target = common_type(*types)
        normalize = normalizer(target)
        for parts, schema, name, dtype in zip(sides, (left, right), names, types, strict=True):
            part = cast_evaluated(_column(schema.get_field_index(name)), dtype, target)
            parts.append(part if normalize is None else _compose(normalize, part))
    return _key(sides[0]), _key(sides[1])


def _column(index: int) -> Evaluate:
    return lambda row: row[index]


def _compose(outer: Evaluate, inner: Evaluate) -> Evaluate:
    return lambda row: outer(inner(row))


def _key(parts: Sequence[Evaluate]) -> Evaluate:
    if len(parts) == 1:
        return parts[0]

    def key(row: Row) -> Any:
        values = tuple([part(row) for part in parts])
        return None if None in values else values

    return key


def _by_key(operator: Join, run: Run, inputs: list[Stream]) -> Iterator[Piece]:
    left, right = (stream.rows() for stream in inputs)
    keys = join_keys(operator)
    kept = Collection(run).fill(right)
    if not kept.spilled:
        yield from _hash_join(operator, run, keys, left, run.pieces(kept))
        return
    count = min(256, max(FANOUT, 2 * kept.size // run.budget))
    sides = (Partitions(run, count=count), Partitions(run, count=count))
    sources: tuple[Iterable[Piece], ...] = (left, run.pieces(kept))
    for partitions, source, key in zip(sides, sources, keys, strict=True):
        for piece in source:
            partitions.add(piece, key)
    kept.remove()
    for left_part, right_part in zip(sides[0].parts, sides[1].parts, strict=True):
        yield from _hash_join(operator, run, keys, run.pieces(left_part), run.pieces(right_part))
        left_part.remove()
        right_part.remove()


def _hash_join(
    operator: Join,
    run: Run,
    keys: tuple[Evaluate, Evaluate],
    left: Iterable[Piece],
    right: Iterable[Piece],
) -> Iterator[Piece]:
    left_key, right_key = keys
    # Each right row with its number, so that outer joins can tell which ones met a partner.
    table: dict[Any, list[tuple[int, Row]]] = {}
    loners: Piece = []  # right rows with a null key
    count = 0
    for piece in right:
        for row in piece:
            key = right_key(row)
            if key is None:
                loners.append(row)
                continue
            table.setdefault(key, []).append((count, row))
            count += 1
    meet = _Meeting(operator, count)
    nobody: list[tuple[int, Row]] = []
    for piece in left:
        for row in piece:
            key = left_key(row)
            meet.row(row, nobody if key is None else table.get(key, nobody))
            if len(meet.made) >= LARGEST_PIECE:
                yield from run.cut(meet.take())
    if meet.keeps_right:
        meet.made.extend([meet.no_left + row for row in loners])
        for rows in table.values():
            meet.unmatched(rows)
            if len(meet.made) >= LARGEST_PIECE:
                yield from run.cut(meet.take())
    yield from run.cut(meet.take())


def _nested_loop(operator: Join, run: Run, inputs: list[Stream]) -> Iterator[Piece]:
    """A join on a condition only: every left row is held against every right row."""
    kept = Collection(run).fill(inputs[1].rows())
    meet = _Meeting(operator, len(kept))
    for piece in inputs[0].rows():
        found = [False] * len(piece)
        start = 0
        for batch in kept.batches():
            numbered = list(enumerate(batch, start))
            start += len(batch)
            for index, row in enumerate(piece):
                if found[index] and meet.one_is_enough:
                    continue
                found[index] |= meet.candidates(row, numbered)
                if len(meet.made) >= LARGEST_PIECE:
                    yield from run.cut(meet.take())
        for row, matched in zip(piece, found, strict=True):
            meet.finish(row, matched=matched)
        yield from run.cut(meet.take())
    if meet.keeps_right:
        start = 0
        for batch in kept.batches():
            meet.unmatched(list(enumerate(batch, start)))
            start += len(batch)
            yield from run.cut(meet.take())
    kept.remove()


class _Meeting:
    """What a join makes of a left row and the right rows that may be its partners."""

    def __init__(self, operator: Join, right_rows: int) -> None:
        how = operator.how
        self.made: Piece = []
        self.keeps_right = how in ("right", "full")
        self.one_is_enough = how in ("semi", "anti")
        self.no_left: Row = (None,) * len(operator.left.schema)
        self._no_right: Row = (None,) * len(operator.right.schema)
        self._keeps_left = how in ("left", "full")
        self._wanted = {"semi": True, "anti": False}.get(how)
        self._holds = _condition(operator)
        # A condition that may fail is tried on all pairs, so that it fails wherever it may.
        self._whole = operator.residual is not None and not cannot_fail(
            operator.residual, operator.pair_schema
        )
        self._matched = bytearray(right_rows if self.keeps_right else 0)

    def take(self) -> Piece:
        """Give the rows made since the last time."""
        made, self.made = self.made, []
        return made

    def row(self, row: Row, others: list[tuple[int, Row]]) -> None:
        """Join a left row to all of its candidates at once."""
        self.finish(row, matched=bool(others) and self.candidates(row, others))

    def candidates(self, row: Row, others: list[tuple[int, Row]]) -> bool:
        """Join a left row to some candidates; say whether one of them was a partner."""
        holds = self._holds
        if self.one_is_enough:
            if self._whole and holds is not None:
                return True in [holds(row + other) for _, other in others]
            return holds is None or any(holds(row + other) for _, other in others)
        partners = others
        if holds is not None:
            partners = [item for item in others if holds(row + item[1])]
        if self.keeps_right:
            for number, _ in partners:
                self._matched[number] = 1
        self.made.extend([row + other for _, other in partners])
        return bool(partners)

    def finish(self, row: Row, *, matched: bool) -> None:
        """Do what is left to do for a left row when all candidates were seen."""
        if self._wanted is not None:
            if matched is self._wanted:
                self.made.append(row)
        elif not matched and self._keeps_left:
            self.made.append(row + self._no_right)

    def unmatched(self, others: list[tuple[int, Row]]) -> None:
        """Give those right rows that met no partner."""
        self.made.extend([self.no_left + row for n, row in others if not self._matched[n]])
