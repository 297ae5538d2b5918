"""Python's operators on expressions, and the element-wise methods that need no namespace."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Self

from umbel.api.expression_base import ExprBase
from umbel.api.values import TypeLike, literal, type_of
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import Call, Case, Cast


class Operators(ExprBase):
    """Arithmetic, comparison and logic, each a function of the catalogue."""

    __hash__ = None  # type: ignore[assignment]

    def __add__(self, other: Any) -> Self:
        return self._call("add", other)

    def __radd__(self, other: Any) -> Self:
        return self._wrap(other)._call("add", self)

    def __sub__(self, other: Any) -> Self:
        return self._call("subtract", other)

    def __rsub__(self, other: Any) -> Self:
        return self._wrap(other)._call("subtract", self)

    def __mul__(self, other: Any) -> Self:
        return self._call("multiply", other)

    def __rmul__(self, other: Any) -> Self:
        return self._wrap(other)._call("multiply", self)

    def __truediv__(self, other: Any) -> Self:
        return self._call("divide", other)

    def __rtruediv__(self, other: Any) -> Self:
        return self._wrap(other)._call("divide", self)

    def __floordiv__(self, other: Any) -> Self:
        return self._call("floor_divide", other)

    def __rfloordiv__(self, other: Any) -> Self:
        return self._wrap(other)._call("floor_divide", self)

    def __mod__(self, other: Any) -> Self:
        return self._call("modulo", other)

    def __rmod__(self, other: Any) -> Self:
        return self._wrap(other)._call("modulo", self)

    def __pow__(self, other: Any) -> Self:
        return self._call("power", other)

    def __rpow__(self, other: Any) -> Self:
        return self._wrap(other)._call("power", self)

    def __neg__(self) -> Self:
        return self._call("negate")

    def __pos__(self) -> Self:
        return self

    def __abs__(self) -> Self:
        return self._call("abs")

    def __eq__(self, other: object) -> Self:  # type: ignore[override]
        return self._call("equal", other)

    def __ne__(self, other: object) -> Self:  # type: ignore[override]
        return self._call("not_equal", other)

    def __lt__(self, other: Any) -> Self:
        return self._call("less", other)

    def __le__(self, other: Any) -> Self:
        return self._call("less_equal", other)

    def __gt__(self, other: Any) -> Self:
        return self._call("greater", other)

    def __ge__(self, other: Any) -> Self:
        return self._call("greater_equal", other)

    def __and__(self, other: Any) -> Self:
        return self._call("and", other)

    def __rand__(self, other: Any) -> Self:
        return self._wrap(other)._call("and", self)

    def __or__(self, other: Any) -> Self:
        return self._call("or", other)

    def __ror__(self, other: Any) -> Self:
        return self._wrap(other)._call("or", self)

    def __xor__(self, other: Any) -> Self:
        return self._call("xor", other)

    def __rxor__(self, other: Any) -> Self:
        return self._wrap(other)._call("xor", self)

    def __invert__(self) -> Self:
        return self._call("not")

    def __lshift__(self, bits: Any) -> Self:
        return self._call("shift_left", bits)

    def __rshift__(self, bits: Any) -> Self:
        return self._call("shift_right", bits)

    # --- the same as methods, as Polars has them ----------------------------------------------

    def add(self, other: Any) -> Self:
        """The sum with another expression or value: `+`."""
        return self + other

    def sub(self, other: Any) -> Self:
        """The difference: `-`."""
        return self - other

    def mul(self, other: Any) -> Self:
        """The product: `*`."""
        return self * other

    def truediv(self, other: Any) -> Self:
        """The quotient as a float: `/`."""
        return self / other

    def floordiv(self, other: Any) -> Self:
        """The quotient rounded down: `//`."""
        return self // other

    def mod(self, other: Any) -> Self:
        """The remainder with the sign of the divisor: `%`."""
        return self % other

    def truncdiv(self, other: Any) -> Self:
        """The quotient cut toward zero, as SQL divides integers."""
        return self._call("truncate_divide", other)

    def remainder(self, other: Any) -> Self:
        """The remainder with the sign of the dividend, as SQL's `%`."""
        return self._call("remainder", other)

    def pow(self, exponent: Any) -> Self:
        """The power: `**`."""
        return self**exponent

    def neg(self) -> Self:
        """The negative: unary `-`."""
        return -self

    def eq(self, other: Any) -> Self:
        """Whether both are equal; null if one is null: `==`."""
        return self == other

    def ne(self, other: Any) -> Self:
        """Whether both differ; null if one is null: `!=`."""
        return self != other

    def lt(self, other: Any) -> Self:
        """Whether this is less: `<`."""
        return self < other

    def le(self, other: Any) -> Self:
        """Whether this is less or equal: `<=`."""
        return self <= other

    def gt(self, other: Any) -> Self:
        """Whether this is greater: `>`."""
        return self > other

    def ge(self, other: Any) -> Self:
        """Whether this is greater or equal: `>=`."""
        return self >= other

    def and_(self, *others: Any) -> Self:
        """Whether this and all others are true: `&`."""
        result = self
        for other in others:
            result = result & other
        return result

    def or_(self, *others: Any) -> Self:
        """Whether this or any other is true: `|`."""
        result = self
        for other in others:
            result = result | other
        return result

    def xor(self, other: Any) -> Self:
        """Whether exactly one of both is true: `^`."""
        return self ^ other

    def not_(self) -> Self:
        """Whether this is false: `~`."""
        return ~self

    # --- nulls and membership -----------------------------------------------------------------

    def eq_missing(self, other: Any) -> Self:
        """Whether both are equal, where null equals null; never null."""
        return self._call("is_not_distinct_from", other)

    def ne_missing(self, other: Any) -> Self:
        """Whether both differ, where null equals null; never null."""
        return self._call("is_distinct_from", other)

    def is_null(self) -> Self:
        """Whether the value is null."""
        return self._call("is_null")

    def is_not_null(self) -> Self:
        """Whether the value is not null."""
        return self._call("is_not_null")

    def fill_null(self, value: Any) -> Self:
        """The value, or where it is null another one; text is a constant."""
        return self._call("coalesce", value)

    def fill_nan(self, value: Any) -> Self:
        """The value, or where it is NaN another one."""
        return self._combine(
            lambda x, other: Case(((Call("is_nan", (x,)), other),), x), self, value
        )

    def null_if(self, value: Any) -> Self:
        """Null where the value equals another one."""
        return self._call("null_if", value)

    def is_nan(self) -> Self:
        """Whether the number is NaN; null for null."""
        return self._call("is_nan")

    def is_not_nan(self) -> Self:
        """Whether the number is not NaN; null for null."""
        return ~self.is_nan()

    def is_finite(self) -> Self:
        """Whether the number is neither NaN nor infinite."""
        return self._call("is_finite")

    def is_infinite(self) -> Self:
        """Whether the number is infinite."""
        return self._call("is_infinite")

    def clip(self, lower_bound: Any = None, upper_bound: Any = None) -> Self:
        """The value, brought between two bounds; null stays, text names a column."""
        result = self
        for bound, function in ((lower_bound, "less"), (upper_bound, "greater")):
            if bound is not None:
                result = result._combine(
                    lambda x, b, f=function: Case(((Call(f, (x, b)), b),), x),
                    result,
                    self._parse(bound),
                )
        return result

    def is_in(self, other: Collection[Any]) -> Self:
        """Whether the value is one of a collection of constants; null for null.

        >>> from umbel import col
        >>> col("a").is_in([1, 2])
        is_in(a, 1, 2)
        """
        if isinstance(other, ExprBase | str) or not isinstance(other, Collection):
            raise PlanError(
                f"is_in takes a list of constants, not {other!r}",
                hint="for membership in another column use join(..., how='semi'), "
                "or .list.contains(...) for lists",
            )
        return self._call("is_in", *other)

    def is_between(self, lower_bound: Any, upper_bound: Any, closed: str = "both") -> Self:
        """Whether the value lies between two bounds; text names a column.

        Args:
            lower_bound: the least value.
            upper_bound: the greatest value.
            closed: which bounds count as inside: "both", "left", "right" or "none".
        """
        if closed not in ("both", "left", "right", "none"):
            raise PlanError(f"closed is both, left, right or none, not {closed!r}")
        low, high = self._parse(lower_bound), self._parse(upper_bound)
        if closed == "both":
            return self._call("between", low, high)
        above = self >= low if closed == "left" else self > low
        below = self <= high if closed == "right" else self < high
        return above & below

    # --- conversion ---------------------------------------------------------------------------

    def cast(self, dtype: TypeLike, *, strict: bool = True) -> Self:
        """Convert to another type.

        Args:
            dtype: a pyarrow type, a Python type, or a name such as "decimal(15,2)".
            strict: fail the run for a value that has no form in `dtype`; otherwise it is null.

        >>> from umbel import col
        >>> col("a").cast(int), col("a").cast("date", strict=False)
        (cast(a as int64), try_cast(a as date))
        """
        return self._with(Cast(self.node, type_of(dtype), strict))

    def replace(self, old: Any, new: Any = None) -> Self:
        """Replace values by others; values that are not named stay.

        Args:
            old: a value, a list of values, or a mapping of old to new values.
            new: the new value, or a list of as many.
        """
        return self._replace(old, new, self)

    def replace_strict(self, old: Any, new: Any = None, *, default: Any = None) -> Self:
        """Replace values by others; values that are not named become `default`."""
        return self._replace(old, new, self._wrap(default))

    def _replace(self, old: Any, new: Any, otherwise: Self) -> Self:
        if isinstance(old, Mapping):
            pairs = list(old.items())
        else:
            olds = old if isinstance(old, list | tuple) else [old]
            news = new if isinstance(new, list | tuple) else [new] * len(olds)
            if len(olds) != len(news):
                raise PlanError(f"replace has {len(olds)} old values, but {len(news)} new ones")
            pairs = list(zip(olds, news, strict=True))
        if not pairs:
            return otherwise._as(self)
        branches = tuple(
            (Call("is_not_distinct_from", (self.node, literal(a))), literal(b)) for a, b in pairs
        )
        return self._combine(lambda _, last: Case(branches, last), self, otherwise)

    def _as(self, other: Self) -> Self:
        """This node under another expression's name."""
        return self._changed(naming=other.naming, selection=self.selection or other.selection)

    # --- mathematics --------------------------------------------------------------------------

    def abs(self) -> Self:
        """The absolute value."""
        return self._call("abs")

    def sign(self) -> Self:
        """-1, 0 or 1, as the sign is."""
        return self._call("sign")

    def round(self, decimals: int = 0, mode: str = "half_to_even") -> Self:
        """Round to a number of decimals.

        Args:
            decimals: digits after the point, or before it if negative.
            mode: where halves go: "half_to_even", as in Python, or "half_away_from_zero", as in
                SQL.
        """
        modes = {"half_to_even": "round_half_even", "half_away_from_zero": "round"}
        if mode not in modes:
            raise UnknownNameError("mode of rounding", mode, modes)
        return self._call(modes[mode], decimals)

    def truncate(self, decimals: int = 0) -> Self:
        """Cut to a number of decimals, toward zero."""
        return self._call("truncate", decimals)

    def floor(self) -> Self:
        """The greatest whole number that is not greater."""
        return self._call("floor")

    def ceil(self) -> Self:
        """The least whole number that is not less."""
        return self._call("ceil")

    def sqrt(self) -> Self:
        """The square root."""
        return self._call("sqrt")

    def cbrt(self) -> Self:
        """The cube root."""
        return self._call("cbrt")

    def exp(self) -> Self:
        """E to the power of the value."""
        return self._call("exp")

    def log(self, base: float | None = None) -> Self:
        """The logarithm, natural unless a base is given."""
        return self._call("ln") if base is None else self._call("log", base)

    def log10(self) -> Self:
        """The logarithm to base 10."""
        return self._call("log10")

    def log2(self) -> Self:
        """The logarithm to base 2."""
        return self._call("log2")

    def sin(self) -> Self:
        """The sine of an angle in radians."""
        return self._call("sin")

    def cos(self) -> Self:
        """The cosine of an angle in radians."""
        return self._call("cos")

    def tan(self) -> Self:
        """The tangent of an angle in radians."""
        return self._call("tan")

    def arcsin(self) -> Self:
        """The angle in radians that has this sine."""
        return self._call("asin")

    def arccos(self) -> Self:
        """The angle in radians that has this cosine."""
        return self._call("acos")

    def arctan(self) -> Self:
        """The angle in radians that has this tangent."""
        return self._call("atan")

    def sinh(self) -> Self:
        """The hyperbolic sine."""
        return self._call("sinh")

    def cosh(self) -> Self:
        """The hyperbolic cosine."""
        return self._call("cosh")

    def tanh(self) -> Self:
        """The hyperbolic tangent."""
        return self._call("tanh")

    def degrees(self) -> Self:
        """Radians as degrees."""
        return self._call("degrees")

    def radians(self) -> Self:
        """Degrees as radians."""
        return self._call("radians")

    def chr(self) -> Self:
        """The character of a code point."""
        return self._call("chr")
