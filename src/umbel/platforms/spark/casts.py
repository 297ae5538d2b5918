"""Casts on Spark, as `umbel.plan.casting` defines them; ANSI mode makes Spark's own fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.casting import kind, text_pattern
from umbel.plan.casting import refuse_cast as refuse_plan_cast
from umbel.plan.types import is_list, type_name
from umbel.platforms.spark.functions.snippets import fail, snippet, text
from umbel.platforms.spark.types import convert, literal, type_text
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_NUMBERS = ("boolean", "integer", "float", "decimal")
_UNSIGNED = {pa.uint8(): 2**8 - 1, pa.uint16(): 2**16 - 1, pa.uint32(): 2**32 - 1}
#: Seconds and milliseconds in microseconds.
_TICKS = {"s": 1_000_000, "ms": 1_000, "us": 1}


def refuse_cast(source: pa.DataType, target: pa.DataType) -> str | None:
    """Say why Spark cannot make a cast; None if it can.

    >>> refuse_cast(pa.float64(), pa.string())
    'Spark writes floats in another form than Python: cast to a decimal first'
    """
    reason = refuse_plan_cast(source, target)
    if reason is not None or source == target:
        return reason
    match (kind(source), kind(target)):
        case ("float", "string"):
            return "Spark writes floats in another form than Python: cast to a decimal first"
        case ("float", "decimal"):
            return "Spark rounds the decimal digits of a float, not the float"
        case ("time", "string"):
            return "Spark has no times of day"
        case ("timestamp", "string") if source.tz not in (None, "UTC"):
            return f"Spark does not write the offset of {source.tz}"
        case ("date", "timestamp") if target.tz not in (None, "UTC"):
            return "Spark's session is in UTC"
        case ("duration", "duration") if _TICKS[target.unit] > _TICKS[source.unit]:
            return f"rounding durations to {target.unit} has no form on Spark"
        case ("list", "list"):
            return refuse_cast(source.value_type, target.value_type)
        case ("struct", "struct"):
            pairs = zip(source, target, strict=True)
            return next(filter(None, (refuse_cast(a.type, b.type) for a, b in pairs)), None)
    return None


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
    >>> cast(column("a"), pa.int64(), pa.float64()).sql("spark")
    'CAST(`a` AS DOUBLE)'
    """
    if source == target:
        return operand
    wanted = type_text(target)
    match (kind(source), kind(target)):
        case ("null", _):
            return literal(None, target)
        case ("list", "list"):
            return _each_item(operand, source, target, strict=strict)
        case ("struct", "struct"):
            return _each_field(operand, source, target, strict=strict)
        case ("float", "integer"):
            return _unsigned(_to_long(operand, strict=strict), target, strict=strict)
        case ("boolean" | "integer" | "decimal", "integer"):
            return _unsigned(operand, target, strict=strict)
        case ("float" | "decimal", "float") if target == pa.float32():
            return _narrow(convert(operand, "DOUBLE"), strict=strict)
        case ("integer", "float") if target == pa.float32():
            return convert(convert(operand, "DOUBLE"), wanted)
        case (a, b) if a in _NUMBERS and b in _NUMBERS:
            return convert(operand, wanted, strict=strict)
        case ("string", "float") if target == pa.float32():
            return _narrow(_guarded(operand, target, "DOUBLE", strict=strict), strict=strict)
        case ("string", "integer") if target in _UNSIGNED:
            number = _guarded(operand, target, "DECIMAL(38, 0)", strict=strict)
            return _unsigned(number, target, strict=strict)
        case ("string", "integer" | "float" | "decimal" | "boolean" | "date"):
            return _guarded(operand, target, wanted, strict=strict)
        case ("string", "time"):
            moment = snippet("'1970-01-01T' || x", x=operand)
            guarded = _guard(operand, target, moment, strict=strict)
            return _time_of(convert(guarded, "TIMESTAMP_NTZ", strict=strict))
        case ("string", "timestamp"):
            return _round_down(_guarded(operand, target, wanted, strict=strict), target)
        case ("string", "binary"):
            return convert(operand, wanted)
        case ("binary", "string"):
            name = "validate_utf8" if strict else "try_validate_utf8"
            return function(name, convert(operand, wanted))
        case ("boolean" | "integer" | "decimal" | "date", "string"):
            return convert(operand, wanted)
        case ("timestamp", "string"):
            return _iso_text(operand, source)
        case ("date", "timestamp"):
            local = convert(operand, "TIMESTAMP_NTZ")
            return convert(local, wanted) if target.tz else local
        case ("timestamp", "date"):
            return convert(local_time(operand, source), wanted)
        case ("timestamp", "time"):
            return _time_of(local_time(operand, source))
        case ("timestamp", "timestamp"):
            moment = local_time(operand, source) if target.tz is None else operand
            if target.tz is not None and source.tz is None:
                moment = convert(operand, wanted)
            return _round_down(moment, target)
    return operand  # binary, time and duration lie in one layout whatever their unit


