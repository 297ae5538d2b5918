"""Forms on PostgreSQL of the catalogue's theme nested: arrays of one dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import common_type, is_integer, is_list, is_numeric
from umbel.platforms.postgres.casts import cast, refuse_cast
from umbel.platforms.postgres.functions.calls import Call, cast_all, native, position
from umbel.platforms.postgres.functions.strings import slice_bounds
from umbel.platforms.postgres.snippets import once
from umbel.platforms.postgres.types import convert, type_text

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_NO_STRUCTS = "PostgreSQL has no structs without a name"
_NOT_NULL = "CASE WHEN NOT x IS NULL THEN {} END"


def _collation(dtype: pa.DataType) -> str:
    return ' COLLATE "C"' if pa.types.is_string(dtype) else ""


def _get(call: Call) -> exp.Expr:
    return once(
        "(x)[CASE WHEN n >= 0 THEN n + 1 ELSE cardinality(x) + n + 1 END]",
        x=call.arguments[0],
        n=position(call, 1),
    )


def _refuse_contains(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    item = common_type(types[0].value_type, types[1])
    return refuse_cast(types[0], pa.list_(item)) or refuse_cast(types[1], item)


def _contains(call: Call) -> exp.Expr:
    item = common_type(call.types[0].value_type, call.types[1])
    return once(
        "CASE WHEN NOT x IS NULL AND NOT v IS NULL THEN coalesce(v = ANY(x), FALSE) END",
        x=cast(call.arguments[0], call.types[0], pa.list_(item)),
        v=cast(call.arguments[1], call.types[1], item),
    )


def _sum(call: Call) -> exp.Expr:
    item = call.types[0].value_type
    wanted = "BIGINT" if is_integer(item) else type_text(call.dtype)
    summed = once(f"(SELECT SUM(CAST(v AS {wanted})) FROM UNNEST(x) AS u(v))", x=call.arguments[0])
    return convert(summed, type_text(call.dtype))


def _refuse_sum(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    return None if is_numeric(types[0].value_type) else "only numbers are added"


def _extreme(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        item = call.types[0].value_type
        value = "CAST(v AS INTEGER)" if pa.types.is_boolean(item) else f"v{_collation(item)}"
        found = once(f"(SELECT {name}({value}) FROM UNNEST(x) AS u(v))", x=call.arguments[0])
        return convert(found, "BOOLEAN") if pa.types.is_boolean(item) else found

    return Form(build, _refuse_extreme)


def _refuse_extreme(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if pa.types.is_binary(types[0].value_type):
        return "PostgreSQL before 18 finds no least and greatest bytes"
    return None


def _sort(call: Call) -> exp.Expr:
    descending = bool(call.constant(1)) if len(call.nodes) > 1 else False
    item = call.types[0].value_type
    direction = "DESC" if descending else "ASC"
    sorted_ = f"ARRAY(SELECT v FROM UNNEST(x) AS u(v) ORDER BY v{_collation(item)} {direction} NULLS LAST)"
    return once(_NOT_NULL.format(sorted_), x=call.arguments[0])


def _concat(call: Call) -> exp.Expr:
    joined, *others = cast_all(call, call.dtype)
    for other in others:
        joined = once(
            "CASE WHEN NOT x IS NULL AND NOT y IS NULL THEN array_cat(x, y) END", x=joined, y=other
        )
    return joined


def _refuse_concat(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    lists = [dtype for dtype in types if is_list(dtype)]
    target = lists[0] if lists else None
    for dtype in lists[1:]:
        target = common_type(target, dtype)
    return next(filter(None, (refuse_cast(t, target) for t in types if target)), None)


def _slice(call: Call) -> exp.Expr:
    begin, end = slice_bounds(call, "cardinality(x)")
    return once(
        """CASE WHEN NOT b IS NULL AND NOT e IS NULL AND NOT x IS NULL THEN
        ARRAY(SELECT v FROM UNNEST(x) WITH ORDINALITY AS u(v, o)
        WHERE o > b AND o <= e ORDER BY o) END""",
        x=call.arguments[0],
        b=begin,
        e=end,
    )


def _make_list(call: Call) -> exp.Expr:
    items = cast_all(call, call.dtype.value_type)
    return convert(exp.Array(expressions=items), type_text(call.dtype))


def _range(call: Call) -> exp.Expr:
    step = int(call.constant(2)) if len(call.nodes) > 2 else 1
    last = "b - 1" if step > 0 else "b + 1"
    return once(
        f"""CASE WHEN NOT a IS NULL AND NOT b IS NULL THEN
        ARRAY(SELECT v FROM generate_series(a, {last}, CAST({step} AS BIGINT)) AS u(v)) END""",
        a=convert(call.arguments[0], "BIGINT"),
        b=convert(call.arguments[1], "BIGINT"),
    )


FORMS: dict[str, Form[Any] | Absent] = {
    "list_get": Form(_get),
    "list_length": native("CAST(cardinality(x) AS BIGINT)", "x"),
    "list_contains": Form(_contains, _refuse_contains),
    "list_sum": Form(_sum, _refuse_sum),
    "list_min": _extreme("MIN"),
    "list_max": _extreme("MAX"),
    "list_sort": Form(_sort),
    "list_reverse": native(
        _NOT_NULL.format(
            "ARRAY(SELECT v FROM UNNEST(x) WITH ORDINALITY AS u(v, o) ORDER BY o DESC)"
        ),
        "x",
    ),
    "list_concat": Form(_concat, _refuse_concat),
    "list_distinct": native(
        _NOT_NULL.format(
            """ARRAY(SELECT v FROM UNNEST(x) WITH ORDINALITY AS u(v, o)
            GROUP BY v ORDER BY MIN(o))"""
        ),
        "x",
    ),
    "list_join": native("array_to_string(x, s)", "x", "s"),
    "list_slice": Form(_slice),
    "make_list": Form(_make_list),
    "list_range": Form(_range),
    "struct_field": Absent(_NO_STRUCTS),
    "make_struct": Absent(_NO_STRUCTS),
}
