"""Plan expressions to Polars expressions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expression,
    Literal,
    SortKey,
    columns_of,
)
from umbel.plan.functions import CATALOGUE
from umbel.plan.functions.forms import Absent, TypedCall
from umbel.plan.types import common_type
from umbel.plan.typing import infer_type
from umbel.platforms.polars.branches import must_wait, row_by_branch
from umbel.platforms.polars.casts import cast
from umbel.platforms.polars.fallback import call_reference
from umbel.platforms.polars.functions import forms
from umbel.platforms.polars.types import literal

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


def compile_expression(expression: Expression, schema: pa.Schema) -> pl.Expr:
    """Build the Polars expression that means the same over columns of `schema`."""
    match expression:
        case Column(name):
            return pl.col(name)
        case Literal(value, dtype):
            return literal(value, dtype)
        case Cast(operand, dtype, strict):
            source = infer_type(operand, schema)
            return cast(compile_expression(operand, schema), source, dtype, strict=strict)
        case Case(branches, otherwise):
            return _case(expression, branches, otherwise, schema)
        case Call(function, arguments):
            built = tuple(compile_expression(argument, schema) for argument in arguments)
            return _apply(function, built, arguments, schema)
        case AggregateCall():
            return _compile_aggregate(expression, schema)
    raise TypeError(f"not for Polars: {expression!r}")


def _apply(
    function: str,
    built: tuple[pl.Expr, ...],
    nodes: tuple[Expression, ...],
    schema: pa.Schema,
) -> pl.Expr:
    row, form = CATALOGUE[function], forms()[function]
    if isinstance(form, Absent):
        raise TypeError(f"Polars has no {function}: {form.reason}")
    types = tuple(infer_type(node, schema) for node in nodes)
    dtype = row.result_type(types, nodes)
    call = TypedCall(
        row=row,
        arguments=built,
        nodes=nodes,
        types=types,
        dtype=dtype,
        wrap=lambda node: node,
        fallback=lambda: call_reference(row, built, types, dtype),
    )
    built_call: pl.Expr = form.build(call)
    return built_call


def _case(
    case: Case,
    branches: Sequence[tuple[Expression, Expression]],
    otherwise: Expression | None,
    schema: pa.Schema,
) -> pl.Expr:
    if must_wait(case, schema):
        return row_by_branch(case, schema, compile_expression)
    dtype = infer_type(case, schema)

    def value(node: Expression) -> pl.Expr:
        built, source = compile_expression(node, schema), infer_type(node, schema)
        return built if source == dtype else cast(built, source, dtype, strict=True)

    result = literal(None, dtype) if otherwise is None else value(otherwise)
    for condition, branch in reversed(branches):
        result = (
            pl.when(compile_expression(condition, schema)).then(value(branch)).otherwise(result)
        )
    return result


#: Aggregates that see nulls, so that a filter must take rows away; for the others it makes their
#: values null, which keeps the aggregate in Polars' fast and streaming path.
_SEES_NULLS = frozenset({"first", "last", "nth", "list"})

#: Aggregates whose result is the same over distinct values.
_IDEMPOTENT = frozenset(
    {"min", "max", "any", "all", "n_unique", "any_value", "bit_and", "bit_or", "min_by", "max_by"}
)


def _compile_aggregate(call: AggregateCall, schema: pa.Schema) -> pl.Expr:
    function = call.function
    if function == "count" and call.distinct:
        types = [infer_type(argument, schema) for argument in call.arguments]
        if not pa.types.is_nested(types[0]):
            function = "n_unique"
    return _apply(function, _aggregate_arguments(call, schema), call.arguments, schema)


def _aggregate_arguments(call: AggregateCall, schema: pa.Schema) -> tuple[pl.Expr, ...]:
    """Apply the call's filter, order and distinctness to its arguments.

    A call without arguments gets its filter's condition as argument, if it has a filter.
    """
    row = CATALOGUE[call.function]
    where = None if call.where is None else per_row(call.where, schema)
    if not call.arguments:
        return () if where is None else (where,)
    built = [
        compile_expression(argument, schema)
        if position in row.constant
        else per_row(argument, schema)
        for position, argument in enumerate(call.arguments)
    ]
    values = [position for position in range(len(built)) if position not in row.constant]
    keys = [per_row(key.expression, schema) for key in call.order_by] if row.ordered else []
    if where is not None and call.function in _SEES_NULLS:
        keys = [key.filter(where) for key in keys]
        for position in values:
            built[position] = built[position].filter(where)
    elif where is not None:
        for position in values:
            built[position] = pl.when(where).then(built[position])
    if keys:
        for position in values:
            built[position] = built[position].sort_by(
                keys,
                descending=[key.descending for key in call.order_by],
                nulls_last=[not key.nulls_first for key in call.order_by],
                maintain_order=True,
            )
    if call.distinct and call.function not in _IDEMPOTENT:
        if len(values) == 1:
            built[values[0]] = built[values[0]].unique(maintain_order=bool(keys))
        else:
            names = [str(position) for position in values]
            named = [built[p].alias(name) for p, name in zip(values, names, strict=True)]
            # Each argument evaluates the rows anew, so they must come in the same order.
            rows = pl.struct(named).unique(maintain_order=True)
            for position, name in zip(values, names, strict=True):
                built[position] = rows.struct.field(name)
    return tuple(built)


def sort_key(key: SortKey, schema: pa.Schema) -> pl.Expr:
    """Build the expression of a sort key."""
    return compile_expression(key.expression, schema)


def per_row(expression: Expression, schema: pa.Schema) -> pl.Expr:
    """Build an expression that has one value per row even if it reads no column.

    Polars takes a constant in an aggregate as a single value, whatever the number of rows.
    """
    built = compile_expression(expression, schema)
    return built if columns_of(expression) else pl.repeat(built, pl.len())


def unify(call: TypedCall[pl.Expr], positions: Sequence[int] | None = None) -> tuple[pl.Expr, ...]:
    """Cast a call's arguments to their common type, as comparisons need."""
    chosen = range(len(call.arguments)) if positions is None else positions
    target = pa.null()
    for position in chosen:
        target = common_type(target, call.types[position])
    return tuple(
        call.arguments[i]
        if call.types[i] == target
        else cast(call.arguments[i], call.types[i], target, strict=True)
        for i in chosen
    )
