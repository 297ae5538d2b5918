"""Cost as a vector: seconds, dollars, and bytes over each border. Never a single number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError

#: A border is a pair of site names.
Border = tuple[str, str]


@dataclass(frozen=True)
class Cost:
    """What some work costs.

    Attributes:
        seconds: elapsed time.
        dollars: price of machines and transfers.
        moved: bytes over each border between sites.

    >>> Cost(1.0, 0.5) + Cost(2.0)
    Cost(seconds=3.0, dollars=0.5, moved={})
    """

    seconds: float = 0.0
    dollars: float = 0.0
    moved: Mapping[Border, float] = field(default_factory=dict)

    def __add__(self, other: Cost) -> Cost:
        if not other.moved:
            moved = self.moved
        elif not self.moved:
            moved = other.moved
        else:
            borders = {*self.moved, *other.moved}
            moved = {b: self.moved.get(b, 0.0) + other.moved.get(b, 0.0) for b in sorted(borders)}
        return Cost(self.seconds + other.seconds, self.dollars + other.dollars, moved)

    def times(self, factor: float) -> Cost:
        """The cost of the same work done `factor` times."""
        if factor == 1:
            return self
        moved = {border: size * factor for border, size in self.moved.items()}
        return Cost(self.seconds * factor, self.dollars * factor, moved)

    def dominates(self, other: Cost) -> bool:
        """Whether this costs no more in any respect."""
        return (
            self.seconds <= other.seconds
            and self.dollars <= other.dollars
            and all(size <= other.moved.get(border, 0.0) for border, size in self.moved.items())
        )


@dataclass(frozen=True)
class Budget:
    """Bounds on what a run may be estimated to cost.

    Attributes:
        seconds: elapsed time; None for no bound.
        dollars: price; None for no bound.

    >>> Budget(seconds=10).allows(Cost(9.0, 100.0))
    True
    """

    seconds: float | None = None
    dollars: float | None = None

    def __post_init__(self) -> None:
        for name in ("seconds", "dollars"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise PlanError(f"a budget's {name} cannot be {value!r}")

    def __str__(self) -> str:
        bounds = [
            *([] if self.seconds is None else [f"{self.seconds:g} s"]),
            *([] if self.dollars is None else [f"${self.dollars:g}"]),
        ]
        return " and ".join(bounds) or "no bound"

    def allows(self, cost: Cost) -> bool:
        """Whether a cost is within the budget."""
        return (self.seconds is None or cost.seconds <= self.seconds) and (
            self.dollars is None or cost.dollars <= self.dollars
        )
