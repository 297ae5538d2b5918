"""What a coordinator may do with a question that somebody has signed: ask it, once, as it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import umbel as ub
from umbel import col
from umbel.api.dataframe import DataFrame
from umbel.executor import Cancellation
from umbel.federation import Form, Rule, Site
from umbel.federation.disclosure import Ledger
from umbel.federation.errors import PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.planning import DirectDispatcher, FederatedSession
from umbel.federation.policy.people import Person
from umbel.federation.policy.reading import read_policy
from umbel.federation.protocol import HORIZONTAL
from umbel.federation.signed.footprints import beyond
from umbel.federation.signed.ledger import MOST_ANSWERS, MOST_PARTS
from umbel.federation.signed.people import SignedQuestions
from umbel.federation.signed.statements import LIFE, Signed, Signer, Statement, verify
from umbel.federation.tasks import Requester, Task
from umbel.plan.codec import plan_to_json
from umbel.plan.errors import PlanError
from umbel.plan.operators import Operator, Scan
from umbel.plan.sources import RelationSource

SIGNER = Signer(Ed25519PrivateKey.generate())
N = ub.len().alias("n")
ROWS = pa.table(
    {
        "id": range(40),
        "age": [20 + i for i in range(40)],
        "sex": ["f", "m"] * 20,
        "zip": [i % 4 for i in range(40)],
        "cost": range(40),
    }
)


class Asks:
    """A site that knows ann by her key, and a coordinator that asks it whatever it likes."""

    def __init__(self, ledger: Path | None = None) -> None:
        self.site = Site("north", ub.connect(progress=False))
        rows = self.site.session.from_arrow(ROWS)
        rule = Rule(Form.AGGREGATES, 3, "id")
        self.site.publish("people", rows, rule)
        self.site.publish("other", rows, rule)
        self.site.people = {"ann": Person("ann", (SIGNER.public,), ("analyst",))}
        self.ledger = Ledger(ledger)
        self.execution = SiteExecution(self.site, signed=SignedQuestions(self.ledger))

    def frame(self, name: str = "people", place: str = "north") -> DataFrame:
        source = RelationSource(ROWS.schema, place, (name,))
        return DataFrame(Scan(source=source), self.site.session)

    def question(self, plan: Operator, nonce: str = "run", purpose: str = "sepsis") -> Requester:
        signed = SIGNER.sign("ann", purpose, nonce, [plan_to_json(plan)])
        return Requester("ann", ("operator",), purpose, signed)

    def ask(self, plan: Operator, who: Requester, run: str = "run", stage: int = 0) -> pa.Table:
        parts: list[pa.Table] = []
        task = Task.from_json(Task(run, stage, "north", plan, (), who).to_json())
        self.execution(task, {}, Cancellation(), parts.append)
        return pa.concat_tables(parts)


@pytest.fixture(scope="module")
def asks() -> Asks:
    return Asks()


def older(frame: DataFrame, than: int = 30) -> DataFrame:
    return frame.filter(col("age") > than).group_by("sex").agg(N, col("cost").mean()).sort("sex")


def test_what_was_signed_is_answered_and_a_stage_of_it(asks: Asks) -> None:
    asked = older(asks.frame(place=HORIZONTAL))
    who = asks.question(asked.plan, "ok")
    # The ages above 30 are those of the rows from 11 on: 14 of 'f', which have even numbers, 15 of 'm'.
    found = asks.ask(older(asks.frame()).plan, who, "ok").to_pylist()
    assert [(row["sex"], row["n"]) for row in found] == [("f", 14), ("m", 15)]
    parts = asks.frame().filter(col("age") > 30).group_by("sex")
    begun = parts.agg(N, col("cost").sum().alias("s"), col("cost").count().alias("k")).plan
    assert asks.ask(begun, who, "ok", 1).num_rows == 2


Altered = Callable[[Asks], DataFrame]
ALTERED: dict[str, tuple[Altered, str]] = {
    "another condition": (lambda a: older(a.frame(), 31), "picks other rows of table 'people'"),
    "no condition": (
        lambda a: a.frame().group_by("sex").agg(N),
        "picks other rows of table 'people'",
    ),
    "one more": (
        lambda a: older(a.frame().filter(col("sex") == "f")),
        "picks other rows of table 'people'",
    ),
    "another group": (
        lambda a: a.frame().filter(col("age") > 30).group_by("age").agg(N),
        "groups or joins by",
    ),
    "another column": (
        lambda a: a.frame().filter(col("age") > 30).group_by("zip").agg(N),
        "reads people.zip",
    ),
    "another aggregate": (
        lambda a: a.frame().filter(col("age") > 30).group_by("sex").agg(col("cost").std()),
        "computes std",
    ),
    "a condition of an aggregate": (
        lambda a: (
            a.frame()
            .filter(col("age") > 30)
            .select(ub.when(col("cost") > 7).then(col("cost")).otherwise(0).sum().alias("s"))
        ),
        "computes sum",
    ),
    "another table": (lambda a: older(a.frame("other")), "reads table 'other'"),
    "a condition above": (
        lambda a: older(a.frame()).filter(col("n") > 14),
        "has conditions with 14",
    ),
}


@pytest.mark.parametrize("how", ALTERED)
def test_a_coordinator_that_alters_the_plan(asks: Asks, how: str) -> None:
    who = asks.question(
        older(asks.frame(place=HORIZONTAL)).plan, f"altered {how}".replace(" ", "-")
    )
    make, why = ALTERED[how]
    with pytest.raises(PolicyError, match=f"more than was signed: it {why}"):
        asks.ask(make(asks).plan, who, "altered")


def test_a_coordinator_that_alters_who_asks_and_what_for(asks: Asks) -> None:
    asked = older(asks.frame())
    good = asks.question(asked.plan, "who")
    signed = good.signed
    assert signed is not None
    eve = Signer(Ed25519PrivateKey.generate())
    own = eve.sign("ann", "sepsis", "who", [signed.plan])
    statement = json.loads(signed.statement)
    for changed, why in (
        (replace(good, signed=None), "answers signed questions only"),
        (replace(good, name="bob"), "signed for user 'ann', and not 'bob'"),
        (replace(good, purpose="sales"), "signed for purpose 'sepsis', and not 'sales'"),
        (replace(good, signed=own), "does not know who has signed this"),
        (replace(good, signed=replace(own, key=SIGNER.public)), "not as it was signed"),
        (
            replace(
                good, signed=replace(signed, statement=json.dumps({**statement, "user": "bob"}))
            ),
            "not as it was signed",
        ),
        (
            replace(good, signed=replace(signed, plan=plan_to_json(asks.frame().plan))),
            "the plan is not the one that was signed",
        ),
        (
            replace(good, name="bob", signed=SIGNER.sign("bob", "sepsis", "b", [signed.plan])),
            "signed for user 'bob', and not 'ann'",
        ),
    ):
        with pytest.raises(PolicyError, match=why):
            asks.ask(asked.plan, changed, "who")
    assert asks.ask(asked.plan, good, "who").num_rows == 2


def test_roles_are_those_of_the_policy(asks: Asks) -> None:
    """The coordinator says operator, the policy says analyst."""
    plan = older(asks.frame()).plan
    task = Task("roles", 0, "north", plan, (), asks.question(plan, "roles"))
    found = SignedQuestions().check(task, asks.site.people, asks.site.tables, "part")
    assert (task.requester.roles, found.requester.roles) == (("operator",), ("analyst",))


def test_a_signed_question_is_of_its_time() -> None:
    signed = SIGNER.sign("ann", "", "t", ["{}"])
    now = time.time()
    assert verify(signed, [SIGNER.public], "north", now + LIFE - 60).nonce == "t"
    with pytest.raises(PolicyError, match="signed too long ago"):
        verify(signed, [SIGNER.public], "north", now + LIFE + 60)
    with pytest.raises(PolicyError, match="signed for another time"):
        verify(signed, [SIGNER.public], "north", now - 3600)


def test_replays_are_refused_also_after_a_restart(tmp_path: Path) -> None:
    first = Asks(tmp_path / "ledger.db")
    plan = older(first.frame()).plan
    who = first.question(plan)
    first.ask(plan, who)
    with pytest.raises(PolicyError, match="it was asked as another task"):
        first.ask(plan, who, "another-run")
    other = first.question(first.frame().select(N).plan)
    with pytest.raises(PolicyError, match="its name is that of another question"):
        first.ask(first.frame().select(N).plan, other)
    first.ledger.close()
    again = Asks(tmp_path / "ledger.db")
    for _ in range(MOST_ANSWERS - 1):  # an answer may be lost on its way
        again.ask(plan, who)
    with pytest.raises(PolicyError, match=f"it was answered {MOST_ANSWERS} times"):
        again.ask(plan, who)
    assert again.ask(plan, again.question(plan, "new"), "new").num_rows == 2
    again.ledger.close()


def test_one_question_has_so_many_parts(asks: Asks) -> None:
    """In ever other cuts a question could be asked for ever."""
    asked = asks.frame().filter(col("age") > 30).select(N)
    who = asks.question(asked.plan, "parts")
    for number in range(MOST_PARTS):
        asks.ask(asked.with_columns(**{f"c{number}": 1}).plan, who, "parts", number)
    with pytest.raises(PolicyError, match=f"more than {MOST_PARTS} parts"):
        asks.ask(asked.plan, who, "parts", MOST_PARTS)


def test_a_coordinator_that_alters_its_copy_of_the_policy(asks: Asks) -> None:
    """It plans what the site refuses; the copy is no part of what the site decides by."""
    manifest = asks.site.manifest()
    open_ = tuple(replace(table, rule=Rule(Form.ROWS), others=()) for table in manifest.tables)
    session = FederatedSession(
        [replace(manifest, tables=open_)],
        DirectDispatcher({"north": asks.execution}),
        asks.question(asks.frame().plan, "copy"),
    )
    with pytest.raises(PolicyError, match=r"does not allow this.*gives rows of it"):
        session.sql("select * from north.people").collect()


def test_the_policy_names_people_and_explains_them(tmp_path: Path) -> None:
    from umbel.federation.policy.explaining import explained

    path = tmp_path / "policy.toml"

    def written(people: str) -> Any:
        path.write_text(f'version = 1\nsite = "north"\n{people}')
        return read_policy(path)

    assert "the coordinator says" in explained(written(""))
    ann = f'[people.ann]\nkeys = ["{SIGNER.public}"]\nroles = ["analyst"]\n'
    told = explained(written(ann))
    assert f"ann (analyst; keys {SIGNER.public})" in told
    with pytest.raises(PlanError, match="a key is also that of 'ann'"):
        written(f'{ann}[people.bob]\nkeys = ["{SIGNER.public}"]\n')
    with pytest.raises(PlanError, match="no public key"):
        written('[people.ann]\nkeys = ["ann"]\n')


def test_what_travels_is_read_back(asks: Asks) -> None:
    plan = asks.frame().plan
    task = Task("r", 0, "north", plan, (), asks.question(plan))
    assert Task.from_json(task.to_json()) == task
    statement = Statement("ann", "p", "n", ("0" * 64,), 1, 2)
    assert Statement.from_json(statement.to_json()) == statement
    assert isinstance(task.requester.signed, Signed)
    assert beyond(plan, plan, "north", ["people"], HORIZONTAL) == ""
