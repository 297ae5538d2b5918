"""Loops: how often the body runs, what it reads, and how it ends."""

from __future__ import annotations

from typing import Any, ClassVar

import pyarrow as pa
import pytest

import umbel as ub
from umbel.executor.events import Event, RoundFinished
from umbel.platforms.base import ARROW


@pytest.mark.parametrize("times", [0, 1, 2, 7])
def test_repeat_applies_the_body_so_often(session: ub.Session, times: int):
    ones = session.from_items([0, 10]).repeat(times, lambda d: d.map(lambda x: x + 1))
    assert ones.collect() == [times, 10 + times]


def test_a_loop_in_a_loop(session: ub.Session):
    def inner(d: ub.Dataset) -> ub.Dataset:
        return d.map(lambda x: x * 2).repeat(3, lambda e: e.map(lambda x: x + 1))

    # x -> 2x + 3, twice: 1 -> 5 -> 13
    assert session.from_items([1]).repeat(2, inner).collect() == [13]


def test_a_loop_in_the_condition_of_a_loop(session: ub.Session):
    def small(d: ub.Dataset) -> ub.Dataset:
        return d.repeat(2, lambda e: e.map(lambda x: x + 1)).map(lambda x: x < 10)

    # ends as soon as x + 2 is no longer below 10
    assert session.from_items([1]).do_while(small, lambda d: d.map(lambda x: x + 1)).collect() == [
        8
    ]


def test_do_while_runs_at_least_once_and_until_the_condition_is_false(session: ub.Session):
    def step(d: ub.Dataset) -> ub.Dataset:
        return d.map(lambda x: x * 2)

    once = session.from_items([100]).do_while(lambda d: d.map(lambda x: x < 50), step)
    assert once.collect() == [200]
    more = session.from_items([1]).do_while(lambda d: d.map(lambda x: x < 50), step)
    assert more.collect() == [64]


def test_a_loop_that_does_not_end_fails_at_its_limit(session: ub.Session):
    loop = session.from_items([1]).do_while(  # this line
        lambda d: d.map(lambda x: x > 0), lambda d: d.map(lambda x: x + 1), limit=7
    )
    line = test_a_loop_that_does_not_end_fails_at_its_limit.__code__.co_firstlineno + 1
    with pytest.raises(ub.RunError) as caught:
        loop.collect()
    assert f"the loop at {__file__}:{line} did not end after 7 rounds" in caught.value.message
    assert "limit=" in caught.value.hint
    loop = session.from_items([1]).do_while(
        lambda d: d.map(lambda x: x < 8), lambda d: d.map(lambda x: x + 1), limit=7
    )
    assert loop.collect() == [8]  # the seventh round ends it


@pytest.mark.parametrize(
    ("items", "condition", "said"),
    [
        ([1], lambda d: d.filter(lambda x: x > 9), "gave 0 elements instead of one boolean"),
        ([1, 2], lambda d: d.map(lambda x: x > 9), "gave 2 elements instead of one boolean"),
        ([1], lambda d: d.map(lambda x: "no"), "gave 'no' of type str instead of a boolean"),
        ([1], lambda d: d.map(lambda x: None), "gave None of type NoneType instead of a boolean"),
    ],
)
def test_a_condition_is_one_boolean(
    session: ub.Session, items: list[Any], condition: Any, said: str
):
    loop = session.from_items(items).do_while(condition, lambda d: d.map(lambda x: x + 1))
    with pytest.raises(ub.RunError) as caught:
        loop.collect()
    assert said in caught.value.message
    assert f"the loop at {__file__}:" in caught.value.message
    assert caught.value.hint


def test_a_scalar_of_numpy_is_a_boolean_too(session: ub.Session):
    numpy = pytest.importorskip("numpy")
    loop = session.from_items([1]).do_while(
        lambda d: d.map(lambda x: numpy.bool_(x < 3)), lambda d: d.map(lambda x: x + 1)
    )
    assert loop.collect() == [3]


