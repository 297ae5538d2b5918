"""Sources from paths: what files there are, and which columns they have.

Parquet and Arrow files say their columns. For CSV and JSON they are found from a sample: the first
`SAMPLE_BYTES` of a file, shared between up to `SAMPLE_FILES` of several. A type that the sample shows and a later row breaks is
an error of the run, which names the row; `schema` gives the type in advance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import pyarrow as pa

from umbel.catalog.columns import columns_of_file
from umbel.catalog.csv_rows import find_csv_error, header_of
from umbel.catalog.files import FileEntry, is_remote, resolve
from umbel.catalog.json_rows import sample_types, settled, unify
from umbel.catalog.readers import csv_batches
from umbel.catalog.samples import type_of_texts
from umbel.catalog.texts import refuse_text
from umbel.lazy import LazyModule
from umbel.plan.errors import PlanError, SourceError, TypeClashError, UnknownNameError
from umbel.plan.sources import (
    CsvSource,
    FileSource,
    IpcSource,
    JsonLinesSource,
    ParquetSource,
    TextSource,
)
from umbel.plan.types import (
    DATE,
    INT64,
    STRING,
    canonical_schema,
    common_type,
    is_object,
    type_name,
)

pc = LazyModule("pyarrow.compute")

#: Bytes, decompressed, that types are found from.
SAMPLE_BYTES = 2**20

#: Files that types are found from: evenly over all files.
SAMPLE_FILES = 8

Paths = Sequence[str] | str
Source = TypeVar("Source", bound=FileSource)


def text_source(paths: Paths) -> TextSource:
    """Describe the lines of text files.

    Raises:
        SourceError: see `umbel.catalog.files.resolve`.
    """
    given = _given(paths)
    resolve(given)
    return TextSource(pa.schema([pa.field("value", STRING, nullable=False)]), given)


def csv_source(
    paths: Paths,
    *,
    schema: pa.Schema | None = None,
    delimiter: str = ",",
    quote: str = '"',
    header: bool = True,
    null_values: Sequence[str] = ("",),
) -> CsvSource:
    """Describe CSV files.

    A column's type is the first of bool, int64, date, float64, timestamp[us], timestamp[us,UTC],
    duration[us] that all texts of the sample can be cast to, and otherwise string; a column without values is
    string, and so are numbers with leading zeros and integers beyond 64 bits.

    Args:
        paths: files, folders or glob patterns.
        schema: types of some or all columns, by name; without a header, if it names as many
            columns as the files have, it gives their names.
        delimiter: one character between fields.
        quote: the character around fields; empty for none.
        header: the first line names the columns.
        null_values: texts that stand for null when they are not quoted.

    Raises:
        SourceError: a file is missing, empty, malformed, or has other columns than the first.
        UnknownNameError: `schema` names a column that there is not.
        TypeClashError: `schema` gives a type that no text can be cast to.
    """
    for text, what in ((delimiter, "delimiter"), (quote, "quote")):
        if len(text.encode()) > 1 or (what == "delimiter" and not text):
            raise PlanError(f"a CSV {what} is one ASCII character, not {text!r}")
    given = _given(paths)
    files = resolve(given)
    bare = CsvSource(pa.schema([]), given, (), delimiter, quote, header, tuple(null_values))
    names = _csv_names(bare, files, schema)
    wanted = {} if schema is None else {f.name: f.type for f in canonical_schema(schema)}
    for name, dtype in wanted.items():
        reason = refuse_text(dtype)
        if reason is not None:
            raise TypeClashError(f"column {name!r} of a CSV file: {reason}")
    stored = replace(bare, schema=pa.schema([pa.field(name, STRING) for name in names]))
    types = {name: pa.null() for name in names}
    if set(names) - set(wanted):
        for entry in _sampled(files):
            _widen(types, entry, _csv_types(stored, entry, _sample_size(files)), _common_text)
    fields = [
        pa.field(name, wanted.get(name) or (STRING if pa.types.is_null(t) else t))
        for name, t in types.items()
    ]
    return _with_partitions(stored, files, fields, schema)


def json_source(paths: Paths, *, schema: pa.Schema | None = None) -> JsonLinesSource:
    """Describe files with one JSON object a line.

    Numbers are int64, or float64 if one of the sample has a point, an exponent or more than 64
    bits; texts are string, or date, timestamp or duration if all of the sample are; arrays and objects are
    lists and structs. A key that only some lines have gives null in the others.

    Args:
        paths: files, folders or glob patterns.
        schema: types of some or all columns, by name; columns that the sample lacks are added.

    Raises:
        SourceError: a file is missing or malformed, or values of a key have different types.
    """
    given = _given(paths)
    files = resolve(given)
    wanted = {} if schema is None else {f.name: f.type for f in canonical_schema(schema)}
    for name, dtype in wanted.items():
        if is_object(dtype):
            raise TypeClashError(f"column {name!r}: JSON has no Python objects")
    types: dict[str, pa.DataType] = {}
    size = _sample_size(files)
    for entry in _sampled(files):
        _widen(types, entry, sample_types(entry.path, size, frozenset(wanted)), unify)
    types.update(wanted)
    if not types:
        raise SourceError(
            f"{files[0].path}: there is no object in the file, and so no column",
            hint="give the columns: schema={'name': type}",
        )
    fields = [pa.field(name, wanted.get(name) or settled(dtype)) for name, dtype in types.items()]
    return _with_partitions(JsonLinesSource(pa.schema([]), given), files, fields, schema)


def parquet_source(paths: Paths) -> ParquetSource:
    """Describe Parquet files; all must have the same columns, in any order.

    Of files of other machines the first one's footer is read; the others are checked as they are
    read.

    Raises:
        SourceError: a file is missing or malformed, or has other columns than the first.
    """
    given = _given(paths)
    files = resolve(given)
    bare = ParquetSource(pa.schema([]), given)
    return _with_partitions(bare, files, _same_columns(bare, files), None)


def ipc_source(paths: Paths) -> IpcSource:
    """Describe Arrow IPC files; all must have the same columns, in any order.

    Raises:
        SourceError: a file is missing or malformed, or has other columns than the first.
    """
    given = _given(paths)
    files = resolve(given)
    bare = IpcSource(pa.schema([]), given)
    return _with_partitions(bare, files, _same_columns(bare, files), None)


def _given(paths: Paths) -> tuple[str, ...]:
    given = (paths,) if isinstance(paths, str) else tuple(str(path) for path in paths)
    if not given:
        raise SourceError("no file to read: the list of paths is empty")
    return given


def _sample_size(files: Sequence[FileEntry]) -> int:
    return SAMPLE_BYTES // min(len(files), SAMPLE_FILES)


def _sampled(files: Sequence[FileEntry]) -> Iterator[FileEntry]:
    step = max(1, len(files) / SAMPLE_FILES)
    for index in range(min(len(files), SAMPLE_FILES)):
        yield files[int(index * step)]


# --- one format after the other ---------------------------------------------------------------


def _csv_names(
    source: CsvSource, files: Sequence[FileEntry], schema: pa.Schema | None
) -> list[str]:
    first = header_of(source, files[0].path)
    for entry in files[1:]:
        other = header_of(source, entry.path)
        if source.header and other != first:
            raise _other_columns(files[0], first, entry, other)
        if len(other) != len(first):
            raise SourceError(
                f"{entry.path} has {len(other)} columns, but {files[0].path} has {len(first)}",
                hint="read them apart",
            )
    if source.header:
        return first
    if schema is not None and len(schema) == len(first):
        return list(schema.names)
    return [f"column_{i}" for i in range(len(first))]


def _csv_types(source: CsvSource, entry: FileEntry, size: int) -> dict[str, pa.DataType]:
    names = source.schema.names
    try:
        batch = next(csv_batches(source, entry.path, names, size), None)
    except SourceError as error:
        raise find_csv_error(source, entry.path) or error from error
    if batch is None:
        return {}
    return {name: type_of_texts(batch.column(name)) for name in names}


def _widen(
    types: dict[str, pa.DataType],
    entry: FileEntry,
    found: dict[str, pa.DataType],
    unified: Callable[[pa.DataType, pa.DataType], pa.DataType],
) -> None:
    """Unify the types found in one more file with those of the files before."""
    for name, dtype in found.items():
        before = types.get(name, pa.null())
        try:
            types[name] = unified(before, dtype)
        except TypeClashError as error:
            raise SourceError(
                f"{entry.path}: column {name!r} is {type_name(dtype)}, but "
                f"{type_name(before)} in the files before",
                hint="read them apart, cast the column, and union the two",
            ) from error


def _common_text(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """The type of texts that look like two types; what they have in common, or just text."""
    try:
        return common_type(left, right)
    except TypeClashError:
        return STRING


def _same_columns(source: FileSource, files: Sequence[FileEntry]) -> list[pa.Field]:
    first = columns_of_file(source, files[0])
    _check_unique(files[0].path, first.names)
    fields = {f.name: f for f in first}
    if is_remote(files[0].path):
        # A footer elsewhere costs a round trip: one is read, and a file of other columns is found
        # when it is read. Any column may then have nulls, as no other file was asked.
        alike = len(files) == 1
        return [f if alike else f.with_nullable(True) for f in fields.values()]
    for entry in files[1:]:
        other = columns_of_file(source, entry)
        if other is first:
            continue
        if set(other.names) != set(fields) or len(other) != len(fields):
            raise _other_columns(files[0], first.names, entry, other.names)
        for field in other:
            known = fields[field.name]
            if field.type != known.type:
                raise SourceError(
                    f"column {field.name!r} is {type_name(known.type)} in {files[0].path}, "
                    f"but {type_name(field.type)} in {entry.path}",
                    hint="read them apart, cast the column, and union the two",
                )
            fields[field.name] = known.with_nullable(known.nullable or field.nullable)
    return list(fields.values())


def _other_columns(
    first: FileEntry, names: Sequence[str], entry: FileEntry, other: Sequence[str]
) -> SourceError:
    missing = [name for name in names if name not in other]
    added = [name for name in other if name not in names]
    if missing:
        what = f"{entry.path} has no column {missing[0]!r}, which {first.path} has"
    elif added:
        what = f"{entry.path} has a column {added[0]!r}, which {first.path} has not"
    else:
        place, pair = next(
            (i, p) for i, p in enumerate(zip(names, other, strict=False), 1) if p[0] != p[1]
        )
        what = f"column {place} is {pair[0]!r} in {first.path}, but {pair[1]!r} in {entry.path}"
    return SourceError(
        what, hint="read files of different columns apart, select the same ones, and union them"
    )


def _check_unique(path: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for place, name in enumerate(names, 1):
        if not name:
            raise SourceError(f"{path}: column {place} has no name", hint="name it in the file")
        if name in seen:
            raise SourceError(
                f"{path}: two columns are called {name!r}", hint="rename one of them in the file"
            )
        seen.add(name)


def _with_partitions(
    source: Source, files: Sequence[FileEntry], fields: list[pa.Field], schema: pa.Schema | None
) -> Source:
    """Add the columns that the folders name; a column of the files of that name gives way."""
    given = {} if schema is None else {f.name: f.type for f in canonical_schema(schema)}
    partitions = tuple(dict.fromkeys(name for entry in files for name in entry.partitions))
    columns = [field for field in fields if field.name not in partitions]
    for name in partitions:
        texts = pa.array([entry.partitions.get(name) for entry in files], pa.string())
        dtype = given.get(name) or _partition_type(texts)
        columns.append(pa.field(name, dtype, nullable=texts.null_count > 0))
    known = [field.name for field in columns]
    for name in given:
        if name not in known:
            raise UnknownNameError("column", name, known, where=files[0].path)
    made = replace(source, schema=pa.schema(columns), partitions=partitions)
    if partitions:
        resolve(made)  # every file must be in folders of the same names, with values of the types
    return made


def _partition_type(texts: pa.Array) -> pa.DataType:
    """Folders hold integers (leading zeros do not count, as in month=01), dates, or texts."""
    present = texts.drop_null()
    if len(present) and pc.all(pc.match_substring_regex(present, "^-?[0-9]{1,18}$")).as_py():
        return INT64
    dtype = type_of_texts(texts)
    return DATE if dtype == DATE else STRING


__all__ = [
    "SAMPLE_BYTES",
    "SAMPLE_FILES",
    "csv_source",
    "ipc_source",
    "json_source",
    "parquet_source",
    "text_source",
]
