"""The type of an expression over a schema; where wrong columns and types are found."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from umbel.plan.casting import refuse_cast
from umbel.plan.errors import PlanError, TypeClashError, UnknownNameError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expression,
    Literal,
    SortKey,
    WindowCall,
    check_depth,
    walk,
)
from umbel.plan.functions import CATALOGUE, Function, Kind, Nulls
from umbel.plan.types import INT64, common_type, is_object, type_name

#: Characters of an expression in a message.
_LONGEST = 100


def infer(expression: Expression, schema: pa.Schema) -> pa.Field:
    """Find an expression's type and nullability over the columns of `schema`.

    Returns:
        A field whose name is the expression as text.

    Raises:
        UnknownNameError: a column or function that does not exist, with the closest names.
        TypeClashError: arguments of types that a function does not take.

    >>> from umbel.plan.expressions import Call, Column
    >>> infer(Call("add", (Column("a"), Column("a"))), pa.schema([("a", pa.int32())])).type
    DataType(int64)
    """
    return infer_column(str(expression), expression, schema)


def infer_column(name: str, expression: Expression, schema: pa.Schema) -> pa.Field:
    """Find the field of a column that an expression gives; see `infer`."""
    if isinstance(expression, Column):
        index = schema.get_field_index(expression.name)
        if index >= 0:
            field = schema.field(index)
            return field if expression.name == name else field.with_name(name)
    check_depth(expression)
    dtype, nullable = _infer(expression, schema)
    return pa.field(name, dtype, nullable)


def infer_type(expression: Expression, schema: pa.Schema) -> pa.DataType:
    """Find an expression's type over the columns of `schema`; see `infer`."""
    return _infer(expression, schema)[0]


def check_boolean(expression: Expression, schema: pa.Schema, what: str) -> None:
    """Raise `TypeClashError` unless the expression is a boolean; `what` names its role."""
    check_depth(expression)
    dtype = infer_type(expression, schema)
    if not (pa.types.is_boolean(dtype) or pa.types.is_null(dtype)):
        raise TypeClashError(f"{what} must be a boolean, but {expression} is {type_name(dtype)}")


def check_order(keys: Sequence[SortKey], schema: pa.Schema) -> None:
    """Raise if an order's keys name unknown columns or have no order."""
    for key in keys:
        check_depth(key.expression)
        dtype = infer_type(key.expression, schema)
        if is_object(dtype) or pa.types.is_struct(dtype) or pa.types.is_nested(dtype):
            raise TypeClashError(f"cannot sort by {key.expression} of type {type_name(dtype)}")


def _infer(expression: Expression, schema: pa.Schema) -> tuple[pa.DataType, bool]:
    known = getattr(expression, "inferred", None)
    if known is not None and known[0] is schema:
        return known[1], known[2]
    dtype, nullable = _infer_anew(expression, schema)
    object.__setattr__(expression, "inferred", (schema, dtype, nullable))
    return dtype, nullable


def _infer_anew(expression: Expression, schema: pa.Schema) -> tuple[pa.DataType, bool]:
    match expression:
        case Column(name):
            index = schema.get_field_index(name)
            if index < 0:
                raise UnknownNameError("column", name, schema.names)
            field = schema.field(index)
            return field.type, field.nullable
        case Literal(value, dtype):
            return dtype, value is None
        case Cast(operand, dtype, strict):
            source, nullable = _infer(operand, schema)
            try:
                check_cast(source, dtype)
            except TypeClashError as error:
                raise _shown_in(expression, error) from None
            return dtype, nullable or not strict
        case Case():
            return _infer_case(expression, schema)
        case Call(function, arguments):
            row = _row(function, Kind.SCALAR)
            types, nullable = _infer_arguments(row, arguments, schema)
            if row.nulls is Nulls.NEVER:
                nullable = False
            elif row.nulls in (Nulls.PARTIAL, Nulls.CALLED):
                nullable = True
            return _result_type(row, types, arguments, expression), nullable
        case AggregateCall():
            return _infer_aggregate(expression, schema)
        case WindowCall():
            return _infer_window(expression, schema)
    raise PlanError(f"not an expression: {expression!r}")


def _result_type(
    row: Function,
    types: Sequence[pa.DataType],
    arguments: Sequence[Expression],
    expression: Expression,
) -> pa.DataType:
    try:
        return row.result_type(types, arguments)
    except TypeClashError as error:
        raise _shown_in(expression, error) from None


def _shown_in(expression: Expression, error: TypeClashError) -> TypeClashError:
    """Let a clash of types say in which expression it is, for the columns that it names."""
    shown = str(expression)
    shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
    return TypeClashError(f"{error.message}, in {shown}", hint=error.hint)


