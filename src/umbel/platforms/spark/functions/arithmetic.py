"""Forms on Spark of the catalogue's arithmetic.

In ANSI mode Spark fails on overflow by itself, and on division by zero, which the forms avoid.
Durations are numbers of microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression, Literal
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.numbers import exact_type, operand_types
from umbel.plan.types import FLOAT64, MAX_DECIMAL_PRECISION, is_decimal, is_float
from umbel.platforms.spark.casts import cast
from umbel.platforms.spark.functions.snippets import Call, fail, snippet, typed
from umbel.platforms.spark.types import convert, literal, type_text
from umbel.sql.expressions import function
from umbel.sql.nodes import binary, operand

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: The first and last moment that the plan knows, in microseconds: the years 1 to 9999.
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999


def _operator(call: Call) -> type[exp.Binary]:
    return {"add": exp.Add, "subtract": exp.Sub, "multiply": exp.Mul}[call.row.name]


def ticks(node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Microseconds of a duration, timestamp or date, as BIGINT."""
    if pa.types.is_date(dtype):
        return snippet(
            "d * CAST(86400000000 AS BIGINT)", d=convert(function("unix_date", node), "BIGINT")
        )
    if pa.types.is_timestamp(dtype):
        return snippet("unix_micros(CAST(x AS TIMESTAMP_LTZ))", x=node)
    return convert(node, "BIGINT")


def moment_of(micros: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """A timestamp of so many microseconds; fails outside the years that the plan knows."""
    return convert(
        snippet(
            "CASE WHEN n NOT BETWEEN first AND last THEN e ELSE timestamp_micros(n) END",
            n=micros,
            first=literal(_FIRST, pa.int64()),
            last=literal(_LAST, pa.int64()),
            e=fail("a time is outside the years 1 to 9999"),
        ),
        type_text(dtype),
    )


def cast_all(call: Call, dtype: pa.DataType) -> list[exp.Expr]:
    """All arguments in one type."""
    given = zip(call.arguments, call.types, strict=True)
    return [cast(node, source, dtype) for node, source in given]


def _combine(call: Call) -> exp.Expr:
    """Addition, subtraction and multiplication."""
    operator = _operator(call)
    if pa.types.is_null(call.dtype):
        return literal(None, call.dtype)
    if any(pa.types.is_temporal(dtype) for dtype in call.types):
        left, right = (ticks(*given) for given in zip(call.arguments, call.types, strict=True))
        total = binary(operator, left, right)
        return total if pa.types.is_duration(call.dtype) else moment_of(total, call.dtype)
    if not is_decimal(call.dtype):
        return binary(operator, *cast_all(call, call.dtype))
    values = [node.value if isinstance(node, Literal) else None for node in call.nodes]
    types = [
        call.dtype if pa.types.is_null(dtype) else exact_type(dtype)
        for dtype in operand_types(call.types, values)
    ]
    if operator is not exp.Mul and call.dtype.precision == MAX_DECIMAL_PRECISION:
        types = [call.dtype, call.dtype]
    left, right = (
        cast(node, source, target)
        for node, source, target in zip(call.arguments, call.types, types, strict=True)
    )
    return typed(call, binary(operator, left, right))


#: IEEE 754: Spark fails for a zero. The power of a zero is the infinity with its sign.
_IEEE = "CASE WHEN y = CAST(0 AS DOUBLE) THEN x * power(y, CAST(-1 AS DOUBLE)) ELSE x / y END"


def _divide(call: Call) -> exp.Expr:
    x, y = (
        convert(node, "DOUBLE") if pa.types.is_duration(dtype) else cast(node, dtype, FLOAT64)
        for node, dtype in zip(call.arguments, call.types, strict=True)
    )
    return snippet(_IEEE, x=x, y=y)


def _whole(on_integers: str, on_floats: str | None = None) -> Form[exp.Expr]:
    """The functions of integer division, from templates."""

    def build(call: Call) -> exp.Expr:
        if pa.types.is_null(call.dtype):
            return literal(None, call.dtype)
        template = on_floats if is_float(call.dtype) and on_floats else on_integers
        x, y = cast_all(call, call.dtype)
        return snippet(template, x=x, y=y)

    def refuse(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
        if any(map(is_float, types)):
            return None if on_floats else "Spark does not divide floats as Python does"
        if any(map(is_decimal, types)):
            return "Spark does not divide decimals as the plan does"
        return None

    return Form(build, refuse)


def _negate(call: Call) -> exp.Expr:
    (node,), (dtype,) = call.arguments, call.types
    if pa.types.is_null(dtype):
        return literal(None, dtype)
    value = cast(node, dtype, call.dtype)
    if is_decimal(call.dtype):  # Spark's minus sign rounds to 34 digits
        return typed(call, binary(exp.Sub, literal(Decimal(0), call.dtype), value))
    return exp.Paren(this=exp.Neg(this=operand(value)))


def _refuse_nanoseconds(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if any(pa.types.is_temporal(t) and getattr(t, "unit", None) == "ns" for t in types):
        return "Spark counts times in microseconds, not in nanoseconds"
    return None


def _form(build: Callable[[Call], exp.Expr]) -> Form[exp.Expr]:
    return Form(build, _refuse_nanoseconds)


#: Java's power is NaN where C's is 1.
_POWER = """CASE WHEN x IS NULL OR y IS NULL THEN NULL
    WHEN x = CAST(1 AS DOUBLE) THEN CAST(1 AS DOUBLE)
    WHEN x = CAST(-1 AS DOUBLE) AND abs(y) = CAST('inf' AS DOUBLE) THEN CAST(1 AS DOUBLE)
    ELSE power(x, y) END"""

FORMS: dict[str, Form[Any] | Absent] = {
    "add": _form(_combine),
    "subtract": _form(_combine),
    "multiply": _form(_combine),
    "divide": _form(_divide),
    "floor_divide": _whole(
        """CASE WHEN y <> 0 THEN (x DIV y)
        - CASE WHEN x % y <> 0 AND (x < 0) <> (y < 0) THEN 1 ELSE 0 END END"""
    ),
    "modulo": _whole(
        """CASE WHEN y <> 0 THEN CASE WHEN x % y <> 0 AND (x < 0) <> (y < 0)
        THEN x % y + y ELSE x % y END END"""
    ),
    "truncate_divide": _whole(
        "CASE WHEN y <> 0 THEN x DIV y END",
        f"""CASE WHEN abs({_IEEE}) < CAST(4503599627370496 AS DOUBLE)
        THEN CAST(CAST({_IEEE} AS BIGINT) AS DOUBLE) ELSE {_IEEE} END""",
    ),
    "remainder": _whole(
        "CASE WHEN y <> 0 THEN x % y END",
        "CASE WHEN y = 0 THEN CASE WHEN x IS NOT NULL THEN CAST('nan' AS DOUBLE) END "
        "ELSE x % y END",
    ),
    "negate": _form(_negate),
    "power": Form(
        lambda call: snippet(_POWER, **dict(zip("xy", cast_all(call, FLOAT64), strict=True)))
    ),
}
