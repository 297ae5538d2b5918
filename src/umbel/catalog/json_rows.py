"""JSON lines one by one: the types that a sample shows, and the first line that is wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

from umbel.catalog.complaints import invalid_text
from umbel.catalog.lines import line_blocks
from umbel.catalog.samples import type_of_text
from umbel.catalog.texts import value_of_text
from umbel.plan.errors import EvaluationError, SourceError, TypeClashError
from umbel.plan.types import (
    BOOL,
    DATE,
    FLOAT64,
    INT64,
    STRING,
    common_type,
    is_list,
    is_numeric,
    is_string,
    type_name,
)

#: Lines that Arrow's reader is asked about at once.
_PIECE = 1000


def sample_types(path: str, limit: int, known: frozenset[str]) -> dict[str, pa.DataType]:
    """Find the types of the keys in the first `limit` bytes of a file.

    Args:
        path: the file.
        limit: bytes of text to look at, whole lines.
        known: keys whose types are given, and which are not looked at.

    Raises:
        SourceError: a line is no JSON object, or a key's values have different types.
    """
    types: dict[str, pa.DataType] = {}
    seen = 0
    for number, line in lines(path):
        seen += len(line)
        for name, value in parse(path, number, line).items():
            if name in known:
                continue
            before = types.get(name, pa.null())
            try:
                types[name] = unify(before, type_of_value(value))
            except TypeClashError as error:
                raise SourceError(
                    f"{path}, line {number}: {name!r} is {_shown(value)}, "
                    f"but {type_name(before)} in the lines before",
                    hint="correct the file; values of one key have one type",
                ) from error
        if seen >= limit:
            break
    return types


def lines(path: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that are not blank, with their numbers."""
    number = 0
    for block in line_blocks(path):
        for line in block.split(b"\n")[:-1]:
            number += 1
            if line.strip():
                yield number, line


def parse(path: str, number: int, line: bytes) -> dict[str, Any]:
    """Read the object of a line.

    Raises:
        SourceError: the line is no JSON object.
    """
    try:
        value = json.loads(line.decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError:
        raise invalid_text(path, line, number) from None
    except (ValueError, RecursionError) as error:
        what = str(error)
        if isinstance(error, json.JSONDecodeError):  # whose own line is always the first
            what = f"{error.msg} at column {error.colno}"
        raise SourceError(
            f"{path}, line {number}: not JSON: {what}",
            hint=f"correct the line: {line[:80].decode(errors='replace')}",
        ) from None
    if not isinstance(value, dict):
        raise SourceError(
            f"{path}, line {number}: {_shown(value)} where an object is needed",
            hint='one object stands on each line: {"name": value, …}; a list of objects must be '
            "written one a line",
        )
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(n for n in names if names.count(n) > 1)!r} stands twice")
    return made


def type_of_value(value: Any) -> pa.DataType:
    """Find the type of a value that JSON holds.

    >>> type_of_value([1, 2.5])
    ListType(list<item: double>)
    """
    match value:
        case None:
            return pa.null()
        case bool():
            return BOOL
        case int():
            return INT64 if -(2**63) <= value < 2**63 else FLOAT64
        case float():
            return FLOAT64
        case str():
            return type_of_text(value)
        case list():
            item = pa.null()
            for part in value:
                item = unify(item, type_of_value(part))
            return pa.list_(item)
    return pa.struct([pa.field(name, type_of_value(part)) for name, part in value.items()])


