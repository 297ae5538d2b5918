"""A session over sites: the same FedPy and SQL, with the sites among the platforms."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.api.dataframe import DataFrame
from umbel.api.located import here
from umbel.federation.manifest import Manifest
from umbel.federation.noise import with_noise
from umbel.federation.planning.catalogue import FederatedCatalogue
from umbel.federation.planning.platform import LEFT_OUT, SitePlatform
from umbel.federation.policy.rights import shown, tables_at
from umbel.federation.several import SessionOverSites
from umbel.federation.tasks import Dispatcher, Limits, Requester
from umbel.plan.errors import PlanError
from umbel.plan.operators import Operator, Scan, rebuild

if TYPE_CHECKING:
    from umbel.executor import Cancellation, Result
    from umbel.executor.record import StageRecord
    from umbel.federation.planning.asking_sites import SiteQuestions
    from umbel.federation.planning.standing import StandingQuestions
    from umbel.learning.gathering import Answers, Patience
    from umbel.optimizer import Budget
    from umbel.platforms.registry import Registry


class WithheldWarning(UserWarning):
    """An answer lacks groups that too few individuals are behind."""


def left_out(stages: Iterable[StageRecord]) -> list[str]:
    """What stages say of groups that sites left out of an answer."""
    return [note for stage in stages for note in stage.notes if note.endswith(LEFT_OUT)]


def said(stages: Iterable[StageRecord]) -> list[str]:
    """All that stages say."""
    return [note for stage in stages for note in stage.notes]


class FederatedSession(SessionOverSites):
    """Runs plans over sites on behalf of one user.

    Attributes:
        federation: the tables of the sites.
    """

    def __init__(
        self,
        manifests: Iterable[Manifest],
        dispatcher: Dispatcher,
        requester: Requester | None = None,
        *,
        limits: Limits | None = None,
        platforms: Registry | None = None,
        **settings: Any,
    ) -> None:
        """Make a session.

        Args:
            manifests: what the sites say of themselves.
            dispatcher: takes tasks to them.
            requester: on whose behalf; None for one without a name.
            limits: what each task may take.
            platforms: what may run something besides; None for the engines that are installed.
            settings: as those of `Session`.
        """
        super().__init__(platforms=platforms, **settings)
        self._questions: SiteQuestions | None = None
        known = sorted(manifests, key=lambda manifest: manifest.site)
        requester = requester or Requester("nobody")
        for manifest in known:
            site = SitePlatform(manifest, dispatcher, requester, limits)
            self.platforms().add(site)
            self.catalog.add(site)
        self.federation = FederatedCatalogue(known)
        for table in self.federation:
            # Tables whose parts differ are found, and say so, when somebody asks for them.
            if not table.differences():
                self.registered[table.name] = DataFrame(table.operator(), self)

    def rows_of_sites(self, name: str) -> Operator:
        """Give the rows of all sites that publish a table."""
        return _written_here(self.federation[name].operator())

    def policy_of(self, plan: Operator) -> str:
        """Say what of a plan's tables may leave their sites for this session's user."""
        sites = {p.name: p for p in self.platforms() if isinstance(p, SitePlatform)}
        found = {
            (name, table): sites[name].policy_lines(table)
            for name, table in tables_at(plan)
            if name in sites
        }
        return shown(found) if found else super().policy_of(plan)

    def missing(self, name: str) -> PlanError | None:
        """Say why a table of the federation cannot be had: its parts have different columns."""
        if name in self.federation:
            try:
                self.federation[name].operator()
            except PlanError as error:
                return error
        return None

    def run(
        self,
        plan: Operator,
        budget: Budget | None = None,
        *,
        cancellation: Cancellation | None = None,
        deliver: Callable[[pa.Table], None] | None = None,
        **settings: Any,
    ) -> Result:
        """Run a plan; warns if sites left groups out of the answer."""
        result = super().run(plan, budget, cancellation=cancellation, deliver=deliver, **settings)
        notes = left_out(result.run.stages)
        if notes:
            warnings.warn("; ".join(dict.fromkeys(notes)), WithheldWarning, stacklevel=3)
        return replace(result, data=with_noise(result.data, said(result.run.stages)))

    def ask_sites(
        self,
        plans: Mapping[str, Operator],
        patience: Patience,
        *,
        name: str = "",
        signed: Mapping[str, str] | None = None,
    ) -> Answers | None:
        """Ask each site for what lies wholly there, without planning anything.

        Args:
            plans: what to ask, by any name.
            patience: how long to wait, and for how many.
            name: of the question; empty makes one.
            signed: the plans as texts, if the user has signed these.
        """
        return self._site_questions().ask(plans, patience, name, signed)

    def stand(self, plans: Mapping[str, Operator], *, name: str = "") -> StandingQuestions | None:
        """Have each site take a question that is asked again and again; None if some cannot.

        Args:
            plans: what to ask, by any name.
            name: of the question; empty makes one.
        """
        return self._site_questions().stand(plans, name)

    def _site_questions(self) -> SiteQuestions:
        if self._questions is None:
            from umbel.federation.planning.asking_sites import SiteQuestions

            self._questions = SiteQuestions(self.platforms, self.memory_limit or 2**30)
        return self._questions

    def __repr__(self) -> str:
        return f"Session of a federation of {', '.join(self.catalog)}"


def _written_here(plan: Operator) -> Operator:
    origin = here()

    def place(operator: Operator) -> Operator:
        return (
            Scan(source=operator.source, origin=origin) if isinstance(operator, Scan) else operator
        )

    return rebuild(plan, place)


__all__ = ["FederatedSession", "WithheldWarning", "left_out"]
