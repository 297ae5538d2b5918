"""Each strategy equals its paper's formula on cases worked out here by hand.

Most have two parameters and two sites: `a` with weight 1 sends (4, 0), `b` with weight 3 sends
(0, 8). Their weighted mean is (1, 6), their plain mean (2, 4).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from umbel.learning.state import State, StateError
from umbel.learning.strategies.base import AggregationError, Settings, Update, Updates
from umbel.learning.strategies.bulyan import Bulyan
from umbel.learning.strategies.catalogue import STRATEGIES, strategy
from umbel.learning.strategies.fedadagrad import FedAdagrad
from umbel.learning.strategies.fedadam import FedAdam
from umbel.learning.strategies.fedavg import FedAvg
from umbel.learning.strategies.fedavgm import FedAvgM
from umbel.learning.strategies.fednova import FedNova, accumulation
from umbel.learning.strategies.fedprox import FedProx
from umbel.learning.strategies.fedyogi import FedYogi
from umbel.learning.strategies.krum import Krum
from umbel.learning.strategies.median import CoordinateMedian
from umbel.learning.strategies.norm_bounding import NormBounding
from umbel.learning.strategies.personal import Personal
from umbel.learning.strategies.scaffold import Scaffold
from umbel.learning.strategies.trimmed_mean import TrimmedMean

START = State.of({"w": [10.0, 20.0]})


def columns(state, *rows, weights=None, steps=None):
    """The updates of sites a, b, c … of these rows."""
    n = len(rows)
    updates = [
        Update("abcdefghijk"[i], np.array(rows[i], float), w, steps=s)
        for i, w, s in zip(range(n), weights or [1] * n, steps or [1] * n, strict=True)
    ]
    return Updates.gather(updates, state.layout)[0]


TWO = columns(START, [4, 0], [0, 8], weights=[1, 3])


def step(strategy, updates=TWO, state=START, memory=None, settings=None):
    memory = strategy.start(state) if memory is None else memory
    return strategy.aggregate(memory, state, updates, settings or Settings())


def test_fedavg_is_the_weighted_mean():
    assert step(FedAvg())[0].vector.tolist() == [11.0, 26.0]
    assert step(FedAvg(server_rate=0.5))[0].vector.tolist() == [10.5, 23.0]


def test_fedprox_is_fedavg_with_the_term_in_the_settings():
    state, settings = FedProx(mu=0.3).configure({}, START, Settings(epochs=2), "a")
    assert state is START
    assert (settings.proximal, settings.epochs) == (0.3, 2)
    assert step(FedProx())[0].vector.tolist() == [11.0, 26.0]


def test_fedavgm_keeps_a_velocity():
    # v1 = d = (1, 6); v2 = v1 / 2 + d = (1.5, 9)
    strategy = FedAvgM(momentum=0.5)
    state, memory = step(strategy)
    assert state.vector.tolist() == [11.0, 26.0]
    state, memory = step(strategy, state=state, memory=memory)
    assert state.vector.tolist() == [12.5, 35.0]
    assert memory["velocity"].tolist() == [1.5, 9.0]


def test_fedadam_by_hand():
    # m = (1 - 1/2) (1, 6) = (0.5, 3); v = 3/4 * 4 + 1/4 * (1, 36) = (3.25, 12)
    state, memory = step(FedAdam(server_rate=2.0, beta1=0.5, beta2=0.75, tau=2.0))
    assert memory["first"].tolist() == [0.5, 3.0]
    assert memory["second"].tolist() == [3.25, 12.0]
    assert state.vector.tolist() == pytest.approx(
        [10 + 2 * 0.5 / (math.sqrt(3.25) + 2), 20 + 2 * 3 / (math.sqrt(12) + 2)], rel=1e-15
    )


def test_fedyogi_by_hand():
    # v = 4 - 1/4 (1, 36) sign(4 - (1, 36)) = (4 - 1/4, 4 + 9)
    _, memory = step(FedYogi(beta1=0.5, beta2=0.75, tau=2.0))
    assert memory["second"].tolist() == [3.75, 13.0]


def test_fedadagrad_by_hand():
    # v = 4 + (1, 36); without a first moment the step is (1, 6) / (sqrt(v) + 2)
    state, memory = step(FedAdagrad(server_rate=1.0, tau=2.0))
    assert memory["second"].tolist() == [5.0, 40.0]
    assert state.vector.tolist() == pytest.approx(
        [10 + 1 / (math.sqrt(5) + 2), 20 + 6 / (math.sqrt(40) + 2)], rel=1e-15
    )


def test_scaffold_by_hand():
    strategy = Scaffold(population=4)
    settings = Settings(learning_rate=0.5)
    # K = (2, 4), rate 1/2: c_a = -(4, 0) / 1 = (-4, 0); c_b = -(0, 8) / 2 = (0, -4)
    # c = (c_a + c_b) / 4 = (-1, -1); the state moves by the plain mean (2, 4)
    updates = columns(START, [4, 0], [0, 8], weights=[1, 3], steps=[2, 4])
    state, memory = step(strategy, updates, settings=settings)
    assert state.vector.tolist() == [12.0, 24.0]
    assert memory["control/a"].tolist() == [-4.0, 0.0]
    assert memory["control/b"].tolist() == [0.0, -4.0]
    assert memory["control"].tolist() == [-1.0, -1.0]
    corrections = {
        site: strategy.configure(memory, state, settings, site)[1].correction.tolist()
        for site in ("a", "b", "new")
    }
    assert corrections == {"a": [3.0, -1.0], "b": [-1.0, 3.0], "new": [-1.0, -1.0]}
    # Only a: c_a' = c_a - c + 2/(1 * 1/2) * (-1, -1)/2... with delta (1, 1), K = 1:
    # c_a' = (-4, 0) + (1, 1) - (2, 2) = (-5, -1); c' = (-1, -1) + ((-1, -1)) / 4
    updates = columns(START, [1, 1])
    _, memory = step(strategy, updates, state, memory, settings)
    assert memory["control/a"].tolist() == [-5.0, -1.0]
    assert memory["control/b"].tolist() == [0.0, -4.0]
    assert memory["control"].tolist() == [-1.25, -1.25]


def test_scaffolds_control_is_the_mean_gradient_of_the_site():
    # Site i has the loss |w - t_i|^2 / 2; one step from w has the gradient w - t_i.
    targets = {"a": np.array([0.0, 4.0]), "b": np.array([8.0, 0.0])}
    strategy, state, settings = Scaffold(population=2), START, Settings(learning_rate=0.25)
    memory = strategy.start(state)
    for _ in range(3):
        rows, seen = [], {}
        for site, target in targets.items():
            _, own = strategy.configure(memory, state, settings, site)
            seen[site] = state.vector - target
            rows.append(-0.25 * (seen[site] + own.correction))
        state, memory = step(strategy, columns(state, *rows), state, memory, settings)
        for site, gradient in seen.items():
            np.testing.assert_allclose(memory[f"control/{site}"], gradient, atol=1e-12)


def test_scaffold_refuses_what_its_formula_does_not_hold_for():
    with pytest.raises(AggregationError, match="plain steps"):
        Scaffold(2).configure({}, START, Settings(momentum=0.5), "a")
    with pytest.raises(AggregationError, match="2 sites gave updates; SCAFFOLD was told of 1"):
        step(Scaffold(1))


def test_fednova_divides_by_steps():
    # p = (1/4, 3/4), steps (2, 6): effective 1/4 * 2 + 3/4 * 6 = 5;
    # 5 * (1/4 * (4, 0) / 2 + 3/4 * (0, 8) / 6) = (2.5, 5)
    updates = columns(START, [4, 0], [0, 8], weights=[1, 3], steps=[2, 6])
    assert step(FedNova(), updates)[0].vector.tolist() == [12.5, 25.0]


def test_fednova_is_fedavg_where_all_make_the_same_steps():
    updates = columns(START, [4, 0], [0, 8], weights=[1, 3], steps=[5, 5])
    assert step(FedNova(), updates)[0] == step(FedAvg(), updates)[0]


@pytest.mark.parametrize("tau", [1, 2, 7])
def test_fednovas_length_is_the_sum_of_the_papers_vector(tau):
    # a = [1 - rho^tau, …, 1 - rho] / (1 - rho) with momentum, [(1 - alpha)^(tau - 1), …, 1] else
    rho, alpha = 0.9, 0.1 * 0.5
    momentum = sum((1 - rho**k) / (1 - rho) for k in range(1, tau + 1))
    proximal = sum((1 - alpha) ** k for k in range(tau))
    steps = np.array([tau])
    assert accumulation(steps, Settings(momentum=rho))[0] == pytest.approx(momentum, rel=1e-12)
    assert accumulation(steps, Settings(0.1, proximal=0.5))[0] == pytest.approx(proximal, rel=1e-12)
    assert accumulation(steps, Settings())[0] == tau
    with pytest.raises(AggregationError, match="not for both"):
        accumulation(steps, Settings(momentum=rho, proximal=0.5))


def test_personal_tensors_stay_with_their_site():
    start = State.of({"w": [10.0], "bn.mean": 20.0, "bn.var": 30.0})
    personal = Personal(("bn*",), FedAvgM(momentum=0.5))
    updates = columns(start, [4, 1, 2], [0, 3, 4], weights=[1, 3])
    state, memory = step(personal, updates, start)
    assert state.vector.tolist() == [11.0, 20.0, 30.0]
    sites = {s: personal.configure(memory, state, Settings(), s)[0] for s in ("a", "b", "new")}
    assert {s: own.vector.tolist() for s, own in sites.items()} == {
        "a": [11.0, 21.0, 32.0],
        "b": [11.0, 23.0, 34.0],
        "new": [11.0, 20.0, 30.0],
    }
    # Now a alone: w moves by its velocity 0.5 * 1 + 4, a's tensors go on from a's own.
    state, memory = step(personal, columns(start, [4, 1, 2]), state, memory)
    assert state.vector.tolist() == [15.5, 20.0, 30.0]
    assert memory["personal/a"].tolist() == [22.0, 34.0]
    assert memory["personal/b"].tolist() == [23.0, 34.0]
    with pytest.raises(StateError, match=r"'conv\*'; there are w, bn.mean, bn.var"):
        Personal(("conv*",)).start(start)


FIVE = columns(START, [1, -9], [2, 0], [3, 1], [4, 2], [99, 3], weights=[1, 1, 1, 1, 1000])


def test_median_by_hand():
    assert step(CoordinateMedian(), FIVE)[0].vector.tolist() == [13.0, 21.0]
    # of four: the mean of the two in the middle
    four = columns(START, [1, 5], [2, 6], [3, 7], [4, 8])
    assert step(CoordinateMedian(), four)[0].vector.tolist() == [12.5, 26.5]


def test_trimmed_mean_by_hand():
    assert step(TrimmedMean(1), FIVE)[0].vector.tolist() == [13.0, 21.0]
    assert step(TrimmedMean(0), columns(START, [1, 2], [3, 6]))[0].vector.tolist() == [12.0, 24.0]
    with pytest.raises(AggregationError, match="5 updates are too few to leave out 3"):
        step(TrimmedMean(3), FIVE)


LINE = columns(START, [0, 0], [1, 0], [3, 0], [6, 0], [100, 0])


def test_krum_by_hand():
    # n = 5, f = 1: each score is of the 2 nearest. 0: 1 + 9; 1: 1 + 4; 3: 4 + 9; 6: 9 + 25
    assert step(Krum(1), LINE)[0].vector.tolist() == [11.0, 20.0]
    # best two: 1 and 0
    assert step(Krum(1, keep=2), LINE)[0].vector.tolist() == [10.5, 20.0]
    with pytest.raises(AggregationError, match="takes 7 updates; there are 5"):
        step(Krum(2), LINE)
    with pytest.raises(AggregationError, match="keep 1 to 4 of 5"):
        step(Krum(1, keep=5), LINE)


def test_krum_tells_close_updates_apart_far_from_zero():
    rows = np.array([[0.0], [0.25], [0.5], [1.0], [9.0]]) + 1e9
    state = State.of({"w": 0.0})
    # scores of 2: 0: 1/16 + 1/4; 0.25: 2/16; 0.5: 1/16 + 1/4; 1: 1/4 + 9/16
    assert step(Krum(1), columns(state, *rows), state)[0].vector.tolist() == [1e9 + 0.25]


def test_bulyan_by_hand():
    # n = 7, f = 1: five are chosen, one after the other.
    #   of 7 by 4 neighbours: 0: 1+4+9+16 = 30, 1: 1+1+4+9 = 15, 2: 1+1+4+4 = 10 -> 2
    #   of {0, 1, 3, 4, 5, 100} by 3: 0: 1+9+16, 1: 1+4+9 = 14, 3: 1+4+4 = 9, 4: 1+1+9 = 11 -> 3
    #   of {0, 1, 4, 5, 100} by 2: 0: 1+16, 1: 1+9 = 10, 4: 1+9 = 10 -> 1, the first
    #   of {0, 4, 5, 100} by 1: 0: 16, 4: 1, 5: 1 -> 4
    #   of {0, 5, 100} by 1: 0: 25, 5: 25 -> 0
    # chosen {0, 1, 2, 3, 4}; their median 2, the three nearest {1, 2, 3}, mean 2
    seven = columns(START, *[[x, 0] for x in (0, 1, 2, 3, 4, 5, 100)])
    assert step(Bulyan(1), seven)[0].vector.tolist() == [12.0, 20.0]
    with pytest.raises(AggregationError, match="takes 11 updates; there are 7"):
        step(Bulyan(2), seven)


def test_norm_bounding_by_hand():
    # (3, 4) has norm 5 and is shortened to (1.5, 2); (0, 1) stays; each counts the same
    updates = columns(START, [3, 4], [0, 1], weights=[1, 1e9])
    assert step(NormBounding(2.5), updates)[0].vector.tolist() == [10.75, 21.5]
    huge = columns(START, [1e300, 0], [0, 0])
    assert step(NormBounding(2.0), huge)[0].vector.tolist() == [11.0, 20.0]
    with pytest.raises(ValueError, match="bound must be above 0"):
        NormBounding(0.0)


def test_strategies_have_names_and_say_what_they_lack():
    assert strategy("krum", byzantine=1, keep=2) == Krum(1, keep=2)
    assert sorted(STRATEGIES) == list(STRATEGIES)
    with pytest.raises(ValueError, match="No strategy 'fedmagic'; there are bulyan"):
        strategy("fedmagic")
    with pytest.raises(ValueError, match="missing 1 required positional argument: 'byzantine'"):
        strategy("krum")
    with pytest.raises(ValueError, match="byzantine must be at least 0"):
        strategy("trimmed_mean", byzantine=-1)
