"""A lifted function whose expression fails runs as it was written: same answer, or same error."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import pytest

import umbel as ub
from umbel.executor import Result

Run = Callable[..., Result]
BIG = 2**62


def line_of(function: Callable[..., Any]) -> int:
    return inspect.getsourcelines(function)[1]


def test_an_overflow_gives_pythons_integers(session: ub.Session, run: Run):
    numbers = session.from_items([BIG, -3, 0]).map(lambda x: x * 4)
    result = run(numbers, lifting=True)
    assert result.elements == [BIG * 4, -12, 0]
    assert all(type(x) is int for x in result.elements)
    assert str(BIG * 4) in result.run.unlifted  # the value that did not fit
    assert "Project at" in result.run.unlifted
    assert __file__ in result.run.unlifted


def test_an_overflow_of_a_sum_gives_pythons_integers(session: ub.Session, run: Run):
    pairs = session.from_items([("a", BIG), ("a", BIG), ("b", 1)])
    result = run(pairs.reduce_by_key(lambda a, b: a + b), lifting=True)
    assert sorted(result.elements) == [("a", 2 * BIG), ("b", 1)]
    assert result.run.unlifted


def test_without_a_failure_nothing_runs_again(session: ub.Session, run: Run):
    result = run(session.from_items([1, 2]).map(lambda x: x * 4), lifting=True)
    assert result.elements == [4, 8]
    assert result.run.unlifted == ""
    assert result.run.plan.lifted


def divide(x):
    return 10 // x


def truncate(x):
    return int(x)


def increase(x):
    return x + 1


def upper(text):
    return text.upper()


@pytest.mark.parametrize(
    ("items", "function", "broken"),
    [
        ([5, 0, 2], divide, 0),
        ([1.5, math.nan], truncate, math.nan),
        ([1.5, math.inf], truncate, math.inf),
        ([1, None], increase, None),
        (["a", None], upper, None),
    ],
)
def test_the_same_exception_names_function_line_and_value(
    session: ub.Session, run: Run, items: list[Any], function: Callable[..., Any], broken: Any
):
    with pytest.raises(Exception) as plain:  # noqa: PT011 - whatever plain Python raises
        [function(item) for item in items]
    for lifting in (True, False, None):
        with pytest.raises(ub.FunctionError) as caught:
            run(session.from_items(items).map(function), lifting=lifting)
        error = caught.value
        assert type(error.__cause__) is type(plain.value)
        assert str(error.__cause__) == str(plain.value)
        assert f"function {function.__name__} ({__file__}:{line_of(function)})" in error.message
        assert f"raised {type(plain.value).__name__}" in error.message
        assert str(plain.value) in error.message
        assert error.hint == f"the value that broke it: {broken!r}"
        # What failed at first is of no use to the reader.
        assert not isinstance(error.__context__, ub.EvaluationError)


def test_the_line_inside_of_the_function_is_named(session: ub.Session):
    def steps(x):
        y = x - 1
        z = hash(str(y)) * 0
        return y / z

    with pytest.raises(ub.FunctionError) as caught:
        session.from_items([1]).map(steps).collect()
    assert f"raised ZeroDivisionError at line {line_of(steps) + 3}" in caught.value.message


def test_the_functions_run_once_more_and_only_then(session: ub.Session, run: Run):
    seen: list[int] = []

    def note(x):
        seen.append(x)
        return x

    numbers = session.from_items([1, BIG]).map(lambda x: x * 4).map(note)
    assert run(numbers, lifting=True).elements == [4, BIG * 4]
    assert seen.count(4) <= 2
    assert seen[-2:] == [4, BIG * 4]


def test_failures_that_lifting_has_no_part_in_do_not_run_again(
    session: ub.Session, run: Run, tmp_path
):
    """A function that stays Python fails in the first try already, and is not called again."""
    calls: list[Any] = []

    def fail(x):
        calls.append(x)
        raise ValueError("on purpose")

    with pytest.raises(ub.FunctionError):
        run(session.from_items([1]).map(lambda x: x * 4).map(fail), lifting=True)
    assert calls == [4]

    before = tmp_path / "there.txt"
    before.write_text("before")
    written = session.from_items([1]).map(lambda x: x * 4)
    with pytest.raises(ub.RunError, match="is there already"):
        written.write_text(before, exists="fail")
    assert before.read_text() == "before"


def test_where_a_pinned_engine_cannot_run_the_function_the_first_error_stays(
    session: ub.Session, run: Run
):
    pinned = session.from_items([BIG]).map(lambda x: x * 4).on("duckdb")
    with pytest.raises(ub.EvaluationError) as caught:
        run(pinned)
    assert "'duckdb'" in caught.value.message
    assert "overflow" in caught.value.message.lower()
    assert caught.value.hint


def test_a_cancellation_reaches_the_second_try(session: ub.Session):
    """The first try's failure must not use up the caller's cancellation."""
    from umbel.executor import Cancellation, run
    from umbel.executor.events import Unlifted

    cancellation = Cancellation()

    def listen(event):
        if isinstance(event, Unlifted):
            assert not cancellation.cancelled
            cancellation.cancel()

    numbers = session.from_items([BIG]).map(lambda x: x * 4)
    with pytest.raises(ub.CancelledError):
        run(
            numbers.plan,
            platforms=session.platforms(),
            lifting=True,
            cancellation=cancellation,
            listener=listen,
        )
