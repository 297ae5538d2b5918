"""Sinks: where a `Write` puts rows, as plain descriptions.

Files are written by the executor, tables by the platform that holds them.
"""

from __future__ import annotations

from typing import ClassVar
from typing import Literal as OneOf

import pyarrow as pa

from umbel.plan.errors import TypeClashError
from umbel.plan.records import Record
from umbel.plan.sources import dotted
from umbel.plan.types import is_object, type_name


class Sink(Record):
    """A place that takes rows, and then holds them all or none."""

    kind: ClassVar[str] = ""

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
