"""The journal of a durable run: seals what finishes, and gives back what has finished before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from umbel.catalog.commits import Commit
from umbel.catalog.versions import source_key
from umbel.executor.handover import convert
from umbel.executor.runs.history import (
    Finished,
    History,
    RunEvent,
    SourcesSeen,
    StageKept,
    WriteDone,
)
from umbel.executor.runs.preparing import sources_of
from umbel.executor.runs.seals import TABLE, Seal, is_whole, read_seal, seal_table, seal_values
from umbel.executor.runs.sinks import SinkCommit, forget, settle, token_of, written_row
from umbel.executor.runs.store import Owned
from umbel.executor.runs.values import NoFormError
from umbel.failpoints import reach
from umbel.optimizer.execution_plan import ExecutionPlan, PlannedStage
from umbel.optimizer.movement import ChannelGraph, NoConversionError, minimum_conversion_tree
from umbel.plan.errors import RunError
from umbel.plan.operators import Operator, Write
from umbel.plan.sources import Source
from umbel.plan.types import is_object
from umbel.platforms.base import ARROW, PYTHON
from umbel.platforms.registry import Registry


class Recorder:
    """Keeps the stages of one run that this process owns; `umbel.executor.journal.Journal`.

    Args:
        owned: the run.
        platforms: what runs it.
        versions: the states of the plan's sources as they were found now, by key.
        delivered: whoever takes the result's rows keeps them.
        elsewhere: whether a stage's platform keeps what it gave to a run, and gives it again.
    """

    def __init__(
        self,
        owned: Owned,
        platforms: Registry,
        versions: Mapping[str, str | None],
        *,
        delivered: bool = False,
        elsewhere: Callable[[PlannedStage], bool] = lambda planned: False,
    ) -> None:
        self._owned = owned
        self._platforms = platforms
        self._versions = versions
        self._delivered = delivered
        self._elsewhere = elsewhere
        self._graph = ChannelGraph(())
        self._whole: dict[str, bool] = {}
        self._root: Operator | None = None
        self._result = ""
        self._element = ""
        self._last: list[RunEvent] = []

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._owned.run.id

    # --- what is finished -----------------------------------------------------------------------

    def written(self, write: Write) -> bool:
        """Whether a sink holds the run's rows already."""
        if token_of(self.run_id, write.sink) in self._owned.history.written:
            return True
        if self._owned.history.tries < 2:
            return False
        return settle(self._owned, write.sink, self._platforms)

    def planned(self, plan: ExecutionPlan, graph: ChannelGraph) -> None:
        """Look which stages are finished, and whether they still fit the sources."""
        self._graph = graph
        result = plan.stages[plan.result[0]]
        self._element = result.root.operator.element.value
        passed_on = self._delivered or isinstance(result.root.operator, Write)
        self._result = "" if passed_on else _digest(result)
        self._root, self._last = result.root.operator, []
        self._check_sources(plan)

    def finished(self, planned: PlannedStage) -> bool:
        """Whether a stage's output is at hand."""
        root = planned.root.operator
        if isinstance(root, Write):
            return token_of(self.run_id, root.sink) in self._owned.history.written
        kept = self._owned.history.stages.get(_digest(planned))
        if kept is None or not self._at_hand(kept):
            return False
        channel = ARROW if kept.form == TABLE else PYTHON
        return self._path(channel, planned.stage.output) is not None

    def _at_hand(self, kept: StageKept) -> bool:
        """Whether a sealed output is there, and whole."""
        if kept.digest not in self._whole:
            seal = kept.seal
            self._whole[kept.digest] = seal is not None and is_whole(self._owned.folder, seal)
        return self._whole[kept.digest]

    def _check_sources(self, plan: ExecutionPlan) -> None:
        """Hold the sources against their states when the run began.

        What is to be run reads them as they are now; that must fit what is finished.
        """
        was = self._owned.history.versions
        changed = {key for key, now in self._versions.items() if was.get(key, now) != now}
        if not changed:
            return
        wanted = self._to_run(plan, {stage.index for stage in plan.stages if self.finished(stage)})
        kept = [kept for kept in self._owned.history.stages.values() if self._at_hand(kept)]
        seen: dict[str, str | None] = {}
        for key in sorted(changed):
            reading = [s for s in wanted if _reads(s, key)]
            if not reading:
                continue  # all that was read of it is kept
            for stage in kept:
                if key in stage.sources:
                    source = next(s for s in sources_of(plan.rewritten) if source_key(s) == key)
                    raise RunError(
                        f"{source.describe()} has changed since run {self.run_id} began: "
                        f"what stage {stage.index} has made of it is kept, and stage "
                        f"{reading[0].index} would read it as it is now",
                        hint="bring its old state back and resume, or run the plan anew",
                    )
            seen[key] = self._versions[key]
        if seen:
            self._owned.add(SourcesSeen(seen))

    def _to_run(self, plan: ExecutionPlan, finished: set[int]) -> list[PlannedStage]:
        needed = {plan.result[0]} - finished
        for stage in reversed(plan.stages):
            if stage.index in needed:
                needed.update({index for index, _ in stage.sources.values()} - finished)
        return [stage for stage in plan.stages if stage.index in needed]

    def _path(self, source: str, target: str) -> list[Any] | None:
        """The conversions from one channel to another; None if there is no way."""
        if source == target:
            return []
        try:
            tree = minimum_conversion_tree(
                self._graph, source, [[target]], cost=lambda conversion: 1.0
            )
        except NoConversionError:
            return None
        return list(tree.edges)

    def restore(self, planned: PlannedStage) -> Any:
        """Give a finished stage's output in the stage's channel."""
        root = planned.root.operator
        if isinstance(root, Write):
            done = self._owned.history.written[token_of(self.run_id, root.sink)]
            data: Any = written_row(root, done.rows)
            form = TABLE
        else:
            seal = self._owned.history.stages[_digest(planned)].seal
            if seal is None:
                raise RunError(f"the output of stage {planned.index} is not kept")
            data, form = read_seal(self._owned.folder, seal), seal.form
        channel = ARROW if form == TABLE else PYTHON
        return convert(self._graph, data, channel, planned.stage.output, root)

    # --- what finishes --------------------------------------------------------------------------

    def streams(self) -> bool:
        """Whether the result's rows are kept by whoever takes them."""
        return self._delivered

    def finish(self, seconds: float, *more: RunEvent) -> None:
        """Keep the result, what more there is to say, and that the run is finished."""
        # Without its power the machine may forget the end of a run whose rows lie elsewhere: then
        # the run goes on, and gives them again. Not so what was written: its sink forgets, next,
        # that this run has done it.
        ended = Finished(seconds, self._result, self._element)
        lazy = self._delivered and not isinstance(self._root, Write)
        self._owned.add(*self._last, *more, ended, lazy=lazy)
        if isinstance(self._root, Write):
            reach("write-kept")
            forget(self._owned, self._root.sink, self._platforms)
        reach("run-finished")
        drop_all_but(self._owned.folder, self._owned.history, self._result)

    def started(self, planned: PlannedStage) -> None:
        """A stage begins."""
        reach("write-started" if isinstance(planned.root.operator, Write) else "stage-started")

    def commit(self, write: Write) -> Commit:
        """Give what writes a sink its token."""
        return SinkCommit(self._owned, token_of(self.run_id, write.sink))

    def keep(self, planned: PlannedStage, output: Any, seconds: float) -> None:
        """Keep a stage's output before anything reads it."""
        root = planned.root.operator
        if isinstance(root, Write):
            reach("write-done")
            rows = int(output.column("rows")[0].as_py())  # whatever the channel, it is a table
            token = token_of(self.run_id, root.sink)
            self._keep(root, WriteDone(token, rows, root.sink.describe(), seconds))
            return
        reach("stage-done")
        if self._elsewhere(planned) or (self._delivered and root is self._root):
            return
        start = time.perf_counter()
        seal = self._sealed(planned, root, output, seconds)
        kept = StageKept(
            digest=_digest(planned),
            index=planned.index,
            platform=planned.platform.name,
            operators=" > ".join(p.operator.name for p in planned.operators),
            seconds=seconds,
            keeping=time.perf_counter() - start,
            rows=len(output) if hasattr(output, "__len__") else None,
            bytes=None if seal is None else seal.size,
            file="" if seal is None else seal.file,
            sha256="" if seal is None else seal.sha256,
            form="" if seal is None else seal.form,
            sources=tuple(sorted({source_key(source) for source in sources_of(root)})),
        )
        self._whole.pop(kept.digest, None)
        if self._keep(root, kept):
            reach("stage-kept")

    def _keep(self, root: Operator, event: StageKept | WriteDone) -> bool:
        """Keep an event; that of the result is kept when the run ends, which it nearly has."""
        if root is self._root:
            self._last = [event]
            return False
        self._owned.add(event)
        return True

    def _sealed(
        self, planned: PlannedStage, root: Operator, output: Any, seconds: float
    ) -> Seal | None:
        """Seal an output; None if to run the stage again costs less, or it cannot be sealed."""
        folder, name, channel = self._owned.folder, _digest(planned), planned.stage.output
        if any(is_object(field.type) for field in root.schema):
            try:
                return seal_values(folder, name, output, lasting=root is self._root)
            except NoFormError:
                return None
        path = self._path(channel, ARROW)
        if path is None:
            return None
        if channel not in (ARROW, PYTHON):  # it lies in an engine, which may be another machine
            rows = len(output)
            size = rows * planned.root.estimate.width
            if sum(step.cost(rows, size) for step in path) > max(seconds, _CHEAP):
                return None
        table = convert(self._graph, output, channel, ARROW, root)
        return seal_table(folder, name, table, lasting=root is self._root)


#: Seconds that bringing an engine's output here may take in any case.
_CHEAP = 0.1


def _digest(planned: PlannedStage) -> str:
    """Identify the work of a stage, wherever it runs: the plan below it, and its data's digests."""
    return planned.root.operator.digest


def _reads(planned: PlannedStage, key: str) -> bool:
    """Whether a stage itself reads a source."""
    inside = (source for p in planned.operators for source in _own_sources(p.operator))
    return any(source_key(source) == key for source in inside)


def _own_sources(operator: Operator) -> list[Source]:
    """What an operator itself reads; of a loop, what its body does."""
    below = {id(source) for child in operator.inputs for source in sources_of(child)}
    return [source for source in sources_of(operator) if id(source) not in below]


def drop_all_but(folder: Path, history: History, result: str) -> None:
    """Remove the outputs that only a resumed run would have read."""
    for digest, kept in history.stages.items():
        if digest != result and kept.file:
            (folder / kept.file).unlink(missing_ok=True)


__all__ = ["Recorder", "drop_all_but"]
