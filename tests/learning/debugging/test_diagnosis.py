"""Four of nine sites attack for real, each in its way; who they are is told from updates alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from tests.learning.debugging import attacks
from umbel.learning.debugging.journal import JournalError
from umbel.plan.errors import PlanError

ROUNDS = 5
POISONED = {"cedar": attacks.flipped, "hazel": attacks.triggered}
FORGED = {"elm": attacks.negated, "larch": attacks.noise}


def trained(df: ub.DataFrame, folder: Path, **options: Any) -> ub.learn.Model:
    return ub.learn.fit(
        df,
        features=attacks.FEATURES,
        label="y",
        classes=attacks.CLASSES,
        model=ub.learn.MultinomialRegression(),
        strategy="fedavg",
        settings=ub.learn.Settings(learning_rate=0.2, batch_size=50),
        journal=folder,
        **{"rounds": ROUNDS, **options},
    )


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> ub.learn.Model:
    folder = tmp_path_factory.mktemp("honest")
    return trained(attacks.session(attacks.rows(1)).table("rows"), folder)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> ub.learn.Model:
    session = attacks.session(attacks.rows(1), POISONED, FORGED)
    return trained(session.table("rows"), tmp_path_factory.mktemp("attacked"))


def test_each_attack_is_called_by_its_name_and_nobody_else_is_accused(
    honest: ub.learn.Model, attacked: ub.learn.Model
) -> None:
    assert honest.debug().findings == ()
    found = [f for f in attacked.debug().findings if f.kind != "note"]
    assert {finding.part: finding.what for finding in found} == {
        "cedar": "label flip",
        "elm": "sign flip",
        "hazel": "trigger",
        "larch": "noise",
    }
    texts = {finding.part: finding.text for finding in found}
    assert "labels contradict theirs" in texts["cedar"]
    assert "'x7'" in texts["hazel"]
    assert "without=['elm']" in texts["elm"]


def test_rounds_tell_length_direction_drift_and_time(attacked: ub.learn.Model) -> None:
    rounds = attacked.debug().rounds
    assert rounds.num_rows == ROUNDS * len(attacks.NAMES)
    entry = ub.learn.Journal(attacked.journal).entry(2)
    deltas = {part.name: part.delta for part in entry.used}
    mean = np.mean(list(deltas.values()), axis=0)  # as many rows everywhere
    for row in rounds.to_pylist():
        if row["round"] != 2:
            continue
        own = deltas[row["part"]]
        norm = np.linalg.norm(own)
        assert row["norm"] == pytest.approx(norm)
        assert row["to_mean"] == pytest.approx(own @ mean / norm / np.linalg.norm(mean))
        assert row["drift"] == pytest.approx(np.linalg.norm(own - mean))
        assert row["health"] == "fine"
        assert row["seconds"] > 0
        assert row["waited"] >= 0
    steady = {row["part"]: row["to_last"] for row in rounds.to_pylist() if row["round"] == 2}
    assert steady["oak"] > 0.9 > steady["larch"]


def test_contributions_on_honest_rows_are_harm_for_those_who_lie(attacked: ub.learn.Model) -> None:
    df = ub.connect().from_arrow(pa.concat_tables(attacks.rows(1).values()))
    found = ub.learn.diagnose(attacked, df, orders=4)
    shares = {row["part"]: row for row in found.contributions.to_pylist()}
    liars = {"cedar", "elm"}
    assert all(shares[name]["shapley"] < 0 for name in liars)
    assert all(shares[name]["leave_one_out"] < 0 for name in liars)
    good = set(attacks.NAMES) - {*POISONED, *FORGED}
    assert min(shares[n]["shapley"] for n in good) > max(shares[n]["shapley"] for n in liars)
    assert {f.part for f in found.findings if f.what == "harmful"} >= liars
    # Along each order what parts add is what all of them give; what is cut off is little.
    journal = ub.learn.Journal(attacked.journal)
    first, last = journal.entry(1).before, journal.entry(ROUNDS).after
    loss = [
        ub.learn.Model(attacked.design, np.asarray(s.vector), df.session, attacked.rounds)
        .evaluate(df)["log_loss"]
        for s in (first, last)
    ]  # fmt: skip
    gained = loss[0] - loss[1]
    total = sum(row["shapley"] for row in shares.values())
    assert total == pytest.approx(gained, rel=0.02)


def test_a_round_is_made_anew_and_who_answers_differently_is_found(
    attacked: ub.learn.Model,
) -> None:
    """Asked again, without attackers, those who lied give something else, and only they."""
    again = ub.learn.replay(attacked, 2)
    assert again.same
    assert again.changed is None
    asked = ub.learn.replay(attacked, 2, attacks.session(attacks.rows(1)).table("rows"))
    assert asked.same
    assert asked.changed is not None
    assert set(asked.changed) == {*POISONED, *FORGED}
    with pytest.raises(JournalError, match="no round 9") as caught:
        ub.learn.replay(attacked, 9)
    assert "rounds 1 to 5" in caught.value.hint


def test_what_cannot_be_used_is_called_broken(tmp_path: Path) -> None:
    forged = {
        "ash": lambda delta, draw: np.full_like(delta, np.nan),
        "birch": lambda delta, draw: delta * 1e12,
        "oak": lambda delta, draw: np.zeros_like(delta),
    }
    model = trained(
        attacks.session(attacks.rows(1), forged=forged).table("rows"), tmp_path, rounds=2
    )
    broken = {f.part: f.what for f in model.debug().findings if f.kind == "broken"}
    assert broken == {"ash": "no numbers", "birch": "exploding", "oak": "zero"}
    assert "It was left out: its update holds NaN or infinity." in str(model.debug())


def test_under_secure_aggregation_it_says_what_cannot_be_known(tmp_path: Path) -> None:
    session = attacks.session(attacks.rows(1))
    model = trained(session.table("rows"), tmp_path, rounds=1, privacy=ub.learn.Secure())
    found = model.debug(session.table("rows"))
    (note,) = (f for f in found.findings if f.what == "masked")
    assert "cannot be known" in note.text
    assert found.contributions is None
    assert found.rounds.num_rows == 0
    # What is measured of the model itself is known all the same.
    assert found.fairness is not None
    assert set(found.fairness.by_part) == set(attacks.NAMES)
    with pytest.raises(PlanError, match="only their sum was seen"):
        ub.learn.replay(model, 1)


def test_without_a_journal_it_says_how_to_get_one(honest: ub.learn.Model, tmp_path: Path) -> None:
    from dataclasses import replace

    with pytest.raises(PlanError, match="nothing was kept") as caught:
        replace(honest, journal=None).debug()
    assert "journal=FOLDER" in caught.value.hint
    with pytest.raises(JournalError, match="there is no journal"):
        ub.learn.diagnose(tmp_path)
    df = attacks.session(attacks.rows(1)).table("rows")
    with pytest.raises(JournalError, match="of another training"):
        trained(df, Path(honest.journal or ""), seed=3)


def test_the_command_tells_the_findings(
    attacked: ub.learn.Model,
) -> None:
    from typer.testing import CliRunner

    from umbel.cli.models_app import models_commands

    done = CliRunner().invoke(models_commands(), ["diagnose", str(attacked.journal)])
    assert done.exit_code == 0, done.output
    assert "suspect: 'cedar' learns the opposite of what the others learn" in done.output
    as_json = CliRunner().invoke(
        models_commands(), ["diagnose", str(attacked.journal), "--json", "--rounds"]
    )
    found = json.loads(as_json.output)
    assert {f["part"] for f in found["findings"] if f["kind"] == "suspect"} == {*POISONED, *FORGED}
    assert len(found["rounds"]) == ROUNDS * len(attacks.NAMES)
