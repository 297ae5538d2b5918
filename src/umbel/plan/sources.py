"""Sources: what a `Scan` reads, as plain descriptions. Reading is the platforms' work.

A source knows its schema, which is found when it is made (see `umbel.catalog`), so that a plan is
checked without touching data again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field
from typing import Any, ClassVar

import pyarrow as pa

from umbel.plan.errors import PlanError
from umbel.plan.records import Record


class Source(Record):
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


class TextSource(FileSource):
    r"""Lines of UTF-8 text, plain or compressed (.gz, .zst, .bz2), without their line ends.

    A line ends at `\n` or `\r\n`; the last one may lack its end. Other separators (`\r`, U+2028)
    are part of the line. A byte order mark at the start of a file is dropped.
    """

    kind: ClassVar[str] = "text"

    @property
    def element(self) -> str:
        return "value"


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


class JsonLinesSource(FileSource):
    """One JSON object a line (newline-delimited JSON), plain or compressed."""

    kind: ClassVar[str] = "json"


class ParquetFiles(FileSource):
    """Files in the form of Apache Parquet, however it is said which they are."""

    @property
    def lenient(self) -> bool:
        """Whether a file may lack columns, which then are null in it."""
        return False


class ParquetSource(ParquetFiles):
    """Apache Parquet files."""

    kind: ClassVar[str] = "parquet"


class DeltaSource(ParquetFiles):
    """A Delta table as it was at one version, so that it gives the same rows later.

    Attributes:
        paths: its folder alone; which files belong to it says its log.
        version: what its log counts.
        table: the identity that the log gives the table, so that another one that takes its place
            is not read for it; empty in plans of before it was kept.
    """

    version: int = 0
    table: str = ""
    kind: ClassVar[str] = "delta"

    @property
    def lenient(self) -> bool:
        return True  # columns that were added later

    def describe(self) -> str:
        return f"delta {self.paths[0]} version {self.version}"


class IcebergSource(ParquetFiles):
    """An Iceberg table as it was at one snapshot, so that it gives the same rows later.

    Attributes:
        paths: its metadata file alone, which never changes and names everything else.
        snapshot: the snapshot's id; None for a table without one, which is empty.
        name: what its catalogue calls it.
        columns: the id of the schema that its columns are of, which may be newer than the snapshot;
            None if they are those that the snapshot was written with.
    """

    snapshot: int | None = None
    name: str = ""
    columns: int | None = None
    kind: ClassVar[str] = "iceberg"

    @property
    def lenient(self) -> bool:
        return True  # columns that were added later

    def describe(self) -> str:
        return f"iceberg {self.name or self.paths[0]} snapshot {self.snapshot}"


class IpcSource(FileSource):
    """Arrow IPC files, also known as Feather version 2."""

    kind: ClassVar[str] = "ipc"


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


class AttachedSource(Source):
    """Rows that lie in an attached platform, which alone can scan them.

    Attributes:
        platform: the platform's name; its address and secrets are no part of a plan.
    """

    platform: str


class RelationSource(AttachedSource):
    """A table or view of an attached platform.

    Attributes:
        relation: its name there, the outermost part first: (schema, table).
    """

    relation: tuple[str, ...]
    kind: ClassVar[str] = "relation"

    def describe(self) -> str:
        return dotted((self.platform, *self.relation))


class QuerySource(AttachedSource):
    """A user's own query, in the dialect of an attached platform.

    Attributes:
        query: one statement that gives rows; it runs as it is written.
    """

    query: str
    kind: ClassVar[str] = "query"

    def describe(self) -> str:
        text = " ".join(self.query.split())
        return f"query of {self.platform}: {text if len(text) <= 80 else text[:79] + '…'}"


def dotted(parts: Iterable[str]) -> str:
    """Write a name of several parts; a part that is not plain stands in quotes.

    >>> dotted(["warehouse", "public", "Order lines"])
    'warehouse.public."Order lines"'
    """
    return ".".join(
        part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"' for part in parts
    )


def split_name(name: str) -> tuple[str, ...]:
    """Read a name of several parts, as `dotted` writes it.

    Raises:
        PlanError: a part is empty, or a quote is not closed.

    >>> split_name('warehouse.public."Order.lines"')
    ('warehouse', 'public', 'Order.lines')
    """
    parts = [quoted[1:-1].replace('""', '"') or plain for quoted, plain in _PART.findall(name)]
    if not parts or not all(parts) or not _NAME.fullmatch(name):
        raise PlanError(
            f"not a name: {name!r}",
            hint="""parts go between dots, odd ones in quotes: 'warehouse.public."odd.name"'""",
        )
    return tuple(parts)


_PLAIN = re.compile(r"[^\W\d]\w*")
_PART = re.compile(r'("(?:[^"]|"")+")|([^".]+)')
_NAME = re.compile(r'(?:"(?:[^"]|"")+"|[^".]+)(?:\.(?:"(?:[^"]|"")+"|[^".]+))*')
