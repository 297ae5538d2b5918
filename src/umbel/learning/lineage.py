"""Where a model comes from: what was asked for, over which data, under which rules, at what cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from umbel.catalog.versions import source_version
from umbel.dataclass import dataclass
from umbel.learning.parts import Part
from umbel.learning.privacy.private import Private
from umbel.learning.strategies.base import Settings, Strategy
from umbel.plan.operators import Operator, Scan, topological
from umbel.plan.sources import DeltaSource, FileSource, IcebergSource, Source

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
        versions: of each source the state that it was in: a lakehouse's version, or a digest of
            the paths, sizes and times of change of files; empty where that is not known here.
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
    versions: tuple[str, ...] = ()

    @property
    def reads(self) -> list[str]:
        """The sources, each with the state that it was in."""
        if not self.versions:  # it was kept before these were known
            return list(self.sources)
        return [
            _with_version(source, version)
            for source, version in zip(self.sources, self.versions, strict=True)
        ]

    def __post_init__(self) -> None:
        if self.versions and len(self.versions) != len(self.sources):
            raise ValueError(
                f"there are {len(self.versions)} versions of {len(self.sources)} sources"
            )


def _with_version(source: str, version: str) -> str:
    if version and source.endswith(version):  # a lakehouse's table, whose words end with it
        return source
    return f"{source}, {version or 'of unknown version'}"


#: Stands for the state of what did not stay the same.
CHANGED = "changed during the training"


def versions_of(plan: Operator) -> dict[str, str]:
    """Name the states that the sources of a plan are in now, by the words for each.

    What another database or a site keeps has none that is known here, nor has data of this process:
    another one would not find it again.
    """
    scans = [node for node in topological(plan) if isinstance(node, Scan)]
    return {scan.source.describe(): _version(scan.source) for scan in scans}


def _version(source: Source) -> str:
    match source:
        case DeltaSource(version=version):
            return f"version {version}"
        case IcebergSource(snapshot=snapshot):
            return "empty" if snapshot is None else f"snapshot {snapshot}"
        case FileSource():
            found = source_version(source)
            return "" if found is None else f"state {found[:16]}"
    return ""


def lineage_of(
    df: DataFrame,
    versions: Mapping[str, str],
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
        versions: the states of its sources before the training; see `versions_of`.
        parts: those that were used.
        strategy: of training by steps; None if the model was found exactly.
        settings: of training by steps.
        seed: of whatever was drawn.
        masked: only the sum of all parts was seen.
        rounds: so many have been done.
    """
    now = versions_of(df.plan)
    epsilon = delta = None
    if isinstance(strategy, Private):
        from umbel.learning.privacy.accounting import epsilon_of

        delta = strategy.budget.delta
        epsilon = epsilon_of(strategy.noise, strategy.fraction, rounds, delta)
    return Lineage(
        df.plan.digest,
        tuple(now),
        tuple(part.name for part in parts),
        df.policy(),
        "" if strategy is None else repr(strategy),
        "" if settings is None else repr(settings),
        seed,
        masked,
        epsilon,
        delta,
        tuple(now[name] if now[name] == versions[name] else CHANGED for name in now),
    )


__all__ = ["CHANGED", "Lineage", "lineage_of", "versions_of"]
