"""A session as the SQL door sees it; the door itself is `umbel.door`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.api.located import written_at
from umbel.api.sql import SessionTables
from umbel.api.values import literal
from umbel.catalog.namespace import TableEntry
from umbel.door.backend import Listed, Settings
from umbel.door.failures import log
from umbel.door.server import Door
from umbel.plan.errors import UmbelError, UnknownNameError
from umbel.plan.operators import Operator, Write
from umbel.sql.reading import Name, count_parameters, read_sql

if TYPE_CHECKING:
    from umbel.api.session import Session
    from umbel.executor import Cancellation


def serve(session: Session, settings: Settings, dialect: str) -> Door:
    """Let others ask a session; see `Session.serve`."""
    return Door(SessionBackend(session, dialect, allow_files=settings.allow_files), settings)


#: How frames that `session.register` named are called by tools, which want a catalog for each
#: table, and a schema between the two.
FRAMES, MAIN = "session", "main"


class DoorTables(SessionTables):
    """Finds tables also by the whole names that tools write: catalog, schema and table.

    Where there are none, the catalog is `session` and the schema `main`.
    """

    def table(self, parts: Sequence[Name]) -> Operator:
        """Give the rows of a table."""
        if len(parts) > 1 and _is(parts[0], FRAMES) and FRAMES not in self._session.catalog:
            parts = parts[2:] if len(parts) > 2 and _is(parts[1], MAIN) else parts[1:]
        try:
            return super().table(parts)
        except UnknownNameError:
            if len(parts) == 3 and _is(parts[1], MAIN):
                return super().table([parts[0], parts[2]])
            raise


def _is(name: Name, word: str) -> bool:
    return name.text == word or (not name.quoted and name.text.casefold() == word)


class SessionStatement:
    """A statement of a session."""

    def __init__(self, session: Session, plan: Operator) -> None:
        self._session = session
        self._plan = plan

    @property
    def schema(self) -> pa.Schema:
        """The columns of what it gives."""
        return self._plan.schema

    @property
    def writes(self) -> bool:
        """Whether it writes a table or a file."""
        return isinstance(self._plan, Write)

    def run(self, deliver: Callable[[pa.Table], None], cancellation: Cancellation) -> None:
        """Run it."""
        self._session.run(self._plan, cancellation=cancellation, deliver=deliver)


class SessionBackend:
    """Implements `umbel.door.backend.Backend`."""

    def __init__(self, session: Session, dialect: str, *, allow_files: bool) -> None:
        self._session = session
        self._dialect = dialect
        self._allow_files = allow_files
        session.platforms()  # once, before many threads ask for them
        _ = session.catalog

    def statement(self, text: str, parameters: Sequence[Any]) -> SessionStatement:
        """Read a statement."""
        tables = DoorTables(self._session, files=self._allow_files)
        with written_at(None):  # the line that serves did not write the statement
            values = [literal(value) for value in parameters]
            plan = read_sql(text, tables, dialect=self._dialect, values=values)
        return SessionStatement(self._session, plan)

    def count_parameters(self, text: str) -> int:
        """Count the parameters that a statement takes."""
        return count_parameters(text, self._dialect)

    def catalogs(self) -> list[str]:
        """Name what is attached, and what holds the registered frames."""
        frames = [FRAMES] if self._session.registered and self._frames_have_a_catalog() else []
        return sorted([*self._session.catalog, *frames])

    def _frames_have_a_catalog(self) -> bool:
        return FRAMES not in self._session.catalog  # a namespace of that name comes first

    def tables(self, catalog: str | None = None) -> list[Listed]:
        """List the tables of one catalog, or of all."""
        found: list[Listed] = []
        if catalog in (None, FRAMES) and self._frames_have_a_catalog():
            found += [Listed(FRAMES, MAIN, name, "TABLE") for name in self._session.registered]
        names = list(self._session.catalog)
        if catalog in names:
            entries = list(self._session.catalog.tables(catalog))
        elif catalog is None:
            entries = [entry for name in names for entry in self._tables_if_reached(name)]
        else:
            entries = []
        return [*found, *map(_listed, entries)]

    def _tables_if_reached(self, namespace: str) -> Sequence[TableEntry]:
        """The tables of a namespace; none if it is down, so that the others are listed."""
        try:
            return self._session.catalog.tables(namespace)
        except UmbelError as error:
            log.warning("the tables of %r cannot be listed: %s", namespace, error.message)
            return []

    def schema(self, table: Listed) -> pa.Schema:
        """Give a table's columns."""
        if table.path is None:
            return self._session.registered[table.name].schema
        return self._session.catalog.source(table.path).schema


def _listed(entry: TableEntry) -> Listed:
    kind = "VIEW" if "view" in entry.kind.lower() else "TABLE"
    schema = ".".join(entry.table[:-1]) or MAIN
    return Listed(entry.namespace, schema, entry.table[-1], kind, (entry.namespace, *entry.table))


__all__ = ["SessionBackend", "SessionStatement", "serve"]
