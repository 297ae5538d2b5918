"""How rows are divided: each once, and skewed as is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.learning.simulation.partition import dirichlet, iid, quantity_skew

LABELS = np.repeat(np.arange(10), 100)


@given(
    st.sampled_from([iid(), dirichlet(0.1), dirichlet(0.1, least=3), quantity_skew(0.2)]),
    st.integers(1, 60),
    st.integers(0, 99),
)
def test_each_row_has_one_site_and_each_site_a_row(divide, sites, seed):
    owners = divide(LABELS, sites, np.random.default_rng(seed))
    assert owners.shape == LABELS.shape
    counts = np.bincount(owners, minlength=sites)
    assert len(counts) == sites
    assert counts.min() >= 1


def test_iid_divides_evenly():
    counts = np.bincount(iid()(LABELS, 7, np.random.default_rng(0)))
    assert counts.max() - counts.min() <= 1


def share_of_most_frequent_class(divide):
    owners = divide(LABELS, 20, np.random.default_rng(0))
    tables = [np.bincount(LABELS[owners == site], minlength=10) for site in range(20)]
    return np.mean([table.max() / table.sum() for table in tables])


def test_the_smaller_alpha_the_fewer_classes_has_a_site():
    # Ten classes: evenly divided a class has about a tenth of each site's rows.
    even, mild, strong = (
        share_of_most_frequent_class(dirichlet(alpha)) for alpha in (1000.0, 1.0, 0.05)
    )
    assert even < 0.2 < mild < 0.6 < strong


def test_quantity_skew_differs_in_size_and_not_in_labels():
    owners = quantity_skew(0.3)(LABELS, 5, np.random.default_rng(0))
    counts = np.bincount(owners)
    assert counts.max() > 3 * counts.min()
    largest = np.bincount(LABELS[owners == counts.argmax()], minlength=10)
    assert largest.min() > 0.5 * largest.mean()


def test_least_is_kept_also_where_hardly_any_row_is_to_spare():
    labels = np.zeros(10)
    owners = dirichlet(0.01, least=3)(labels, 3, np.random.default_rng(0))
    assert np.bincount(owners).tolist() in ([3, 3, 4], [3, 4, 3], [4, 3, 3])
    with pytest.raises(ValueError, match="10 rows are too few for 4 sites with 3 each"):
        dirichlet(0.01, least=3)(labels, 4, np.random.default_rng(0))


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alpha_is_above_zero(alpha):
    for make in (dirichlet, quantity_skew):
        with pytest.raises(ValueError, match="alpha must be above 0"):
            make(alpha)
