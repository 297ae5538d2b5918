"""Rounds over questions that stand give what rounds of tasks give, under the same rules."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import umbel as ub
from tests.learning.sites import LOGISTIC, NAMES, RULE, at, federation
from umbel.federation import Form, Rule, Site
from umbel.federation.audit import AuditLog, verify
from umbel.federation.audit.records import record_of
from umbel.federation.errors import FederationError, PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.execution import standing as rounds_at_sites
from umbel.federation.planning import DirectDispatcher, FederatedSession
from umbel.federation.policy.clauses import Clause, Duties, Recipients, Updates
from umbel.federation.standing import Answer, Change, joined
from umbel.federation.tasks import Requester
from umbel.learning.strategies.scaffold import Scaffold
from umbel.models.layout import state_table
from umbel.plan.models import Training
from umbel.plan.operators import Contribute, Values

FIT: dict[str, Any] = {"features": ["age", "ward"], "label": "ill", "model": LOGISTIC, "seed": 3}
STEPS: dict[str, Any] = {
    "settings": ub.learn.Settings(learning_rate=1e-4, batch_size=64, epochs=2),
    "rounds": 3,
}


class OnlyTasks(DirectDispatcher):
    """Takes no questions that stand, as a coordinator of before."""

    stand = None  # type: ignore[assignment]


def sessions(
    log: AuditLog | None = None, rule: Rule = RULE
) -> tuple[FederatedSession, FederatedSession]:
    """The same sites, asked by questions that stand, and by tasks."""
    sites = []
    for name in NAMES:
        site = Site(name, ub.connect())
        site.publish("people", site.session.from_arrow(at(name)), rule)
        sites.append(site)
    does = {site.name: SiteExecution(site, log if site.name == "north" else None) for site in sites}
    manifests, ann = [site.manifest() for site in sites], Requester("ann")
    standing = FederatedSession(manifests, DirectDispatcher(does), ann)
    return standing, FederatedSession(manifests, OnlyTasks(does), ann)


@pytest.fixture(scope="module")
def both() -> tuple[FederatedSession, FederatedSession]:
    return sessions()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {**STEPS, "strategy": "fedavgm"},
        {**STEPS, "strategy": Scaffold(population=3)},
        {**STEPS, "strategy": "fedavg", "privacy": ub.learn.Secure()},
    ],
    ids=["exact", "steps", "corrections", "masked"],
)
def test_the_same_bits_as_by_tasks(
    both: tuple[FederatedSession, FederatedSession], how: dict[str, Any]
) -> None:
    standing, tasks = (ub.learn.fit(s.table("people"), **FIT, **how) for s in both)
    assert standing.state.tobytes() == tasks.state.tobytes()
    mine, theirs = standing.history.collect(), tasks.history.collect()
    assert mine.drop_columns(["seconds"]).equals(theirs.drop_columns(["seconds"]))


def test_every_round_is_in_the_log(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "north")
    session, _ = sessions(log)
    ub.learn.fit(session.table("people"), **FIT, **STEPS, strategy="fedavg")
    log.close()
    records = [record_of(line) for line in (tmp_path / "records.log").read_bytes().splitlines()]
    rounds = [one for one in records if "round" in one.fields]
    assert [(one.kind, one.fields["round"]) for one in rounds] == [
        ("released", number) for number in (1, 2, 3)
    ]
    (allowed,) = [one for one in records if one.fields.get("stands")]
    assert allowed.kind == "allowed"
    assert {one.fields["task"] for one in rounds} == {allowed.fields["task"]}
    assert verify(tmp_path).good


def test_each_round_is_charged_before_anything_leaves() -> None:
    """A clause that lets four answers out in a day ends a training of more rounds."""
    few = Clause(
        "few", Form.UPDATES, 5, columns=("*",), recipients=Recipients(("*",)),
        duties=Duties(answers_per_day=4), updates=Updates(),
    )  # fmt: skip
    told: list[int] = []
    session = federation(rule=Rule(Form.UPDATES, 5, "id", updates=5, clause=few))
    with pytest.raises(PolicyError, match="may have 4 answers in a day, and has had 4"):
        ub.learn.fit(
            session.table("people"),
            **{**FIT, "features": ["age"]},
            strategy="fedavg",
            rounds=9,
            classes=[False, True],
            progress=lambda one: told.append(one.number),
        )
    assert told == [1, 2, 3, 4]


@pytest.mark.parametrize("privacy", [None, ub.learn.Secure()], ids=["plain", "masked"])
def test_what_a_clause_asks_of_updates_is_done_to_rounds(privacy: Any) -> None:
    """Clipped, with the site's noise, three a day: the same by tasks, which count as the same."""

    def trained(session: ub.Session, rounds: int = 3) -> ub.learn.Model:
        how = {**FIT, **STEPS, "features": ["age"], "classes": [False, True], "rounds": rounds}
        people = session.table("people")
        return ub.learn.fit(people, strategy="fedavg", privacy=privacy, **how)

    asked = Updates(secure=privacy is not None, clip=0.01, noise=0.5, rounds=3)
    clause = Clause(
        "few", Form.UPDATES, 5, columns=("*",), recipients=Recipients(("*",)), updates=asked
    )
    standing, tasks = sessions(rule=replace(RULE, clause=clause))
    model = trained(standing)
    assert model.state.tobytes() == trained(tasks).state.tobytes()
    free, _ = sessions(rule=replace(RULE, clause=replace(clause, updates=Updates())))
    assert not np.allclose(model.state, trained(free).state)
    with pytest.raises(PolicyError, match="may have 3 rounds of models in a day, and has had 3"):
        trained(standing, rounds=4)


