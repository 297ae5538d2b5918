"""Training that is stopped after any round goes on to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from umbel.learning.checkpoints import CheckpointError
from umbel.learning.rounds import Round
from umbel.plan.errors import PlanError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 2))
TABLE = pa.table({"a": X[:, 0], "b": X[:, 1], "y": X @ [1.0, -2.0] + 0.5})
ROUNDS = 4
SESSION = ub.connect()


class StoppedError(Exception):
    """Whatever ends a process in the middle of a training."""


def train(**changes: Any) -> ub.learn.Model:
    options: dict[str, Any] = {
        "features": ["a", "b"],
        "label": "y",
        "model": ub.learn.LinearRegression(),
        "strategy": ub.learn.strategy("fedavgm", momentum=0.5),
        "settings": ub.learn.Settings(learning_rate=0.05, batch_size=16),
        "rounds": ROUNDS,
        "seed": 3,
    }
    model: ub.learn.Model = ub.learn.fit(SESSION.from_arrow(TABLE), **{**options, **changes})
    return model


def stopped_after(last: int, **changes: Any) -> None:
    def watch(one: Round) -> None:
        if one.number == last:
            raise StoppedError

    with pytest.raises(StoppedError):
        train(progress=watch, **changes)


def history(model: ub.learn.Model) -> list[dict[str, Any]]:
    return model.rounds.drop_columns(["seconds"]).to_pylist()


@pytest.mark.parametrize("last", range(1, ROUNDS + 1))
def test_stopped_after_any_round_it_ends_with_the_same_bits_and_history(
    tmp_path: Path, last: int
) -> None:
    whole = train()
    path = tmp_path / "training.safetensors"
    stopped_after(last, checkpoint=path)
    done: list[int] = []
    resumed = train(checkpoint=path, progress=lambda one: done.append(one.number))
    assert done == list(range(last + 1, ROUNDS + 1))
    assert resumed.state.tobytes() == whole.state.tobytes()
    assert history(resumed) == history(whole)
    assert resumed.trained_on == 90
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]  # nothing beside it


def test_a_training_that_is_done_goes_on_for_more_rounds(tmp_path: Path) -> None:
    path = tmp_path / "training"
    train(checkpoint=path)
    more = train(checkpoint=path, rounds=6)
    assert more.state.tobytes() == train(rounds=6).state.tobytes()


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training"
    train(checkpoint=path)
    before = path.read_bytes()
    changes: list[dict[str, Any]] = [
        {"seed": 4},
        {"strategy": "fedavg"},
        {"settings": ub.learn.Settings(learning_rate=0.04, batch_size=16)},
        {"features": ["a"]},
        {"model": ub.learn.LinearRegression(l2=1.0)},
    ]
    for change in changes:
        with pytest.raises(CheckpointError, match="is of another training"):
            train(checkpoint=path, **change)
    assert path.read_bytes() == before


def test_a_broken_checkpoint_is_an_error_and_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "training"
    train(checkpoint=path)
    whole = path.read_bytes()
    for broken in (whole[:-8], b"", b"no checkpoint at all"):
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match="cannot be read"):
            train(checkpoint=path)
        assert path.read_bytes() == broken


def test_exact_training_takes_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="a checkpoint is for training by steps"):
        train(strategy=None, settings=None, rounds=None, checkpoint=tmp_path / "x")


def test_privacy_is_checked_before_the_first_round_and_survives_a_stop(tmp_path: Path) -> None:
    budget = ub.learn.Budget(epsilon=5.0, delta=1e-5)
    clip = ub.learn.FixedClip(1.0)
    seen: list[int] = []
    private = ub.learn.Private(1.0, budget, 1, clip=clip)
    with pytest.raises(PlanError, match=r"4 rounds would cost more than epsilon 5.*holds for 1"):
        train(strategy=private, progress=lambda one: seen.append(one.number))
    assert seen == []
    sampled = ub.learn.Private(1.0, budget, 1, fraction=0.1, clip=clip)
    with pytest.raises(PlanError, match=r"privacy is accounted for a fraction of 0\.1"):
        train(strategy=sampled)
    # What has been spent is in the checkpoint: a stopped training can't spend it again.
    path = tmp_path / "training"
    quiet = ub.learn.Private(4.0, budget, 1, clip=clip)
    stopped_after(2, strategy=quiet, checkpoint=path)
    resumed: list[int] = []
    train(strategy=quiet, checkpoint=path, progress=lambda one: resumed.append(one.number))
    assert resumed == [3, 4]
