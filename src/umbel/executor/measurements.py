"""What runs have counted, for the estimates of later ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import field
from threading import Lock

from umbel.catalog.versions import source_key, source_version
from umbel.dataclass import dataclass
from umbel.executor.record import Run
from umbel.plan.operators import DoWhile, Loop, Operator, Scan, topological
from umbel.plan.sources import Source


@dataclass(frozen=True)
class Facts:
    """What is known of a plan before it runs.

    Attributes:
        rows: that earlier runs counted, by operator digest.
        versions: the states of the plan's sources by their keys, those that can be told.
        sources: the sources by their keys.
    """

    rows: Mapping[str, float]
    versions: Mapping[str, str]
    sources: Mapping[str, Source] = field(repr=False)


@dataclass
class _Counts:
    """Rows of operators over the same sources in the same states."""

    versions: dict[str, str]
    rows: dict[str, float] = field(default_factory=dict)


class Measurements:
    """Rows that operators gave, each with the state of the sources that it was counted over.

    Lives as long as its session. `facts` before a run and `remember` after it are all that others
    know of it.

    Args:
        limit: operators that are remembered; over sources long not asked for they are forgotten.
    """

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._counts: OrderedDict[frozenset[str], _Counts] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return sum(len(counts.rows) for counts in self._counts.values())

    def facts(self, plan: Operator) -> Facts:
        """What is known of a plan over its sources as they are now; what is outdated is forgotten."""
        sources = {source_key(source): source for source in _sources(plan)}
        found = {key: source_version(source) for key, source in sources.items()}
        versions = {key: version for key, version in found.items() if version is not None}
        rows: dict[str, float] = {}
        with self._lock:
            for over in [keys for keys in self._counts if keys <= sources.keys()]:
                counts = self._counts[over]
                if all(versions.get(key) == was for key, was in counts.versions.items()):
                    rows.update(counts.rows)
                    self._counts.move_to_end(over)
                else:
                    del self._counts[over]
        return Facts(rows, versions, sources)

    def remember(self, run: Run, facts: Facts) -> None:
        """Keep what a run counted over sources that are still as they were when it was planned."""
        counted = run.measured_rows()
        steady = {
            key: was for key, was in facts.versions.items()
            if source_version(facts.sources[key]) == was
        }  # fmt: skip
        with self._lock:
            for stage in run.plan.stages:
                for planned in stage.operators:
                    operator = planned.operator
                    if operator.digest in counted:
                        over = frozenset(source_key(source) for source in _sources(operator))
                        if over <= steady.keys():
                            self._keep(over, steady, operator.digest, counted[operator.digest])
            while len(self) > self._limit:
                self._counts.popitem(last=False)

    def _keep(
        self, over: frozenset[str], steady: Mapping[str, str], digest: str, rows: float
    ) -> None:
        versions = {key: steady[key] for key in over}
        counts = self._counts.get(over)
        if counts is None or counts.versions != versions:
            counts = self._counts[over] = _Counts(versions)
        counts.rows[digest] = rows
        self._counts.move_to_end(over)


def _sources(plan: Operator) -> Iterator[Source]:
    """Yield what a plan reads, in the bodies of loops too."""
    for operator in topological(plan):
        if isinstance(operator, Scan):
            yield operator.source
        elif isinstance(operator, Loop):
            yield from _sources(operator.body)
            if isinstance(operator, DoWhile):
                yield from _sources(operator.condition)


__all__ = ["Facts", "Measurements"]
