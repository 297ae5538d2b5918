"""Casts on PostgreSQL, as `umbel.plan.casting` defines them.

PostgreSQL has no cast that gives null instead of failing, so each one here knows beforehand which
values have a form in the target type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.casting import integer_bounds, kind, text_pattern
from umbel.plan.casting import refuse_cast as refuse_plan_cast
from umbel.plan.types import is_decimal, is_float, type_name
from umbel.platforms.postgres.snippets import error, once, snippet
from umbel.platforms.postgres.types import convert, literal, refuse_type, type_text

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Floats from here on (half of the least float32) round to zero; PostgreSQL would fail.
_LEAST_FLOAT32 = repr(2.0**-150)
#: Floats from here on round to an infinite float32.
_BEYOND_FLOAT32 = repr((2.0 - 2.0**-24) * 2.0**127)
#: Digits that a float scaled to a decimal may have: those of a BIGINT.
_SHORT = 18
_ISO = 'YYYY-MM-DD"T"HH24:MI:SS'


def refuse_cast(source: pa.DataType, target: pa.DataType) -> str | None:
    """Say why PostgreSQL cannot make a cast; None if it can."""
    reason = refuse_plan_cast(source, target) or refuse_type(source) or refuse_type(target)
    if reason is not None or source == target:
        return reason
    match (kind(source), kind(target)):
        case ("binary", "string"):
            return "PostgreSQL fails on bytes that are no text, also where null is wanted"
        case ("float", "decimal") if target.precision > _SHORT:
            return f"PostgreSQL keeps {_SHORT} digits of a float at most"
        case ("timestamp", "string") if source.tz not in (None, "UTC"):
            return "PostgreSQL writes times in the session's zone only"
        case ("list", "list"):
            return refuse_cast(source.value_type, target.value_type)
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
    >>> cast(column("a"), pa.int16(), pa.int64()).sql("postgres")
    'CAST("a" AS BIGINT)'
    """
    if source == target:
        return operand
    wanted = type_text(target)
    match (kind(source), kind(target)):
        case ("null", _):
            return convert(exp.Null(), wanted)
        case ("boolean", "integer" | "float" | "decimal"):
            return convert(convert(operand, "INTEGER"), wanted)
        case ("integer" | "float" | "decimal", "boolean"):
            return snippet("x <> 0", x=operand)
        case ("integer" | "float" | "decimal", "integer"):
            return _to_integer(operand, source, target, strict=strict)
        case ("integer" | "decimal" | "float", "float"):
            return _to_float(operand, source, target, strict=strict)
        case ("integer" | "decimal", "decimal"):
            return _to_decimal(operand, source, target, strict=strict)
        case ("float", "decimal"):
            return _float_to_decimal(operand, target, strict=strict)
        case ("string", "integer" | "float" | "decimal" | "boolean" | "date" | "time"):
            return _parse(operand, target, strict=strict)
        case ("string", "timestamp"):
            return _parse(operand, target, strict=strict)
        case ("string", "binary"):
            return snippet("convert_to(x, 'UTF8')", x=operand)
        case ("float", "string"):
            return _repr(convert(operand, "DOUBLE PRECISION"))
        case ("decimal", "string"):
            return convert(convert(operand, type_text(source)), "TEXT")
        case ("boolean" | "integer" | "date", "string"):
            return convert(operand, "TEXT")
        case ("time", "string"):
            return _iso_text(snippet("x + DATE '2000-01-01'", x=operand), "HH24:MI:SS")
        case ("timestamp", "string"):
            moment = local(operand, source)
            text = _iso_text(moment, _ISO)
            return snippet("x || '+00:00'", x=text) if source.tz else text
        case ("date", "timestamp"):
            midnight = convert(operand, "TIMESTAMP")
            return snippet("x AT TIME ZONE 'UTC'", x=midnight) if target.tz else midnight
        case ("timestamp", "date" | "time"):
            return convert(local(operand, source), wanted)
        case ("timestamp", "timestamp"):
            if source.tz is not None and target.tz is None:
                operand = local(operand, source)
            elif source.tz is None and target.tz is not None:
                operand = snippet("x AT TIME ZONE 'UTC'", x=operand)
            return _round_down(operand, target)
        case ("duration", "duration"):
            return _whole_units(operand, {"s": 1_000_000, "ms": 1_000, "us": 1}[target.unit])
        case ("list", "list"):
            item = cast(exp.column("v"), source.value_type, target.value_type, strict=strict)
            return each(operand, item, target)
    raise TypeError(f"no cast from {type_name(source)} to {type_name(target)}")


