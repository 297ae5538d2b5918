"""A round of training by steps of which only the sum over sites is seen."""

from __future__ import annotations

import numpy as np

from umbel.learning.asking import Asking, away_shares, diverged
from umbel.learning.masked import TOGETHER, masked_sum
from umbel.learning.parts import Part
from umbel.learning.privacy.private import Private
from umbel.learning.rounds import Share, no_rows
from umbel.learning.secure.options import Secure
from umbel.learning.state import State
from umbel.learning.strategies.base import AggregationError, Memory, Strategy, Updates
from umbel.models.base import DivergedError
from umbel.plan.operators import Contribute


def masked_round(
    asking: Asking,
    strategy: Strategy,
    state: State,
    memory: Memory,
    number: int,
    secure: Secure,
) -> tuple[State, Memory, list[Share]]:
    """Have sites train and mask, and make the next state of the sum.

    Raises:
        SecureAggregationError: there is no sum of enough sites.
        BudgetSpentError: the strategy's budget does not hold for one more round.
        DivergedError: the sum leads nowhere.
    """

    def ask(part: Part) -> Contribute:
        begin, own = strategy.configure(memory, state, asking.settings, part.name)
        return asking.of(part, number, begin, own)

    private = strategy if isinstance(strategy, Private) else None
    least = secure.least(len(asking.parts))
    noise = (
        {} if private is None else private.under_masks(memory, least, asking.settings.learning_rate)
    )
    found = masked_sum(asking.session, asking.parts, ask, secure, number, asking.patience, **noise)
    summed, away = found.summed, away_shares(found.silent)
    if private is not None:
        state, memory = private.aggregate_noisy(
            memory, state, summed.total, summed.within, asking.settings
        )
        return state, memory, [Share(TOGETHER, 0, 0, np.zeros(0)), *away]
    whole = Share(TOGETHER, round(summed.rows), round(summed.left_out), np.zeros(0), summed.loss)
    if not whole.rows:
        raise no_rows([whole])
    mean = summed.total / summed.rows
    one = Updates(
        (TOGETHER,),
        mean.astype(state.layout.dtype)[None],
        np.array([summed.rows]),
        np.ones(1, np.int64),
    )
    if not np.isfinite(mean).all():
        raise diverged(
            number, "the sum of the updates is no number", asking.settings, asking.design
        )
    try:
        state, memory = strategy.aggregate(memory, state, one, asking.settings)
    except AggregationError as error:
        raise DivergedError(f"round {number}: {error}") from error
    return state, memory, [whole, *away]


__all__ = ["masked_round"]
