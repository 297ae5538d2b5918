"""The state of reading one statement, and the dispatch from syntax nodes to what lowers them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, Protocol

from sqlglot import expressions as exp

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.operators import Operator
from umbel.plan.origin import Origin
from umbel.sql.reading.errors import SqlError, start_of
from umbel.sql.reading.names import Name, Scope, unknown_column
from umbel.sql.reading.syntax import Syntax, UnreadError
from umbel.sql.reading.tree import Relation
from umbel.sql.reading.values import Columns, Value

if TYPE_CHECKING:
    from umbel.plan.sinks import Sink

#: How deep expressions and queries may nest.
DEEPEST = 200


class Tables(Protocol):
    """What a statement's names of tables mean."""

    def table(self, parts: Sequence[Name]) -> Operator:
        """Give the rows of a table, or of the file that a single part names.

        Raises:
            PlanError: there is no such table; says the closest names.
        """

    def function(self, name: str, paths: list[str], options: dict[str, Any]) -> Operator:
        """Give the rows of a table function such as `read_csv('orders.csv', header=true)`."""

    def check_file(self, path: str) -> None:
        """Raise `PlanError` if a statement may not write a file."""

    def sink(self, parts: Sequence[Name], *, create: bool, replace: bool) -> Sink:
        """Give the sink that writes to a table (CREATE TABLE AS, INSERT INTO)."""


@dataclass(frozen=True)
class Query:
    """A bound query: its rows, and the columns that it gives in order.

    Attributes:
        relation: the rows.
        columns: (name, unique name) of what it gives; other columns of the relation are hidden.
    """

    relation: Relation
    columns: tuple[tuple[str, str], ...]


@dataclass
class Binder:
    """Reads one statement.

    Attributes:
        text: the statement, for errors.
        dialect: the dialect that it is read in.
        tables: what names of tables mean.
        origin: the line of the user's script.
        parameters: the values of the statement's parameters.
        bound: the numbers of the parameters that were read as values.
        columns: the columns made so far.
        queries: the common table expressions that are in reach, innermost last.
    """

    text: str
    dialect: str
    tables: Tables
    origin: Origin | None = None
    parameters: Sequence[Literal] = ()
    bound: set[int] = field(default_factory=set)
    columns: Columns = field(default_factory=Columns)
    queries: list[dict[str, Any]] = field(default_factory=list)
    depth: int = 0

    def value(self, node: exp.Expr, scope: Scope) -> Value:
        """Bind an expression.

        Raises:
            SqlError: it has no meaning here; says where it stands.
        """
        from umbel.sql.reading.registry import HANDLERS

        handler: Callable[[Binder, Syntax, Scope], Value] | None = HANDLERS.get(type(node))
        if handler is None:
            raise self.error(
                node, f"{described(node)} is not supported", hint="docs/reference/sql.md has all"
            )
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.error(node, f"the statement nests more than {DEEPEST} levels deep")
        syntax = Syntax(node)
        try:
            value = handler(self, syntax, scope)
            syntax.finish()
        except SqlError:
            raise
        except UnreadError as error:
            raise self.unread(error) from None
        except PlanError as error:
            raise self.error(node, error.message, hint=error.hint) from None
        finally:
            self.depth -= 1
        return value

    def unread(self, error: UnreadError) -> SqlError:
        """Make the error for a part of the statement that nothing has read."""
        what = " and ".join(key.strip("_").replace("_", " ") for key in error.keys)
        return self.error(
            error.node,
            f"{described(error.node)} with {what} is not supported",
            hint="docs/reference/sql.md says what is",
        )

    def error(self, node: exp.Expr | None, message: str, *, hint: str = "") -> SqlError:
        """Make an error that points at a node."""
        start = None if node is None else start_of(node, self.text)
        return SqlError(message, hint=hint, text=self.text, start=start)

    def column(self, node: exp.Expr, qualifier: Sequence[Name], name: Name, scope: Scope) -> Value:
        """Find the column that a name means, in this scope or one around it.

        Raises:
            SqlError: there is none, or there are several.
        """
        level: Scope | None = scope
        while level is not None:
            found = level.find(qualifier, name)
            if len(found) > 1:
                raise self.error(
                    node,
                    f"column {name.text!r} is ambiguous: {len(found)} tables have it",
                    hint="qualify it by its table's name or alias",
                )
            if found:
                only = found[0]
                return self.columns.value(only) if isinstance(only, str) else only
            if not qualifier:
                aliased = self._aliased(name, level)
                if aliased is not None:
                    return aliased
            level = level.parent
        problem = unknown_column(qualifier, name, scope)
        raise self.error(node, problem.message, hint=problem.hint)

    def _aliased(self, name: Name, scope: Scope) -> Value | None:
        """Find an alias of SELECT that another clause names."""
        key = next(iter(_matching_alias(name, scope)), None)
        if key is None or key in scope.resolving:
            return None
        scope.resolving.add(key)
        try:
            return self.value(scope.aliases[key], scope)
        finally:
            scope.resolving.discard(key)


def _matching_alias(name: Name, scope: Scope) -> list[str]:
    from umbel.sql.reading.names import matching

    return matching(name, [(alias, alias) for alias in scope.aliases])


def described(node: exp.Expr) -> str:
    """Name a piece of syntax for people.

    >>> described(exp.func("frobnicate"))
    'function frobnicate'
    """
    if isinstance(node, exp.Anonymous):
        return f"function {node.name}"
    if isinstance(node, exp.Func):
        return f"function {node.sql_name().lower()}"
    return type(node).__name__.upper()
