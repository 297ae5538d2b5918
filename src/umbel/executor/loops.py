"""Loops: a body's plan, run round after round until its times or its condition end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from umbel.executor.events import RoundFinished
from umbel.executor.handover import Bound, convert
from umbel.executor.record import StageRecord
from umbel.executor.services import Services
from umbel.optimizer.execution_plan import PlannedStage
from umbel.optimizer.planner import body_channel
from umbel.plan.errors import RunError
from umbel.plan.operators import DoWhile, Loop, Placeholder, Repeat


class Round(Protocol):
    """One run of a body's plan; `umbel.executor.scheduler.Scheduler` is one."""

    def run(self) -> Any:
        """Run the plan; give its result."""


#: Prepares a round of a plan, with its records and what stands for its placeholders.
Prepare = Callable[..., Round]


def run_loop(
    loop: Loop,
    planned: PlannedStage,
    inputs: dict[str, Any],
    record: StageRecord,
    services: Services,
    depth: int,
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
        depth: number of loops around this one.
        prepare: makes one run of a body's plan.

    Raises:
        RunError: the loop's limit was reached, or its condition gave no boolean.
    """
    channel = body_channel(loop)
    first, *others = [
        Bound(source, {planned.stage.inputs[source.label]: inputs[source.label]}, lasting=i > 0)
        for i, source in enumerate(loop.inputs)
        if isinstance(source, Placeholder)
    ]
    inputs.clear()
    invariants = dict(zip(loop.labels[1:], others, strict=True))
    state = Bound(loop.initial, {channel: first.read(services.graph, channel, last=True)})

    def run_once(which: int, current: Bound) -> Any:
        bound = {loop.labels[0]: current, **invariants}
        return prepare(planned.bodies[which], record.bodies[which], bound=bound).run()

    rounds = 0
    while not (isinstance(loop, Repeat) and rounds == loop.times):
        services.cancellation.check()
        state = Bound(loop.body, {channel: run_once(0, state)})
        rounds += 1
        services.tell(RoundFinished, planned, rounds, depth)
        if isinstance(loop, DoWhile):
            kept = Bound(loop.body, state.forms, lasting=True)  # the next round reads it again
            if not _truth(loop, run_once(1, kept)):
                break
            if rounds >= loop.limit:
                raise _endless(loop)
    data = state.forms.pop(channel)
    source = loop.body if rounds else loop.initial
    return convert(services.graph, data, channel, planned.stage.output, source)


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
    if hasattr(value, "item"):  # a scalar of NumPy's
        value = value.item()
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
