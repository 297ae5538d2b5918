"""What is asked for of secure aggregation between sites."""

from __future__ import annotations

import math

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError


@dataclass(frozen=True)
class Secure:
    """Sites mask what they give, so that only the sum over all of them can be read.

    Neither the coordinator nor whoever trains sees what one site gives: not its update or its
    sums, not its rows, not its loss.

    Attributes:
        fewest: of how many sites a sum may be, at least; None for more than half of them.
        bound: no number of an update is larger. Each then takes 32 bits, and the mean is off by
            `sites * bound * rows / 2^31` over all rows at most. None takes 128 bits for each, in
            which every sum has its place: it is off by `sites / 2^49`. For sums of exact solvers it
            is always None.
        rows: with a bound, the most rows that a site's update counts for.
    """

    fewest: int | None = None
    bound: float | None = None
    rows: float = 1e6

    def __post_init__(self) -> None:
        if self.fewest is not None and self.fewest < 2:
            raise PlanError(
                f"a sum of {self.fewest} sites hides nothing", hint="fewest is 2 or more"
            )
        for name, number in (("bound", self.bound), ("rows", self.rows)):
            if number is not None and not 0 < number < math.inf:
                raise PlanError(f"{name} is a number above 0, not {number:g}")

    def least(self, sites: int) -> int:
        """Of how many of some sites a sum is, at least.

        Raises:
            PlanError: there are not so many.

        >>> Secure().least(3), Secure(fewest=3).least(3)
        (2, 3)
        """
        found = sites // 2 + 1 if self.fewest is None else self.fewest
        if sites < max(2, found):
            raise PlanError(
                f"secure aggregation takes {max(2, found)} sites or more, and the rows lie at {sites}",
                hint="add sites, or train without it",
            )
        return max(2, found)


__all__ = ["Secure"]
