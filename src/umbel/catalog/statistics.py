"""How many rows a source has, how wide they are, and what its columns hold, in milliseconds.

Exact where footers say so (Parquet, Arrow IPC, data in memory); from a small sample and the size
of the files for text, CSV and JSON. What is known of a file is kept as long as the file stays as
it is.
"""

from __future__ import annotations

import datetime
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import cached_property, lru_cache
from typing import Any

import pyarrow as pa

from umbel.catalog.complaints import damaged
from umbel.catalog.files import FileEntry, compression_of, is_remote, resolve
from umbel.catalog.footers import ipc_rows, is_young, parquet_metadata, read_all
from umbel.catalog.stores.registry import open_file
from umbel.dataclass import dataclass
from umbel.lazy import LazyMapping, LazyModule
from umbel.plan.sources import (
    CsvSource,
    FileSource,
    IpcSource,
    JsonLinesSource,
    MemorySource,
    ParquetFiles,
    Source,
    TextSource,
)
from umbel.plan.types import type_width

pc = LazyModule("pyarrow.compute")

#: Footers that are read at most; more files are reckoned from these.
FOOTERS = 64

#: The same, of files of other machines, whose footers cost a round trip each.
FOOTERS_ELSEWHERE = 8

#: Files of text that are sampled at most, and bytes of each.
SAMPLES, SAMPLE_BYTES = 4, 2**16

#: Readers of one file to which is said again what is known of it.
_READINGS = 16

#: Values of data in memory of which distinct ones are counted.
_COUNTED = 200_000


@dataclass(frozen=True)
class Interval:
    """A range that holds a number with some confidence.

    Attributes:
        low, high: the bounds.
        confidence: probability that the number lies between them; 1.0 if it certainly does.
    """

    low: float
    high: float
    confidence: float

    @property
    def exact(self) -> bool:
        """Whether the number is known.

        >>> Interval(5, 5, 1.0).exact
        True
        """
        return self.low == self.high and self.confidence >= 1.0

    def __str__(self) -> str:
        if self.exact:
            return f"{self.low:,.0f}"
        return f"{self.low:,.0f} to {self.high:,.0f} ({self.confidence:.0%})"


@dataclass(frozen=True)
class ColumnStatistics:
    """What is known of a column; None where nothing is.

    Attributes:
        low, high: bounds of its values, as Python values; NaN does not count.
        nulls: fraction of nulls.
        distinct: number of distinct values.
    """

    low: Any = None
    high: Any = None
    nulls: float | None = None
    distinct: float | None = None


_UNKNOWN = ColumnStatistics()


@dataclass(frozen=True)
class TableStatistics:
    """What is known of a source.

    Attributes:
        rows: how many there are.
        bytes: of the files on disk, or of the data in memory.
        row_width: mean bytes of a row in memory.
        columns: by name; columns of which nothing is known may be missing.
        words: mean number of words in a line, for text.
        vocabulary: number of different words, for text.
        files: how many there are.
    """

    rows: Interval
    bytes: int
    row_width: float
    columns: Mapping[str, ColumnStatistics] = field(default_factory=dict)
    words: float | None = None
    files: int = 0
    vocabulary: float | None = None


def statistics(source: Source) -> TableStatistics:
    """Find what can be known of a source without reading it.

    Raises:
        SourceError: a file is missing, or is not what it should be.

    >>> table = pa.table({"a": [1, 2, 2, None]})
    >>> known = statistics(MemorySource(table.schema, data=table))
    >>> str(known.rows), known.columns["a"].distinct, known.columns["a"].nulls
    ('4', 2.0, 0.25)
    """
    match source:
        case MemorySource():
            return _of_memory(source)
        case ParquetFiles():
            return _of_footers(source, parquet_footer)
        case IpcSource():
            return _of_footers(source, ipc_footer)
        case TextSource() | CsvSource() | JsonLinesSource():
            return _of_samples(source)
    return TableStatistics(Interval(1, 1e9, 0.3), 0, _width(source.schema))


# --- memory -----------------------------------------------------------------------------------


def _of_memory(source: MemorySource) -> TableStatistics:
    data = source.data
    if data is None:
        return TableStatistics(Interval(1, 1e6, 0.3), 0, _width(source.schema))
    rows = len(data)
    exact = Interval(rows, rows, 1.0)
    if not isinstance(data, pa.Table):
        return TableStatistics(exact, rows * 64, 64.0)
    size = data.nbytes
    width = size / rows if rows else _width(source.schema)
    return TableStatistics(exact, size, width, _columns_of(data))


