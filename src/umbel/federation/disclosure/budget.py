"""What differentially private answers have cost together.

Costs add up (Dwork, McSherry, Nissim and Smith, TCC 2006). If a policy grants a delta, many small
ones cost less than their sum: then dp-accounting composes them, each as the worst mechanism of its
epsilon and delta (Murtagh and Vadhan, The complexity of computing the optimal composition of
differential privacy, TCC 2016), which holds whatever was asked and in which order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

#: An answer's epsilon and delta.
Cost = tuple[float, float]
#: What is lost by rounding is spent, not left: sums of costs are compared with a budget exactly.
_FINE = 1e-3
_SLACK = 1e-9


def spent(costs: Iterable[Cost], delta: float, enough: float = 0.0) -> float:
    """The epsilon of some answers together, at a delta.

    Args:
        costs: of each.
        delta: of all of them.
        enough: a bound that is good enough: a smaller one is not looked for.

    >>> spent([(0.5, 0.0)] * 3, 0.0)
    1.5
    >>> spent([(0.1, 0.0)] * 100, 1e-6) < 6
    True
    """
    found = Counter(costs)
    total = math.fsum(epsilon * count for (epsilon, _), count in found.items())
    deltas = math.fsum(one * count for (_, one), count in found.items())
    simple = total if deltas <= delta else math.inf
    if not found or delta <= 0 or simple <= enough:
        return simple
    from dp_accounting.pld import common, privacy_loss_distribution

    whole = None
    for (epsilon, own), count in sorted(found.items()):
        one = privacy_loss_distribution.from_privacy_parameters(
            common.DifferentialPrivacyParameters(epsilon, own), value_discretization_interval=_FINE
        ).self_compose(count)
        whole = one if whole is None else whole.compose(one)
    return simple if whole is None else min(simple, float(whole.get_epsilon_for_delta(delta)))


def fits(costs: Iterable[Cost], delta: float, budget: float) -> bool:
    """Whether some answers together are within a budget.

    >>> fits([(0.1, 0.0)] * 10, 0.0, 1.0), fits([(0.1, 0.0)] * 11, 0.0, 1.0)
    (True, False)
    """
    return spent(costs, delta, budget * (1 + _SLACK)) <= budget * (1 + _SLACK)


__all__ = ["Cost", "fits", "spent"]
