"""Every kind of join, on every engine, against rows worked out by hand."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.engines import (
    call,
    check,
    memory,
    refusal,
)
from umbel.plan.expressions import (
    Column,
    Literal,
)
from umbel.plan.operators import (
    Filter,
    Join,
)

NAN = float("nan")

# --- joins -----------------------------------------------------------------------------------

LEFT = {"k": [1, 2, 2, None], "l": ["a", "b", "c", "d"]}
RIGHT = {"j": pa.array([2, 3, None, 2], pa.int32()), "r": ["p", "q", "s", "t"]}
PAIRS = [
    (2, "b", 2, "p"),
    (2, "b", 2, "t"),
    (2, "c", 2, "p"),
    (2, "c", 2, "t"),
]
LEFT_REST = [(1, "a", None, None), (None, "d", None, None)]
RIGHT_REST = [(None, None, 3, "q"), (None, None, None, "s")]

JOINS = {
    "inner": PAIRS,
    "left": PAIRS + LEFT_REST,
    "right": PAIRS + RIGHT_REST,
    "full": PAIRS + LEFT_REST + RIGHT_REST,
    "semi": [(2, "b"), (2, "c")],
    "anti": [(1, "a"), (None, "d")],
}


@pytest.mark.parametrize("how", JOINS)
def test_join_by_keys_of_two_integer_types(engine, how):
    plan = Join(left=memory(**LEFT), right=memory(**RIGHT), how=how, on=(("k", "j"),))
    check(engine, plan, JOINS[how])


RESIDUAL: dict[str, list[tuple[Any, ...]]] = {
    "inner": [(2, "b", 2, "p")],
    "left": [(2, "b", 2, "p"), (1, "a", None, None), (2, "c", None, None), (None, "d", None, None)],
    "right": [
        (2, "b", 2, "p"),
        (None, None, 3, "q"),
        (None, None, None, "s"),
        (None, None, 2, "t"),
    ],
    "semi": [(2, "b")],
    "anti": [(1, "a"), (2, "c"), (None, "d")],
}
RESIDUAL["full"] = RESIDUAL["left"] + RESIDUAL["right"][1:]


@pytest.mark.parametrize("how", RESIDUAL)
def test_join_with_a_residual_condition(engine, how):
    only = call(
        "and",
        call("equal", Column("l"), Literal("b", pa.string())),
        call("equal", Column("r"), Literal("p", pa.string())),
    )
    plan = Join(
        left=memory(**LEFT), right=memory(**RIGHT), how=how, on=(("k", "j"),), residual=only
    )
    check(engine, plan, RESIDUAL[how])


LESS = {
    "inner": [(1, 2), (1, 3), (2, 3)],
    "left": [(1, 2), (1, 3), (2, 3), (4, None), (None, None)],
    "right": [(1, 2), (1, 3), (2, 3), (None, 0)],
    "full": [(1, 2), (1, 3), (2, 3), (4, None), (None, None), (None, 0)],
    "semi": [(1,), (2,)],
    "anti": [(4,), (None,)],
}


@pytest.mark.parametrize("how", LESS)
def test_join_without_keys(engine, how):
    plan = Join(
        left=memory(a=[1, 2, 4, None]),
        right=memory(b=[2, 3, 0]),
        how=how,
        residual=call("less", Column("a"), Column("b")),
    )
    check(engine, plan, LESS[how])


def test_cross_join(engine):
    plan = Join(left=memory(a=[1, None]), right=memory(b=["x", "y"]), how="cross")
    check(engine, plan, [(1, "x"), (1, "y"), (None, "x"), (None, "y")])


@pytest.mark.parametrize("how", ["inner", "semi", "anti"])
def test_nan_keys_match_and_zeros_are_one_key(engine, how):
    expected = {
        "inner": [(NAN, NAN), (0.0, 0.0)],
        "semi": [(NAN,), (0.0,)],
        "anti": [(None,)],
    }
    plan = Join(
        left=memory(a=[NAN, -0.0, None]),
        right=memory(b=[NAN, 0.0, None]),
        how=how,
        on=(("a", "b"),),
    )
    check(engine, plan, expected[how])


def test_join_of_a_signed_and_an_unsigned_64_bit_key(engine):
    plan = Join(
        left=memory(a=pa.array([-1, 2**63 - 1], pa.int64())),
        right=memory(b=pa.array([2**64 - 1, 2**63 - 1], pa.uint64())),
        on=(("a", "b"),),
    )
    if engine == "spark":
        assert "no type for uint64" in (refusal(engine, plan) or "")
    else:
        check(engine, plan, [(2**63 - 1, 2**63 - 1)])


def test_a_chain_of_joins_with_filters_between(engine):
    first = Join(left=memory(a=[1, 2, 3]), right=memory(b=[1, 2, 4]), how="left", on=(("a", "b"),))
    kept = Filter(input=first, predicate=call("is_null", Column("b")))
    plan = Join(left=kept, right=memory(c=[3, 1]), on=(("a", "c"),))
    check(engine, plan, [(3, None, 3)])
