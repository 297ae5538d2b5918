"""Forms on Spark of the catalogue's theme nested."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import FLOAT64, INT64, common_type, is_decimal, is_integer
from umbel.platforms.spark.casts import cast, field
from umbel.platforms.spark.functions.snippets import (
    Call,
    native,
    simple,
    snippet,
    text,
    typed,
    whole,
)
from umbel.platforms.spark.functions.strings import slice_bounds
from umbel.platforms.spark.types import convert, literal, type_text
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _get(call: Call) -> exp.Expr:
    return snippet(
        "CASE WHEN n >= 0 THEN get(x, n) ELSE try_element_at(x, n) END",
        x=call.arguments[0],
        n=whole(call, 1),
    )


def _contains(call: Call) -> exp.Expr:
    item_type = common_type(call.types[0].value_type, call.types[1])
    if pa.types.is_null(item_type):  # nulls equal nothing
        return literal(None, call.dtype)
    return snippet(
        """CASE WHEN x IS NOT NULL AND v IS NOT NULL
            THEN coalesce(array_contains(x, v), FALSE) END""",
        x=cast(call.arguments[0], call.types[0], pa.list_(item_type)),
        v=cast(call.arguments[1], call.types[1], item_type),
    )


def _sum(call: Call) -> exp.Expr:
    item_type = call.types[0].value_type
    if pa.types.is_null(call.dtype) or pa.types.is_null(item_type):
        return literal(None, call.dtype)
    exact = is_integer(item_type) or is_decimal(item_type)
    total = call.dtype if exact else FLOAT64
    if is_integer(item_type):
        total = pa.decimal128(38, 0)  # no sum of some of the items overflows
    summed = snippet(
        """CASE WHEN exists(x, i -> i IS NOT NULL)
            THEN aggregate(x, zero, (a, i) -> added) END""",
        x=call.arguments[0],
        zero=literal(_zero(total), total),
        added=convert(
            snippet("a + coalesce(i, zero)", zero=literal(_zero(item_type), item_type)),
            type_text(total),
        ),
    )
    return typed(call, summed)


def _zero(dtype: pa.DataType) -> float | Decimal:
    if is_decimal(dtype):
        return Decimal(0)
    return 0 if is_integer(dtype) else 0.0


def _sort(call: Call) -> exp.Expr:
    descending = bool(call.constant(1)) if len(call.nodes) > 1 else False
    if descending:
        return function("sort_array", call.arguments[0], exp.false())
    return function("array_sort", call.arguments[0])


def _concat(call: Call) -> exp.Expr:
    lists = [
        cast(argument, dtype, call.dtype)
        for argument, dtype in zip(call.arguments, call.types, strict=True)
    ]
    return function("concat", *lists)


def _slice(call: Call) -> exp.Expr:
    begin, end = slice_bounds(call, function("size", call.arguments[0].copy()))
    return snippet(
        """CASE WHEN e > b THEN slice(x, b + 1, e - b)
            WHEN e <= b AND x IS NOT NULL THEN slice(x, 1, 0) END""",
        x=call.arguments[0],
        b=begin,
        e=end,
    )


def _make_list(call: Call) -> exp.Expr:
    items = [
        cast(argument, dtype, call.dtype.value_type)
        for argument, dtype in zip(call.arguments, call.types, strict=True)
    ]
    return typed(call, function("array", *items))


def _range(call: Call) -> exp.Expr:
    step = int(call.constant(2)) if len(call.nodes) > 2 else 1
    start, stop = (convert(argument, "BIGINT") for argument in call.arguments[:2])
    order, last = ("a < b", "b - 1") if step > 0 else ("a > b", "b + 1")
    return snippet(
        f"""CASE WHEN {order} THEN sequence(a, {last}, s)
            WHEN a IS NOT NULL AND b IS NOT NULL THEN none END""",
        a=start,
        b=stop,
        s=literal(step, INT64),
        none=literal([], pa.list_(INT64)),
    )


def _make_struct(call: Call) -> exp.Expr:
    parts: list[exp.Expr] = []
    for item, argument in zip(call.dtype, call.arguments[1::2], strict=True):
        parts += [text(item.name), argument]
    return function("named_struct", *parts)


FORMS: dict[str, Form[exp.Expr] | Absent] = {
    "list_get": Form(_get),
    "list_length": simple("size"),
    "list_contains": Form(_contains),
    "list_sum": Form(_sum),
    "list_min": simple("array_min"),
    "list_max": simple("array_max"),
    "list_sort": Form(_sort),
    "list_reverse": simple("reverse"),
    "list_concat": Form(_concat),
    "list_distinct": simple("array_distinct"),
    "list_join": native("array_join(x, s)", "x", "s"),
    "list_slice": Form(_slice),
    "make_list": Form(_make_list),
    "list_range": Form(_range),
    "struct_field": Form(lambda call: field(call.arguments[0], call.constant(1))),
    "make_struct": Form(_make_struct),
}
