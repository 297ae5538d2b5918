"""Casts on DuckDB, as `umbel.plan.casting` defines them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.casting import kind, text_pattern
from umbel.plan.casting import refuse_cast as refuse_plan_cast
from umbel.plan.types import type_name
from umbel.platforms.duckdb.types import convert, type_text
from umbel.sql.expressions import function
from umbel.sql.python_functions import call_cast

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def refuse_cast(source: pa.DataType, target: pa.DataType) -> str | None:
    """Say why DuckDB cannot make a cast; None if it can."""
    return refuse_plan_cast(source, target)


def cast(
    operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool = True
) -> exp.Expr:
    """Build the expression that converts between types as the plan means it.

    Args:
        operand: what to convert.
        source: its type.
        target: the type wanted.
        strict: fail on a value without a form in `target`, instead of giving null.

    >>> from umbel.sql.expressions import column
    >>> cast(column("a"), pa.float64(), pa.int8()).sql("duckdb")
    'CAST(TRUNC("a") AS TINYINT)'
    """
    if source == target:
        return operand
    wanted = type_text(target)
    match (kind(source), kind(target)):
        case ("null", _):
            return convert(operand, wanted)
        case ("float" | "decimal", "integer"):
            return convert(function("trunc", operand), wanted, strict=strict)
        case ("decimal", "float") if source.scale == 0 and source.precision > 18:
            # DuckDB rounds such whole numbers twice.
            exact = convert(convert(operand, "VARCHAR"), "DOUBLE")
            return exact if target == pa.float64() else convert(exact, wanted, strict=strict)
        case ("integer" | "decimal", "float") if target == pa.float32():
            return convert(convert(operand, "DOUBLE"), wanted, strict=strict)
        case ("float", "decimal"):
            return convert(convert(operand, "DOUBLE"), wanted, strict=strict)
        case (
            ("boolean" | "integer" | "float" | "decimal"),
            ("boolean" | "integer" | "float" | "decimal"),
        ):
            return convert(operand, wanted, strict=strict)
        case ("string", "float") if target == pa.float32():
            double = convert(_guard(operand, target), "DOUBLE", strict=strict)
            return convert(double, wanted, strict=strict)
        case ("string", "integer" | "float" | "decimal" | "boolean" | "date" | "time"):
            return convert(_guard(operand, target), wanted, strict=strict)
        case ("string", "timestamp"):
            moment = convert(
                _guard(operand, target),
                "TIMESTAMPTZ" if target.tz else "TIMESTAMP",
                strict=strict,
            )
            return _round_down(moment, target)
        case ("string", "binary"):
            return function("encode", operand)
        case ("binary", "string"):
            text = function("decode", operand)
            return text if strict else function("try", text)
        case ("float", "string"):
            return convert(convert(operand, "DOUBLE"), wanted)
        case ("boolean" | "integer" | "decimal" | "date", "string"):
            return convert(operand, wanted)
        case ("timestamp", "string") if source.tz in (None, "UTC"):
            return _iso_text(operand, source)
        case ("date", "timestamp") if target.tz is None:
            return convert(operand, wanted)
        case ("timestamp", "date" | "time") if source.tz is None:
            return convert(operand, wanted)
        case ("timestamp", "timestamp") if source.tz is None and target.tz is None:
            return _round_down(convert(operand, "TIMESTAMP"), target)
        case ("duration", "duration") if target.unit == "us":
            return operand
    return call_cast(source, target, operand, strict=strict)


def _guard(operand: exp.Expr, target: pa.DataType) -> exp.Expr:
    """Let only the plan's syntax pass to DuckDB's parsers; other text becomes what none reads."""
    pattern = exp.Literal.string(text_pattern(target))
    matches = function("regexp_full_match", operand.copy(), pattern)
    message = exp.Literal.string(f"no {type_name(target)}: ")
    return exp.Case(
        ifs=[exp.If(this=matches, true=operand)],
        default=exp.DPipe(this=message, expression=operand.copy()),
    )


def _iso_text(operand: exp.Expr, source: pa.DataType) -> exp.Expr:
    if not source.tz and source.unit != "us":
        operand = convert(operand, "TIMESTAMP")
    moment = operand
    if source.tz:  # the wall clock in UTC, whatever the session's zone
        moment = function("make_timestamp", function("epoch_us", operand))
    pattern = "%Y-%m-%dT%H:%M:%S"
    whole = exp.EQ(
        this=exp.Mod(
            this=function("epoch_us", operand.copy()), expression=exp.Literal.number(1_000_000)
        ),
        expression=exp.Literal.number(0),
    )
    suffix = "+00:00" if source.tz else ""
    return exp.Case(
        ifs=[
            exp.If(
                this=whole,
                true=function("strftime", moment, exp.Literal.string(pattern + suffix)),
            )
        ],
        default=function("strftime", moment.copy(), exp.Literal.string(pattern + ".%f" + suffix)),
    )


def _round_down(moment: exp.Expr, target: pa.DataType) -> exp.Expr:
    """Give a microsecond timestamp the target's unit; DuckDB would round to the nearest."""
    if target.tz is not None or target.unit in ("us", "ns"):
        return moment if target.tz or target.unit == "us" else convert(moment, type_text(target))
    unit = "second" if target.unit == "s" else "millisecond"
    cut = function("date_trunc", exp.Literal.string(unit), moment)
    return convert(cut, type_text(target))
