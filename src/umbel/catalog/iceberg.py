"""Iceberg tables: what their metadata says of a snapshot, and writing the next snapshot.

A snapshot names its data files with the bounds of their columns; engines then read these files as
they read any others. Where a file cannot be read by its names alone (rows were deleted by position,
columns were renamed or changed their type) pyiceberg's own reader gives its rows. All bytes go
through `umbel.catalog.stores`, so that secrets are said once.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pyarrow as pa

from umbel.catalog.pruning import Test, comparisons
from umbel.catalog.stores.base import FileEntry
from umbel.catalog.stores.registry import is_remote, plain_path, store_of
from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError, SourceError, UmbelError
from umbel.plan.expressions import Expression
from umbel.plan.sources import IcebergSource
from umbel.plan.types import canonical_schema, type_to_json

#: Names that stand in Parquet files as they are; others are written differently there.
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

FILE_IO = "umbel.catalog.iceberg_io.StoreFileIO"


@dataclass(frozen=True)
class Task:
    """How pyiceberg reads one file.

    Attributes:
        table: the table, as its metadata file has it.
        projection: pyiceberg's schema of the columns that are meant.
        task: pyiceberg's `FileScanTask`.
    """

    table: Any
    projection: Any
    task: Any


def iceberg_source(
    table: Any,
    name: str,
    *,
    snapshot: int | None = None,
    as_of: datetime.datetime | str | None = None,
) -> IcebergSource:
    """Describe a table at a snapshot; the current one if neither is given.

    The table as it is now has its newest columns, though they may have changed since its newest
    snapshot. A snapshot that is asked for has the columns that it was written with.

    Args:
        table: a `pyiceberg.table.Table`.
        name: what to call it.
        snapshot: the snapshot's id.
        as_of: the snapshot that was current then; without a time zone it is UTC.

    Raises:
        SourceError: there is no such snapshot, or the table has types that a plan does not know.
    """
    if snapshot is not None and as_of is not None:
        raise PlanError("an Iceberg table has either a snapshot or an as_of, not both")
    known, columns = table.metadata.snapshots, None
    if as_of is not None:
        moment = _moment(as_of)
        found = table.snapshot_as_of_timestamp(int(moment.timestamp() * 1000))
        if found is None:
            oldest = min((s.timestamp_ms for s in known), default=None)
            began = (
                f"the oldest is of {_shown(oldest)}" if oldest is not None else "there are none yet"
            )
            raise SourceError(
                f"{name}: there is no snapshot as old as {moment.isoformat()}", hint=began
            )
        snapshot = found.snapshot_id
    elif snapshot is None:
        current = table.current_snapshot()
        snapshot = None if current is None else current.snapshot_id
        columns = int(table.metadata.current_schema_id)
    elif snapshot not in {s.snapshot_id for s in known}:
        shown = ", ".join(f"{s.snapshot_id} of {_shown(s.timestamp_ms)}" for s in known[-5:])
        raise SourceError(
            f"{name}: there is no snapshot {snapshot}", hint=f"the latest are: {shown or 'none'}"
        )
    with explained(name):
        schema = canonical_schema(_arrow_schema(_projection(table, snapshot, columns)))
    for field in schema:
        try:
            type_to_json(field.type)
        except UmbelError:
            raise SourceError(
                f"{name}: column {field.name!r} of type {field.type} has no place in a plan",
                hint="leave it out with another tool, in a view or a copy of the table",
            ) from None
    location = plain_path(table.metadata_location)
    return IcebergSource(schema, (location,), (), snapshot, name, columns)


def static_source(path: str, **options: Any) -> IcebergSource:
    """Describe a table by its metadata file, without a catalogue."""
    location = plain_path(path)
    return iceberg_source(_table(location), location, **options)


def iceberg_files(source: IcebergSource, predicate: Expression | None = None) -> list[FileEntry]:
    """List the files of a snapshot, without those for which `predicate` cannot be true.

    Partitions (and whatever they are made of: days, buckets, first letters) and the bounds of
    columns are looked at as the table's manifests have them.
    """
    tests = []
    for name, function, value in comparisons(predicate):
        if name in source.schema.names and _tested(source.schema.field(name).type, value):
            tests.append((name, function, value))
    return list(_files(source, tuple(tests)))


@lru_cache(maxsize=128)
def _files(source: IcebergSource, tests: tuple[Test, ...]) -> tuple[FileEntry, ...]:
    if source.snapshot is None:
        return ()
    table = _table(source.paths[0])
    with explained(source.name or source.paths[0]):
        projection = _projection(table, source.snapshot, source.columns)
        row_filter = _filter(_renamed(tests, projection, table.schema()))
        scan = table.scan(row_filter=row_filter, snapshot_id=source.snapshot)
        by_name = _readable_by_name(table.metadata, projection)
        entries = [_entry(table, task, projection, by_name=by_name) for task in scan.plan_files()]
    return tuple(sorted(entries, key=lambda entry: entry.path))


def _entry(table: Any, task: Any, projection: Any, *, by_name: bool) -> FileEntry:
    file = task.file
    if file.file_format.value.upper() != "PARQUET":
        raise SourceError(
            f"{file.file_path}: data files of form {file.file_format.value} are not supported",
            hint="rewrite the table's data files as Parquet",
        )
    odd = bool(task.delete_files) or not by_name
    return FileEntry(
        plain_path(file.file_path),
        file.file_size_in_bytes,
        {},
        1,  # data files never change
        file.record_count,
        _bounds(file, projection),
        sum(delete.record_count for delete in task.delete_files),
        Task(table, projection, task) if odd else None,
    )


def task_batches(task: Task, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read columns of one file by pyiceberg's reader: by field ids, without deleted rows.

    A file is in memory as a whole.
    """
    from pyiceberg.expressions import AlwaysTrue
    from pyiceberg.io.pyarrow import ArrowScan

    name = task.task.file.file_path
    with explained(name):
        wanted = task.projection.select(*(columns or [task.projection.fields[0].name]))
        scan = ArrowScan(task.table.metadata, task.table.io, wanted, AlwaysTrue())
        yield from scan.to_record_batches([task.task])


