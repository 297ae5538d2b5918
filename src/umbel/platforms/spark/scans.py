"""Where a Spark statement finds its rows: views over files, over data of this process, over pieces.

Parquet files and lines of text are read by Spark where it sees them and reads them as the plan
does. All else comes through the readers of `umbel.catalog.readers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.catalog.columns import check_columns
from umbel.catalog.files import FileEntry, compression_of, is_remote, resolve
from umbel.catalog.readers import read
from umbel.lazy import LazyModule
from umbel.plan.errors import PlanError
from umbel.plan.operators import Placeholder, Scan, Values
from umbel.plan.sources import FileSource, MemorySource, ParquetSource, TextSource
from umbel.platforms.conform import conform
from umbel.platforms.spark.arrow import physical_schema, to_physical
from umbel.platforms.spark.connection import Connection
from umbel.platforms.spark.frames import file_path, spool, upload, upload_elements, upload_physical
from umbel.platforms.spark.pieces import is_pickled
from umbel.platforms.spark.types import type_text
from umbel.platforms.streams import scanned_columns

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_MARK = b"\xef\xbb\xbf"


class Views:
    """Implements `umbel.sql.compiler.Sources`: names of views.

    Args:
        views: by a placeholder's label.
        scans: by the identity of a scan.
    """

    def __init__(self, views: Mapping[str, str], scans: Mapping[int, str]) -> None:
        self._views = views
        self._scans = scans

    def relation(self, leaf: Scan | Values | Placeholder) -> exp.Expr:
        """Give the FROM item of a leaf."""
        if isinstance(leaf, Scan):
            return _table(self._scans[id(leaf)])
        return _table(self._views[leaf.describe()])


def _table(name: str) -> exp.Expr:
    return exp.Table(this=exp.to_identifier(name, quoted=True))


def leaf_frame(
    connection: Connection,
    leaf: Scan | Values,
    check: Callable[[], None],
) -> Any:
    """Give Spark the rows of a leaf, as a DataFrame of its source's columns.

    Args:
        connection: the Spark.
        leaf: what is read.
        check: raises if the run is cancelled.
    """
    if isinstance(leaf, Values):
        return upload(connection, leaf.table, leaf.schema)
    source = leaf.source
    if isinstance(source, MemorySource):
        if source.data is None:
            raise PlanError(
                f"the data of {source.describe()} is not at hand",
                hint="a plan file holds no data; run it in the session that made it",
            )
        if is_pickled(leaf):
            return upload_elements(connection, source.data)
        return upload(connection, conform(source.data, source.schema), source.schema)
    if not isinstance(source, FileSource):
        raise PlanError(f"Spark reads no {source.kind}")
    files = resolve(source)
    check_columns(source, files)
    own = _own_reader(connection, leaf, source, files)
    return own if own is not None else _streamed(connection, leaf, source, files, check)


def _own_reader(
    connection: Connection, scan: Scan, source: FileSource, files: Sequence[FileEntry]
) -> Any:
    """Spark's own reader, if it gives what the plan means; else None."""
    if not connection.sees_files or source.partitions or not files:
        return None
    if any(is_remote(entry.path) for entry in files):
        return None
    paths = [file_path(Path(entry.path)) for entry in files]
    session = connection.session()
    match source:
        case ParquetSource() if all(map(_stored_alike, _types(scan, source))):
            frame = session.read.parquet(*paths)
            return frame if _has_types(frame, scan, source) else None
        case TextSource() if all(_plain_lines(entry.path) for entry in files):
            name = source.schema.names[0]
            frame = session.read.option("lineSep", "\n").text(paths)
            return frame.selectExpr(
                "validate_utf8(CASE WHEN endswith(value, '\\r') THEN left(value, length(value) - 1) "
                f"ELSE value END) AS `{name}`"
            )
    return None


def _types(scan: Scan, source: FileSource) -> Iterator[pa.DataType]:
    return (source.schema.field(name).type for name in scanned_columns(scan))


def _stored_alike(dtype: pa.DataType) -> bool:
    """Whether Parquet stores a type's values in the layout that they have in Spark."""
    if pa.types.is_nested(dtype):
        return all(_stored_alike(dtype.field(i).type) for i in range(dtype.num_fields))
    return not (pa.types.is_duration(dtype) or pa.types.is_time(dtype) or pa.types.is_null(dtype))


def _has_types(frame: Any, scan: Scan, source: FileSource) -> bool:
    found = {item.name: item.dataType.simpleString() for item in frame.schema.fields}
    for name in scanned_columns(scan):
        wanted = type_text(source.schema.field(name).type).lower().replace(" ", "").replace("`", "")
        wanted = wanted.replace("timestamp_ltz", "timestamp")
        if found.get(name, "").lower().replace(" ", "") != wanted:
            return False
    return True


def _plain_lines(path: str) -> bool:
    """Whether a file is plain text whose lines Spark sees as the plan does.

    It keeps a byte order mark, and a carriage return is part of a last line without an end.
    """
    if compression_of(path) is not None:
        return False
    with Path(path).open("rb") as file:
        if file.read(len(_MARK)) == _MARK:
            return False
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        return file.read(1) != b"\r"


def _streamed(
    connection: Connection,
    scan: Scan,
    source: FileSource,
    files: Sequence[FileEntry],
    check: Callable[[], None],
) -> Any:
    wanted = scanned_columns(scan) or source.schema.names[:1]
    schema = pa.schema([source.schema.field(name) for name in wanted])
    physical = physical_schema(schema)
    batches = (
        made
        for batch in read(source, wanted, files=files, check=check)
        for made in to_physical(pa.Table.from_batches([batch]), schema).to_batches()
    )
    if connection.sees_files:
        return spool(connection, physical, batches)
    return upload_physical(connection, pa.Table.from_batches(list(batches), physical))
