"""Takes tasks to sites of the same process, for tests, notebooks and trying things out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pyarrow as pa

from umbel.executor.context import Cancellation
from umbel.federation.errors import FederationError, SiteError
from umbel.federation.standing import Answer, Change, Held, Line, Stand, joined
from umbel.federation.tasks import Data, Execute, Failure, Outcome, Sealed, Task
from umbel.federation.work_trace import attempt, executing, measure
from umbel.platforms.base import RunContext


class DirectDispatcher:
    """Calls the sites' own code; tasks and failures take the form in which they would travel."""

    def __init__(self, sites: Mapping[str, Execute]) -> None:
        self._sites = dict(sites)

    def run(
        self,
        task: Task,
        inputs: Mapping[str, Data],
        context: RunContext,
        deliver: Callable[[Data], None],
    ) -> Outcome:
        """Run a task; see `Dispatcher`."""
        if task.site not in self._sites:
            raise SiteError(f"site {task.site!r} is not here", site=task.site, retryable=True)
        execute = self._sites[task.site]
        cancellation = Cancellation()
        context.on_cancel(cancellation.cancel)
        given = {label: _opened(data, task.site) for label, data in inputs.items()}
        pieces: list[pa.Table] = []
        take = pieces.append if task.to else deliver
        with attempt(task) as trace:
            try:
                there = Task.from_json(task.to_json())
                with executing(there, trace):
                    done = execute(there, given, cancellation, take)
            except Exception as error:  # noqa: BLE001 - whatever it is, only its kind is told
                told = Failure.from_json(Failure.of(error).to_json())
                # What the site keeps to itself is not the cause that others see.
                raise told.error(task.site) from None
        if task.to:
            rows = pa.concat_tables(pieces) if pieces else task.schema.empty_table()
            sealed = Sealed(task.id, task.site, task.to, rows.num_rows, rows.nbytes, content=rows)
            deliver(sealed)
        outcome = Outcome.from_json(done.to_json())
        measure(task, outcome, outcome.bytes, sum(table.nbytes for table in given.values()))
        return outcome

    def stand(self, task: Task) -> Line:
        """Ask a site to take a standing question; see `umbel.federation.standing`."""
        execute = self._sites.get(task.site)
        if not isinstance(execute, Stand):
            raise SiteError(f"site {task.site!r} takes no standing questions", site=task.site)
        there = Task.from_json(task.to_json())
        with _told(task.site):
            return _DirectLine(task.site, execute.stand(there, Cancellation()))


class _DirectLine:
    """A line to a site of this process; `umbel.federation.standing.Line`."""

    def __init__(self, site: str, held: Held) -> None:
        self._site, self._held = site, held
        self._asked: dict[int, Change] = {}

    def ask(self, number: int, change: Change) -> None:
        self._asked[number] = change

    def answer(
        self, number: int, cancellation: Cancellation, until: float | None = None
    ) -> Answer | None:
        change = self._asked.pop(number)
        cancellation.check()
        there = Change.read(memoryview(joined(*change.written())))
        with _told(self._site):
            given = self._held.answer(there)
        return Answer.read(memoryview(joined(*given.written())))

    def drop(self, number: int) -> None:
        self._asked.pop(number, None)

    def close(self) -> None:
        self._held.close()


@contextmanager
def _told(site: str) -> Iterator[None]:
    """Raise of an error at a site what is told of it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, only its kind is told
        raise Failure.from_json(Failure.of(error).to_json()).error(site) from None


def _opened(data: Data, site: str) -> pa.Table:
    """What a site reads; in one process nothing needs to be encrypted, but it is for some alone."""
    if not isinstance(data, Sealed):
        return data
    if site not in data.to or data.content is None:
        raise FederationError(f"an output of site {data.site!r} is not sealed to site {site!r}")
    return data.content


__all__ = ["DirectDispatcher"]
