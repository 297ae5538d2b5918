"""What every expression of FedPy is: a plan's expression, the name it gives, and how they combine.

An expression may stand for several columns (`col("a", "b")`, `all()`): it holds the column `EACH`
where one of them goes, and a selection that says which they are once a schema is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any, NoReturn, TypeVar

from umbel.api.values import literal
from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import (
    Call,
    Column,
    Expression,
    SortKey,
    columns_of,
    depth,
    substitute,
    walk,
)
from umbel.plan.limits import MAX_EXPRESSION_DEPTH

#: Stands for each of the columns that an expression is about.
EACH = Column("\0each")

X = TypeVar("X", bound="ExprBase")


@dataclass(frozen=True)
class Selection:
    """Which columns an expression with several results is about.

    Attributes:
        names: the columns; None for all of a frame.
        without: columns left out.
    """

    names: tuple[str, ...] | None
    without: tuple[str, ...] = ()

    def of(self, available: Sequence[str]) -> list[str]:
        """Name the columns, given those that exist.

        >>> Selection(None, ("b",)).of(["a", "b", "c"])
        ['a', 'c']
        """
        for name in (*(self.names or ()), *self.without):
            if name not in available:
                raise UnknownNameError("column", name, available)
        return [
            n for n in (available if self.names is None else self.names) if n not in self.without
        ]


@dataclass(frozen=True)
class Naming:
    """The name of an expression's result: a fixed one, or that of each column, and additions."""

    name: str | None
    prefix: str = ""
    suffix: str = ""

    def of(self, column: str) -> str:
        """Name the result for one of the columns that the expression is about."""
        return f"{self.prefix}{column if self.name is None else self.name}{self.suffix}"


#: Of an expression that has no column to be named after.
LITERAL = Naming("literal")


@dataclass(frozen=True, eq=False, repr=False)
class ExprBase:
    """A plan's expression with the name of its result. Immutable; `Expr` adds the methods.

    Attributes:
        node: the expression; holds `EACH` if `selection` is given.
        naming: how its results are named.
        selection: the columns it is about, if they are several.
        condition: the rows that an aggregate of it is to take; given by `filter`.
        windowed: `over` was called on a part of it.
    """

    node: Expression
    naming: Naming = LITERAL
    selection: Selection | None = None
    condition: Expression | None = None
    windowed: bool = False

    # --- building -----------------------------------------------------------------------------

    def _new(self: X, node: Expression, naming: Naming = LITERAL, *rest: Any) -> X:
        """Make an expression of the class that methods give."""
        return type(self)(node, naming, *rest)

    def _changed(self: X, **changes: Any) -> X:
        """This expression with some attributes changed."""
        values = {item.name: getattr(self, item.name) for item in fields(ExprBase)} | changes
        return self._new(*values.values())

    def _with(self: X, node: Expression) -> X:
        """The same results' names over another node."""
        return self._changed(node=node)

    def _call(self: X, function: str, *arguments: Any) -> X:
        """Apply a catalogue function to this expression and others; plain values are constants."""
        return self._combine(lambda *nodes: Call(function, nodes), self, *arguments)

    def _combine(self: X, build: Callable[..., Expression], *operands: Any) -> X:
        """Build a node over operands; the name is this expression's."""
        expressions = [self._wrap(operand) for operand in operands]
        return self._new(
            build(*(e.node for e in expressions)),
            self.naming,
            _one_selection(expressions),
            _one_condition(expressions),
            any(e.windowed for e in expressions),
        )

    def _wrap(self: X, value: Any) -> X:
        """An expression as it is; any other value as a constant."""
        if isinstance(value, ExprBase):
            return self._new(
                value.node, value.naming, value.selection, value.condition, value.windowed
            )
        return self._new(literal(value))

    def _parse(self: X, value: Any) -> X:
        """As `_wrap`, but text names a column, as in Polars where a column is expected."""
        return self._column(value) if isinstance(value, str) else self._wrap(value)

    def _column(self: X, name: str) -> X:
        return self._new(Column(name), Naming(name))

    # --- use ----------------------------------------------------------------------------------

    def expand(self, available: Sequence[str]) -> list[tuple[str, Expression]]:
        """Give a (name, expression) for each result, given the columns that exist."""
        if self.condition is not None:
            raise PlanError(
                f"the filtered expression {self!r} has fewer rows than its frame",
                hint="aggregate it, as in ub.col('x').filter(...).sum(), or filter the frame",
            )
        if self.selection is None:
            return [(self.naming.of("literal"), self.node)]
        return [
            (self.naming.of(name), substitute(self.node, {EACH.name: Column(name)}))
            for name in self.selection.of(available)
        ]

    def __repr__(self) -> str:
        nested = depth(self.node)
        if nested > MAX_EXPRESSION_DEPTH:
            return f"<an expression nested {nested:,} deep>"
        text = str(self.node)
        if self.selection is not None:
            names = self.selection.names
            shown = "*" if names is None else ", ".join(names)
            text = text.replace(EACH.name, f"[{shown}]")
        implied = next((n.name for n in walk(self.node) if isinstance(n, Column)), None)
        if (
            self.naming.name not in (None, implied, "literal")
            or self.naming.prefix
            or self.naming.suffix
        ):
            text = f"{text} as {self.naming.of('*')}"
        return text if self.condition is None else f"{text} where {self.condition}"

    def __bool__(self) -> NoReturn:
        raise PlanError(
            f"the expression {self!r} has no truth value: it stands for a whole column",
            hint="use & for `and`, | for `or`, ~ for `not`, .is_in(...) for `in`, "
            "(a < b) & (b < c) for `a < b < c`, and ub.when(...) for `if`",
        )

    def __iter__(self) -> NoReturn:
        raise PlanError(f"the expression {self!r} cannot be iterated: it stands for a whole column")

    def __len__(self) -> NoReturn:
        raise PlanError(
            f"the expression {self!r} has no Python length",
            hint="use ub.len() for the number of rows, .str.len_chars() or .list.len() for values",
        )

    def __contains__(self, item: object) -> NoReturn:
        raise PlanError(
            f"`in` does not work on the expression {self!r}",
            hint="use .is_in([...]), .str.contains(...) or .list.contains(...)",
        )


