"""Symbols: values that stand for a column, and build an expression when Python computes with them.

Every operation gives a symbol whose expression is exactly equal to what Python would compute, on
every value that the column may hold, or it fails the run, or it raises `NotLiftable`. Failing is
allowed because the executor then runs the Python function itself.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NoReturn

import pyarrow as pa

from umbel.plan.expressions import Call, Cast, Expression, Literal
from umbel.plan.types import BOOL, FLOAT64, INT64, STRING, is_integer, is_list, is_string

#: Integers up to here are floats exactly.
_EXACT = 2**53


class NotLiftable(Exception):  # noqa: N818 - a signal between modules, not an error of the user's
    """A function, or a value in it, has no exactly equal expression. Says why."""


class Decide(BaseException):
    """A symbol was asked whether it is true: the tracer must choose. Not caught by user code."""


#: Asked for the truth of a condition; set by the tracer while it runs a function.
decide: list[Callable[[Expression], bool]] = []


def call(function: str, *arguments: Expression) -> Call:
    """Build a call of a catalogue function."""
    return Call(function, arguments)


def integer(value: int) -> Literal:
    """A 64-bit constant."""
    if not -(2**63) <= value < 2**63:
        raise NotLiftable(f"{value} does not fit 64 bits")
    return Literal(value, INT64)


def constant(value: Any) -> Symbol:
    """Make a symbol of a Python constant."""
    match value:
        case bool():
            return Symbol(Literal(value, BOOL), BOOL)
        case int():
            return Symbol(integer(value), INT64)
        case float():
            return Symbol(Literal(value, FLOAT64), FLOAT64)
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise NotLiftable("it holds text with lone surrogates") from None
            return Symbol(Literal(value, STRING), STRING)
    raise NotLiftable(f"constant {value!r} of type {type(value).__name__}")


def guard(expression: Expression, condition: Expression) -> Expression:
    """Fail the run, and so fall back to Python, where a condition does not hold."""
    return call("require", expression, condition)


class Symbol:
    """A value of one type that is never null once it has been computed with.

    Attributes:
        expression: what it stands for.
        dtype: its Arrow type.
        nullable: it may be None; computing with it guards against that.
    """

    __slots__ = ("dtype", "expression", "nullable")

    def __init__(
        self, expression: Expression, dtype: pa.DataType, *, nullable: bool = False
    ) -> None:
        self.expression = expression
        self.dtype = dtype
        self.nullable = nullable

    # -- what it is ---------------------------------------------------------------------------

    @property
    def value(self) -> Expression:
        """The expression, failing the run if it is null."""
        if self.nullable:
            return guard(self.expression, call("is_not_null", self.expression))
        return self.expression

    @property
    def is_int(self) -> bool:
        """Whether it is a signed integer of at most 64 bits."""
        return is_integer(self.dtype) and self.dtype != pa.uint64()

    @property
    def is_float(self) -> bool:
        """Whether it is a 64-bit float."""
        return bool(self.dtype == FLOAT64)

    @property
    def is_str(self) -> bool:
        """Whether it is text."""
        return is_string(self.dtype)

    @property
    def is_bool(self) -> bool:
        """Whether it is a boolean."""
        return bool(self.dtype == BOOL)

    @property
    def known(self) -> Any:
        """The Python value, if the symbol is a constant; else None."""
        return self.expression.value if isinstance(self.expression, Literal) else None

    def truth(self) -> Expression:
        """The condition under which Python holds the value to be true."""
        if self.is_bool:
            return self.value
        if self.is_int:
            return call("not_equal", self.value, Literal(0, self.dtype))
        if self.is_float:  # NaN is true, and differs from 0.0
            return call("not_equal", self.value, Literal(0.0, FLOAT64))
        if self.is_str:
            return call("not_equal", self.value, Literal("", STRING))
        raise NotLiftable(f"the truth of a {self.dtype}")

    def __bool__(self) -> bool:
        if not decide:
            raise NotLiftable("it branches on data")
        return decide[-1](self.truth())

    # -- arithmetic ---------------------------------------------------------------------------

    def _as_float(self) -> Expression:
        return self.value if self.is_float else Cast(self.value, FLOAT64)

    def _arithmetic(self, function: str, other: Any, *, swapped: bool = False) -> Symbol:
        left, right = _pair(self, other, swapped)
        if left.is_int and right.is_int:
            return Symbol(call(function, left.value, right.value), INT64)
        if _numbers(left, right):
            return Symbol(call(function, left._as_float(), right._as_float()), FLOAT64)
        raise NotLiftable(f"{function} of {left.dtype} and {right.dtype}")

    def __add__(self, other: Any) -> Symbol:
        return self._add(other, swapped=False)

    def __radd__(self, other: Any) -> Symbol:
        return self._add(other, swapped=True)

    def _add(self, other: Any, *, swapped: bool) -> Symbol:
        left, right = _pair(self, other, swapped)
        if left.is_str and right.is_str:
            return Symbol(call("concat", left.value, right.value), STRING)
        return self._arithmetic("add", other, swapped=swapped)

    def __sub__(self, other: Any) -> Symbol:
        return self._arithmetic("subtract", other)

    def __rsub__(self, other: Any) -> Symbol:
        return self._arithmetic("subtract", other, swapped=True)

    def __mul__(self, other: Any) -> Symbol:
        return self._arithmetic("multiply", other)

    def __rmul__(self, other: Any) -> Symbol:
        return self._arithmetic("multiply", other, swapped=True)

    def __truediv__(self, other: Any) -> Symbol:
        return self._divide(other, swapped=False)

    def __rtruediv__(self, other: Any) -> Symbol:
        return self._divide(other, swapped=True)

    def _divide(self, other: Any, *, swapped: bool) -> Symbol:
        left, right = _pair(self, other, swapped)
        if not _numbers(left, right):
            raise NotLiftable(f"dividing {left.dtype} by {right.dtype}")
        divisor = _nonzero(right)
        if left.is_int and right.is_int:  # Python divides the integers, not their floats
            dividend = _within_exact(left, left.value)
            quotient = call(
                "divide",
                Cast(dividend, FLOAT64),
                Cast(_within_exact(right, divisor), FLOAT64),
            )
        else:
            quotient = call(
                "divide", left._as_float(), divisor if right.is_float else Cast(divisor, FLOAT64)
            )
        return Symbol(quotient, FLOAT64)

    def _whole(self, function: str, other: Any, *, swapped: bool) -> Symbol:
        left, right = _pair(self, other, swapped)
        if not (left.is_int and right.is_int):
            raise NotLiftable(f"{function} of {left.dtype} and {right.dtype}")
        if right.known == -1 or right.known is None:
            # The least integer divided by -1 does not fit: leave that to Python.
            divisor = guard(
                _nonzero(right), call("not_equal", right.value, Literal(-1, right.dtype))
            )
        else:
            divisor = _nonzero(right)
        return Symbol(call(function, Cast(left.value, INT64), Cast(divisor, INT64)), INT64)

    def __floordiv__(self, other: Any) -> Symbol:
        return self._whole("floor_divide", other, swapped=False)

    def __rfloordiv__(self, other: Any) -> Symbol:
        return self._whole("floor_divide", other, swapped=True)

    def __mod__(self, other: Any) -> Symbol:
        return self._whole("modulo", other, swapped=False)

    def __rmod__(self, other: Any) -> Symbol:
        return self._whole("modulo", other, swapped=True)

    def __neg__(self) -> Symbol:
        if self.is_int:
            return Symbol(call("negate", self.value), INT64)
        if self.is_float:
            return Symbol(call("negate", self.value), FLOAT64)
        raise NotLiftable(f"the negative of a {self.dtype}")

    def __pos__(self) -> Symbol:
        if self.is_int or self.is_float:
            return Symbol(self.value, self.dtype)
        raise NotLiftable(f"plus a {self.dtype}")

    def __abs__(self) -> Symbol:
        if self.is_int:
            return Symbol(call("abs", self.value), INT64)
        if self.is_float:
            return Symbol(call("abs", self.value), FLOAT64)
        raise NotLiftable(f"the absolute value of a {self.dtype}")

    # -- comparison ---------------------------------------------------------------------------

    def _compare(self, function: str, other: Any) -> Symbol:
        left, right = _pair(self, other, swapped=False)
        same = (
            (left.is_int and right.is_int)
            or (left.is_str and right.is_str)
            or (left.is_bool and right.is_bool and function in ("equal", "not_equal"))
        )
        if same:
            return Symbol(call(function, left.value, right.value), BOOL)
        if left.is_float and right.is_float:
            return Symbol(_float_comparison(function, left, right), BOOL)
        if _numbers(left, right) and (_small(left) or _small(right)):
            # Rounding the integer to a float cannot move it past a constant below 2**53.
            sides = (Symbol(left._as_float(), FLOAT64), Symbol(right._as_float(), FLOAT64))
            return Symbol(_float_comparison(function, *sides), BOOL)
        raise NotLiftable(f"{function} of {left.dtype} and {right.dtype}")

    def __eq__(self, other: object) -> Any:
        return self._compare("equal", other)

    def __ne__(self, other: object) -> Any:
        return self._compare("not_equal", other)

    def __lt__(self, other: Any) -> Symbol:
        return self._compare("less", other)

    def __le__(self, other: Any) -> Symbol:
        return self._compare("less_equal", other)

    def __gt__(self, other: Any) -> Symbol:
        return self._compare("greater", other)

    def __ge__(self, other: Any) -> Symbol:
        return self._compare("greater_equal", other)

    # -- text and lists -----------------------------------------------------------------------

    def __contains__(self, part: Any) -> Any:
        if not self.is_str:
            raise NotLiftable(f"whether something is in a {self.dtype}")
        found = Symbol(call("contains", self.value, _text(part)), BOOL)
        return bool(found)  # Python makes it a boolean anyway

    def __getitem__(self, index: Any) -> Symbol:
        match index:
            case slice(start=start, stop=stop, step=None | 1) if self.is_str and all(
                type(bound) is int or bound is None for bound in (start, stop)
            ):
                bounds = [integer(start or 0)] + ([] if stop is None else [integer(stop)])
                return Symbol(call("slice", self.value, *bounds), STRING)
        raise NotLiftable(f"an item of a {self.dtype}")

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        if name not in METHODS or not self.is_str:
            raise NotLiftable(f".{name} of a {self.dtype}")
        method = METHODS[name]
        return lambda *arguments: method(self, *arguments)

    # -- what Python must not do with it ------------------------------------------------------

    def _refuse(self, *_: Any) -> NoReturn:
        raise NotLiftable("it uses a value in a way that has no expression")

    __hash__ = _refuse
    __iter__ = __index__ = __int__ = __float__ = __len__ = _refuse
    __str__ = __repr__ = __format__ = __call__ = _refuse
    __pow__ = __rpow__ = __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = _refuse
    __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = __invert__ = __matmul__ = _refuse
    __divmod__ = __rdivmod__ = __round__ = __trunc__ = __floor__ = __ceil__ = _refuse


def lift_value(value: Any) -> Symbol:
    """Make a symbol of a symbol or a constant."""
    return value if isinstance(value, Symbol) else constant(value)


def _pair(own: Symbol, other: Any, swapped: bool) -> tuple[Symbol, Symbol]:
    lifted = lift_value(other)
    return (lifted, own) if swapped else (own, lifted)


def _numbers(left: Symbol, right: Symbol) -> bool:
    return all(side.is_int or side.is_float for side in (left, right))


def _nonzero(divisor: Symbol) -> Expression:
    zero = Literal(0.0, FLOAT64) if divisor.is_float else Literal(0, divisor.dtype)
    if divisor.known is not None:
        if divisor.known == 0:
            raise NotLiftable("it divides by zero")
        return divisor.value
    return guard(divisor.value, call("not_equal", divisor.value, zero))


def _within_exact(symbol: Symbol, expression: Expression) -> Expression:
    if symbol.dtype.bit_width <= 32 or _small(symbol):
        return expression
    return guard(expression, call("between", expression, integer(-_EXACT), integer(_EXACT)))


def _small(symbol: Symbol) -> bool:
    value = symbol.known
    if value is None or isinstance(value, str):
        return False
    return math.isfinite(value) and abs(value) < _EXACT


def _float_comparison(function: str, left: Symbol, right: Symbol) -> Expression:
    """Compare as IEEE does: nothing but `!=` holds for NaN, which the plan holds the greatest."""
    compared = call(function, left.value, right.value)
    if function == "not_equal":
        nans = [call("is_nan", s.value) for s in (left, right) if s.known is None]
        return call("or", compared, *nans)
    numbers = [call("not", call("is_nan", s.value)) for s in (left, right) if s.known is None]
    if any(s.known is not None and math.isnan(s.known) for s in (left, right)):
        return Literal(False, BOOL)
    return call("and", compared, *numbers) if numbers else compared


def _text(value: Any) -> Expression:
    symbol = lift_value(value)
    if not symbol.is_str:
        raise NotLiftable(f"text was expected, not {symbol.dtype}")
    return symbol.value


def _constant_text(value: Any, *, empty: bool = True) -> Expression:
    if type(value) is not str or (not empty and not value):
        raise NotLiftable("only a constant text has an equal expression here")
    return constant(value).expression


def _text_method(function: str) -> Callable[..., Symbol]:
    def method(text: Symbol) -> Symbol:
        return Symbol(call(function, text.value), STRING)

    return method


def _strip(function: str) -> Callable[..., Symbol]:
    def method(text: Symbol, characters: Any = None) -> Symbol:
        chosen = () if characters is None else (_constant_text(characters),)
        return Symbol(call(function, text.value, *chosen), STRING)

    return method


def _test(function: str) -> Callable[..., Symbol]:
    def method(text: Symbol, part: Any) -> Symbol:
        return Symbol(call(function, text.value, _constant_text(part)), BOOL)

    return method


def _split(text: Symbol, separator: Any = None) -> Symbol:
    words = pa.list_(STRING)
    if separator is None:
        return Symbol(call("split_whitespace", text.value), words)
    return Symbol(call("split", text.value, _constant_text(separator, empty=False)), words)


def _replace(text: Symbol, old: Any, new: Any) -> Symbol:
    parts = (_constant_text(old, empty=False), _constant_text(new))
    return Symbol(call("replace_all", text.value, *parts), STRING)


def _find(text: Symbol, part: Any) -> Symbol:
    found = call("position", text.value, _constant_text(part, empty=False))
    return Symbol(call("subtract", found, integer(1)), INT64)


#: Methods of `str` that have an exactly equal expression.
METHODS: dict[str, Callable[..., Symbol]] = {
    "lower": _text_method("lower"),
    "upper": _text_method("upper"),
    "strip": _strip("strip"),
    "lstrip": _strip("strip_start"),
    "rstrip": _strip("strip_end"),
    "startswith": _test("starts_with"),
    "endswith": _test("ends_with"),
    "split": _split,
    "replace": _replace,
    "find": _find,
}


def _length(value: Any) -> Any:
    if isinstance(value, Symbol):
        if value.is_str:
            return Symbol(call("length", value.value), INT64)
        if is_list(value.dtype):
            return Symbol(call("list_length", value.value), INT64)
        raise NotLiftable(f"the length of a {value.dtype}")
    return len(value)


def _extreme(function: str, builtin: Callable[..., Any]) -> Callable[..., Any]:
    def choose(*values: Any) -> Any:
        if not any(isinstance(value, Symbol) for value in values):
            return builtin(*values)
        symbols = [lift_value(value) for value in values]
        same = all(s.is_int for s in symbols) or all(s.is_str for s in symbols)
        if len(symbols) < 2 or not same:  # equal floats may differ in sign, and NaN has no order
            raise NotLiftable(f"{builtin.__name__} of these values")
        dtype = INT64 if symbols[0].is_int else STRING
        return Symbol(call(function, *(s.value for s in symbols)), dtype)

    return choose


def _to_text(value: Any = "") -> Any:
    if not isinstance(value, Symbol):
        return str(value)
    if value.is_str:
        return Symbol(value.value, STRING)
    if value.is_int:
        return Symbol(Cast(value.value, STRING), STRING)
    raise NotLiftable(f"str of a {value.dtype}")


def _to_float(value: Any = 0.0) -> Any:
    if not isinstance(value, Symbol):
        return float(value)
    if value.is_int or value.is_float:
        return Symbol(value._as_float(), FLOAT64)
    raise NotLiftable(f"float of a {value.dtype}")


def _to_int(value: Any = 0) -> Any:
    if not isinstance(value, Symbol):
        return int(value)
    if value.is_int or value.is_float:  # the cast truncates, and fails where 64 bits do not do
        return Symbol(Cast(value.value, INT64), INT64)
    raise NotLiftable(f"int of a {value.dtype}")


def _to_bool(value: Any = False) -> Any:
    if isinstance(value, Symbol):
        return Symbol(value.truth(), BOOL)
    return bool(value)


def _abs(value: Any) -> Any:
    return value.__abs__() if isinstance(value, Symbol) else abs(value)


#: Builtins and functions of `operator` by the form that takes symbols.
BUILTINS: dict[Any, Callable[..., Any]] = {
    len: _length,
    min: _extreme("least", min),
    max: _extreme("greatest", max),
    abs: _abs,
    str: _to_text,
    int: _to_int,
    float: _to_float,
    bool: _to_bool,
    operator.add: operator.add,
    operator.sub: operator.sub,
    operator.mul: operator.mul,
    operator.eq: operator.eq,
    operator.ne: operator.ne,
    operator.lt: operator.lt,
    operator.le: operator.le,
    operator.gt: operator.gt,
    operator.ge: operator.ge,
    operator.neg: operator.neg,
}
