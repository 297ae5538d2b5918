"""The catalogue of a session with a coordinator: the federation's tables beside one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from umbel.api.catalog import Catalog, TableDescription, TableName
from umbel.catalog.namespace import Namespace, TableEntry
from umbel.catalog.statistics import ColumnStatistics, Interval, TableStatistics
from umbel.federation.client.connection import Connection
from umbel.federation.errors import CoordinatorError
from umbel.plan.decoder import schema_from_json
from umbel.plan.errors import PlanError
from umbel.plan.limits import Limits
from umbel.plan.sources import RelationSource, dotted, split_name
from umbel.platforms.registry import Registry


class RemoteTables:
    """One namespace of a coordinator: a site, or a database of its own."""

    engine = "federation"

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self._connection = connection

    @property
    def address(self) -> str:
        """Where it is."""
        return self._connection.url

    def tables(self) -> list[TableEntry]:
        """List the tables."""
        answer = self._connection.get("/v1/tables", namespace=self.name)
        return [
            TableEntry(self.name, tuple(found["name"][1:]), found["kind"], found["rows"])
            for found in answer["tables"]
            if found["name"][:1] == [self.name]
        ]

    def source(self, table: Sequence[str], **options: Any) -> RelationSource:
        """Find a table.

        Raises:
            UnknownNameError: there is no such table.
            PlanError: an option; the tables of a federation have none.
        """
        if options:
            raise PlanError(f"tables of {self.name!r} take no option {next(iter(options))!r}")
        answer = self.describe(table)
        schema = schema_from_json(answer["schema"], "$.schema", Limits())
        return RelationSource(schema=schema, platform=self.name, relation=tuple(table))

    def describe(self, table: Sequence[str]) -> dict[str, Any]:
        """Ask for what is known of a table."""
        asked = [self.name, *table]
        found: dict[str, Any] = self._connection.get("/v1/table", part=asked)
        if found.get("name") != asked:
            # A name of another namespace could be one of this process: its rows would be read
            # here, and sent to whoever answered.
            raise CoordinatorError(
                f"asked for {dotted(asked)}, the coordinator described another table",
                hint="it is broken, or means harm: speak to its operator before you send it rows",
            )
        return found

    def close(self) -> None:
        """Nothing is held: the connection is the session's."""


class RemoteCatalog(Catalog):
    """What is attached here, and what the coordinator has.

    Args:
        platforms: those of this process.
        connection: to the coordinator.
        ask: gives the names of the coordinator's namespaces, as they are now.
    """

    def __init__(
        self, platforms: Registry, connection: Connection, ask: Callable[[], Sequence[str]]
    ) -> None:
        super().__init__(platforms)
        self._connection = connection
        self._ask = ask
        self.refresh()

    def refresh(self) -> None:
        """See which namespaces the coordinator has now."""
        names = self._ask()
        here = {n: space for n, space in self._namespaces.items() if not self.is_remote(n)}
        there = {name: RemoteTables(name, self._connection) for name in names}
        # What is attached here was named by the user, and wins.
        self._namespaces = {**there, **here}

    def is_remote(self, name: str) -> bool:
        """Whether a namespace is the coordinator's."""
        return isinstance(self._namespaces.get(name), RemoteTables)

    def describe(self, table: TableName) -> TableDescription:
        """Say what is known of a table without reading it.

        Args:
            table: its name.
        """
        parts = split_name(table) if isinstance(table, str) else tuple(table)
        space = self[parts[0]] if parts else None
        if not isinstance(space, RemoteTables):
            return super().describe(table)
        answer = space.describe(parts[1:])
        schema = schema_from_json(answer["schema"], "$.schema", Limits())
        return TableDescription(dotted(answer["name"]), schema, _statistics(answer, len(schema)))

    def detach(self, name: str) -> None:
        """Forget what is attached here under a name."""
        if self.is_remote(name):
            raise PlanError(
                f"{name!r} is the coordinator's, and not attached here",
                hint="an operator of the federation takes it away",
            )
        super().detach(name)

    def __getitem__(self, name: str) -> Namespace:
        """Give what is attached under a name.

        Raises:
            UnknownNameError: nothing is, here or at the coordinator.
        """
        if name not in self._namespaces:
            self.refresh()  # a site may have joined meanwhile
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._namespaces))


def _statistics(answer: dict[str, Any], columns: int) -> TableStatistics:
    known = answer.get("statistics")
    if not known:
        return TableStatistics(Interval(0, math.inf, 0.0), 0, 8.0 * columns)
    low, high, confidence = known["rows"]
    rows = Interval(low, math.inf if high is None else high, confidence)
    found = {
        name: ColumnStatistics(c["low"], c["high"], c["nulls"], c["distinct"])
        for name, c in known["columns"].items()
    }
    width = known["bytes"] / max(rows.low, 1.0)
    return TableStatistics(rows, known["bytes"], width, found)


__all__ = ["RemoteCatalog", "RemoteTables"]