def _one_selection(expressions: Iterable[ExprBase]) -> Selection | None:
    """The selection that the operands share; `EACH` can stand for one selection only."""
    found = {e.selection for e in expressions if e.selection is not None}
    if len(found) > 1:
        raise PlanError(
            "an expression cannot combine two selections of several columns",
            hint="combine single columns: ub.col('a') + ub.col('b')",
        )
    return found.pop() if found else None


def _one_condition(expressions: Sequence[ExprBase]) -> Expression | None:
    """The filter of the operands; a filtered one goes with itself and constants only."""
    found = next((e.condition for e in expressions if e.condition is not None), None)
    if found is not None and any(e.condition != found and columns_of(e.node) for e in expressions):
        raise PlanError(
            "a filtered expression cannot be combined with one that has other rows",
            hint="aggregate first: ub.col('x').filter(...).sum() / ub.col('x').sum()",
        )
    return found


def nodes_of(values: Any, *, what: str) -> tuple[Expression, ...]:
    """Read columns or single-valued expressions: text, an expression, or an iterable of them.

    >>> nodes_of(["a", "b"], what="partition")
    (Column(name='a'), Column(name='b'))
    """
    if values is None:
        return ()
    if isinstance(values, str | ExprBase):
        values = [values]
    elif not isinstance(values, Iterable):
        raise PlanError(f"{what} takes columns or expressions, not {values!r}")
    nodes: list[Expression] = []
    for value in values:
        if isinstance(value, str):
            nodes.append(Column(value))
        elif not isinstance(value, ExprBase):
            raise PlanError(f"{what} takes columns or expressions, not {value!r}")
        elif value.selection is None:
            nodes.append(value.expand(())[0][1])
        elif value.selection.names is None:
            raise PlanError(f"{what} takes named columns, not all()")
        else:
            nodes.extend(node for _, node in value.expand(value.selection.names))
    return tuple(nodes)


def sort_keys(
    by: Any,
    descending: bool | Sequence[bool] = False,
    nulls_last: bool | Sequence[bool] = True,
    *,
    what: str = "sort",
) -> tuple[SortKey, ...]:
    """Read an order: columns or expressions, with a direction for all or one for each.

    >>> [str(key) for key in sort_keys(["a", "b"], [True, False])]
    ['a desc', 'b']
    """
    nodes = nodes_of(by, what=what)
    flags = []
    for value, name in ((descending, "descending"), (nulls_last, "nulls_last")):
        each = [value] * len(nodes) if isinstance(value, bool) else list(value)
        if len(each) != len(nodes):
            raise PlanError(f"{what} has {len(nodes)} keys, but {len(each)} values of {name}")
        flags.append(each)
    return tuple(
        SortKey(node, descending=down, nulls_first=not last)
        for node, down, last in zip(nodes, *flags, strict=True)
    )


def reads_each(node: Expression) -> bool:
    """Whether an expression stands for several columns."""
    return EACH.name in columns_of(node)