def test_rules_that_change_end_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds_at_sites, "_HOLDS", 0.0)
    site = Site("north", ub.connect())
    frame = site.session.from_arrow(at("north"))
    site.publish("people", frame, RULE)
    session = FederatedSession(
        [site.manifest()], DirectDispatcher({"north": SiteExecution(site)}), Requester("ann")
    )

    def forbid(one: Any) -> None:
        if one.number == 2:
            site.tables.pop("people")
            site.publish("people", frame, Rule(Form.AGGREGATES, 5, "id"))

    with pytest.raises(PolicyError, match="gives updates of a model"):
        ub.learn.fit(
            session.table("people"),
            **{**FIT, "features": ["age"]},
            strategy="fedavg",
            rounds=9,
            classes=[False, True],
            progress=forbid,
        )


# --- What travels.


def plan() -> Contribute:
    table = Values(table=at("north").select(["age", "ill"]).slice(0, 0))
    design = ub.learn.fit(
        ub.connect().from_arrow(at("north")), features=["age"], label="ill", model=LOGISTIC
    ).design
    return Contribute(input=table, design=design, state=state_table(np.zeros(2)), part="north")


def test_a_change_makes_the_plan_that_it_was_taken_of() -> None:
    template = plan()
    wanted = replace(
        template,
        state=state_table(np.array([0.1, -2.5])),
        training=Training(0.25, epochs=3, seed=2**55 + 1),
        correction=state_table(np.array([1e-300, 3.0])),
    )
    read = Change.read(memoryview(joined(*Change.of(wanted).written())))
    assert read.into(template).digest == wanted.digest


def _bytes(header: object, rest: bytes = b"") -> memoryview:
    text = json.dumps(header).encode()
    return memoryview(struct.pack("<I", len(text)) + text + rest)


@pytest.mark.parametrize(
    "data",
    [
        memoryview(b"\x01"),
        memoryview(b"\xff\xff\xff\xff{}"),
        memoryview(b"\x02\x00\x00\x00{x"),
        _bytes([]),
        _bytes({}),
        _bytes({"lengths": [0, 0]}),
        _bytes({"lengths": [8, None, None]}),
        _bytes({"lengths": [-1, None, None]}),
        _bytes({"lengths": [True, None, None]}),
        _bytes({"lengths": [0, None, None]}, b"more"),
    ],
)
def test_what_is_no_change_is_refused(data: memoryview) -> None:
    with pytest.raises(FederationError):
        Change.read(data)


@pytest.mark.parametrize(
    "header",
    [
        {"training": None, "masking": None, "code": "import os"},
        {"training": {"rate": "0.1"}, "masking": None},
        {"training": {"rate": -1.0}, "masking": None},
        {"training": None, "masking": {"run": 1}},
    ],
)
def test_what_fits_no_question_is_refused(header: Any) -> None:
    with pytest.raises(FederationError, match="does not fit its question"):
        Change(header, (np.zeros(2).tobytes(), None, None)).into(plan())


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"rows": -1, "left_out": 0, "seconds": 0.0, "failure": None},
        {"rows": 1, "left_out": 0, "seconds": 0.0, "failure": None, "more": 1},
        {"rows": 1, "left_out": 0, "seconds": 0.0, "failure": "{}"},
    ],
)
def test_what_is_no_answer_is_refused(header: Any) -> None:
    with pytest.raises(FederationError):
        Answer.read(_bytes(header))
