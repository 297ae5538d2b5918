"""Asks sites for what lies wholly at each, without planning anything.

A round of training asks the same of all sites as the last one, but for the state. Planning that anew
costs more than the round: so each plan goes straight to its site as a task, which the site decides
on, counts and writes down as any other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from umbel.catalog.commits import Commit
from umbel.dataclass import dataclass
from umbel.executor import Cancellation
from umbel.executor.run_ids import new_id
from umbel.federation.planning.platform import SitePlatform
from umbel.federation.planning.standing import StandingQuestions
from umbel.learning.gathering import Answers, Patience, ask_each
from umbel.optimizer.rewrite import rewrite
from umbel.plan.expressions import Column
from umbel.plan.operators import Operator, Project, Summing
from umbel.platforms.base import Stage

#: Digits of what a question is called.
_DIGITS = 16
#: Inputs of which it is kept how few columns are read of them.
_MOST_KEPT = 1_000


@dataclass(frozen=True)
class _Context:
    """The services of a task that has no run around it."""

    run_id: str
    cancellation: Cancellation
    memory_limit: int
    profile: bool = False
    commit: Commit | None = None

    @property
    def scratch(self) -> Path:
        """Where files of the machine go; a task at a site writes none here."""
        return Path(tempfile.gettempdir())

    def check_cancelled(self) -> None:
        """Raise if nobody waits any more."""
        self.cancellation.check()

    def on_cancel(self, interrupt: Callable[[], None]) -> None:
        """Call what stops the task when nobody waits any more."""
        self.cancellation.register(interrupt)

    def measure(self, operator: Operator, rows: int, seconds: float | None = None) -> None:
        """Keep nothing: there is no plan to do better with it."""

    def progress(self, operator: Operator, rows: int) -> None:
        """Tell nobody."""


class SiteQuestions:
    """Asks the sites of one session."""

    def __init__(self, platforms: Callable[[], Iterable[object]], memory_limit: int) -> None:
        """Prepare; `platforms` gives those of the session, the sites among them."""
        self._platforms = platforms
        self._memory_limit = memory_limit
        self._narrow: dict[tuple[str, tuple[str, ...]], Operator] = {}

    def ask(
        self,
        plans: Mapping[str, Operator],
        patience: Patience,
        name: str = "",
        signed: Mapping[str, str] | None = None,
    ) -> Answers | None:
        """Ask each site; None if some plan does not lie wholly at one.

        Args:
            plans: what to ask, by any name.
            patience: how long to wait, and for how many.
            name: of the question, for what the sites write down.
            signed: the plans as texts, if the user has signed these.

        Raises:
            PolicyError: a site lets out nothing of this.
        """
        found = self._found(plans)
        if found is None:
            return None
        run = name or new_id(_DIGITS)

        def one(part: str, cancellation: Cancellation) -> pa.Table:
            context = _Context(run, cancellation, self._memory_limit)
            platform, plan = found[part]
            text = None if signed is None else signed[part]
            return platform.compile_signed(Stage(plan), text).run({}, context)

        return ask_each(found, one, patience)

    def stand(self, plans: Mapping[str, Operator], name: str = "") -> StandingQuestions | None:
        """Have each site take a question that is asked again and again; None if some cannot.

        Args:
            plans: what to ask, by any name; the numbers in them are those of nobody yet.
            name: of the question, for what the sites write down.

        Raises:
            PolicyError: a site lets out nothing of this.
        """
        found = self._found(plans)
        if found is None:
            return None
        run, lines = name or new_id(_DIGITS), {}
        try:
            for part, (platform, plan) in found.items():
                line = platform.stand(plan, run)
                if line is None:
                    return None
                lines[part] = line
        finally:
            if len(lines) < len(found):
                for line in lines.values():
                    line.close()
        return StandingQuestions(lines)

    def _found(
        self, plans: Mapping[str, Operator]
    ) -> dict[str, tuple[SitePlatform, Summing]] | None:
        """Find where each plan lies; None if some does not lie wholly at one site."""
        sites = {p.name: p for p in self._platforms() if isinstance(p, SitePlatform)}
        found: dict[str, tuple[SitePlatform, Summing]] = {}
        for part, plan in plans.items():
            places = plan.places
            if len(places) != 1 or not isinstance(plan, Summing):
                return None
            (place,) = places
            if place not in sites:
                return None
            found[part] = (sites[place], self._narrowed(plan))
        for platform, plan in found.values():
            if platform.refuse(plan) is not None:
                return None
            denied = platform.withheld(plan) or platform.barred(plan, "")
            if denied is not None:
                raise denied
        return found

    def _narrowed(self, plan: Summing) -> Summing:
        """The operator over no more columns than it reads: the site's rules see those alone."""
        names = tuple(dict.fromkeys([*plan.design.columns, *plan.design.targets]))
        key = (plan.input.digest, names)
        if key not in self._narrow:
            if len(self._narrow) > _MOST_KEPT:
                self._narrow.clear()
            columns = tuple((column, Column(column)) for column in names)
            self._narrow[key] = rewrite(Project(input=plan.input, columns=columns))
        narrow = plan.with_inputs((self._narrow[key],))
        return narrow if isinstance(narrow, Summing) else plan


__all__ = ["SiteQuestions"]
