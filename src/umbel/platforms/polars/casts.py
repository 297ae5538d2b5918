"""Casts on Polars, as `umbel.plan.casting` defines them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.casting import cast_value, kind, text_pattern
from umbel.plan.casting import refuse_cast as refuse_plan_cast
from umbel.plan.errors import EvaluationError
from umbel.plan.types import MAX_DECIMAL_PRECISION, type_name
from umbel.platforms.polars.fallback import each_batch, each_row, from_arrow, patch_rows
from umbel.platforms.polars.types import literal, polars_type

pc = LazyModule("pyarrow.compute")

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


_NUMBERS = ("integer", "float", "decimal", "boolean")


def refuse_cast(source: pa.DataType, target: pa.DataType) -> str | None:
    """Say why Polars cannot make a cast; None if it can."""
    return refuse_plan_cast(source, target)


def cast(
    expr: pl.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool = True
) -> pl.Expr:
    """Build the expression that converts between types as the plan means it.

    Args:
        expr: the operand.
        source: its type.
        target: the type wanted.
        strict: fail on a value without a form in `target`, instead of giving null.
    """
    if source == target:
        return expr
    from_kind, to_kind = kind(source), kind(target)
    if from_kind == "null":
        return literal(None, target)
    if from_kind in _NUMBERS and to_kind in _NUMBERS:
        return _number(expr, source, target, strict=strict)
    match (from_kind, to_kind):
        case ("string", "integer"):
            # Polars reads just the plan's syntax, but no "-0" where there is no sign.
            if pa.types.is_unsigned_integer(target):
                expr = expr.cast(pl.Int128, strict=strict)
            return expr.cast(polars_type(target), strict=strict)
        case ("string", "float"):
            return cast(
                _guard(expr, target).cast(pl.Float64, strict=strict),
                pa.float64(),
                target,
                strict=strict,
            )
        case ("string", "boolean"):
            word = _guard(expr, target).str.to_lowercase()
            words = {"true": True, "false": False, None: None}
            if strict:
                return word.replace_strict(words, return_dtype=pl.Boolean)
            return word.replace_strict(words, default=None, return_dtype=pl.Boolean)
        case ("string", "date"):
            return _guard(expr, target).str.to_date("%Y-%m-%d", strict=strict)
        case ("string", "timestamp"):
            return _parse_timestamp(_guard(expr, target), target, strict=strict)
        case ("string", "binary"):
            return expr.cast(pl.Binary)
        case ("binary", "string") if strict:
            return expr.cast(pl.String)
        case ("integer" | "decimal" | "boolean", "string"):
            return expr.cast(pl.String)
        case ("float", "string"):
            return each_batch(_float_text, [expr.cast(pl.Float64)], target)
        case ("date" | "time" | "timestamp", "string"):
            return _iso_text(expr, source)
        case ("date", "timestamp"):
            return expr.cast(polars_type(target))
        case ("timestamp", "date" | "time"):
            return _wall_clock(expr, source).cast(polars_type(target))
        case ("timestamp", "timestamp"):
            return _timestamp(expr, source, target)
        case ("duration", "duration"):
            return _round_down(expr, source, target)
    convert = partial(cast_value, source=source, target=target, strict=strict)
    return each_row(convert, [expr], target)


def _number(expr: pl.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool) -> pl.Expr:
    wanted = polars_type(target)
    match (kind(source), kind(target)):
        case (_, "boolean"):
            return expr.cast(pl.Boolean)
        case ("boolean", "decimal"):
            return expr.cast(pl.Int64).cast(wanted, strict=strict)
        case (_, "float") if target == pa.float32():
            return each_batch(
                partial(_float32, strict=strict), [expr.cast(pl.Float64, strict=strict)], target
            )
        case ("float", "decimal"):
            convert = partial(cast_value, source=pa.float64(), target=target, strict=strict)
            run = partial(_decimal_of_float, dtype=target, convert=convert)
            return each_batch(run, [expr.cast(pl.Float64)], target)
        case ("decimal", "decimal") if target.scale < source.scale:
            if source.precision == MAX_DECIMAL_PRECISION:
                run = partial(_rescale, dtype=target, strict=strict)
                return each_batch(run, [expr], target)
            rounded = expr.round(target.scale, mode="half_away_from_zero")
            return rounded.cast(wanted, strict=strict)
    return expr.cast(wanted, strict=strict)


def _float32(series: pl.Series, *, strict: bool) -> pl.Series:
    narrow = series.cast(pl.Float32)
    lost = narrow.is_infinite() & series.is_finite()
    if not lost.any():
        return narrow
    if strict:
        value = series.filter(lost).first()
        raise EvaluationError(f"cannot cast {value!r} to float32")
    return narrow.zip_with(~lost, pl.Series([None], dtype=pl.Float32))


def _decimal_of_float(series: pl.Series, dtype: pa.DataType, convert: Any) -> pl.Series:
    """Scale in float64, round, and read the whole number as the decimal's digits."""
    scaled = (series * float(f"1e{dtype.scale}")).round(0, mode="half_away_from_zero")
    limit = float(min(2**63, 10**dtype.precision))
    hard = (scaled.abs() >= limit) | scaled.is_nan()
    digits = scaled.zip_with(~hard.fill_null(value=False), pl.Series([0.0])).cast(pl.Int64)
    whole = pc.cast(digits.to_arrow(), pa.decimal128(19, 0))
    native = from_arrow(whole.view(dtype), dtype)
    return patch_rows(native, hard, convert, [series], dtype)


