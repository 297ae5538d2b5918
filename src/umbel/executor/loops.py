"""Loops: a body's plan, run round after round until its times or its condition end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from umbel.executor.events import RoundFinished
from umbel.executor.handover import Bound, convert
from umbel.executor.record import StageRecord
from umbel.executor.services import Services
from umbel.optimizer.execution_plan import ExecutionPlan, PlannedStage
from umbel.optimizer.planner import body_channel
from umbel.plan.errors import RunError
from umbel.plan.operators import DoWhile, Loop, Operator, Placeholder, Repeat


class Round(Protocol):
    """One run of a body's plan; `umbel.executor.scheduler.Scheduler` is one."""

    def run(self) -> Any:
        """Run the plan; give its result."""


#: Prepares a round: of a plan, its records, and what stands for its placeholders.
Prepare = Callable[..., Round]


def run_loop(
    loop: Loop,
    planned: PlannedStage,
    inputs: dict[str, Any],
    record: StageRecord,
    services: Services,
    prepare: Prepare,
) -> Any:
    """Run a loop and give its result in the stage's output channel.

    The state stays in one channel from round to round, and is let go of as soon as the next round
    has read it. What no round changes is converted once.

    Args:
        loop: over placeholders for its inputs.
        planned: the stage of the loop.
        inputs: data by placeholder label; emptied.
        record: of the stage.
        services: what stages share.
        prepare: makes one run of a body's plan.

    Raises:
        RunError: the loop's limit was reached, or its condition gave no boolean.
    """
    channel = body_channel(loop)
    initial, *fixed = [
        Bound(source, {planned.stage.inputs[source.label]: inputs[source.label]}, lasting=number > 0)
        for number, source in enumerate(_placeholders(loop))
    ]
    inputs.clear()
    lasting = dict(zip(loop.labels[1:], fixed, strict=True))
    state = Bound(
        loop.initial, {channel: initial.read(services.graph, channel, last=True)}
    )
    rounds = 0

    def run_once(body: int, current: Bound) -> Any:
        plan: ExecutionPlan = planned.bodies[body]
        bound: Mapping[str, Bound] = {loop.labels[0]: current, **lasting}
        return prepare(plan, record.bodies[body], bound=bound).run()

    while not (isinstance(loop, Repeat) and rounds == loop.times):
        services.cancellation.check()
        state = Bound(loop.body, {channel: run_once(0, state)})
        rounds += 1
        services.tell(RoundFinished, planned, rounds)
        if isinstance(loop, DoWhile):
            # The state is read by the condition, and again afterwards.
            kept = Bound(loop.body, state.forms, lasting=True)
            if not _truth(loop, run_once(1, kept)):
                break
            if rounds >= loop.limit:
                raise _endless(loop)
    (data,) = [state.forms.pop(channel)]
    operator: Operator = loop.body if rounds else loop.initial
    return convert(services.graph, data, channel, planned.stage.output, operator)


def _placeholders(loop: Loop) -> Sequence[Placeholder]:
    return [source for source in loop.inputs if isinstance(source, Placeholder)]


def _truth(loop: DoWhile, elements: Any) -> bool:
    """What a condition says."""
    answer = list(elements)
    if len(answer) != 1:
        raise RunError(
            f"the condition of the loop at {loop.origin or loop.name} gave {len(answer):,} "
            "elements instead of one boolean",
            hint="reduce it to one value: .map(...).reduce(lambda a, b: a or b)",
        )
    (value,) = answer
    if not isinstance(value, bool):
        raise RunError(
            f"the condition of the loop at {loop.origin or loop.name} gave {value!r} of type "
            f"{type(value).__name__} instead of a boolean",
            hint="compare it: .map(lambda x: x > 0)",
        )
    return value


def _endless(loop: DoWhile) -> RunError:
    return RunError(
        f"the loop at {loop.origin or loop.name} did not end after {loop.limit:,} rounds",
        hint="its condition stays true; if it needs more rounds: do_while(..., limit=...)",
    )


__all__ = ["run_loop"]
