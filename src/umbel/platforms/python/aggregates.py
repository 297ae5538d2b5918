"""Grouping with the catalogue's accumulators.

Groups stay in memory up to the run's budget; rows of groups met later than that are divided
among files by their key, and each file's groups are made by themselves. Aggregates that hold on
to values (distinct, ordered, median, lists) divide all rows first, since their groups grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import Any

import pyarrow as pa

from umbel.plan.expressions import AggregateCall
from umbel.plan.functions import CATALOGUE, Accumulator
from umbel.plan.operators import Aggregate, Operator
from umbel.plan.types import is_float
from umbel.plan.typing import infer_type
from umbel.platforms.python.expressions import Evaluate, compile_expression
from umbel.platforms.python.failures import current, evaluation_error
from umbel.platforms.python.keys import Normalize, keys_of, order_of, row_key
from umbel.platforms.python.memory import size_of_piece
from umbel.platforms.python.run import Piece, Run
from umbel.platforms.python.spill import DEEPEST, FANOUT, Collection, Partitions
from umbel.platforms.python.stream import Stream

#: One accumulator per aggregate, and the group's key as it was first met.
Group = list[Any]


class _DistinctState:
    """Passes each distinct tuple of arguments on once."""

    __slots__ = ("_inner", "_key", "_seen")

    def __init__(self, inner: Accumulator, key: Normalize | None) -> None:
        self._inner = inner
        self._key = key
        self._seen: set[Any] = set()

    def add(self, *arguments: Any) -> None:
        key = arguments if self._key is None else self._key(arguments)
        if key not in self._seen:
            self._seen.add(key)
            self._inner.add(*arguments)

    def result(self) -> Any:
        return self._inner.result()


class _OrderedState:
    """Keeps all arguments, to pass them on in order at the end."""

    __slots__ = ("_inner", "_rows")

    def __init__(self, inner: Accumulator) -> None:
        self._inner = inner
        self._rows: list[tuple[Any, tuple[Any, ...]]] = []

    def add(self, order: Any, *arguments: Any) -> None:
        self._rows.append((order, arguments))

    def result(self) -> Any:
        self._rows.sort(key=lambda row: row[0])
        for _, arguments in self._rows:
            self._inner.add(*arguments)
        self._rows = []
        return self._inner.result()


class Fed:
    """One aggregate call, compiled: makes states and feeds rows to them."""

    def __init__(self, operator: Operator, call: AggregateCall, schema: pa.Schema) -> None:
        self._operator = operator
        row = CATALOGUE[call.function]
        self._reference = row.reference
        self._dtype = infer_type(call, schema)
        types = [infer_type(node, schema) for node in call.arguments]
        self._distinct = call.distinct
        self._key = row_key(types)
        self._ordered = bool(call.order_by)
        arguments = [compile_expression(node, schema) for node in call.arguments]
        if call.order_by:
            arguments.insert(0, order_of(call.order_by, schema))
        self._arguments = arguments
        self._where = None if call.where is None else compile_expression(call.where, schema)

    @property
    def holds_values(self) -> bool:
        """Whether a state holds on to what it is given, beyond a fixed size."""
        return self._distinct or self._ordered or _grows(self._reference(self._dtype))

    def state(self) -> Accumulator:
        """Start a group."""
        state: Accumulator = self._reference(self._dtype)
        if self._distinct:
            state = _DistinctState(state, self._key)
        return _OrderedState(state) if self._ordered else state

    def feed(self, groups: Sequence[Group], index: int, piece: Piece) -> None:
        """Give each row to state `index` of its group."""
        rows = iter(piece)
        try:
            if self._where is not None:
                mask = [value is True for value in map(self._where, rows)]
                groups = list(compress(groups, mask))
                piece = list(compress(piece, mask))
                rows = iter(piece)
            match self._arguments:
                case []:
                    for group in groups:
                        group[index].add()
                case [only]:
                    for group, value in zip(groups, map(only, rows), strict=True):
                        group[index].add(value)
                case arguments:
                    for group, row in zip(groups, rows, strict=True):
                        group[index].add(*[argument(row) for argument in arguments])
        except Exception as error:
            raise evaluation_error(self._operator, error, current(rows, piece)) from error


def _grows(state: Accumulator) -> bool:
    """Whether an accumulator has a container among its parts, empty as it still is."""
    names = [n for c in type(state).__mro__ for n in getattr(c, "__slots__", ())]
    parts = [getattr(state, name, None) for name in names]
    parts += list(getattr(state, "__dict__", {}).values())
    return any(isinstance(part, list | dict | set | bytearray) for part in parts)


def _positive_zero(key: Evaluate) -> Evaluate:
    """Give 0.0 for -0.0, which it equals, so that a group of both shows one for sure."""

    def evaluate(row: Any) -> Any:
        value = key(row)
        return 0.0 if value == 0.0 else value

    return evaluate


def build_aggregate(operator: Aggregate, run: Run, inputs: list[Stream]) -> Stream:
    """One row per group."""
    below = operator.input.schema
    keys = [compile_expression(key, below) for _, key in operator.keys]
    types = [infer_type(key, below) for _, key in operator.keys]
    calls = [Fed(operator, call, below) for _, call in operator.aggregates]
    key_of = keys_of(keys, types) if keys else None
    shown = [_positive_zero(k) if is_float(t) else k for k, t in zip(keys, types, strict=True)]
    grouping = _Grouping(operator, run, shown, key_of, calls)
    return Stream.of(run, operator, grouping.pieces(inputs[0].rows()), as_rows=True)


class _Grouping:
    """The work of an `Aggregate`."""

    def __init__(
        self,
        operator: Aggregate,
        run: Run,
        keys: Sequence[Evaluate],
        key_of: Evaluate | None,
        calls: Sequence[Fed],
    ) -> None:
        self._operator = operator
        self._run = run
        self._keys = keys
        self._key_of = key_of
        self._calls = calls

    def pieces(self, rows: Iterable[Piece]) -> Iterator[Piece]:
        """Yield one row per group."""
        if self._key_of is None:
            yield self._one_group(rows)
        elif any(call.holds_values for call in self._calls):
            yield from self._divided(rows, self._key_of)
        else:
            yield from self._grouped(rows, self._key_of, 0)

    def _one_group(self, rows: Iterable[Piece]) -> Piece:
        group: Group = [call.state() for call in self._calls]
        for piece in rows:
            groups = [group] * len(piece)
            for index, call in enumerate(self._calls):
                call.feed(groups, index, piece)
        return self._results([[*group, ()]])

    def _divided(self, rows: Iterable[Piece], key_of: Evaluate) -> Iterator[Piece]:
        run = self._run
        kept = Collection(run).fill(rows)
        if not kept.spilled:
            yield from self._grouped(run.pieces(kept), key_of, DEEPEST)
            return
        parts = Partitions(run, count=min(256, max(FANOUT, 4 * kept.size // run.budget)))
        for piece in run.pieces(kept):
            self._divide(parts, piece, key_of)
        kept.remove()
        for part in parts.drain():
            yield from self._grouped(run.pieces(part), key_of, DEEPEST)

    def _grouped(self, rows: Iterable[Piece], key_of: Evaluate, depth: int) -> Iterator[Piece]:
        run, calls, operator = self._run, self._calls, self._operator
        table: dict[Any, Group] = {}
        later: Partitions | None = None
        watch = _Watch(run)
        for piece in rows:
            iterator = iter(piece)
            found: list[Group] = []
            mine: Piece = []
            others: Piece = []
            try:
                for row, key in zip(piece, map(key_of, iterator), strict=True):
                    group = table.get(key)
                    if group is None:
                        if later is not None:
                            others.append(row)
                            continue
                        group = [call.state() for call in calls]
                        group.append(tuple([part(row) for part in self._keys]))
                        table[key] = group
                    found.append(group)
                    mine.append(row)
            except Exception as error:
                raise evaluation_error(operator, error, current(iterator, piece)) from error
            for index, call in enumerate(calls):
                call.feed(found, index, mine)
            if later is not None:
                later.add(others, key_of)
            elif depth < DEEPEST and watch.exceeded(table):
                later = Partitions(run, depth)
        groups = list(table.values())
        table.clear()
        for cut in run.cut(groups):
            yield self._results(cut)
        groups.clear()
        if later is not None:
            for part in later.drain():
                yield from self._grouped(run.pieces(part), key_of, depth + 1)

    def _divide(self, parts: Partitions, piece: Piece, key_of: Evaluate) -> None:
        try:
            parts.add(piece, key_of)
        except Exception as error:
            for row in piece:
                _retry(self._operator, key_of, row)
            raise evaluation_error(self._operator, error, piece[0]) from error

    def _results(self, groups: Sequence[Group]) -> Piece:
        made: Piece = []
        for group in groups:
            key = group[-1]
            try:
                made.append((*key, *[state.result() for state in group[:-1]]))
            except Exception as error:
                raise evaluation_error(self._operator, error, key) from error
        return made


def _retry(operator: Operator, evaluate: Callable[[Any], Any], row: Any) -> None:
    try:
        evaluate(row)
    except Exception as error:
        raise evaluation_error(operator, error, row) from error


class _Watch:
    """Estimates the size of a table of groups whenever it has doubled."""

    def __init__(self, run: Run) -> None:
        self._budget = run.budget
        self._next = 64

    def exceeded(self, table: dict[Any, Group]) -> bool:
        """Whether the groups take more than the budget."""
        count = len(table)
        if count < self._next:
            return False
        step = max(1, count // 16)
        sample = [item for index, item in enumerate(table.items()) if index % step == 0]
        estimate = size_of_piece(sample) * count // len(sample) + 50 * count
        self._next = 2 * count if estimate * 4 < self._budget else count + count // 8
        return estimate > self._budget
