"""Budgets and prices: from the platform's configuration to the plan that is chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

import umbel as ub
from tests.optimizer.fakes import FakePlatform, profile
from umbel.optimizer import Cost, optimize
from umbel.optimizer.explain import explain
from umbel.plan.operators import Distinct, Values
from umbel.platforms.base import ARROW, Engine
from umbel.platforms.costs import CostProfile, Price
from umbel.platforms.registry import Registry

PLAN = Distinct(input=Values(table=pa.table({"a": [1, 2]})))


def registry() -> Registry:
    """One platform takes 1 s for $2, another 4 s for $1, a third is worse than both."""
    made = Registry(
        FakePlatform("quick", costs=profile(Distinct=1.0)),
        FakePlatform("slow", costs=profile(Distinct=4.0)),
        FakePlatform("worst", costs=profile(Distinct=5.0)),
    )
    made.set_price("quick", Price(per_hour=7200))
    made.set_price("slow", Price(per_hour=900))
    made.set_price("worst", Price(per_hour=7200))
    return made


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (None, Cost(1.0, 2.0)),
        (ub.Budget(seconds=1.5), Cost(1.0, 2.0)),
        (ub.Budget(dollars=2.5), Cost(1.0, 2.0)),  # both fit: the faster
        (ub.Budget(dollars=1.5), Cost(4.0, 1.0)),
        (ub.Budget(seconds=4.0, dollars=1.0), Cost(4.0, 1.0)),
    ],
)
def test_the_fastest_plan_within_the_budget_is_chosen(budget: ub.Budget | None, expected: Cost):
    assert optimize(PLAN, registry(), budget=budget).cost == expected


def test_an_impossible_budget_says_what_there_is():
    with pytest.raises(ub.PlacementError) as caught:
        optimize(PLAN, registry(), budget=ub.Budget(seconds=2.0, dollars=1.5))
    assert "no plan fits the budget of 2 s and $1.5" in caught.value.message
    assert "the fastest is estimated at 1 s for $2" in caught.value.hint
    assert "the cheapest at 4 s for $1" in caught.value.hint


def test_reading_a_source_is_paid_by_size_before_filters(tmp_path: Path):
    import pyarrow.parquet as parquet

    path = tmp_path / "numbers.parquet"
    parquet.write_table(pa.table({"a": list(range(10_000))}), path)
    session = ub.connect(prices={name: ub.Price(per_tb_scanned=1e12) for name in ENGINES})
    frame = session.read_parquet(path)
    all_rows = frame.explain().plan
    width = all_rows.stages[0].operators[0].estimate.width
    assert all_rows.cost.dollars == pytest.approx(10_000 * width)  # a dollar for each byte
    few = frame.filter(ub.col("a") < 10).explain().plan
    assert few.stages[0].operators[0].estimate.expected < 1_000
    assert few.cost.dollars == pytest.approx(10_000 * width)


ENGINES = sorted(platform.name for platform in Registry.discover())


def test_a_budget_of_one_run_wins_over_the_session():
    session = ub.connect(progress=False, budget=ub.Budget(seconds=1e-9))
    frame = session.from_arrow(pa.table({"a": [1]}))
    with pytest.raises(ub.PlacementError, match="budget of 1e-09 s"):
        frame.collect()
    assert frame.collect(budget=ub.Budget(seconds=100)).num_rows == 1
    assert session.from_items([1]).collect(budget=ub.Budget(seconds=100)) == [1]
    assert frame.explain(budget=ub.Budget(seconds=100)).plan.cost.seconds < 100


def test_prices_of_platforms_that_are_not_here():
    with pytest.raises(ub.UnknownNameError, match="duckbd"):
        ub.connect(prices={"duckbd": ub.Price(per_hour=1)}).platforms()


@pytest.mark.parametrize("wrong", [-1, float("nan"), True, "3"])
def test_wrong_prices(wrong: float):
    with pytest.raises(ub.PlanError, match="price per_hour"):
        ub.Price(per_hour=wrong)


def test_what_is_attached_takes_its_price_with_its_address():
    asked = []

    def attach(name: str, address: object) -> FakePlatform:
        asked.append(address)
        return FakePlatform(name)

    known = Registry(engines={"fake": Engine(schemes=("fake",), attach=attach)})
    platform = known.attach(
        "lake", "fake://host/db", dollars_per_hour=3.6, dollars_per_tb_scanned=5.0
    )
    assert known.price(platform) == Price(per_hour=3.6, per_tb_scanned=5.0)
    assert known.only("lake").price(platform) == Price(3.6, 5.0)
    assert "dollars" not in repr(asked)
    known.detach("lake")
    assert known.prices == {}


def test_a_profile_may_have_a_price(tmp_path: Path):
    path = tmp_path / "costs.toml"
    path.write_text(
        "start = 0\nstage = 0\nexpression = 0\n[operators]\n[price]\nper_hour = 3.6\n", "utf-8"
    )
    assert CostProfile.load(path).price(seconds=1000.0) == pytest.approx(1.0)


def test_handing_data_over_is_paid_to_the_giver():
    costs = replace(profile(Distinct=1.0), price=Price(per_hour=3600))
    from umbel.platforms.costs import Linear

    costs = replace(costs, write={ARROW: Linear(fixed=2.0)})
    plan = optimize(PLAN, Registry(FakePlatform("only", costs=costs)))
    assert plan.cost == Cost(3.0, 3.0)


def test_the_explanation_shows_what_each_stage_and_what_lost_would_cost():
    found = explain(PLAN, registry())
    data = found.to_dict()
    (stage,) = data["stages"]
    assert stage["dollars"] == pytest.approx(2.0)
    assert stage["moved_bytes"] == data["moved_bytes"] > 0  # the result, to the caller
    slow = next(a for a in data["alternatives"] if a["platforms"] == ["slow"])
    assert (slow["seconds"], slow["dollars"]) == (4.0, 1.0)
    text = found.text()
    assert "stage 0 on quick, 1 s, $2, " in text
    assert "only slow" in text
    assert "4 s, $1, " in text
