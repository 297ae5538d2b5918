"""Values that break a function or an expression: which one, where, and on which engine."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import umbel as ub
from tests.bad_input.conftest import raised
from umbel import col

PLATFORMS = ["python", "polars", "duckdb"]


def fail(x, *more):
    if isinstance(x, tuple | str) or x:
        raise LookupError("no such thing")
    return x


FAIL = f"function fail ({__file__}:{inspect.getsourcelines(fail)[1]}) raised LookupError"


@pytest.mark.parametrize(
    ("use", "value"),
    [
        (lambda d: d.map(fail), "1"),
        (lambda d: d.filter(fail), "1"),
        (lambda d: d.flat_map(fail), "1"),
        (lambda d: d.sort_by(fail), "1"),
        (lambda d: d.group_by(fail), "1"),
        (lambda d: d.reduce(fail), "1"),
        (lambda d: d.key_by(fail), "1"),
        (lambda d: d.reduce_by(fail, lambda a, b: a), "1"),
        (lambda d: d.map(lambda x: ("k", "v")).reduce_by_key(fail), "('v', 'v')"),
        (lambda d: d.map_partitions(lambda part: map(fail, part)), "part of the elements"),
        (lambda d: d.map(fail, broadcast={"more": d}), "1"),
    ],
)
def test_a_function_that_raises_is_named_with_its_line_and_the_value(
    session: ub.Session, use: Callable[[ub.Dataset], ub.Dataset], value: str
):
    numbers = session.from_items([1, 1])
    error = raised(lambda: use(numbers).collect(), ub.FunctionError)
    assert f"at {__file__}:" in error.message  # the line that used the function
    assert "raised LookupError" in error.message or "raised TypeError" in error.message
    assert error.message.endswith("no such thing") or "keyword argument" in error.message
    assert value in error.hint
    assert isinstance(error.__cause__, LookupError | TypeError)
    if "lambda part" not in inspect.getsource(use) and "broadcast" not in error.hint:
        assert "function " in error.message


def test_the_message_names_the_function_itself(session: ub.Session):
    error = raised(session.from_items([1]).map(fail).collect, ub.FunctionError)
    assert f"{FAIL} at line" in error.message


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda d: d.reduce_by_key(max), "takes (key, value) pairs, not int 1"),
        (lambda d: d.map(lambda x: [x]).distinct(), "the value [1] of type list cannot be hashed"),
        (lambda d: d.map(lambda x: ([x], x)).reduce_by_key(max), "the key [1] of type list"),
        (lambda d: d.map(lambda x: x if x == 1 else "a").sort_by(), "have no common order"),
        (lambda d: d.map(lambda x: hash(x)).flat_map(lambda x: x), "'int' object is not iterable"),
    ],
)
def test_elements_that_an_operator_cannot_take(
    session: ub.Session, use: Callable[[ub.Dataset], ub.Dataset], said: str
):
    error = raised(lambda: use(session.from_items([1, 2])).collect(), ub.RunError)
    assert said in error.message
    assert f"at {__file__}:" in error.message


def test_elements_that_a_frame_cannot_take(session: ub.Session):
    mixed = session.from_items([1, "x"]).to_frame({"n": int})
    with pytest.raises(ub.EvaluationError) as caught:
        mixed.collect()
    for part in ("ToFrame at", __file__, "row 2", "column 'n'", "int64", "'x'"):
        assert part in caught.value.message


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize(
    ("values", "use"),
    [
        (["1", "x"], col("a").cast("int64")),
        ([1.5, float("nan")], col("a").cast("int64")),
        ([2**62, 1], col("a") * 4),
        ([-(2**63), 1], -col("a")),
        ([2**62, 2**62], col("a").sum()),
        (["2024-01-01", "2024-13-01"], col("a").cast("date")),
    ],
)
def test_an_expression_without_a_value_fails_alike_on_every_engine(
    session: ub.Session, platform: str, values: list[Any], use: ub.Expr
):
    frame = session.from_dict({"a": values}).select(b=use).on(platform)
    error = raised(frame.collect, ub.EvaluationError)
    assert f"{__file__}:" in error.message
    assert error.message.count("\n") == 0
    if platform != "python":
        assert f"on platform '{platform}'" in error.message
    # Asked to, every engine gives null instead.
    if "cast" in repr(use):
        trying = col("a").cast("date" if "-" in str(values[0]) else "int64", strict=False)
        frame = session.from_dict({"a": values}).select(b=trying).on(platform)
        assert frame.collect().column("b").null_count == 1


def test_exit_codes_tell_the_kinds_of_errors_apart():
    """Scripts rely on them."""
    kinds = {
        ub.UmbelError: 1,
        ub.PlanError: 2,
        ub.UnknownNameError: 2,
        ub.TypeClashError: 2,
        ub.PlanFormatError: 3,
        ub.SourceError: 4,
        ub.PlacementError: 5,
        ub.RunError: 6,
        ub.FunctionError: 6,
        ub.EvaluationError: 6,
        ub.CancelledError: 130,
    }
    assert {kind: kind.exit_code for kind in kinds} == kinds
