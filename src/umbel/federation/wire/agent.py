"""The site's agent: dials the coordinator, waits for work, does it.

It listens on nothing, unless it is told to take what other sites bring straight.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from pathlib import Path

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.federation.audit import AuditLog
from umbel.federation.errors import FederationError, IdentityError
from umbel.federation.identity.cards import Peers, sealing_key
from umbel.federation.identity.signing import CertifiedIdentity
from umbel.federation.tasks import Execute, Failure, Task
from umbel.federation.wire import messages
from umbel.federation.wire.connection import Connection, SiteIdentity, UnreachableError, within
from umbel.federation.wire.jobs import Backoff, Job
from umbel.federation.wire.messages import Held, Lease, Polled, Refused, RefusedError
from umbel.federation.wire.routes import Door
from umbel.federation.wire.seals import Seals
from umbel.federation.wire.spool import Draft, Spool
from umbel.federation.wire.standing import StandingJob
from umbel.federation.wire.witness import Witness
from umbel.telemetry.logs import say

_LOG = logging.getLogger(__name__)

#: Bytes that finished results may take at the site, until the coordinator has them.
SPOOL_BYTES = 16 << 30
#: Tasks that a site takes on; those for which it has no hand free wait here.
_MOST_JOBS = 64
#: Parts on their way at once, each of another segment: six of a megabyte were the quickest.
_UPLOADS = 6
#: Bytes of one task's message.
_LARGEST_ENVELOPE = 40 << 20


@dataclass(frozen=True)
class AgentConfig:
    """What an agent needs to know.

    Attributes:
        folder: where joining left the site's key and certificates; results wait in it, too.
        address: host and port of the coordinator's endpoint for sites.
        slots: tasks that are run at once.
        spool_bytes: what finished results may take on the disk.
        peers: fingerprints of the keys of the only sites to which results are sealed and from
            which they are taken, by name; None for all that have a certificate.
        listen: host and port of a door for what other sites bring straight; empty for none.
        routes: addresses of other sites' doors, by name: what is sealed to them goes straight.
    """

    folder: Path
    address: str
    slots: int = 2
    spool_bytes: int = SPOOL_BYTES
    peers: Mapping[str, str] | None = None
    listen: str = ""
    routes: Mapping[str, str] = field(default_factory=dict)


class Agent:
    """Does what the coordinator asks, as far as `execute` goes along."""

    def __init__(
        self,
        config: AgentConfig,
        execute: Execute,
        manifest: Callable[[], str] | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        """Make an agent; `run` starts it.

        Args:
            config: where things are.
            execute: runs a task under the site's own rules.
            manifest: says what the site publishes, as JSON; None if nothing.
            audit: the site's log, whose heads the coordinator countersigns; None if it has none.

        Raises:
            IdentityError: the site has not joined, or its certificate is no good.
        """
        self._config = config
        self._execute = execute
        self._manifest = manifest
        self._identity = SiteIdentity.read(config.folder)
        self._identity.check()
        self._witness = Witness(audit, self._identity.root)
        key = sealing_key(config.folder)
        self.door: Door | None = None
        if config.listen:
            folder = config.folder / "door"
            known = config.peers
            self.door = Door(self._identity, config.listen, folder, config.spool_bytes, known)
        shown = "" if self.door is None else self.door.certificate
        self._connection = Connection(self._identity, config.address, key, shown)
        self._seals = Seals(
            lambda: self._connection.identity, key, config.peers, config.routes, self.door
        )
        self._spool = Spool(config.folder / "spool", config.spool_bytes)
        self._jobs: dict[str, Job] = {}
        self._lock = threading.RLock()
        self._number = 0
        self._stop = threading.Event()
        self._published: str | None = None
        self._workers = ThreadPoolExecutor(config.slots, thread_name_prefix="umbel-task")
        self._uploads = ThreadPoolExecutor(_UPLOADS, thread_name_prefix="umbel-upload")
        self._thread: threading.Thread | None = None

    @property
    def site(self) -> str:
        """The site's name."""
        return self._identity.site

    @property
    def signer(self) -> CertifiedIdentity:
        """Signs what goes to other sites, with the certificate as it is now."""
        own = self._connection.identity
        peers = Peers(own.certificate.party.federation, own.root, self._config.peers)
        return CertifiedIdentity(own.certificate, peers, own.key)

    def run(self) -> None:
        """Work until `stop`.

        Raises:
            IdentityError: this site may not speak: its certificate expired or was revoked, or the
                clock is wrong.
            FederationError: another process speaks for this site, or the coordinator speaks
                another version.
        """
        try:
            for sealed in self._spool.recover():
                task, token = sealed.manifest.task, sealed.manifest.token
                self._begin(self._job(task, token, sealed))
            self._serve()
        finally:
            self._end()

    def start(self) -> None:
        """Work on a thread of its own; `stop` ends it."""
        self._thread = threading.Thread(target=self._run_logged, name="umbel-agent", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, from any thread; sealed results stay for the next start."""
        self._stop.set()
        # A newer poll ends the one that waits.
        try:
            self._poll(0.0, 0)
        except FederationError as error:
            say(_LOG, logging.DEBUG, "agent.stops", "without a word", cause=error)
        if self._thread is not None:
            self._thread.join()

    def republish(self) -> None:
        """Tell the coordinator anew what the site publishes."""
        self._published = None

    def _run_logged(self) -> None:
        try:
            self.run()
        except FederationError as error:
            say(_LOG, logging.ERROR, "agent.ends", error.message, cause=error, site=self.site)

    def _end(self) -> None:
        self._stop.set()
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.stop()
        self._workers.shutdown(cancel_futures=True)
        self._uploads.shutdown(cancel_futures=True)
        self._connection.close()
        if self.door is not None:
            self.door.close()

    def _serve(self) -> None:
        backoff, told = Backoff(), False
        while not self._stop.is_set():
            try:
                self._keep_up()
                polled = self._poll(self._connection.poll_seconds, self._free())
                backoff, told = Backoff(), False
                self._take(*polled)
            except UnreachableError:
                if self._stop.is_set():
                    return
                if not told:
                    say(_LOG, logging.WARNING, "coordinator.away", self._connection.diagnose())
                    told = True
                self._stop.wait(backoff.next())
            except RefusedError as refusal:
                if refusal.why not in (Refused.RESOURCE, Refused.INTERNAL, Refused.SESSION):
                    if self._stop.is_set():
                        return
                    raise
                say(_LOG, logging.WARNING, "coordinator.refuses", refusal.message)
                self._stop.wait(backoff.next())

    def _keep_up(self) -> None:
        """Renew the certificate in time, and say what changed at the site."""
        if self._connection.renewal_due:
            try:
                self._connection.renew()
                say(_LOG, logging.INFO, "certificate", "it was renewed", site=self.site)
            except (UnreachableError, RefusedError) as error:
                # There is a third of its life left to try.
                say(_LOG, logging.WARNING, "certificate", f"not renewed: {error.message}")
        if self._manifest is not None and self._published is None:
            manifest = self._manifest()
            self._connection.ask(
                lambda session: messages.Publish(session=session),
                messages.Done,
                manifest.encode(),
            )
            self._published = manifest

    def _free(self) -> int:
        with self._lock:
            return max(0, _MOST_JOBS - len(self._jobs))

    def _poll(self, wait: float, slots: int) -> tuple[Polled, list[bytes]]:
        with self._lock:
            self._number += 1
            number = self._number
            holding = [Held(task=job.id, token=job.token) for job in self._jobs.values()]
        head = self._witness.unsigned()
        polled, parts = self._connection.ask(
            lambda session: messages.Poll(
                session=session,
                number=number,
                slots=slots,
                holding=holding,
                wait=wait,
                head=head,
            ),
            Polled,
            # A coordinator that hangs is noticed as soon as one that is cut off.
            seconds=wait + 6.0,
        )
        self._witness.hear(head, polled.countersigned)
        most = _LARGEST_ENVELOPE * max(1, len(polled.leases))
        return polled, [_bytes(part) for part in within(parts, most)]

    def _take(self, polled: Polled, envelopes: list[bytes]) -> None:
        comes = iter(envelopes)
        for lease in polled.leases:
            if lease.envelope:
                self._take_new(lease, next(comes, b""))
                continue
            with self._lock:
                job = self._jobs.get(lease.task)
            if job is not None:
                job.release(lease.token)
        for task in (*polled.cancel, *polled.release):
            with self._lock:
                job = self._jobs.pop(task, None)
            if job is not None:
                job.drop()

    def _take_new(self, lease: Lease, envelope: bytes) -> None:
        try:
            task = Task.from_json(envelope)
            if task.id != lease.task or task.site != self.site:
                raise FederationError("the task is not the one of its lease, or another site's")
        except FederationError as error:
            say(_LOG, logging.WARNING, "task.refused", cause=error, task=lease.task)
            self._refuse(lease, Failure.of(error))
            return
        self._begin(self._job(lease.task, lease.token, task, lease.trace))

    def _job(self, task: str, token: str, work: Task | Draft, trace: str = "") -> Job:
        stands = isinstance(work, Task) and work.stands
        return (StandingJob if stands else Job)(
            task, token, self._connection, work, self._seals, self._witness, trace
        )

    def _refuse(self, lease: Lease, failure: Failure) -> None:
        self._connection.ask(
            lambda session: messages.Fail(
                session=session, task=lease.task, token=lease.token, failure=failure.to_json()
            ),
            messages.Done,
        )

    def _begin(self, job: Job) -> None:
        with self._lock:
            before = self._jobs.get(job.id)
            self._jobs[job.id] = job
        if before is not None:
            before.drop()
        if isinstance(job, StandingJob):
            # It lasts as long as a training, and must not take the place of a task that ends.
            thread = threading.Thread(target=self._work, args=(job,), name="umbel-standing")
            thread.daemon = True
            thread.start()
        else:
            self._workers.submit(self._work, job)

    def _work(self, job: Job) -> None:
        try:
            job.run(self._execute, self._spool, self._uploads)
        finally:
            with self._lock:
                if self._jobs.get(job.id) is job:
                    del self._jobs[job.id]


def _bytes(part: pa.Buffer) -> bytes:
    return part.to_pybytes()


__all__ = ["SPOOL_BYTES", "Agent", "AgentConfig", "IdentityError"]
