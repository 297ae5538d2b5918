"""The fit: known profiles are found again, noise does no harm, and no cost is below zero."""

from __future__ import annotations

import itertools
import random

import pytest

from umbel.calibration.fit import Observation, errors, fit, nonnegative_least_squares
from umbel.platforms.costs import CostProfile, Figure, Linear, Work, linear_terms

SHIPPED = CostProfile(
    start=0.5,
    stage=0.004,
    operators={
        "Filter": Linear(per_row=5e-9),
        "Sort": Linear(per_row=1e-7),
        "Join": Linear(per_row=3e-8),
        "Scan.parquet": Linear(fixed=0.002, per_byte=1e-9),
        "Explode": Linear(per_row=1e-8),
    },
    output={"Join": Linear(per_row=1e-8)},
    write={"arrow": Linear(per_byte=1e-9)},
    expression=4e-9,
    functions={"lower": 8e-8},
)
#: Sorting is 20 times dearer than shipped, lower case 5 times cheaper, writing has a fixed part.
TRUE = SHIPPED.with_figures(
    {
        ("stage", "", ""): 0.006,
        ("operators", "Sort", "per_row"): 2e-6,
        ("operators", "Join", "per_row"): 9e-8,
        ("operators", "Filter", "per_row"): 2e-8,
        ("functions", "lower", ""): 1.6e-8,
        ("write", "arrow", "fixed"): 0.003,
        ("expression", "", ""): 8e-9,
    }
)


def observations(true: CostProfile, noise: float = 0.0) -> list[Observation]:
    """Stages over 1,000 to a million rows, and what a machine with a known profile would take."""
    drawn = random.Random(7)
    plans: dict[str, list[str]] = {
        "read": ["Scan.parquet"],
        "filter": ["Filter"],
        "sort": ["Sort"],
        "join": ["Join"],
        "read, filter": ["Scan.parquet", "Filter"],
        "read, sort": ["Scan.parquet", "Sort"],
    }
    found = []
    for (name, operators), rows, functions in itertools.product(
        plans.items(), (1e3, 1e5, 1e6), ((), ("lower",), ("add", "multiply"))
    ):
        terms: dict[Figure, float] = {("stage", "", ""): 1.0}
        for operator in operators:
            work = Work(operator, rows, 40 * rows, rows / 2, 20 * rows, functions)
            for figure, factor in true.terms(work):
                terms[figure] = terms.get(figure, 0.0) + factor
        for figure, factor in linear_terms("write", "arrow", rows / 2, 20 * rows):
            terms[figure] = terms.get(figure, 0.0) + factor
        exact = Observation(name, 0.0, terms, held_out=name == "read, sort")
        seconds = exact.predicted(true.figures()) * (1 + noise * drawn.uniform(-1, 1))
        found.append(Observation(name, seconds, terms, exact.held_out))
    return found


def test_a_known_profile_is_found_again() -> None:
    made = observations(TRUE)
    fitted = fit(SHIPPED, made)
    assert fitted.functions["lower"] == pytest.approx(1.6e-8, rel=0.2)
    # Rows and bytes grow together here, so only what both cost together can be known.
    for operator in ("Sort", "Join", "Filter"):
        work = Work(operator, 1e6, 4e7, 5e5, 2e7)
        assert fitted.seconds(work) == pytest.approx(TRUE.seconds(work), rel=0.25), operator
    # The fixed parts of stages and of writing are always paid together: their sum is known.
    fixed = fitted.stage + fitted.write["arrow"].fixed
    assert fixed == pytest.approx(0.009, rel=0.1)
    assert errors(SHIPPED, made)[0] > 0.4
    assert errors(fitted, made)[1] < 0.1  # of plans that it did not see


def test_noise_and_outliers_do_little() -> None:
    made = observations(TRUE, noise=0.2)
    spoiled = made[4]  # somebody else used the machine
    made[4] = Observation(spoiled.name, 50 * spoiled.seconds, spoiled.terms)
    fitted = fit(SHIPPED, made)
    work = Work("Sort", 1e6, 4e7, 5e5, 2e7)
    assert fitted.seconds(work) == pytest.approx(TRUE.seconds(work), rel=0.3)
    assert errors(fitted, made)[0] < 0.25


def test_what_was_not_measured_is_as_much_slower_as_the_machine() -> None:
    slow = {figure: 3 * value for figure, value in SHIPPED.figures().items()}
    fitted = fit(SHIPPED, observations(SHIPPED.with_figures(slow)))
    assert fitted.operators["Explode"].per_row == pytest.approx(3e-8, rel=0.1)
    assert fitted.start == SHIPPED.start  # measured apart


def test_no_operator_is_free_however_noisy_the_machine() -> None:
    sort, filtering = ("operators", "Sort", "per_row"), ("operators", "Filter", "per_row")
    seen = [
        Observation("filter", 0.05, {filtering: 1e6}),
        Observation("sort", 0.04, {filtering: 1e6, sort: 1e6}),
        Observation("sort more", 0.3, {filtering: 8e6, sort: 8e6}),
    ]
    found = fit(SHIPPED, seen).operators
    assert found["Filter"].per_row > SHIPPED.operators["Filter"].per_row
    assert 0 < found["Sort"].per_row < SHIPPED.operators["Sort"].per_row


def test_without_observations_the_shipped_profile_stays() -> None:
    assert fit(SHIPPED, []) is SHIPPED
    assert errors(SHIPPED, []) == (0.0, 0.0)


def test_least_squares_are_those_of_all_choices_of_zeros() -> None:
    """Of all ways to set columns to zero the best feasible one is the solution."""
    drawn = random.Random(3)
    size = 4
    for _ in range(40):
        rows = [[drawn.gauss(0, 1) for _ in range(size)] for _ in range(7)]
        wanted = [drawn.gauss(0, 1) for _ in rows]

        def residual(x: list[float], rows: list[list[float]] = rows) -> float:
            return sum(
                (sum(a * b for a, b in zip(row, x, strict=True)) - target) ** 2
                for row, target in zip(rows, wanted, strict=True)  # noqa: B023 - used at once
            )

        found = nonnegative_least_squares(rows, wanted)
        assert min(found) >= 0
        # No step along any coordinate that stays feasible makes it better: it is convex.
        for index, step in itertools.product(range(size), (1e-3, -1e-3)):
            moved = [*found]
            moved[index] = max(0.0, moved[index] + step)
            assert residual(moved) >= residual(found) - 1e-12
