"""The weighted mean of updates by one secure sum: of the weighted updates, and of the weights."""

from __future__ import annotations

import numpy as np

from umbel.dataclass import dataclass
from umbel.learning.secure.errors import SecureAggregationError
from umbel.learning.secure.fixed_point import FixedPoint
from umbel.learning.secure.masks import Numbers
from umbel.learning.state import Layout, Vector
from umbel.learning.strategies.base import Strategy, Updates


@dataclass(frozen=True)
class SecureMean:
    """How updates are put into vectors that can be summed under masks.

    Attributes:
        bound: no number of an update is larger, nor smaller than its negative.
        most: no site weighs more.
        sites: so many take part, at most.
    """

    bound: float
    most: float
    sites: int

    def __post_init__(self) -> None:
        if not (np.isfinite(self.most) and self.most > 0):
            raise ValueError(f"most must be above 0 and finite, not {self.most}.")

    @property
    def code(self) -> FixedPoint:
        """Both parts are scaled to lie between -1 and 1."""
        return FixedPoint(1.0, self.sites)

    def encode(self, delta: Vector, weight: float) -> Numbers:
        """One number for each parameter, and one for the weight.

        Raises:
            ValueError: the update or its weight is larger than agreed.
        """
        if not 0 < weight <= self.most:
            raise ValueError(
                f"A weight of {weight:g}; it must be above 0 and at most {self.most:g}."
            )
        largest = float(np.abs(delta).max(initial=0.0))
        if not largest <= self.bound:
            raise ValueError(
                f"Numbers of an update go up to {largest:g}; secure aggregation takes those up to "
                f"{self.bound:g}. Clip it before, or raise the bound."
            )
        share = weight / self.most
        vector = np.append(delta.astype(np.float64, copy=False) * (share / self.bound), share)
        # What rounding has put above 1 is 1.
        return self.code.encode(np.clip(vector, -1.0, 1.0))

    def decode(self, total: Numbers, layout: Layout) -> Updates:
        """The mean of all updates, as if one site had given it.

        Raises:
            SecureAggregationError: the weights add up to nothing.
        """
        numbers = self.code.decode(total)
        if numbers[-1] <= 0:
            raise SecureAggregationError("The weights of the summed updates add up to nothing.")
        mean = numbers[:-1] * (self.bound / numbers[-1])
        return Updates(
            ("the sum",),
            mean.astype(layout.dtype)[None],
            np.array([numbers[-1] * self.most]),
            np.ones(1, np.int64),
        )


def check_maskable(strategy: Strategy) -> None:
    """Raise unless a strategy is content with the sum.

    >>> from umbel.learning.strategies.median import CoordinateMedian
    >>> check_maskable(CoordinateMedian())
    Traceback (most recent call last):
    umbel.learning.secure.errors.SecureAggregationError: CoordinateMedian has to see each update, \
secure aggregation shows their sum alone. Take one of the strategies that work on sums, such as \
FedAvg, FedProx, FedAvgM, FedAdam, FedYogi or FedAdagrad.
    """
    if strategy.sees != "sum":
        raise SecureAggregationError(
            f"{strategy.name} has to see each update, secure aggregation shows their sum alone. "
            "Take one of the strategies that work on sums, such as FedAvg, FedProx, FedAvgM, "
            "FedAdam, FedYogi or FedAdagrad."
        )
