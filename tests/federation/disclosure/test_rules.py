"""Dominance, the p% rule, complementary suppression, noise and rounding, by hand."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest

from benchmarks.people import Asked, Person
from umbel import col
from umbel.federation.disclosure.cells import complement
from umbel.federation.disclosure.noise import cell_key, noise_of, rounded
from umbel.federation.errors import FederationError
from umbel.federation.policy.clauses import Dominance, Duties


def _group(zip_code: int, costs: list[int], first: int) -> list[Person]:
    return [Person(first + n, 30, zip_code, "f", 1, cost) for n, cost in enumerate(costs)]


#: One with 60 of 100; two with 90 of 100; even; a second who knows the first closely.
GROUPS = {
    0: [600] + [40] * 10,
    1: [450, 450] + [10] * 10,
    2: [100] * 12,
    3: [500, 480] + [2] * 10,
}
PEOPLE = [p for z, costs in GROUPS.items() for p in _group(z, costs, 100 * z)]


@pytest.mark.parametrize(
    ("duties", "shown"),
    [
        (Duties(), {0, 1, 2, 3}),
        (Duties(dominance=Dominance(1, 50)), {1, 2, 3}),
        (Duties(dominance=Dominance(2, 85)), {0, 2}),
        (Duties(p_percent=10), {0, 1, 2}),
        (Duties(p_percent=10, dominance=Dominance(1, 50)), {1, 2}),
    ],
)
def test_sums_that_few_make_up_do_not_leave(duties: Duties, shown: set[int]) -> None:
    asked = Asked(PEOPLE, duties)
    sums = asked.people.group_by("zip").agg(col("cost").sum().alias("s"))
    found = {row["zip"]: row["s"] for row in asked.ask(sums).to_pylist()}
    assert found == {z: sum(GROUPS[z]) for z in shown}
    # A count tells nothing of the parts.
    counts = asked.people.group_by("zip").agg(col("cost").count().alias("n"))
    assert asked.ask(counts).num_rows == 4


def test_shares_are_of_individuals_not_of_rows() -> None:
    """Who has many small rows dominates as one with one large row does."""
    rows = [Person(1, 30, 0, "f", 1, 100)] * 10 + _group(0, [30] * 12, 10)
    asked = Asked(rows, Duties(dominance=Dominance(1, 50)))
    assert asked.one(asked.people.select(col("cost").sum().alias("s"))) is None


def test_no_line_has_one_cell_left_out_or_too_few_individuals() -> None:
    """Over random tables: the condition holds, and without it nothing more is left out."""
    draw = random.Random(3)
    for _ in range(60):
        keys = list(itertools.product(range(draw.randrange(2, 6)), range(draw.randrange(2, 6))))
        sizes = [draw.randrange(1, 40) for _ in keys]
        shown = [size >= 5 for size in sizes]
        kept = complement(keys, sizes, shown, 5)
        assert not any(k and not s for k, s in zip(kept, shown, strict=True))
        if all(shown):
            assert kept == shown
        for dimension in (0, 1):
            for line in {key[dimension] for key in keys}:
                inside = [n for n, key in enumerate(keys) if key[dimension] == line]
                out = [n for n in inside if not kept[n]]
                whole = len(out) == len(inside)
                assert not out or whole or (len(out) > 1 and sum(sizes[n] for n in out) >= 5)


def test_noise_depends_on_who_is_in_a_cell_and_nothing_else() -> None:
    draw = random.Random(5)
    cells = [[draw.getrandbits(64) for _ in range(20)] for _ in range(4_000)]
    noises = [noise_of(cell_key(cell), 3) for cell in cells]
    assert noises == [noise_of(cell_key(reversed(cell)), 3) for cell in cells]
    counts = Counter(noises)
    assert set(counts) == set(range(-3, 4))
    # Binomial of six coins: 1, 6, 15, 20, 15, 6, 1 of 64; six standard deviations around it.
    for noise, ways in zip(range(-3, 4), (1, 6, 15, 20, 15, 6, 1), strict=True):
        p = ways / 64
        assert abs(counts[noise] - 4_000 * p) < 6 * (4_000 * p * (1 - p)) ** 0.5
    without = [noise_of(cell_key(cell[1:]), 3) for cell in cells]
    same = sum(a == b for a, b in zip(noises, without, strict=True)) / len(cells)
    assert same == pytest.approx(sum((w / 64) ** 2 for w in (1, 6, 15, 20, 15, 6, 1)), abs=0.05)


def test_noise_and_rounding_in_answers() -> None:
    asked = Asked(PEOPLE, Duties(noise=4))
    asked.ledger.secret = "a secret"  # so that the noise is the same in every run of the test
    counts = asked.people.group_by("zip").agg(col("cost").count().alias("n"))
    first = asked.ask(counts).to_pylist()
    assert asked.ask(counts).to_pylist() == first  # asking again averages nothing out
    true = {z: len(costs) for z, costs in GROUPS.items()}
    assert all(abs(row["n"] - true[row["zip"]]) <= 4 for row in first)
    assert any(row["n"] != true[row["zip"]] for row in first)
    sums = asked.people.group_by("zip").agg(col("cost").sum().alias("s"))
    for row in asked.ask(sums).to_pylist():
        costs = GROUPS[row["zip"]]
        assert abs(row["s"] - sum(costs)) <= 4 * sum(costs) / len(costs) + 1
    coarse = Asked(PEOPLE, Duties(rounding=5))
    found = {row["zip"]: row["n"] for row in coarse.ask(counts).to_pylist()}
    assert found == {z: rounded(n, 5) for z, n in true.items()} == {0: 10, 1: 10, 2: 10, 3: 10}


def test_duties_that_cannot_be_are_told() -> None:
    with pytest.raises(FederationError, match="noise"):
        Duties(noise=-1)
    with pytest.raises(FederationError, match="p_percent"):
        Duties(p_percent=101)
