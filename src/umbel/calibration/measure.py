"""Running the small plans through the engines' own compilers, and taking the time.

Nothing is chosen here: every plan that a platform can run is compiled as one stage and run there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any

from umbel.api.session import Session
from umbel.calibration.data import Data
from umbel.calibration.fit import Observation
from umbel.calibration.plans import Micro, micro_plans
from umbel.dataclass import dataclass
from umbel.executor.context import Cancellation, Scratch, StageContext
from umbel.executor.handover import convert
from umbel.executor.memory import default_memory_limit
from umbel.optimizer import optimize
from umbel.optimizer.cardinality import Estimator
from umbel.optimizer.estimates import Estimate, exactly
from umbel.optimizer.movement import ChannelGraph, NoConversionError
from umbel.optimizer.operator_costs import work_of
from umbel.optimizer.planner import channels_for
from umbel.plan.operators import Operator, Placeholder, topological
from umbel.platforms.base import ARROW, PYTHON, Platform, Stage
from umbel.platforms.costs import CostProfile, Figure, linear_terms
from umbel.platforms.registry import Registry, conversion_name

#: Bytes that a Python object is taken to have, as estimates of functional operators take it.
_OBJECT = 60.0
#: How often a small plan is run to see what the executor takes for a stage.
_LAUNCHES = 15
#: A plan that is expected to take longer on larger data is not run there.
_SLOW = 0.8


@dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        sizes: rows of the inputs.
        rounds: how often each plan runs; the least time counts.
        seconds: that all platforms share; when a platform's part is over, only the smallest
            plans that are left are run, once.
        starts: how often an engine is started to see how long that takes.
    """

    sizes: tuple[int, ...] = (100, 20_000, 250_000)
    rounds: int = 5
    seconds: float = 90.0
    starts: int = 3

    @classmethod
    def quick(cls) -> Extent:
        """A rough calibration, in seconds."""
        return cls(sizes=(100, 2_000), rounds=2, seconds=12.0, starts=1)


@dataclass
class _Run:
    """One plan on one platform: how to run it, and what it took.

    The first time is not to count: warm says that it was.
    """

    micro: Micro
    size: int
    terms: dict[Figure, float]
    work: Callable[[], Any]
    warm: bool = False
    seconds: list[float] = field(default_factory=list)


