"""The type that a sample of texts shows: what CSV fields and texts in JSON turn out to be."""

from __future__ import annotations

import re

import pyarrow as pa

from umbel.catalog.texts import DURATION_TEXT, duration_ticks
from umbel.lazy import LazyModule
from umbel.plan.casting import text_pattern
from umbel.plan.types import BOOL, DATE, DURATION, FLOAT64, INT64, STRING, TIMESTAMP

pc = LazyModule("pyarrow.compute")

_ZONED = pa.timestamp("us", "UTC")


def _pattern(dtype: pa.DataType) -> str:
    return DURATION_TEXT if dtype == DURATION else text_pattern(dtype)


#: In this order; each before what would take its texts too.
_CANDIDATES = tuple(
    (dtype, f"^(?:{_pattern(dtype)})$")
    for dtype in (BOOL, INT64, DATE, FLOAT64, TIMESTAMP, _ZONED, DURATION)
)
#: As texts: to compile them takes longer than most samples, of which few have one.
_MOMENTS = tuple((dtype, _pattern(dtype)) for dtype in (DATE, TIMESTAMP, _ZONED, DURATION))
_LEADING_ZERO = r"^[+-]?0[0-9]"


def type_of_texts(texts: pa.Array) -> pa.DataType:
    """Find the type that all texts can be cast to; null if there are none but nulls.

    >>> type_of_texts(pa.array(["1", None, "-2"])), type_of_texts(pa.array(["1", "2.5"]))
    (DataType(int64), DataType(double))
    >>> type_of_texts(pa.array(["007"])), type_of_texts(pa.array(["2024-02-30"]))
    (DataType(string), DataType(string))
    """
    present = texts.drop_null()
    if len(present) == 0:
        return pa.null()
    for dtype, pattern in _CANDIDATES:
        matching = pc.match_substring_regex(present, pattern)
        if pc.all(matching).as_py() and _convertible(present, dtype):
            return dtype
    return STRING


def type_of_text(text: str) -> pa.DataType:
    """Find whether a text is a date, a timestamp, a duration, or just a text.

    >>> type_of_text("2024-05-01"), type_of_text("May")
    (DataType(date32[day]), DataType(string))
    """
    for dtype, pattern in _MOMENTS:
        if re.fullmatch(pattern, text, re.ASCII) and _convertible(pa.array([text]), dtype):
            return dtype
    return STRING


def _convertible(texts: pa.Array, dtype: pa.DataType) -> bool:
    """Whether texts that look like a type have a value there, and lose nothing by it."""
    try:
        if dtype == INT64:
            if pc.any(pc.match_substring_regex(texts, _LEADING_ZERO)).as_py():
                return False
            pc.utf8_ltrim(texts, "+").cast(INT64)
        elif dtype == FLOAT64:
            whole = pc.match_substring_regex(texts, r"^[+-]?[0-9]+$")
            return not pc.all(whole).as_py()  # integers that were refused before
        elif dtype == DURATION:
            for text in texts.to_pylist():
                duration_ticks(text, dtype.unit)
        elif dtype != BOOL:
            pc.utf8_slice_codeunits(texts, 0, 10).cast(DATE)
    except ValueError:  # pyarrow.ArrowInvalid is one too
        return False
    return True


__all__ = ["type_of_text", "type_of_texts"]
