"""Durable runs: begun, resumed, and what remains of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from umbel.catalog.versions import source_key, source_version
from umbel.dataclass import dataclass
from umbel.executor.context import Cancellation
from umbel.executor.record import Result
from umbel.executor.run import run
from umbel.executor.run_ids import new_id
from umbel.executor.runs.errors import LostRunError, RunInterruptedError, StoreError
from umbel.executor.runs.history import FINISHED, Cancelled, Failed, Finished, RunEvent
from umbel.executor.runs.leases import Heartbeat
from umbel.executor.runs.preparing import (
    INPUT_LIMIT,
    Prepared,
    prepare,
    restore,
    sources_of,
)
from umbel.executor.runs.recording import Recorder, drop_all_but
from umbel.executor.runs.rows import PLAN, StoredRun
from umbel.executor.runs.scripts import ScriptRun
from umbel.executor.runs.seals import is_whole, read_seal
from umbel.executor.runs.sinks import check_sinks, token_of, written_row
from umbel.executor.runs.store import Owned, RunStore
from umbel.optimizer import Budget
from umbel.optimizer.execution_plan import PlannedStage
from umbel.optimizer.planner import started
from umbel.plan.codec import plan_from_json
from umbel.plan.errors import CancelledError, PlanError, UmbelError
from umbel.plan.operators import OBJECT_SCHEMA, Operator, Scan, Write
from umbel.plan.sinks import Sink
from umbel.plan.sources import AttachedSource, MemorySource
from umbel.platforms.base import TellsVersions
from umbel.platforms.registry import Registry

#: Characters of an error that are kept.
_ERROR = 4000
_TITLE = 120


def run_durable(
    root: Operator,
    *,
    store: RunStore,
    platforms: Registry,
    measured: Callable[[Operator], Mapping[str, float]] = lambda plan: {},
    budget: Budget | None = None,
    cancellation: Cancellation | None = None,
    about: Mapping[str, Any] | None = None,
    script: ScriptRun | None = None,
    told: Callable[[str], None] = lambda run_id: None,
    input_limit: int = INPUT_LIMIT,
    **options: Any,
) -> Result:
    """Run a plan so that another process can go on with it.

    Args:
        root: the plan.
        store: where the run is kept.
        platforms: what may run it.
        measured: gives the rows that earlier runs counted; kept, so that the plan stays the same.
        budget: bounds on the estimated cost.
        cancellation: lets another thread stop the run.
        about: what else whoever resumes the run needs to know; JSON values without secrets.
        script: the script's run that asks for this one; a run that it asked for before, and that
            is equal, is resumed.
        told: called with the run's id before anything runs.
        input_limit: bytes of data in memory that are kept with the run at most.
        options: as of `umbel.executor.run`.

    Raises:
        PlanError: the plan could not be resumed elsewhere; says why.
        StoreError: the store cannot be used.
        RunInUseError: another process runs it.
    """
    prepared = prepare(root, store.folder, again=script is not None, limit=input_limit)
    known = None if script is None else script.claim(prepared.kept.digest)
    kept = None if known is None else _kept_result(store, known, prepared.root, platforms)
    if known is not None and kept is not None:
        check_sinks(prepared.root, platforms)
        told(known.id)
        return kept
    if known is not None:
        check_sinks(prepared.root, platforms)
        versions = _versions(prepared.root, platforms)
        ready = Ready(store.acquire(known.id), prepared.root, versions)
    else:
        run_id = new_id() if script is None else script.next_id()
        ready = _begun(
            prepared,
            store=store,
            platforms=platforms,
            run_id=run_id,
            measured=measured,
            budget=budget,
            about=about,
            script="" if script is None else script.id,
        )
    told(ready.owned.run.id)
    cancellation = cancellation or Cancellation()
    with keeping(ready.owned, cancellation.cancel):
        return run_ready(ready, platforms, cancellation, **options)


@dataclass(frozen=True)
class Ready:
    """A run that this process owns, and that can be run at once.

    Attributes:
        owned: the run.
        root: its plan.
        versions: the states of the plan's sources as they are now.
    """

    owned: Owned
    root: Operator
    versions: Mapping[str, str | None]


def begin(
    root: Operator,
    *,
    store: RunStore,
    platforms: Registry,
    run_id: str,
    measured: Callable[[Operator], Mapping[str, float]] = lambda plan: {},
    budget: Budget | None = None,
    about: Mapping[str, Any] | None = None,
    input_limit: int = INPUT_LIMIT,
) -> Ready:
    """Keep a new run of a plan, and do not run it yet; see `run_durable`.

    Args:
        root: the plan.
        store: where the run is kept.
        platforms: what may run it.
        run_id: what it is called.
        measured: gives the rows that earlier runs counted.
        budget: bounds on the estimated cost.
        about: what else whoever resumes the run needs to know; JSON values without secrets.
        input_limit: bytes of data in memory that are kept with the run at most.
    """
    prepared = prepare(root, store.folder, again=False, limit=input_limit)
    return _begun(
        prepared,
        store=store,
        platforms=platforms,
        run_id=run_id,
        measured=measured,
        budget=budget,
        about=about,
    )


def _begun(
    prepared: Prepared,
    *,
    store: RunStore,
    platforms: Registry,
    run_id: str,
    measured: Callable[[Operator], Mapping[str, float]],
    budget: Budget | None,
    about: Mapping[str, Any] | None,
    script: str = "",
) -> Ready:
    root = prepared.root
    check_sinks(root, platforms)
    versions = _versions(root, platforms)
    facts = {
        **prepared.to_json(),
        **(about or {}),
        "measured": dict(measured(root)),
        "up": sorted(started(platforms)),
        "budget": None if budget is None else [budget.seconds, budget.dollars],
    }
    owned = store.create(
        run_id,
        kind=PLAN,
        title=_title(root),
        digest=prepared.kept.digest,
        plan=prepared.text,
        options=facts,
        versions=versions,
        script=script,
    )
    return Ready(owned, root, versions)


def restored(
    owned: Owned, *, platforms: Registry, sink: Callable[[Sink], Sink] = lambda sink: sink
) -> Ready:
    """Bring a run back that this process has taken over (`RunStore.acquire`); see `resume`."""
    root = restore(owned.run.plan, owned.run.options, owned.store.folder, sink)
    check_sinks(root, platforms)
    return Ready(owned, root, _versions(root, platforms))


def resume(
    store: RunStore,
    run_id: str,
    *,
    platforms: Registry,
    sink: Callable[[Sink], Sink] = lambda sink: sink,
    cancellation: Cancellation | None = None,
    **options: Any,
) -> Result:
    """Go on with a run where it stopped; give its result, which may be there already.

    Args:
        store: where the run is kept.
        run_id: its id.
        platforms: what may run it; what the run reads and writes must be attached.
        sink: gives a sink what no plan holds, such as the catalogue of an Iceberg table.
        cancellation: lets another thread stop the run.
        options: as of `umbel.executor.run`.

    Raises:
        UnknownNameError: there is no such run.
        RunInUseError: another process runs it.
        RunError: sources that finished stages have read are others now.
        PlanError: a function of the plan is not to be found; or the run is of a script.
    """
    stored = store.run(run_id)
    if stored.kind != PLAN:
        raise PlanError(
            f"run {run_id} is of a script", hint=f"run it again: umbel run --resume {run_id}"
        )
    kept = _kept_result(store, stored, plan_from_json(stored.plan), platforms)
    if kept is not None:
        return kept
    root = restore(stored.plan, stored.options, store.folder, sink)
    versions = _versions(root, platforms)
    ready = Ready(store.acquire(run_id), root, versions)
    cancellation = cancellation or Cancellation()
    with keeping(ready.owned, cancellation.cancel):
        return run_ready(ready, platforms, cancellation, **options)


def run_ready(
    ready: Ready,
    platforms: Registry,
    cancellation: Cancellation,
    *,
    delivered: bool = False,
    elsewhere: Callable[[PlannedStage], bool] = lambda planned: False,
    ending: Callable[[Result], Iterable[RunEvent]] = lambda result: (),
    **options: Any,
) -> Result:
    """Run what is not finished of a run that this process owns, inside of `keeping`.

    Args:
        ready: the run.
        platforms: what may run it.
        cancellation: lets another thread stop the run.
        delivered: whoever takes the rows (`deliver`) keeps them: they are not kept here, and come
            while they are computed.
        elsewhere: whether a stage's platform keeps what it gave to a run, and gives it again.
        ending: called when all is done; what it gives is kept with the run's end.
        options: as of `umbel.executor.run`.
    """
    owned, root = ready.owned, ready.root
    facts = owned.run.options
    recorder = Recorder(owned, platforms, ready.versions, delivered=delivered, elsewhere=elsewhere)
    limits = facts["budget"]
    if isinstance(root, Write) and recorder.written(root):  # what it is made of may be gone
        owned.add(Finished(0.0))
        rows = owned.history.written[token_of(owned.run.id, root.sink)].rows
        row = written_row(root, rows)
        return _known_result(row, root.element.value, owned.run.id, platforms)
    result = run(
        root,
        platforms=platforms,
        budget=None if limits is None else Budget(*limits),
        measured=facts["measured"],
        up=frozenset(facts["up"]) & {platform.name for platform in platforms},
        lifting=True if facts["lifted"] else None,
        cancellation=cancellation,
        journal=recorder,
        **options,
    )
    recorder.finish(result.run.seconds, *ending(result))
    return result


@contextmanager
def keeping(
    owned: Owned,
    stop: Callable[[], None],
    ending: Callable[[BaseException], Iterable[RunEvent]] = lambda error: (),
) -> Iterator[None]:
    """Hold a run while a block runs, and keep how the block ended if it failed.

    Args:
        owned: the run.
        stop: called from another thread if somebody cancels the run, or takes it over.
        ending: gives what more is to be kept with a failure.
    """
    heartbeat = Heartbeat(owned.renew, owned.is_unwanted, stop)
    try:
        yield
    except BaseException as error:
        heartbeat.end()
        _keep_failure(owned, error, ending)
        raise
    finally:
        heartbeat.end()
        with contextlib.suppress(StoreError):  # the lease ends by itself
            owned.release()


def _keep_failure(
    owned: Owned, error: BaseException, ending: Callable[[BaseException], Iterable[RunEvent]]
) -> None:
    """Keep why a run failed, if the store still can; the error itself is what is raised."""
    if isinstance(error, RunInterruptedError):
        return  # whoever resumes it finds it as a killed process would have left it
    if isinstance(error, CancelledError | KeyboardInterrupt):
        event: Cancelled | Failed = Cancelled()
    else:
        hint = error.hint if isinstance(error, UmbelError) else ""
        message = (
            error.message if isinstance(error, UmbelError) else f"{type(error).__name__}: {error}"
        )
        event = Failed(message[:_ERROR], hint[:_ERROR])
    try:
        owned.add(*ending(error), event)
    except LostRunError as lost:  # which stopped it, as `cancel` does
        if isinstance(error, CancelledError | KeyboardInterrupt):
            raise lost from error
    except StoreError:
        return  # full or away, which is often why the run failed


def _kept_result(
    store: RunStore, stored: StoredRun, root: Operator, platforms: Registry
) -> Result | None:
    """Give the result of a run that finished before; None if it did not, or it is not kept."""
    history = store.history(stored.id)
    finished = history.result
    if history.state != FINISHED or finished is None:
        return None
    data: Any
    if not finished.stage and isinstance(root, Write):
        data = written_row(root, history.written[token_of(stored.id, root.sink)].rows)
    else:
        kept = history.stages.get(finished.stage)
        seal = None if kept is None else kept.seal
        if seal is None or not is_whole(store.folder / stored.id, seal):
            return None
        data = read_seal(store.folder / stored.id, seal)
    drop_all_but(store.folder / stored.id, history, finished.stage)  # if its owner died before
    return _known_result(data, finished.element, stored.id, platforms)


def _known_result(data: Any, element: str, run_id: str, platforms: Registry) -> Result:
    """Make a result of data that is at hand."""
    schema = data.schema if isinstance(data, pa.Table) else OBJECT_SCHEMA
    source = MemorySource(schema, "result", element, data)
    result = run(Scan(source=source), platforms=platforms, progress=False)
    result.run.id = run_id
    return result


def _versions(root: Operator, platforms: Registry) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for source in sources_of(root):
        key = source_key(source)
        if key not in found:
            version = source_version(source)
            if isinstance(source, AttachedSource) and source.platform in platforms:
                store = platforms.store(source.platform)
                version = store.version_of(source) if isinstance(store, TellsVersions) else None
            found[key] = version
    return found


def _title(root: Operator) -> str:
    """Say in a line what a plan does, and over what."""
    names = [
        f"memory ({len(source.data):,} rows)" if isinstance(source, MemorySource)
        else source.describe()
        for source in sources_of(root)
    ]  # fmt: skip
    over = f" over {', '.join(dict.fromkeys(names))}" if names else ""
    return (f"{root.name} {root.describe()}".strip()[:_TITLE] + over)[: 2 * _TITLE]


__all__ = ["Ready", "begin", "keeping", "restored", "resume", "run_durable", "run_ready"]
