"""How values look in text, CSV and JSON files: one form, whichever engine made them.

Floats are written as Python's `repr`, decimals with all their digits, dates and times in
ISO 8601 (in UTC if they have a time zone), durations too, in seconds. Reading a file with the
types of what was written gives it back; what has no such form is refused.
"""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from umbel.catalog.texts import duration_text
from umbel.lazy import LazyModule
from umbel.plan.casting import cast_value
from umbel.plan.errors import EvaluationError, RunError
from umbel.plan.types import (
    STRING,
    is_decimal,
    is_float,
    is_integer,
    is_list,
    is_object,
    is_string,
    type_name,
)

pc = LazyModule("pyarrow.compute")

_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001 (the clock of any zone)


def csv_header(names: Sequence[str]) -> bytes:
    r"""Give the first line of a CSV file.

    >>> csv_header(["a", "b,c"])
    b'a,"b,c"\n'
    """
    quoted = [
        '"' + name.replace('"', '""') + '"'
        if not name or name[0] == "\ufeff" or any(c in name for c in ',"\r\n')
        else name
        for name in names
    ]
    return (",".join(quoted) + "\n").encode()


def csv_rows(batch: pa.RecordBatch, first: int = 1) -> bytes:
    r"""Give the lines of a batch's rows; `first` is the number of the batch's first row.

    Null is an empty field, an empty text is quoted.

    Raises:
        RunError: bytes that are no text, or moments finer than microseconds.

    >>> csv_rows(pa.record_batch({"a": [1.0, None], "b": ["x,y", ""]}))
    b'1.0,"x,y"\n,""\n'
    """
    if batch.num_rows == 0:
        return b""
    fields = [
        _csv_field(column, name, first)
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    lines = pc.binary_join_element_wise(
        *fields, pa.scalar(","), null_handling="replace", null_replacement=""
    )
    return ("\n".join(lines.to_pylist()) + "\n").encode()


def _csv_field(column: pa.Array, name: str, first: int) -> pa.Array:
    dtype = column.type
    if is_string(dtype):
        return _quoted(column)
    if is_integer(dtype) or pa.types.is_boolean(dtype) or pa.types.is_null(dtype):
        return column.cast(STRING)
    texts = []
    for number, value in enumerate(_plain(column).to_pylist(), first):
        try:
            texts.append(None if value is None else _csv_text(value, dtype))
        except (ValueError, EvaluationError) as error:
            raise RunError(
                f"row {number}: column {name!r} holds {str(value)[:80]}, which CSV cannot",
                hint="convert it first, or write Parquet",
            ) from error
    fields = pa.array(texts, STRING)
    return _quoted(fields) if pa.types.is_binary(dtype) else fields


def _quoted(texts: pa.Array) -> pa.Array:
    special = pc.or_(pc.match_substring_regex(texts, '[,"\r\n]'), pc.equal(texts, ""))
    if not pc.any(special).as_py():
        return texts
    doubled = pc.replace_substring(texts, '"', '""')
    return pc.if_else(special, pc.binary_join_element_wise('"', doubled, '"', ""), texts)


def refuse_csv(schema: pa.Schema) -> None:
    """Raise `RunError` if a column's type has no form in a CSV file.

    >>> refuse_csv(pa.schema([("a", pa.list_(pa.int64()))]))
    Traceback (most recent call last):
    umbel.plan.errors.RunError: column 'a' is list<int64>, for which CSV has no form
    ...
    """
    for field in schema:
        if pa.types.is_nested(field.type) or is_object(field.type):
            raise RunError(
                f"column {field.name!r} is {type_name(field.type)}, for which CSV has no form",
                hint="write JSON or Parquet, or take the column apart first",
            )


def _csv_text(value: Any, dtype: pa.DataType) -> str:
    if dtype == pa.timestamp("ns", getattr(dtype, "tz", None)) and value % 1000:
        raise ValueError(value)  # finer than what a cast reads
    return _text(value, dtype)


def _plain(column: pa.Array) -> pa.Array:
    """Give durations, and moments in nanoseconds, as numbers: Python has no values for all."""
    plain = _plain_type(column.type)
    return column if plain == column.type else column.cast(plain)


def _plain_type(dtype: pa.DataType) -> pa.DataType:
    if is_list(dtype):
        return pa.list_(_plain_type(dtype.value_type))
    if pa.types.is_struct(dtype):
        return pa.struct([f.with_type(_plain_type(f.type)) for f in dtype])
    nanoseconds = pa.types.is_timestamp(dtype) and dtype.unit == "ns"
    return pa.int64() if nanoseconds or pa.types.is_duration(dtype) else dtype


def _text(value: Any, dtype: pa.DataType) -> str:
    if is_float(dtype):
        return repr(value)
    if pa.types.is_duration(dtype):
        return duration_text(value, dtype.unit)
    if pa.types.is_timestamp(dtype):
        return _moment(value, dtype)
    text: str = cast_value(value, dtype, STRING, strict=True)
    return text


def _moment(value: Any, dtype: pa.DataType) -> str:
    """Write a timestamp, with as many digits as its unit has where they are not zero.

    With a time zone it is written in UTC: offsets that change along a file trouble many readers,
    and some zones once had offsets with seconds, which ISO 8601 does not know.
    """
    zone, finer = "" if dtype.tz is None else "Z", 0
    if dtype.unit == "ns":
        microseconds, finer = divmod(value, 1000)
        value = _EPOCH + datetime.timedelta(microseconds=microseconds)
    elif zone:
        value = value.astimezone(datetime.UTC)
    nanoseconds = value.microsecond * 1000 + finer
    # More digits than six only where they are needed: casts do not read them.
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9 if finer else 6}[dtype.unit]
    fraction = f".{nanoseconds:09}"[: digits + 1] if nanoseconds else ""
    return value.strftime("%Y").rjust(4, "0") + value.strftime("-%m-%dT%H:%M:%S") + fraction + zone


