"""Differential privacy of sites: clipping, noise, accounting, and the known faults of others."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from umbel.learning.privacy.accounting import (
    Budget,
    BudgetSpentError,
    epsilon_of,
    noise_for,
    rounds_within,
)
from umbel.learning.privacy.clipping import AdaptiveClip, FixedClip, noise_of_updates
from umbel.learning.privacy.noise import GRID, noisy, normal
from umbel.learning.privacy.private import Private
from umbel.learning.simulation.simulate import simulate
from umbel.learning.state import State, from_bytes, to_bytes
from umbel.learning.strategies.base import AggregationError, Settings, Update, Updates
from umbel.learning.strategies.fedavgm import FedAvgM
from umbel.learning.strategies.median import CoordinateMedian
from umbel.learning.strategies.norm_bounding import shorten
from umbel.learning.trainers.linear import LinearTrainer

WIDE = Budget(epsilon=1e9, delta=1e-5)
QUIET = 1e-3  # noise so small that what is below it shows; costs a lot


def gathered(state, rows):
    updates = [Update(f"s{i:03}", np.asarray(row, float), i + 1.0) for i, row in enumerate(rows)]
    return Updates.gather(updates, state.layout)[0]


def test_a_single_gaussian_costs_what_renyis_divergence_says():
    # Orders a cost a / (2 z^2); in epsilon: + log((a - 1) / a) - (log delta + log a) / (a - 1)
    # (Canonne, Kamath and Steinke 2020, proposition 12), at the best order.
    z, delta = 4.0, 1e-5
    orders = np.arange(2, 512)
    by_hand = (
        orders / (2 * z**2)
        + np.log((orders - 1) / orders)
        - (math.log(delta) + np.log(orders)) / (orders - 1)
    ).min()
    assert epsilon_of(z, 1.0, 1, delta) == pytest.approx(by_hand, rel=1e-6)


def test_ten_rounds_cost_what_one_with_less_noise_costs():
    # Costs of rounds add up: ten with deviation z are one with z / sqrt(10).
    assert epsilon_of(3.0, 1.0, 10, 1e-6) == pytest.approx(
        epsilon_of(3.0 / math.sqrt(10), 1.0, 1, 1e-6), rel=1e-9
    )


def test_sampling_amplifies_and_equals_the_accountants_own_reference():
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant()  # with orders of its own, fractions among them
    event = dp_accounting.PoissonSampledDpEvent(0.01, dp_accounting.GaussianDpEvent(1.1))
    accountant.compose(event, 1000)
    reference = accountant.get_epsilon(1e-5)
    ours = epsilon_of(1.1, 0.01, 1000, 1e-5)
    assert reference <= ours * (1 + 1e-9)
    assert ours <= reference * 1.02
    assert ours < epsilon_of(1.1, 1.0, 1000, 1e-5) / 10


def test_a_budget_holds_for_so_many_rounds_and_not_for_one_more():
    budget = Budget(2.0, 1e-5)
    rounds = rounds_within(budget, 5.0, 1.0)
    assert epsilon_of(5.0, 1.0, rounds, 1e-5) <= 2.0 < epsilon_of(5.0, 1.0, rounds + 1, 1e-5)
    noise = noise_for(budget, 1.0, rounds)
    assert noise == pytest.approx(5.0, rel=0.05)
    assert epsilon_of(noise, 1.0, rounds, 1e-5) <= 2.0
    assert rounds_within(Budget(0.01, 1e-5), 1.0, 1.0) == 0
    assert rounds_within(Budget(50.0, 1e-5), 50.0, 1.0, most=100) == 100
    assert epsilon_of(1.0, 1.0, 0, 1e-5) == 0.0


@pytest.mark.parametrize(
    ("norm", "expected"),
    [(10.0, 2.0), (2.0, 2.0), (1.0, 1.0), (0.0, 0.0), (1e300, 2.0), (1e-320, 1e-320)],
)
@pytest.mark.parametrize("bound", [2.0])
def test_clipping_shortens_what_is_longer_and_nothing_else(norm, expected, bound):
    # Zero updates, tiny ones and huge ones too: others divide by zero, or overflow.
    row = np.array([[0.0, norm, 0.0]])
    assert shorten(row, bound)[0, 1] == pytest.approx(expected, rel=1e-15)


def test_clipping_a_zero_update_under_any_bound_is_zero():
    for bound in (1e-300, 1.0, 1e300):
        assert shorten(np.zeros((2, 3)), bound).tolist() == [[0.0] * 3] * 2


def test_tensors_of_no_dimensions_are_clipped_with_the_rest():
    # Elsewhere they are skipped: 2.0 under a bound of 1.0 stays 2.0.
    state = State.of({"temperature": 0.0})
    private = Private(QUIET, WIDE, 1, clip=FixedClip(1.0))
    moved, _ = private.aggregate(private.start(state), state, gathered(state, [[2.0]]), Settings())
    assert moved["temperature"].item() == pytest.approx(1.0, abs=10 * QUIET)


def test_the_norm_is_over_all_tensors_together():
    state = State.of({"a": [0.0], "b": 0.0})
    private = Private(QUIET, WIDE, 1, clip=FixedClip(1.0))
    moved, _ = private.aggregate(
        private.start(state), state, gathered(state, [[3.0, 4.0]]), Settings()
    )
    np.testing.assert_allclose(moved.vector, [0.6, 0.8], atol=10 * QUIET)


def test_weights_do_not_count_and_the_denominator_is_fixed():
    # Four sites are expected, two come: the sum is divided by four. Weights are 1 and 2.
    state = State.of({"w": [0.0]})
    private = Private(QUIET, WIDE, 4, clip=FixedClip(1.0))
    moved, _ = private.aggregate(
        private.start(state), state, gathered(state, [[1.0], [1.0]]), Settings()
    )
    assert moved["w"].item() == pytest.approx(0.5, abs=10 * QUIET)
    with pytest.raises(AggregationError, match="5 sites gave updates; privacy was set up for 4"):
        private.aggregate(private.start(state), state, gathered(state, [[1.0]] * 5), Settings())


@pytest.mark.parametrize("start", [0.1, 1.0, 9.0, 50.0])
def test_adaptive_clipping_goes_to_the_quantile_from_either_side(start):
    # Norms are even between 0 and 10, so the median is 5. Elsewhere 1 goes to 0.02, and 9 to 420.
    state = State.of({"w": np.zeros(1)})
    rows = [[norm] for norm in np.linspace(0.05, 9.95, 100)]
    clip = AdaptiveClip(0.5, start, rate=0.5, count_noise=1.0)
    private = Private(0.5, WIDE, 100, clip=clip)
    memory, updates = private.start(state), gathered(state, rows)
    bounds = []
    for _ in range(40):
        _, memory = private.aggregate(memory, state, updates, Settings())
        bounds.append(float(memory["privacy/bound"]))
    assert np.mean(bounds[-10:]) == pytest.approx(5.0, rel=0.1)


def test_the_noise_of_count_and_updates_costs_as_much_as_the_noise_alone():
    # One over the square of each, the count's halves being one half long: they add up.
    own = noise_of_updates(1.0, 3.0)
    assert own**-2 + (2 * 3.0) ** -2 == pytest.approx(1.0**-2, rel=1e-12)
    with pytest.raises(ValueError, match=r"count_noise must be above 0\.5"):
        noise_of_updates(1.0, 0.5)
    with pytest.raises(ValueError, match="count_noise must be above 1"):
        Private(2.0, WIDE, 10)  # a twentieth of ten sites


def test_noise_has_the_deviation_that_it_is_accounted_for():
    state = State.of({"w": np.zeros(40_000)})
    private = Private(0.5, WIDE, 10, clip=FixedClip(3.0))
    updates = gathered(state, [np.zeros(40_000)] * 10)
    moved, _ = private.aggregate(private.start(state), state, updates, Settings())
    # Of the sum 0.5 * 3, of the mean a tenth; the estimate is off by 1 / sqrt(2 n).
    assert moved.vector.std() == pytest.approx(0.15, rel=5 / math.sqrt(80_000))
    assert abs(moved.vector.mean()) < 5 * 0.15 / 200


def test_noise_is_normal():
    drawn = np.sort(normal(20_000))
    expected = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in drawn])
    apart = np.abs(expected - (np.arange(20_000) + 0.5) / 20_000).max()
    # Kolmogorov's test: beyond 2.2 / sqrt(n) once in ten thousand.
    assert apart < 2.2 / math.sqrt(20_000)
    assert normal(3).shape == (3,)
    assert normal(0).shape == (0,)


def test_noise_is_not_of_a_seed_and_not_the_same_twice():
    np.random.seed(0)
    one = normal(50)
    np.random.seed(0)
    other = normal(50)
    assert not (one == other).any()


def test_results_lie_on_a_grid_that_does_not_depend_on_the_data():
    deviation = 0.37
    step = 2.0 ** math.floor(math.log2(deviation * GRID))
    for values in (np.zeros(1000), np.full(1000, math.pi)):
        steps = noisy(values, deviation) / step
        assert (steps == np.rint(steps)).all()


def test_training_stops_before_the_budget_is_overspent_and_resumes_no_further():
    budget = Budget(3.0, 1e-5)
    private = Private(4.0, budget, 50, clip=FixedClip(1.0), base=FedAvgM())
    allowed = rounds_within(budget, 4.0, 1.0)
    rng = np.random.default_rng(0)
    table = pa.table({"x": rng.normal(size=100), "y": rng.normal(size=100)})
    how = {
        "features": ["x"],
        "label": "y",
        "trainer": LinearTrainer(1),
        "sites": 50,
        "strategy": private,
    }
    done = simulate(table, **how, rounds=allowed + 5)
    assert done.rounds == done.history.num_rows == allowed
    assert "one more would cost more than is left" in done.stopped
    assert private.epsilon(done.memory) <= 3.0
    # What is kept in a checkpoint counts: a resumed training has nothing left either.
    kept = from_bytes(to_bytes(done.memory))[0]
    with pytest.raises(BudgetSpentError, match=f"{allowed} rounds have cost epsilon"):
        private.configure(kept, done.state, Settings(), "site 00")
    again = simulate(table, **how, rounds=3, resume=done)
    assert again.rounds == allowed
    assert again.state == done.state


def test_a_budget_for_no_round_at_all_is_an_error_before_any_site_is_asked():
    private = Private(1.0, Budget(0.1, 1e-5), 50, clip=FixedClip(1.0))
    with pytest.raises(BudgetSpentError, match="One round costs epsilon"):
        private.start(State.of({"w": 0.0}))


def test_sites_of_a_round_are_drawn_by_themselves_as_is_accounted_for():
    rng = np.random.default_rng(0)
    table = pa.table({"x": rng.normal(size=400), "y": rng.normal(size=400)})
    how = {"features": ["x"], "label": "y", "trainer": LinearTrainer(1), "sites": 200}
    private = Private(1.0, WIDE, 200, fraction=0.05, clip=FixedClip(1.0))
    counts = simulate(table, **how, strategy=private, fraction=0.05, rounds=40).history["sites"]
    counts = np.array(counts.to_pylist())
    # Binomial(200, 0.05): mean 10, deviation 3.08; a sample of fixed size would always be 10.
    assert abs(counts.mean() - 10) < 5 * 3.08 / math.sqrt(40)
    assert 1.5 < counts.std() < 5
    with pytest.raises(ValueError, match=r"accounted for a fraction of 0\.05"):
        simulate(table, **how, strategy=private, fraction=0.1, rounds=1)


def test_a_round_in_which_nobody_takes_part_is_noise_alone():
    state = State.of({"w": np.zeros(1000)})
    private = Private(1.0, WIDE, 10, clip=FixedClip(1.0))
    moved, memory = private.aggregate(
        private.start(state), state, Updates.of([], state.layout), Settings()
    )
    assert moved.vector.std() == pytest.approx(0.1, rel=0.2)
    assert int(memory["privacy/rounds"]) == 1


def test_it_still_learns():
    x = np.random.default_rng(0).normal(size=4000)
    table = pa.table({"x": x, "y": 2 * x + 1})
    private = Private(1.0, Budget(200.0, 1e-5), 1000, clip=AdaptiveClip(bound=0.1))
    done = simulate(
        table,
        features=["x"],
        label="y",
        trainer=LinearTrainer(1),
        sites=1000,
        strategy=private,
        settings=Settings(0.3),
        rounds=40,
    )
    np.testing.assert_allclose(done.state.vector, [2.0, 1.0], atol=0.1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Private(0.0, WIDE, 10), "without it nothing is private"),
        (lambda: Private(math.nan, WIDE, 10), "noise must be above 0"),
        (lambda: Private(0.1, WIDE, 0), "population must be at least 1"),
        (lambda: Private(0.1, WIDE, 10, fraction=0.0), "fraction must lie in"),
        (lambda: Private(0.1, WIDE, 10, base=CoordinateMedian()), "has to see each update"),
        (lambda: Budget(0.0, 1e-5), "epsilon must be above 0"),
        (lambda: Budget(1.0, 1.0), "delta must lie between"),
        (lambda: FixedClip(0.0), "bound must be above 0"),
        (lambda: AdaptiveClip(1.0), "quantile must lie between"),
        (lambda: AdaptiveClip(rate=0.0), "rate must be above 0"),
        (lambda: noise_for(WIDE, 1.0, 0), "rounds must be at least 1"),
    ],
)
def test_what_protects_nothing_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
