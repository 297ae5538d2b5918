"""Window functions: the rows of a partition, in order, each with values of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pyarrow as pa

from umbel.plan.expressions import Frame, WindowCall
from umbel.plan.functions import CATALOGUE, Kind
from umbel.plan.operators import Window
from umbel.plan.typing import infer_type
from umbel.platforms.python.expressions import Evaluate, cast_evaluated, compile_expression
from umbel.platforms.python.failures import evaluation_error
from umbel.platforms.python.keys import column_getter, keys_of, order_of
from umbel.platforms.python.run import Piece, Run
from umbel.platforms.python.sliding import Sliding, slide, sliding
from umbel.platforms.python.spill import FANOUT, Collection, Partitions
from umbel.platforms.python.stream import Stream

#: Gives one value for each row of an ordered partition.
Column = Callable[[Piece, Sequence[int]], Sequence[Any]]

_RUNNING = Frame("range", None, 0)
_WHOLE = Frame("rows", None, None)


def build_window(operator: Window, run: Run, inputs: list[Stream]) -> Stream:
    """The input's columns, and one more per window call.

    Calls over the same partitions in the same order share one pass. The rows of a partition are
    in memory together.
    """
    below = operator.input.schema
    specs: dict[Any, list[int]] = {}
    for index, (_, call) in enumerate(operator.columns):
        specs.setdefault((call.partition_by, call.order_by), []).append(index)
    pieces: Iterable[Piece] = inputs[0].rows()
    for (partition_by, order_by), indices in specs.items():
        columns = [_column(operator.columns[index][1], below, run) for index in indices]
        key_of = None
        if partition_by:
            types = [infer_type(node, below) for node in partition_by]
            key_of = keys_of([compile_expression(node, below) for node in partition_by], types)
        order = order_of(order_by, below) if order_by else None
        pieces = _Pass(operator, run, key_of, order, columns).pieces(pieces)
    made_order = [index for indices in specs.values() for index in indices]
    if made_order != sorted(made_order):
        width = len(below)
        places = [*range(width), *(width + made_order.index(i) for i in range(len(made_order)))]
        pieces = _picked(pieces, places)
    return Stream.of(run, operator, pieces, as_rows=True)


def _picked(pieces: Iterable[Piece], places: Sequence[int]) -> Iterator[Piece]:
    pick = column_getter(places)
    for piece in pieces:
        yield list(map(pick, piece))


class _Pass:
    """Adds the columns of calls that share their partitions and their order."""

    def __init__(
        self,
        operator: Window,
        run: Run,
        key_of: Evaluate | None,
        order: Evaluate | None,
        columns: Sequence[Column],
    ) -> None:
        self._operator = operator
        self._run = run
        self._key_of = key_of
        self._order = order
        self._columns = columns

    def pieces(self, rows: Iterable[Piece]) -> Iterator[Piece]:
        """Yield the rows with their new columns, partition by partition."""
        run, key_of = self._run, self._key_of
        kept = Collection(run).fill(rows)
        if key_of is None:
            if len(kept):
                yield from run.cut(self._extended(list(kept)))
            return
        if not kept.spilled:
            yield from self._grouped(kept, key_of)
            return
        parts = Partitions(run, count=min(256, max(FANOUT, 4 * kept.size // run.budget)))
        for piece in run.pieces(kept):
            parts.add(piece, key_of)
        kept.remove()
        for part in parts.drain():
            yield from self._grouped(part, key_of)

    def _grouped(self, rows: Iterable[Any], key_of: Evaluate) -> Iterator[Piece]:
        groups: dict[Any, Piece] = {}
        for row in rows:
            try:
                key = key_of(row)
            except Exception as error:
                raise evaluation_error(self._operator, error, row) from error
            groups.setdefault(key, []).append(row)
        for group in groups.values():
            yield from self._run.cut(self._extended(group))

    def _extended(self, rows: Piece) -> Piece:
        self._run.context.check_cancelled()
        try:
            peers = [0] * len(rows)
            if self._order is not None:
                rows.sort(key=self._order)
                peers = _peers(rows, self._order)
            columns = [column(rows, peers) for column in self._columns]
        except Exception as error:
            raise evaluation_error(self._operator, error, rows[0]) from error
        return [row + values for row, values in zip(rows, zip(*columns, strict=True), strict=True)]


def _peers(rows: Piece, order: Evaluate) -> list[int]:
    keys = list(map(order, rows))
    peers, number = [0], 0
    for before, key in pairwise(keys):
        number += before != key
        peers.append(number)
    return peers


def _column(call: WindowCall, schema: pa.Schema, run: Run) -> Column:
    row = CATALOGUE[call.function]
    types = [infer_type(node, schema) for node in call.arguments]
    dtype = infer_type(call, schema)
    parts = [compile_expression(node, schema) for node in call.arguments]
    if row.kind is Kind.WINDOW:
        if call.function in ("lag", "lead"):
            # Both the value and the default may be the result, so both take its type.
            for position in (0, 2):
                if position < len(parts):
                    cast = cast_evaluated(parts[position], types[position], dtype)
                    parts[position] = cast
        arguments = _arguments(parts)
        reference = row.reference
        return lambda rows, peers: reference(list(map(arguments, rows)), peers)
    arguments = _arguments(parts)
    frame = call.frame or (_RUNNING if call.order_by else _WHOLE)
    factory = row.reference

    def column(rows: Piece, peers: Sequence[int]) -> Sequence[Any]:
        given = list(map(arguments, rows))
        lows, highs = _bounds(frame, peers)
        framed = _Framed(lambda: factory(dtype), given, lows, highs, run)
        return framed.values(sliding(call.function, dtype), ordered=row.ordered)

    return column


def _arguments(parts: Sequence[Evaluate]) -> Evaluate:
    return lambda row: tuple([part(row) for part in parts])


def _bounds(frame: Frame, peers: Sequence[int]) -> tuple[list[int], list[int]]:
    """Give for each row the first row of its frame, and the one after its last."""
    count = len(peers)
    if frame.unit == "rows":
        lows = [0 if frame.start is None else max(0, i + frame.start) for i in range(count)]
        highs = [
            count if frame.end is None else min(count, i + frame.end + 1) for i in range(count)
        ]
        return lows, highs
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for index, peer in enumerate(peers):
        first.setdefault(peer, index)
        last[peer] = index + 1
    lows = [0 if frame.start is None else first[peer] for peer in peers]
    highs = [count if frame.end is None else last[peer] for peer in peers]
    return lows, highs


class _Framed:
    """An aggregate over the frame of every row."""

    def __init__(
        self,
        start: Callable[[], Any],
        rows: Sequence[tuple[Any, ...]],
        lows: Sequence[int],
        highs: Sequence[int],
        run: Run,
    ) -> None:
        self._start = start
        self._rows = rows
        self._lows = lows
        self._highs = highs
        self._run = run

    def values(self, aggregate: Sliding | None, *, ordered: bool) -> list[Any]:
        """Give the aggregate for every row; frames that only grow share one state.

        Args:
            aggregate: how it is computed over frames that slide, if it can be.
            ordered: whether it depends on the order of the rows.
        """
        count = len(self._rows)
        if not any(self._lows):
            return self._growing(self._highs, self._rows)
        if not ordered and all(high == count for high in self._highs):
            # Frames up to the end grow too, read from the end.
            ends = [count - low for low in reversed(self._lows)]
            return self._growing(ends, self._rows[::-1])[::-1]
        if aggregate is not None:
            return slide(aggregate, self._rows, self._lows, self._highs)
        return self._each()

    def _growing(self, ends: Sequence[int], rows: Sequence[tuple[Any, ...]]) -> list[Any]:
        state, done, values = self._start(), 0, []
        value = _own(state.result()) if ends and ends[0] <= 0 else None
        for end in ends:
            if end > done:
                for arguments in rows[done:end]:
                    state.add(*arguments)
                done = end
                value = _own(state.result())
            values.append(value)
        return values

    def _each(self) -> list[Any]:
        values: list[Any] = []
        before = (-1, -1)
        for low, high in zip(self._lows, self._highs, strict=True):
            if (low, high) == before:
                values.append(values[-1])
                continue
            before = (low, high)
            state = self._start()
            for arguments in self._rows[low : max(low, high)]:
                state.add(*arguments)
            values.append(_own(state.result()))
            self._run.context.check_cancelled()
        return values


def _own(value: Any) -> Any:
    """A list of its own, since the state goes on to fill the one that it gave."""
    return list(value) if isinstance(value, list) else value
