"""What the names of tables mean at a coordinator: those of its own, and those of its sites."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from umbel.catalog.namespace import TableEntry
from umbel.dataclass import dataclass
from umbel.executor.runs.preparing import everywhere, over
from umbel.federation.errors import SiteError
from umbel.federation.manifest import Manifest
from umbel.federation.planning import FederatedSession
from umbel.federation.protocol import HORIZONTAL
from umbel.plan.encoder import schema_to_json
from umbel.plan.errors import UmbelError, UnknownNameError
from umbel.plan.operators import Operator, Project, Scan, Union
from umbel.plan.sources import RelationSource, dotted


@dataclass(frozen=True)
class Listed:
    """A table as clients see it in a list.

    Attributes:
        name: its parts.
        kind: "table", "view" or the like.
        rows: about how many it has; None if that is not known, or not revealed.
    """

    name: tuple[str, ...]
    kind: str
    rows: float | None

    def to_json(self) -> dict[str, Any]:
        """Describe it."""
        return {"name": list(self.name), "kind": self.kind, "rows": self.rows}


class SessionTables:
    """The tables of a session over sites; implements `umbel.federation.coordinator.intake.Tables`.

    A name of more parts begins with a site or a database of the coordinator's own; one that
    begins with `HORIZONTAL` is that of a table with parts at several sites.
    """

    def __init__(self, session: FederatedSession) -> None:
        self._session = session

    def operator(self, name: tuple[str, ...]) -> Operator:
        """Give the rows of a table.

        Raises:
            UnknownNameError: there is no such table.
            PlanError: its parts at the sites have different columns.
        """
        if name[0] == HORIZONTAL:
            return self._session.federation.operator_of(name[1:2])
        return Scan(source=self._session.catalog.source(name))

    def namespaces(self) -> list[str]:
        """The first parts of the names."""
        return list(self._session.catalog)

    def horizontal(self) -> list[str]:
        """The names of the tables that have parts at sites."""
        return [table.name for table in self._session.federation]

    def listed(self, namespace: str | None = None) -> tuple[list[Listed], dict[str, str]]:
        """List the tables of one namespace, or of all; and what could not be reached, with why.

        Raises:
            UnknownNameError: there is no such namespace.
        """
        names = [HORIZONTAL, *self.namespaces()]
        chosen = names if namespace is None else [namespace]
        found: list[Listed] = []
        missing: dict[str, str] = {}
        for name in chosen:
            try:
                found += map(_listed, self._entries(name))
            except UnknownNameError:
                raise
            except UmbelError as error:
                missing[name] = error.message
        return found, missing

    def _entries(self, namespace: str) -> Sequence[TableEntry]:
        if namespace == HORIZONTAL:
            return [
                TableEntry(HORIZONTAL, (table.name,), f"at {', '.join(table.sites)}")
                for table in self._session.federation
            ]
        return self._session.catalog.tables(namespace)

    def described(self, name: tuple[str, ...]) -> dict[str, Any]:
        """Say what is known of a table: its columns, and what is revealed of what they hold."""
        found = self.operator(name)
        described: dict[str, Any] = {"name": list(name), "schema": schema_to_json(found.schema)}
        if name[0] != HORIZONTAL and isinstance(found, Scan):
            described["statistics"] = self._statistics(name, found.schema)
        return described

    def _statistics(self, name: tuple[str, ...], schema: pa.Schema) -> dict[str, Any]:
        known = self._session.catalog.describe(name).statistics
        columns = {}
        for item in schema:
            column = known.columns.get(item.name)
            if column is not None:
                columns[item.name] = {
                    "nulls": column.nulls,
                    "distinct": column.distinct,
                    "low": None if column.low is None else str(column.low),
                    "high": None if column.high is None else str(column.high),
                }
        rows = known.rows
        return {
            "rows": [rows.low, None if math.isinf(rows.high) else rows.high, rows.confidence],
            "bytes": int(known.bytes),
            "columns": columns,
        }


class PresentTables:
    """The tables of a session that goes on without some sites; see `SessionTables`.

    Args:
        session: does not know of the sites.
        away: what they publish.

    Attributes:
        missed: the sites whose parts of tables that were named are missing.
        horizontal: the tables that were named with the parts of all sites.
    """

    def __init__(self, session: FederatedSession, away: Mapping[str, Manifest]) -> None:
        self._inner = SessionTables(session)
        self._away = away
        self.missed: set[str] = set()
        self.horizontal: set[str] = set()

    def operator(self, name: tuple[str, ...]) -> Operator:
        """Give the rows of a table that are there.

        Raises:
            SiteError: none of its sites is there.
        """
        if name[0] in self._away:
            raise _all_away(dotted(name), [name[0]])
        if name[0] == HORIZONTAL:
            parts = {
                site
                for site, manifest in self._away.items()
                if name[1] in [table.name for table in manifest.tables]
            }
            if parts and name[1] not in self._inner.horizontal():
                raise _all_away(name[1], parts)
            self.missed |= parts
            self.horizontal.add(name[1])
        return self._inner.operator(name)


def without(plan: Operator, sites: Collection[str], tables: Collection[str]) -> Operator:
    """Give a plan without the parts of tables that lie at some sites.

    Args:
        plan: over all parts.
        sites: that have left.
        tables: those that were named with the parts of all sites; what was named of one site is
            wanted of that site.

    Raises:
        SiteError: of a table nothing is left, or it was named at one of the sites.
    """

    def present(operator: Operator) -> Operator:
        if not isinstance(operator, Union):
            return operator
        parts = [_part(member) for member in operator.members]
        names = {name for _, name in parts}
        if len(names) != 1 or not names <= set(tables):
            return operator
        left = [
            m for m, (site, _) in zip(operator.members, parts, strict=True) if site not in sites
        ]
        if not left:
            raise _all_away(names.pop(), {site for site, _ in parts})
        return left[0] if len(left) == 1 else replace(operator, members=tuple(left))

    found = over(plan, present)
    for operator in everywhere(found):
        site, name = _part(operator)
        if site in sites:
            raise _all_away(dotted((site, name)), [site])
    return found


def _part(operator: Operator) -> tuple[str, str]:
    """The site and the table of which an operator gives the rows; empty if it is no such."""
    inner = operator.input if isinstance(operator, Project) else operator
    source = inner.source if isinstance(inner, Scan) else None
    if isinstance(source, RelationSource) and len(source.relation) == 1:
        return source.platform, source.relation[0]
    return "", ""


def _all_away(table: str, sites: Iterable[str]) -> SiteError:
    names = sorted(sites)
    return SiteError(
        f"of table {table!r} there is nothing to go on with: {', '.join(names)} "
        f"{'is' if len(names) == 1 else 'are'} away",
        hint="wait for a site: on_missing_site='wait'; `umbel sites` shows who is there",
        site=names[0],
        retryable=True,
    )


def _listed(entry: TableEntry) -> Listed:
    return Listed((entry.namespace, *entry.table), entry.kind, entry.rows)


__all__ = ["Listed", "PresentTables", "SessionTables", "without"]
