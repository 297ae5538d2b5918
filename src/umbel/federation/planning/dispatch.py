"""Takes tasks to sites of the same process, for tests, notebooks and trying things out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from umbel.executor.context import Cancellation
from umbel.federation.errors import SiteError
from umbel.federation.tasks import Execute, Failure, Outcome, Task
from umbel.platforms.base import RunContext


class DirectDispatcher:
    """Calls the sites' own code; tasks and failures take the form in which they would travel."""

    def __init__(self, sites: Mapping[str, Execute]) -> None:
        self._sites = dict(sites)

    def run(
        self,
        task: Task,
        inputs: Mapping[str, pa.Table],
        context: RunContext,
        deliver: Callable[[pa.Table], None],
    ) -> Outcome:
        """Run a task; see `Dispatcher`."""
        if task.site not in self._sites:
            raise SiteError(f"site {task.site!r} is not here", site=task.site, retryable=True)
        execute = self._sites[task.site]
        cancellation = Cancellation()
        context.on_cancel(cancellation.cancel)
        try:
            outcome = execute(Task.from_json(task.to_json()), inputs, cancellation, deliver)
        except Exception as error:  # noqa: BLE001 - whatever it is, only its kind is told
            told = Failure.from_json(Failure.of(error).to_json())
            # What the site keeps to itself is not the cause that others see.
            raise told.error(task.site) from None
        return Outcome.from_json(outcome.to_json())


__all__ = ["DirectDispatcher"]
