"""Strategies by the names that people write.

A strategy of one's own needs no entry: whatever fits the protocol can be passed itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from umbel.learning.strategies.base import Strategy
from umbel.learning.strategies.bulyan import Bulyan
from umbel.learning.strategies.fedadagrad import FedAdagrad
from umbel.learning.strategies.fedadam import FedAdam
from umbel.learning.strategies.fedavg import FedAvg
from umbel.learning.strategies.fedavgm import FedAvgM
from umbel.learning.strategies.fednova import FedNova
from umbel.learning.strategies.fedprox import FedProx
from umbel.learning.strategies.fedyogi import FedYogi
from umbel.learning.strategies.krum import Krum
from umbel.learning.strategies.median import CoordinateMedian
from umbel.learning.strategies.norm_bounding import NormBounding
from umbel.learning.strategies.personal import Personal
from umbel.learning.strategies.scaffold import Scaffold
from umbel.learning.strategies.trimmed_mean import TrimmedMean

STRATEGIES: Mapping[str, type[Any]] = MappingProxyType(
    {
        "bulyan": Bulyan,
        "fedadagrad": FedAdagrad,
        "fedadam": FedAdam,
        "fedavg": FedAvg,
        "fedavgm": FedAvgM,
        "fednova": FedNova,
        "fedprox": FedProx,
        "fedyogi": FedYogi,
        "krum": Krum,
        "median": CoordinateMedian,
        "norm_bounding": NormBounding,
        "personal": Personal,
        "scaffold": Scaffold,
        "trimmed_mean": TrimmedMean,
    }
)


def strategy(name: str, **options: Any) -> Strategy:
    """Make a strategy by its name.

    >>> strategy("fedprox", mu=0.1)
    FedProx(server_rate=1.0, mu=0.1)

    Raises:
        ValueError: there is none of that name, or it has no such options.
    """
    if name not in STRATEGIES:
        raise ValueError(f"No strategy {name!r}; there are {', '.join(STRATEGIES)}.")
    try:
        made: Strategy = STRATEGIES[name](**options)
    except TypeError as error:
        raise ValueError(f"The strategy {name!r} can't be made so: {error}.") from error
    return made
