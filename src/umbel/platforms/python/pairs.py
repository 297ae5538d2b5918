"""Operators that bring together elements with equal keys, as Python compares them.

The tables of keys stay in memory up to the run's budget. Beyond it, what they hold is divided
by the keys' hash among files, and each file's part is worked on by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import (
    CoGroup,
    GroupBy,
    GroupByKey,
    JoinByKey,
    Operator,
    PairOperator,
    ReduceBy,
    ReduceByKey,
)
from umbel.platforms.python.failures import (
    current,
    function_error,
    raise_for_key,
    raise_for_pair,
    stopped,
    unfinished,
)
from umbel.platforms.python.functional import bind
from umbel.platforms.python.loops import mapping, own_copy
from umbel.platforms.python.memory import size_of_piece
from umbel.platforms.python.run import LARGEST_PIECE, Piece, Run
from umbel.platforms.python.spill import DEEPEST, FANOUT, Collection, Partitions
from umbel.platforms.python.stream import Stream

Table = dict[Any, Any]
#: Adds the pairs of a piece to a table.
Combine = Callable[[Table, Piece], None]

first_of = itemgetter(0)
#: The size of a table is estimated when it has doubled, and after so many pieces.
_PIECES_BETWEEN_ESTIMATES = 64


def build_reduce_by_key(operator: ReduceByKey, run: Run, inputs: list[Stream]) -> Stream:
    """(key, reduced value) for every key."""
    function = operator.function
    call = bind(operator, function, inputs[1:])

    def combine(table: Table, piece: Piece) -> None:
        iterator = iter(piece)
        try:
            for key, value in iterator:
                if key in table:
                    table[key] = call(table[key], value)
                else:
                    table[key] = value
        except Exception as error:
            pair = current(iterator, piece)
            raise_for_pair(operator, error, pair)
            key, value = pair
            given = (table[key], value) if key in table else pair
            raise function_error(operator, function, error, given) from error

    combine = own_copy(combine)
    return _combined(operator, run, inputs[0].elements(), combine, combine)


def build_reduce_by(operator: ReduceBy, run: Run, inputs: list[Stream]) -> Stream:
    """One element for every key, its elements combined."""
    function, key_function = operator.function, operator.key
    call = bind(operator, function, inputs[1:])
    key_loop = mapping(bind(operator, key_function, inputs[1:]))

    def combine(table: Table, piece: Piece) -> None:
        keys = _keys(operator, key_function, key_loop, piece)
        iterator = iter(piece)
        try:
            for key, value in zip(keys, iterator, strict=True):
                if key in table:
                    table[key] = call(table[key], value)
                else:
                    table[key] = value
        except Exception as error:
            value = current(iterator, piece)
            key = keys[len(piece) - len(list(iterator)) - 1]
            raise_for_key(operator, key)
            given = (table[key], value) if key in table else value
            raise function_error(operator, function, error, given) from error

    combine = own_copy(combine)

    def merge(table: Table, piece: Piece) -> None:
        combine(table, [value for _, value in piece])

    return _combined(operator, run, inputs[0].elements(), combine, merge, values_only=True)


def build_group_by_key(operator: GroupByKey, run: Run, inputs: list[Stream]) -> Stream:
    """(key, list of its values) for every key."""

    def combine(table: Table, piece: Piece) -> None:
        iterator = iter(piece)
        try:
            for key, value in iterator:
                table[key].append(value)
        except Exception as error:
            raise_for_pair(operator, error, current(iterator, piece))
            raise

    return _combined(operator, run, inputs[0].elements(), combine, _extend, lists=True)


def build_group_by(operator: GroupBy, run: Run, inputs: list[Stream]) -> Stream:
    """(key, list of its elements) for every key."""
    function = operator.key
    key_loop = mapping(bind(operator, function, inputs[1:]))

    def combine(table: Table, piece: Piece) -> None:
        keys = _keys(operator, function, key_loop, piece)
        iterator = iter(keys)
        try:
            for key, value in zip(iterator, piece, strict=True):
                table[key].append(value)
        except Exception:
            raise_for_key(operator, current(iterator, keys))
            raise

    return _combined(operator, run, inputs[0].elements(), combine, _extend, lists=True)


def _extend(table: Table, piece: Piece) -> None:
    for key, values in piece:
        table[key].extend(values)


def _keys(
    operator: Operator,
    function: PythonFunction,
    loop: Callable[[Iterator[Any]], Piece],
    piece: Piece,
) -> Piece:
    iterator = iter(piece)
    try:
        keys = loop(iterator)
    except Exception as error:
        raise function_error(operator, function, error, current(iterator, piece)) from error
    if unfinished(iterator):
        raise stopped(operator, function, piece[len(keys)])
    return keys


def _combined(
    operator: Operator,
    run: Run,
    source: Iterable[Piece],
    combine: Combine,
    merge: Combine,
    *,
    lists: bool = False,
    values_only: bool = False,
) -> Stream:
    """Fill a table and yield what it holds.

    Args:
        operator: whose work this is.
        run: the stage's run.
        source: what it is done on.
        combine: adds pieces of the source to a table.
        merge: adds (key, content) pairs of another table to a table.
        lists: the table's contents are lists, made when first looked up.
        values_only: yield the contents without their keys.
    """

    def table_of(pieces: Iterable[Piece], add: Combine, depth: int) -> Iterator[Piece]:
        table: Table = defaultdict(list) if lists else {}
        spilled: Partitions | None = None
        gauge = _Gauge(run, lists=lists)
        for piece in pieces:
            add(table, piece)
            if depth < DEEPEST and gauge.exceeded(table, len(piece)):
                if spilled is None:
                    spilled = Partitions(run, depth)
                _unload(run, table, spilled)
                gauge = _Gauge(run, lists=lists)
        if spilled is None:
            yield from run.cut(list(table.values()) if values_only else list(table.items()))
            return
        _unload(run, table, spilled)
        for part in spilled.drain():
            yield from table_of(run.pieces(part), merge, depth + 1)

    return Stream.of(run, operator, table_of(source, combine, 0), as_rows=False)


def _unload(run: Run, table: Table, partitions: Partitions) -> None:
    for piece in run.cut(list(table.items())):
        partitions.add(piece, first_of)
    table.clear()


class _Gauge:
    """Watches how large a table grows, with an estimate now and then."""

    def __init__(self, run: Run, *, lists: bool) -> None:
        self._budget = run.budget
        self._lists = lists
        self._pieces = 0
        self._next = 64
        self._added = 0

    def exceeded(self, table: Table, added: int) -> bool:
        """Whether the table takes more than the budget."""
        self._pieces += 1
        self._added += added
        size = self._added if self._lists else len(table)
        if size < self._next and self._pieces < _PIECES_BETWEEN_ESTIMATES:
            return False
        self._pieces = 0
        self._next = 2 * max(size, 32)
        # A few entries from all over the table stand for the others.
        step = max(1, len(table) // 32)
        sample = [item for index, item in enumerate(table.items()) if index % step == 0]
        estimate = size_of_piece(sample) * len(table) // max(1, len(sample)) + 50 * len(table)
        if estimate * 2 > self._budget:
            self._next = size + max(1, size // 8)
        return estimate > self._budget


def build_join_by_key(operator: JoinByKey, run: Run, inputs: list[Stream]) -> Stream:
    """(key, (left value, right value)) for every two pairs with equal keys."""

    def joined(left: Iterable[Piece], right: Iterable[Piece]) -> Iterator[Piece]:
        table = _lists(operator, right)
        for piece in left:
            iterator = iter(piece)
            made: Piece = []
            try:
                for key, value in iterator:
                    if key in table:
                        made.extend([(key, (value, other)) for other in table[key]])
                        if len(made) >= LARGEST_PIECE:
                            yield from run.cut(made)
                            made = []
            except Exception as error:
                raise_for_pair(operator, error, current(iterator, piece))
                raise
            yield from run.cut(made)

    return Stream.of(run, operator, _by_parts(operator, run, inputs, joined), as_rows=False)


def build_co_group(operator: CoGroup, run: Run, inputs: list[Stream]) -> Stream:
    """(key, (left values, right values)) for every key of either input."""

    def grouped(left: Iterable[Piece], right: Iterable[Piece]) -> Iterator[Piece]:
        lefts, rights = _lists(operator, left), _lists(operator, right)
        made = [(key, (values, rights.pop(key, []))) for key, values in lefts.items()]
        made += [(key, ([], values)) for key, values in rights.items()]
        yield from run.cut(made)

    return Stream.of(
        run, operator, _by_parts(operator, run, inputs, grouped, keep_left=True), as_rows=False
    )


def _lists(operator: Operator, pieces: Iterable[Piece]) -> dict[Any, list[Any]]:
    table: defaultdict[Any, list[Any]] = defaultdict(list)
    for piece in pieces:
        iterator = iter(piece)
        try:
            for key, value in iterator:
                table[key].append(value)
        except Exception as error:
            raise_for_pair(operator, error, current(iterator, piece))
            raise
    return table


def _by_parts(
    operator: PairOperator,
    run: Run,
    inputs: list[Stream],
    work: Callable[[Iterable[Piece], Iterable[Piece]], Iterator[Piece]],
    *,
    keep_left: bool = False,
) -> Iterator[Piece]:
    """Do the work at once if the inputs to be kept fit into memory, otherwise part by part."""
    left, right = (stream.elements() for stream in inputs)
    kept = Collection(run, run.budget // 2).fill(right)
    other: Collection | None = None
    if keep_left:
        other = Collection(run, run.budget // 2).fill(left)
    if not kept.spilled and (other is None or not other.spilled):
        yield from work(left if other is None else run.pieces(other), run.pieces(kept))
        return
    whole: Iterable[Piece] = left if other is None else run.pieces(other)
    size = kept.size + (other.size if other is not None else 0)
    count = min(256, max(FANOUT, 2 * size // run.budget))
    sides = (Partitions(run, count=count), Partitions(run, count=count))
    for partitions, pieces in ((sides[0], whole), (sides[1], run.pieces(kept))):
        for piece in pieces:
            _add(operator, partitions, piece)
    kept.remove()
    for left_part, right_part in zip(sides[0].parts, sides[1].parts, strict=True):
        yield from work(run.pieces(left_part), run.pieces(right_part))
        left_part.remove()
        right_part.remove()


def _add(operator: Operator, partitions: Partitions, piece: Piece) -> None:
    try:
        partitions.add(piece, first_of)
    except Exception as error:
        for element in piece:
            raise_for_pair(operator, error, element)
        raise


__all__ = [
    "build_co_group",
    "build_group_by",
    "build_group_by_key",
    "build_join_by_key",
    "build_reduce_by",
    "build_reduce_by_key",
]
