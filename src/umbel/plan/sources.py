"""Sources: what a `Scan` reads, as plain descriptions. Reading is the platforms' work.

A source knows its schema, which is found when it is made (see `umbel.catalog`), so that a plan is
checked without touching data again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa


@dataclass(frozen=True)
class Source:
    """Something with rows.

    Attributes:
        schema: its columns, in canonical types.
    """

    schema: pa.Schema
    kind: ClassVar[str] = ""

    @property
    def element(self) -> str:
        """The form of an element; a value of `umbel.plan.Element`."""
        return "row"

    def describe(self) -> str:
        """Name the source for people."""
        return self.kind


@dataclass(frozen=True)
class FileSource(Source):
    """Files of one format.

    Attributes:
        paths: files, folders or glob patterns, as the user gave them.
        partitions: names of columns that come from `name=value` folders (hive partitioning); they
            are the last columns of the schema.
    """

    paths: tuple[str, ...]
    partitions: tuple[str, ...] = ()

    def describe(self) -> str:
        more = f" and {len(self.paths) - 1} more" if len(self.paths) > 1 else ""
        return f"{self.kind} {self.paths[0]}{more}"


@dataclass(frozen=True)
class TextSource(FileSource):
    r"""Lines of UTF-8 text, plain or compressed (.gz, .zst, .bz2), without their line ends.

    A line ends at `\n` or `\r\n`; the last one may lack its end. Other separators (`\r`, U+2028)
    are part of the line. A byte order mark at the start of a file is dropped.
    """

    kind: ClassVar[str] = "text"

    @property
    def element(self) -> str:
        return "value"


@dataclass(frozen=True)
class CsvSource(FileSource):
    """Comma-separated values (RFC 4180), plain or compressed.

    Attributes:
        delimiter: one character between fields.
        quote: the character around fields that hold delimiters, quotes or line ends.
        header: the first line names the columns; otherwise they are `column_0`, ….
        null_values: texts that stand for null when not quoted.
    """

    delimiter: str = ","
    quote: str = '"'
    header: bool = True
    null_values: tuple[str, ...] = ("",)
    kind: ClassVar[str] = "csv"


@dataclass(frozen=True)
class JsonLinesSource(FileSource):
    """One JSON object a line (newline-delimited JSON), plain or compressed."""

    kind: ClassVar[str] = "json"


@dataclass(frozen=True)
class ParquetSource(FileSource):
    """Apache Parquet files."""

    kind: ClassVar[str] = "parquet"


@dataclass(frozen=True)
class IpcSource(FileSource):
    """Arrow IPC files, also known as Feather version 2."""

    kind: ClassVar[str] = "ipc"


@dataclass(frozen=True)
class MemorySource(Source):
    """Data of this process. A plan names it by `token`; the data travels beside the plan.

    Attributes:
        token: identifies the data; unique in the process that made it.
        form: a value of `umbel.plan.Element`.
        data: a `pyarrow.Table`, or for form "object" a list; absent after reading from JSON.
    """

    token: str = ""
    form: str = "row"
    data: Any = field(default=None, compare=False, repr=False)
    kind: ClassVar[str] = "memory"

    @property
    def element(self) -> str:
        return self.form

    def describe(self) -> str:
        rows = "" if self.data is None else f" ({len(self.data)} rows)"
        return f"memory {self.token}{rows}"