# --- metadata ---------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def _table(location: str) -> Any:
    """Open a table by its metadata file, which never changes."""
    library(location)
    from pyiceberg.catalog.noop import NoopCatalog
    from pyiceberg.serializers import FromInputFile
    from pyiceberg.table import Table

    from umbel.catalog.iceberg_io import StoreFileIO

    if not location.endswith(".metadata.json"):
        raise SourceError(
            f"{location}: not the metadata file of an Iceberg table",
            hint="it is called …/metadata/….metadata.json; or read the table by its catalogue: "
            "session.read_iceberg('db.table', catalog='name')",
        )
    with explained(location):
        # A table's own properties could name code to import for reading it; ours come last.
        io = StoreFileIO()
        metadata = FromInputFile.table_metadata(io.new_input(location))
        return Table(("table",), metadata, location, io, NoopCatalog("none"))


def _projection(table: Any, snapshot: int | None, columns: int | None) -> Any:
    if columns is None:
        return table.scan(snapshot_id=snapshot).projection()
    found = table.metadata.schema_by_id(columns)
    if found is None:
        raise SourceError(
            f"{plain_path(table.metadata_location)}: the table has no schema {columns}",
            hint="the plan was changed by hand; make the frame anew: session.read_iceberg(…)",
        )
    return found


def _arrow_schema(schema: Any) -> pa.Schema:
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    made: pa.Schema = schema_to_pyarrow(schema, include_field_ids=False)
    return made


def _readable_by_name(metadata: Any, projection: Any) -> bool:
    """Whether a column's name means the same in all files: nothing was renamed or retyped."""
    if "schema.name-mapping.default" in metadata.properties:
        return False
    names: dict[str, Any] = {}
    ids: dict[int, Any] = {}
    for schema in metadata.schemas:
        if not all(
            _PLAIN_NAME.fullmatch(part) for name in schema.column_names for part in name.split(".")
        ):
            return False
        for field in schema.fields:
            same = names.setdefault(field.name, field.field_id) == field.field_id
            if not same or ids.setdefault(field.field_id, (field.name, field.field_type)) != (
                field.name, field.field_type,
            ):  # fmt: skip
                return False
    return not any(
        getattr(field, "initial_default", None) is not None for field in projection.fields
    )


def _bounds(file: Any, projection: Any) -> dict[str, tuple[Any, Any, int | None]]:
    found = {}
    lows, highs = file.lower_bounds or {}, file.upper_bounds or {}
    nulls = file.null_value_counts or {}
    for field in projection.fields:
        number = field.field_id
        if not field.field_type.is_primitive:
            continue
        low = _value(lows.get(number), field.field_type)
        high = _value(highs.get(number), field.field_type)
        found[field.name] = (low, high, nulls.get(number))
    return found