class Bench:
    """Data and plans of all sizes, made once for all platforms; a context manager.

    Args:
        extent: the sizes.
        registry: the platforms and conversions that there are.
        tick: told that another step is done.
        cancellation: stops it.
    """

    def __init__(
        self,
        extent: Extent,
        registry: Registry,
        tick: Callable[[str], None],
        cancellation: Cancellation,
    ) -> None:
        self._extent = extent
        self._graph = ChannelGraph(registry.conversions)
        self._told = tick
        self._cancellation = cancellation
        self._scratch = Scratch()
        self._folder = tempfile.TemporaryDirectory(
            prefix="umbel-calibrate-", ignore_cleanup_errors=True
        )
        self._plans: dict[int, list[Micro]] = {}
        self._launch = 0.0
        self._session = Session(platforms=registry, progress=False)

    def __enter__(self) -> Bench:
        return self

    def prepare(self) -> None:
        """Make the data and the plans."""
        for size in self._extent.sizes:
            data = Data.of(size)
            paths = data.write(Path(self._folder.name))
            self._plans[size] = micro_plans(data, paths, self._session)
            self._tick(f"data of {size:,} rows")
        self._launch = self._seconds_to_launch()

    def _tick(self, what: str) -> None:
        self._cancellation.check()
        self._told(what)

    def _seconds_to_launch(self) -> float:
        """What the executor takes for a stage, beyond what the stage itself does."""
        registry = self._session.platforms()
        if "python" not in registry:
            return 0.0
        plan = self._session.from_items([1, 2, 3]).on("python").plan
        (planned,) = optimize(plan, registry).stages
        whole, stage = [], []
        for _ in range(_LAUNCHES):
            whole.append(self._session.run(plan).run.seconds)
            start = time.perf_counter()
            self._execute(planned.platform, planned.stage, {})
            stage.append(time.perf_counter() - start)
        return max(0.0, min(whole) - min(stage))

    def __exit__(self, *exception: object) -> None:
        self._folder.cleanup()
        self._scratch.close()

    @property
    def steps(self) -> int:
        """How often `tick` is called for one platform, at most."""
        return sum(len(plans) for plans in self._plans.values()) * self._extent.rounds

    def observe(
        self, platform: Platform, profile: CostProfile, seconds: float
    ) -> list[Observation]:
        """Measure a platform: its operators, and how it takes and gives data.

        Args:
            platform: what is measured.
            profile: tells which functions have figures of their own.
            seconds: how long it may take, about.
        """
        until = time.perf_counter() + seconds
        runs: list[_Run] = []
        taken: dict[str, list[tuple[int, float]]] = {}
        for size in (sizes := sorted(self._plans)):
            for micro in self._plans[size]:
                self._tick(f"{platform.name}: {micro.name}")
                if size > sizes[0] and time.perf_counter() > until:
                    continue
                if _expected(taken.get(micro.name, []), size) > _SLOW:
                    continue
                if not _able(platform, micro.root):
                    continue
                for run in self._runs(platform, profile, micro, size):
                    if not run.warm:
                        _take(run)
                        run.seconds.clear()
                    _take(run)
                    runs.append(run)
                    taken.setdefault(run.micro.name, []).append((size, run.seconds[0]))
        for _ in range(1, self._extent.rounds):
            for run in runs:
                if time.perf_counter() > until:
                    break
                self._tick(f"{platform.name}: {run.micro.name}")
                _take(run)
        return [
            Observation(
                f"{run.micro.name}, {run.size:,} rows",
                min(run.seconds) + (self._launch if ("stage", "", "") in run.terms else 0.0),
                run.terms,
                run.micro.held_out,
            )
            for run in runs
        ]

    def _runs(
        self, platform: Platform, profile: CostProfile, micro: Micro, size: int
    ) -> Iterator[_Run]:
        """The plan in the platform's fastest channels; a simple one in its other channels too."""
        root = micro.root
        writes = channels_for(root, platform.writes)
        placeholders = {s.label: s for s in topological(root) if isinstance(s, Placeholder)}
        reads = self._readable(platform, placeholders)
        if not writes or reads is None:
            return
        estimates: Mapping[int, Estimate] | None = None
        pairs = [(0, writes[0])]
        if micro.name in ("project columns", "map"):
            most = max((len(channels) for channels in reads.values()), default=1)
            pairs += [(index, writes[0]) for index in range(1, most)]
        if micro.name in ("project columns", "project all", "map"):
            pairs += [(0, channel) for channel in writes[1:]]
        for index, output in pairs:
            inputs = {
                label: self._given(micro.inputs[label], channels[min(index, len(channels) - 1)],
                                   placeholders[label])
                for label, channels in reads.items()
            }  # fmt: skip
            channels = {label: data[0] for label, data in inputs.items()}
            values = {label: data[1] for label, data in inputs.items()}
            if estimates is None:
                estimates = self._estimates(platform, micro, channels, values, writes[0])
            stage = Stage(root, channels, output)
            # A platform's own channel has its engine's name in profiles.
            own = {platform.name: platform.engine}
            named = {label: own.get(channel, channel) for label, channel in channels.items()}
            terms = _terms(root, estimates, profile, named, own.get(output, output))
            work = partial(self._execute, platform, stage, values)
            yield _Run(micro, size, terms, work, warm=(index, output) == pairs[0])

        if micro.name in ("project columns", "project all"):
            yield from self._conversions(platform, micro, size)

    def _readable(
        self, platform: Platform, placeholders: Mapping[str, Placeholder]
    ) -> dict[str, list[str]] | None:
        """For each input the channels in which it can be given; None if one cannot be."""
        found = {}
        for label, placeholder in placeholders.items():
            found[label] = list(channels_for(placeholder, platform.reads))
            if not found[label]:
                return None
        return found

    def _given(self, data: Any, channel: str, placeholder: Placeholder) -> tuple[str, Any]:
        source = PYTHON if isinstance(data, list) else ARROW
        return channel, convert(self._graph, data, source, channel, placeholder)

    def _execute(self, platform: Platform, stage: Stage, inputs: Mapping[str, Any]) -> Any:
        context = StageContext(self._cancellation, self._scratch, default_memory_limit())
        try:
            return platform.compile(stage).run(inputs, context)
        finally:
            context.close()

    def _estimates(
        self,
        platform: Platform,
        micro: Micro,
        channels: Mapping[str, str],
        inputs: Mapping[str, Any],
        output: str,
    ) -> dict[int, Estimate]:
        """What the optimizer would reckon if it knew all cardinalities."""
        counted: dict[str, float] = {}
        for step in topological(micro.root):
            if step.inputs:
                leaves = {s.label for s in topological(step) if isinstance(s, Placeholder)}
                channel = next(iter(channels_for(step, platform.writes)))
                stage = Stage(step, {k: channels[k] for k in leaves}, channel)
                rows = self._execute(platform, stage, {k: inputs[k] for k in leaves})
                counted[step.digest] = len(rows)
        known = {label: _estimate(data) for label, data in micro.inputs.items()}
        estimator = Estimator(counted, known)
        estimator(micro.root)
        return {id(step): estimator(step) for step in topological(micro.root)}

    def _conversions(self, platform: Platform, micro: Micro, size: int) -> Iterator[_Run]:
        """Each conversion that the platform brings, over the plan's input."""
        ((label, data),) = micro.inputs.items()
        placeholder = next(
            s for s in topological(micro.root) if isinstance(s, Placeholder) and s.label == label
        )
        for conversion in platform.conversions:
            try:
                _, source = self._given(data, conversion.source, placeholder)
            except NoConversionError:
                continue
            estimate = _estimate(data)
            name = conversion_name(platform, conversion)
            terms = dict(linear_terms("conversions", name, estimate.expected, estimate.size))

            work = partial(conversion.convert, source, placeholder.schema, placeholder.element)
            yield _Run(Micro(f"convert {name}", micro.root, {}), size, terms, work)


