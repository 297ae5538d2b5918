"""The sum is exact or there is none, whoever falls silent and whenever."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.learning.secure.client import needed
from umbel.learning.secure.errors import SecureAggregationError
from umbel.learning.secure.fixed_point import FixedPoint, Wide
from umbel.learning.secure.graph import hang_together, neighbours, usual_degree
from umbel.learning.secure.masks import CHUNK, add_mask
from umbel.learning.secure.means import SecureMean, check_maskable
from umbel.learning.secure.messages import Agreement
from umbel.learning.secure.simulated import STEPS, secure_sum
from umbel.learning.state import State
from umbel.learning.strategies.base import Settings, Update, Updates
from umbel.learning.strategies.catalogue import STRATEGIES, strategy
from umbel.learning.strategies.fedavg import FedAvg

SIZE = 5


def vectors_of(n, seed=0, size=SIZE):
    rng = np.random.default_rng(seed)
    return {f"s{i:03}": rng.integers(0, 1 << 32, size, np.uint32) for i in range(n)}


def can_be_had(n, fewest, silent):
    """Whether those who are left are enough, where all mask with all."""
    alive = [{i for i in range(n) if silent.get(i, 4) > step} for step in range(4)]
    shared, masked, confirmed, opened = alive
    threshold = needed(Agreement("", 1, 1, 2, n - 1), n - 1)
    return (
        len(shared) >= fewest
        and len(masked) >= fewest
        and len(shared) - 1 >= threshold  # each that masks has shares of so many
        # Of each one's neighbours so many have signed: of one who signed, all but itself.
        and len(confirmed) - (1 if confirmed else 0) >= threshold
        # Of each one's neighbours so many open: of one who opens, all but itself.
        and len(opened) - 1 >= threshold
    )


@settings(max_examples=35)
@given(st.integers(3, 9), st.data())
def test_any_pattern_of_dropouts_gives_the_exact_sum_or_nothing(n, data):
    fewest = data.draw(st.integers(2, n))
    silent = data.draw(st.dictionaries(st.integers(0, n - 1), st.integers(0, 3), max_size=n // 2))
    vectors = vectors_of(n, seed=n)
    agreement = Agreement("run", 1, SIZE, fewest, degree=n - 1)
    missing = {f"s{i:03}": STEPS[step] for i, step in silent.items()}
    if can_be_had(n, fewest, silent):
        total, whose = secure_sum(agreement, vectors, missing)
        expected = {f"s{i:03}" for i in range(n) if silent.get(i, 4) > 1}
        assert whose == expected
        exact = np.sum([vectors[site] for site in sorted(expected)], axis=0, dtype=np.uint32)
        assert total.tolist() == exact.tolist()
    else:
        with pytest.raises(SecureAggregationError):
            secure_sum(agreement, vectors, missing)


def test_both_ends_of_the_pattern_are_drawn():
    # Seven neighbours each, five of whom it takes: two may be gone, three are too many.
    assert can_be_had(8, 2, {0: 1, 1: 3}) is True
    assert can_be_had(8, 2, {0: 1, 1: 3, 2: 2}) is False


@pytest.mark.parametrize("step", STEPS)
def test_with_a_graph_a_tenth_may_fall_silent_in_each_step(step):
    n = 30
    vectors = vectors_of(n)
    agreement = Agreement("run", 1, SIZE, fewest=20, degree=12)
    silent = dict.fromkeys(list(vectors)[::10], step)
    total, whose = secure_sum(agreement, vectors, silent)
    assert len(whose) == (n - 3 if step in ("share", "mask") else n)
    exact = np.sum([vectors[site] for site in whose], axis=0, dtype=np.uint32)
    assert total.tolist() == exact.tolist()


def test_masks_are_as_long_as_the_vector_and_run_over_chunks():
    size = 2 * CHUNK + 7
    vectors = vectors_of(3, size=size)
    total, _ = secure_sum(Agreement("run", 1, size, 3, 2), vectors)
    assert total.tobytes() == np.sum([*vectors.values()], axis=0, dtype=np.uint32).tobytes()


def test_a_mask_looks_like_chance_and_another_key_gives_another():
    masks = []
    for key in (bytes(32), bytes(31) + b"\1", b"\x80" + bytes(31)):
        mask = np.zeros(200_000, np.uint32)
        add_mask(mask, key)
        masks.append(mask)
        ones = np.unpackbits(mask.view(np.uint8)).mean()
        assert abs(ones - 0.5) < 5 * 0.5 / np.sqrt(32 * len(mask))
        assert len(np.unique(mask)) > 0.9999 * len(mask)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        equal = (masks[one] == masks[other]).mean()
        assert equal < 1e-4
        both = np.unpackbits((masks[one] ^ masks[other]).view(np.uint8)).mean()
        assert abs(both - 0.5) < 5 * 0.5 / np.sqrt(32 * 200_000)


def test_neighbours_are_mutual_as_many_as_asked_and_unknown_beforehand():
    sites = [f"s{i}" for i in range(101)]
    graph = neighbours(b"roster", sites, 20)
    assert {len(around) for around in graph.values()} == {20}
    assert all(site in graph[other] for site in sites for other in graph[site])
    assert all(site not in graph[site] for site in sites)
    assert graph != neighbours(b"another", sites, 20)
    assert graph == neighbours(b"roster", reversed(sites), 20)
    for n in (2, 3, 4, 7):
        everybody = neighbours(b"r", sites[:n], usual_degree(n))
        assert all(len(around) == n - 1 for around in everybody.values())


def test_groups_without_a_way_between_them_are_noticed():
    circle = {i: frozenset({(i - 1) % 6, (i + 1) % 6}) for i in range(6)}
    graph = {str(i): frozenset(map(str, around)) for i, around in circle.items()}
    assert hang_together(graph, "012345")
    assert hang_together(graph, "01234")
    assert not hang_together(graph, "0134")


@given(
    st.integers(1, 50),
    st.floats(1e-6, 1e6),
    st.lists(st.floats(-1, 1), min_size=1, max_size=8),
)
def test_fixed_point_sums_are_as_close_as_their_steps(sites, bound, parts):
    code = FixedPoint(bound, sites)
    vector = np.array(parts) * bound
    encoded = code.encode(vector)
    assert encoded.nbytes == vector.astype(np.float32).nbytes  # 1.0 times the bytes
    total = np.zeros(len(parts), np.uint32)
    for _ in range(sites):
        total += encoded
    step = 1 / code.scale
    np.testing.assert_allclose(
        code.decode(total), sites * vector, rtol=1e-12, atol=sites * step * 0.5001
    )


def test_the_largest_sum_does_not_run_over():
    for sites in (1, 2, 3, 100, (1 << 24) - 1):
        code = FixedPoint(3.0, sites)
        each = code.encode(np.array([3.0, -3.0])).view(np.int32).astype(np.int64)
        assert abs(each * sites).max() < 1 << 31


@pytest.mark.parametrize("value", [1.01, -1.01, float("nan"), float("inf")])
def test_numbers_that_do_not_fit_are_refused_not_cut(value):
    with pytest.raises(ValueError, match="set up for numbers up to 1"):
        FixedPoint(1.0, 3).encode(np.array([0.0, value]))
    with pytest.raises(ValueError, match="takes those up to 1"):
        SecureMean(1.0, 10, 3).encode(np.array([0.0, value]), 1)


@pytest.mark.parametrize("weight", [0.0, 10.5, float("nan"), -1.0])
def test_weights_that_do_not_fit_are_refused(weight):
    with pytest.raises(ValueError, match="at most 10"):
        SecureMean(1.0, 10, 3).encode(np.zeros(1), weight)


def test_the_secure_mean_is_federated_averaging():
    rng = np.random.default_rng(0)
    state = State.of({"w": rng.normal(size=9)})
    updates = [
        Update(f"s{i}", rng.uniform(-2, 2, 9), float(rng.integers(1, 500))) for i in range(12)
    ]
    plain, _ = FedAvg().aggregate({}, state, Updates.gather(updates, state.layout)[0], Settings())
    mean = SecureMean(bound=2.0, most=500, sites=12)
    vectors = {u.site: mean.encode(u.delta, u.weight) for u in updates}
    total, _ = secure_sum(Agreement("run", 1, 10, 3, 11), vectors)
    summed = mean.decode(total, state.layout)
    secure, _ = FedAvg().aggregate({}, state, summed, Settings())
    # Twelve roundings to steps of 1 / scale, of shares of a weight of about one half each.
    np.testing.assert_allclose(secure.vector, plain.vector, atol=12 * 2.0 / mean.code.scale)
    assert summed.weights[0] == pytest.approx(sum(u.weight for u in updates), rel=1e-6)


def test_strategies_that_look_at_each_update_are_refused():
    options = {
        "bulyan": {"byzantine": 1},
        "krum": {"byzantine": 1},
        "norm_bounding": {"bound": 1.0},
        "personal": {"tensors": ("b",)},
        "scaffold": {"population": 9},
        "trimmed_mean": {"byzantine": 1},
    }
    maskable = set()
    for name in STRATEGIES:
        each = strategy(name, **options.get(name, {}))
        try:
            check_maskable(each)
        except SecureAggregationError as error:
            assert "has to see each update" in str(error)  # noqa: PT017
        else:
            maskable.add(name)
    assert maskable == {"fedadagrad", "fedadam", "fedavg", "fedavgm", "fedprox", "fedyogi"}


@pytest.mark.parametrize(
    "wrong", [{"fewest": 1}, {"share": 0.5}, {"share": 1.1}, {"size": 0}, {"degree": 0}]
)
def test_agreements_that_hide_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}"):
        Agreement(**{"run": "r", "round": 1, "size": 1, "fewest": 2, "degree": 2, **wrong})


def test_wide_numbers_come_back_also_where_digits_are_full() -> None:
    """Halves, and what is next to the powers of the base and to the bound."""
    edges = [0.5, 1.5, 2.5, 2.0**23, 2.0**23 - 0.5, 2.0**24, 2.0**45, 2.0**46 - 1, 2.0**-24,
             2.0**-25, 0.5 - 2.0**-48, 2.0**-48, 0.1, 1e9 + 0.3]  # fmt: skip
    values = np.array([*edges, *(-np.array(edges)), 0.0])
    code = Wide(255)
    assert np.abs(code.decode(code.encode(values)) - values).max() <= 2.0**-49
    total = np.zeros(4 * len(values), np.uint32)
    for _ in range(255):
        total += code.encode(values)
    assert code.decode(total) == pytest.approx(255 * values, rel=1e-15, abs=255 * 2.0**-49)
