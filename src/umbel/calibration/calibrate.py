"""Calibration as a whole: measure each platform, fit its profile, say how well it predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime
from functools import partial

from umbel.calibration.fit import Observation, errors, fit, machine_factor
from umbel.calibration.measure import Bench, Extent, seconds_to_start
from umbel.dataclass import dataclass
from umbel.executor.context import Cancellation
from umbel.executor.interrupts import Interrupts
from umbel.executor.workers import Workers
from umbel.plan.errors import PlacementError
from umbel.platforms.base import Platform
from umbel.platforms.calibrated import Calibrated, Calibration, this_machine
from umbel.platforms.costs import CostProfile
from umbel.platforms.registry import Registry, conversion_name


@dataclass(frozen=True)
class Outcome:
    """What was found out about one platform.

    Attributes:
        platform: its name.
        engine, version: its engine.
        before: the profile that sessions used until now.
        after: the fitted one.
        error_before, error_after: the median and the 90th percentile of the relative error of what
            they predict for plans that were kept from fitting.
        observations: all that was measured.
    """

    platform: str
    engine: str
    version: str
    before: CostProfile
    after: CostProfile
    error_before: tuple[float, float]
    error_after: tuple[float, float]
    observations: Sequence[Observation] = field(repr=False)

    @property
    def slower(self) -> float:
        """How many times longer the plans took than the profile before says, at the median."""
        return machine_factor(self.before.figures(), self.observations)


def to_calibrate(registry: Registry, names: Sequence[str] = ()) -> list[Platform]:
    """The platforms that are measured: those that are named, or all that run in this machine.

    What was attached is somebody's server or file, and only measured where it is named.

    Raises:
        UnknownNameError: there is no platform of a name.
        PlacementError: it is not installed, or there is none at all.
    """
    if names:
        return [registry[name] for name in dict.fromkeys(names)]
    found = [platform for platform in registry if platform.name not in registry.attached]
    if not found:
        raise PlacementError("there is no platform to calibrate", hint="see `umbel platforms`")
    return found


def calibrate(
    registry: Registry,
    names: Sequence[str] = (),
    extent: Extent | None = None,
    tick: Callable[[str, int], None] = lambda what, steps: None,
) -> list[Outcome]:
    """Measure platforms, and fit a cost profile to each.

    Args:
        registry: the platforms that there are.
        names: those to measure; none means all that were not attached.
        extent: how much is measured.
        tick: told what is done next, and how many steps there are in all; on another thread.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C; nothing is left behind.
    """
    extent = extent or Extent()
    platforms = to_calibrate(registry, names)
    steps = 0
    outcomes: list[Outcome] = []
    cancellation = Cancellation()
    interrupts = Interrupts()
    workers = Workers(cancellation, interrupts.keep)

    def told(what: str) -> None:
        workers.wake()  # an engine may have been imported just now, see `Interrupts`
        tick(what, steps)

    def measure(bench: Bench) -> None:
        nonlocal steps
        bench.prepare()
        steps = len(extent.sizes) + len(platforms) * bench.steps
        share = extent.seconds / len(platforms)
        outcomes.extend(_outcome(registry, bench, at, extent, share) for at in platforms)

    # Not on this thread: an engine that the main thread runs takes Ctrl-C for itself.
    with interrupts, Bench(extent, registry, told, cancellation) as bench:
        workers.start(0, partial(measure, bench))
        try:
            workers.wait()
        except BaseException:
            workers.stop()
            raise
    return outcomes


def _outcome(
    registry: Registry, bench: Bench, platform: Platform, extent: Extent, seconds: float
) -> Outcome:
    shipped = replace(
        platform.costs,
        conversions={conversion_name(platform, c): c.cost for c in platform.conversions},
    )
    observations = bench.observe(platform, shipped, seconds)
    after = fit(shipped, observations)
    if shipped.start and platform.name not in registry.attached:
        after = replace(after, start=seconds_to_start(platform, extent.starts))
    known = registry.calibration.profile(platform)
    before = shipped if known is None else known.over(shipped)
    return Outcome(
        platform.name,
        platform.engine,
        platform.version,
        before,
        after,
        errors(before, observations),
        errors(after, observations),
        observations,
    )


def calibration_of(
    outcomes: Sequence[Outcome], known: Mapping[str, Calibrated] | None = None
) -> Calibration:
    """What is written to the file.

    Args:
        outcomes: what was measured now.
        known: profiles that were measured here earlier, and still hold.
    """
    measured = {
        outcome.platform: Calibrated(
            outcome.engine, outcome.version, outcome.after, outcome.error_after
        )
        for outcome in outcomes
    }
    today = datetime.now(UTC).date().isoformat()
    return Calibration(this_machine(), today, {**(known or {}), **measured})


__all__ = ["Outcome", "calibrate", "calibration_of", "to_calibrate"]
