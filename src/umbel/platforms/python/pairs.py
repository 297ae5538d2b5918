"""Operators that bring together elements with equal keys, as Python compares them.

The tables of keys stay in memory up to the run's budget. Beyond it, what they hold is divided
by the keys' hash among files, and each file's part is worked on by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any

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
    function_error,
    raise_for_key,
    raise_for_pair,
)
from umbel.platforms.python.functional import bind
from umbel.platforms.python.loops import Calling, Ending, Loop, calling
from umbel.platforms.python.memory import size_of_piece
from umbel.platforms.python.run import LARGEST_PIECE, Piece, Run
from umbel.platforms.python.spill import DEEPEST, FANOUT, Collection, Partitions
from umbel.platforms.python.stream import Stream

Table = dict[Any, Any]
#: Adds what a piece holds to a table.
Add = Callable[[Piece], None]
#: Makes the function that adds to a table.
AddTo = Callable[[Table], Add]

first_of = itemgetter(0)
#: A join makes the pairs of a whole piece at once if no key has more values than this.
_FEW = 16
#: The size of a table is estimated when it has doubled, and after so many pieces.
_PIECES_BETWEEN_ESTIMATES = 16


def build_reduce_by_key(operator: ReduceByKey, run: Run, inputs: list[Stream]) -> Stream:
    """(key, reduced value) for every key."""
    function = operator.function
    call = bind(operator, function, inputs[1:])

    def add_to(table: Table, calls: Sequence[Calling]) -> Add:
        def explain(error: Exception, pair: Any, _: Any) -> None:
            raise_for_pair(operator, error, pair)
            key, value = pair
            given = (table[key], value) if key in table else pair
            raise function_error(operator, function, error, given) from error

        loop = Loop(calls, Ending.REDUCE_PAIRS, combine=call, explain=explain)
        return lambda piece: loop((piece,), table)

    pieces, calls = inputs[0].elements().parted(operator)
    return _combined(operator, run, pieces, partial(add_to, calls=calls), partial(add_to, calls=()))


def build_reduce_by(operator: ReduceBy, run: Run, inputs: list[Stream]) -> Stream:
    """One element for every key, its elements combined."""
    function = operator.function
    call = bind(operator, function, inputs[1:])
    key_call = Calling(operator, operator.key, bind(operator, operator.key, inputs[1:]))

    def add_to(table: Table, calls: Sequence[Calling]) -> Add:
        def explain(error: Exception, key: Any, element: Any) -> None:
            raise_for_key(operator, key)
            given = (table[key], element) if key in table else element
            raise function_error(operator, function, error, given) from error

        loop = Loop((*calls, key_call), Ending.REDUCE_KEYED, combine=call, explain=explain)
        return lambda piece: loop((piece,), table)

    def merge_into(table: Table) -> Add:
        add = add_to(table, ())
        return lambda piece: add([value for _, value in piece])

    pieces, calls = inputs[0].elements().parted(operator)
    return _combined(
        operator, run, pieces, partial(add_to, calls=calls), merge_into, values_only=True
    )


def build_group_by_key(operator: GroupByKey, run: Run, inputs: list[Stream]) -> Stream:
    """(key, list of its values) for every key."""
    pieces, calls = inputs[0].elements().parted(operator)

    def add_to(table: Table) -> Add:
        return _grouping(operator, calls, table)

    return _combined(operator, run, pieces, add_to, _extending, lists=True)


def build_group_by(operator: GroupBy, run: Run, inputs: list[Stream]) -> Stream:
    """(key, list of its elements) for every key."""
    pieces, calls = inputs[0].elements().parted(operator)
    key_call = Calling(operator, operator.key, bind(operator, operator.key, inputs[1:]))

    def explain(error: Exception, key: Any, element: Any) -> None:
        raise_for_key(operator, key)

    def add_to(table: Table) -> Add:
        loop = Loop((*calls, key_call), Ending.GROUP_KEYED, explain=explain)
        return lambda piece: loop((piece,), table)

    return _combined(operator, run, pieces, add_to, _extending, lists=True)


def _grouping(operator: Operator, calls: Sequence[Calling], table: Table) -> Add:
    def explain(error: Exception, pair: Any, _: Any) -> None:
        raise_for_pair(operator, error, pair)

    loop = Loop(calls, Ending.GROUP_PAIRS, explain=explain)
    return lambda piece: loop((piece,), table)


def _extending(table: Table) -> Add:
    def add(piece: Piece) -> None:
        for key, values in piece:
            table[key].extend(values)

    return add


def _combined(
    operator: Operator,
    run: Run,
    source: Iterable[Piece],
    combine: AddTo,
    merge: AddTo,
    *,
    lists: bool = False,
    values_only: bool = False,
) -> Stream:
    """Fill a table and yield what it holds.

    Args:
        operator: whose work this is.
        run: the stage's run.
        source: what it is done on.
        combine: for adding pieces of the source to a table.
        merge: for adding (key, content) pairs of another table to a table.
        lists: the table's contents are lists, made when first looked up.
        values_only: yield the contents without their keys.
    """

    def table_of(pieces: Iterable[Piece], add_to: AddTo, depth: int) -> Iterator[Piece]:
        table: Table = defaultdict(list) if lists else {}
        add = add_to(table)
        spilled: Partitions | None = None
        gauge = _Gauge(run, lists=lists)
        for piece in pieces:
            add(piece)
            if depth < DEEPEST and gauge.exceeded(table, len(piece)):
                if spilled is None:
                    spilled = Partitions(run, depth)
                _unload(run, table, spilled)
                gauge = _Gauge(run, lists=lists)
        if spilled is None:
            yield list(table.values()) if values_only else list(table.items())
            return
        _unload(run, table, spilled)
        for part in spilled.drain():
            yield from table_of(run.pieces(part), merge, depth + 1)

    return Stream.of(run, operator, table_of(source, combine, 0), as_rows=False, whole=True)


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
        sample = list(islice(table.items(), 0, None, step))
        estimate = size_of_piece(sample) * len(table) // max(1, len(sample)) + 50 * len(table)
        if estimate * 2 > self._budget:
            self._next = size + max(1, size // 8)
        return estimate > self._budget


def build_join_by_key(operator: JoinByKey, run: Run, inputs: list[Stream]) -> Stream:
    """(key, (left value, right value)) for every two pairs with equal keys."""

    def explain(error: Exception, pair: Any, _: Any) -> None:
        raise_for_pair(operator, error, pair)

    def joined(
        left: Iterable[Piece], right: Iterable[Piece], calls: Sequence[Calling] = ()
    ) -> Iterator[Piece]:
        table = _lists(operator, right)
        most = max(map(len, table.values()), default=0)
        loop = Loop(calls, Ending.JOIN_PAIRS, explain=explain)
        for piece in left:
            # A piece that may give too many pairs goes in parts.
            stride = max(1, _FEW * LARGEST_PIECE // max(_FEW, most))
            for start in range(0, len(piece), stride):
                part = piece if len(piece) <= stride else piece[start : start + stride]
                yield loop((part,), table.get)

    left, calls = inputs[0].elements().parted(operator)
    right = inputs[1].elements()
    made = _by_parts(operator, run, left, right, joined, calls)
    return Stream.of(run, operator, made, as_rows=False, whole=True)


def build_co_group(operator: CoGroup, run: Run, inputs: list[Stream]) -> Stream:
    """(key, (left values, right values)) for every key of either input."""

    def grouped(left: Iterable[Piece], right: Iterable[Piece]) -> Iterator[Piece]:
        lefts, rights = _lists(operator, left), _lists(operator, right)
        made = [(key, (values, rights.pop(key, []))) for key, values in lefts.items()]
        made += [(key, ([], values)) for key, values in rights.items()]
        yield made

    left, right = (stream.elements() for stream in inputs)
    made = _by_parts(operator, run, left, right, grouped, keep_left=True)
    return Stream.of(run, operator, made, as_rows=False, whole=True)


def _lists(operator: Operator, pieces: Iterable[Piece]) -> dict[Any, list[Any]]:
    table: defaultdict[Any, list[Any]] = defaultdict(list)
    add = _grouping(operator, (), table)
    for piece in pieces:
        add(piece)
    return table


def _by_parts(
    operator: PairOperator,
    run: Run,
    left: Iterable[Piece],
    right: Iterable[Piece],
    work: Callable[..., Iterator[Piece]],
    calls: Sequence[Calling] = (),
    *,
    keep_left: bool = False,
) -> Iterator[Piece]:
    """Do the work at once if the inputs to be kept fit into memory, otherwise part by part.

    `calls` are still to be done for the left input, by the work itself where it can.
    """
    more = (calls,) if calls else ()
    kept = Collection(run, run.budget // 2).fill(right)
    other: Collection | None = None
    if keep_left:
        other = Collection(run, run.budget // 2).fill(left)
    if not kept.spilled and (other is None or not other.spilled):
        yield from work(left if other is None else run.pieces(other), run.pieces(kept), *more)
        return
    whole: Iterable[Piece] = left if other is None else run.pieces(other)
    if calls:
        whole = map(calling(calls), whole)
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
