"""The board on which the coordinator pins work, and from which sites take it.

Everything waits on conditions: a site's poll ends the moment there is something for it, and a
dispatcher wakes the moment its site has committed. Leases live here, in memory: who was given a
task, by which token. A token that is not the newest is worth nothing, so whatever comes late
changes nothing; and after a restart every lease is new. What a site has committed is in the store.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import field

from sqlalchemy.exc import SQLAlchemyError

from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError, SiteError
from umbel.federation.store import SegmentRecord, Store
from umbel.federation.store.tasks import CANCELLED, DONE, FAILED, LEASED, WAITING
from umbel.federation.tasks import Data, Failure, FailureCode, Outcome, Task
from umbel.federation.wire.messages import (
    Buffer,
    Held,
    Lease,
    Polled,
    Refused,
    RefusedError,
)
from umbel.telemetry import TaskTrace, active
from umbel.telemetry.logs import say

_LOG = logging.getLogger(__name__)

#: Seconds of one poll, and of silence after which a site counts as away.
POLL_SECONDS, LEASE_SECONDS = 8.0, 14.0
#: How often a task may be begun, and seconds before it is begun again after it failed.
MOST_ATTEMPTS, BACKOFF = 4, (0.2, 1.0, 5.0)
#: Of a task while its commit is being written.
_COMMITTING = "committing"
_OPEN = (WAITING, LEASED, _COMMITTING)


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a site is there.

    Attributes:
        connected: whether it was heard lately.
        silent: seconds since it was last heard; infinite if it was not since we started.
    """

    connected: bool
    silent: float


@dataclass(eq=False)
class Work:
    """A task on the board."""

    id: str
    site: str
    changed: threading.Condition
    task: Task | None = None
    inputs: Mapping[str, Data] = field(default_factory=dict)
    state: str = WAITING
    attempts: int = 0
    leased: float | None = None
    token: str = ""
    not_before: float = 0.0
    waiters: int = 0
    outcome: Outcome | None = None
    failure: Failure | None = None
    records: list[SegmentRecord] | None = None
    trace: TaskTrace | None = None
    #: The token under which its site gave it up: a poll from before that still says it holds it.
    given_up: str = ""
    #: Of a standing question, what is asked; see `umbel.federation.wire.lines`.
    line: object | None = None

    @property
    def open(self) -> bool:
        """Whether it has not come to an end."""
        return self.state in _OPEN

    def settle(self, state: str) -> None:
        """Come to an end, and tell those who wait."""
        self.state, self.token = state, ""
        if self.trace is not None:
            self.trace.end(state)
        self.changed.notify_all()


@dataclass(eq=False)
class _Site:
    wake: threading.Condition
    works: dict[str, Work] = field(default_factory=dict)
    epoch: str = ""
    number: int = -1
    polling: int = 0
    heard: float = float("-inf")
    card: str = ""


