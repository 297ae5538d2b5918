"""Conditions of updates at the site: clipped there, with the site's noise, and so many in a day."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from umbel.executor import Cancellation
from umbel.federation import Form, Rule, Site, local
from umbel.federation.disclosure import DisclosureControl, Ledger
from umbel.federation.disclosure.approvals import Approvals
from umbel.federation.disclosure.updates import normal
from umbel.federation.errors import ApprovalError, FederationError, PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.policy.clauses import ALL, Approval, Clause, Duties, Recipients, Updates
from umbel.federation.policy.words import duties_of
from umbel.federation.tasks import Requester, Task
from umbel.plan.models import Design, LinearRegression, Number, Training
from umbel.plan.operators import Contribute, Evaluate, Operator, Scan
from umbel.plan.operators.learning import STATE
from umbel.plan.sources import RelationSource

ROWS = pa.table(
    {"id": range(60), "x": [i % 5 for i in range(60)], "y": [3 * (i % 5) for i in range(60)]}
)
DESIGN = Design(LinearRegression(), (Number("x"),), "y")


class Trains:
    """A site under a clause on updates, and whoever asks for rounds."""

    def __init__(
        self, updates: Updates | None, ledger: Path | None = None, duties: Duties | None = None
    ) -> None:
        self.site = Site("north", ub.connect(progress=False))
        self.clause = Clause(
            "models", Form.UPDATES, 10, ALL, recipients=Recipients(ALL),
            duties=duties or Duties(), updates=updates,
        )  # fmt: skip
        rule = Rule(Form.UPDATES, 10, "id", updates=10, clause=self.clause)
        self.site.publish("rows", self.site.session.from_arrow(ROWS), rule)
        self.ledger = Ledger(ledger)
        control = DisclosureControl(self.ledger)
        self.execution = SiteExecution(self.site, disclosure=control)

    def plan(self, at: float = 0.0, seed: int = 0) -> Contribute:
        """A round from a state of two numbers."""
        return Contribute(
            input=Scan(source=RelationSource(ROWS.schema, "north", ("rows",))),
            design=DESIGN,
            state=pa.Table.from_arrays([pa.array([at, at])], schema=STATE),
            training=Training(0.01, seed=seed),
        )

    def ask(self, plan: Operator, run: str = "r", user: str = "ann") -> np.ndarray[Any, Any]:
        """The numbers that leave."""
        parts: list[pa.Table] = []
        task = Task(run, 0, "north", plan, (), Requester(user))
        self.execution(task, {}, Cancellation(), parts.append)
        return np.frombuffer(parts[0].column("sums")[0].as_py(), "<f8")


def test_an_update_is_clipped_at_the_site() -> None:
    free = Trains(None)
    whole = free.ask(free.plan())
    norm = float(np.linalg.norm(whole[:-2]))
    short = Trains(Updates(clip=norm / 4))
    found = short.ask(short.plan())
    assert found[:-2] == pytest.approx(whole[:-2] / 4)
    assert found[-2:].tolist() == whole[-2:].tolist()  # loss and steps
    wide = Trains(Updates(clip=2 * norm))
    assert wide.ask(wide.plan()).tolist() == whole.tolist()


def test_noise_is_the_sites_and_the_same_for_the_same_round(tmp_path: Path) -> None:
    noisy = Trains(Updates(clip=0.5, noise=2.0), tmp_path / "ledger.db")
    clipped = Trains(Updates(clip=0.5)).ask(noisy.plan())
    first = noisy.ask(noisy.plan())
    off = first[:-2] - clipped[:-2]
    assert np.isfinite(off).all()
    assert (off != 0).all()
    assert np.isnan(first[-2])  # the loss is not told
    noisy.ledger.close()
    again = Trains(Updates(clip=0.5, noise=2.0), tmp_path / "ledger.db")
    assert again.ask(again.plan(), "another-run")[:-2].tolist() == first[:-2].tolist()
    assert (again.ask(again.plan(seed=1))[:-2] != first[:-2]).all()
    other = Trains(Updates(clip=0.5, noise=2.0))  # another site, another key
    assert (other.ask(other.plan())[:-2] != first[:-2]).all()
    again.ledger.close()


def test_the_noise_is_normal() -> None:
    """Of 200,000 numbers mean, variance and kurtosis are within five standard errors."""
    drawn, count = normal(b"key", 200_000), 200_000
    assert abs(drawn.mean()) < 5 / np.sqrt(count)
    assert abs(drawn.var() - 1) < 5 * np.sqrt(2 / count)
    assert abs((drawn**4).mean() - 3) < 5 * np.sqrt(96 / count)
    assert len(normal(b"key", 3)) == 3


def test_what_cannot_be_clipped_does_not_leave() -> None:
    strict = Trains(Updates(clip=1.0))
    exact = replace(strict.plan(), training=None)
    with pytest.raises(PolicyError, match="clipped to 1, which sums of Contribute are not"):
        strict.ask(exact)
    measures = Evaluate(input=exact.input, design=DESIGN, state=exact.state)
    with pytest.raises(PolicyError, match="which sums of Evaluate are not"):
        strict.ask(measures)
    with pytest.raises(FederationError, match="noise on updates is measured in their clip"):
        Updates(noise=1.0)


def test_rounds_are_counted_for_each_user_and_outlive_a_restart(tmp_path: Path) -> None:
    first = Trains(Updates(rounds=2), tmp_path / "ledger.db")
    first.ask(first.plan(0.0))
    first.ask(first.plan(0.0), "tried-again")  # the same round
    first.ask(first.plan(0.1))
    first.ledger.close()
    again = Trains(Updates(rounds=2), tmp_path / "ledger.db")
    with pytest.raises(
        PolicyError, match="'ann' may have 2 rounds of models in a day, and has had 2"
    ):
        again.ask(again.plan(0.2))
    assert len(again.ask(again.plan(0.1), "late"))
    assert len(again.ask(again.plan(0.2), user="bob"))
    again.ledger.close()


def test_a_person_agrees_to_a_training_and_not_to_each_round(tmp_path: Path) -> None:
    asked = Trains(None, tmp_path / "ledger.db", Duties(approval=Approval.PLAN))
    with pytest.raises(ApprovalError):
        asked.ask(asked.plan(0.0))
    approvals = Approvals(asked.ledger)
    approvals.decide(approvals.all()[0].name, approve=True)
    for number in range(3):
        assert len(asked.ask(asked.plan(number / 10, seed=number), f"round-{number}"))
    other = replace(asked.plan(), design=replace(DESIGN, label="x", features=(Number("y"),)))
    for plan, user in ((other, "ann"), (asked.plan(), "bob")):
        with pytest.raises(ApprovalError):
            asked.ask(plan, user=user)
    asked.ledger.close()


def test_owners_are_told_what_is_done() -> None:
    told = " ".join(duties_of(Trains(Updates(clip=0.5, noise=2.0, rounds=10)).clause))
    assert "no longer than 0.5 at the site" in told
    assert "noise of standard deviation 1, and its loss is not told" in told
    assert "at most 10 rounds of all models in a day" in told
    trained = duties_of(Trains(None, duties=Duties(approval=Approval.PLAN)).clause)
    assert "A person at the site agrees to every training before its first round." in trained


def test_a_model_is_trained_under_noise() -> None:
    """Its loss nobody knows; a round too many is refused, whatever model it is of."""
    site = Trains(Updates(clip=100.0, noise=1e-6, rounds=3)).site
    rows = local([site]).table("rows")
    options: dict[str, Any] = {
        "features": ["x"], "label": "y", "model": ub.learn.LinearRegression(),
        "strategy": "fedavg", "settings": ub.learn.Settings(learning_rate=0.01), "rounds": 2,
    }  # fmt: skip
    model = ub.learn.fit(rows, **options)
    assert np.isfinite(model.state).all()
    losses = model.history.collect().column("loss").to_pylist()
    assert losses
    assert all(np.isnan(loss) for loss in losses)
    with pytest.raises(PolicyError, match="may have 3 rounds of models in a day, and has had 3"):
        ub.learn.fit(rows, **{**options, "features": [ub.learn.binned("x", edges=[2.5])]})
