"""The session's catalogue: databases, lakehouses and folders under names, and their tables."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa

from umbel.api.located import located_methods
from umbel.catalog.address import Address
from umbel.catalog.namespace import (
    Namespace,
    QueryNamespace,
    TableEntry,
    WritableNamespace,
    openers,
)
from umbel.catalog.statistics import TableStatistics
from umbel.dataclass import dataclass
from umbel.plan.errors import PlacementError, PlanError, SourceError, UnknownNameError
from umbel.plan.sinks import Sink
from umbel.plan.sources import Source, dotted, split_name
from umbel.plan.types import type_name

if TYPE_CHECKING:
    from rich.table import Table

    from umbel.platforms.registry import Registry

#: The name of a table: text with dots, or its parts.
TableName = str | Sequence[str]
_MOST_SHOWN = 50


@dataclass(frozen=True)
class TableDescription:
    """What is known of a table without reading it.

    Attributes:
        name: the name that `session.table` takes.
        schema: its columns.
        statistics: rows, bytes, and what its columns hold.
    """

    name: str
    schema: pa.Schema
    statistics: TableStatistics

    def __rich__(self) -> Table:
        from rich.table import Table

        known = self.statistics
        title = f"{self.name}: {known.rows} rows, {known.bytes:,} bytes"
        table = Table("column", "type", "nulls", "distinct", "least", "greatest", title=title)
        for row in self._rows():
            table.add_row(*row)
        return table

    def __repr__(self) -> str:
        known = self.statistics
        lines = [f"{self.name}: {known.rows} rows, {known.bytes:,} bytes"]
        for name, dtype, *more in self._rows():
            lines.append(f"  {name}: {dtype}".ljust(32) + " ".join(filter(None, more)))
        return "\n".join(line.rstrip() for line in lines)

    def _rows(self) -> Iterator[tuple[str, str, str, str, str, str]]:
        for field in self.schema:
            column = self.statistics.columns.get(field.name)
            nulls = "" if column is None or column.nulls is None else f"{column.nulls:.0%}"
            distinct = (
                "" if column is None or column.distinct is None else f"{column.distinct:,.0f}"
            )
            low, high = (None, None) if column is None else (column.low, column.high)
            least, most = ("" if value is None else str(value) for value in (low, high))
            yield field.name, type_name(field.type), nulls, distinct, least, most


class TableList(Sequence[TableEntry]):
    """Tables of a catalogue, in the order of their names."""

    def __init__(self, entries: Sequence[TableEntry]) -> None:
        self._entries = sorted(entries, key=lambda entry: (entry.namespace, entry.table))

    def __getitem__(self, index: Any) -> Any:
        return self._entries[index]

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def names(self) -> list[str]:
        """The names that `session.table` takes."""
        return [entry.name for entry in self._entries]

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table("table", "kind", "rows", box=None, pad_edge=False)
        for entry in self._entries:
            table.add_row(entry.name, entry.kind, _about(entry.rows))
        return table

    def __repr__(self) -> str:
        shown = [f"{e.name} ({e.kind}{_rows(e.rows)})" for e in self._entries[:_MOST_SHOWN]]
        more = len(self._entries) - len(shown)
        return "\n".join([*shown, *([f"… {more} more"] if more else [])]) or "no tables"


@located_methods
class Catalog:
    """What is attached to a session, by name.

    >>> import umbel as ub
    >>> ub.connect().catalog
    nothing is attached: session.catalog.attach(name, url)
    """

    def __init__(self, platforms: Registry) -> None:
        self._platforms = platforms
        self._namespaces: dict[str, Namespace] = {}

    def attach(self, name: str, url: str | os.PathLike[str], **options: Any) -> None:
        """Give a database, a lakehouse or another place of tables a name in this session.

        Nothing is connected before a table is asked for.

        Args:
            name: the name, which tables carry before a dot.
            url: where it is: scheme://user@host:port/path, or the path of a folder or of a
                database's file. A password in it is split off at once and never shown.
            options: further parts of the address. Secrets are references: `password="env:NAME"`
                reads a variable of the environment, `password="file:/path"` a file.

        Raises:
            PlacementError: the name is taken, or the engine is not installed.
            UnknownNameError: nothing that is installed takes such URLs.
            SourceError: the file is no database that is known.
        """
        self._check_name(name)
        url = self._url(os.fspath(url))
        address = Address.of(url, options)
        known = openers()
        if address.scheme in self._platforms.schemes:
            platform = self._platforms.attach(name, url, **options)
            if not isinstance(platform, Namespace):
                raise PlanError(f"engine {platform.engine!r} holds no tables")
            self._namespaces[name] = platform
        elif address.scheme in known:
            self._namespaces[name] = known[address.scheme]()(name, address)
        else:
            schemes = [*self._platforms.schemes, *known]
            hints = [why for engine, why in self._platforms.missing.items() if engine]
            error = UnknownNameError("scheme of a URL", address.scheme, schemes)
            raise PlanError(error.message, hint="; ".join([error.hint, *hints]))

    def _url(self, given: str) -> str:
        """Make a URL of a path; what is a URL stays as it is."""
        path = Path(given).expanduser()
        if "://" in given or not (os.sep in given or path.exists()):
            return given
        scheme: str | None = "file"
        if path.is_file():
            scheme = self._platforms.scheme_of(path)
            if scheme is None:
                raise SourceError(
                    f"{given} is no file of a database that is known here",
                    hint="read a file of data by session.read_csv, read_parquet, …; "
                    "attach the folder to have each of its files as a table",
                )
        return f"{scheme}://{quote(str(path.absolute()))}"

    def add(self, namespace: Namespace) -> None:
        """Attach a namespace that is made already."""
        self._check_name(namespace.name)
        self._namespaces[namespace.name] = namespace

    def detach(self, name: str) -> None:
        """Forget what is attached under a name, and close its connections."""
        namespace = self[name]
        del self._namespaces[name]
        if name in self._platforms.attached:
            self._platforms.detach(name)
        else:
            namespace.close()

    def tables(self, name: str | None = None) -> TableList:
        """List the tables of one namespace, or of all."""
        chosen = list(self._namespaces.values()) if name is None else [self[name]]
        return TableList([entry for namespace in chosen for entry in namespace.tables()])

    def describe(self, table: TableName) -> TableDescription:
        """Say what is known of a table without reading it: columns, rows, bytes, bounds.

        Args:
            table: its name, such as "warehouse.orders".
        """
        source = self.source(table)
        return TableDescription(_shown(table), source.schema, self._platforms.statistics(source))

    def source(self, table: TableName, **options: Any) -> Source:
        """Find a table's source, as `session.table` does."""
        namespace, parts = self._resolve(table)
        return namespace.source(parts, **options)

    def query(self, name: str, text: str, **options: Any) -> Source:
        """Find the source of a user's own query, as `session.query` does."""
        namespace = self[name]
        if not isinstance(namespace, QueryNamespace):
            raise PlanError(f"{name!r} runs no queries", hint="read a table of it: session.table")
        return namespace.query(text, **options)

    def sink(self, table: TableName, mode: str, **options: Any) -> Sink:
        """Describe the writing of a table, as `write_table` does."""
        if mode not in _MODES:
            raise UnknownNameError("mode of writing", mode, _MODES)
        namespace, parts = self._resolve(table)
        if not isinstance(namespace, WritableNamespace):
            raise PlanError(f"the tables of {namespace.name!r} cannot be written")
        return namespace.sink(parts, mode, **options)

    def __getitem__(self, name: str) -> Namespace:
        """Give what is attached under a name.

        Raises:
            UnknownNameError: nothing is.
        """
        if name not in self._namespaces:
            error = UnknownNameError("namespace", name, self._namespaces)
            if not self._namespaces:
                error.hint = f"nothing is attached: session.catalog.attach({name!r}, url)"
                error.args = (f"{error.message}\n  {error.hint}",)
            raise error
        return self._namespaces[name]

    def __contains__(self, name: object) -> bool:
        return name in self._namespaces

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._namespaces))

    def __len__(self) -> int:
        return len(self._namespaces)

    def __rich__(self) -> Table:
        from rich.table import Table

        table = Table("name", "kind", "address", box=None, pad_edge=False)
        for name in self:
            table.add_row(name, *self._about(name))
        return table

    def __repr__(self) -> str:
        lines = ["{}: {} {}".format(name, *self._about(name)) for name in self]
        return "\n".join(lines) or "nothing is attached: session.catalog.attach(name, url)"

    def _about(self, name: str) -> tuple[str, str]:
        namespace = self._namespaces[name]
        return getattr(namespace, "engine", type(namespace).__name__.lower()), namespace.address

    def _resolve(self, table: TableName) -> tuple[Namespace, tuple[str, ...]]:
        parts = split_name(table) if isinstance(table, str) else tuple(table)
        if len(parts) < 2:
            known = ", ".join(self) or "nothing yet"
            raise PlanError(
                f"the table name {_shown(table)!r} does not say where it is",
                hint=f"write namespace.table; attached: {known}",
            )
        return self[parts[0]], parts[1:]

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise PlanError(f"a namespace's name is text without dots, not {name!r}")
        if name in self._namespaces:
            raise PlacementError(
                f"{name!r} is attached already", hint=f"first session.catalog.detach({name!r})"
            )


_MODES = ("error", "replace", "append")


def _shown(table: TableName) -> str:
    return table if isinstance(table, str) else dotted(table)


def _about(rows: float | None) -> str:
    return "" if rows is None else f"{rows:,.0f}"


def _rows(rows: float | None) -> str:
    return "" if rows is None else f", about {rows:,.0f} rows"


__all__ = ["Catalog", "TableDescription", "TableList", "TableName"]
