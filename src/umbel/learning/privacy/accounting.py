"""What rounds of noise cost, by dp-accounting's Rényi accountant.

A budget is asked before a round is run: training stops while it still holds. The neighbours are
data with and without one site.

Source: Mironov, Talwar and Zhang, "Rényi Differential Privacy of the Sampled Gaussian Mechanism",
2019, as implemented by dp-accounting.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass

#: Orders of the accountant: whole ones, for which its sums are finite and always converge, close
#: together where the best one mostly lies.
ORDERS = (*range(2, 65), *range(68, 129, 4), 160, 192, 256, 512, 1024)


class BudgetSpentError(Exception):
    """One more round would cost more privacy than is left; it was not begun."""


@dataclass(frozen=True)
class Budget:
    """How much may be told about one site in all.

    Attributes:
        epsilon: no answer is made more than e^epsilon times as likely by one site, …
        delta: … but with this probability.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"epsilon must be above 0 and finite, not {self.epsilon}.")
        if not 0 < self.delta < 1:
            raise ValueError(f"delta must lie between 0 and 1, not {self.delta}.")


def epsilon_of(noise: float, fraction: float, rounds: int, delta: float) -> float:
    """What rounds cost: an upper bound of epsilon.

    Args:
        noise: standard deviation of the noise of the sum, over the largest norm of an update.
        fraction: the probability with which each site takes part in a round, by itself.
        rounds: how many.
        delta: the probability that the bound does not hold.
    """
    check_mechanism(noise, fraction)
    if rounds == 0:
        return 0.0
    from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon

    # What rounds cost adds up, order by order.
    epsilon, _ = compute_epsilon(ORDERS, _one_round(noise, fraction) * rounds, delta)
    return float(epsilon)


@cache
def _one_round(noise: float, fraction: float) -> npt.NDArray[np.float64]:
    """Rényi's divergence at each of the orders."""
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    event = dp_accounting.GaussianDpEvent(noise)
    if fraction < 1:
        event = dp_accounting.PoissonSampledDpEvent(fraction, event)
    accountant = RdpAccountant(ORDERS)
    accountant.compose(event)
    return np.asarray(accountant.rdp, np.float64)


def rounds_within(budget: Budget, noise: float, fraction: float, most: int = 1 << 20) -> int:
    """How many rounds a budget holds for; at most `most`.

    >>> rounds_within(Budget(epsilon=0.1, delta=1e-5), noise=1.0, fraction=1.0)
    0
    """

    def fits(rounds: int) -> bool:
        return epsilon_of(noise, fraction, rounds, budget.delta) <= budget.epsilon

    if not fits(1):
        return 0
    low, high = 1, 2
    while high < most and fits(high):
        low, high = high, 2 * high
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def noise_for(budget: Budget, fraction: float, rounds: int) -> float:
    """The least noise, to a thousandth, with which a budget holds for so many rounds."""
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {rounds}.")

    def fits(noise: float) -> bool:
        return epsilon_of(noise, fraction, rounds, budget.delta) <= budget.epsilon

    high = 1.0
    while not fits(high):
        high *= 2
        if high > 1e6:
            raise ValueError(f"No noise makes {rounds} rounds fit {budget}.")
    low = high / 2 if high > 1 else 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if middle > 0 and fits(middle) else (middle, high)
    return high


def check_mechanism(noise: float, fraction: float) -> None:
    """Raise unless there is noise, and a probability of taking part."""
    if not (math.isfinite(noise) and noise > 0):
        raise ValueError(
            f"noise must be above 0 and finite, not {noise}: without it nothing is private."
        )
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1], not {fraction}.")
