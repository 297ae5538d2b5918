"""Forms on DuckDB of the catalogue's theme nested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression, Literal
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import common_type, is_decimal, is_integer
from umbel.platforms.duckdb.casts import cast
from umbel.platforms.duckdb.functions.snippets import atom, snippet
from umbel.platforms.duckdb.functions.strings import Call, native, simple, slice_bounds, text, whole
from umbel.platforms.duckdb.types import convert, literal, type_text
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _get(call: Call) -> exp.Expr:
    return snippet(
        "list_extract(x, CASE WHEN n >= 0 THEN n + 1 ELSE n END)",
        x=call.arguments[0],
        n=whole(call, 1),
    )


def _contains(call: Call) -> exp.Expr:
    item_type = common_type(call.types[0].value_type, call.types[1])
    items = cast(call.arguments[0], call.types[0], pa.list_(item_type))
    value = cast(call.arguments[1], call.types[1], item_type)
    return function("list_contains", items, value)


def _sum(call: Call) -> exp.Expr:
    items, item_type = call.arguments[0], call.types[0].value_type
    if is_integer(item_type):
        return convert(function("list_sum", items), "BIGINT")
    wanted = call.dtype if is_decimal(item_type) else pa.float64()
    summed = function("list_sum", convert(items, f"{type_text(wanted)}[]"))
    return convert(summed, type_text(call.dtype))


def _sort(call: Call) -> exp.Expr:
    descending = bool(call.constant(1)) if len(call.nodes) > 1 else False
    order = text("DESC" if descending else "ASC")
    return function("list_sort", call.arguments[0], order, text("NULLS LAST"))


def _concat(call: Call) -> exp.Expr:
    lists = [
        atom(cast(argument, dtype, call.dtype))
        for argument, dtype in zip(call.arguments, call.types, strict=True)
    ]
    joined, *others = lists
    for other in others:
        joined = exp.DPipe(this=joined, expression=other, safe=True)
    return atom(joined)


def _slice(call: Call) -> exp.Expr:
    begin, end = slice_bounds(call, function("len", call.arguments[0].copy()))
    return snippet(
        """CASE WHEN e > b THEN list_slice(x, b + 1, e)
            WHEN e <= b AND x IS NOT NULL THEN list_slice(x, 2, 1) END""",
        x=call.arguments[0],
        b=begin,
        e=end,
    )


def _make_list(call: Call) -> exp.Expr:
    items = [
        cast(argument, dtype, call.dtype.value_type)
        for argument, dtype in zip(call.arguments, call.types, strict=True)
    ]
    return function("list_value", *items)


def _range(call: Call) -> exp.Expr:
    step = int(call.constant(2)) if len(call.nodes) > 2 else 1
    start, stop = (convert(argument, "BIGINT") for argument in call.arguments[:2])
    return function("range", start, stop, literal(step, pa.int64()))


def _make_struct(call: Call) -> exp.Expr:
    pairs = [
        exp.PropertyEQ(this=exp.to_identifier(field.name, quoted=True), expression=argument)
        for field, argument in zip(call.dtype, call.arguments[1::2], strict=True)
    ]
    return exp.Struct(expressions=pairs)


def _refuse_struct(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    names = [node.value.lower() for node in nodes[::2] if isinstance(node, Literal)]
    if len(set(names)) < len(names):
        return "DuckDB does not tell names of fields apart by case"
    return None


FORMS: dict[str, Form[exp.Expr] | Absent] = {
    "list_get": Form(_get),
    "list_length": simple("len"),
    "list_contains": Form(_contains),
    "list_sum": Form(_sum),
    "list_min": simple("list_min"),
    "list_max": simple("list_max"),
    "list_sort": Form(_sort),
    "list_reverse": simple("list_reverse"),
    "list_concat": Form(_concat),
    # DuckDB's list_distinct drops nulls and keeps no order.
    "list_distinct": native("list_filter(x, lambda v, i: list_position(x, v) = i)", "x"),
    "list_join": native(
        "CASE WHEN x IS NOT NULL THEN coalesce(array_to_string(x, s), '') END", "x", "s"
    ),
    "list_slice": Form(_slice),
    "make_list": Form(_make_list),
    "list_range": Form(_range),
    "struct_field": simple("struct_extract"),
    "make_struct": Form(_make_struct, _refuse_struct),
}