def unify(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """Find the type that holds the values of two types that JSON values have.

    Raises:
        TypeClashError: there is none, as for a number and a text.

    >>> unify(pa.date32(), pa.string())
    DataType(string)
    """
    if left == right or pa.types.is_null(right):
        return left
    if pa.types.is_null(left):
        return right
    if _is_text(left) and _is_text(right):
        try:
            return common_type(left, right)
        except TypeClashError:
            return STRING
    if is_list(left) and is_list(right):
        return pa.list_(unify(left.value_type, right.value_type))
    if pa.types.is_struct(left) and pa.types.is_struct(right):
        types = {f.name: f.type for f in left}
        for f in right:
            types[f.name] = unify(types.get(f.name, pa.null()), f.type)
        return pa.struct([pa.field(name, dtype) for name, dtype in types.items()])
    if is_numeric(left) and is_numeric(right):
        return common_type(left, right)
    raise TypeClashError(f"{type_name(left)} and {type_name(right)} have no common type")


def settled(dtype: pa.DataType) -> pa.DataType:
    """Give a type without nulls in it: what only nulls were seen of is text.

    >>> settled(pa.list_(pa.null()))
    ListType(list<item: string>)
    """
    if pa.types.is_null(dtype):
        return STRING
    if is_list(dtype):
        return pa.list_(settled(dtype.value_type))
    if pa.types.is_struct(dtype):
        return pa.struct([pa.field(f.name, settled(f.type)) for f in dtype])
    return dtype


def json_type(dtype: pa.DataType) -> pa.DataType:
    """Give the type in which Arrow's JSON reader takes values of a type: some only as texts.

    >>> json_type(pa.list_(pa.date32()))
    ListType(list<item: string>)
    """
    if is_list(dtype):
        return pa.list_(json_type(dtype.value_type))
    if pa.types.is_struct(dtype):
        return pa.struct([pa.field(f.name, json_type(f.type)) for f in dtype])
    if pa.types.is_timestamp(dtype) and dtype.unit in ("s", "ms"):
        return pa.timestamp("us", dtype.tz)  # takes texts with more digits, if they are zeros
    as_text = pa.types.is_date(dtype) or _read_singly(dtype)
    return pa.string() if as_text else dtype


def cast_json(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Convert what Arrow's JSON reader gave for a type (see `json_type`) to the type.

    Raises:
        EvaluationError: a text that is no value of the type; Arrow's own errors for other types.

    >>> cast_json(pa.array(["23:59:00"]), pa.time64("us")).to_pylist()
    [datetime.time(23, 59)]
    """
    if array.type == dtype:
        return array
    if is_list(dtype):
        items = cast_json(array.values, dtype.value_type)
        return pa.ListArray.from_arrays(array.offsets, items, type=dtype, mask=array.is_null())
    if pa.types.is_struct(dtype):
        parts = [cast_json(array.field(i), field.type) for i, field in enumerate(dtype)]
        return pa.StructArray.from_arrays(parts, fields=list(dtype), mask=array.is_null())
    if _read_singly(dtype):
        return pa.array([_value(text, dtype) for text in array.to_pylist()], dtype)
    return array.cast(dtype)


def _read_singly(dtype: pa.DataType) -> bool:
    """Whether Arrow has no cast from texts to a type as they stand in JSON."""
    return bool(pa.types.is_time(dtype) or pa.types.is_duration(dtype) or pa.types.is_binary(dtype))


def _value(text: str | None, dtype: pa.DataType) -> Any:
    if text is None or not pa.types.is_binary(dtype):
        return value_of_text(text, dtype)
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise EvaluationError(f"{text[:80]!r} is not Base64") from error


def find_json_error(path: str, stored: pa.Schema) -> SourceError | None:
    """Find the first line of a file that is no object, or holds a value of another type."""
    remaining = lines(path)
    try:
        while piece := list(islice(remaining, _PIECE)):
            if _reads(b"\n".join(line for _, line in piece), stored):
                continue
            looked_at = 0
            for at in _refused([line for _, line in piece], stored):
                for number, line in piece[looked_at:at]:
                    parse(path, number, line)
                looked_at = at + 1
                found = _line_error(path, *piece[at], stored)
                if found is not None:
                    return found
            for number, line in piece[looked_at:]:
                parse(path, number, line)
    except SourceError as error:
        return error
    return None


def _refused(piece: Sequence[bytes], stored: pa.Schema, first: int = 0) -> Iterator[int]:
    """Yield the positions of lines that Arrow's reader refuses, from the first on.

    They are found by halving: to start the reader costs as much as to read many lines.
    """
    if _reads(b"\n".join(piece), stored):
        return
    if len(piece) == 1:
        yield first
        return
    middle = len(piece) // 2
    yield from _refused(piece[:middle], stored, first)
    yield from _refused(piece[middle:], stored, first + middle)


def _line_error(path: str, number: int, line: bytes, stored: pa.Schema) -> SourceError | None:
    values = parse(path, number, line)
    for field in stored:
        value = values.get(field.name)
        if value is not None and not _reads(line, pa.schema([field])):
            return SourceError(
                f"{path}, line {number}: {field.name!r} is {_shown(value)}, "
                f"which is no {type_name(field.type)}",
                hint="correct the file, or give the column another type: "
                f"schema={{{field.name!r}: …}}",
            )
    return None


def _reads(text: bytes, stored: pa.Schema) -> bool:
    """Whether Arrow's reader takes some lines, and their values have the columns' types."""
    import pyarrow.json as pyarrow_json

    options = pyarrow_json.ParseOptions(
        explicit_schema=pa.schema([pa.field(f.name, json_type(f.type)) for f in stored]),
        unexpected_field_behavior="ignore",
    )
    try:
        # One block for all of it, which may hold long lines.
        table = pyarrow_json.read_json(
            pa.py_buffer(text + b"\n"),
            read_options=pyarrow_json.ReadOptions(block_size=len(text) + 2),
            parse_options=options,
        )
        for field in stored:
            cast_json(table.column(field.name).combine_chunks(), field.type)
    except (pa.ArrowException, EvaluationError):
        return False
    return True


def _is_text(dtype: pa.DataType) -> bool:
    moment = pa.types.is_timestamp(dtype) or pa.types.is_duration(dtype)
    return is_string(dtype) or dtype == DATE or bool(moment)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:79] + "…"


__all__ = [
    "cast_json",
    "find_json_error",
    "json_type",
    "lines",
    "parse",
    "sample_types",
    "settled",
    "type_of_value",
    "unify",
]
