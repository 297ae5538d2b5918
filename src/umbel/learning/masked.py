"""Rounds in which sites mask what they give: what is asked of them, and what the sum says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from umbel.learning.gathering import Asker, Patience, gather
from umbel.learning.parts import Part
from umbel.learning.secure.options import Secure
from umbel.learning.secure.over_sites import Sum, sum_over_sites
from umbel.learning.secure.vectors import learned, question_of
from umbel.models.layout import state_table
from umbel.plan.errors import PlanError
from umbel.plan.models import Masking
from umbel.plan.operators import Contribute, Summing
from umbel.plan.operators.learning import MESSAGE

#: What a masked sum is called among the parts of a round.
TOGETHER = "the sum"


def check_parts(parts: Sequence[Part]) -> None:
    """Raise `PlanError` unless each part lies at one site of its own."""
    for part in parts:
        if part.local or "+" in part.name:
            where = "here" if part.local else f"at {part.name.replace('+', ' and ')}"
            raise PlanError(
                f"secure aggregation is between sites, and rows lie {where}",
                hint="train over tables whose parts lie at one site each, or without it",
            )


def masked_sum(
    session: Asker,
    parts: Sequence[Part],
    ask: Callable[[Part], Summing],
    secure: Secure,
    number: int,
    patience: Patience | None = None,
    **noise: Any,
) -> Sum:
    """Have sites give one thing masked, and sum it.

    Args:
        session: runs it.
        parts: the sites.
        ask: what is asked of each: the same, but for its rows.
        secure: how it is masked.
        number: of the round.
        patience: how long each step waits.
        noise: clip, of_rows, noise and within, as in `Masking`.

    Raises:
        SecureAggregationError: there is no sum.
    """
    asked = {part.name: ask(part) for part in parts}
    first = next(iter(asked.values()))
    template = Masking(
        run="0",
        round=number,
        step="keys",
        fewest=secure.least(len(parts)),
        sites=len(parts),
        degree=1,
        question=question_of(first),
        bound=float(secure.bound or 0.0),
        rows=float(secure.rows),
        **noise,
    )
    slow = None
    if patience is not None:
        enough = max(secure.least(len(parts)), patience.needed(len(parts)))
        slow = Patience(quorum=enough, deadline=patience.deadline)

    def bring(
        masking: Masking, messages: Mapping[str, bytes]
    ) -> tuple[Mapping[str, bytes], Mapping[str, str]]:
        plans = {name: _step(asked[name], masking, said) for name, said in messages.items()}
        found = gather(session, plans, slow)
        return {name: row["sums"] for name, row in found.rows.items()}, found.away

    return sum_over_sites(list(asked), template, learned(first), bring)


def _step(plan: Summing, masking: Masking, message: bytes) -> Summing:
    changes: dict[str, Any] = {"masking": masking}
    if message:
        changes["message"] = pa.Table.from_arrays(
            [pa.array([message], pa.binary())], schema=MESSAGE
        )
    if masking.step != "mask":  # the state goes with what is learned from it alone
        changes["state"] = state_table(np.zeros(0))
        if isinstance(plan, Contribute):
            changes["correction"] = None
    return replace(plan, **changes)


__all__ = ["TOGETHER", "check_parts", "masked_sum"]
