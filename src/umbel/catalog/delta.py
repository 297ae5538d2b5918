"""Delta tables: what their log says of a version, and writing the next version.

The log names the Parquet files of a version with the values of their folders and the bounds of
their columns; engines then read these files as they read any others. The library `deltalake` reads
and writes logs, and reaches object stores with the options of `umbel.catalog.stores`.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from umbel.catalog.stores.base import FileEntry
from umbel.catalog.stores.registry import is_remote, plain_path, store_of
from umbel.plan.errors import PlanError, RunError, SourceError, UmbelError
from umbel.plan.sinks import DeltaSink
from umbel.plan.sources import DeltaSource
from umbel.plan.types import canonical_schema, is_decimal, type_name, type_to_json

#: Features of tables that change nothing for who reads plain files. Column mapping renames columns
#: inside of files, type widening changes their types; with deletion vectors see `_check_vectors`.
_HARMLESS = frozenset({"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck", "deletionVectors"})

#: Longer texts may be cut off in the log's bounds.
_LONGEST_BOUND = 31

#: Digits that bounds of decimals keep in the log, where they are JSON numbers.
_EXACT_DIGITS = 15

_MODES = {"error": "error", "append": "append", "replace": "overwrite"}


def delta_source(
    path: str, *, version: int | None = None, timestamp: datetime.datetime | str | None = None
) -> DeltaSource:
    """Describe a Delta table at a version; the latest if neither is given.

    Args:
        path: the table's folder: a path of this machine, or a URL of an object store.
        version: what its log counts, from 0.
        timestamp: the version that was the latest then; without a time zone it is UTC.

    Raises:
        SourceError: there is no such table or version, or it has features that are not supported.
    """
    if version is not None and timestamp is not None:
        raise PlanError("a Delta table has either a version or a timestamp, not both")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        raise PlanError(f"a version is a whole number, not {version!r}")
    root = plain_path(path).rstrip("/")
    table = _open(root, None if version is None else max(version, -1))
    if timestamp is not None:
        with _explained(root):
            table = _open(root, _version_at(table, root, timestamp))
    _check_features(table, root)
    schema = canonical_schema(pa.schema(table.schema().to_arrow()))
    for field in schema:
        try:
            type_to_json(field.type)
        except UmbelError:
            raise SourceError(
                f"{root}: column {field.name!r} of type {field.type} has no place in a plan",
                hint="select the others with another tool, and write them as a table",
            ) from None
    known = table.metadata()
    partitions = tuple(known.partition_columns)
    return DeltaSource(schema, (root,), partitions, int(table.version()), str(known.id))


def delta_files(source: DeltaSource) -> list[FileEntry]:
    """List the files of a version of a Delta table, with what the log says of each."""
    return list(_files(source))


@lru_cache(maxsize=64)
def _files(source: DeltaSource) -> tuple[FileEntry, ...]:
    root, schema, partitions = source.paths[0], source.schema, source.partitions
    table = _open(root, source.version)
    if source.table and str(table.metadata().id) != source.table:
        raise SourceError(
            f"{root}: another Delta table is there now: the one of the plan was removed or replaced",
            hint="make the frame anew, so that its columns are found again: session.read_delta(…)",
        )
    _check_features(table, root)
    with _explained(root):
        actions = pa.table(table.get_add_actions(flatten=False))
    stored = [name for name in schema.names if name not in partitions]
    entries = []
    for action in actions.to_pylist():
        values = action.get("partition") or {}
        rows = action.get("num_records")
        entries.append(
            FileEntry(
                _place(root, action["path"]),
                action["size_bytes"],
                {name: _converted(values.get(name), schema.field(name)) for name in partitions},
                action["modification_time"] * 10**6,
                rows,
                {} if rows is None else _bounds(action, schema, stored),
            )
        )
    return tuple(sorted(entries, key=lambda entry: entry.path))


def _converted(value: Any, field: pa.Field) -> Any:
    return None if value is None else pa.scalar(value).cast(field.type).as_py()


def _bounds(
    action: Mapping[str, Any], schema: pa.Schema, stored: list[str]
) -> dict[str, tuple[Any, Any, int | None]]:
    lows, highs = action.get("min") or {}, action.get("max") or {}
    nulls = action.get("null_count") or {}
    found = {}
    for name in stored:
        low, high, dtype = lows.get(name), highs.get(name), schema.field(name).type
        if pa.types.is_nested(dtype) or (is_decimal(dtype) and dtype.precision > _EXACT_DIGITS):
            continue
        if isinstance(high, str) and len(high) > _LONGEST_BOUND:
            high = None
        if isinstance(high, datetime.datetime):  # the log keeps milliseconds, and cuts off the rest
            high += datetime.timedelta(milliseconds=1)
        count = nulls.get(name)
        found[name] = (low, high, count if isinstance(count, int) else None)
    return found


def _place(root: str, path: str) -> str:
    plain = unquote(path)
    if "://" in plain:
        return plain_path(plain)
    return plain if plain.startswith("/") else f"{root}/{plain}"


# --- opening ----------------------------------------------------------------------------------


def _open(root: str, version: int | None) -> Any:
    library = _library(root)
    if version is not None and version < 0:
        raise SourceError(f"{root}: there is no version {version}", hint="versions begin at 0")
    with _explained(root):
        try:
            return library.DeltaTable(root, version=version, storage_options=_options(root))
        except library.exceptions.TableNotFoundError:
            # Says what there is, if the folder itself is missing.
            names = [child.name for child in store_of(root).children(root)]
            raise SourceError(
                f"{root}: no Delta table: the folder has no _delta_log",
                hint="read its files by their format: session.read_parquet(…)"
                if names
                else "the folder is empty",
            ) from None
        except library.exceptions.DeltaError as error:
            if version is None:
                raise
            latest = library.DeltaTable(root, storage_options=_options(root)).version()
            if version > latest:
                raise SourceError(
                    f"{root}: there is no version {version}", hint=f"the latest is {latest}"
                ) from None
            raise SourceError(
                f"{root}: version {version} cannot be read any more: {_first_line(error)}",
                hint=f"its log may have been cleaned; the latest version is {latest}",
            ) from None


def _version_at(table: Any, root: str, timestamp: datetime.datetime | str) -> int:
    """Find the latest version of a time, by the times that the log itself gives."""
    if isinstance(timestamp, str):
        try:
            timestamp = datetime.datetime.fromisoformat(timestamp)
        except ValueError:
            raise PlanError(
                f"not a time: {timestamp!r}", hint="write it as in ISO 8601: 2026-01-31T12:00:00Z"
            ) from None
    if timestamp.tzinfo is None:
        timestamp = timestamp.replace(tzinfo=datetime.UTC)
    times = {int(entry["version"]): entry["timestamp"] for entry in table.history()}
    asked = timestamp.timestamp() * 1000
    found = [version for version, time in times.items() if time <= asked]
    if not found:
        began = datetime.datetime.fromtimestamp(min(times.values()) / 1000, datetime.UTC)
        raise SourceError(
            f"{root}: there is no version as old as {timestamp.isoformat()}",
            hint=f"the oldest that its log knows is of {began.isoformat()}",
        )
    return max(found)


def _check_features(table: Any, root: str) -> None:
    protocol, settings = table.protocol(), table.metadata().configuration
    unknown = sorted(set(protocol.reader_features or ()) - _HARMLESS)
    if settings.get("delta.columnMapping.mode", "none") != "none":
        unknown = sorted({*unknown, "columnMapping"})
    if unknown:
        raise SourceError(
            f"{root}: the table uses features that are not supported: {', '.join(unknown)}",
            hint="write a plain copy of it, for example by Spark: "
            "CREATE TABLE copy USING delta AS SELECT * FROM …",
        )
    if "deletionVectors" in (protocol.reader_features or ()):
        try:
            deleted = pa.RecordBatchReader.from_stream(table.deletion_vectors())
            some = any(batch.num_rows for batch in deleted)
        except Exception:  # noqa: BLE001 (there is one, whether or not the library can read it)
            some = True
        if some:
            raise SourceError(
                f"{root}: rows are deleted by deletion vectors, which are not supported",
                hint="have them removed: REORG TABLE … APPLY (PURGE)",
            )


def _library(place: str) -> Any:
    try:
        import deltalake
        import deltalake.exceptions
    except ImportError:
        raise SourceError(
            f"{place}: Delta tables need the library deltalake",
            hint="pip install 'umbel[delta]'",
        ) from None
    return deltalake


def _options(root: str) -> dict[str, str] | None:
    options = store_of(root).engine_options()
    if options is None:
        raise SourceError(f"{root}: a Delta table cannot be read from a web server")
    return dict(options) or None


@contextmanager
def _explained(root: str) -> Iterator[None]:
    """Translate what the library raises."""
    try:
        yield
    except UmbelError:
        raise
    except Exception as error:
        store = store_of(root)
        if is_remote(root):
            store.children(root)  # says it better, if the store is what fails
        raise SourceError(
            f"{root}: the log of the Delta table cannot be read: {_first_line(error)}",
            hint="see whether another tool can read the table",
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().split("\n")
    return lines[0].strip() or type(error).__name__


# --- writing ----------------------------------------------------------------------------------


def check_delta_sink(sink: DeltaSink, schema: pa.Schema) -> None:
    """Raise if rows of a schema cannot be written to a Delta table; cheap, for before a run.

    Raises:
        RunError: the table exists though it must not, or has other columns than would be appended.
    """
    library = _library(sink.path)
    root = plain_path(sink.path).rstrip("/")
    store_of(root).check_target(f"{root}/_delta_log/0.json", "replace")
    try:
        exists = library.DeltaTable.is_deltatable(root, storage_options=_options(root))
        known = delta_source(root) if exists else None
    except SourceError as error:
        raise RunError(error.message, hint=error.hint) from None
    if known is None:
        return
    if sink.mode == "error":
        raise RunError(
            f"{root}: the table is there already",
            hint="append to it or replace it: mode='append' or mode='replace'",
        )
    if sink.partition_by and sink.partition_by != known.partitions:
        raise RunError(
            f"{root}: the table is partitioned by {', '.join(known.partitions) or 'nothing'}, "
            f"not by {', '.join(sink.partition_by)}",
            hint="leave out partition_by, or write a table of another name",
        )
    if sink.mode == "append":
        check_columns(root, known.schema, schema)


def check_columns(name: str, known: pa.Schema, given: pa.Schema) -> None:
    """Raise `RunError` unless rows of `given` fit a table of the columns `known`, in any order."""
    for field in given:
        if field.name not in known.names:
            raise RunError(
                f"{name}: the table has no column {field.name!r}",
                hint=f"its columns are {', '.join(known.names)}",
            )
        wanted = known.field(field.name).type
        if wanted != field.type:
            raise RunError(
                f"{name}: column {field.name!r} is {type_name(wanted)} in the table, "
                f"but {type_name(field.type)} in what is appended",
                hint=f"cast it first to {type_name(wanted)}",
            )
    missing = [f.name for f in known if f.name not in given.names]
    if missing:
        raise RunError(
            f"{name}: the table has a column {missing[0]!r}, which what is appended has not",
            hint="add it first, for example as nulls",
        )


#: In the log's entry of a durable run: how many rows it wrote, and its token.
_ROWS, _TOKEN = "umbel.rows", "umbel.run"


def delta_commit(sink: DeltaSink, token: str) -> int | None:
    """Give the rows that were written with a token; None if none were.

    The log keeps tokens as identifiers of transactions, as Delta's protocol has them for this.
    """
    root = plain_path(sink.path).rstrip("/")
    library = _library(root)
    with _explained(root):
        if not library.DeltaTable.is_deltatable(root, storage_options=_options(root)):
            return None
        table = library.DeltaTable(root, storage_options=_options(root))
        if table.transaction_version(token) is None:
            return None
        for entry in table.history():
            if entry.get(_TOKEN) == token:
                return int(entry[_ROWS])
    return 0  # the entry itself was cleaned away


def write_delta(sink: DeltaSink, table: pa.Table, token: str | None = None) -> None:
    """Write rows as the next version of a Delta table.

    The files are written first, and belong to the table once an entry of its log names them; when
    writing fails the table is as it was.

    Raises:
        RunError: it cannot be written.
    """
    root = plain_path(sink.path).rstrip("/")
    library = _library(root)
    check_delta_sink(sink, table.schema)
    was_there = is_remote(root) or Path(root).exists()
    try:
        partitions = list(sink.partition_by)
        if sink.mode != "error" and not partitions:
            exists = library.DeltaTable.is_deltatable(root, storage_options=_options(root))
            partitions = list(delta_source(root).partitions) if exists else []
        library.write_deltalake(
            root,
            table,
            mode=_MODES[sink.mode],
            partition_by=partitions or None,
            schema_mode="overwrite" if sink.mode == "replace" else None,
            storage_options=_options(root),
            commit_properties=None if token is None else _tokened(library, token, table.num_rows),
        )
    except UmbelError:
        raise
    except Exception as error:
        if not was_there and not Path(root, "_delta_log").exists():
            shutil.rmtree(root, ignore_errors=True)
        if is_remote(root):
            store_of(root).check_target(f"{root}/_delta_log/0.json", "replace")
        raise RunError(
            f"{root}: the Delta table cannot be written: {_first_line(error)}",
            hint="the table is as it was before",
        ) from error


def _tokened(library: Any, token: str, rows: int) -> Any:
    """What the log keeps with what a durable run writes; a second entry of a token conflicts."""
    return library.CommitProperties(
        custom_metadata={_TOKEN: token, _ROWS: str(rows)},
        app_transactions=[library.Transaction(token, 1)],
    )


__all__ = [
    "check_columns",
    "check_delta_sink",
    "delta_commit",
    "delta_files",
    "delta_source",
    "write_delta",
]