class Board:
    """Work for sites, and who has it."""

    def __init__(
        self,
        store: Store,
        *,
        poll_seconds: float = POLL_SECONDS,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.poll_seconds = poll_seconds
        self.lease_seconds = lease_seconds
        self._store = store
        self._lock = threading.RLock()
        self._sites: dict[str, _Site] = {}
        self._closed = False
        self._resting = False
        self._recorder = ThreadPoolExecutor(1, thread_name_prefix="umbel-record")

    # --- The side of the coordinator.

    def submit(self, task: Task, inputs: Mapping[str, Data]) -> Work:
        """Pin a task for its site; one that is there or done already is given as it is."""
        with self._lock:
            site = self._site(task.site)
            work = site.works.get(task.id)
            if work is None or work.state not in (*_OPEN, DONE):
                record = self._store.tasks.submit(task)
                work = Work(task.id, task.site, threading.Condition(self._lock))
                work.attempts = record.attempts
                if record.state == DONE:
                    work.state, work.outcome = DONE, record.outcome
                else:
                    site.works[task.id] = work
            work.task, work.inputs = task, inputs
            work.trace = work.trace or _traced(task)
            work.waiters += 1
            site.wake.notify_all()
            return work

    def wait(
        self,
        work: Work,
        patience: float | None,
        enough: Callable[[], bool] | None = None,
        until: float | None = None,
    ) -> None:
        """Wait until a task is done, failed or cancelled.

        Args:
            work: the task.
            patience: seconds for which its site may be away; None: however long.
            enough: whether what is waited for has come before that; None for nothing else.
            until: the time, by the monotonic clock, until which is waited; None: however long.

        Raises:
            SiteError: the site is away for longer.
        """
        with self._lock:
            site = self._site(work.site)
            began = time.monotonic()
            while work.open and not self._closed and not (enough is not None and enough()):
                now = time.monotonic()
                if until is not None and now >= until:
                    return
                away = 0.0 if self._there(site) else now - max(site.heard, began)
                if away and work.state == LEASED and self._silent(site) > self.lease_seconds:
                    self._lose(work)
                if patience is not None and away > patience:
                    raise SiteError(
                        f"site {work.site!r} is away",
                        hint=f"it was not heard for {away:.0f} s; is `umbel site run` running "
                        "there, and does it reach this coordinator?",
                        site=work.site,
                        retryable=True,
                    )
                self._await_readers(work, now - began, patience)
                # Somebody's poll or commit wakes us; the time is only for their absence.
                least = self.lease_seconds if patience is None else min(patience, 5.0)
                bound = least if until is None else min(least, until - now)
                work.changed.wait(max(0.05 if until is None else 0.0, bound))

    def _await_readers(self, work: Work, waited: float, patience: float | None) -> None:
        """Raise if a site to which an output is to be sealed does not come.

        It cannot be begun before: by which key to seal, each site shows when it says hello.
        """
        for reader in () if work.task is None else work.task.to:
            site = self._site(reader)
            if not site.card and self._there(site):
                raise SiteError(
                    f"site {reader!r} has shown no key by which to seal to it",
                    hint="install the same version of umbel there",
                    site=reader,
                )
            if not site.card and patience is not None and waited > patience:
                raise SiteError(
                    f"site {reader!r} is away",
                    hint=f"what site {work.site!r} gives to it cannot be sealed before it was here",
                    site=reader,
                    retryable=True,
                )

    def leave(self, work: Work) -> None:
        """Say that one waits no more; a task for which nobody waits is cancelled.

        Unless we are being stopped: then sites go on, and a resumed run gets what they did.
        """
        with self._lock:
            work.waiters -= 1
            if self._closed or work.waiters > 0 or work.state not in (WAITING, LEASED):
                return
            work.settle(CANCELLED)
            self._store.tasks.cancel(work.id)
            self._site(work.site).wake.notify_all()

    def interrupt(self, work: Work) -> None:
        """Wake those who wait for a task, with the word that it is cancelled."""
        with self._lock:
            if work.state in (WAITING, LEASED) and not self._closed:
                work.settle(CANCELLED)
                self._store.tasks.cancel(work.id)
                self._site(work.site).wake.notify_all()

    def redo(self, work: Work) -> None:
        """Have a task done again whose result cannot be read any more."""
        with self._lock:
            self._store.tasks.undo(work.id)
            work.state, work.outcome, work.attempts, work.records = WAITING, None, 0, None
            site = self._site(work.site)
            site.works[work.id] = work
            site.wake.notify_all()

    def reject(self, work: Work, message: str) -> None:
        """Undo a result that is none: whoever asks for the task again has it done again."""
        with self._lock:
            self._store.tasks.undo(work.id)
            self._fail(work, Failure(FailureCode.PERMANENT, message))

    @property
    def ending(self) -> bool:
        """Whether whatever waits at the door is to end, at least for now."""
        return self._closed or self._resting

    def presence(self, site: str) -> Presence:
        """Say whether a site is there."""
        with self._lock:
            found = self._site(site)
            return Presence(self._there(found), self._silent(found))

    @contextmanager
    def rest(self) -> Iterator[None]:
        """Keep no poll waiting while a block runs: the door is about to be opened anew."""
        with self._lock:
            self._resting = True
            for site in self._sites.values():
                site.wake.notify_all()
                for work in site.works.values():
                    work.changed.notify_all()
        try:
            yield
        finally:
            with self._lock:
                self._resting = False

    def close(self) -> None:
        """Wake all who wait; there will be no more work."""
        with self._lock:
            self._closed = True
            for site in self._sites.values():
                site.wake.notify_all()
                for work in site.works.values():
                    work.changed.notify_all()
        self._recorder.shutdown()

    # --- The side of the sites.

    def poll(
        self,
        name: str,
        epoch: str,
        number: int,
        holding: Sequence[Held],
        slots: int,
        wait: float,
    ) -> tuple[Polled, list[Buffer]]:
        """Wait for something for a site: work, cancellations, or leave to forget.

        Args:
            name: the site's.
            epoch: which of its lives speaks.
            number: of the poll; grows, so that a poll that was overtaken takes nothing.
            holding: all work that the site holds.
            slots: how much more it would take.
            wait: seconds that it would wait.

        Raises:
            RefusedError: the poll is an old one.
        """
        gone = self._settled(name, holding)
        with self._lock:
            site = self._site(name)
            if epoch != site.epoch:
                site.epoch, site.number = epoch, -1
            if number <= site.number:
                raise RefusedError(Refused.PROTOCOL, "this poll is older than one that came before")
            site.number = number
            site.wake.notify_all()
            self._heard(site)
            held = {one.task: one for one in holding}
            self._settle_missing(site, held)
            end = time.monotonic() + min(wait, self.poll_seconds)
            site.polling += 1
            try:
                while True:
                    polled = self._offer(site, held, gone, slots)
                    now = time.monotonic()
                    over = self._closed or self._resting
                    if any(polled) or now >= end or site.number != number or over:
                        return self._answer(site, polled)
                    soon = [w.not_before for w in site.works.values() if w.state == WAITING]
                    site.wake.wait(min([end, *(at for at in soon if at > now)]) - now)
            finally:
                site.polling -= 1
                self._heard(site)

    def show_card(self, name: str, card: str) -> None:
        """Take the card of a site, for others that seal to it."""
        with self._lock:
            site = self._site(name)
            site.card = card
            site.wake.notify_all()

    def card(self, name: str, wait: float) -> str:
        """Give the card that a site has shown; empty if it shows none within some seconds."""
        with self._lock:
            site = self._site(name)
            site.wake.wait_for(lambda: site.card or self._closed, wait)
            return site.card

    def leased(self, site: str, task: str, token: str) -> Work:
        """Give the work that a site has under a lease.

        Raises:
            RefusedError: the lease is not its any more.
        """
        with self._lock:
            work = self._site(site).works.get(task)
            if work is None or not token or work.token != token:
                raise RefusedError(
                    Refused.LOST, "the lease of this task was given anew, or nobody wants it"
                )
            return work

    def begin_commit(self, site: str, task: str, token: str) -> Work | None:
        """Hold a task's lease fast while its result is being recorded; None if it is done already.

        Raises:
            RefusedError: the lease is not the site's any more.
        """
        with self._lock:
            try:
                work = self.leased(site, task, token)
            except RefusedError:
                record = self._store.tasks.get(task)
                if record is not None and record.site == site and record.state == DONE:
                    return None
                raise
            if work.state != LEASED:
                raise RefusedError(Refused.LOST, "this task is being committed already")
            work.state = _COMMITTING
            return work

    def end_commit(
        self, work: Work, outcome: Outcome | None, records: list[SegmentRecord] | None
    ) -> None:
        """Tell how the commit went: with an outcome the task is done, else it is leased still."""
        with self._lock:
            if outcome is None:
                work.state = LEASED
                return
            work.outcome, work.records = outcome, records
            work.settle(DONE)

    def fail(self, site: str, task: str, token: str, failure: Failure) -> None:
        """Take a site's word that it could not do a task; some failures are worth another try.

        Raises:
            RefusedError: the lease is not the site's any more.
        """
        with self._lock:
            work = self.leased(site, task, token)
            work.given_up = token
            again = failure.code in (FailureCode.RETRYABLE, FailureCode.RESOURCE)
            if again and work.attempts < MOST_ATTEMPTS:
                if work.trace is not None:
                    work.trace.end("failed")
                self._put_back(work)
                work.not_before = time.monotonic() + BACKOFF[min(work.attempts, len(BACKOFF)) - 1]
            else:
                self._fail(work, failure)

    # --- What both sides rest on; the lock is held.

    def _site(self, name: str) -> _Site:
        found = self._sites.get(name)
        if found is None:
            found = self._sites[name] = _Site(threading.Condition(self._lock))
        return found

    def _there(self, site: _Site) -> bool:
        return site.polling > 0 or self._silent(site) < self.lease_seconds - self.poll_seconds

    def _silent(self, site: _Site) -> float:
        return 0.0 if site.polling else time.monotonic() - site.heard

    def _heard(self, site: _Site) -> None:
        site.heard = time.monotonic()

    def _settled(self, name: str, holding: Sequence[Held]) -> set[str]:
        """Look up what a site holds and the board does not know; give what it may forget."""
        with self._lock:
            known = self._site(name).works
            unknown = [one.task for one in holding if one.task not in known]
        gone: set[str] = set()
        for task in unknown:
            record = self._store.tasks.get(task)
            if record is None or record.site != name or record.state in (DONE, FAILED, CANCELLED):
                gone.add(task)
                continue
            with self._lock:
                # From before our restart: it goes on with what it has.
                work = Work(task, name, threading.Condition(self._lock), attempts=record.attempts)
                self._site(name).works.setdefault(task, work)
        return gone

    def _settle_missing(self, site: _Site, held: Mapping[str, Held]) -> None:
        """Draw the conclusion from what a site does not hold, when its poll begins."""
        for work in [w for w in site.works.values() if w.id not in held]:
            if work.state == LEASED:
                # The answer that gave it was lost, or the site was started anew.
                self._lose(work)
            elif work.state not in _OPEN or (work.task is None and work.state == WAITING):
                del site.works[work.id]

    def _offer(
        self, site: _Site, held: Mapping[str, Held], gone: set[str], slots: int
    ) -> tuple[list[Work], list[Work], list[str], list[str]]:
        """Give what is new, what goes on, what is to stop and what to forget."""
        now = time.monotonic()
        new: list[Work] = []
        on: list[Work] = []
        cancel: list[str] = []
        release = sorted(gone)
        for work in site.works.values():
            mine = held.get(work.id)
            if mine is None or mine.token == work.given_up:
                ready = work.state == WAITING and work.task is not None and work.not_before <= now
                if ready and len(new) < slots:
                    new.append(work)
            elif work.state == WAITING or (work.state == LEASED and work.token != mine.token):
                if work.not_before <= now:
                    on.append(work)
            elif work.state == CANCELLED:
                cancel.append(work.id)
            elif work.state in (DONE, FAILED):
                release.append(work.id)
        return new, on, cancel, release

    def _answer(
        self, site: _Site, polled: tuple[list[Work], list[Work], list[str], list[str]]
    ) -> tuple[Polled, list[Buffer]]:
        new, on, cancel, release = polled
        leases: list[Lease] = []
        envelopes: list[Buffer] = []
        for work in (*on, *new):
            fresh = work in new
            if fresh and work.attempts >= MOST_ATTEMPTS:
                self._fail(work, _POISON)
                continue
            work.attempts += fresh
            work.state, work.token = LEASED, secrets.token_hex(16)
            work.leased = time.time()
            self._record(self._store.tasks.lease, work.id, work.attempts, work.leased)
            trace = "" if work.trace is None else work.trace.begin(work.attempts)
            if fresh and work.attempts > 1 and (instruments := active()) is not None:
                instruments.retried(work.site)
            leases.append(
                Lease(
                    task=work.id,
                    token=work.token,
                    attempt=work.attempts,
                    envelope=fresh,
                    trace=trace,
                )
            )
            if fresh and work.task is not None:
                envelopes.append(work.task.to_json().encode())
        return Polled(leases=leases, cancel=cancel, release=release), envelopes

    def _lose(self, work: Work) -> None:
        """Take work back from a site that fell silent about it."""
        if (instruments := active()) is not None:
            instruments.lease_lost(work.site)
        say(_LOG, logging.WARNING, "lease.lost", site=work.site, task=work.id)
        self._put_back(work)

    def _put_back(self, work: Work) -> None:
        if work.trace is not None:
            work.trace.end("lost")
        work.state, work.token = WAITING, ""
        self._record(self._store.tasks.wait, work.id)
        self._site(work.site).wake.notify_all()

    def _record(self, record: Callable[..., None], *values: object) -> None:
        """Write down what people may want to look at, without keeping a site waiting for it."""
        if not self._closed:
            self._recorder.submit(self._recorded, record, *values)

    def _recorded(self, record: Callable[..., None], *values: object) -> None:
        try:
            record(*values)
        except (FederationError, SQLAlchemyError) as error:
            say(_LOG, logging.WARNING, "lease", "it was not written down", cause=error)

    def _fail(self, work: Work, failure: Failure) -> None:
        work.failure = failure
        work.settle(FAILED)
        self._store.tasks.fail(work.id, failure)


def _traced(task: Task) -> TaskTrace | None:
    """Follow a task, below the span of the stage that submits it."""
    instruments = active()
    if instruments is None:
        return None
    return instruments.task(run=task.run, stage=task.stage, site=task.site, task=task.id)


_POISON = Failure(
    FailureCode.PERMANENT,
    f"this work was begun {MOST_ATTEMPTS} times and never ended",
    "the site was stopped each time, perhaps by the work; its log says more",
)

__all__ = ["LEASE_SECONDS", "POLL_SECONDS", "Board", "Presence", "Work"]
