"""Which platforms may run which operators of a plan, and who is worth being asked at all."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.optimizer.driver import Driver
from umbel.optimizer.execution_plan import Refusal
from umbel.optimizer.problem import elsewhere
from umbel.plan.errors import PlacementError
from umbel.plan.operators import Operator, Placeholder, Scan, Write
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import AttachedSource
from umbel.platforms.base import Platform
from umbel.platforms.registry import Registry


class Candidates:
    """Asks platforms what they can run; about each operator each platform once.

    Plans that are compared have most of their operators in common.
    """

    def __init__(self, platforms: Registry) -> None:
        self._platforms = platforms
        self._driver = Driver()
        self._answers: dict[tuple[int, str], str | None] = {}
        self._sites = {p.name for p in platforms if elsewhere(p) is not None}
        self._alive: list[Operator] = []  # so that no identity is used again

    def of(
        self, operator: Operator, among: Sequence[Platform], refusals: list[Refusal]
    ) -> list[Platform]:
        """Find the platforms that can run an operator, as its pin allows.

        Args:
            operator: of a rewritten plan.
            among: the platforms to ask.
            refusals: takes what those say that cannot.

        Raises:
            PlacementError: there is none; says why.
        """
        if isinstance(operator, Placeholder):
            return [self._driver]
        if self._driver.refuse(operator) is None:
            if operator.pin:
                raise PlacementError(
                    f"{operator.name} runs in umbel itself and cannot be pinned to "
                    f"{operator.pin!r}{_at(operator)}"
                )
            return [self._driver]
        if operator.pin:
            platform = self._platforms[operator.pin]
            reason = self._refuse(platform, operator)
            if reason is not None:
                raise PlacementError(
                    f"platform {operator.pin!r} cannot run {operator.name} "
                    f"({operator.describe()}){_at(operator)}: {reason}",
                    hint="pin another platform, or leave the choice to umbel",
                )
            return [platform]
        able = []
        for platform in among:
            if platform.name in self._sites and platform.name not in operator.places:
                continue  # there may be hundreds of sites, and none does others' work
            reason = self._refuse(platform, operator)
            if reason is None:
                able.append(platform)
            else:
                refusals.append(Refusal(operator, platform.name, reason))
        if not able:
            reasons = "; ".join(
                f"{r.platform}: {r.reason}" for r in refusals if r.operator is operator
            )
            raise PlacementError(
                f"no platform can run {operator.name} ({operator.describe()}){_at(operator)}",
                hint=_absent(operator, self._platforms)
                or reasons
                or "there are no platforms; see `umbel platforms`",
            )
        return able

    def _refuse(self, platform: Platform, operator: Operator) -> str | None:
        key = id(operator), platform.name
        if key not in self._answers:
            self._answers[key] = platform.refuse(operator)
            self._alive.append(operator)
        return self._answers[key]


def _absent(operator: Operator, platforms: Registry) -> str:
    """Say what to do if what an operator reads or writes lies in a platform that is not here."""
    match operator:
        case Scan(source=AttachedSource(platform=name)) | Write(sink=RelationSink(platform=name)):
            if name not in platforms:
                return f"there is no platform {name!r}: session.catalog.attach({name!r}, url)"
    return ""


def _at(operator: Operator) -> str:
    return f" at {operator.origin}" if operator.origin is not None else ""
