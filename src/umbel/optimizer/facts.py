"""What one planning finds out of sources, columns and operators, each thing once.

Rules and the planner ask for the same again and again: they share one `Facts`. It is made anew for
each planning, as files and tables may have changed since the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from umbel.catalog.statistics import TableStatistics, statistics
from umbel.optimizer.bounds import Bounds
from umbel.optimizer.cardinality import Estimator
from umbel.optimizer.estimates import Estimate
from umbel.optimizer.probes import Probes
from umbel.plan.operators import Scan
from umbel.plan.sources import AttachedSource, Source
from umbel.platforms.base import Elsewhere
from umbel.platforms.registry import Registry


class Facts:
    """Statistics of sources, bounds of columns, and estimates of operators.

    Attributes:
        bounds: what is known for sure of columns.
        estimate: reckons the rows of operators.
        probes: asks databases for their estimates.

    Args:
        measured: rows that earlier runs counted, by the operator's digest.
        known: what is known of a source.
    """

    def __init__(
        self,
        measured: Mapping[str, float] | None = None,
        known: Callable[[Source], TableStatistics] = statistics,
    ) -> None:
        self._measured = {} if measured is None else measured
        self._ask = known
        self._told: dict[int, tuple[Source, TableStatistics]] = {}
        self.bounds = Bounds(self.statistics)
        self.estimate = Estimator(self._measured, None, self.statistics)
        self._platforms = Registry()
        self.probes = Probes(self._platforms)

    @classmethod
    def of(cls, platforms: Registry, measured: Mapping[str, float] | None = None) -> Facts:
        """What can be found out with the help of some platforms."""
        facts = cls(measured, platforms.statistics)
        facts._platforms = platforms
        facts.probes = Probes(platforms)
        return facts

    def refused(self, scan: Scan) -> bool:
        """Whether the one platform in which a scan's rows lie cannot run it."""
        source = scan.source
        if not isinstance(source, AttachedSource) or source.platform not in self._platforms:
            return False
        return self._platforms[source.platform].refuse(scan) is not None

    def far(self, places: Iterable[str]) -> bool:
        """Whether all of some platforms are sites, behind lines that are slow."""
        found = [self._platforms[name] for name in places if name in self._platforms]
        return bool(found) and all(isinstance(platform, Elsewhere) for platform in found)

    def statistics(self, source: Source) -> TableStatistics:
        """What is known of a source."""
        if id(source) not in self._told:
            # The source is kept too, so that no other one gets its identity.
            self._told[id(source)] = source, self._ask(source)
        return self._told[id(source)][1]

    def within(self, placeholders: Mapping[str, Estimate]) -> Estimator:
        """Reckon in the body of a loop, given what is reckoned of its inputs, by label."""
        return Estimator(self._measured, placeholders, self.statistics)


__all__ = ["Facts"]
