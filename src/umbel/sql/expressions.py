"""Plan expressions to sqlglot expressions, for any SQL engine.

What differs between engines comes in a `Dialect`: the forms of functions, casts and literals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.lazy import LazyModule
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expression,
    Frame,
    Literal,
    SortKey,
    WindowCall,
)
from umbel.plan.functions import CATALOGUE, Kind
from umbel.plan.functions.forms import Absent, Form, Forms, TypedCall
from umbel.plan.types import common_type
from umbel.plan.typing import infer_type
from umbel.sql.nodes import copied

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


class Dialect(Protocol):
    """What an SQL engine says of its expressions."""

    @property
    def forms(self) -> Forms[exp.Expr]:
        """The engine's table of functions."""

    def cast(
        self, operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
    ) -> exp.Expr:
        """Convert between types as the plan means it."""

    def literal(self, value: Any, dtype: pa.DataType) -> exp.Expr:
        """Write a constant of exactly this type."""

    def reference(self, call: TypedCall[exp.Expr]) -> exp.Expr:
        """Call the catalogue's Python reference of a function from inside the engine."""


@runtime_checkable
class Collating(Protocol):
    """A dialect of an engine that by itself does not sort all values as the plan does."""

    def sort_key(self, node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
        """Give a value that is to be sorted the order of the plan."""


@runtime_checkable
class Keying(Protocol):
    """A dialect of an engine that by itself does not take all equal values for equal."""

    def key(self, node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
        """Give values that are equal one form."""


@runtime_checkable
class Unnesting(Protocol):
    """A dialect of an engine that takes lists apart in SELECT, as it cannot join them."""

    def items(self, node: exp.Expr, dtype: pa.DataType, *, outer: bool) -> exp.Expr:
        """Give one row per item of a list; with `outer` also one for a list without any."""


@runtime_checkable
class SortingColumns(Protocol):
    """A dialect of an engine that sorts by columns only, as it loses track of expressions."""

    sorts_columns: bool


@runtime_checkable
class SemiJoining(Protocol):
    """A dialect of an engine that plans its own SEMI and ANTI JOIN better than EXISTS."""

    joins_semi: bool


def key_of(dialect: Dialect, node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Give a value the form in which the engine compares it as the plan does."""
    return dialect.key(node, dtype) if isinstance(dialect, Keying) else node


def column(name: str, table: str | None = None) -> exp.Expr:
    """Name a column; names are always quoted.

    >>> column("a b", "t").sql()
    '"t"."a b"'
    """
    return exp.column(name, table=table, quoted=True)


@dataclass(frozen=True)
class Scope:
    """What the columns of a schema are in a statement.

    Attributes:
        schema: the columns that an expression may read.
        definitions: for each column the expression that stands for it; without them columns go
            by their bare names.
    """

    schema: pa.Schema
    definitions: Mapping[str, exp.Expr] | None = None

    def column(self, name: str) -> exp.Expr:
        """Build what stands for a column; a new node each time, as nodes know their parents."""
        return column(name) if self.definitions is None else copied(self.definitions[name])


def compile_expression(expression: Expression, scope: Scope, dialect: Dialect) -> exp.Expr:
    """Build the SQL expression that means the same over the columns of `scope`."""
    match expression:
        case Column(name):
            return scope.column(name)
        case Literal(value, dtype):
            return dialect.literal(value, dtype)
        case Cast(operand, dtype, strict):
            source = infer_type(operand, scope.schema)
            inner = compile_expression(operand, scope, dialect)
            return dialect.cast(inner, source, dtype, strict=strict)
        case Case():
            return _case(expression, scope, dialect)
        case Call(function, arguments):
            return _apply(function, arguments, scope, dialect, lambda node: node)
        case AggregateCall(function, arguments):
            wrap = _wrap_aggregate(expression, scope, dialect)
            distinct = expression.distinct
            return _apply(function, arguments, scope, dialect, wrap, distinct=distinct)
        case WindowCall(function, arguments):
            wrap = _wrap_window(expression, scope, dialect)
            return _apply(function, arguments, scope, dialect, wrap, window=True)
    raise TypeError(f"not for SQL: {expression!r}")


def _apply(
    function: str,
    nodes: Sequence[Expression],
    scope: Scope,
    dialect: Dialect,
    wrap: Callable[[exp.Expr], exp.Expr],
    *,
    window: bool = False,
    distinct: bool = False,
) -> exp.Expr:
    row, form = CATALOGUE[function], dialect.forms[function]
    if isinstance(form, Absent):
        raise TypeError(f"no SQL form of {function}: {form.reason}")
    types = tuple(infer_type(node, scope.schema) for node in nodes)
    call: TypedCall[exp.Expr] = TypedCall(
        row=row,
        arguments=tuple(compile_expression(node, scope, dialect) for node in nodes),
        nodes=tuple(nodes),
        types=types,
        dtype=row.result_type(types, nodes),
        wrap=wrap,
        fallback=lambda: dialect.reference(call),
        window=window,
        distinct=distinct,
    )
    return form.build(call)


def _case(case: Case, scope: Scope, dialect: Dialect) -> exp.Expr:
    dtype = infer_type(case, scope.schema)

    def value(node: Expression) -> exp.Expr:
        built = compile_expression(node, scope, dialect)
        source = infer_type(node, scope.schema)
        return built if source == dtype else dialect.cast(built, source, dtype, strict=True)

    built = exp.Case()
    for condition, branch in case.branches:
        built = built.when(compile_expression(condition, scope, dialect), value(branch), copy=False)
    otherwise = case.otherwise
    last = dialect.literal(None, dtype) if otherwise is None else value(otherwise)
    return built.else_(last, copy=False)


def order(keys: Sequence[SortKey], scope: Scope, dialect: Dialect) -> list[exp.Ordered]:
    """Build the terms of an ORDER BY, null order always explicit."""

    def value(key: SortKey) -> exp.Expr:
        built = compile_expression(key.expression, scope, dialect)
        if not isinstance(dialect, Collating):
            return built
        return dialect.sort_key(built, infer_type(key.expression, scope.schema))

    return [
        exp.Ordered(
            this=value(key),
            desc=key.descending,
            nulls_first=key.nulls_first,
        )
        for key in keys
    ]


def _wrap_aggregate(
    call: AggregateCall, scope: Scope, dialect: Dialect
) -> Callable[[exp.Expr], exp.Expr]:
    def wrap(node: exp.Expr) -> exp.Expr:
        # DISTINCT and ORDER BY stand inside the parentheses. A function called by its name keeps
        # its arguments in `expressions`, a node of a known function its only one in `this`.
        named = isinstance(node, exp.Anonymous)
        arguments = node.expressions if named else [node.this] if node.this is not None else []
        if call.distinct and arguments and not isinstance(arguments[0], exp.Distinct):
            arguments = [exp.Distinct(expressions=arguments[:1]), *arguments[1:]]
        # An order means nothing to the other functions, and sorting costs.
        if call.order_by and arguments and CATALOGUE[call.function].ordered:
            keys = order(call.order_by, scope, dialect)
            arguments = [*arguments[:-1], exp.Order(this=arguments[-1], expressions=keys)]
        if named:
            node.set("expressions", arguments)
        elif arguments:
            node.set("this", arguments[0])
        if call.where is not None:
            condition = compile_expression(call.where, scope, dialect)
            node = exp.Filter(this=node, expression=exp.Where(this=condition))
        return node

    return wrap


def _wrap_window(
    call: WindowCall, scope: Scope, dialect: Dialect
) -> Callable[[exp.Expr], exp.Expr]:
    def wrap(node: exp.Expr) -> exp.Expr:
        keys = order(call.order_by, scope, dialect)
        frame = call.frame
        if frame is None and call.order_by and CATALOGUE[call.function].kind is Kind.AGGREGATE:
            frame = Frame("range", None, 0)
        return exp.Window(
            this=node,
            partition_by=[
                key_of(dialect, compile_expression(p, scope, dialect), infer_type(p, scope.schema))
                for p in call.partition_by
            ],
            order=exp.Order(expressions=keys) if keys else None,
            spec=None if frame is None else _frame(frame),
        )

    return wrap


def _frame(frame: Frame) -> exp.WindowSpec:
    def side(offset: int | None, unbounded: str) -> tuple[Any, str | None]:
        if offset is None:
            return "UNBOUNDED", unbounded
        if offset == 0:
            return "CURRENT ROW", None
        return exp.Literal.number(abs(offset)), "PRECEDING" if offset < 0 else "FOLLOWING"

    start, start_side = side(frame.start, "PRECEDING")
    end, end_side = side(frame.end, "FOLLOWING")
    return exp.WindowSpec(
        kind=frame.unit.upper(),
        start=start,
        start_side=start_side,
        end=end,
        end_side=end_side,
    )


def unify(
    call: TypedCall[exp.Expr], dialect: Dialect, positions: Sequence[int] | None = None
) -> tuple[exp.Expr, ...]:
    """Cast a call's arguments to their common type, as comparisons need."""
    chosen = range(len(call.arguments)) if positions is None else positions
    target = pa.null()
    for position in chosen:
        target = common_type(target, call.types[position])
    return tuple(
        call.arguments[i]
        if call.types[i] == target
        else dialect.cast(call.arguments[i], call.types[i], target, strict=True)
        for i in chosen
    )


def function(name: str, *arguments: exp.Expr) -> exp.Expr:
    """Call an engine's own function by name.

    >>> function("list_sum", column("a")).sql()
    'LIST_SUM("a")'
    """
    return exp.Anonymous(this=name, expressions=list(arguments))


__all__ = [
    "Dialect",
    "Form",
    "Scope",
    "column",
    "compile_expression",
    "function",
    "key_of",
    "order",
    "unify",
]
