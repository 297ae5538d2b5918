"""Sinks: where a `Write` puts rows, as plain descriptions.

Files are written by the executor, tables by the platform that holds them.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, ClassVar, get_args, get_origin, get_type_hints
from typing import Literal as OneOf

import pyarrow as pa

from umbel.plan.errors import PlanError, TypeClashError, UnknownNameError
from umbel.plan.records import Record
from umbel.plan.sources import dotted
from umbel.plan.types import is_object, type_name


def _choices(kind: type[Record]) -> dict[str, tuple[str, ...]]:
    """The fields of a kind of sinks that take one of some words, with the words."""
    hints = get_type_hints(kind)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is OneOf}


class Sink(Record):
    """A place that takes rows, and then holds them all or none."""

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, known in _choices(type(self)).items():
            if getattr(self, name) not in known:
                raise UnknownNameError(name, str(getattr(self, name)), known, where=self.kind)

    def check(self, schema: pa.Schema, element: str) -> None:
        """Raise `TypeClashError` if the place cannot hold the rows."""
        for item in schema:
            if is_object(item.type):
                raise TypeClashError(
                    f"{self.kind} cannot hold Python objects",
                    hint="give the Dataset columns first: .to_frame(schema)",
                )

    def describe(self) -> str:
        """Name the sink for people."""
        return self.kind


class FileSink(Sink):
    """One file of some format.

    Attributes:
        path: where the file goes. It appears there whole, or not at all.
        exists: what to do if it is there already: replace it, or fail before anything runs.
    """

    path: str
    exists: OneOf["replace", "fail"] = "replace"

    def describe(self) -> str:
        return f"{self.kind} {self.path}"


class TextSink(FileSink):
    """One line per element; elements that are not text are written as `str` gives them."""

    kind: ClassVar[str] = "text"

    def check(self, schema: pa.Schema, element: str) -> None:
        """Any element can be written as text."""


class CsvSink(FileSink):
    """Comma-separated values with a header. Null is an empty field, empty text is quoted."""

    kind: ClassVar[str] = "csv"

    def check(self, schema: pa.Schema, element: str) -> None:
        super().check(schema, element)
        for item in schema:
            if pa.types.is_nested(item.type) or pa.types.is_binary(item.type):
                raise TypeClashError(
                    f"csv cannot hold column {item.name!r} of type {type_name(item.type)}",
                    hint="write Parquet, or turn it into text first",
                )


class JsonLinesSink(FileSink):
    """One JSON object a line. NaN and infinities have no JSON form and fail the write."""

    kind: ClassVar[str] = "json"


class ParquetSink(FileSink):
    """Apache Parquet."""

    compression: OneOf["zstd", "snappy", "none"] = "zstd"
    kind: ClassVar[str] = "parquet"


class IpcSink(FileSink):
    """An Arrow IPC file, also known as Feather version 2."""

    kind: ClassVar[str] = "ipc"


class LakeSink(Sink):
    """A lakehouse table: data files, and a log whose next entry makes them all part of it at once.

    Attributes:
        mode: what to do if it is there already: fail before anything runs, replace its rows, or
            append to them.
        partition_by: columns whose values say in which folders a new table's files go.
    """

    mode: OneOf["error", "replace", "append"] = "error"
    partition_by: tuple[str, ...] = ()

    def check(self, schema: pa.Schema, element: str) -> None:
        super().check(schema, element)
        for name in self.partition_by:
            if name not in schema.names:
                raise UnknownNameError("column", name, schema.names, where="partition_by")
        for item in schema:
            # The libraries make signed integers of unsigned ones, and cut off nanoseconds.
            reason = self._refuse(item.type)
            if reason:
                raise TypeClashError(
                    f"{self.kind} cannot hold column {item.name!r} of type {type_name(item.type)}",
                    hint=reason,
                )
        if self.partition_by and len(self.partition_by) == len(schema):
            raise PlanError("a table cannot consist of the columns of partition_by alone")

    def _refuse(self, dtype: pa.DataType) -> str:
        """Say what to do with a column that cannot be kept as it is; empty if it can."""
        if pa.types.is_unsigned_integer(dtype):
            return "cast it to a signed integer, or uint64 to decimal(20,0)"
        if pa.types.is_timestamp(dtype):
            if dtype.unit == "ns":
                return "cast it to timestamp[us]"
            return "" if dtype.tz in {None, "UTC"} else "convert it to UTC"
        if pa.types.is_duration(dtype) or pa.types.is_null(dtype):
            return "cast it to a number or to text"
        if pa.types.is_struct(dtype):
            return next(filter(None, (self._refuse(f.type) for f in dtype)), "")
        return self._refuse(dtype.value_type) if pa.types.is_nested(dtype) else ""


class DeltaSink(LakeSink):
    """A Delta table.

    Attributes:
        path: its folder.
    """

    path: str = ""
    kind: ClassVar[str] = "delta"

    def describe(self) -> str:
        return f"delta {self.path} ({self.mode})"

    def _refuse(self, dtype: pa.DataType) -> str:
        if pa.types.is_time(dtype):
            return "cast it to a number or to text"
        return super()._refuse(dtype)


class IcebergSink(LakeSink):
    """An Iceberg table of an attached catalogue.

    Attributes:
        catalog: the name under which the catalogue is attached.
        table: the table's name there: (namespace, table).
        data: the catalogue itself; absent after reading from JSON.
    """

    catalog: str = ""
    table: tuple[str, ...] = ()
    data: Any = field(default=None, compare=False, repr=False)
    kind: ClassVar[str] = "iceberg"

    def describe(self) -> str:
        return f"iceberg {dotted((self.catalog, *self.table))} ({self.mode})"


class RelationSink(Sink):
    """A table of an attached platform, which alone can write it.

    Attributes:
        platform: the platform's name.
        relation: the table's name there, the outermost part first: (schema, table).
        mode: what to do if it is there already: fail before anything runs, replace it, or append
            rows to it.
    """

    platform: str
    relation: tuple[str, ...]
    mode: OneOf["error", "replace", "append"] = "error"
    kind: ClassVar[str] = "relation"

    def describe(self) -> str:
        return f"{dotted((self.platform, *self.relation))} ({self.mode})"
