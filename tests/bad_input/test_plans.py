"""Plans that mean nothing, or that cannot be run: found before anything runs, naming the line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import umbel as ub
from tests.bad_input.conftest import raised
from umbel import col
from umbel.platforms.registry import Registry


@pytest.fixture
def orders(session: ub.Session) -> ub.DataFrame:
    return session.from_dict({"part": ["a", "b"], "price": [1, 2], "tags": [["x"], []]})


def line_of(error: ub.UmbelError) -> str:
    """The line of this file that the error names."""
    _, _, place = str(error).rpartition(f"at {__file__}:")
    return Path(__file__).read_text(encoding="utf-8").splitlines()[int(place.split()[0]) - 1]


# --- columns and types ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda f: f.select("prise"),
        lambda f: f.filter(col("prise") > 1),
        lambda f: f.with_columns(x=col("prise") + 1),
        lambda f: f.group_by("part").agg(col("prise").sum()),
        lambda f: f.group_by("prise").agg(ub.len()),
        lambda f: f.sort("prise"),
        lambda f: f.drop("prise"),
        lambda f: f.rename({"prise": "x"}),
        lambda f: f.explode("prise"),
        lambda f: f.join(f, on="prise"),
    ],
)
def test_an_unknown_column_is_named_with_the_closest(
    orders: ub.DataFrame, use: Callable[[ub.DataFrame], object]
):
    error = raised(lambda: use(orders), ub.UnknownNameError)
    assert "'prise'" in error.message
    assert "did you mean 'price'?" in error.hint
    assert "part, price, tags" in error.hint
    assert "prise" in line_of(error)


@pytest.mark.parametrize(
    ("use", "parts"),
    [
        (lambda f: f.filter(col("part") + 1 > 2), ["string", "int64", "part"]),
        (lambda f: f.filter(col("part") > 2), ["greater", "string", "int64", "part"]),
        (lambda f: f.filter(col("price")), ["boolean", "price", "int64"]),
        (lambda f: f.select(col("tags").str.to_lowercase()), ["lower", "list", "tags"]),
        (lambda f: f.select(col("tags").cast("int64")), ["tags", "list", "int64"]),
        (lambda f: f.group_by("price").agg(col("part").mean()), ["mean", "string", "part"]),
        (lambda f: f.sort("tags"), ["tags", "list"]),
        (lambda f: f.explode("price"), ["price", "int64"]),
    ],
)
def test_a_clash_of_types_names_the_column_and_the_types(
    orders: ub.DataFrame, use: Callable[[ub.DataFrame], object], parts: list[str]
):
    with pytest.raises(ub.PlanError) as caught:
        use(orders)
    for part in parts:
        assert part in caught.value.message, caught.value.message
    assert "lambda f: " in line_of(caught.value)


def test_keys_of_a_join_that_do_not_compare(session: ub.Session, orders: ub.DataFrame):
    other = session.from_dict({"qty": [1]})
    error = raised(lambda: orders.join(other, left_on="part", right_on="qty"), ub.TypeClashError)
    assert "'part' and 'qty'" in error.message
    assert "string and int64" in error.message
    assert "cast" in error.hint


def test_two_columns_of_one_name_after_a_join(session: ub.Session, orders: ub.DataFrame):
    left = orders.with_columns(price_right=col("price"))
    other = session.from_dict({"part": ["a"], "price": [3]})
    error = raised(lambda: left.join(other, on="part"), ub.PlanError)
    assert "two columns 'price_right'" in error.message
    assert "suffix" in error.hint
    joined = left.join(other, on="part", suffix="_other")
    assert joined.collect().column("price_other").to_pylist() == [3]


def test_a_column_of_neither_side_in_a_joins_condition(orders: ub.DataFrame, session: ub.Session):
    other = session.from_dict({"limit": [1]})
    error = raised(
        lambda: orders.join(other, where=col("prise") > col("limit")), ub.UnknownNameError
    )
    assert "'prise'" in error.message
    assert "did you mean 'price'?" in error.hint


# --- platforms and budgets --------------------------------------------------------------------


def test_a_platform_that_there_is_not(orders: ub.DataFrame):
    error = raised(lambda: orders.on("pollars"), ub.UnknownNameError)
    assert error.message == "unknown platform 'pollars'"
    assert "did you mean 'polars'?" in error.hint
    assert "duckdb, polars, python" in error.hint


def test_a_platform_that_is_not_installed(session: ub.Session):
    registry = Registry(
        session.platforms()["python"], missing={"spark": "pip install 'umbel[spark]'"}
    )
    frame = ub.Session(platforms=registry, progress=False).from_dict({"a": [1]})
    error = raised(lambda: frame.on("spark"), ub.PlacementError)
    assert error.message == "platform 'spark' is not here"
    assert "pip install 'umbel[spark]'" in error.hint


@pytest.mark.parametrize("platform", ["polars", "duckdb"])
def test_a_pinned_platform_that_cannot_run_the_operator(session: ub.Session, platform: str):
    printed = session.from_items([1]).map(lambda x: print(x)).on(platform)
    for use in (printed.collect, printed.explain):
        error = raised(use, ub.PlacementError)
        assert f"platform '{platform}' cannot run Map" in error.message
        assert f"{__file__}:" in error.message
        assert "Python function" in error.message
        assert "pin another platform" in error.hint


def test_a_pinned_platform_that_lacks_a_function(session: ub.Session):
    sample = session.from_dict({"a": [1, 2]}).sample(1).on("duckdb")
    error = raised(sample.collect, ub.PlacementError)
    assert "platform 'duckdb' cannot run Sample" in error.message


def test_a_loop_or_a_sink_cannot_be_pinned(session: ub.Session):
    loop = session.from_items([1]).repeat(2, lambda d: d.map(lambda x: x + 1)).on("python")
    with pytest.raises(ub.PlacementError, match="Repeat runs in umbel itself"):
        loop.collect()


def test_a_plan_that_was_pinned_where_the_engine_was(session: ub.Session):
    """Read from JSON on a machine without the engine."""
    plan = ub.plan_from_json(session.from_dict({"a": [1]}).sort("a").on("polars").to_json())
    here = ub.Session(platforms=Registry(session.platforms()["python"]), progress=False)
    error = raised(lambda: here.run(plan), ub.UmbelError)
    assert "'polars'" in error.message


def test_a_budget_that_no_plan_fits():
    session = ub.connect(budget=ub.Budget(seconds=1e-9), progress=False)
    error = raised(session.from_items([1]).map(str).collect, ub.PlacementError)
    assert "no plan fits the budget" in error.message
    assert "1e-09" in error.message
    fastest, cheapest = error.hint.split(";")
    assert "fastest" in fastest
    assert "cheapest" in cheapest
    assert " s for $" in fastest
    assert " s for $" in cheapest


def test_a_budget_that_is_none():
    with pytest.raises(ub.PlanError, match="a budget's seconds cannot be -1"):
        ub.Budget(seconds=-1)


def test_a_memory_limit_that_is_none():
    with pytest.raises(ub.PlanError, match="a memory limit cannot be 0 bytes"):
        ub.connect(memory_limit=0, progress=False).from_items([1]).collect()


# --- plans as JSON ----------------------------------------------------------------------------


def test_a_plan_without_the_code_of_its_functions(session: ub.Session):
    Path("a.txt").write_text("b\na\n")

    def shout(line):
        return f"{line}!"

    text = session.read_text("a.txt").map(shout).to_json()
    plan = ub.plan_from_json(text)
    error = raised(lambda: session.run(plan), ub.PlanError)
    assert "shout" in error.message
    assert "is not at hand" in error.message
    assert "functions=[...]" in error.hint
    again = ub.plan_from_json(text, functions=[shout])
    assert sorted(session.run(again).elements) == ["a!", "b!"]


def test_a_plan_without_the_data_of_its_session(session: ub.Session):
    plan = ub.plan_from_json(session.from_dict({"a": [1]}).sort("a").to_json())
    for engine in ("python", "polars", "duckdb"):
        with pytest.raises(ub.UmbelError, match="is not at hand") as caught:
            session.run(plan.pinned(engine))
        assert "a plan file holds no data" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda plan: plan.update(umbel=99), "the plan has version 99, not 1"),
        (lambda plan: plan["nodes"][0].update(op="Evil"), "unknown operator 'Evil'"),
        (lambda plan: plan["nodes"][0].update(extra=1), "extra"),
        (lambda plan: plan.update(root=7), "$.root"),
    ],
)
def test_a_plan_that_is_refused(
    session: ub.Session, change: Callable[[dict[str, object]], object], said: str
):
    plan = json.loads(session.from_dict({"a": [1]}).to_json())
    change(plan)
    with pytest.raises(ub.PlanFormatError) as caught:
        ub.plan_from_json(json.dumps(plan))
    assert said in caught.value.message
    assert caught.value.message.startswith("$")


def test_what_is_no_json():
    with pytest.raises(ub.PlanFormatError, match="not JSON"):
        ub.plan_from_json("{")
