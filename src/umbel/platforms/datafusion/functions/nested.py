"""Forms on DataFusion of the catalogue's theme nested."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Literal
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import is_float
from umbel.platforms.datafusion.functions.calls import Call, big, cast_all, fallback, native, text
from umbel.platforms.datafusion.operators import snippet
from umbel.platforms.datafusion.types import convert, literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _get(call: Call) -> exp.Expr:
    node = call.nodes[1]
    if not isinstance(node, Literal) or node.value is None or abs(node.value) >= 2**31 - 2:
        return call.fallback()
    place = node.value + 1 if node.value >= 0 else node.value
    return function("array_element", call.arguments[0], literal(place, pa.int64()))


def _unless_floats(name: str) -> Form[exp.Expr]:
    """DataFusion's function of items that it compares; those of floats it compares otherwise."""

    def build(call: Call) -> exp.Expr:
        if is_float(call.types[0].value_type):
            return call.fallback()
        return function(name, *call.arguments)

    return Form(build)


def _sort(call: Call) -> exp.Expr:
    if is_float(call.types[0].value_type):
        return call.fallback()
    descending = bool(call.constant(1)) if len(call.nodes) > 1 else False
    order = text("DESC" if descending else "ASC")
    return function("array_sort", call.arguments[0], order, text("NULLS LAST"))


def _make_list(call: Call) -> exp.Expr:
    items = cast_all(call, call.dtype.value_type)
    return convert(function("make_array", *items), call.dtype)


def _make_struct(call: Call) -> exp.Expr:
    pairs = [
        node
        for field, argument in zip(call.dtype, call.arguments[1::2], strict=True)
        for node in (exp.Literal.string(field.name), argument)
    ]
    return function("named_struct", *pairs)


def _field(call: Call) -> exp.Expr:
    field = function("get_field", call.arguments[0], exp.Literal.string(call.constant(1)))
    return snippet("CASE WHEN x IS NOT NULL THEN f END", x=call.arguments[0].copy(), f=field)


def _join(call: Call) -> exp.Expr:
    return snippet(
        "CASE WHEN x IS NOT NULL THEN coalesce(array_to_string(x, s), '') END",
        x=call.arguments[0],
        s=call.arguments[1],
    )


FORMS: dict[str, Form[Any] | Absent] = {
    "list_get": Form(_get),
    "list_length": big("cardinality(x)", "x"),
    "list_contains": Form(fallback),
    "list_sum": Form(fallback),
    "list_min": _unless_floats("array_min"),
    "list_max": _unless_floats("array_max"),
    "list_sort": Form(_sort),
    "list_reverse": native("array_reverse(x)", "x"),
    "list_concat": Form(fallback),
    "list_distinct": Form(fallback),
    "list_join": Form(_join),
    "list_slice": Form(fallback),
    "make_list": Form(_make_list),
    "list_range": Form(fallback),
    "struct_field": Form(_field),
    "make_struct": Form(_make_struct),
}
