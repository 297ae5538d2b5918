"""The site lets out nothing that the definition of `oracle` forbids; and the oracle sees holes.

`make canaries` draws thousands, on real processes too; `UMBEL_CANARIES` says how many.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.federation.oracle.oracle import answered, judge
from tests.federation.oracle.questions import Questions
from tests.federation.oracle.worlds import TABLES, Policy, policy, world
from umbel.federation.policy import individuals
from umbel.federation.policy.clauses import Clause, Form, Recipients
from umbel.federation.policy.decisions import Decisions
from umbel.federation.policy.plain import Unit
from umbel.federation.policy.uses import Uses
from umbel.federation.policy.verdict import Release
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Call, Column, Literal
from umbel.plan.sources import RelationSource
from umbel.plan.types import FLOAT64, INT64

DRAWS = int(os.environ.get("UMBEL_CANARIES", "60"))
#: What a site refuses although the definition may allow it, in its own words: all of them.
REFUSALS = (
    "works on single rows", "gives rows of it", "groups by", "picks rows", "joins by", "computes",
    "may give the value of a single row", "reads who a row is about", "repeats rows",
    "groups rows of individuals by", "tells of each row whether", "gives column",
    "orders or groups rows by", "individuals cannot be counted",
)  # fmt: skip


def drawn(seed: int) -> tuple[random.Random, Any, Policy, ops.Operator]:
    """A world, a policy and a question; every fourth question without care for the policy."""
    rng = random.Random(seed)
    here, the = world(rng), policy(rng)
    decisions = Decisions("north", the.rules())
    allows: Callable[[ops.Operator], bool] = lambda plan: isinstance(  # noqa: E731
        decisions.release(plan), Release
    )
    return rng, here, the, Questions(rng, allows if seed % 4 else None).question()


@settings(max_examples=DRAWS, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(seed=st.integers(0, 2**64 - 1))
def test_nothing_leaves_that_the_definition_forbids(seed: int) -> None:
    rng, here, the, plan = drawn(seed)
    found = judge(rng, the, here, plan)
    assert not found.holes, "\n".join([*found.holes, *map(str, ops.topological(plan)), repr(the)])
    if found.left.denied:
        message = json.loads(found.left.refused or "{}")["message"]
        assert any(word in message for word in REFUSALS), message


def test_draws_are_answered_as_well_as_refused() -> None:
    """What makes the test above worth something."""
    seen: Counter[str] = Counter()
    used: set[str] = set()
    for seed in range(1, 41):
        _, here, the, plan = drawn(seed)
        left = answered(here, the, plan)
        seen["denied" if left.denied else "answered" if left.rows else "nothing"] += 1
        if left.rows:
            used |= {op.name for op in ops.topological(plan)}
    assert seen["denied"] >= 8
    assert seen["answered"] >= 6
    assert {"Aggregate", "Project", "Filter"} <= used


# --- the oracle sees what it is for ---------------------------------------------------------------

ALL = ("*",)
VISITS = ops.Scan(source=RelationSource(TABLES["visits"], "north", ("visits",)))
GUESTS = Recipients(users=ALL)
ROWS = Clause("codes", Form.ROWS, columns=("code", "label"), recipients=GUESTS)


def _policy(**more: Any) -> Policy:
    given = {"columns": ("cost", "weight"), "functions": ("count", "sum", "mean"), **more}
    return Policy(
        (Clause("all", Form.AGGREGATES, 3, recipients=GUESTS, **given),), ROWS
    )  # fmt: skip


def _total(below: ops.Operator, name: str = "cost", function: str = "sum") -> ops.Operator:
    return ops.Aggregate(input=below, aggregates=(("x", AggregateCall(function, (Column(name),))),))


def _count(below: ops.Operator) -> ops.Operator:
    return ops.Aggregate(input=below, aggregates=(("n", AggregateCall("len")),))


def _number(value: float) -> Literal:
    return Literal(value, FLOAT64)


def _named(*more: tuple[str, Any]) -> ops.Operator:
    columns = tuple((name, Column(name)) for name in ("id", "cost", "weight"))
    return ops.Project(input=VISITS, columns=(*columns, *more))


def _rounded() -> ops.Operator:
    """How many weights are above 64, which no clause lets anybody ask."""
    small = Call("multiply", (Column("weight"), _number(1 / 128)))
    far = Call("subtract", (Call("add", (small, _number(2.0**52))), _number(2.0**52)))
    return _total(_named(("x", Call("add", (far, _number(1.0))))), "x")


def _words() -> ops.Operator:
    words = Call("split", (Column("name"), Literal(" ", TABLES["visits"].field("name").type)))
    return _count(ops.Explode(input=_named(("w", words)), column="w"))


def _to_one() -> ops.Operator:
    """All visits are partners of number 7's, whose cost so counts many times."""
    seven = Call("add", (Call("multiply", (Column("id"), Literal(0, INT64))), Literal(7, INT64)))
    other = ops.Project(input=VISITS, columns=(("k", seven),))
    return _total(ops.Join(left=VISITS, right=other, on=(("id", "k"),), how="left"))


