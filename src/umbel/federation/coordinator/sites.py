"""The sites of a federation as a coordinator sees them, and a session over them for each run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from umbel.api.session import Session
from umbel.executor import Run
from umbel.executor.measurements import Facts, Measurements
from umbel.federation.access import Principal
from umbel.federation.errors import FederationError
from umbel.federation.manifest import Manifest
from umbel.federation.planning import FederatedSession
from umbel.federation.policy.rights import rights
from umbel.federation.protocol import WAIT
from umbel.federation.signed.statements import Signed
from umbel.federation.standing import Line
from umbel.federation.store import Store, TaskRecord
from umbel.federation.tasks import Data, Dispatcher, Outcome, Requester, Task
from umbel.federation.wire.dispatcher import WireDispatcher
from umbel.federation.wire.endpoint import FlightEndpoint
from umbel.plan.errors import PlacementError
from umbel.platforms.base import RunContext
from umbel.telemetry.logs import say

log = logging.getLogger("umbel.coordinator")

#: Seconds for which a site that is needed may be away, so that a restart of it is no failure; and
#: after a restart of ours, when all sites dial again, with growing pauses.
_PATIENCE, _PATIENCE_AFTER_RESTART = 15.0, 60.0
#: Seconds that a task has at least: what is left of a run's time may be nothing by now.
_LEAST_SECONDS = 0.1


class CoordinatorSession(FederatedSession):
    """A session over sites for one run; what runs have counted it shares with others."""

    shared = Measurements()

    def remember(self, run: Run, facts: Facts) -> None:
        """Keep what a run has counted."""
        self.shared.remember(run, facts)

    def _measured(self) -> Measurements:
        return self.shared


class RunDispatcher:
    """Takes the tasks of one run to sites, each with the time that is left to the run."""

    def __init__(self, endpoint: FlightEndpoint, patience: float | None) -> None:
        self._wire = WireDispatcher(endpoint, patience=patience, waiting=self._waiting)
        self._end: float | None = None
        self._lock = threading.Lock()
        self._waits, self._since, self._waited = 0, 0.0, 0.0

    def limit(self, seconds: float) -> None:
        """Let the run have so many seconds from now on."""
        self._end = time.monotonic() + seconds

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Wait for a person: what they take to decide is not the run's own time."""
        with self._lock:
            self._waits += 1
            if self._waits == 1:
                self._since = time.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self._waits -= 1
                if not self._waits:
                    seconds = time.monotonic() - self._since
                    self._waited += seconds
                    if self._end is not None:
                        self._end += seconds

    def waited(self) -> float:
        """For how many seconds the run has waited for people."""
        with self._lock:
            now = time.monotonic() - self._since if self._waits else 0.0
            return self._waited + now

    def run(
        self,
        task: Task,
        inputs: Mapping[str, Data],
        context: RunContext,
        deliver: Callable[[Data], None],
    ) -> Outcome:
        """Run a task; see `Dispatcher`."""
        return self._wire.run(self._limited(task), inputs, context, deliver)

    def stand(self, task: Task) -> Line:
        """Ask a site to take a standing question, for as long as it is asked."""
        return self._wire.stand(task)

    def _limited(self, task: Task) -> Task:
        """The task with the time that is left: the site keeps it by its own clock."""
        if self._end is None:
            return task
        left = max(_LEAST_SECONDS, self._end - time.monotonic())
        if task.limits.seconds is not None:
            left = min(left, task.limits.seconds)
        return replace(task, limits=replace(task.limits, seconds=left))


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
                    say(
                        log,
                        logging.WARNING,
                        "site.manifest",
                        "it cannot be read",
                        cause=error,
                        site=record.name,
                    )

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

    def away(self) -> dict[str, Manifest]:
        """What the sites publish that are not there now."""
        return {m.site: m for m in self.manifests() if not self.connected(m.site)}

    def dispatcher(self, missing: str, *, restarted: bool = False) -> RunDispatcher | None:
        """Make what takes the tasks of a run to sites; None if no site can connect.

        Args:
            missing: what to do about a site that is away.
            restarted: we were, and the run goes on.
        """
        if self._endpoint is None:
            return None
        patience = _PATIENCE_AFTER_RESTART if restarted else _PATIENCE
        return RunDispatcher(self._endpoint, None if missing == WAIT else patience)

    def session(
        self,
        who: Principal,
        *,
        purpose: str = "",
        without: Container[str] = (),
        dispatcher: Dispatcher | None = None,
        signed: Signed | None = None,
    ) -> CoordinatorSession:
        """Make a session over the sites for one user.

        Args:
            who: the user.
            purpose: what the answer is for, in the user's word.
            without: sites that it does not know of.
            dispatcher: takes tasks to sites; None for planning alone.
            signed: what the user has signed, for sites.
        """
        base = self._base.platforms()
        session = CoordinatorSession(
            [manifest for manifest in self.manifests() if manifest.site not in without],
            dispatcher or _Nowhere(),
            Requester(who.user, tuple(role.value for role in who.roles), purpose, signed),
            platforms=base.only(*(platform.name for platform in base)),
            progress=False,
            memory_limit=self._base.memory_limit,
        )
        for name in self._base.catalog:
            session.catalog.add(self._base.catalog[name])
        return session

    def tasks(self, run: str) -> list[TaskRecord]:
        """What sites were asked for in a run, as far as it is not forgotten."""
        return self._store.tasks.of_run(run)

    def let_go(self, run: str) -> None:
        """Forget what sites committed for a run."""
        if self._endpoint is not None:
            self._endpoint.forget(run)

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
            {
                "name": table.name,
                "form": table.rule.form.value,
                "rows": table.rows,
                "policy": rights(table.rules),
            }
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
