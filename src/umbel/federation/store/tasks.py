"""Tasks and their results: what has been asked of sites, and what they have committed.

A task's lease lives in the coordinator's memory; what counts is here: a task is done once, in the
transaction that records the segments of its result, and only by the coordinator that holds the
store.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TypeAlias

import sqlalchemy as sa

from umbel.dataclass import dataclass
from umbel.federation.store.database import Database
from umbel.federation.store.schema import SEGMENTS, TASKS
from umbel.federation.tasks import Failure, Outcome, Task

#: The states of a task.
WAITING, LEASED, DONE, FAILED, CANCELLED = "waiting", "leased", "done", "failed", "cancelled"
_OPEN = (WAITING, LEASED)
_GIVEN_UP = (*_OPEN, FAILED, CANCELLED)


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What is known of a task. Times are seconds since 1970 by the coordinator's clock.

    Attributes:
        id: the task's.
        run: of which run.
        stage: the stage's number in it.
        site: who is to do it.
        state: waiting, leased, done, failed or cancelled.
        attempts: how often it was begun.
        submitted: when it was first asked for.
        leased: when it was last given to the site.
        finished: when it was done, failed or was cancelled.
        outcome: what the site said when it had done it.
        failure: what the site said when it could not.
    """

    id: str
    run: str
    stage: int
    site: str
    state: str
    attempts: int
    submitted: float
    leased: float | None
    finished: float | None
    outcome: Outcome | None
    failure: Failure | None


#: A small segment's file; None if it lies in the spool.
Content: TypeAlias = bytes | None


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A segment of a committed result.

    Attributes:
        digest: SHA-256 of its file, by which it is found.
        bytes: of the file.
        rows: in it.
        content: the file itself if it is small; None if it lies in the spool.
    """

    digest: str
    bytes: int
    rows: int
    content: Content = None


class Tasks:
    """The record of tasks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def submit(self, task: Task) -> TaskRecord:
        """Record that a task is asked for; one that is done stays done.

        A task that failed or was cancelled is asked for anew.
        """
        found = sa.select(TASKS).where(TASKS.c.id == task.id)
        with self._database.write_as_coordinator(durable=False) as connection:
            row = connection.execute(found).first()
            if row is not None and row.state not in (FAILED, CANCELLED):
                return _task(row)
            new = TaskRecord(
                task.id, task.run, task.stage, task.site, WAITING, 0, time.time(),
                None, None, None, None,
            )  # fmt: skip
            if row is None:
                connection.execute(sa.insert(TASKS).values(**asdict(new)))
            else:
                again = sa.update(TASKS).where(TASKS.c.id == task.id)
                connection.execute(again.values(**asdict(new)))
            return new

    def get(self, task: str) -> TaskRecord | None:
        """Give a task; None if there is none of that id."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(TASKS).where(TASKS.c.id == task)).first()
        return None if row is None else _task(row)

    def of_run(self, run: str) -> list[TaskRecord]:
        """Give the tasks of a run, by stage and site."""
        query = sa.select(TASKS).where(TASKS.c.run == run).order_by(TASKS.c.stage, TASKS.c.site)
        with self._database.read() as connection:
            return [_task(row) for row in connection.execute(query)]

    def runs(self) -> list[str]:
        """Name the runs of which tasks are known."""
        with self._database.read() as connection:
            return list(connection.execute(sa.select(TASKS.c.run).distinct()).scalars())

    def lease(self, task: str, attempts: int, leased: float) -> None:
        """Record that a task was given to its site, as often as that, at a time."""
        self._set(task, _OPEN, durable=False, state=LEASED, attempts=attempts, leased=leased)

    def wait(self, task: str) -> None:
        """Record that a task waits for its site again."""
        self._set(task, _OPEN, durable=False, state=WAITING)

    def fail(self, task: str, failure: Failure) -> None:
        """Record that a task failed."""
        self._set(
            task,
            _GIVEN_UP,
            durable=True,
            state=FAILED,
            failure=failure.to_json(),
            finished=time.time(),
        )

    def cancel(self, task: str) -> None:
        """Record that nobody wants a task any more."""
        self._set(task, _GIVEN_UP, durable=True, state=CANCELLED, finished=time.time())

    def commit(
        self,
        task: str,
        segments: Sequence[SegmentRecord],
        outcome: Outcome,
        *,
        attempts: int = 1,
        leased: float | None = None,
    ) -> bool:
        """Record a result, once.

        Args:
            task: whose.
            segments: its rows, in order.
            outcome: what the site says of the work.
            attempts: how often it was begun.
            leased: when it was last given to the site.

        Returns:
            Whether this was the commit; False if the task was done or given up before.
        """
        done = (
            sa.update(TASKS)
            .where(TASKS.c.id == task, TASKS.c.state.in_((WAITING, LEASED)))
            .values(
                state=DONE,
                outcome=outcome.to_json(),
                finished=time.time(),
                attempts=attempts,
                leased=leased,
            )
        )
        with self._database.write_as_coordinator(durable=True) as connection:
            if connection.execute(done).rowcount != 1:
                return False
            connection.execute(sa.delete(SEGMENTS).where(SEGMENTS.c.task == task))
            if segments:
                rows = [
                    {
                        "task": task,
                        "number": number,
                        "digest": segment.digest,
                        "bytes": segment.bytes,
                        "rows": segment.rows,
                        "content": segment.content,
                    }
                    for number, segment in enumerate(segments)
                ]
                connection.execute(sa.insert(SEGMENTS), rows)
        return True

    def undo(self, task: str) -> None:
        """Forget a result that cannot be read any more, so that the task is done again."""
        with self._database.write_as_coordinator(durable=True) as connection:
            connection.execute(sa.delete(SEGMENTS).where(SEGMENTS.c.task == task))
            connection.execute(
                sa.update(TASKS)
                .where(TASKS.c.id == task)
                .values(state=WAITING, outcome=None, finished=None)
            )

    def segments(self, task: str) -> list[SegmentRecord]:
        """Give the segments of a result, in order."""
        query = sa.select(SEGMENTS).where(SEGMENTS.c.task == task).order_by(SEGMENTS.c.number)
        with self._database.read() as connection:
            return [
                SegmentRecord(row.digest, row.bytes, row.rows, row.content)
                for row in connection.execute(query)
            ]

    def forget(self, run: str) -> list[str]:
        """Forget the tasks of a run and their results; give the tasks' ids."""
        of_run = sa.select(TASKS.c.id).where(TASKS.c.run == run)
        with self._database.write_as_coordinator(durable=False) as connection:
            ids = list(connection.execute(of_run).scalars())
            connection.execute(sa.delete(SEGMENTS).where(SEGMENTS.c.task.in_(of_run)))
            connection.execute(sa.delete(TASKS).where(TASKS.c.run == run))
        return ids

    def _set(self, task: str, of: Sequence[str], *, durable: bool, **values: object) -> None:
        """Change a task that is in one of some states; what comes late changes nothing."""
        change = sa.update(TASKS).where(TASKS.c.id == task, TASKS.c.state.in_(of))
        with self._database.write_as_coordinator(durable=durable) as connection:
            connection.execute(change.values(**values))


def _task(row: sa.Row[tuple[object, ...]]) -> TaskRecord:
    values = row._asdict()
    outcome, failure = values.pop("outcome"), values.pop("failure")
    return TaskRecord(
        **values,
        outcome=None if outcome is None else Outcome.from_json(outcome),
        failure=None if failure is None else Failure.from_json(failure),
    )


__all__ = ["SegmentRecord", "TaskRecord", "Tasks"]
