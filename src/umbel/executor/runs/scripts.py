"""Runs of scripts: a script that is resumed is run again, and what it asks for is taken over.

Its runs are found again by their plans. A script must ask for the same plans whenever it is run;
one that asks for another plan, while runs that it has asked for before are still to come, is told
so: what those have written could be written twice.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from umbel.catalog.commits import digest_of
from umbel.executor.run_ids import new_id
from umbel.executor.runs.history import FINISHED, Finished
from umbel.executor.runs.rows import SCRIPT, StoredRun
from umbel.executor.runs.store import Owned, RunStore
from umbel.plan.errors import PlanError, RunError, SourceError


class ScriptRun:
    """One run of a script, which this process owns.

    Attributes:
        owned: the run, as the store knows it.
    """

    def __init__(self, owned: Owned) -> None:
        self.owned = owned
        self._before = owned.store.runs_of(owned.run.id)
        self._claimed: set[str] = set()
        self._count = len(self._before)
        self._lock = threading.Lock()

    @property
    def id(self) -> str:
        """The run's id; those of the runs that the script asks for begin with it."""
        return self.owned.run.id

    def claim(self, digest: str) -> StoredRun | None:
        """Find the run of a plan that an earlier try of the script has asked for.

        Raises:
            RunError: the script now asks for another plan than it did.
        """
        with self._lock:
            left = [run for run in self._before if run.id not in self._claimed]
            for run in left:
                if run.digest == digest:
                    self._claimed.add(run.id)
                    return run
        if left:
            raise RunError(
                f"the script asks for another plan than it did: as run {left[0].id} it asked for "
                f"{left[0].title}",
                hint="a script that is resumed must ask for the same plans in each try: take times, "
                "random numbers and new data from its arguments, or run it anew",
            )
        return None

    def next_id(self) -> str:
        """Name the next run of the script."""
        with self._lock:
            self._count += 1
            return f"{self.id}.{self._count}"

    def finish(self, seconds: float) -> None:
        """Keep that the script came to its end."""
        self.owned.add(Finished(seconds))


def begin_script(
    store: RunStore, file: Path, arguments: Sequence[str], about: Mapping[str, Any]
) -> ScriptRun:
    """Keep a new run of a script.

    Args:
        store: where it is kept.
        file: the script.
        arguments: its arguments.
        about: what whoever resumes it needs to know; JSON values without secrets.
    """
    path = file.resolve()
    options = {**about, "file": str(path), "arguments": list(arguments)}
    title = " ".join([file.name, *arguments])
    owned = store.create(
        new_id(),
        kind=SCRIPT,
        title=title[:200],
        digest=_digest(path),
        plan="",
        options=options,
        versions={},
    )
    return ScriptRun(owned)


def resume_script(store: RunStore, stored: StoredRun) -> ScriptRun:
    """Take over the run of a script.

    Raises:
        PlanError: the script is finished, or is another one now.
        RunInUseError: another process runs it.
    """
    file = Path(stored.options["file"])
    if stored.state == FINISHED:
        raise PlanError(
            f"run {stored.id} of {file.name} is finished", hint=f"umbel run --durable {file}"
        )
    if _digest(file) != stored.digest:
        raise PlanError(
            f"{file} has changed since run {stored.id} began",
            hint="bring the script back as it was and resume, or run it anew",
        )
    return ScriptRun(store.acquire(stored.id))


def _digest(file: Path) -> str:
    try:
        return digest_of(file)
    except OSError as error:
        raise SourceError(
            f"cannot read the script {file}: {error.strerror}", hint="name a file that is there"
        ) from None


__all__ = ["ScriptRun", "begin_script", "resume_script"]
