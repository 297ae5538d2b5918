"""The sites of a federation as a coordinator sees them, and a session over them for each run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from umbel.api.session import Session
from umbel.executor import Result
from umbel.executor.measurements import Measurements
from umbel.federation.access import Principal
from umbel.federation.errors import FederationError
from umbel.federation.manifest import Manifest
from umbel.federation.planning import FederatedSession
from umbel.federation.protocol import FAIL, SKIP, WAIT
from umbel.federation.store import Store
from umbel.federation.tasks import Data, Dispatcher, Limits, Outcome, Requester, Task
from umbel.federation.wire.dispatcher import WireDispatcher
from umbel.federation.wire.endpoint import FlightEndpoint
from umbel.optimizer import Budget
from umbel.plan.errors import PlacementError
from umbel.plan.operators import Operator
from umbel.platforms.base import RunContext

log = logging.getLogger("umbel.coordinator")

#: Seconds for which a site that is needed may be away, so that a restart of it is no failure.
_PATIENCE = 15.0


class CoordinatorSession(FederatedSession):
    """A session over sites for one run; what runs have counted it shares with others."""

    shared = Measurements()

    def run(self, plan: Operator, budget: Budget | None = None, **options: Any) -> Result:
        """Run a plan; what sites left out stands in the record, and the client warns of it."""
        return Session.run(self, plan, budget, **options)

    def _measured(self) -> Measurements:
        return self.shared


class RunDispatcher:
    """Takes the tasks of one run to sites, and lets go of their results when it is over."""

    def __init__(self, endpoint: FlightEndpoint, patience: float | None) -> None:
        self._endpoint = endpoint
        self._wire = WireDispatcher(endpoint, patience=patience)
        self._runs: set[str] = set()

    def run(
        self,
        task: Task,
        inputs: Mapping[str, Data],
        context: RunContext,
        deliver: Callable[[Data], None],
    ) -> Outcome:
        """Run a task; see `Dispatcher`."""
        self._runs.add(task.run)
        return self._wire.run(task, inputs, context, deliver)

    def close(self) -> None:
        """Let go of what sites committed for the run."""
        for run in self._runs:
            self._endpoint.forget(run)


class Sites:
    """The sites of a federation.

    Args:
        store: what the coordinator remembers of them.
        endpoint: where they connect; None where none can.
        base: the coordinator's own session: its engines, its databases.
    """

    def __init__(self, store: Store, endpoint: FlightEndpoint | None, base: Session) -> None:
        self._store = store
        self._endpoint = endpoint
        self._base = base
        self._manifests: dict[str, Manifest] = {}
        self._lock = threading.Lock()
        if endpoint is not None:
            endpoint.on_manifest = self._take
        for record in store.members.sites():
            known = record.name in self._manifests  # it has spoken by now
            if record.manifest is not None and record.revoked is None and not known:
                try:
                    self._take(record.name, record.manifest)
                except FederationError as error:
                    log.warning("what site %r publishes cannot be read: %s", record.name, error)

    def _take(self, site: str, text: str) -> None:
        """Take up what a site says that it publishes.

        Raises:
            FederationError: it is no manifest, or another site's.
        """
        manifest = Manifest.from_json(text)
        if manifest.site != site:
            raise FederationError(f"site {site!r} speaks for {manifest.site!r}")
        if site in self._base.catalog or site in self._base.platforms():
            raise FederationError(
                f"the coordinator has a database or an engine of the name {site!r}",
                hint="ask its operator to rename one of them",
            )
        with self._lock:
            self._manifests[site] = manifest

    def forget(self, site: str) -> None:
        """Forget what a site publishes."""
        with self._lock:
            self._manifests.pop(site, None)

    def manifests(self) -> list[Manifest]:
        """What the sites publish, by name."""
        # A site may have been revoked from the command line, by another process.
        shut = {site.name for site in self._store.members.sites() if site.revoked is not None}
        with self._lock:
            return [self._manifests[site] for site in sorted(self._manifests.keys() - shut)]

    def connected(self, site: str) -> bool:
        """Whether a site is there now."""
        return self._endpoint is not None and self._endpoint.presence(site).connected

    def dispatcher(self, missing: str) -> RunDispatcher | None:
        """Make what takes the tasks of a run to sites; None if no site can connect."""
        if self._endpoint is None:
            return None
        return RunDispatcher(self._endpoint, None if missing == WAIT else _PATIENCE)

    def session(
        self,
        who: Principal,
        *,
        purpose: str = "",
        missing: str = FAIL,
        dispatcher: Dispatcher | None = None,
        limits: Limits | None = None,
    ) -> tuple[CoordinatorSession, list[str]]:
        """Make a session over the sites for one user; give it, and the sites it goes on without.

        Args:
            who: the user.
            purpose: what the answer is for, in the user's word.
            missing: what to do about sites that are away.
            dispatcher: takes tasks to sites; None for planning alone.
            limits: what one task may take.
        """
        manifests = self.manifests()
        away: list[str] = []
        if missing == SKIP:
            away = [m.site for m in manifests if not self.connected(m.site)]
            manifests = [m for m in manifests if m.site not in away]
        base = self._base.platforms()
        session = CoordinatorSession(
            manifests,
            dispatcher or _Nowhere(),
            Requester(who.user, tuple(role.value for role in who.roles), purpose),
            limits=limits,
            platforms=base.only(*(platform.name for platform in base)),
            progress=False,
            memory_limit=self._base.memory_limit,
        )
        for name in self._base.catalog:
            session.catalog.add(self._base.catalog[name])
        return session, away

    def to_json(self) -> list[dict[str, Any]]:
        """Say what is known of each site."""
        found = []
        for site in self._store.members.sites():
            manifest = self._manifests.get(site.name)
            found.append(
                {
                    "name": site.name,
                    "state": self._state(site.name, site.revoked, site.seen),
                    "joined": _time(site.joined),
                    "seen": _time(site.seen),
                    "version": site.version,
                    "clock_ahead": site.clock_ahead,
                    "round_trip": site.round_trip,
                    **_published(manifest),
                }
            )
        return found

    def _state(self, name: str, revoked: float | None, seen: float | None) -> str:
        if revoked is not None:
            return "revoked"
        if self.connected(name):
            return "connected"
        return "joined" if seen is None else "away"


class _Nowhere:
    """Where no site can be reached: for planning alone."""

    def run(
        self,
        task: Task,
        inputs: Mapping[str, Data],
        context: RunContext,
        deliver: Callable[[Data], None],
    ) -> Outcome:
        raise PlacementError(f"site {task.site!r} cannot be reached from here")


def _published(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return {"tables": [], "engines": [], "link": None}
    return {
        "tables": [
            {"name": table.name, "form": table.rule.form.value, "rows": table.rows}
            for table in manifest.tables
        ],
        "engines": [f"{name} {version}".strip() for name, version in manifest.engines],
        "link": {
            "bandwidth": manifest.link.bandwidth,
            "latency": manifest.link.latency,
            "dollars_per_gb": manifest.link.dollars_per_gb,
        },
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


__all__ = ["CoordinatorSession", "RunDispatcher", "Sites"]
