"""What a plan moves over the borders between sites: from where, to where, in which form."""

from __future__ import annotations

from collections.abc import Iterator

from umbel.dataclass import dataclass
from umbel.optimizer.execution_plan import ExecutionPlan, PlannedStage
from umbel.optimizer.problem import HERE, site_of, straight_to
from umbel.platforms.base import SEALED, Elsewhere


@dataclass(frozen=True)
class Crossing:
    """The output of a stage on its way over one border.

    Attributes:
        stage: the stage's number.
        source, target: the sites; "here" is where the run is driven from.
        form: what it is: rows, or aggregates over so many individuals.
        size: bytes to reckon with.
        sealed: the sites that alone can read it; none if the coordinator can.
    """

    stage: int
    source: str
    target: str
    form: str
    size: float
    sealed: tuple[str, ...] = ()

    @property
    def secrecy(self) -> str:
        """Who can read it on its way, for people."""
        return f"sealed to {', '.join(self.sealed)}" if self.sealed else "readable here"


def crossings(plan: ExecutionPlan) -> list[Crossing]:
    """List what crosses borders, in the order of the stages. What goes to a site comes here first."""
    return [crossing for stage in plan.stages for crossing in _of_stage(plan, stage)]


def _of_stage(plan: ExecutionPlan, stage: PlannedStage) -> Iterator[Crossing]:
    source, root = site_of(stage.platform), stage.root
    targets = {
        site_of(other.platform)
        for other in plan.stages
        if any(index == stage.index for index, _ in other.sources.values())
    }
    if plan.result[0] == stage.index:
        targets.add(HERE)
    targets -= {source}
    if not targets:
        return
    form = "rows"
    sealed = stage.stage.readers if stage.stage.output == SEALED else ()
    if isinstance(stage.platform, Elsewhere):
        form = stage.platform.released(root.operator)
        if sealed and straight_to(stage.platform, set(sealed)):
            for target in sorted(targets):
                yield Crossing(stage.index, source, target, form, root.estimate.size, sealed)
            return
        yield Crossing(stage.index, source, HERE, form, root.estimate.size, sealed)
    for target in sorted(targets - {HERE}):
        yield Crossing(stage.index, HERE, target, form, root.estimate.size, sealed)


__all__ = ["Crossing", "crossings"]
