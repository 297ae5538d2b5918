"""What users run: kept in the store of runs, each run in a thread, so that a restart ends none.

What is in memory is what goes on, and what was over lately; all else is in the store.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from umbel.api.located import written_at
from umbel.executor.run_ids import check_id
from umbel.executor.runs import (
    Noted,
    RunInterruptedError,
    RunInUseError,
    RunStore,
    StoredRun,
    keeping,
)
from umbel.executor.runs.history import FINISHED, Begun
from umbel.executor.runs.rows import INTERRUPTED
from umbel.executor.runs.store import Owned
from umbel.federation.access import Permission, Principal
from umbel.federation.coordinator.deadlines import Deadline
from umbel.federation.coordinator.hosted import HostedRun, State
from umbel.federation.coordinator.questions import Job, Question
from umbel.federation.coordinator.run_log import logged
from umbel.federation.coordinator.settings import LimitsSection
from umbel.federation.coordinator.spool import Folder, Quota, Spool
from umbel.federation.coordinator.timeline import moment
from umbel.federation.errors import AccessError, SiteError
from umbel.federation.failures import lacking
from umbel.federation.store import TaskRecord
from umbel.plan.errors import CancelledError, PlanError, RunError, UmbelError, UnknownNameError
from umbel.telemetry.logs import say

log = logging.getLogger("umbel.coordinator")

#: Runs that are kept in memory once they are over, and runs that are listed.
_MOST_RUNS, _MOST_LISTED = 1_000, 10_000
#: How often a run is begun that ends this process each time.
_MOST_TRIES = 4
#: Seconds between looks whether another machine still has a run, and between two prunings.
_LOOK, _PRUNING = 2.0, 3600.0


class _SiteLeftError(RunInterruptedError):
    """A site has left a run, which goes on without it."""


class Runs:
    """The runs of all users.

    Args:
        store: where they are kept.
        folder: where rows wait.
        limits: what users may take.
        again: makes what goes on with a run that was begun before.
        goes_on: whether a run goes on without a site that has left it.
        tasks: gives what sites were asked for in a run.
        let_go: forgets what sites committed for a run.
    """

    def __init__(
        self,
        store: RunStore,
        folder: Folder,
        limits: LimitsSection,
        again: Callable[[Owned], Job],
        goes_on: Callable[[Owned, SiteError], bool],
        tasks: Callable[[str], list[TaskRecord]],
        let_go: Callable[[str], None],
    ) -> None:
        self.store = store
        self._folder = folder
        self._limits = limits
        self._again = again
        self._goes_on = goes_on
        self._tasks = tasks
        self._let_go = let_go
        self._quota = Quota(limits.result_bytes, "results")
        self._runs: dict[str, HostedRun] = {}
        #: What runs each, and what it is to run: None for what was begun before.
        self._futures: dict[str, tuple[Future[None], Job | None]] = {}
        #: Names of runs that are being kept just now.
        self._beginning: set[str] = set()
        #: Runs that were cancelled before they came.
        self._unwanted: deque[tuple[str, str]] = deque(maxlen=_MOST_RUNS)
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._pruned = float("-inf")
        self._pool = ThreadPoolExecutor(limits.runs, thread_name_prefix="umbel-run")

    # --- beginning --------------------------------------------------------------------------------

    def go_on(self, asked: Iterable[str]) -> None:
        """Take up what an earlier process has left: its runs, and the rows that wait.

        Args:
            asked: the runs for which sites were asked, as far as that is known.
        """
        waiting: dict[str, StoredRun] = {}
        unfinished: list[StoredRun] = []
        newest = time.time() - self._limits.keep_seconds
        for stored in self.store.runs():
            if stored.state in (State.RUNNING.value, INTERRUPTED):
                unfinished.append(stored)
            elif stored.state == FINISHED and stored.updated > newest:
                waiting[_rows_of(stored.id, stored.fence)] = stored
        self._folder.clear(keep=waiting)
        for stored in waiting.values():
            self._recalled(stored)
        for stored in reversed(unfinished):  # the oldest first
            run = HostedRun.of(stored, self._tasks)
            run.state = State.QUEUED
            self._submit(run, None)
        # Of runs that are over nobody asks for what sites committed.
        for name in set(asked) - {stored.id for stored in unfinished}:
            self._let_go(name)

    def start(self, name: str, question: Question) -> HostedRun:
        """Begin a run, or let it wait for its turn; one that is there already is not begun again.

        Args:
            name: what it is called from now on.
            question: what is asked.

        Raises:
            AccessError: the name is that of another run.
        """
        check_id(name)
        self._forget()
        user = question.who.user
        with self._changed:
            # Whoever heard no answer asks again, perhaps before the first was done.
            self._changed.wait_for(lambda: name not in self._beginning)
            self._beginning.add(name)
        try:
            known = self._known(name)
            if known is not None:
                if known.user != user or known.asked != question.digest:
                    raise AccessError("this name of a run is taken", hint="choose another")
                return known
            ready = question.begin(self.store, name, self._limits.uploads_bytes)
            run = HostedRun.of(ready.owned.run, self._tasks)
            run.state = State.QUEUED
            if (user, name) in self._unwanted:
                self._unwant(run)
            self._submit(run, Job(question.asker, ready, question.missing, question.covers))
        finally:
            with self._changed:
                self._beginning.discard(name)
                self._changed.notify_all()
        return run

    def resume(self, name: str, who: Principal) -> HostedRun:
        """Go on with a run that failed or was cancelled; one that goes on already is left alone.

        Raises:
            UnknownNameError: there is none of the user's.
            AccessError: it is another's.
            PlanError: it is finished, and its rows were fetched.
        """
        run = self.find(name, who)
        if run.state is State.FINISHED and (run.spool is None or not run.spool.path.exists()):
            raise PlanError(
                f"run {name} is finished, and its rows were fetched or dropped",
                hint="ask again: what was fetched is kept no longer",
            )
        if run.state in (State.FAILED, State.CANCELLED):
            stored = self.store.run(name)
            again = HostedRun.of(stored, self._tasks)
            again.state = State.QUEUED
            with self._changed:
                if self._runs.get(name) is not run:
                    return self._runs[name]  # somebody was quicker
                self._runs[name] = again
            self._submit(again, None)
            return again
        return run

    def _submit(self, run: HostedRun, job: Job | None) -> None:
        with self._changed:
            self._runs[run.id] = run
            self._futures[run.id] = self._pool.submit(self._work, run, job), job

    # --- a try ------------------------------------------------------------------------------------

    def _work(self, run: HostedRun, job: Job | None) -> None:
        """Do a run, and note how it ended."""
        if self._closing.is_set():
            if job is not None:
                job.ready.owned.release()
            return
        with logged(run):
            self._try(run, job)

    def _try(self, run: HostedRun, job: Job | None) -> None:
        limit = self._limits.seconds
        timer = Deadline(limit, run.overdue, run.has_waited)
        state = State.FAILED
        failure: UmbelError | None = None
        try:
            while not self._answers(run, job, limit):
                job = None
            state = State.FINISHED
        except RunInterruptedError:
            state = State.INTERRUPTED
        except CancelledError as error:
            state, failure = State.CANCELLED, error
        except UmbelError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - the user gets a number, the log the rest
            failure = unexpected(error)
        finally:
            timer.cancel()
            if state is State.FINISHED and run.covers:
                self._let_go(run.id)
            run.end(state, failure)

    def _answers(self, run: HostedRun, job: Job | None, limit: float) -> bool:
        """Answer a run; give whether that is all, or it is to be answered without a site."""
        owned = self._acquired(run.id) if job is None else job.ready.owned
        try:
            with keeping(owned, run.cancellation.cancel, run.failed), written_at(None):
                self._answered(run, owned, job, limit)
        except _SiteLeftError:
            run.again()
            return False
        return True

    def _acquired(self, name: str) -> Owned:
        """Take a run over, as soon as nobody else has it.

        Raises:
            RunInterruptedError: we are being stopped.
        """
        while True:
            try:
                return self.store.acquire(name)
            except RunInUseError as error:
                # Another machine had it, and its lease is not over yet.
                if self._closing.wait(_LOOK):
                    raise RunInterruptedError(error.message) from None

    def _answered(self, run: HostedRun, owned: Owned, job: Job | None, limit: float) -> None:
        try:
            path = self._folder.path / _rows_of(run.id, owned.run.fence)
            run.begin(owned.run.fence, Spool(path, self._quota))
            run.cancellation.check()
            if job is None:
                self._check_tries(run.id)
                job = self._again(owned)
            run.missing, run.covers = job.missing, job.covers
            if job.asker.dispatcher is not None:
                run.waited = job.asker.dispatcher.waited
            job.asker.answer(
                job.ready,
                cancellation=run.cancellation,
                deliver=run.deliver,
                listener=run.tell,
                ending=run.finished,
                seconds=limit,
            )
        except UmbelError as error:
            if self._closing.is_set() and not run.unwanted:
                # Such an end is none of the run's.
                owned.add(Noted({"left": list(owned.history.noted.get("left", ()))}))
                raise RunInterruptedError("the coordinator is being stopped") from None
            if isinstance(error, SiteError) and self._goes_on(owned, error):
                say(log, logging.WARNING, "site.left", cause=error, site=error.site, run=run.id)
                left = {*owned.history.noted.get("left", ()), error.site}
                owned.add(Noted({"left": sorted(left)}))
                raise _SiteLeftError(f"site {error.site!r} has left") from None
            if isinstance(error, CancelledError):
                raise run.stopped(error, limit) from None
            raise
        except Exception as error:  # noqa: BLE001 - the user gets a number, the log the rest
            raise unexpected(error) from None

    def _check_tries(self, name: str) -> None:
        """Raise for a run that has ended this process each time that it was begun."""
        tries = 0
        for timed in self.store.events(name):
            match timed.event:
                case Begun():
                    tries += 1
                case Noted():  # it failed, was cancelled, or we were stopped
                    tries = 0
        if tries > _MOST_TRIES:
            raise RunError(
                f"this run was begun {tries - 1} times, and each time the coordinator died",
                hint="its log may say why: too little memory? Resume the run once that is mended",
            )

    # --- finding ----------------------------------------------------------------------------------

    def _known(self, name: str) -> HostedRun | None:
        """Give a run, out of the store if it is not in memory."""
        run = self._runs.get(name)
        if run is not None:
            return run
        try:
            stored = self.store.find(name)
        except PlanError:  # nobody's name for a run
            return None
        return None if stored is None else self._recalled(stored)

    def _recalled(self, stored: StoredRun) -> HostedRun:
        run = HostedRun.of(stored, self._tasks)
        path = self._folder.path / _rows_of(stored.id, stored.fence)
        state = State(stored.state)
        with self._changed:
            known = self._runs.get(stored.id)
            if known is not None:
                return known
            history, spool = self.store.history(stored.id), None
            if state is State.FINISHED:
                spool = Spool.found(path, int(history.noted.get("size", 0)), self._quota)
            run.recall(state, history, spool)
            self._runs[stored.id] = run
        return run

    def listed(self, who: Principal) -> list[dict[str, Any]]:
        """Describe the runs that somebody may see, the newest first."""
        every = who.may(Permission.AUDIT)
        found = []
        for stored in self.store.runs()[:_MOST_LISTED]:
            user = stored.options.get("user")
            if not every and user != who.user:
                continue
            run = self._runs.get(stored.id)
            found.append(_listed(stored) if run is None else run.to_json())
        return found

    def find(self, name: str, who: Principal, *others: Permission) -> HostedRun:
        """Give a run.

        Args:
            name: the run's.
            who: asks for it.
            others: what lets one have the runs of other users.

        Raises:
            UnknownNameError: there is none, or none that the user may know of.
            AccessError: it is another's, which the user may see, but no more.
        """
        run = self._known(name)
        if run is not None and (run.user == who.user or any(map(who.may, others))):
            return run
        if run is not None and who.may(Permission.AUDIT):
            raise AccessError(f"the run {name} is {run.user!r}'s, not {who.user!r}'s")
        raise UnknownNameError("run", name, [known["id"] for known in self.listed(who)[:10]])

    # --- ending -----------------------------------------------------------------------------------

    def cancel_by_name(self, name: str, who: Principal) -> None:
        """Stop a run, also one that has not come yet.

        Raises:
            AccessError: it is another's, which the user may see, but not stop.
        """
        check_id(name)
        try:
            run = self.find(name, who, Permission.OPERATE)
        except UnknownNameError:
            with self._changed:
                if name not in self._runs:
                    self._unwanted.append((who.user, name))
                    return
            raise
        self.cancel(run)

    def cancel(self, run: HostedRun) -> None:
        """Stop a run; one that is over stays as it is."""
        self._unwant(run)
        future, job = self._futures.get(run.id, (None, None))
        if future is not None and future.cancel():
            self._work(run, job)  # its turn has not come: it ends at once

    def _unwant(self, run: HostedRun) -> None:
        run.unwanted = True
        run.cancellation.cancel()

    def prune(
        self, who: Principal, *, seconds: float, everything: bool = False, dry: bool = False
    ) -> list[StoredRun]:
        """Forget runs that are over, one's own; an operator those of all.

        Args:
            who: wants them forgotten.
            seconds: for which nothing has happened to them.
            everything: those too that could be resumed.
            dry: only say which.
        """
        every = who.may(Permission.OPERATE)
        return self._prune(
            seconds, everything, dry, lambda run: every or run.options.get("user") == who.user
        )

    def _prune(
        self, seconds: float, everything: bool, dry: bool, which: Callable[[StoredRun], bool]
    ) -> list[StoredRun]:
        def over(stored: StoredRun) -> bool:
            run = self._runs.get(stored.id)
            return which(stored) and (run is None or run.state.over)

        return self.store.prune(
            seconds=seconds, everything=everything, dry=dry, which=over, before=self._drop
        )

    def _drop(self, stored: StoredRun) -> None:
        with self._changed:
            run = self._runs.pop(stored.id, None)
            self._futures.pop(stored.id, None)
        if run is not None and run.spool is not None:
            run.spool.drop()
        self._let_go(stored.id)

    def hang_up(self) -> None:
        """Let go of those who watch runs and wait for rows, for the server ends; they ask again."""
        with self._changed:
            runs = list(self._runs.values())
        for run in runs:
            run.hung_up = True
            run.changed()

    def stop(self) -> None:
        """Begin nothing any more; what ends now ends because we do."""
        self._closing.set()

    def close(self) -> None:
        """Stop all runs as they are, to be gone on with by the next process; wait for that."""
        self.stop()
        with self._changed:
            runs = list(self._runs.values())
        for run in runs:
            if not run.state.over:
                run.cancellation.cancel()
        self._pool.shutdown(wait=True)
        self.store.close()

    def _forget(self) -> None:
        """Drop rows that nobody fetched for long, and what else is of no more use."""
        now = time.monotonic()
        with self._changed:
            over = [run for run in self._runs.values() if run.ended is not None]
            late = [run for run in over if now - (run.ended or now) > self._limits.keep_seconds]
            late = late or over[: max(0, len(over) - _MOST_RUNS)]
            for run in late:
                del self._runs[run.id]
                self._futures.pop(run.id, None)
            pruning = now - self._pruned > _PRUNING
            self._pruned = now if pruning else self._pruned
        for run in late:
            if run.spool is not None:
                run.spool.drop()
            if run.state is not State.FINISHED:
                self._let_go(run.id)
        if pruning:
            self._prune(self._limits.keep_days * 86400, True, False, lambda run: True)


def _rows_of(name: str, fence: int) -> str:
    """Name the file for the rows of one try; a run's name is a file's name, see `check_id`."""
    return f"{name}.{fence}.rows"


def _listed(stored: StoredRun) -> dict[str, Any]:
    about = stored.options
    return {
        "id": stored.id,
        "user": about.get("user"),
        "title": stored.title,
        "submitted": moment(stored.created),
        "state": stored.state,
        "missing": about.get("missing", []),
        "covers": about.get("covers", []),
    }


def unexpected(error: BaseException) -> UmbelError:
    """Log what should not have happened, under a number; give the error that says the number."""
    number = secrets.token_hex(4)
    say(log, logging.ERROR, "unexpected", cause=error, number=number)
    if lacks := lacking(error):
        return RunError(
            f"the coordinator{lacks} (error {number})",
            hint="its operator has to make room; its log says more under this number",
        )
    return RunError(
        f"something went wrong inside of the coordinator (error {number})",
        hint="its log says more under this number",
    )


__all__ = ["HostedRun", "Runs", "State", "unexpected"]