#: What is known of tables in memory as long as they are there, by identity: they are not hashable.
_COLUMNS: dict[int, tuple[weakref.ref[pa.Table], Mapping[str, ColumnStatistics]]] = {}


def _columns_of(data: pa.Table) -> Mapping[str, ColumnStatistics]:
    """What is known of a table's columns; looked for when it is asked for, for it takes time."""
    key = id(data)
    if key not in _COLUMNS:
        table = weakref.ref(data, lambda _: _COLUMNS.pop(key, None))

        def look(name: str) -> ColumnStatistics:
            there = table()
            return _UNKNOWN if there is None else _of_column(there.column(name))

        _COLUMNS[key] = table, LazyMapping(dict.fromkeys(data.column_names), look)
    return _COLUMNS[key][1]


def _of_column(column: pa.ChunkedArray) -> ColumnStatistics:
    rows = len(column)
    nulls = column.null_count / rows if rows else 0.0
    if rows == column.null_count or not _ordered(column.type):
        return ColumnStatistics(nulls=nulls)
    if rows > _COUNTED:
        return ColumnStatistics(nulls=nulls)
    bounds = pc.min_max(column).as_py()
    distinct = float(pc.count_distinct(column).as_py())
    return ColumnStatistics(_bound(bounds["min"]), _bound(bounds["max"]), nulls, distinct)


def _ordered(dtype: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(dtype)
        or pa.types.is_floating(dtype)
        or pa.types.is_decimal(dtype)
        or pa.types.is_boolean(dtype)
        or pa.types.is_string(dtype)
        or pa.types.is_date(dtype)
        or pa.types.is_timestamp(dtype)
    )


