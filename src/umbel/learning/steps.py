"""Rounds of training by steps: every part trains where it lies, and a strategy makes one state.

What a part gives is used only if it can be: numbers of the right shape, finite, and not absurdly
far from where the round began. Whatever is left out is written down with the reason.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from umbel.learning.checkpoints import Checkpoint, CheckpointFile
from umbel.learning.parts import Part
from umbel.learning.privacy.private import Private
from umbel.learning.rounds import Round, Share, Trained, Watcher, asked_of, no_rows
from umbel.learning.state import Layout as Tensors
from umbel.learning.state import State, TensorSpec
from umbel.learning.strategies.base import (
    AggregationError,
    Memory,
    Settings,
    Strategy,
    Update,
    Updates,
)
from umbel.models.base import DivergedError
from umbel.models.descent import update_layout
from umbel.models.layout import Array, state_table
from umbel.models.solvers import mathematics_of
from umbel.plan.errors import PlanError
from umbel.plan.models import Design, Training
from umbel.plan.operators import Contribute, Operator

if TYPE_CHECKING:
    from umbel.api.session import Session

#: An update this much longer than the state (and than 1) is not what training leads to.
ABSURD = 1e6


def train_by_steps(
    session: Session,
    design: Design,
    parts: Sequence[Part],
    strategy: Strategy,
    settings: Settings,
    *,
    rounds: int,
    seed: int,
    watch: Watcher | None = None,
    checkpoint: CheckpointFile | None = None,
) -> Trained:
    """Train for some rounds.

    The same seed gives the same model: the order of rows is drawn from it, the round and the part.

    Args:
        session: runs the rounds.
        design: the model.
        parts: where the rows lie.
        strategy: makes a state of updates.
        settings: how parts train.
        rounds: so many.
        seed: of whatever is drawn.
        watch: told of every round.
        checkpoint: where the training goes on from, and is kept after each round.

    Raises:
        CheckpointError: the checkpoint is broken, or of another training.
        PlanError: the strategy's privacy does not hold for these rounds.
        DivergedError: no part gave an update that can be used, or the state is no number any more.
    """
    mathematics = mathematics_of(design)
    layout = mathematics.state(design)
    specs = tuple(TensorSpec(name, shape) for name, shape in layout.parts)
    state = State(Tensors(specs), mathematics.initial(design, seed))
    memory = strategy.start(state)
    done: list[Round] = []
    kept = None if checkpoint is None else checkpoint.load(state.layout)
    if kept is not None:
        state, memory, done = kept.state, kept.memory, list(kept.rounds)
    if isinstance(strategy, Private):
        _check_privacy(strategy, memory, rounds)
    for number in range(len(done) + 1, rounds + 1):
        start = time.perf_counter()
        given = {p.name: strategy.configure(memory, state, settings, p.name) for p in parts}

        def ask(part: Part, given: Any = given, number: int = number) -> Operator:
            begin, own = given[part.name]
            correction = own.correction
            return Contribute(
                input=part.plan,
                design=design,
                state=state_table(begin.vector),
                part=part.name,
                training=_training(own, seed, number, part.name),
                correction=None if correction is None else state_table(correction),
            )

        received = [_received(design, part, row) for part, row in asked_of(session, parts, ask)]
        shares = [share for share, _ in received]
        if not sum(share.rows for share in shares):
            raise no_rows(shares)
        faults = {share.part: _fault(share, update, state) for share, update in received}
        usable = [u for s, u in received if u is not None and not faults[s.part]]
        if not usable:
            why = "; ".join(f"{part}: {fault}" for part, fault in faults.items())
            raise DivergedError(
                f"in round {number} no part gave an update that can be used: {why}",
                hint=f"take smaller steps than {settings.learning_rate:g}, or scale the features",
            )
        try:
            updates, excluded = Updates.gather(usable, state.layout)
            state, memory = strategy.aggregate(memory, state, updates, settings)
        except AggregationError as error:
            raise DivergedError(f"round {number}: {error}") from error
        faults.update(excluded)
        if not np.isfinite(state.vector).all():
            raise DivergedError(
                f"in round {number} the state is no number any more",
                hint=f"take smaller steps than {settings.learning_rate:g}",
            )
        shares = [_noted(share, faults[share.part]) for share in shares]
        used = [share for share in shares if not share.excluded and share.loss is not None]
        loss = sum(share.loss or 0.0 for share in used) / max(1, sum(s.rows for s in used))
        done.append(Round(number, loss, tuple(shares), time.perf_counter() - start))
        if checkpoint is not None:
            checkpoint.save(Checkpoint(state, memory, tuple(done)))
        if watch is not None:
            watch(done[-1])
    return Trained(np.array(state.vector, dtype=np.float64), tuple(done))


def _check_privacy(strategy: Private, memory: Memory, rounds: int) -> None:
    """Raise unless what is accounted for is what is done, and the budget holds for all rounds."""
    if strategy.fraction < 1:
        raise PlanError(
            f"every site takes part in every round, privacy is accounted for a fraction of "
            f"{strategy.fraction:g}",
            hint="Private(fraction=1.0, …)",
        )
    allowed = int(memory["privacy/allowed"])
    if rounds > allowed:
        raise PlanError(
            f"{rounds} rounds would cost more than epsilon {strategy.budget.epsilon:g} at delta "
            f"{strategy.budget.delta:g}; the budget holds for {allowed}",
            hint="take fewer rounds, more noise or a larger budget",
        )


def _training(settings: Settings, seed: int, number: int, part: str) -> Training:
    text = f"{seed}\0{number}\0{part}".encode()
    drawn = hashlib.blake2b(text, digest_size=7, person=b"umbel.training").digest()
    return Training(
        settings.learning_rate,
        settings.epochs,
        settings.batch_size or 0,
        settings.momentum,
        settings.proximal,
        int.from_bytes(drawn, "little"),
    )


def _received(design: Design, part: Part, row: dict[str, Any]) -> tuple[Share, Update | None]:
    """What a part gave; no update if it is not even as long as one."""
    layout = update_layout(design)
    data = row["sums"]
    if len(data) != 8 * layout.size:
        share = Share(part.name, row["rows"], row["left_out"], np.zeros(layout.size))
        return share, None
    flat: Array = np.frombuffer(data, "<f8").astype(np.float64)
    delta, loss, steps = flat[:-2], float(flat[-2]), flat[-1]
    whole = int(steps) if np.isfinite(steps) and steps >= 1 else 0
    with np.errstate(all="ignore"):
        norm = float(np.linalg.norm(delta))
    share = Share(part.name, row["rows"], row["left_out"], flat, loss, norm)
    return share, Update(part.name, delta, float(row["rows"]), whole, {"loss": loss})


def _fault(share: Share, update: Update | None, state: State) -> str:
    """Say why an update cannot be used; empty if it can."""
    if update is None:
        return "its update has another length than the model"
    if not share.rows:
        return "it has no rows to learn from"
    fault = update.fault(state.layout)
    if fault is not None:
        return fault
    if not np.isfinite(update.metrics["loss"]):
        return "its loss is no number"
    most = ABSURD * (1 + float(np.linalg.norm(state.vector)))
    if share.norm is not None and share.norm > most:
        return f"its update is {share.norm:.3g} long, and {most:.3g} is the most"
    return ""


def _noted(share: Share, fault: str) -> Share:
    if not fault:
        return share
    return Share(share.part, share.rows, share.left_out, share.sums, None, share.norm, fault)


__all__ = ["ABSURD", "train_by_steps"]
