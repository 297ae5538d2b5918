"""A plan of a user's, and the session that answers it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.executor import Cancellation, Result
from umbel.executor.events import Event
from umbel.executor.runs import Ready, RunStore, begin, restored, run_ready
from umbel.executor.runs.history import RunEvent
from umbel.executor.runs.store import Owned
from umbel.federation.access import Principal
from umbel.federation.coordinator.sites import CoordinatorSession, RunDispatcher
from umbel.federation.coordinator.tables import without
from umbel.federation.planning import SitePlatform
from umbel.federation.protocol import FAIL
from umbel.federation.signed.statements import Signed
from umbel.federation.work_trace import answering
from umbel.optimizer import Budget
from umbel.optimizer.execution_plan import PlannedStage
from umbel.plan.encoder import schema_to_json
from umbel.plan.operators import Operator


@dataclass(frozen=True)
class Ways:
    """How a plan is to be run.

    Attributes:
        budget: bounds on the estimates.
        purpose: what the answer is for, in the user's word.
        missing: what to do about sites that are away: "wait", "fail" or "skip".
        trace: the traceparent of who asks; empty if they do not trace.
        signed: what the user has signed of it, for the sites.
    """

    budget: Budget | None = None
    purpose: str = ""
    missing: str = FAIL
    trace: str = ""
    signed: Signed | None = None


@dataclass(frozen=True)
class Asker:
    """Answers plans on behalf of one user.

    Attributes:
        session: plans and runs.
        dispatcher: takes tasks to sites; None if no site can connect.
        trace: the traceparent of the user.
    """

    session: CoordinatorSession
    dispatcher: RunDispatcher | None
    trace: str = ""

    def answer(
        self,
        ready: Ready,
        *,
        cancellation: Cancellation,
        deliver: Callable[[pa.Table], None],
        listener: Callable[[Event], None],
        ending: Callable[[Result], Iterable[RunEvent]],
        seconds: float,
    ) -> Result:
        """Run a plan that is kept.

        What sites committed the wire keeps, and gives it to who asks for the same work again; so
        of stages only those are kept here that this process has run.

        Args:
            ready: the run.
            cancellation: stops it.
            deliver: takes the rows, and keeps them.
            listener: is told of events.
            ending: gives what is to be kept with its end.
            seconds: that it may take.
        """
        if self.dispatcher is not None:
            self.dispatcher.limit(seconds)
        facts = self.session.facts(ready.root)
        with answering(self.trace):
            result = run_ready(
                ready,
                self.session.platforms(),
                cancellation,
                delivered=True,
                elsewhere=_at_a_site,
                ending=ending,
                deliver=deliver,
                listener=listener,
                progress=False,
                memory_limit=self.session.memory_limit,
            )
        self.session.remember(result.run, facts)
        return result


def _at_a_site(planned: PlannedStage) -> bool:
    return isinstance(planned.platform, SitePlatform)


@dataclass(frozen=True)
class Question:
    """A plan that a user sent, read and checked.

    Attributes:
        who: asks.
        plan: what is asked.
        text: as it was sent.
        ways: how it is to be run.
        asker: answers it.
        missing: the sites that are away, and whose parts of its tables the answer will lack.
        covers: the sites whose tables it reads.
        horizontal: the tables of which it wants the parts of all sites.
    """

    who: Principal
    plan: Operator
    text: bytes
    ways: Ways
    asker: Asker
    missing: tuple[str, ...] = ()
    covers: tuple[str, ...] = ()
    horizontal: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Identifies what was sent."""
        return hashlib.sha256(self.text).hexdigest()

    def begin(self, store: RunStore, name: str, limit: int) -> Ready:
        """Keep it as a run; from now on it outlives this process.

        Args:
            store: where runs are kept.
            name: the run's.
            limit: bytes of the tables that it brings.
        """
        session = self.asker.session
        about: dict[str, Any] = {
            "user": self.who.user,
            "roles": [role.value for role in self.who.roles],
            "purpose": self.ways.purpose,
            "on_missing_site": self.ways.missing,
            "trace": self.ways.trace,
            "missing": list(self.missing),
            "covers": list(self.covers),
            "horizontal": list(self.horizontal),
            "asked": self.digest,
            "schema": schema_to_json(self.plan.schema),
        }
        if self.ways.signed is not None:
            about["signed"] = asdict(self.ways.signed)
        return begin(
            self.plan,
            store=store,
            platforms=session.platforms(),
            run_id=name,
            measured=lambda plan: session.facts(plan).rows,
            budget=self.ways.budget,
            about=about,
            input_limit=limit,
        )


@dataclass(frozen=True)
class Job:
    """A run that this process owns, and who answers it.

    Attributes:
        asker: answers it.
        ready: the run.
        missing, covers: the sites without which it goes on, and those that it asks.
    """

    asker: Asker
    ready: Ready
    missing: tuple[str, ...]
    covers: tuple[str, ...]

    @classmethod
    def again(cls, owned: Owned, asker: Asker, left: Collection[str]) -> Job:
        """Bring a run back that was begun before, without the sites that have left since.

        Raises:
            SiteError: nothing is left of a table.
        """
        about = owned.run.options
        ready = restored(owned, platforms=asker.session.platforms())
        missing, covers = set(about["missing"]), set(about["covers"])
        if left:
            root = without(ready.root, left, about.get("horizontal", ()))
            ready = replace(ready, root=root)
            missing, covers = missing | set(left), covers - set(left)
        return cls(asker, ready, tuple(sorted(missing)), tuple(sorted(covers)))


__all__ = ["Asker", "Job", "Question", "Ways"]