def local_time(operand: exp.Expr, source: pa.DataType) -> exp.Expr:
    """What a clock in the zone of a timestamp's type shows, as TIMESTAMP_NTZ.

    The session is in UTC, so that a plain cast gives the clock there.
    """
    if source.tz is None:
        return operand
    clock = convert(operand, "TIMESTAMP_NTZ")
    return (
        clock
        if source.tz == "UTC"
        else function("convert_timezone", text("UTC"), text(source.tz), clock)
    )


def _guard(operand: exp.Expr, target: pa.DataType, value: exp.Expr, *, strict: bool) -> exp.Expr:
    """Let only the plan's syntax pass to Spark's parsers."""
    message = snippet("raise_error(m || x)", m=text(f"no {type_name(target)}: "), x=operand.copy())
    return snippet(
        "CASE WHEN x RLIKE p THEN v WHEN x IS NOT NULL THEN e END",
        x=operand.copy(),
        p=text(rf"\A(?:{text_pattern(target)})\z"),
        v=value.copy(),
        e=message if strict else literal(None, pa.string()),
    )


def _guarded(operand: exp.Expr, target: pa.DataType, wanted: str, *, strict: bool) -> exp.Expr:
    return convert(_guard(operand, target, operand, strict=strict), wanted, strict=strict)


def _misfit(target: str, *, strict: bool) -> exp.Expr:
    return fail(f"a number does not fit into {target}") if strict else exp.Null()


def _to_long(operand: exp.Expr, *, strict: bool) -> exp.Expr:
    """A float as BIGINT; Spark takes 2**63 for the greatest of them."""
    double = convert(operand, "DOUBLE")
    return snippet(
        "CASE WHEN x >= CAST('9223372036854775808' AS DOUBLE) THEN e ELSE whole END",
        x=double.copy(),
        e=_misfit("int64", strict=strict),
        whole=convert(double, "BIGINT", strict=strict),
    )


def _unsigned(operand: exp.Expr, target: pa.DataType, *, strict: bool) -> exp.Expr:
    most = _UNSIGNED.get(target)
    wanted = type_text(target)
    if most is None:
        return convert(operand, wanted, strict=strict)
    wide = convert(operand, "BIGINT", strict=strict)
    return convert(
        snippet(
            "CASE WHEN x BETWEEN 0 AND most THEN x WHEN x IS NOT NULL THEN e END",
            x=wide,
            most=literal(most, pa.int64()),
            e=_misfit(type_name(target), strict=strict),
        ),
        wanted,
    )


def _narrow(double: exp.Expr, *, strict: bool) -> exp.Expr:
    """A DOUBLE as FLOAT; Spark turns what is too large into infinity."""
    return snippet(
        """CASE WHEN abs(CAST(x AS FLOAT)) = CAST('inf' AS FLOAT)
            AND abs(x) <> CAST('inf' AS DOUBLE) THEN e ELSE CAST(x AS FLOAT) END""",
        x=double,
        e=_misfit("float32", strict=strict),
    )


def _time_of(moment: exp.Expr) -> exp.Expr:
    return snippet(
        "pmod(unix_micros(CAST(x AS TIMESTAMP_LTZ)), CAST(86400000000 AS BIGINT))", x=moment
    )


def _iso_text(operand: exp.Expr, source: pa.DataType) -> exp.Expr:
    suffix = "'+00:00'" if source.tz else ""
    return snippet(
        """CASE WHEN unix_micros(CAST(x AS TIMESTAMP_LTZ)) % 1000000 = 0
            THEN date_format(x, whole) ELSE date_format(x, parts) END""",
        x=local_time(operand, source),
        whole=text(f"yyyy-MM-dd'T'HH:mm:ss{suffix}"),
        parts=text(f"yyyy-MM-dd'T'HH:mm:ss.SSSSSS{suffix}"),
    )


def _round_down(moment: exp.Expr, target: pa.DataType) -> exp.Expr:
    """Cut a timestamp to the target's unit."""
    if target.unit == "us":
        return moment
    unit = text("SECOND" if target.unit == "s" else "MILLISECOND")
    return convert(function("date_trunc", unit, moment), type_text(target))


def _each_item(
    operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
) -> exp.Expr:
    if not is_list(source):
        return operand
    item = exp.column("item")
    changed = cast(item, source.value_type, target.value_type, strict=strict)
    body = exp.Lambda(this=changed, expressions=[exp.to_identifier("item")])
    return function("transform", operand, body)


def _each_field(
    operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
) -> exp.Expr:
    parts: list[exp.Expr] = []
    for old, new in zip(source, target, strict=True):
        value = cast(field(operand.copy(), old.name), old.type, new.type, strict=strict)
        parts += [text(new.name), value]
    return snippet(
        "CASE WHEN x IS NOT NULL THEN made END", x=operand, made=function("named_struct", *parts)
    )


def field(struct: exp.Expr, name: str) -> exp.Expr:
    """Take a field out of a struct."""
    return exp.Dot(this=exp.Paren(this=struct), expression=exp.to_identifier(name, quoted=True))
