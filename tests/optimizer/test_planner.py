"""Execution plans: stages, pins, refusals, budgets, and how they are explained."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pyarrow as pa
import pytest

from tests.optimizer.fakes import ARROW, PYTHON, FakePlatform, conversion, profile
from umbel.optimizer import Budget, explain, optimize
from umbel.plan.errors import PlacementError, UnknownNameError
from umbel.plan.expressions import Call, Column, Literal
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import (
    Distinct,
    Element,
    Filter,
    Limit,
    Map,
    Operator,
    Placeholder,
    Repeat,
    Union,
    Values,
    Write,
)
from umbel.plan.sinks import ParquetSink
from umbel.plan.types import INT64
from umbel.platforms.registry import Registry

BETWEEN = (conversion(ARROW, PYTHON, 0.001), conversion(PYTHON, ARROW, 0.001))


def registry(**platforms: FakePlatform) -> Registry:
    return Registry(
        *(replace(platform, name=name) for name, platform in platforms.items()),
        missing={"spark": "pip install 'umbel[spark]'"},
        conversions=BETWEEN,
    )


def engine(refuses: str = "", **costs: float) -> FakePlatform:
    return FakePlatform(
        "",
        costs=profile(**costs),
        reads=(ARROW,),
        writes=(ARROW,),
        refuses=frozenset(refuses.split()),
    )


def values(*numbers: int) -> Values:
    return Values(table=pa.table({"a": list(numbers)}))


def test_one_platform_is_one_stage() -> None:
    plan = optimize(Distinct(input=Limit(input=values(1, 2), count=1)), registry(fast=engine()))
    (stage,) = plan.stages
    assert [p.operator.name for p in stage.operators] == ["Values", "Limit", "Distinct"]
    assert stage.stage.root == plan.rewritten
    assert plan.result == (0, ARROW)


def test_a_refused_operator_goes_elsewhere_and_back() -> None:
    root = Distinct(input=Limit(input=Distinct(input=values(1)), count=1, offset=0))
    both = registry(fast=engine(refuses="Limit"), slow=engine(Distinct=5.0, Values=5.0, Limit=1.0))
    plan = optimize(root, both)
    assert [s.platform.name for s in plan.stages] == ["fast", "slow", "fast"]
    middle = plan.stages[1]
    assert isinstance(middle.stage.root.inputs[0], Placeholder)
    assert middle.sources == {"stage_0": (0, ARROW)}
    assert [(r.operator.name, r.platform) for r in plan.refusals] == [("Limit", "fast")]


def test_a_shared_operator_is_computed_once_for_two_stages() -> None:
    shared = Distinct(input=values(1))
    root = Union(members=(Limit(input=shared, count=1), shared))
    both = registry(a=engine(refuses="Union", Limit=1.0), b=engine(refuses="Distinct"))
    plan = optimize(root, both)
    assert sum(p.operator.name == "Distinct" for s in plan.stages for p in s.operators) == 1


def test_plans_are_deterministic() -> None:
    root = Union(members=tuple(Limit(input=values(i), count=1) for i in range(5)))
    both = registry(a=engine(Limit=1.0), b=engine(Limit=1.0))
    placements = {
        tuple((s.platform.name, s.stage.root.digest) for s in optimize(root, both).stages)
        for _ in range(5)
    }
    assert len(placements) == 1


class TestPins:
    def test_are_kept(self) -> None:
        root = Distinct(input=values(1), pin="slow")
        plan = optimize(root, registry(fast=engine(), slow=engine(Distinct=9.0)))
        assert plan.stages[-1].platform.name == "slow"

    def test_unknown(self) -> None:
        with pytest.raises(UnknownNameError, match="unknown platform 'fsat'") as caught:
            optimize(Distinct(input=values(1), pin="fsat"), registry(fast=engine()))
        assert "did you mean 'fast'" in caught.value.hint

    def test_not_installed(self) -> None:
        with pytest.raises(PlacementError, match="'spark' is not here") as caught:
            optimize(Distinct(input=values(1), pin="spark"), registry(fast=engine()))
        assert "pip install" in caught.value.hint

    def test_refused(self) -> None:
        both = registry(fast=engine(refuses="Distinct"), slow=engine())
        with pytest.raises(PlacementError, match=r"'fast' cannot run Distinct.*no Distinct here"):
            optimize(Distinct(input=values(1), pin="fast"), both)

    def test_of_what_umbel_runs_itself(self) -> None:
        write = Write(input=values(1), sink=ParquetSink("x"), pin="fast")
        with pytest.raises(PlacementError, match="runs in umbel itself"):
            optimize(write, registry(fast=engine()))


@pytest.mark.parametrize(("seconds", "taken"), [(0.95, {"one"}), (0.1, {"one", "two"})])
def test_a_second_engine_must_gain_a_tenth(seconds: float, taken: set[str]) -> None:
    limited = Limit(input=Distinct(input=values(1)), count=1)
    one = engine(Values=0.1, Distinct=1.0, Limit=1.0)
    two = engine(Values=5.0, Distinct=5.0, Limit=seconds)
    plan = optimize(limited, registry(one=one, two=two))
    assert {stage.platform.name for stage in plan.stages} == taken


def test_pinned_engines_take_part_however_little_they_gain() -> None:
    limited = Limit(input=Distinct(input=values(1), pin="one"), count=1, pin="two")
    plan = optimize(Distinct(input=limited), registry(one=engine(), two=engine(), three=engine()))
    assert {stage.platform.name for stage in plan.stages} >= {"one", "two"}


def test_nobody_can_run_it() -> None:
    with pytest.raises(PlacementError, match="no platform can run Distinct") as caught:
        optimize(Distinct(input=values(1)), registry(fast=engine(refuses="Distinct")))
    assert "fast: no Distinct here" in caught.value.hint


def test_engines_that_are_down_cost_their_start_once() -> None:
    down = replace(engine(start=3.0), up=False)
    root = Distinct(input=Limit(input=values(1), count=1))
    assert optimize(root, registry(only=down)).cost.seconds == pytest.approx(3.0)


def test_an_impossible_budget_says_what_there_is() -> None:
    with pytest.raises(PlacementError, match="no plan fits the budget") as caught:
        optimize(
            Distinct(input=values(1)), registry(only=engine(Distinct=2.0)), budget=Budget(seconds=1)
        )
    assert "the fastest is estimated at 2 s" in caught.value.hint


def test_a_loops_body_is_planned_and_reckoned_per_round() -> None:
    body = Distinct(input=Placeholder(label="state", columns=values(1).schema))
    loop = Repeat(initial=values(1), body=body, labels=("state",), times=10)
    plan = optimize(loop, registry(only=engine(Distinct=0.5)))
    assert plan.cost.seconds == pytest.approx(5.0, rel=0.1)
    (stage,) = [s for s in plan.stages if s.bodies]
    assert [s.platform.name for s in stage.bodies[0].stages] == ["umbel", "only"]


def test_python_objects_stay_in_python() -> None:
    python = FakePlatform("", reads=(PYTHON, ARROW), writes=(PYTHON, ARROW))
    data = Values(
        table=pa.table({"value": [1]}, schema=pa.schema([pa.field("value", INT64, False)])),
        form=Element.VALUE,
    )
    root = Map(input=data, function=PythonFunction.of(lambda x: [x]))
    plan = optimize(root, registry(python=python, fast=engine(refuses="Map")))
    assert plan.result[1] == PYTHON
    assert not plan.lifted


@pytest.fixture
def explained():
    predicate = Call("greater", (Column("a"), Literal(1, INT64)))
    root = Distinct(input=Filter(input=Distinct(input=values(1, 2)), predicate=predicate))
    both = registry(fast=engine(refuses="Filter"), slow=engine(Distinct=5.0, Filter=0.1))
    return explain(root, both)


class TestExplanation:
    def test_text_shows_stages_and_what_lost(self, explained) -> None:
        text = str(explained)
        assert "stage 0 on" in text
        assert "greater(a, 1)" in text
        assert "only fast" in text
        assert "impossible" in text
        assert "no Filter here" in text
        assert "only slow" in text

    def test_json(self, explained) -> None:
        data = json.loads(explained.to_json())
        assert data["seconds"] == pytest.approx(explained.plan.cost.seconds)
        assert {"operator", "platform", "reason"} == set(data["refusals"][0])
        operators = [o["name"] for s in data["stages"] for o in s["operators"]]
        assert operators.count("Filter") == 1

    def test_mermaid(self, explained) -> None:
        lines = explained.to_mermaid().splitlines()
        assert lines[0] == "flowchart TD"
        assert sum("-->" in line for line in lines) == len(explained.plan.stages) - 1

    def test_svg_is_well_formed_and_shows_every_stage(self, explained) -> None:
        root = ET.fromstring(explained.to_svg())
        boxes = [e for e in root if e.tag.endswith("rect")]
        assert len(boxes) == len(explained.plan.stages)
        assert "Filter greater(a, 1)" in [e.text for e in root if e.tag.endswith("text")]


def test_an_operator_written_twice_is_planned_once() -> None:
    def part() -> Operator:
        return Distinct(input=Limit(input=values(1), count=1))

    plan = optimize(Union(members=(part(), part())), registry(only=engine()))
    names = [p.operator.name for s in plan.stages for p in s.operators]
    assert names.count("Distinct") == 1
