"""Plan expressions to Python functions of a row.

A row is a tuple with one value per column, in the order of the schema. Positions, references and
casts are looked up once, when the expression is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import pyarrow as pa

from umbel.plan.casting import cast_value
from umbel.plan.expressions import Call, Case, Cast, Column, Expression, Literal
from umbel.plan.functions import CATALOGUE, Nulls
from umbel.plan.typing import infer_type

#: Gives an expression's value for a row.
Evaluate = Callable[[tuple[Any, ...]], Any]


def compile_expression(expression: Expression, schema: pa.Schema) -> Evaluate:
    """Build the function that evaluates an expression for a row with the columns of `schema`.

    >>> from umbel.plan.expressions import Column
    >>> compile_expression(Column("b"), pa.schema([("a", pa.int64()), ("b", pa.int64())]))((1, 2))
    2
    """
    match expression:
        case Column(name):
            return itemgetter(schema.get_field_index(name))
        case Literal(value):
            return lambda row: value
        case Cast(operand, dtype, strict):
            inner = compile_expression(operand, schema)
            return cast_evaluated(inner, infer_type(operand, schema), dtype, strict=strict)
        case Case():
            return _case(expression, schema)
        case Call(function, arguments):
            return _call(function, arguments, schema)
    raise TypeError(f"not an expression of one row: {expression!r}")


def cast_evaluated(
    evaluate: Evaluate, source: pa.DataType, target: pa.DataType, *, strict: bool = True
) -> Evaluate:
    """Convert what an evaluated expression gives; itself if there is nothing to convert."""
    if source == target or pa.types.is_null(source):
        return evaluate

    def cast(row: tuple[Any, ...]) -> Any:
        value = evaluate(row)
        return None if value is None else cast_value(value, source, target, strict=strict)

    return cast


def _case(case: Case, schema: pa.Schema) -> Evaluate:
    dtype = infer_type(case, schema)

    def value_of(node: Expression) -> Evaluate:
        return cast_evaluated(compile_expression(node, schema), infer_type(node, schema), dtype)

    branches = [
        (compile_expression(condition, schema), value_of(value))
        for condition, value in case.branches
    ]
    otherwise = (lambda row: None) if case.otherwise is None else value_of(case.otherwise)

    def evaluate(row: tuple[Any, ...]) -> Any:
        for condition, value in branches:
            if condition(row) is True:
                return value(row)
        return otherwise(row)

    return evaluate


def _call(function: str, nodes: Sequence[Expression], schema: pa.Schema) -> Evaluate:
    row = CATALOGUE[function]
    reference = row.reference
    if row.typed:
        dtype = row.result_type([infer_type(node, schema) for node in nodes], nodes)
        reference = partial(reference, dtype=dtype)
    arguments = [compile_expression(node, schema) for node in nodes]
    if row.nulls in (Nulls.CALLED, Nulls.NEVER):
        return _called_with_nulls(reference, arguments)
    if all(isinstance(node, Column | Literal) for node in nodes) and len(nodes) == 2:
        direct = _strict_on_column(reference, nodes, schema)
        if direct is not None:
            return direct
    return _strict(reference, arguments)


def _called_with_nulls(reference: Callable[..., Any], arguments: list[Evaluate]) -> Evaluate:
    match arguments:
        case [only]:
            return lambda row: reference(only(row))
        case [first, second]:
            return lambda row: reference(first(row), second(row))
    return lambda row: reference(*[argument(row) for argument in arguments])


def _strict(reference: Callable[..., Any], arguments: list[Evaluate]) -> Evaluate:
    match arguments:
        case [only]:

            def unary(row: tuple[Any, ...]) -> Any:
                value = only(row)
                return None if value is None else reference(value)

            return unary
        case [first, second]:

            def binary(row: tuple[Any, ...]) -> Any:
                left, right = first(row), second(row)
                return None if left is None or right is None else reference(left, right)

            return binary

    def evaluate(row: tuple[Any, ...]) -> Any:
        values = [argument(row) for argument in arguments]
        return None if None in values else reference(*values)

    return evaluate


def _strict_on_column(
    reference: Callable[..., Any], nodes: Sequence[Expression], schema: pa.Schema
) -> Evaluate | None:
    """Build the commonest calls, on a column and a constant or another column, without detours."""
    match nodes:
        case [Column(name), Literal(value)] if value is not None:
            index = schema.get_field_index(name)

            def with_constant(row: tuple[Any, ...]) -> Any:
                left = row[index]
                return None if left is None else reference(left, value)

            return with_constant
        case [Column(left_name), Column(right_name)]:
            first, second = map(schema.get_field_index, (left_name, right_name))

            def with_column(row: tuple[Any, ...]) -> Any:
                left, right = row[first], row[second]
                return None if left is None or right is None else reference(left, right)

            return with_column
    return None