def _row(name: str, *kinds: Kind) -> Function:
    row = CATALOGUE[name]
    if row.kind not in kinds:
        hint = {
            Kind.AGGREGATE: "use it in .agg(...), or with .over(...)",
            Kind.WINDOW: "use it with .over(...)",
            Kind.SCALAR: "use it in .select(...) or .with_columns(...)",
        }[row.kind]
        raise PlanError(f"{row.kind.value} function {name!r} cannot stand here", hint=hint)
    return row


def _infer_arguments(
    row: Function, arguments: Sequence[Expression], schema: pa.Schema
) -> tuple[list[pa.DataType], bool]:
    row.check_arity(len(arguments))
    for position in row.constant:
        if position < len(arguments) and not isinstance(arguments[position], Literal):
            raise PlanError(
                f"argument {position + 1} of function {row.name!r} must be a constant, "
                f"not {arguments[position]}"
            )
    typed = [_infer(argument, schema) for argument in arguments]
    return [dtype for dtype, _ in typed], any(nullable for _, nullable in typed)


def _infer_case(case: Case, schema: pa.Schema) -> tuple[pa.DataType, bool]:
    dtype, nullable = pa.null(), case.otherwise is None
    for condition, _ in case.branches:
        check_boolean(condition, schema, "the condition of a case")
    values = [value for _, value in case.branches]
    for value in [*values, *([case.otherwise] if case.otherwise is not None else [])]:
        value_type, value_nullable = _infer(value, schema)
        dtype, nullable = common_type(dtype, value_type), nullable or value_nullable
    return dtype, nullable


def _infer_aggregate(call: AggregateCall, schema: pa.Schema) -> tuple[pa.DataType, bool]:
    row = _row(call.function, Kind.AGGREGATE)
    types, _ = _infer_arguments(row, call.arguments, schema)
    for argument in call.children:
        forbid_aggregates(argument, f"inside aggregate {call.function!r}")
    if call.where is not None:
        check_boolean(call.where, schema, "the filter of an aggregate")
    check_order(call.order_by, schema)
    if call.distinct and not call.arguments:
        raise PlanError(f"aggregate {call.function!r} without arguments cannot be distinct")
    if call.distinct and row.ordered:
        for key in call.order_by:
            # Which of the rows with one value would give the key?
            if key.expression not in call.arguments:
                raise PlanError(
                    f"distinct values of {call.function!r} cannot be ordered by {key.expression}",
                    hint="order them by the values themselves",
                )
    return _result_type(row, types, call.arguments, call), row.nulls is not Nulls.NEVER


def _infer_window(call: WindowCall, schema: pa.Schema) -> tuple[pa.DataType, bool]:
    row = _row(call.function, Kind.WINDOW, Kind.AGGREGATE)
    types, _ = _infer_arguments(row, call.arguments, schema)
    for child in call.children:
        forbid_aggregates(child, f"inside window function {call.function!r}")
    for key in call.partition_by:
        infer_type(key, schema)
    check_order(call.order_by, schema)
    frame = call.frame
    if row.kind is Kind.WINDOW and frame is not None:
        raise PlanError(f"window function {row.name!r} takes no frame")
    if frame is not None:
        if frame.unit == "range" and {frame.start, frame.end} - {None, 0}:
            raise PlanError("a range frame is bounded by the current row or nothing")
        start = -(2**62) if frame.start is None else frame.start
        end = 2**62 if frame.end is None else frame.end
        if start > end:
            raise PlanError(f"the frame {frame} ends before it starts")
    return _result_type(row, types, call.arguments, call), row.nulls is not Nulls.NEVER


def forbid_aggregates(expression: Expression, where: str) -> None:
    """Raise `PlanError` if an aggregate or window call stands in an expression."""
    if isinstance(expression, Column):
        return
    check_depth(expression)
    for node in walk(expression):
        if isinstance(node, AggregateCall | WindowCall):
            raise PlanError(f"{node} cannot stand {where}")


def check_cast(source: pa.DataType, target: pa.DataType) -> None:
    """Raise `TypeClashError` if there is no cast from one type to the other."""
    reason = refuse_cast(source, target)
    if reason is not None:
        times = pa.types.is_temporal(source) != pa.types.is_temporal(target)
        hint = "for dates and times see the functions epoch, from_epoch and strptime"
        raise TypeClashError(reason, hint=hint if times else "")


__all__ = [
    "INT64",
    "check_boolean",
    "check_cast",
    "check_order",
    "forbid_aggregates",
    "infer",
    "infer_column",
    "infer_type",
]