def _expected(taken: Sequence[tuple[int, float]], size: int) -> float:
    """Seconds that a plan will take at a size, from what it took at smaller ones."""
    if not taken:
        return 0.0
    fixed, (last, seconds) = taken[0][1], taken[-1]
    return fixed + max(0.0, seconds - fixed) * size / last


def _able(platform: Platform, root: Operator) -> bool:
    return all(
        platform.refuse(step) is None
        for step in topological(root)
        if not isinstance(step, Placeholder)
    )


def _take(run: _Run) -> None:
    start = time.perf_counter()
    result = run.work()
    run.seconds.append(time.perf_counter() - start)
    del result


def _estimate(data: Any) -> Estimate:
    rows = len(data)
    width = data.nbytes / max(1, rows) if hasattr(data, "nbytes") else _OBJECT
    return Estimate(exactly(rows), width)


def _terms(
    root: Operator,
    estimates: Mapping[int, Estimate],
    profile: CostProfile,
    channels: Mapping[str, str],
    output: str,
) -> dict[Figure, float]:
    """What each figure of a profile contributes to a stage's time, as the optimizer adds it up."""
    found: dict[Figure, float] = {("stage", "", ""): 1.0}

    def add(figure: Figure, factor: float) -> None:
        if factor:
            found[figure] = found.get(figure, 0.0) + factor

    def cross(section: str, channel: str, estimate: Estimate) -> None:
        for figure, factor in linear_terms(section, channel, estimate.expected, estimate.size):
            add(figure, factor)

    for step in topological(root):
        if isinstance(step, Placeholder):
            cross("read", channels[step.label], estimates[id(step)])
        else:
            for figure, factor in profile.terms(work_of(step, estimates)):
                add(figure, factor)
    cross("write", output, estimates[id(root)])
    return found


_STARTING = """
import sys, time
from umbel.calibration.starting import seconds_to_start
print(seconds_to_start(sys.argv[1]))
"""


def seconds_to_start(platform: Platform, times: int) -> float:
    """How long the engine takes to start in a new process: the least of some times.

    Raises:
        RuntimeError: it does not start.
    """
    found = []
    for _ in range(times):
        done = subprocess.run(  # noqa: S603 - this interpreter, and a platform's name
            [sys.executable, "-c", _STARTING, platform.name],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{platform.name} does not start: {done.stderr[-2000:]}")
        found.append(float(done.stdout.split()[-1]))
    return min(found)


__all__ = ["Bench", "Extent", "seconds_to_start"]
