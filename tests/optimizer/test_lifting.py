"""A lifted function gives what Python gives, on every value, or fails and leaves it to Python."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.optimizer.lifting import NotLiftable, trace
from umbel.optimizer.lifting.reductions import aggregates_of
from umbel.optimizer.lifting.symbols import Symbol
from umbel.plan.errors import UmbelError
from umbel.plan.expressions import Column
from umbel.plan.types import BOOL, FLOAT64, INT64, STRING
from umbel.platforms.python.expressions import compile_expression

HOSTILE_TEXT = [
    "", " ", "a", "A b", "\t a\x1cb\x85c\u00a0d\u2028e ", "İstanbul", "ΑΣ ΑΣΑ", "ß", "e\u0301", "ﬁ",
    "ǅ", "\x00", "🌸 x", "a,b,,c", "ab" * 40,
]  # fmt: skip
HOSTILE_INTEGERS = [0, 1, -1, 2, 7, -7, 2**31, -(2**31), 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]
HOSTILE_FLOATS = [
    0.0, -0.0, 1.0, -1.5, 0.1, math.nan, math.inf, -math.inf, 5e-324, 1e308, 2.0**53, 2.0**63,
]  # fmt: skip

integers = st.one_of(st.sampled_from(HOSTILE_INTEGERS), st.integers(-(2**63), 2**63 - 1))
floats = st.one_of(st.sampled_from(HOSTILE_FLOATS), st.floats())
texts = st.one_of(st.sampled_from(HOSTILE_TEXT), st.text(st.characters(exclude_categories=["Cs"])))
booleans = st.booleans()

LIMIT = 3


def twice(x: Any) -> Any:
    return x * 2


ON_INTEGERS: list[Callable[[Any], Any]] = [
    lambda x: x + 1, lambda x: 1 - x, lambda x: x * x, lambda x: -x, lambda x: +x, lambda x: abs(x),
    lambda x: x // 3, lambda x: x % 3, lambda x: x // -7, lambda x: x % -7, lambda x: 7 // x,
    lambda x: 7 % x, lambda x: x / 2, lambda x: 1 / x, lambda x: x / x, lambda x: x // -1,
    lambda x: x + 0.5, lambda x: x * 1.5, lambda x: x > 0.5, lambda x: x == 1.0, lambda x: x / 0.1,
    lambda x: x > 1 and x < 5, lambda x: x or 5, lambda x: x and 5, lambda x: not x,
    lambda x: x if x > 0 else -x, lambda x: x in (1, 2, 7), lambda x: 0 <= x < 10,
    lambda x: str(x), lambda x: float(x), lambda x: int(x), lambda x: bool(x), lambda x: min(x, 3),
    lambda x: max(1, x), lambda x: (x, x + 1), lambda x: (x, ("a", x > 2)), lambda x: twice(x) + LIMIT,
    lambda x: x * 1.0 if x % 2 == 0 else 0.0, lambda x: "even" if x % 2 == 0 else "odd",
    lambda x: len(str(x)), lambda x: x - x,
]  # fmt: skip
ON_FLOATS: list[Callable[[Any], Any]] = [
    lambda x: x + 1, lambda x: x * x, lambda x: -x, lambda x: abs(x), lambda x: x / 3, lambda x: 1 / x,
    lambda x: x > 1.0, lambda x: x >= x, lambda x: x == x, lambda x: x != x, lambda x: 1 < x < 5,
    lambda x: not x, lambda x: x or 2.0, lambda x: int(x), lambda x: bool(x), lambda x: x - x,
    lambda x: x if x > 0 else -x, lambda x: float(x), lambda x: x == 0, lambda x: x < 2**50,
    lambda x: x <= 0.0 or x > 10.0,
]  # fmt: skip
ON_TEXT: list[Callable[[Any], Any]] = [
    str.lower, str.upper, str.split, str.strip, len, lambda s: s.lower(), lambda s: s.strip("a "),
    lambda s: s.lstrip(), lambda s: s.rstrip("\n"), lambda s: s.split(","), lambda s: s.split(),
    lambda s: s + "!", lambda s: "<" + s + ">", lambda s: s[1:3], lambda s: s[:-1], lambda s: s[-2:],
    lambda s: s[2:], lambda s: "a" in s, lambda s: s.startswith("a"), lambda s: s.endswith("b"),
    lambda s: s.replace("a", "bb"), lambda s: s.find("b"), lambda s: len(s) > 3, lambda s: s == "a",
    lambda s: s < "b", lambda s: s in ("a", "b"), lambda s: (s.lower(), 1), lambda s: not s,
    lambda s: s or "none", lambda s: s.upper() if s else s, lambda s: len(s.split()),
    lambda s: max(s, "m"), lambda s: str(s), lambda s: s.lower().strip().upper(),
]  # fmt: skip


def evaluate(result: Any, row: tuple[Any, ...], schema: pa.Schema) -> Any:
    """The value of what a function was traced to, by the catalogue's references."""
    if isinstance(result, tuple):
        return tuple(evaluate(item, row, schema) for item in result)
    return compile_expression(result.expression, schema)(row)


