"""How the rows of a table are divided among simulated sites.

A partitioner gives for each row the number of its site, of labels, a number of sites and a
generator. Each takes rows from the largest sites for those that would have fewer than `least`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Owners: TypeAlias = npt.NDArray[np.int64]
Partitioner: TypeAlias = Callable[[npt.NDArray[Any], int, np.random.Generator], Owners]


def iid() -> Partitioner:
    """Each site gets the same number of rows, drawn from all.

    >>> owners = iid()(np.zeros(7), 3, np.random.default_rng(0))
    >>> np.bincount(owners).tolist()
    [3, 2, 2]
    """

    def divide(labels: npt.NDArray[Any], sites: int, draw: np.random.Generator) -> Owners:
        check_enough(len(labels), sites, 1)
        return draw.permutation(np.arange(len(labels), dtype=np.int64) % sites)

    return divide


def dirichlet(alpha: float, *, least: int = 1) -> Partitioner:
    """Sites differ in their labels: of each class they get shares drawn from Dirichlet(alpha).

    The smaller alpha, the fewer classes a site has; sizes differ too.

    Source: Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks",
    ICML 2019, section 4.
    """
    check_alpha(alpha)

    def divide(labels: npt.NDArray[Any], sites: int, draw: np.random.Generator) -> Owners:
        check_enough(len(labels), sites, least)
        owners = np.empty(len(labels), np.int64)
        for label in np.unique(labels):
            rows = draw.permutation(np.flatnonzero(labels == label))
            owners[rows] = by_shares(len(rows), draw.dirichlet(np.full(sites, alpha)))
        return at_least(owners, sites, least)

    return divide


def quantity_skew(alpha: float, *, least: int = 1) -> Partitioner:
    """Sites differ in size: their shares of all rows are drawn from Dirichlet(alpha).

    Source: Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE
    2022, section IV.
    """
    check_alpha(alpha)

    def divide(labels: npt.NDArray[Any], sites: int, draw: np.random.Generator) -> Owners:
        check_enough(len(labels), sites, least)
        owners = np.empty(len(labels), np.int64)
        order = draw.permutation(len(labels))
        owners[order] = by_shares(len(labels), draw.dirichlet(np.full(sites, alpha)))
        return at_least(owners, sites, least)

    return divide


def by_shares(rows: int, shares: npt.NDArray[np.float64]) -> Owners:
    """Divide rows in their order by shares that add up to one.

    >>> by_shares(5, np.array([0.2, 0.0, 0.8])).tolist()
    [0, 2, 2, 2, 2]
    """
    ends = np.rint(np.cumsum(shares) * rows).astype(np.int64)
    ends[-1] = rows
    return np.searchsorted(ends, np.arange(rows), side="right").astype(np.int64)


def at_least(owners: Owners, sites: int, least: int) -> Owners:
    """Move rows from the largest sites to those that have fewer than `least`.

    >>> at_least(np.array([0, 0, 0, 0, 2]), 3, 1).tolist()
    [1, 0, 0, 0, 2]
    """
    owners = owners.copy()
    counts = np.bincount(owners, minlength=sites)
    for site in np.flatnonzero(counts < least):
        while counts[site] < least:
            largest = int(np.argmax(counts))
            owners[np.flatnonzero(owners == largest)[0]] = site
            counts[largest] -= 1
            counts[site] += 1
    return owners


def check_alpha(alpha: float) -> None:
    """Raise unless a Dirichlet distribution has this parameter."""
    if not 0 < alpha < np.inf:
        raise ValueError(f"alpha must be above 0 and finite, not {alpha}.")


def check_enough(rows: int, sites: int, least: int) -> None:
    """Raise unless each site can have its rows."""
    if sites < 1:
        raise ValueError(f"There must be at least one site, not {sites}.")
    if rows < sites * least:
        raise ValueError(f"{rows} rows are too few for {sites} sites with {least} each.")
