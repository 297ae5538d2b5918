"""Namespaces: places that name tables, such as a database, a lakehouse catalogue or a folder.

A session attaches them under names (`umbel.api.catalog`). Databases that run queries are
platforms too (`umbel.platforms.base.TableStore`); what only holds data is opened by a function
that an installed package offers under the entry point group `umbel.namespaces`, by URL scheme.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from umbel.catalog.address import Address
from umbel.dataclass import dataclass
from umbel.installed import offered
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.sinks import Sink
from umbel.plan.sources import Source, dotted

GROUP = "umbel.namespaces"


@dataclass(frozen=True)
class TableEntry:
    """A table of a namespace.

    Attributes:
        namespace: the name under which the namespace is attached.
        table: the table's name in it, the outermost part first.
        kind: "table", "view" or the like.
        rows: about how many rows it has; None if that is not known without looking.
    """

    namespace: str
    table: tuple[str, ...]
    kind: str = "table"
    rows: float | None = None

    @property
    def name(self) -> str:
        """The name that `session.table` takes.

        >>> TableEntry("warehouse", ("public", "orders")).name
        'warehouse.public.orders'
        """
        return dotted((self.namespace, *self.table))

    def __str__(self) -> str:
        return self.name


@runtime_checkable
class Namespace(Protocol):
    """A place that names tables."""

    @property
    def name(self) -> str:
        """The name under which it is attached."""

    @property
    def address(self) -> str:
        """Where it is, for people; without secrets."""

    def tables(self) -> Sequence[TableEntry]:
        """List the tables, in the order of their names.

        Raises:
            SourceError: it cannot be reached, or does not let us in.
        """

    def source(self, table: Sequence[str], **options: Any) -> Source:
        """Find a table, with its schema; outer parts of its name may be left out if it is clear.

        Args:
            table: its name, the outermost part first.
            options: what the kind of namespace offers, such as a version.

        Raises:
            UnknownNameError: there is no such table; says which there are.
            PlanError: an option that does not exist here, or a name that is not clear.
            SourceError: it cannot be read.
        """

    def close(self) -> None:
        """Let go of connections; what is used afterwards opens them anew."""


@runtime_checkable
class WritableNamespace(Namespace, Protocol):
    """A namespace whose tables can be written."""

    def sink(self, table: Sequence[str], mode: str, **options: Any) -> Sink:
        """Describe the writing of a table, which need not exist.

        Args:
            table: its name, the outermost part first.
            mode: "error", "replace" or "append": what to do if it exists.
            options: what the kind of namespace offers.
        """


@runtime_checkable
class QueryNamespace(Namespace, Protocol):
    """A namespace that runs a user's own queries."""

    def query(self, text: str, **options: Any) -> Source:
        """Take a query in the namespace's own language; its schema is found without running it.

        Raises:
            SourceError: it is not understood; says what the namespace said.
        """


#: Opens a namespace: its name, its address, and options that the address does not hold as text.
Opener = Callable[[str, Address], Namespace]


def openers() -> dict[str, Callable[[], Opener]]:
    """What opens namespaces, by URL scheme; each is imported when it is called for."""
    return {entry.name: entry.load for entry in offered(GROUP)}


def ambiguous(name: Sequence[str], found: Sequence[Sequence[str]]) -> PlanError:
    """Make the error for a short name that stands for several tables."""
    shown = ", ".join(dotted(table) for table in sorted(map(tuple, found)))
    return PlanError(f"{dotted(name)!r} may be one of: {shown}", hint="write the whole name")


def unknown_table(namespace: str, name: Sequence[str], known: Sequence[TableEntry]) -> PlanError:
    """Make the error for a table that is not there."""
    return UnknownNameError("table", dotted((namespace, *name)), [entry.name for entry in known])


__all__ = [
    "GROUP",
    "Namespace",
    "Opener",
    "QueryNamespace",
    "TableEntry",
    "WritableNamespace",
    "ambiguous",
    "openers",
    "unknown_table",
]