def test_what_no_round_changes_is_computed_once(session: ub.Session):
    calls: list[int] = []

    def costly(x):
        calls.append(x)
        return x

    fixed = session.from_items([10, 20]).map(costly)
    loop = session.from_items([1]).repeat(
        4, lambda d: d.cartesian(fixed).map(lambda p: p[0] + p[1]).sort_by().limit(1)
    )
    assert loop.collect() == [41]
    assert sorted(calls) == [10, 20]


def test_what_no_round_changes_is_converted_once(session: ub.Session):
    """The other side lies in DuckDB's tables; Python needs it as values in every round."""
    import umbel.executor.handover as handover

    converted: list[str] = []
    original = handover.convert

    def counting(graph, data, source, target, operator):
        if source != target:
            converted.append(f"{source} > {target}")
        return original(graph, data, source, target, operator)

    frame = session.from_dict({"n": [10, 20]}).sort("n").on("duckdb")
    fixed = frame.rows().map(lambda r: r.n).on("python")
    loop = session.from_items([1]).repeat(
        4, lambda d: d.cartesian(fixed).map(lambda p: p[0] + p[1]).sort_by().limit(1)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handover, "convert", counting)
        assert loop.collect() == [41]
    assert len(converted) <= 1


def test_broadcasts_inside_and_outside_of_the_body(session: ub.Session):
    offsets = session.from_items([1, 2])

    def add(x, offsets):
        return x + sum(offsets)

    loop = session.from_items([0, 5]).repeat(
        3, lambda d: d.map(add, broadcast={"offsets": offsets})
    )
    assert sorted(loop.collect()) == [9, 14]

    def share(x, everything):
        return x + len(everything)

    loop = session.from_items([0, 5]).repeat(3, lambda d: d.map(share, broadcast={"everything": d}))
    assert sorted(loop.collect()) == [6, 11]


def test_a_failure_in_a_round_names_the_function(session: ub.Session):
    def fragile(x):
        return 1 / (x - 2)

    loop = session.from_items([0]).repeat(5, lambda d: d.map(lambda x: x + 1 + 0 * fragile(x)))
    with pytest.raises(ub.FunctionError, match="ZeroDivisionError") as caught:
        loop.collect()
    assert "the value that broke it: 2" in caught.value.hint


def test_typed_state_stays_in_arrow_from_round_to_round():
    """Rows of DataFrames' types never become Python values on the way."""
    events: list[Event] = []
    session = ub.connect(progress=False, listener=events.append)
    start = session.from_items([3, 1, 2])
    loop = start.repeat(3, lambda d: d.union(start).distinct().sort_by())
    result = loop.execute()
    assert result.elements == [1, 2, 3]
    (stage,) = [s for s in result.run.plan.stages if s.bodies]
    (body,) = stage.bodies
    assert body.result[1] == ARROW
    assert sum(isinstance(e, RoundFinished) for e in events) == 3


def test_the_state_of_a_round_is_released_when_the_next_has_read_it(session: ub.Session):
    """At most the old and the new state are alive, whatever the number of rounds."""
    import gc
    import weakref

    class Value:
        alive: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

        def __init__(self) -> None:
            self.alive.add(self)

    most: list[int] = []

    def renew(value):
        gc.collect()
        most.append(len(Value.alive))
        return Value()

    loop = session.from_items([None] * 3).repeat(4, lambda d: d.map(renew))
    assert loop.count() == 3
    assert max(most) <= 6


def test_frames_inside_a_body(session: ub.Session):
    """A body may go through frames, and any engine."""
    schema = pa.schema([pa.field("n", pa.int64())])

    def body(d: ub.Dataset) -> ub.Dataset:
        frame = d.to_frame(schema).with_columns((ub.col("n") * 2).alias("n")).on("duckdb")
        return frame.rows().map(lambda r: r.n)

    assert sorted(session.from_items([1, 2]).repeat(3, body).collect()) == [8, 16]
