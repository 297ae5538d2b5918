"""A coordinator or a site of a chaos test: `umbel`, with gates at which it can be held.

`python -m tests.federation.chaos.gated site run FOLDER` and `… coordinator serve --config FOLDER`
are the commands of `umbel`. Whoever sets `UMBEL_GATES` to a folder can hold them: where a file
`NAME.POINT.shut` lies, the process of that name writes `NAME.POINT.here` when it comes to that
point, and waits until the first is gone. All that counts goes into a history beside it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.federation.wire.processes import History
from umbel.federation.coordinator import coordinator as hosting
from umbel.federation.coordinator import sites as patience
from umbel.federation.execution import SiteExecution
from umbel.federation.site import process as daemon
from umbel.federation.store.tasks import Tasks
from umbel.federation.tasks import Outcome, Task
from umbel.federation.wire.endpoint import FlightEndpoint

GATES = "UMBEL_GATES"
#: The points of a site's work, in order.
POINTS = ("begun", "half", "done")
#: Seconds of a poll, of silence, and for which a site may be away: shorter than in earnest.
POLL, LEASE, PATIENCE = 1.0, 2.5, 3.0


class Gates:
    """Where processes are held."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _file(self, name: str, point: str, what: str) -> Path:
        return self.folder / f"{name}.{point}.{what}"

    def shut(self, name: str, point: str) -> None:
        """Hold a process at a point from now on."""
        self._file(name, point, "here").unlink(missing_ok=True)
        self._file(name, point, "shut").touch()

    def open(self, name: str, point: str) -> None:
        """Hold it no more."""
        self._file(name, point, "shut").unlink(missing_ok=True)

    def is_held(self, name: str, point: str) -> bool:
        """Whether it has come there."""
        return self._file(name, point, "here").exists()

    def reach(self, name: str, point: str) -> None:
        """Be held, in the process itself."""
        shut = self._file(name, point, "shut")
        while shut.exists():
            self._file(name, point, "here").touch()
            time.sleep(0.005)


class Held:
    """A site's work, with gates before, in the middle of and after it."""

    def __init__(self, name: str, execute: SiteExecution, folder: Path) -> None:
        self._name, self._execute = name, execute
        self._gates, self._history = Gates(folder), History(folder)

    def __call__(
        self, task: Task, inputs: Any, cancellation: Any, deliver: Callable[[pa.Table], None]
    ) -> Outcome:
        """Do the work."""
        self._history.write(event="execute", task=task.id, run=task.run, site=self._name)
        self._gates.reach(self._name, "begun")
        masking = getattr(task.plan, "masking", None)
        if masking is not None:
            self._gates.reach(self._name, masking.step)

        def halved(table: pa.Table) -> None:
            """Hand rows on in two parts."""
            middle = (table.num_rows + 1) // 2
            deliver(table.slice(0, middle))
            self._gates.reach(self._name, "half")
            if middle < table.num_rows:
                deliver(table.slice(middle))

        outcome = self._execute(task, inputs, cancellation, halved)
        self._gates.reach(self._name, "done")
        return outcome

    def stand(self, task: Task, cancellation: Any) -> Any:
        """Take a question, whose every round passes the gates."""
        return HeldQuestion(self, self._execute.stand(task, cancellation))

    def answered(self, question: Any, change: Any) -> Any:
        """Answer a round."""
        self._gates.reach(self._name, "begun")
        masking = change.header["masking"]
        if masking is not None:
            self._gates.reach(self._name, masking["step"])
        answer = question.answer(change)
        self._gates.reach(self._name, "half")
        self._gates.reach(self._name, "done")
        return answer


class HeldQuestion:
    """A question that stands, with gates around each round."""

    def __init__(self, held: Held, question: Any) -> None:
        self._held, self._question = held, question
        self.close = question.close

    def answer(self, change: Any) -> Any:
        """Answer a round."""
        return self._held.answered(self._question, change)


def gated_site(folder: Path) -> None:
    """Put the gates around what sites execute."""

    def held(site: Any, *rest: Any, **more: Any) -> Any:
        return Held(site.name, SiteExecution(site, *rest, **more), folder)

    setattr(daemon, "SiteExecution", held)  # noqa: B010 - a class, for mypy


def recorded_coordinator(folder: Path) -> None:
    """Write down what is committed, and count silence in shorter times."""
    history, commit = History(folder), Tasks.commit

    def recorded(self: Tasks, task: str, *rest: Any, **more: Any) -> bool:
        done = commit(self, task, *rest, **more)
        if done:
            history.write(event="commit", task=task)
        return done

    setattr(Tasks, "commit", recorded)  # noqa: B010 - a method, for mypy
    quick = partial(FlightEndpoint, poll_seconds=POLL, lease_seconds=LEASE)
    setattr(hosting, "FlightEndpoint", quick)  # noqa: B010 - a class, for mypy
    setattr(patience, "_PATIENCE", PATIENCE)  # noqa: B010


def main() -> None:
    """Be `umbel`."""
    from umbel.cli.main import main as umbel

    folder = Path(os.environ[GATES])
    if sys.argv[1] == "site":
        gated_site(folder)
    else:
        recorded_coordinator(folder)
    umbel()


if __name__ == "__main__":
    main()
