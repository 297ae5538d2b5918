"""Which column a name in a statement means: FROM items, their aliases, and the queries around.

A name without quotes means the column or table that is spelled so; if there is none, the one that
differs from it in upper and lower case only. A name in quotes means what is spelled so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import field
from typing import TypeVar

from sqlglot import expressions as exp

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.sql.reading.values import Value

T = TypeVar("T")


@dataclass(frozen=True)
class Name:
    """One part of a name, and whether it stood in quotes."""

    text: str
    quoted: bool = False

    def __str__(self) -> str:
        return self.text


def name_of(node: exp.Expr) -> Name:
    """Read an identifier.

    Raises:
        PlanError: a parameter stands there, which is no name.
    """
    if isinstance(node, exp.Placeholder | exp.Parameter):
        raise PlanError("a parameter cannot be a name", hint="a parameter stands for a value")
    return Name(node.name, bool(node.args.get("quoted")))


def matching(name: Name, choices: Iterable[tuple[str, T]]) -> list[T]:
    """Choose what a name means.

    >>> matching(Name("A"), [("a", 1), ("b", 2)]), matching(Name("A", True), [("a", 1)])
    ([1], [])
    >>> matching(Name("a"), [("a", 1), ("A", 2)])
    [1]
    """
    known = list(choices)
    exact = [item for spelled, item in known if spelled == name.text]
    if exact or name.quoted:
        return exact
    folded = name.text.casefold()
    return [item for spelled, item in known if spelled.casefold() == folded]


@dataclass
class Item:
    """Something in FROM.

    Attributes:
        path: the parts of its name, as one may qualify columns by; the alias alone if it has one.
        columns: (name, unique name) of its columns, in order.
        merged: unique names of columns that USING or NATURAL has merged with others: they answer
            only to qualified names.
    """

    path: tuple[str, ...]
    columns: list[tuple[str, str]]
    merged: set[str] = field(default_factory=set)

    def is_called(self, qualifier: Sequence[Name]) -> bool:
        """Whether a qualifier means this item."""
        if not self.path or len(qualifier) > len(self.path):
            return False
        tail = self.path[len(self.path) - len(qualifier) :]
        return all(matching(q, [(part, True)]) for q, part in zip(qualifier, tail, strict=True))


@dataclass
class Scope:
    """The names that a query sees.

    Attributes:
        parent: the scope of the query around it.
        items: what stands in FROM.
        joined: columns that USING or NATURAL made of two.
        aliases: the expressions of SELECT by their aliases, which other clauses may use.
        windows: the named windows.
        barrier: a name of the parent may be used (LATERAL and subqueries in expressions).
    """

    parent: Scope | None = None
    items: list[Item] = field(default_factory=list)
    joined: list[tuple[str, Value]] = field(default_factory=list)
    aliases: dict[str, exp.Expr] = field(default_factory=dict)
    resolving: set[str] = field(default_factory=set)
    windows: dict[str, exp.Window] = field(default_factory=dict)

    def own(self) -> set[str]:
        """The unique names of all columns of FROM."""
        return {unique for item in self.items for _, unique in item.columns}

    def visible(self) -> Iterator[tuple[str, str]]:
        """Yield the columns that `*` gives: (name, unique name), merged ones once."""
        for name, value in self.joined:
            yield name, _unique(value)
        for item in self.items:
            for name, unique in item.columns:
                if unique not in item.merged:
                    yield name, unique

    def find(self, qualifier: Sequence[Name], name: Name) -> list[str | Value]:
        """Find the columns of this scope alone that a name may mean."""
        if qualifier:
            return [
                unique
                for item in self.items
                if item.is_called(qualifier)
                for unique in matching(name, item.columns)
            ]
        choices: list[tuple[str, str | Value]] = list(self.joined)
        for item in self.items:
            choices += [(n, unique) for n, unique in item.columns if unique not in item.merged]
        return matching(name, choices)

    def item(self, qualifier: Sequence[Name]) -> Item | None:
        """Find the FROM item that a qualifier means."""
        found = [item for item in self.items if item.is_called(qualifier)]
        if len(found) > 1:
            raise PlanError(
                f"{'.'.join(map(str, qualifier))!r} means several tables",
                hint="give them aliases",
            )
        return found[0] if found else None


def unknown_column(qualifier: Sequence[Name], name: Name, scope: Scope) -> PlanError:
    """Make the error for a column that no scope has."""
    level: Scope | None = scope
    while level is not None and qualifier:
        item = level.item(qualifier)
        if item is not None:
            where = ".".join(item.path)
            return UnknownNameError(
                "column", name.text, [n for n, _ in item.columns], where=f"table {where!r}"
            )
        level = level.parent
    if qualifier:
        tables = [".".join(item.path) for s in _levels(scope) for item in s.items if item.path]
        return UnknownNameError("table", ".".join(map(str, qualifier)), tables, where="FROM")
    return UnknownNameError(
        "column", name.text, [n for s in _levels(scope) for n, _ in s.visible()]
    )


def _levels(scope: Scope | None) -> Iterator[Scope]:
    while scope is not None:
        yield scope
        scope = scope.parent


def _unique(value: Value) -> str:
    return value.node.name  # type: ignore[attr-defined]