def _bound(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


# --- footers ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Footer:
    """What a file's footer says.

    Attributes:
        rows: how many there are.
        size: bytes of the values, unpacked.
        columns: bounds and fractions of nulls, by name.
    """

    rows: int
    size: int
    columns: Mapping[str, ColumnStatistics]
    _tables: dict[int, tuple[FileSource, TableStatistics]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def table(self, source: FileSource, make: Callable[[], TableStatistics]) -> TableStatistics:
        """What is known of a source that is this file alone: said again to who asks again."""
        known = self._tables.get(id(source))
        if known is None:
            if len(self._tables) >= _READINGS:
                self._tables.clear()
            # The source is kept too, so that no other one gets its identity.
            known = self._tables[id(source)] = source, make()
        return known[1]

    @cached_property
    def alone(self) -> Mapping[str, ColumnStatistics]:
        """What is known of columns if there is no other file."""
        found = {}
        for name, column in self.columns.items():
            low, high = (column.low, column.high) if column.nulls != 1.0 else (None, None)
            distinct = _distinct(low, high, self.rows)
            found[name] = ColumnStatistics(low, high, column.nulls, distinct)
        return found


def parquet_footer(entry: FileEntry) -> Footer:
    """Sum up the footer of a Parquet file."""
    if entry.rows is not None:
        return _of_log(entry)
    if is_young(entry):
        return _summed(parquet_metadata(entry))
    return _known_footer(entry.path, entry.modified, entry.size)


@lru_cache(maxsize=512)
def _known_footer(path: str, modified: int, size: int) -> Footer:
    return _summed(parquet_metadata(FileEntry(path, size, modified=modified)))


def ipc_footer(entry: FileEntry) -> Footer:
    """Count the rows of an Arrow IPC file."""
    return Footer(ipc_rows(entry), entry.size, {})


def _of_log(entry: FileEntry) -> Footer:
    """Sum up what a table's log says of a file, whose own footer then need not be read."""
    rows = entry.rows or 0
    columns = {
        name: ColumnStatistics(
            _bound(low), _bound(high), None if nulls is None or not rows else nulls / rows
        )
        for name, (low, high, nulls) in entry.bounds.items()
    }
    return Footer(rows, 3 * entry.size, columns)


def _summed(metadata: Any) -> Footer:
    columns: dict[str, ColumnStatistics] = {}
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    for position in range(metadata.num_columns):
        name = metadata.schema.column(position).path
        if "." in name:  # inside a list or struct
            continue
        parts = [group.column(position).statistics for group in groups]
        columns[name] = _of_groups(parts, metadata.num_rows)
    unpacked = sum(group.total_byte_size for group in groups)
    return Footer(metadata.num_rows, unpacked, columns)


def _of_groups(parts: Sequence[Any], rows: int) -> ColumnStatistics:
    """Unite what the row groups say of one column; `None` for a group that says nothing."""
    if not rows or any(part is None for part in parts):
        return ColumnStatistics()
    nulls = None
    if all(part.has_null_count for part in parts):
        nulls = sum(part.null_count for part in parts) / rows
    filled = [part for part in parts if part.num_values]  # those that are not null
    if not filled or not all(part.has_min_max for part in filled):
        return ColumnStatistics(nulls=nulls)
    return ColumnStatistics(
        _bound(min(part.min for part in filled)), _bound(max(part.max for part in filled)), nulls
    )


def _of_footers(source: FileSource, read: Callable[[FileEntry], Footer]) -> TableStatistics:
    files = resolve(source)
    if len(files) == 1 and not source.partitions and files[0].rows is None:
        footer = read(files[0])
        return footer.table(source, lambda: _of_files(source, files, read))
    return _of_files(source, files, read)


def _of_files(
    source: FileSource, files: Sequence[FileEntry], read: Callable[[FileEntry], Footer]
) -> TableStatistics:
    known = all(entry.rows is not None for entry in files)
    most = FOOTERS_ELSEWHERE if files and is_remote(files[0].path) else FOOTERS
    looked = files if known else _spread(files, most)
    footers = read_all(looked, read)
    size = sum(entry.size for entry in files)
    rows = sum(footer.rows for footer in footers)
    unpacked = sum(footer.size for footer in footers)
    columns = _merged(source, footers, rows)
    columns.update(_of_partitions(source, files))
    width = max(_width(source.schema) / 4, unpacked / rows) if rows else _width(source.schema)
    if len(looked) == len(files):
        left = max(0, rows - sum(entry.deletes for entry in files))
        return TableStatistics(Interval(left, rows, 1.0), size, width, columns, files=len(files))
    reckoned = rows * size / max(1, sum(entry.size for entry in looked))
    interval = Interval(max(rows, reckoned / 1.5), max(rows, reckoned * 1.5), 0.8)
    # Bounds of a part of the files are no bounds of all of them.
    columns = {
        name: column if name in source.partitions else ColumnStatistics(nulls=column.nulls)
        for name, column in columns.items()
    }
    return TableStatistics(interval, size, width, columns, files=len(files))


def _merged(
    source: FileSource, footers: Sequence[Footer], rows: int
) -> dict[str, ColumnStatistics]:
    if len(footers) == 1 and rows and not source.partitions:
        alone = footers[0].alone
        return {name: alone.get(name, _UNKNOWN) for name in source.schema.names}
    merged: dict[str, ColumnStatistics] = {}
    for name in source.schema.names:
        parts = [(f.columns.get(name, _UNKNOWN), f.rows) for f in footers if f.rows]
        if name in source.partitions or not parts:
            continue
        nulls = [part.nulls * count for part, count in parts if part.nulls is not None]
        share = sum(nulls) / rows if len(nulls) == len(parts) else None
        # A part of nulls only has no bounds, and widens none.
        bounded = [part for part, _ in parts if part.nulls != 1.0]
        low = high = None
        if bounded and all(part.low is not None for part in bounded):
            low = min(part.low for part in bounded)
        if bounded and all(part.high is not None for part in bounded):
            high = max(part.high for part in bounded)
        merged[name] = ColumnStatistics(low, high, share, _distinct(low, high, rows))
    return merged


def _distinct(low: Any, high: Any, rows: int) -> float | None:
    """Reckon distinct values: integers and dates have no more than lie between their bounds."""
    if isinstance(low, int) and isinstance(high, int):
        return float(min(rows, high - low + 1))
    if type(low) is datetime.date and type(high) is datetime.date:
        return float(min(rows, (high - low).days + 1))
    return None


def _of_partitions(source: FileSource, files: Sequence[FileEntry]) -> dict[str, ColumnStatistics]:
    columns = {}
    for name in source.partitions:
        values = [entry.partitions[name] for entry in files]
        present = [value for value in values if value is not None]
        columns[name] = ColumnStatistics(
            min(present, default=None),
            max(present, default=None),
            1 - len(present) / len(values),
            float(len(set(present))),
        )
    return columns


# --- samples ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """What the first bytes of a text file show.

    Attributes:
        lines: whole lines seen.
        text: their bytes, line ends included.
        words: how many there are.
        different: how many different ones.
        whole: the sample is the whole file.
        packed: bytes of the file per byte of text.
    """

    lines: int
    text: int
    words: int
    different: int
    whole: bool
    packed: float


def sample(path: str, modified: int, size: int) -> Sample:
    """Look at the first bytes of a text file, once as long as the file stays as it is."""
    return _sample(path, modified, size)


@lru_cache(maxsize=4096)
def _sample(path: str, modified: int, size: int) -> Sample:
    compression = compression_of(path)
    # Compressed files are read further, as they are unpacked in steps of many bytes.
    most = SAMPLE_BYTES if compression is None else 8 * SAMPLE_BYTES
    try:
        with open_file(path) as raw:
            file = raw if compression is None else pa.CompressedInputStream(raw, compression)
            text = file.read(most + 1)
            used = raw.tell()
    except (OSError, EOFError, pa.ArrowException) as error:
        raise damaged(path, error) from error
    whole = len(text) <= most
    packed = 1.0 if compression is None else min(1.0, used / max(1, len(text)))
    if not whole:
        text = text[: text.rfind(b"\n") + 1] or text
    lines = text.count(b"\n") + (not text.endswith(b"\n") and bool(text))
    words = text.split()
    return Sample(lines, len(text), len(words), len(set(words)), whole, packed)


def _of_samples(source: FileSource) -> TableStatistics:
    files = resolve(source)
    looked = _spread(files, SAMPLES)
    samples = [sample(entry.path, entry.modified, entry.size) for entry in looked]
    lines, text = sum(s.lines for s in samples), sum(s.text for s in samples)
    size = sum(entry.size for entry in files)
    headers = len(files) if isinstance(source, CsvSource) and source.header else 0
    per_line = text / lines if lines else 1.0
    is_text = isinstance(source, TextSource)
    complete = len(looked) == len(files)
    if complete and all(s.whole for s in samples):
        # Blank lines, and line ends inside of quotes, are no rows of CSV and JSON files.
        rows = float(max(0, lines - headers))
        interval = Interval(rows, rows, 1.0 if is_text else 0.95)
    else:
        packed = sum(s.packed * s.text for s in samples) / max(1, text)
        reckoned = max(1.0, size / packed / per_line - headers)
        factor = (1.3 if complete else 1.6) * (1.0 if packed == 1.0 else 1.5)
        interval = Interval(reckoned / factor, reckoned * factor, 0.8)
    # In memory: text as it is with 8 bytes for its place, numbers as wide as their type.
    width = per_line + 8 if is_text else min(_width(source.schema), per_line + 8)
    words = sum(s.words for s in samples) / lines if lines and is_text else None
    columns = _of_partitions(source, files)
    vocabulary = _vocabulary(samples, size) if is_text else None
    return TableStatistics(interval, size, width, columns, words, len(files), vocabulary)


#: How fast a text's vocabulary grows: with this power of its length, about, in many languages.
_GROWTH = 0.6


def _vocabulary(samples: Sequence[Sample], size: int) -> float | None:
    """Reckon how many different words all files hold, from those of the sample that has most.

    Source: Heaps, "Information retrieval: computational and theoretical aspects", 1978, section
    7.5, with a middle value of the exponent.
    """
    best = max(samples, key=lambda s: s.different, default=None)
    if best is None or not best.different:
        return None
    text = size / best.packed
    return float(best.different * max(1.0, text / max(1, best.text)) ** _GROWTH)


# --- shared -----------------------------------------------------------------------------------


def _spread(files: Sequence[FileEntry], most: int) -> list[FileEntry]:
    """Choose at most so many files, evenly over all."""
    step = max(1.0, len(files) / most)
    return [files[int(i * step)] for i in range(min(len(files), most))]


def _width(schema: pa.Schema) -> float:
    return sum((type_width(f.type) for f in schema), 0.0)


__all__ = [
    "ColumnStatistics",
    "Interval",
    "TableStatistics",
    "statistics",
]