def each(items: exp.Expr, item: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Map the items of an array, called `v`, in their order; null stays null."""
    mapped = once(
        """CASE WHEN NOT x IS NULL THEN
        ARRAY(SELECT item FROM UNNEST(x) WITH ORDINALITY AS u(v, o) ORDER BY o) END""",
        x=items,
    )
    for place in list(mapped.find_all(exp.Column)):
        if place.name == "item" and not place.table:
            place.replace(item.copy())
    return convert(mapped, type_text(dtype))


def zone(name: str) -> exp.Expr:
    """Write a time zone; PostgreSQL takes offsets written as names for those of POSIX."""
    if name[:1] in ("+", "-"):
        return convert(exp.Literal.string(name), "INTERVAL")
    return exp.Literal.string(name)


def local(operand: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Give what a clock in the zone of a timestamp's type shows; other values stay."""
    if not pa.types.is_timestamp(dtype) or dtype.tz is None:
        return operand
    return snippet("x AT TIME ZONE z", x=operand, z=zone(dtype.tz))


def whole(operand: exp.Expr) -> exp.Expr:
    """Write a numeric or a float cut to a whole number."""
    return snippet("trunc(x)", x=operand)


def _to_integer(
    operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
) -> exp.Expr:
    wanted = type_text(target)
    low, high = integer_bounds(target)
    if pa.types.is_integer(source):
        least, most = integer_bounds(source)
        if low <= least and most <= high:
            return convert(operand, wanted)
        bounds = literal(low, pa.int64()), literal(high, pa.int64())
        inside = "x BETWEEN low AND high"
    elif is_float(source):
        operand = whole(convert(operand, "DOUBLE PRECISION"))
        bounds = literal(float(low), pa.float64()), literal(float(high + 1), pa.float64())
        inside = "x >= low AND x < high"
    else:
        operand = whole(operand)
        bounds = (
            convert(exp.Literal.number(low), "NUMERIC"),
            convert(exp.Literal.number(high), "NUMERIC"),
        )
        inside = "x BETWEEN low AND high"
    if strict and target in (pa.int16(), pa.int32(), pa.int64()):
        return convert(operand, wanted)  # PostgreSQL fails by itself
    low_bound, high_bound = bounds
    return _guarded(inside, operand, target, strict=strict, low=low_bound, high=high_bound)


def _guarded(
    condition: str,
    operand: exp.Expr,
    target: pa.DataType,
    *,
    strict: bool,
    **arguments: exp.Expr,
) -> exp.Expr:
    """Convert where a condition on `x` holds; elsewhere fail, or give null."""
    return once(
        f"""CASE WHEN {condition} THEN CAST(x AS {type_text(target)})
        WHEN NOT x IS NULL THEN {_otherwise(target, strict=strict)} END""",
        x=operand,
        **arguments,
    )


def _otherwise(target: pa.DataType, *, strict: bool) -> str:
    """What takes the place of a value `x` that has no form: a failure, or null."""
    if not strict:
        return "NULL"
    return error(f"no {type_name(target)}: ", target, exp.column("x")).sql("postgres")


def _to_float(
    operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
) -> exp.Expr:
    double = convert(operand, "DOUBLE PRECISION")
    if target == pa.float64():
        return double
    if pa.types.is_integer(source):
        return convert(double, "REAL")
    beyond = "" if strict else f"WHEN abs(x) >= {_BEYOND_FLOAT32} AND abs(x) < 'Infinity' THEN NULL"
    return once(
        f"""CASE WHEN abs(x) <= {_LEAST_FLOAT32} THEN CAST(0 AS REAL) {beyond}
        ELSE CAST(x AS REAL) END""",
        x=double,
    )


def _to_decimal(
    operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
) -> exp.Expr:
    wanted = type_text(target)
    number = operand if is_decimal(source) else convert(operand, "NUMERIC")
    if strict:
        return convert(number, wanted)
    limit = convert(exp.Literal.string("1" + "0" * (target.precision - target.scale)), "NUMERIC")
    return _guarded(
        f"abs(round(x, {target.scale})) < bound_limit",
        number,
        target,
        strict=False,
        bound_limit=limit,
    )


def _float_to_decimal(operand: exp.Expr, target: pa.DataType, *, strict: bool) -> exp.Expr:
    """Scale in float64, round halves away from zero, as the plan says; then exactly."""
    limit = float(10 ** (target.precision - target.scale)) * 2
    scaled = once(
        "CASE WHEN abs(x) < l THEN x * p END",
        x=convert(operand, "DOUBLE PRECISION"),
        l=literal(limit, pa.float64()),
        p=literal(float(f"1e{target.scale}"), pa.float64()),
    )
    # A tiny float would fail as an underflow; it is zero anyway.
    scaled = once(
        "CASE WHEN abs(x) < 1e-200 THEN 0.0 ELSE s END",
        x=convert(operand, "DOUBLE PRECISION"), s=scaled,
    )  # fmt: skip
    rounded = round_away(convert(scaled, "DOUBLE PRECISION"))
    exact = once(
        "CASE WHEN abs(r) < l THEN CAST(CAST(r AS BIGINT) AS NUMERIC) * u END",
        r=rounded,
        l=literal(float(10**target.precision), pa.float64()),
        u=convert(exp.Literal.string(f"1e-{target.scale}"), "NUMERIC"),
    )
    made = convert(exact, type_text(target))
    if not strict:
        return made
    return once(
        f"""CASE WHEN NOT m IS NULL THEN m
        WHEN NOT x IS NULL THEN {_otherwise(target, strict=True)} END""",
        x=operand,
        m=made,
    )


def round_away(value: exp.Expr) -> exp.Expr:
    """Round a float to the nearest whole number, halves away from zero."""
    return once(
        """CASE WHEN abs(x) < 4503599627370496.0 THEN trunc(x) +
        CASE WHEN abs(x - trunc(x)) >= 0.5 THEN sign(x) ELSE 0.0 END ELSE x END""",
        x=value,
    )


def _repr(value: exp.Expr) -> exp.Expr:
    """Write a float as Python does: fixed below 1e16, with a point, and short names."""
    return once(
        """CASE WHEN x = 'NaN' THEN 'nan' WHEN x = 'Infinity' THEN 'inf'
        WHEN x = '-Infinity' THEN '-inf'
        WHEN abs(x) >= 1e15 AND abs(x) < 1e16 THEN
            CASE WHEN x = trunc(x) THEN CAST(CAST(x AS BIGINT) AS TEXT) || '.0'
            ELSE CAST(CAST(CAST(x AS TEXT) AS NUMERIC) AS TEXT) END
        WHEN CAST(x AS TEXT) ~ '[.e]' THEN CAST(x AS TEXT)
        ELSE CAST(x AS TEXT) || '.0' END""",
        x=value,
    )


def _iso_text(moment: exp.Expr, pattern: str) -> exp.Expr:
    return once(
        """CASE WHEN CAST(EXTRACT(MICROSECONDS FROM x) AS BIGINT) % 1000000 = 0
        THEN to_char(x, p) ELSE to_char(x, q) END""",
        x=moment,
        p=exp.Literal.string(pattern),
        q=exp.Literal.string(f"{pattern}.US"),
    )


def _round_down(moment: exp.Expr, target: pa.DataType) -> exp.Expr:
    if target.unit == "us":
        return moment
    unit = {"s": "second", "ms": "milliseconds"}[target.unit]
    return snippet(f"date_trunc('{unit}', x)", x=moment)


def _whole_units(micros: exp.Expr, unit: int) -> exp.Expr:
    if unit == 1:
        return micros
    return once(f"x - (x % {unit} + {unit}) % {unit}", x=micros)


#: Whether the day of a date that is written out is one of its month.
_VALID_DAY = """(substr(x, 9, 2) <= '28' OR CAST(substr(x, 9, 2) AS INTEGER) <= EXTRACT(DAY FROM
    make_date(CAST(substr(x, 1, 4) AS INTEGER), CAST(substr(x, 6, 2) AS INTEGER), 1)
    + INTERVAL '1 month' - INTERVAL '1 day'))"""


def _parse(operand: exp.Expr, target: pa.DataType, *, strict: bool) -> exp.Expr:
    """Read a text: only the plan's syntax, and only values that exist."""
    pattern = exp.Literal.string(f"^({text_pattern(target)})$")
    wanted = type_text(target)
    valid, value = "TRUE", f"CAST(x AS {wanted})"
    match kind(target):
        case "integer":
            low, high = integer_bounds(target)
            valid = f"CAST(x AS NUMERIC) BETWEEN {low} AND {high}"
        case "float":
            value = _FLOAT
        case "decimal":
            limit = "1" + "0" * (target.precision - target.scale)
            valid = f"abs(round(CAST(x AS NUMERIC), {target.scale})) < CAST('{limit}' AS NUMERIC)"
            value = f"CAST(CAST(x AS NUMERIC) AS {wanted})"
        case "boolean":
            value = "x ~ '^[tT]'"
        case "date":
            valid = _VALID_DAY
        case "timestamp":
            valid = _VALID_DAY
            value = _ZONED if target.tz else "CAST(x AS TIMESTAMP)"
    otherwise = _otherwise(target, strict=strict)
    # The syntax comes first: what does not fit it must not reach the other tests.
    read = once(
        f"""CASE WHEN x ~ p THEN CASE WHEN {valid} THEN {value} ELSE {otherwise} END
        WHEN NOT x IS NULL THEN {otherwise} END""",
        x=operand,
        p=pattern,
    )
    if target == pa.float32():
        return _to_float(convert(read, "DOUBLE PRECISION"), pa.float64(), target, strict=strict)
    if kind(target) == "timestamp":
        return _round_down(_in_years(read, target, strict=strict), target)
    return read


#: Beyond the range of a float PostgreSQL fails where others give infinity or zero.
_FLOAT = """CASE WHEN x ~ '^[+-]?[0-9]{1,30}([.][0-9]{0,30})?$' OR x ~ '[nN]'
    THEN CAST(x AS DOUBLE PRECISION)
    WHEN abs(CAST(x AS NUMERIC)) >= CAST('1.7976931348623158079372897140530342e308' AS NUMERIC)
    THEN CAST(CASE WHEN x ~ '^-' THEN '-Infinity' ELSE 'Infinity' END AS DOUBLE PRECISION)
    WHEN abs(CAST(x AS NUMERIC)) <= CAST('2.4703282292062327208e-324' AS NUMERIC)
    THEN CAST(0 AS DOUBLE PRECISION) ELSE CAST(x AS DOUBLE PRECISION) END"""

#: Offsets may have up to 24 hours, of which PostgreSQL reads 16.
_ZONED = """(CAST(regexp_replace(x, '(Z|[+-][0-9:]{5})$', '') AS TIMESTAMP)
    - CASE WHEN x ~ 'Z$' THEN INTERVAL '0' ELSE CAST(right(x, 6) AS INTERVAL) END)
    AT TIME ZONE 'UTC'"""


def _in_years(moment: exp.Expr, target: pa.DataType, *, strict: bool) -> exp.Expr:
    """An offset may move a time out of the years 1 to 9999."""
    if target.tz is None:
        return moment
    otherwise = "NULL"
    if strict:
        otherwise = error("a time is outside the years 1 to 9999", target).sql("postgres")
    return once(
        f"""CASE WHEN x >= TIMESTAMPTZ '0001-01-01 00:00+00' AND
        x < TIMESTAMPTZ '9999-12-31 00:00+00' + INTERVAL '1 day' THEN x
        WHEN NOT x IS NULL THEN {otherwise} END""",
        x=moment,
    )


__all__ = ["cast", "each", "local", "refuse_cast", "round_away", "whole", "zone"]
