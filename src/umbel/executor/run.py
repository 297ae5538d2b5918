"""Plan, run, and, where a lifted function turns out not to be equal on this data, run again."""

from __future__ import annotations

import time
from collections.abc import Mapping

from umbel.executor.context import Cancellation, Scratch, default_memory_limit
from umbel.executor.events import Event, Listener, RunFinished, RunStarted, Unlifted
from umbel.executor.progress import ProgressDisplay
from umbel.executor.record import Result, Run, stage_record
from umbel.executor.scheduler import Scheduler, Services
from umbel.optimizer import Budget, ExecutionPlan, optimize
from umbel.optimizer.movement import ChannelGraph
from umbel.plan.errors import CancelledError, UmbelError
from umbel.plan.operators import Operator
from umbel.platforms.registry import Registry


def run(
    root: Operator,
    *,
    platforms: Registry,
    budget: Budget | None = None,
    progress: bool | None = None,
    cancellation: Cancellation | None = None,
    listener: Listener | None = None,
    measured: Mapping[str, float] | None = None,
    memory_limit: int | None = None,
) -> Result:
    """Plan and run a plan.

    Args:
        root: what to run.
        platforms: what may run it.
        budget: bounds on the estimated cost.
        progress: show a line per stage; None shows it if standard error is a terminal.
        cancellation: lets another thread stop the run.
        listener: told of every event.
        measured: rows that earlier runs counted, by operator digest.
        memory_limit: bytes a stage may use before it spills.

    Returns:
        The data and the record of the run.

    Raises:
        PlacementError: no platform can run some operator, or no plan fits the budget.
        RunError: a stage failed; says which, where it was written, and what the engine said.
        CancelledError: the run was cancelled; nothing is left behind.
    """
    cancellation = cancellation or Cancellation()
    start = time.perf_counter()
    plan = optimize(root, platforms, budget=budget, measured=measured)
    planning = time.perf_counter() - start
    with ProgressDisplay(progress) as display:

        def tell(event: Event) -> None:
            display(event)
            if listener is not None:
                listener(event)

        try:
            result = _run_once(plan, platforms, cancellation, tell, memory_limit)
        except CancelledError:
            raise
        except UmbelError as error:
            if not plan.lifted:
                raise
            # The expressions are equal to the Python functions unless they fail; so when they
            # fail the functions themselves decide, and raise what they raise.
            tell(Unlifted(time.perf_counter() - start, error.message))
            plan = optimize(root, platforms, budget=budget, lifting=False, measured=measured)
            cancellation = _renewed(cancellation)
            result = _run_once(plan, platforms, cancellation, tell, memory_limit)
            result.run.unlifted = error.message
    result.run.planning_seconds = planning
    return result


def _renewed(cancellation: Cancellation) -> Cancellation:
    """A failed stage cancels its neighbours; a second try starts uncancelled."""
    return Cancellation() if cancellation.cancelled else cancellation


def _run_once(
    plan: ExecutionPlan,
    platforms: Registry,
    cancellation: Cancellation,
    tell: Listener,
    memory_limit: int | None,
) -> Result:
    scratch = Scratch()
    records = [stage_record(stage) for stage in plan.stages]
    services = Services(
        cancellation=cancellation,
        scratch=scratch,
        memory_limit=memory_limit or default_memory_limit(),
        graph=ChannelGraph(platforms.conversions),
        listener=tell,
    )
    start = time.perf_counter()
    tell(RunStarted(0.0, plan))
    failed: BaseException | None = None
    try:
        data = Scheduler(plan, records, services).run()
    except KeyboardInterrupt as error:
        cancellation.cancel()
        failed = error
        raise CancelledError("the run was cancelled by Ctrl-C") from None
    except BaseException as error:
        failed = error
        raise
    finally:
        tell(RunFinished(time.perf_counter() - start, failed))
        scratch.close()
    return Result(data, Run(plan, records, seconds=time.perf_counter() - start))
