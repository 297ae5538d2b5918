"""What a round of training by steps asks of each part, and what is noted of those that are away."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.learning.gathering import Asker, Patience
from umbel.learning.parts import Part
from umbel.learning.rounds import Share
from umbel.learning.state import State, Vector
from umbel.learning.strategies.base import Settings
from umbel.learning.strategies.options import training_of
from umbel.models.base import DivergedError
from umbel.models.layout import state_table
from umbel.plan.models import Design, Training
from umbel.plan.operators import Contribute


@dataclass(frozen=True)
class Asking:
    """What stays the same from round to round.

    Attributes:
        session: runs the rounds.
        design: the model.
        parts: where the rows lie.
        seed: of whatever is drawn.
        settings: how parts train.
        patience: how long a round waits, and for how many.
    """

    session: Asker
    design: Design
    parts: Sequence[Part]
    seed: int
    settings: Settings
    patience: Patience | None = None

    def of(self, part: Part, number: int, state: State, settings: Settings) -> Contribute:
        """Ask a part to train in a round, from a state on."""
        correction = settings.correction
        return Contribute(
            input=part.plan,
            design=self.design,
            state=_table(state.vector),
            part=part.name,
            training=_training(settings, self.seed, number, part.name),
            correction=None if correction is None else _table(correction),
        )


def _table(numbers: Vector) -> pa.Table:
    return state_table(np.asarray(numbers, np.float64))


def _training(settings: Settings, seed: int, number: int, part: str) -> Training:
    text = f"{seed}\0{number}\0{part}".encode()
    drawn = hashlib.blake2b(text, digest_size=7, person=b"umbel.training").digest()
    lasting = training_of(replace(settings, correction=None))
    return replace(lasting, seed=int.from_bytes(drawn, "little"), earlier=number - 1)


def away_shares(away: Mapping[str, str]) -> list[Share]:
    """Note parts that gave nothing in a round, and why."""
    return [Share(name, 0, 0, np.zeros(0), excluded=why) for name, why in sorted(away.items())]


def diverged(number: int, what: str, settings: Settings, design: Design) -> DivergedError:
    """The error of steps that lead nowhere."""
    steps = f"take smaller steps than {settings.learning_rate:g}"
    if design.algorithm.own_steps:
        steps = "give the estimator a smaller eta0"
    return DivergedError(f"in round {number} {what}", hint=f"{steps}, or scale the features")


__all__ = ["Asking", "away_shares", "diverged"]
