"""Typed expressions: what binding a piece of SQL gives, and how types meet in SQL.

The types of the statement's columns are kept here by their unique names.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.casting import cast_value
from umbel.plan.errors import EvaluationError, PlanError
from umbel.plan.expressions import AggregateCall, Call, Cast, Column, Expression, Literal
from umbel.plan.functions import CATALOGUE, Kind, Nulls
from umbel.plan.types import (
    BOOL,
    INT64,
    STRING,
    TIMESTAMP,
    is_decimal,
    is_integer,
    is_string,
    type_name,
)
from umbel.plan.typing import check_cast

INT32 = pa.int32()


@dataclass(frozen=True, slots=True)
class Value:
    """A bound expression.

    Attributes:
        node: the plan's expression; it may hold subqueries, aggregates and windows.
        dtype: its type.
        nullable: it may be null.
        untyped: a text constant as written, which takes the type of what it meets.
    """

    node: Expression
    dtype: pa.DataType
    nullable: bool = True
    untyped: bool = False


class Columns:
    """The columns of a statement: unique names, and what type each has."""

    def __init__(self) -> None:
        self._types: dict[str, tuple[pa.DataType, bool]] = {}

    def new(self, stem: str, dtype: pa.DataType, nullable: bool = True) -> str:
        """Make a column whose name starts with `stem`.

        >>> columns = Columns()
        >>> columns.new("a", INT64), columns.new("a", INT64)
        ('a', 'a~2')
        """
        name, number = stem or "column", 1
        while name in self._types:
            number += 1
            name = f"{stem or 'column'}~{number}"
        self._types[name] = dtype, nullable
        return name

    def value(self, name: str) -> Value:
        """The value of a column."""
        dtype, nullable = self._types[name]
        return Value(Column(name), dtype, nullable)

    def field(self, name: str) -> pa.Field:
        """The type and nullability of a column as a field."""
        dtype, nullable = self._types[name]
        return pa.field(name, dtype, nullable)

    def copy_of(self, name: str) -> str:
        """Make a column like another one."""
        dtype, nullable = self._types[name]
        return self.new(name.split("~", 1)[0], dtype, nullable)

    def loosen(self, names: tuple[str, ...]) -> None:
        """Say that columns may be null, because an outer join stands above them."""
        for name in names:
            self._types[name] = self._types[name][0], True


def call(name: str, *values: Value) -> Value:
    """Apply a scalar function of the catalogue; checks types and constants.

    >>> call("add", integer(1), integer(2)).dtype
    DataType(int64)
    """
    row = CATALOGUE[name]
    row.check_arity(len(values))
    for position in row.constant:
        if position < len(values) and not isinstance(values[position].node, Literal):
            raise PlanError(f"argument {position + 1} of {name!r} must be a constant")
    nodes = tuple(value.node for value in values)
    dtype = row.result_type([value.dtype for value in values], nodes)
    if row.nulls is Nulls.NEVER:
        nullable = False
    elif row.nulls is Nulls.STRICT:
        nullable = any(value.nullable for value in values)
    else:
        nullable = True
    return Value(Call(name, nodes), dtype, nullable)


def aggregate_type(node: AggregateCall, types: list[pa.DataType]) -> tuple[pa.DataType, bool]:
    """Find the type of an aggregate over arguments of some types."""
    row = CATALOGUE[node.function]
    if row.kind is not Kind.AGGREGATE:
        raise PlanError(f"{node.function!r} is not an aggregate")
    row.check_arity(len(node.arguments))
    for position in row.constant:
        if not isinstance(node.arguments[position], Literal):
            raise PlanError(f"argument {position + 1} of {node.function!r} must be a constant")
    return row.result_type(types, node.arguments), row.nulls is not Nulls.NEVER


def constant(value: Any, dtype: pa.DataType) -> Value:
    """A constant of a type."""
    return Value(Literal(value, dtype), dtype, value is None)


def integer(value: int) -> Value:
    """An integer constant; int32 if it fits, as in PostgreSQL and DuckDB."""
    if -(2**31) <= value < 2**31:
        return constant(value, INT32)
    if -(2**63) <= value < 2**63:
        return constant(value, INT64)
    return constant(Decimal(value), pa.decimal128(min(38, len(str(abs(value)))), 0))


def number(text: str) -> Value:
    """A number as written: an integer, a decimal with a point, a float with an exponent.

    >>> number("0.05").dtype, number("1e3").dtype
    (Decimal128Type(decimal128(2, 2)), DataType(double))
    """
    text = text.replace("_", "")
    if re.fullmatch(r"[0-9]+", text):
        digits = text.lstrip("0") or "0"
        if len(digits) > 38:
            return constant(float(text), pa.float64())
        return integer(int(digits))
    exact = Decimal(text)
    _, figures, exponent = exact.as_tuple()
    if "e" in text.lower() or not isinstance(exponent, int):
        return constant(float(text), pa.float64())
    scale = -exponent
    precision = max(len(figures), scale, 1)
    if precision > 38:
        return constant(float(text), pa.float64())
    return constant(exact, pa.decimal128(precision, scale))


def cast(value: Value, dtype: pa.DataType, *, strict: bool = True) -> Value:
    """Convert a value; a constant is converted right away."""
    if value.dtype == dtype:
        return replace(value, untyped=False)
    if isinstance(value.node, Literal):
        inner = value.node
        if inner.value is None or pa.types.is_null(inner.dtype):
            return constant(None, dtype)
        check_cast(inner.dtype, dtype)
        try:
            return constant(_folded(inner, dtype, strict=strict), dtype)
        except EvaluationError:
            raise PlanError(
                f"{inner.value!r} is no {type_name(dtype)}",
                hint=_FORMS.get(type_name(dtype), ""),
            ) from None
    check_cast(value.dtype, dtype)
    return Value(Cast(value.node, dtype, strict), dtype, value.nullable or not strict)


_FORMS = {
    "date": "a date is written '2020-12-31'",
    "timestamp[us]": "a timestamp is written '2020-12-31 23:59:59'",
    "time": "a time is written '23:59:59'",
}


def _folded(node: Literal, dtype: pa.DataType, *, strict: bool) -> Any:
    value = node.value
    if is_string(node.dtype) and pa.types.is_date(dtype) and len(value) > 10:
        # '1998-09-01 00:00:00' is a date too where a date is wanted.
        moment = cast_value(value, STRING, TIMESTAMP, strict=strict)
        return None if moment is None else moment.date()
    return cast_value(value, node.dtype, dtype, strict=strict)


def meet(left: Value, right: Value) -> tuple[Value, Value]:
    """Bring two values that are compared or joined to types that meet."""
    if left.untyped and not right.untyped:
        return _typed(left, right), right
    if right.untyped and not left.untyped:
        return left, _typed(right, left)
    return _exact_date(left, right), _exact_date(right, left)


def _typed(text: Value, other: Value) -> Value:
    """Give a text constant the type of what it meets, as SQL does."""
    dtype = other.dtype
    if is_string(dtype) or pa.types.is_null(dtype) or pa.types.is_nested(dtype):
        return replace(text, untyped=False)
    if pa.types.is_date(dtype) and len(str(text.node.value)) > 10:  # type: ignore[attr-defined]
        return _exact_date(cast(text, TIMESTAMP), other)
    if is_integer(dtype) or is_decimal(dtype):
        written = str(text.node.value).strip()  # type: ignore[attr-defined]
        if not re.fullmatch(r"[+-]?[0-9]+", written) and re.fullmatch(
            r"[+-]?([0-9]*\.[0-9]+|[0-9]+\.)", written
        ):
            return number(written) if written[0] not in "+-" else cast(text, pa.float64())
    return cast(text, dtype)


def _exact_date(value: Value, other: Value) -> Value:
    """Compare dates with dates: a timestamp constant at midnight is a date."""
    node = value.node
    if (
        pa.types.is_date(other.dtype)
        and isinstance(node, Literal)
        and isinstance(node.value, datetime.datetime)
        and node.value.tzinfo is None
        and node.value.time() == datetime.time()
    ):
        return constant(node.value.date(), pa.date32())
    return value


def boolean(value: Value, what: str) -> Value:
    """Check that a value is a boolean; `what` names its role."""
    if value.untyped:
        return cast(value, BOOL)
    if not (pa.types.is_boolean(value.dtype) or pa.types.is_null(value.dtype)):
        raise PlanError(
            f"{what} must be a boolean, but is {type_name(value.dtype)}",
            hint="compare it with something, or cast it",
        )
    return value


def text(value: Value) -> Value:
    """Convert a value to text, as concatenation does."""
    return replace(value, untyped=False) if is_string(value.dtype) else cast(value, STRING)


TRUE = constant(value=True, dtype=BOOL)
FALSE = constant(value=False, dtype=BOOL)