def json_rows(batch: pa.RecordBatch, first: int) -> bytes:
    r"""Give one JSON object a line for each row; `first` is the number of the batch's first row.

    Raises:
        RunError: a NaN or an infinity, for which JSON has no form.

    >>> json_rows(pa.record_batch({"a": [1, None], "b": [["x"], []]}), 1)
    b'{"a": 1, "b": ["x"]}\n{"a": null, "b": []}\n'
    """
    names = [json.dumps(name, ensure_ascii=False) for name in batch.schema.names]
    columns = [
        list(_json_column(column, name, first))
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    lines = [
        "{" + ", ".join(f"{name}: {value}" for name, value in zip(names, row, strict=True)) + "}\n"
        for row in (zip(*columns, strict=True) if columns else [()] * batch.num_rows)
    ]
    return "".join(lines).encode()


def _json_column(column: pa.Array, name: str, first: int) -> Iterator[str]:
    for number, value in enumerate(_plain(column).to_pylist(), first):
        try:
            yield _json(value, column.type)
        except ValueError as error:
            raise RunError(
                f"row {number}: column {name!r} holds {error}, which JSON cannot",
                hint="replace it first, for example by null, or write Parquet",
            ) from error


def _json(value: Any, dtype: pa.DataType) -> str:
    if value is None:
        return "null"
    if is_string(dtype):
        return json.dumps(value, ensure_ascii=False)
    if pa.types.is_boolean(dtype):
        return "true" if value else "false"
    if is_integer(dtype):
        return str(value)
    if is_float(dtype):
        if not math.isfinite(value):
            raise ValueError(repr(value))
        return repr(value)
    if is_decimal(dtype):
        return format(value, "f")
    if is_list(dtype):
        return "[" + ", ".join(_json(item, dtype.value_type) for item in value) + "]"
    if pa.types.is_struct(dtype):
        parts = (f"{json.dumps(f.name)}: {_json(value[f.name], f.type)}" for f in dtype)
        return "{" + ", ".join(parts) + "}"
    if pa.types.is_binary(dtype):
        return json.dumps(base64.b64encode(value).decode())
    if pa.types.is_duration(dtype):
        return json.dumps(duration_text(value, dtype.unit))
    return json.dumps(_text(value, dtype))


__all__ = ["csv_header", "csv_rows", "json_rows", "refuse_csv"]
