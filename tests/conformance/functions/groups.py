"""Run one aggregate or window call on the references and on every engine's expressions.

What runs here is what a form builds, in the smallest statement that can hold it; the platforms'
own operators have their own tests. The references are driven by the plainest possible code.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from tests.conformance.functions import embedded, recorded
from umbel.plan.casting import cast_value
from umbel.plan.expressions import (
    AggregateCall,
    Column,
    Expression,
    Frame,
    Literal,
    SortKey,
    WindowCall,
    columns_of,
)
from umbel.plan.functions import CATALOGUE, Function, Kind
from umbel.plan.functions.accumulators import distinct_key
from umbel.plan.typing import infer, infer_type
from umbel.platforms.polars.windows import effective_frame

Row = dict[str, Any]
#: A result as rows, or the word "refused".
Result = list[tuple[Any, ...]] | str


# --- the references ---------------------------------------------------------------------------


def value_of(expression: Expression, row: Row) -> Any:
    """The value of a column or constant, which is all that these tests need."""
    if isinstance(expression, Literal):
        return expression.value
    assert isinstance(expression, Column), expression
    return row[expression.name]


def compare_keys(keys: Sequence[SortKey], left: Row, right: Row) -> int:
    """Compare two rows by an order: NaN greatest, nulls where the key says."""
    for key in keys:
        a, b = value_of(key.expression, left), value_of(key.expression, right)
        if a is None or b is None:
            if a is not b:
                return -1 if (a is None) == key.nulls_first else 1
            continue
        a, b = ((math.isnan(v), v) if isinstance(v, float) else (False, v) for v in (a, b))
        if (a[0] and b[0]) or a == b:
            continue
        less = b[0] if a[0] != b[0] else a[1] < b[1]
        return -1 if less != key.descending else 1
    return 0


def in_order(rows: Sequence[Row], keys: Sequence[SortKey]) -> list[Row]:
    def compare(left: Row, right: Row) -> int:
        return compare_keys(keys, left, right)

    return sorted(rows, key=functools.cmp_to_key(compare))


def fold(call: AggregateCall, rows: Sequence[Row], schema: pa.Schema) -> Any:
    """An aggregate by its reference."""
    accumulator = CATALOGUE[call.function].reference(infer_type(call, schema))
    seen: set[Any] = set()
    for row in in_order(rows, call.order_by):
        if call.where is not None and value_of(call.where, row) is not True:
            continue
        arguments = tuple(value_of(argument, row) for argument in call.arguments)
        if call.distinct:
            key = distinct_key(arguments)
            if key in seen:
                continue
            seen.add(key)
        accumulator.add(*arguments)
    return accumulator.result()


def groups_of(rows: Sequence[Row], keys: Sequence[Expression]) -> list[list[Row]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(distinct_key([value_of(key, row) for key in keys]), []).append(row)
    return list(groups.values())


def reference_window(
    call: WindowCall, rows: Sequence[Row], schema: pa.Schema
) -> list[tuple[Any, ...]]:
    results: list[tuple[Any, ...]] = []
    for group in groups_of(rows, call.partition_by):
        partition = in_order(group, call.order_by)
        peers: list[int] = []
        for index, row in enumerate(partition):
            same = index and compare_keys(call.order_by, partition[index - 1], row) == 0
            peers.append(0 if not index else peers[-1] + (not same))
        if CATALOGUE[call.function].kind is Kind.WINDOW:
            arguments = [_window_arguments(call, row, schema) for row in partition]
            values = CATALOGUE[call.function].reference(arguments, peers)
        else:
            frame = effective_frame(call)
            aggregate = AggregateCall(call.function, call.arguments)
            values = [
                fold(aggregate, frame_rows(frame, partition, peers, index), schema)
                for index in range(len(partition))
            ]
        results += [(row["id"], value) for row, value in zip(partition, values, strict=True)]
    return sorted(results, key=lambda result: result[0])


def _window_arguments(call: WindowCall, row: Row, schema: pa.Schema) -> tuple[Any, ...]:
    """The arguments' values; the value and default of lag and lead in the result's type."""
    arguments = []
    for position, node in enumerate(call.arguments):
        value, dtype = value_of(node, row), infer_type(call, schema)
        if call.function in ("lag", "lead") and position != 1 and value is not None:
            value = cast_value(value, infer_type(node, schema), dtype, strict=True)
        arguments.append(value)
    return tuple(arguments)


def frame_rows(
    frame: Frame, partition: Sequence[Row], peers: Sequence[int], index: int
) -> Sequence[Row]:
    if frame.unit == "range":
        return [
            row
            for row, peer in zip(partition, peers, strict=True)
            if (frame.start is None or peer >= peers[index])
            and (frame.end is None or peer <= peers[index])
        ]
    start = 0 if frame.start is None else max(0, index + frame.start)
    end = len(partition) if frame.end is None else max(0, index + frame.end + 1)
    return partition[start:end]


# --- the engines ------------------------------------------------------------------------------


def _run(
    way: str, call: AggregateCall | WindowCall, table: pa.Table, keys: Sequence[str] = ("id",)
) -> Result:
    if embedded.refuse_call(way, call, table.schema):
        return "refused"
    [rows] = embedded.call_all(way, [call], table, keys)
    return rows


def runners() -> dict[str, Callable[..., Result]]:
    """The engines' ways to run an aggregate, or a window call, of (call, table, keys)."""
    return {way: functools.partial(_run, way) for way in embedded.WAYS}


def label(part: Any) -> str:
    """Name a part of a test's parameters."""
    return part.name if isinstance(part, Function) else str(part)


def check_aggregate(
    call: AggregateCall, table: pa.Table, keys: Sequence[str] = ()
) -> dict[str, bool]:
    """Have every engine held against the reference; tell which of them run the call."""
    infer(call, table.schema)
    rows = table.to_pylist()
    groups = groups_of(rows, [Column(key) for key in keys]) if keys else [rows]
    expected = [
        (*(group[0][key] for key in keys), fold(call, group, table.schema)) for group in groups
    ]
    # Equal order keys, which the rows have across groups, leave it free which row comes first.
    free = CATALOGUE[call.function].ordered and not keys
    return recorded.record_call(call, table, keys, expected, servers=not free)


def check_window(call: WindowCall, table: pa.Table) -> dict[str, bool]:
    """Have every engine held against the reference; tell which of them run the call."""
    infer(call, table.schema)
    assert "id" not in columns_of(*call.arguments)
    expected = reference_window(call, table.to_pylist(), table.schema)
    return recorded.record_call(call, table, ["id"], expected)
