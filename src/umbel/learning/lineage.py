"""Where a model comes from: what was asked for, over which data, under which rules, at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from umbel.dataclass import dataclass
from umbel.learning.parts import Part
from umbel.learning.privacy.private import Private
from umbel.learning.strategies.base import Settings, Strategy
from umbel.plan.operators import Scan, topological

if TYPE_CHECKING:
    from umbel.api.dataframe import DataFrame


@dataclass(frozen=True)
class Lineage:
    """Where a model comes from.

    Attributes:
        plan: digest of the plan that gave the rows; another plan or other sources have another.
        sources: what the plan reads, in words.
        parts: where the rows lie.
        policy: what of their tables may leave, in words.
        strategy: how updates were put together; empty if the model was found exactly.
        settings: of training by steps.
        seed: of whatever was drawn.
        masked: only the sum of all parts was seen.
        epsilon: what differential privacy has cost, at `delta`; None without it.
        delta: of the differential privacy.
    """

    plan: str
    sources: tuple[str, ...]
    parts: tuple[str, ...]
    policy: str
    strategy: str = ""
    settings: str = ""
    seed: int = 0
    masked: bool = False
    epsilon: float | None = None
    delta: float | None = None


def lineage_of(
    df: DataFrame,
    parts: Sequence[Part],
    strategy: Strategy | None,
    settings: Settings | None,
    *,
    seed: int,
    masked: bool,
    rounds: int,
) -> Lineage:
    """Write down where a model comes from.

    Args:
        df: the rows.
        parts: those that were used.
        strategy: of training by steps; None if the model was found exactly.
        settings: of training by steps.
        seed: of whatever was drawn.
        masked: only the sum of all parts was seen.
        rounds: so many have been done.
    """
    scans = [node for node in topological(df.plan) if isinstance(node, Scan)]
    epsilon = delta = None
    if isinstance(strategy, Private):
        from umbel.learning.privacy.accounting import epsilon_of

        delta = strategy.budget.delta
        epsilon = epsilon_of(strategy.noise, strategy.fraction, rounds, delta)
    return Lineage(
        df.plan.digest,
        tuple(dict.fromkeys(scan.source.describe() for scan in scans)),
        tuple(part.name for part in parts),
        df.policy(),
        "" if strategy is None else repr(strategy),
        "" if settings is None else repr(settings),
        seed,
        masked,
        epsilon,
        delta,
    )


__all__ = ["Lineage", "lineage_of"]
