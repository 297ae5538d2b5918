"""The tables of a federation: those of each site, and those that have parts at several sites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.federation.manifest import Manifest, TableManifest
from umbel.federation.planning.platform import source_of
from umbel.plan.errors import PlanError, TypeClashError, UnknownNameError
from umbel.plan.expressions import Cast, Column, Expression
from umbel.plan.operators import Operator, Project, Scan, Union
from umbel.plan.sources import dotted
from umbel.plan.types import common_type, type_name

#: Differences that are told at once.
_SHOWN = 12


@dataclass(frozen=True)
class FederatedTable:
    """A horizontal table: parts with the same columns.

    Attributes:
        name: its name, the same at all sites.
        parts: by site; in the order of their names.
    """

    name: str
    parts: tuple[tuple[str, TableManifest], ...]

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that have a part."""
        return tuple(site for site, _ in self.parts)

    @property
    def schema(self) -> pa.Schema:
        """Its columns.

        Raises:
            PlanError: the parts have different ones; names each difference and the sites.
        """
        return self.operator().schema

    def differences(self) -> list[str]:
        """Say how the parts' columns differ; empty if they fit together."""
        found = []
        for name in dict.fromkeys(n for _, part in self.parts for n in part.schema.names):
            have = [(site, part.schema.field(name).type) for site, part in self.parts
                    if name in part.schema.names]  # fmt: skip
            lacking = [site for site, part in self.parts if name not in part.schema.names]
            if lacking:
                there = ", ".join(site for site, _ in have)
                found.append(f"column {name!r} is at {there}, but not at {', '.join(lacking)}")
                continue
            kinds: dict[str, list[str]] = {}
            for site, dtype in have:
                kinds.setdefault(type_name(dtype), []).append(site)
            if len(kinds) > 1 and not _fit([dtype for _, dtype in have]):
                shown = " but ".join(f"{k} at {', '.join(v)}" for k, v in kinds.items())
                found.append(f"column {name!r} is {shown}")
        return found

    def operator(self) -> Operator:
        """What gives its rows.

        Raises:
            PlanError: the parts have different columns.
        """
        differences = self.differences()
        if differences:
            more = len(differences) - _SHOWN
            shown = differences[:_SHOWN] + ([f"… and {more} more"] if more > 0 else [])
            raise PlanError(
                f"the parts of table {self.name!r} do not fit together: {'; '.join(shown)}",
                hint="a site can publish its part with a mapping: rename, type, factor",
            )
        scans = [Scan(source=source_of(site, part)) for site, part in self.parts]
        if len(scans) == 1:
            return scans[0]
        names = scans[0].schema.names
        types = {name: _common([scan.schema.field(name).type for scan in scans]) for name in names}
        return Union(members=tuple(like(scan, types) for scan in scans))


class FederatedCatalogue:
    """Finds tables by name: `patients` of all sites that have it, `north.patients` of one.

    >>> from umbel.federation.manifest import Manifest, TableManifest
    >>> part = TableManifest("people", pa.schema([("id", pa.int64())]))
    >>> both = FederatedCatalogue([Manifest(site, "1", (part,)) for site in ("north", "south")])
    >>> [table.sites for table in both]
    [('north', 'south')]
    >>> FederatedCatalogue([])["visits"]
    Traceback (most recent call last):
        ...
    umbel.plan.errors.UnknownNameError: unknown table 'visits' in a federation that no site has \
told its tables yet
      There are none
    """

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._sites = {manifest.site: manifest for manifest in manifests}
        parts: dict[str, list[tuple[str, TableManifest]]] = {}
        for site in sorted(self._sites):
            for table in self._sites[site].tables:
                parts.setdefault(table.name, []).append((site, table))
        self._tables = {name: FederatedTable(name, tuple(p)) for name, p in parts.items()}

    def __iter__(self) -> Iterator[FederatedTable]:
        return iter(self._tables[name] for name in sorted(self._tables))

    def __len__(self) -> int:
        return len(self._tables)

    def __contains__(self, name: object) -> bool:
        return name in self._tables

    def __getitem__(self, name: str) -> FederatedTable:
        """Give a table.

        Raises:
            UnknownNameError: no site has one of the name.
        """
        if name not in self._tables:
            raise UnknownNameError("table", name, self._tables, where=self._nobody())
        return self._tables[name]

    def operator_of(self, parts: Sequence[str]) -> Operator:
        """What gives the rows of a table.

        Args:
            parts: its name: of a horizontal table, or of a site and its table.

        Raises:
            UnknownNameError: there is none.
            PlanError: its parts do not fit together.
        """
        if len(parts) == 1:
            return self[parts[0]].operator()
        if len(parts) == 2 and parts[0] in self._sites:
            tables = {table.name: table for table in self._sites[parts[0]].tables}
            if parts[1] not in tables:
                raise UnknownNameError(f"table of site {parts[0]!r}", parts[1], tables)
            return Scan(source=source_of(parts[0], tables[parts[1]]))
        known = [*self._tables, *(f"{s}.…" for s in self._sites)]
        raise UnknownNameError("table", dotted(parts), known, where=self._nobody())

    def _nobody(self) -> str:
        """Why there are no tables at all, if that is so."""
        return "" if self._sites else "a federation that no site has told its tables yet"


def _fit(types: list[pa.DataType]) -> bool:
    try:
        _common(types)
    except TypeClashError:
        return False
    return True


def _common(types: list[pa.DataType]) -> pa.DataType:
    found = types[0]
    for dtype in types[1:]:
        found = common_type(found, dtype)
    return found


def like(scan: Scan, types: dict[str, pa.DataType]) -> Operator:
    """A part with its columns in the order and the types of all."""
    if scan.schema.names == list(types) and scan.schema.types == list(types.values()):
        return scan
    columns: list[tuple[str, Expression]] = []
    for name, dtype in types.items():
        value: Expression = Column(name)
        if scan.schema.field(name).type != dtype:
            value = Cast(value, dtype)
        columns.append((name, value))
    return Project(input=scan, columns=tuple(columns))


__all__ = ["FederatedCatalogue", "FederatedTable", "like"]
