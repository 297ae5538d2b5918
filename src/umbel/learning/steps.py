"""Rounds of training by steps: every part trains where it lies, and a strategy makes one state.

What a part gives is used only if it can be: numbers of the right shape, finite, and not absurdly
far from where the round began. Whatever is left out is written down with the reason.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from umbel.learning.asking import Asking, away_shares, diverged
from umbel.learning.checkpoints import Checkpoint, CheckpointFile
from umbel.learning.debugging.journal import Journal
from umbel.learning.gathering import Asker, Patience, check_quorum, gather
from umbel.learning.masked_steps import masked_round
from umbel.learning.parts import Part
from umbel.learning.privacy.private import Private
from umbel.learning.rounds import Round, Share, Trained, Watcher, no_rows
from umbel.learning.secure.means import check_maskable
from umbel.learning.secure.options import Secure
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
from umbel.models.clipped import row_wise
from umbel.models.descent import update_layout
from umbel.models.layout import Array
from umbel.models.solvers import mathematics_of
from umbel.plan.errors import PlanError
from umbel.plan.models import Design

#: An update this much longer than the state (and than 1) is not what training leads to.
ABSURD = 1e6


def train_by_steps(
    session: Asker,
    design: Design,
    parts: Sequence[Part],
    strategy: Strategy,
    settings: Settings,
    *,
    rounds: int,
    seed: int,
    watch: Watcher | None = None,
    checkpoint: CheckpointFile | None = None,
    secure: Secure | None = None,
    patience: Patience | None = None,
    journal: Journal | None = None,
    initial: Array | None = None,
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
        secure: have sites mask their updates, so that only the sum is seen.
        patience: how long a round waits, and for how many; None for all parts, as long as it takes.
        journal: where each round is kept with what the parts gave.
        initial: the numbers to begin with; None for those that the kind of model begins with.

    Raises:
        RunError: too few parts have answered.
        SecureAggregationError: there is no sum of enough sites.
        CheckpointError: the checkpoint is broken, or of another training.
        PlanError: the strategy's privacy does not hold for these rounds.
        DivergedError: no part gave an update that can be used, or the state is no number any more.
    """
    mathematics = mathematics_of(design)
    layout = mathematics.state(design)
    specs = tuple(TensorSpec(name, shape) for name, shape in layout.parts)
    begin = mathematics.initial(design, seed) if initial is None else initial
    state = State(Tensors(specs), begin)
    memory = strategy.start(state)
    done: list[Round] = []
    kept = None if checkpoint is None else checkpoint.load(state.layout)
    if kept is not None:
        state, memory, done = kept.state, kept.memory, list(kept.rounds)
    if isinstance(strategy, Private):
        _check_privacy(strategy, memory, rounds)
        if strategy.of == "rows":
            row_wise(design)
    if secure is not None and not isinstance(strategy, Private):
        check_maskable(strategy)
    if journal is not None:
        journal.begin(design, strategy, settings, seed, [part.name for part in parts])
    asking = Asking(session, design, parts, seed, settings, patience)
    for number in range(len(done) + 1, rounds + 1):
        start, before, remembered = time.perf_counter(), state, memory
        if secure is None:
            state, memory, shares = _plain_round(asking, strategy, state, memory, number)
        else:
            state, memory, shares = masked_round(asking, strategy, state, memory, number, secure)
        if not np.isfinite(state.vector).all():
            raise diverged(number, "the state is no number any more", settings, asking.design)
        used = [share for share in shares if not share.excluded and share.loss is not None]
        # Under differential privacy with masks nobody knows the loss.
        loss = math.nan
        if used:
            loss = sum(share.loss or 0.0 for share in used) / max(1, sum(s.rows for s in used))
        done.append(Round(number, loss, tuple(shares), time.perf_counter() - start))
        if journal is not None:
            masked, seconds = secure is not None, done[-1].seconds
            journal.write(number, before, remembered, state, shares, seconds, masked=masked)
        if checkpoint is not None:
            checkpoint.save(Checkpoint(state, memory, tuple(done)))
        if watch is not None:
            watch(done[-1])
    return Trained(np.array(state.vector, dtype=np.float64), tuple(done))


def _plain_round(
    asking: Asking, strategy: Strategy, state: State, memory: Memory, number: int
) -> tuple[State, Memory, list[Share]]:
    """One round in which each part's update is seen."""
    settings, parts = asking.settings, asking.parts
    asks = {
        part.name: asking.of(part, number, *strategy.configure(memory, state, settings, part.name))
        for part in parts
    }
    found = gather(asking.session, asks, asking.patience)
    check_quorum(found, len(parts), asking.patience)
    received = [
        _received(asking.design, part, found.rows[part.name], found.seconds.get(part.name))
        for part in parts
        if part.name in found.rows
    ]
    shares = [share for share, _ in received]
    if not sum(share.rows for share in shares):
        raise no_rows(shares)
    faults = {share.part: _fault(share, update, state) for share, update in received}
    usable = [u for s, u in received if u is not None and not faults[s.part]]
    if not usable:
        why = "; ".join(f"{part}: {fault}" for part, fault in faults.items())
        raise diverged(
            number, f"no part gave an update that can be used: {why}", settings, asking.design
        )
    try:
        updates, excluded = Updates.gather(usable, state.layout)
        state, memory = strategy.aggregate(memory, state, updates, settings)
    except AggregationError as error:
        raise DivergedError(f"round {number}: {error}") from error
    faults.update(excluded)
    noted = [_noted(share, faults[share.part]) for share in shares]
    return state, memory, [*noted, *away_shares(found.away)]


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


def _received(
    design: Design, part: Part, row: dict[str, Any], seconds: float | None
) -> tuple[Share, Update | None]:
    """What a part gave; no update if it is not even as long as one."""
    layout = update_layout(design)
    data = row["sums"]
    if len(data) != 8 * layout.size:
        nothing = np.zeros(0)
        share = Share(part.name, row["rows"], row["left_out"], nothing, seconds=seconds)
        return share, None
    flat: Array = np.frombuffer(data, "<f8").astype(np.float64)
    delta, loss, steps = flat[:-2], float(flat[-2]), flat[-1]
    whole = int(steps) if np.isfinite(steps) and steps >= 1 else 0
    with np.errstate(all="ignore"):
        norm = float(np.linalg.norm(delta))
    share = Share(part.name, row["rows"], row["left_out"], flat, loss, norm, seconds=seconds)
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
    if np.isinf(update.metrics["loss"]):  # none at all is not told, under a site's noise
        return "its loss is no number"
    most = ABSURD * (1 + float(np.linalg.norm(state.vector)))
    if share.norm is not None and share.norm > most:
        return f"its update is {share.norm:.3g} long, and {most:.3g} is the most"
    return ""


def _noted(share: Share, fault: str) -> Share:
    if not fault:
        return share
    return replace(share, loss=None, excluded=fault)


__all__ = ["ABSURD", "train_by_steps"]
