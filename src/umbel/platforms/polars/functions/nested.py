"""Forms on Polars of the catalogue's theme nested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import common_type, is_float, is_integer, is_list
from umbel.platforms.polars.casts import cast
from umbel.platforms.polars.functions.strings import Call, native, slice_bounds, whole
from umbel.platforms.polars.types import polars_type

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


def _contains(call: Call) -> pl.Expr:
    items, value = call.arguments
    item_type = common_type(call.types[0].value_type, call.types[1])
    wanted = pa.list_(item_type)
    if call.types[0] != wanted:
        items = cast(items, call.types[0], wanted, strict=True)
    if call.types[1] != item_type:
        value = cast(value, call.types[1], item_type, strict=True)
    known = items.is_not_null() & value.is_not_null()
    return pl.when(known).then(items.list.contains(value, nulls_equal=False))


def _sum(call: Call) -> pl.Expr:
    items, item_type = call.arguments[0], call.types[0].value_type
    present = items.list.drop_nulls()
    if is_integer(item_type):  # Polars' own sum wraps around
        total = present.cast(pl.List(pl.Int128)).list.sum().cast(pl.Int64)
    elif is_float(item_type):
        total = present.cast(pl.List(pl.Float64)).list.sum()
    else:
        total = present.cast(pl.List(polars_type(call.dtype))).list.sum()
    return pl.when(present.list.len() > 0).then(total)


def _extreme(call: Call, *, greatest: bool) -> pl.Expr:
    items, item_type = call.arguments[0], call.types[0].value_type
    if is_integer(item_type):
        return items.list.max() if greatest else items.list.min()
    ordered = items.list.drop_nulls().list.sort()  # NaN last
    return ordered.list.last() if greatest else ordered.list.first()


def _sort(call: Call) -> pl.Expr:
    descending = bool(call.constant(1)) if len(call.nodes) > 1 else False
    return call.arguments[0].list.sort(descending=descending, nulls_last=True)


def _unify(call: Call) -> list[pl.Expr]:
    return [
        argument if dtype == call.dtype else cast(argument, dtype, call.dtype, strict=True)
        for argument, dtype in zip(call.arguments, call.types, strict=True)
    ]


def _concat(call: Call) -> pl.Expr:
    lists = _unify(call)
    known = lists[0].is_not_null()
    for other in lists[1:]:
        known = known & other.is_not_null()
    return pl.when(known).then(pl.concat_list(lists) if len(lists) > 1 else lists[0])


def _slice(call: Call) -> pl.Expr:
    items, *bounds = call.arguments
    begin, count = slice_bounds(items.list.len(), *bounds)
    known = items.is_not_null()
    for bound in bounds:
        known = known & bound.is_not_null()
    return pl.when(known).then(items.list.slice(begin, count))


def _make_list(call: Call) -> pl.Expr:
    item_type = call.dtype.value_type
    if is_list(item_type):  # Polars would join the lists
        return call.fallback()
    items = [
        argument if dtype == item_type else cast(argument, dtype, item_type, strict=True)
        for argument, dtype in zip(call.arguments, call.types, strict=True)
    ]
    return pl.concat_list(items)


def _range(call: Call) -> pl.Expr:
    step = int(call.constant(2)) if len(call.nodes) > 2 else 1
    start, stop = (argument.cast(pl.Int64) for argument in call.arguments[:2])
    return pl.int_ranges(start, stop, step, dtype=pl.Int64)


def _make_struct(call: Call) -> pl.Expr:
    fields = [
        argument.cast(polars_type(field.type)).alias(field.name)
        for argument, field in zip(call.arguments[1::2], call.dtype, strict=True)
    ]
    return pl.struct(fields)


FORMS: dict[str, Form[pl.Expr] | Absent] = {
    "list_get": native(lambda items, index: items.list.get(whole(index), null_on_oob=True)),
    "list_length": native(lambda items: items.list.len().cast(pl.Int64)),
    "list_contains": Form(_contains),
    "list_sum": Form(_sum),
    "list_min": Form(lambda call: _extreme(call, greatest=False)),
    "list_max": Form(lambda call: _extreme(call, greatest=True)),
    "list_sort": Form(_sort),
    "list_reverse": native(lambda items: items.list.reverse()),
    "list_concat": Form(_concat),
    "list_distinct": native(lambda items: items.list.unique(maintain_order=True)),
    "list_join": Form(
        lambda call: call.arguments[0].list.join(call.constant(1), ignore_nulls=True)
    ),
    "list_slice": Form(_slice),
    "make_list": Form(_make_list),
    "list_range": Form(_range),
    "struct_field": Form(lambda call: call.arguments[0].struct.field(call.constant(1))),
    "make_struct": Form(_make_struct),
}
