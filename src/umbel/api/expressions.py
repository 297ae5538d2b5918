"""Expressions as users write them: `col`, `lit`, `when`, and the class `Expr` behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.api.expression_aggregates import Aggregates
from umbel.api.expression_base import EACH, Naming, Selection
from umbel.api.expression_operators import Operators
from umbel.api.expression_windows import Windows
from umbel.api.located import located, located_methods
from umbel.api.values import TypeLike, literal
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Case, Column, Expression

if TYPE_CHECKING:
    from umbel.api.dates import DateTimeMethods
    from umbel.api.lists import ListMethods
    from umbel.api.names import NameMethods
    from umbel.api.strings import StringMethods
    from umbel.api.structs import StructMethods


@located_methods
class Expr(Operators, Aggregates, Windows):
    """What to compute from the columns of a DataFrame; nothing is computed until it is run.

    Made by `col`, `lit`, `when` and the functions of `umbel`, and combined with Python's
    operators and the methods below, which follow Polars.

    >>> from umbel import col
    >>> (col("price") * (1 - col("discount"))).sum().alias("revenue")
    sum(multiply(price, subtract(1, discount))) as revenue
    """

    def alias(self, name: str) -> Expr:
        """Name the result."""
        if not isinstance(name, str) or not name:
            raise PlanError(f"a column's name is text, not {name!r}")
        return self._changed(naming=Naming(name))

    @property
    def str(self) -> StringMethods:
        """Functions of text."""
        from umbel.api.strings import StringMethods

        return StringMethods(self)

    @property
    def dt(self) -> DateTimeMethods:
        """Functions of dates, times and durations."""
        from umbel.api.dates import DateTimeMethods

        return DateTimeMethods(self)

    @property
    def list(self) -> ListMethods:
        """Functions of lists."""
        from umbel.api.lists import ListMethods

        return ListMethods(self)

    @property
    def struct(self) -> StructMethods:
        """Functions of structs."""
        from umbel.api.structs import StructMethods

        return StructMethods(self)

    @property
    def name(self) -> NameMethods:
        """Changes to the names of the results."""
        from umbel.api.names import NameMethods

        return NameMethods(self)


@located
def col(*names: str) -> Expr:
    """A column by its name; several names, or "*" for all, stand for each of those columns.

    >>> col("price") * 2
    multiply(price, 2)
    >>> col("a", "b").sum()
    sum([a, b])
    """
    flat = [n for name in names for n in ([name] if isinstance(name, str) else name)]
    for name in flat:
        if not isinstance(name, str) or not name:
            raise PlanError(f"a column's name is text, not {name!r}")
    if not flat:
        raise PlanError("col() needs the name of a column")
    if flat == ["*"]:
        return all_columns()
    if len(flat) == 1:
        return Expr(Column(flat[0]), Naming(flat[0]))
    return Expr(EACH, Naming(None), Selection(tuple(flat)))


@located
def all_columns() -> Expr:
    """Each column of the frame; `ub.all()`.

    >>> all_columns().max()
    max([*])
    """
    return Expr(EACH, Naming(None), Selection(None))


@located
def exclude(*names: str) -> Expr:
    """Each column of the frame but some.

    >>> import umbel as ub
    >>> ub.exclude("id").selection
    Selection(names=None, without=('id',))
    """
    return Expr(EACH, Naming(None), Selection(None, tuple(names)))


@located
def lit(value: Any, dtype: TypeLike = None) -> Expr:
    """A constant, of the type that its Python value has or of `dtype`.

    >>> lit(1), lit("1999-12-31").cast("date"), lit(3, "decimal(5,2)")
    (1, cast('1999-12-31' as date), Decimal('3.00'))
    """
    if isinstance(value, Expr) and dtype is None:
        return value
    return Expr(literal(value, dtype))


def into_expr(value: Any) -> Expr:
    """Read what a frame's method is given: text names a column, other values are constants."""
    if isinstance(value, str):
        return col(value)
    return value if isinstance(value, Expr) else lit(value)


@located
def when(*predicates: Any) -> When:
    """Begin a case distinction: `when(condition).then(value).otherwise(value)`.

    As in Polars, text in `then` and `otherwise` names a column; write `ub.lit("text")` for text.

    >>> when(col("a") > 0).then(1).when(col("a") < 0).then(-1).otherwise(0)
    case when greater(a, 0) then 1 when less(a, 0) then -1 else 0 end
    """
    return When(None, _condition(predicates))


def _condition(predicates: tuple[Any, ...]) -> Expr:
    if not predicates:
        raise PlanError("when() needs a condition")
    first, *others = (into_expr(p) for p in predicates)
    return first.and_(*others)


@located_methods
class When:
    """A case distinction that lacks the value of its last condition."""

    def __init__(self, before: Then | None, condition: Expr) -> None:
        self._before = before
        self._condition = condition

    def then(self, statement: Any) -> Then:
        """The value where the condition is true (and none before it was)."""
        return Then(self._before, self._condition, into_expr(statement))


class Then(Expr):
    """A case distinction that is null where no condition is true; it can go on."""

    def __init__(self, before: Then | None, condition: Expr, value: Expr) -> None:
        # The first value gives the name.
        start = Expr(value.node, value.naming) if before is None else before
        built = start._combine(_extended, lit(None) if before is None else before, condition, value)
        super().__init__(built.node, built.naming, built.selection, built.condition, built.windowed)

    def _new(self, *attributes: Any) -> Expr:  # type: ignore[override]
        # What is computed from a case distinction is an ordinary expression.
        return Expr(*attributes)

    def when(self, *predicates: Any) -> When:
        """Add a condition for the rows where none before it was true."""
        return When(self, _condition(predicates))

    def otherwise(self, statement: Any) -> Expr:
        """The value where no condition is true."""

        def build(node: Expression, value: Expression) -> Case:
            return Case(_branches(node), value)

        return self._combine(build, self, into_expr(statement))


def _extended(before: Expression, condition: Expression, value: Expression) -> Case:
    return Case((*_branches(before), (condition, value)))


def _branches(node: Expression) -> tuple[tuple[Expression, Expression], ...]:
    return node.branches if isinstance(node, Case) else ()