def _value(stored: bytes | None, kind: Any) -> Any:
    from pyiceberg.conversions import from_bytes
    from pyiceberg.types import (
        BooleanType,
        DateType,
        DecimalType,
        DoubleType,
        FloatType,
        IntegerType,
        LongType,
        StringType,
        TimestampType,
        TimestamptzType,
    )

    if stored is None:
        return None
    match kind:
        case IntegerType() | LongType() | StringType() | DecimalType() | BooleanType():
            return from_bytes(kind, stored)
        case FloatType() | DoubleType():
            return float(from_bytes(kind, stored))
        case DateType():
            return pa.scalar(from_bytes(kind, stored), pa.int32()).cast(pa.date32()).as_py()
        case TimestampType() | TimestamptzType():
            zone = "UTC" if isinstance(kind, TimestamptzType) else None
            moment = pa.scalar(from_bytes(kind, stored), pa.int64())
            return moment.cast(pa.timestamp("us", zone)).as_py()
    return None


def _tested(dtype: pa.DataType, value: Any) -> bool:
    """Whether a comparison with a constant means the same to Iceberg.

    Not of floats: there a NaN is greater than all, but not in a file's bounds.
    """
    if isinstance(value, datetime.datetime):
        return bool(pa.types.is_timestamp(dtype)) and (value.tzinfo is not None) == bool(dtype.tz)
    if isinstance(value, datetime.date):
        return bool(pa.types.is_date(dtype))
    if isinstance(value, bool):
        return bool(pa.types.is_boolean(dtype))
    if isinstance(value, int):
        return bool(pa.types.is_signed_integer(dtype)) and abs(value) < 2**63
    return isinstance(value, str) and bool(pa.types.is_string(dtype))


def _renamed(tests: tuple[Test, ...], projection: Any, current: Any) -> Iterator[Test]:
    """Call columns what they are called now, as pyiceberg takes them in filters of any snapshot.

    What is tested of a column that is there no more is left out: no file is excluded by it.
    """
    for name, function, value in tests:
        now = current.find_column_name(projection.find_field(name).field_id)
        if now is not None:
            yield now, function, value


def _filter(tests: Iterable[Test]) -> Any:
    from pyiceberg import expressions

    makers = {
        "equal": expressions.EqualTo,
        "less": expressions.LessThan,
        "less_equal": expressions.LessThanOrEqual,
        "greater": expressions.GreaterThan,
        "greater_equal": expressions.GreaterThanOrEqual,
    }
    made: Any = expressions.AlwaysTrue()
    for name, function, value in tests:
        shown = value.isoformat() if isinstance(value, datetime.date) else value
        made = expressions.And(made, makers[function](expressions.Reference(name), shown))
    return made


# --- shared -----------------------------------------------------------------------------------


def library(place: str) -> None:
    """Raise `SourceError` if pyiceberg is not installed."""
    try:
        import pyiceberg  # noqa: F401
    except ImportError:
        raise SourceError(
            f"{place}: Iceberg tables need the library pyiceberg",
            hint="pip install 'umbel[iceberg]'",
        ) from None


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Translate what pyiceberg and the stores raise."""
    try:
        yield
    except UmbelError:
        raise
    except FileNotFoundError as error:
        raise SourceError(
            f"{place}: a file of the table is missing: {first_line(error)}",
            hint="the snapshot may have expired; make the source anew",
        ) from error
    except Exception as error:
        text = first_line(error)
        if is_remote(place) and (found := store_of(place).explain(place, error)) is not None:
            raise found from error
        if "equality delete" in text.lower():
            raise SourceError(
                f"{place}: rows are deleted by equality deletes, which are not supported",
                hint="rewrite the table's data files first: CALL system.rewrite_data_files(…)",
            ) from error
        raise SourceError(
            f"{place}: the Iceberg table cannot be read: {text}",
            hint="see whether another tool can read the table",
        ) from error


def first_line(error: BaseException) -> str:
    """Give the first line of an error's text, or its kind if it says nothing."""
    lines = str(error).strip().split("\n")
    return lines[0].strip() or type(error).__name__


def _moment(text: datetime.datetime | str) -> datetime.datetime:
    if isinstance(text, str):
        try:
            text = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise PlanError(
                f"not a time: {text!r}", hint="write it as in ISO 8601: 2026-01-31T12:00:00Z"
            ) from None
    return text.replace(tzinfo=datetime.UTC) if text.tzinfo is None else text


def _shown(milliseconds: int) -> str:
    return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC).isoformat()


__all__ = [
    "FILE_IO",
    "Task",
    "explained",
    "first_line",
    "iceberg_files",
    "iceberg_source",
    "library",
    "static_source",
    "task_batches",
]
