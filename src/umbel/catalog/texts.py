"""Texts of CSV and JSON files as values: the plan's casts, and durations, for which it has none.

A duration is written as ISO 8601 has it, in seconds: `PT90.5S`, `-PT1S`. Days, hours and minutes
are read as well; years and months, which have no fixed length, are not.
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from umbel.plan import casting
from umbel.plan.casting import cast_value
from umbel.plan.errors import EvaluationError
from umbel.plan.types import STRING, type_name

#: Ticks of a second.
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

#: The form in which durations are written; what looks like it is taken for one.
DURATION_TEXT = r"-?PT[0-9]+(\.[0-9]{1,9})?S"

_DURATION = re.compile(
    r"([+-])?P(?:([0-9]+)D)?(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)(?:\.([0-9]{1,9}))?S)?)?"
)


def duration_text(ticks: int, unit: str) -> str:
    """Write a duration of so many ticks of a unit.

    >>> duration_text(-90_500, "ms")
    '-PT90.5S'
    """
    seconds, rest = divmod(abs(ticks), _TICKS[unit])
    digits = f".{rest:0{len(str(_TICKS[unit])) - 1}}".rstrip("0") if rest else ""
    return f"{'-' if ticks < 0 else ''}PT{seconds}{digits}S"


def duration_ticks(text: str, unit: str) -> int:
    """Read a duration in ticks of a unit.

    Raises:
        ValueError: it is none, finer than the unit, or out of range.

    >>> duration_ticks("P1DT1H0.5S", "ms")
    90000500
    """
    match = _DURATION.fullmatch(text)
    if match is None or text[-1] in "PT":
        raise ValueError(text)
    sign, days, hours, minutes, seconds, fraction = match.groups()
    whole = ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes or 0)) * 60
    nanoseconds = (whole + int(seconds or 0)) * 10**9 + int((fraction or "").ljust(9, "0"))
    ticks, finer = divmod(nanoseconds, 10**9 // _TICKS[unit])
    if finer or ticks >= 2**63:
        raise ValueError(text)
    return -ticks if sign == "-" else ticks


def read_here_only(dtype: pa.DataType) -> bool:
    """Whether texts become values of a type by `value_of_text` alone, and not by a cast.

    >>> read_here_only(pa.duration("s")), read_here_only(pa.date32())
    (True, False)
    """
    return bool(pa.types.is_duration(dtype) or pa.types.is_null(dtype))


def refuse_text(dtype: pa.DataType) -> str | None:
    """Say why no text is a value of a type; None if some are."""
    return None if read_here_only(dtype) else casting.refuse_cast(STRING, dtype)


def value_of_text(text: str | None, dtype: pa.DataType) -> Any:
    """Convert a text to a type, as what `pyarrow.array` takes for it.

    Raises:
        EvaluationError: the type has no such value.

    >>> value_of_text("PT1S", pa.duration("ms"))
    1000
    """
    if text is None:
        return None
    if pa.types.is_null(dtype):
        raise EvaluationError(f"{text!r} is not null")
    if not pa.types.is_duration(dtype):
        return cast_value(text, STRING, dtype, strict=True)
    try:
        return duration_ticks(text, dtype.unit)
    except ValueError as error:
        raise EvaluationError(f"cannot cast {text!r} to {type_name(dtype)}") from error


__all__ = [
    "DURATION_TEXT",
    "duration_text",
    "duration_ticks",
    "read_here_only",
    "refuse_text",
    "value_of_text",
]