def _one_by_name() -> ops.Operator:
    least = Call("less", (Column("id"), Literal(50, INT64)))
    return _count(ops.Filter(input=VISITS, predicate=least))


def _by_ward(size: int) -> ops.Operator:
    keys = (("ward", Column("ward")), ("kids", Column("kids")))
    calls = (("x", AggregateCall("sum", (Column("cost"),))),)
    del size
    return ops.Aggregate(input=VISITS, keys=keys, aggregates=calls)


def _nothing(*_: Any, **__: Any) -> None:
    """Check nothing."""


HOLES: dict[str, tuple[Policy, ops.Operator, Any]] = {
    "computing": (_policy(), _words(), (Uses, {"computed": _nothing, "conditions": _nothing})),
    "gathering": (
        _policy(),
        _count(ops.Distinct(input=ops.Project(input=VISITS, columns=(
            ("id", Column("id")), ("kids", Column("kids")))))),
        (Uses, {"gathered": _nothing}),
    ),
    "units": (_policy(), _rounded(), (Unit, {"kept": True})),
    "picking": (
        _policy(),
        _count(ops.Filter(input=VISITS, predicate=Call("equal", (Column("kids"), Literal(1, INT64))))),
        (Uses, {"picks": _nothing}),
    ),
    "groups": (
        _policy(),
        ops.Aggregate(input=VISITS, keys=(("kids", Column("kids")),),
                      aggregates=(("n", AggregateCall("len")),)),
        (Uses, {"groups": _nothing}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOLES))
def test_the_oracle_sees_what_a_missing_check_lets_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    the, plan, (owner, checks) = HOLES[name]
    rng = random.Random(5)
    here = world(rng)
    assert answered(here, the, plan).denied
    assert not judge(rng, the, here, plan).holes
    for check, without in checks.items():
        monkeypatch.setattr(owner, check, without)
    found = judge(rng, the, here, plan)
    assert found.left.refused is None
    assert found.holes


def test_the_oracle_sees_single_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that pick, and groups of few that are not left out."""
    rng = random.Random(7)
    here = world(rng)
    for plan in (_to_one(), _one_by_name()):
        assert answered(here, _policy(), plan).denied
    the = _policy(dimensions=("ward", "kids"))
    assert not judge(rng, the, here, _by_ward(3)).holes
    monkeypatch.setattr(
        "umbel.federation.execution.gate.Gate._counted",
        lambda self, aggregate: aggregate.with_inputs(tuple(map(self._inside, aggregate.inputs))),
    )
    assert any(re.search(r"hangs on \d individuals", h) or "is in what left" in h
               for h in judge(rng, the, here, _by_ward(3)).holes)  # fmt: skip
    monkeypatch.undo()
    monkeypatch.setattr(individuals, "columns_of", lambda *_: frozenset())
    monkeypatch.setattr("umbel.federation.rules.columns_of", lambda *_: frozenset())
    monkeypatch.setattr(Uses, "picks", _nothing)
    assert any("other names" in h for h in judge(rng, _policy(), here, _one_by_name()).holes)
