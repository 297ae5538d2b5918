"""Training goes on to the same bits, whoever is killed in whatever phase of a round.

A coordinator and three sites are real processes, and so is who trains. After the first round a site
is held at a phase of the second; somebody is killed with SIGKILL and started again.

CI runs a sample, with each victim once. `make chaos` runs all.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import umbel as ub
from tests.federation.chaos.gated import Gates
from tests.federation.chaos.test_matrix import (
    VICTIM,
    Failing,
    coordinator_killed,
    failing,
    nothing,
)
from tests.federation.real import COORDINATOR, settles

ROUNDS = 3
#: Where a site is held: of an update as it is, and of each step of one under masks.
PLAIN = ("begun", "half", "done")
MASKED = ("keys", "share", "mask", "confirm", "open")
VICTIMS: dict[str, Callable[[Failing], None]] = {
    "client": nothing,  # it is another process, which the test kills by itself
    "coordinator": coordinator_killed,
}


def trained(session: Any, checkpoint: Path | None, *, secure: bool, watch: Any = False) -> Any:
    return ub.learn.fit(
        session.table("events"),
        features=[ub.learn.numeric("kind", scale=True)],
        label="x",
        model=ub.learn.LinearRegression(),
        strategy="fedavgm",
        settings=ub.learn.Settings(learning_rate=0.2, batch_size=4_000),
        privacy=ub.learn.Secure() if secure else None,
        rounds=ROUNDS,
        seed=4,
        checkpoint=checkpoint,
        progress=watch,
    )


def held_after_one(gates: Gates, phase: str) -> Callable[[Any], None]:
    """Hold the site in the second round."""
    return lambda one: gates.shut(VICTIM, phase) if one.number == 1 else None


def main(url: str, gates: str, checkpoint: str, phase: str, secure: str) -> None:
    """Be who trains, in a process of its own; the token is in the environment."""
    with ub.connect(url, token="env:UMBEL_TOKEN", progress=False) as session:  # type: ignore[attr-defined]
        watch = held_after_one(Gates(Path(gates)), phase)
        model = trained(session, Path(checkpoint), secure=secure == "secure", watch=watch)
    Path(f"{checkpoint}.state").write_bytes(model.state.tobytes())


def client(it: Failing, checkpoint: Path, phase: str, secure: bool) -> subprocess.Popen[bytes]:
    federation = it.federation
    arguments = (
        federation.url,
        it.gates.folder,
        checkpoint,
        phase,
        "secure" if secure else "plain",
    )
    token = federation.token
    environment = {**os.environ, "UMBEL_TOKEN": token if isinstance(token, str) else token.decode()}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.federation.chaos.test_rounds", *map(str, arguments)],
        env=environment,
        cwd=Path(__file__).parents[3],
    )


def client_killed(it: Failing, folder: Path, phase: str, *, secure: bool) -> np.ndarray:
    checkpoint = folder / f"{phase}-{secure}"
    process = client(it, checkpoint, phase, secure)
    settles(lambda: it.gates.is_held(VICTIM, phase) or process.poll() is not None, "a held site")
    assert process.poll() is None
    process.kill()
    process.wait()
    it.gates.open(VICTIM, phase)
    assert client(it, checkpoint, phase, secure).wait(180) == 0
    return np.frombuffer(checkpoint.with_name(f"{checkpoint.name}.state").read_bytes())


def other_killed(it: Failing, victim: str, phase: str, *, secure: bool) -> np.ndarray:
    found: list[Any] = []

    def train() -> None:
        try:
            with it.session() as session:
                watch = held_after_one(it.gates, phase)
                found.append(trained(session, None, secure=secure, watch=watch).state)
        except Exception as error:  # noqa: BLE001 - looked at below
            found.append(error)

    training = threading.Thread(target=train)
    training.start()
    settles(lambda: it.gates.is_held(VICTIM, phase) or found, "a held site")
    assert not found, found
    VICTIMS[victim](it)
    it.gates.open(VICTIM, phase)
    training.join(180)
    assert found, it.federation.log(COORDINATOR)
    assert isinstance(found[0], np.ndarray), found[0]
    return found[0]


def cases(every: bool) -> Iterator[tuple[str, str, bool]]:
    if every:
        yield from ((v, p, False) for v, p in itertools.product(VICTIMS, PLAIN))
        yield from ((v, p, True) for v, p in itertools.product(VICTIMS, MASKED))
    else:
        yield from (
            ("client", "mask", True),
            ("coordinator", "half", False),
        )


@pytest.mark.slow
def test_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    with failing(tmp_path) as it:
        it.whole()
        with it.federation.session() as session:
            expected = {secure: trained(session, None, secure=secure).state.tobytes()
                        for secure in (False, True)}  # fmt: skip
        for victim, phase, secure in cases("UMBEL_CHAOS_ALL" in os.environ):
            it.whole()
            if victim == "client":
                found = client_killed(it, tmp_path, phase, secure=secure)
            else:
                found = other_killed(it, victim, phase, secure=secure)
            it.gates.open(VICTIM, phase)
            assert found.tobytes() == expected[secure], (victim, phase, secure)


if __name__ == "__main__":
    main(*sys.argv[1:])