def same(left: Any, right: Any) -> bool:
    """Whether two values are the very same to Python, type and sign of zero included."""
    if isinstance(left, tuple | list) and type(left) is type(right):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and repr(left) == repr(right)


def check(function: Callable[..., Any], value: Any, dtype: pa.DataType) -> None:
    """Run both forms; they agree, or the lifted one fails."""
    schema = pa.schema([pa.field("x", dtype, nullable=False)])
    traced = trace(function, Symbol(Column("x"), dtype))
    try:
        lifted = evaluate(traced.result, (value,), schema)
    except UmbelError:
        return  # the executor runs the Python function instead
    assert same(lifted, function(value)), f"{lifted!r} instead of {function(value)!r}"


@pytest.mark.parametrize("number", range(len(ON_INTEGERS)))
@given(value=integers)
def test_integers(number: int, value: int) -> None:
    check(ON_INTEGERS[number], value, INT64)


@pytest.mark.parametrize("number", range(len(ON_FLOATS)))
@given(value=floats)
def test_floats(number: int, value: float) -> None:
    check(ON_FLOATS[number], value, FLOAT64)


@pytest.mark.parametrize("number", range(len(ON_TEXT)))
@given(value=texts)
def test_text(number: int, value: str) -> None:
    check(ON_TEXT[number], value, STRING)


@pytest.mark.parametrize(
    ("functions", "dtype", "values"),
    [(ON_INTEGERS, INT64, [3, 12]), (ON_FLOATS, FLOAT64, [2.5]), (ON_TEXT, STRING, ["a b"])],
)
def test_ordinary_values_do_not_fail(
    functions: list[Callable[[Any], Any]], dtype: pa.DataType, values: list[Any]
) -> None:
    """Failing is for odd values; a lifted function that always fails would be no use."""
    schema = pa.schema([pa.field("x", dtype, nullable=False)])
    never = {number for number, f in enumerate(functions) if f is ON_INTEGERS[15]}
    for number, function in enumerate(functions):
        if number in never:  # x // -1 is left to Python for every x
            continue
        for value in values:
            result = trace(function, Symbol(Column("x"), dtype)).result
            assert same(evaluate(result, (value,), schema), function(value))


# Random functions: expressions over x and y, compiled from source as a user would write them.
OPERATORS = ["+", "-", "*", "/", "//", "%", "<", "<=", "==", "!=", ">", ">=", "and", "or"]
leaves = st.one_of(
    st.sampled_from(["x", "y", "x", "y", "(x if y else 1)"]),
    st.integers(-9, 9).map(lambda n: f"({n})"),
    st.sampled_from(["2.5", "(-0.0)", "1e300", "True"]),
)
sources = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(OPERATORS), inner).map(lambda t: f"({' '.join(t)})"),
        inner.map(lambda e: f"(-{e})"),
        inner.map(lambda e: f"abs({e})"),
        inner.map(lambda e: f"(not {e})"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} if {t[1]} else {t[2]})"),
        st.tuples(inner, inner).map(lambda t: f"min({t[0]}, {t[1]})"),
    ),
    max_leaves=6,
)


