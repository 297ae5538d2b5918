"""Execution plans that were made before, for questions that are asked again.

A plan is made from the question, the state of its sources, the rows that were counted of them, the
platforms, and the budget. It serves again while all of these are as they were, so that what runs
is what would be planned anew. Only questions over files of this machine and constants are kept:
databases and stores are asked anew, and whoever lets go of a table in memory gets its memory back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from threading import Lock

from umbel.catalog.versions import is_settled
from umbel.dataclass import dataclass
from umbel.executor.measurements import Facts
from umbel.optimizer import Budget, ExecutionPlan
from umbel.optimizer.execution_plan import PlannedStage
from umbel.plan.operators import Element, Operator, Scan, topological
from umbel.plan.origin import Origin
from umbel.platforms.base import CompiledStage, Elsewhere, Platform
from umbel.platforms.costs import CostProfile, Price
from umbel.platforms.refusal import RELATIONAL
from umbel.platforms.registry import Registry

#: A question: what it computes, and the lines that wrote it, which errors and records name.
_Key = tuple[str, tuple[Origin | None, ...]]


@dataclass(frozen=True)
class _Setting:
    """What may run plans, and at which prices."""

    platforms: tuple[Platform, ...]
    profiles: tuple[CostProfile, ...]
    prices: Mapping[str, Price]
    up: frozenset[str]
    budget: Budget | None

    @classmethod
    def of(cls, platforms: Registry, budget: Budget | None, up: frozenset[str] | None) -> _Setting:
        every = tuple(platforms)
        if up is None:
            up = frozenset(platform.name for platform in every if platform.started())
        profiles = tuple(platforms.costs(platform) for platform in every)
        return cls(every, profiles, dict(platforms.prices), up, budget)

    def is_as(self, other: _Setting) -> bool:
        """Whether plans for the one are plans for the other."""
        return (
            len(self.platforms) == len(other.platforms)
            and all(a is b for a, b in zip(self.platforms, other.platforms, strict=True))
            and all(a is b or a == b for a, b in zip(self.profiles, other.profiles, strict=True))
            and (self.prices, self.up, self.budget) == (other.prices, other.up, other.budget)
        )


class _Asked(Mapping[str, float]):
    """Counted rows that remember of which operators they were asked, and what they answered."""

    def __init__(self, rows: Mapping[str, float]) -> None:
        self._rows = rows
        self.answers: dict[str, float | None] = {}

    def __getitem__(self, digest: str) -> float:
        answer = self.answers[digest] = self._rows.get(digest)
        if answer is None:
            raise KeyError(digest)
        return answer

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __bool__(self) -> bool:
        return True  # where nothing is known yet, that is an answer too


@dataclass
class Prepared:
    """An execution plan, and what it was made from.

    Attributes:
        plan: the plan.
        before: it was made for an earlier run.
    """

    plan: ExecutionPlan
    setting: _Setting
    versions: Mapping[str, str]
    counted: Mapping[str, float | None]
    before: bool = False
    _idle: dict[int, CompiledStage] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def holds(self, setting: _Setting, facts: Facts) -> bool:
        """Whether planning anew would give the same plan."""
        return (
            self.setting.is_as(setting)
            and self.versions == facts.versions
            and all(facts.rows.get(digest) == rows for digest, rows in self.counted.items())
        )

    def take(self, planned: PlannedStage) -> CompiledStage | None:
        """A compiled stage that no run uses; it is the taker's alone until it is given back."""
        with self._lock:
            return self._idle.pop(id(planned), None)

    def give_back(self, stages: Mapping[int, CompiledStage]) -> None:
        """Keep compiled stages that did their work, by the identity of what was planned."""
        with self._lock:
            self._idle.update(stages)


class Preparations:
    """The plans that a session keeps.

    Args:
        limit: plans that are kept; those not asked for the longest time are forgotten.
    """

    def __init__(self, limit: int = 100) -> None:
        self._limit = limit
        self._kept: OrderedDict[_Key, Prepared] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def over(self, facts: Facts) -> Preparing:
        """The same for one run, which knows the states of its sources."""
        return Preparing(self, facts)

    def find(self, key: _Key, setting: _Setting, facts: Facts) -> Prepared | None:
        """The plan of a question, if it is still what would be planned."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            if not found.holds(setting, facts):
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
            return found

    def keep(self, key: _Key, prepared: Prepared) -> None:
        """Keep a plan, in the place of an older one."""
        with self._lock:
            self._kept[key] = prepared
            self._kept.move_to_end(key)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)


@dataclass(frozen=True)
class Preparing:
    """How one run gets its plan."""

    store: Preparations
    facts: Facts

    def plan(
        self,
        root: Operator,
        platforms: Registry,
        budget: Budget | None,
        up: frozenset[str] | None,
        make: Callable[[Mapping[str, float]], ExecutionPlan],
    ) -> Prepared:
        """Give the plan of a question, made before or now.

        Args:
            root: the question.
            platforms: what may run it.
            budget: bounds on the estimated cost.
            up: names of the platforms to be taken as started; None asks them.
            make: plans, given the rows that were counted.
        """
        if not _may_be_kept(root):
            setting = _Setting((), (), {}, frozenset(), budget)
            return Prepared(make(self.facts.rows), setting, {}, {})
        key = root.digest, tuple(operator.origin for operator in topological(root))
        setting = _Setting.of(platforms, budget, up)
        found = self.store.find(key, setting, self.facts)
        if found is not None:
            found.before = True
            return found
        asked = _Asked(self.facts.rows)
        plan = make(asked)
        prepared = Prepared(plan, setting, self.facts.versions, asked.answers)
        # Planning may have started an engine: then the setting is another by now.
        now = _Setting.of(platforms, budget, up)
        if setting.is_as(now) and self._is_steady(plan, platforms):
            self.store.keep(key, prepared)
        return prepared

    def _is_steady(self, plan: ExecutionPlan, platforms: Registry) -> bool:
        """Whether what a plan rests on can be told to have changed, or not."""
        sources = self.facts.sources
        return sources.keys() == self.facts.versions.keys() and all(
            stage.platform.name not in platforms.attached
            and not isinstance(stage.platform, Elsewhere)
            for stage in plan.stages
        ) and all(is_settled(source) for source in sources.values())  # fmt: skip


def _may_be_kept(root: Operator) -> bool:
    """Whether a question is all expressions: functions of the user's may change their minds."""
    return root.element is Element.ROW and not root.places and all(
        isinstance(operator, RELATIONAL)
        and not (isinstance(operator, Scan) and operator.element is not Element.ROW)
        for operator in topological(root)
    )  # fmt: skip


__all__ = ["Preparations", "Prepared", "Preparing"]