def _rescale(series: pl.Series, dtype: pa.DataType, *, strict: bool) -> pl.Series:
    """Round the widest decimals, which have no room for a carry, in 256 bits."""
    source = series.to_arrow()
    wide = pc.cast(source, pa.decimal256(40, source.type.scale))
    rounded = pc.round(wide, ndigits=dtype.scale, round_mode="half_towards_infinity")
    short = pc.cast(rounded, pa.decimal256(50, dtype.scale))
    limit = pa.scalar(10 ** (dtype.precision - dtype.scale), short.type)
    fits = pc.less(pc.abs(short), limit)
    if not pc.all(fits).as_py() and pc.any(pc.invert(fits)).as_py():
        if strict:
            value = pc.filter(source, pc.invert(fits))[0].as_py()
            raise EvaluationError(f"cannot cast {value!r} to {type_name(dtype)}")
        short = pc.if_else(fits, short, pa.scalar(None, short.type))
    return from_arrow(pc.cast(short, dtype), dtype)


def _guard(expr: pl.Expr, target: pa.DataType) -> pl.Expr:
    """Let only the plan's syntax pass to Polars' parsers; other text becomes what none reads."""
    matches = expr.str.contains(f"^(?:{text_pattern(target)})$")
    return pl.when(matches).then(expr).otherwise(pl.lit(f"no {type_name(target)}: ") + expr)


def _float_text(series: pl.Series) -> pl.Series:
    """Python's `repr`; Polars writes small and large numbers another way."""
    native = series.cast(pl.String)
    size = series.abs()
    other = series.is_nan() | (
        series.is_finite() & (size != 0.0) & ((size < 1e-4) | (size >= 1e16))
    )
    return patch_rows(native, other, repr, [series], pa.string())


def _iso_text(expr: pl.Expr, source: pa.DataType) -> pl.Expr:
    if kind(source) == "date":
        return expr.dt.strftime("%Y-%m-%d")
    if kind(source) == "timestamp" and source.tz not in (None, "UTC"):
        # A zone's offset may have seconds, which Polars leaves out.
        convert = partial(cast_value, source=source, target=pa.string(), strict=True)
        return each_row(convert, [expr], pa.string())
    pattern = "%H:%M:%S" if kind(source) == "time" else "%Y-%m-%dT%H:%M:%S"
    text = (
        pl.when(expr.dt.microsecond() == 0)
        .then(expr.dt.strftime(pattern))
        .otherwise(expr.dt.strftime(pattern + "%.6f"))
    )
    return text + "+00:00" if kind(source) == "timestamp" and source.tz else text


def _parse_timestamp(text: pl.Expr, target: pa.DataType, *, strict: bool) -> pl.Expr:
    if target.tz is not None:
        text = (
            pl.when(text.str.ends_with("Z"))
            .then(text.str.strip_suffix("Z") + "+00:00")
            .otherwise(text)
        )
        clock, offset = text.str.head(-6), text.str.tail(6)
    else:
        clock, offset = text, pl.lit("+00:00")
    length = clock.str.len_bytes()
    # What is too short or long here was no timestamp and stays unreadable.
    full = (
        pl.when(length == 10)
        .then(clock + "T00:00:00.0")
        .when(length == 16)
        .then(clock + ":00.0")
        .when(length == 19)
        .then(clock + ".0")
        .otherwise(clock)
    ).str.replace(" ", "T", literal=True)
    pattern = "%Y-%m-%dT%H:%M:%S%.f%:z"
    moment = (full + offset).str.to_datetime(pattern, time_unit="us", strict=strict)
    if target.tz is None:
        moment = moment.dt.replace_time_zone(None)
        return _timestamp(moment, pa.timestamp("us"), target)
    return _timestamp(moment, pa.timestamp("us", "UTC"), target)


def _wall_clock(expr: pl.Expr, source: pa.DataType) -> pl.Expr:
    return expr if source.tz is None else expr.dt.replace_time_zone(None)


def _timestamp(expr: pl.Expr, source: pa.DataType, target: pa.DataType) -> pl.Expr:
    if source.tz is not None and target.tz is None:
        expr = expr.dt.replace_time_zone(None)
    elif source.tz is None and target.tz is not None:
        expr = expr.dt.replace_time_zone(target.tz)
    elif source.tz != target.tz:
        expr = expr.dt.convert_time_zone(target.tz)
    return _round_down(expr, source, target)


_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def _round_down(expr: pl.Expr, source: pa.DataType, target: pa.DataType) -> pl.Expr:
    """Change the unit; Polars would round durations toward zero, and knows no seconds."""
    wanted = polars_type(target)
    held = _NANOSECONDS["ms" if source.unit == "s" else source.unit]
    unit = _NANOSECONDS[target.unit]
    if unit <= held:
        return expr.cast(wanted)
    ticks = expr.cast(pl.Int64) // (unit // held)
    return (ticks * 1000 if target.unit == "s" else ticks).cast(wanted)