@given(source=sources, x=integers, y=st.one_of(floats, integers))
def test_random_functions(source: str, x: int, y: float) -> None:
    function = eval(f"lambda x, y: {source}")
    second = FLOAT64 if isinstance(y, float) else INT64
    schema = pa.schema([pa.field("x", INT64, False), pa.field("y", second, False)])
    try:
        traced = trace(function, Symbol(Column("x"), INT64), Symbol(Column("y"), second))
    except NotLiftable:
        return
    try:
        lifted = evaluate(traced.result, (x, y), schema)
    except UmbelError:
        return
    assert same(lifted, function(x, y)), source


counter = 0


def counts(x: int) -> int:
    global counter  # noqa: PLW0603 - an effect, to see that tracing does not have it
    counter += 1
    return x


def appends(x: int, seen: list[int] = []) -> int:  # noqa: B006 - that is the point
    seen.append(x)
    return x


def loops(x: int) -> int:
    total = 0
    for _ in range(3):
        total += x
    return total


def catches(x: int) -> int:
    try:
        return 1 // x
    except ZeroDivisionError:
        return 0


def recursive(x: int) -> int:
    return x if x < 2 else recursive(x - 1)


STAY_PYTHON: list[Callable[[Any], Any]] = [
    counts, appends, loops, catches, recursive, print, lambda x: random.random(),
    lambda x: math.sqrt(x), lambda x: [x], lambda x: {x: 1}, lambda x: f"{x}", lambda x: "%d" % x,  # noqa: UP031

    lambda x: x is None, lambda x: None, lambda x: (), lambda x: hash(x), lambda x: x**2,
    lambda x: (1, 2, 3)[x], lambda x: "ab" * x, lambda x: 2**70, lambda x: isinstance(x, int),
    lambda x: x / 0, lambda x: x.bit_length(), lambda x: round(x, 1), lambda *x: 1,
    lambda x: (yield x), lambda x: 1 if x > 0 else "a",
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(STAY_PYTHON)))
def test_stays_python(number: int) -> None:
    before = counter
    with pytest.raises(NotLiftable):
        trace(STAY_PYTHON[number], Symbol(Column("x"), INT64))
    assert counter == before, "tracing had an effect"
    assert appends.__defaults__ == ([],)


def test_null_makes_a_nullable_column_fail() -> None:
    schema = pa.schema([pa.field("x", INT64)])
    result = trace(lambda x: x + 1, Symbol(Column("x"), INT64, nullable=True)).result
    assert evaluate(result, (1,), schema) == 2
    with pytest.raises(UmbelError):
        evaluate(result, (None,), schema)


@pytest.mark.parametrize(
    ("function", "dtype", "aggregate"),
    [
        (lambda a, b: a + b, INT64, "sum(x)"),
        (lambda a, b: b + a, INT64, "sum(x)"),
        (min, INT64, "min(x)"),
        (lambda a, b: max(b, a), STRING, "max(x)"),
        (lambda a, b: a if a < b else b, INT64, "min(x)"),  # noqa: FURB136
        (lambda a, b: b if a < b else a, STRING, "max(x)"),  # noqa: FURB136
        (lambda a, b: a or b, BOOL, "any(x)"),
        (lambda a, b: a and b, BOOL, "all(x)"),
    ],
)
def test_known_reductions(function: Callable[..., Any], dtype: pa.DataType, aggregate: str) -> None:
    assert str(aggregates_of(function, Symbol(Column("x"), dtype))) == aggregate


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        (lambda a, b: a + b, FLOAT64),  # the last digits depend on the order
        (lambda a, b: a + b, STRING),  # the order of the parts is that of the rows
        (min, FLOAT64),  # NaN, and -0.0 against 0.0
        (lambda a, b: a, INT64),
        (lambda a, b: a - b, INT64),
        (lambda a, b: a + b + 1, INT64),
        (lambda a, b: a * b, INT64),
    ],
)
def test_other_reductions_stay_python(function: Callable[..., Any], dtype: pa.DataType) -> None:
    with pytest.raises(NotLiftable):
        aggregates_of(function, Symbol(Column("x"), dtype))
