"""The order of joins: never another answer, never dearer than any other order, never arbitrary."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import umbel as ub
from umbel import col
from umbel.catalog.statistics import ColumnStatistics, Interval, TableStatistics
from umbel.optimizer.estimates import ColumnEstimate, Estimate, exactly
from umbel.optimizer.facts import Facts
from umbel.optimizer.joins import (
    Condition,
    Equality,
    JoinGraph,
    Order,
    Relation,
    best_order,
    cost_of,
    search,
)
from umbel.optimizer.rewrite import rewrite
from umbel.optimizer.rewrite.order_joins import order_joins
from umbel.plan import operators as ops
from umbel.plan.expressions import Call, Cast, Column, Expression, Literal
from umbel.plan.sources import ParquetSource, RelationSource, Source
from umbel.plan.types import INT64, STRING

# --- the search -------------------------------------------------------------------------------


def relation(rows: float, home: str = "", **distinct: float) -> Relation:
    columns = {name: ColumnEstimate(distinct=count) for name, count in distinct.items()}
    table = pa.table({name: pa.array([], INT64) for name in distinct or ("x",)})
    estimate = Estimate(exactly(rows), 8.0 * max(1, len(distinct)), columns, source_rows=rows)
    return Relation(ops.Values(table=table), estimate, home)


def random_graph(chance: random.Random, size: int, homes: tuple[str, ...] = ("",)) -> JoinGraph:
    """Relations of which each hangs together with an earlier one, and some with more."""
    relations, equalities = [], []
    for number in range(size):
        rows = float(10 ** chance.randint(0, 6))
        columns = {f"c{number}_{i}": float(chance.randint(1, int(rows))) for i in range(3)}
        relations.append(relation(rows, chance.choice(homes), **columns))
        links = {chance.randrange(number)} if number else set()
        if number > 2 and chance.random() < 0.4:
            links.add(chance.randrange(number))
        for other in sorted(links):
            names = (f"c{other}_{chance.randrange(3)}", f"c{number}_{chance.randrange(3)}")
            equalities.append(Equality(((other, names[0]), (number, names[1]))))
    return JoinGraph(relations, equalities)


def orders(graph: JoinGraph, relations: int) -> Iterator[Order]:
    """Every tree of joins without cross products, by brute force."""
    if relations.bit_count() == 1:
        yield Order(relations)
        return
    part = (relations - 1) & relations
    while part:
        rest = relations ^ part
        if part > rest and graph.around(part) & rest:
            for left, right in itertools.product(orders(graph, part), orders(graph, rest)):
                yield Order(relations, left, right)
        part = (part - 1) & relations


@pytest.mark.parametrize("seed", range(12))
def test_no_order_is_cheaper(seed: int):
    chance = random.Random(seed)
    graph = random_graph(chance, 5, ("", "one", "two") if seed % 2 else ("",))
    order, cost = best_order(graph)
    least = min(cost_of(graph, other) for other in orders(graph, graph.all))
    assert cost == pytest.approx(least)
    assert order.relations == graph.all


def test_the_pairs_are_as_many_as_theory_says():
    # Ono and Lohman, "Measuring the complexity of join enumeration", VLDB 1990: a chain of n has
    # (n³ - n) / 6 pairs, a star (n - 1) · 2ⁿ⁻².
    n = 7
    nodes = [relation(10.0, **{f"c{i}": 5.0}) for i in range(n)]
    chain = [Equality(((i, f"c{i}"), (i + 1, f"c{i + 1}"))) for i in range(n - 1)]
    star = [Equality(((0, "c0"), (i, f"c{i}"))) for i in range(1, n)]
    for edges, expected in ((chain, (n**3 - n) // 6), (star, (n - 1) * 2 ** (n - 2))):
        graph = JoinGraph(nodes, edges)
        pairs = list(search._pairs(graph, graph.all))
        assert len({frozenset(pair) for pair in pairs}) == len(pairs) == expected


@pytest.mark.parametrize("size", [search.EXACT + 1, 60])
def test_many_relations_are_ordered_greedily(size: int):
    graph = random_graph(random.Random(size), size, ("", "one"))
    order, cost = best_order(graph)
    assert order.relations == graph.all
    assert cost == pytest.approx(cost_of(graph, order))
    chain = Order(1)
    for number in range(1, size):  # as written: each hangs together with an earlier one
        chain = Order(chain.relations | 1 << number, chain, Order(1 << number))
    assert cost <= cost_of(graph, chain)


def test_rows_do_not_depend_on_the_order():
    members = ((0, "a"), (1, "b"), (2, "c"))
    graph = JoinGraph(
        [relation(100, a=10), relation(1000, b=50), relation(30, c=30)],
        [Equality(members)],
        [Condition(Column("a"), 0b101, 0.5)],
    )
    # Of 100 · 1000 · 30 triples, those whose three values agree: 10 values of at most 50 and 30.
    assert graph.rows(0b111) == pytest.approx(100 * 1000 * 30 / (30 * 50) * 0.5)
    assert graph.rows(0b011) == pytest.approx(100 * 1000 / 50)


def test_what_lies_in_one_database_is_joined_there_first():
    # The small local table hangs together with both; joined in the database, few rows leave it.
    relations = [
        relation(2_000_000, "db", a=1000, k=2_000_000),
        relation(1000, "", b=1000),
        relation(100, "db", f=100),
    ]
    edges = [Equality(((0, "a"), (1, "b"))), Equality(((0, "k"), (2, "f")))]
    order, _ = best_order(JoinGraph(relations, edges))
    assert {order.left.relations, order.right.relations} == {0b101, 0b010}


# --- the rule ---------------------------------------------------------------------------------

ROWS = {"big": 1e6, "middle": 1e4, "small": 10.0}


def known(source: Source) -> TableStatistics:
    rows = ROWS[source.describe().split()[-1].removeprefix("db.").removeprefix("other.")]
    columns = {c: ColumnStatistics(distinct=rows) for c in source.schema.names if c.endswith("id")}
    return TableStatistics(Interval(rows, rows, 1.0), 0, 16.0, columns)


def facts() -> Facts:
    return Facts(known=known)


def scan(name: str, *columns: str) -> ops.Scan:
    schema = pa.schema([(column, INT64) for column in columns])
    return ops.Scan(source=ParquetSource(schema=schema, paths=(name,)))


def table(name: str, *columns: str, platform: str = "db") -> ops.Scan:
    schema = pa.schema([(column, INT64) for column in columns])
    source = RelationSource(schema=schema, platform=platform, relation=(name,))
    return ops.Scan(source=source)


BIG, MIDDLE, SMALL = (
    scan("big", "b_middle", "b_small", "v"),
    scan("middle", "m_id", "w"),
    scan("small", "s_id", "t"),
)


def join(left: ops.Operator, right: ops.Operator, *on: tuple[str, str], **more: Any) -> ops.Join:
    return ops.Join(left=left, right=right, on=on, **more)


def leaves(root: ops.Operator) -> list[str]:
    found = (op.source for op in ops.topological(root) if isinstance(op, ops.Scan))
    return [source.paths[0] for source in found if isinstance(source, ParquetSource)]


def less(left: str, right: str) -> Expression:
    return Call("less", (Column(left), Column(right)))


def through_the_big_one() -> ops.Operator:
    """Small and middle are linked by big only; small also by a filter of one row in ten."""
    few = ops.Filter(input=SMALL, predicate=Call("equal", (Column("s_id"), Literal(1, INT64))))
    both = join(BIG, MIDDLE, ("b_middle", "m_id"))
    return join(both, few, ("b_small", "s_id"))


def test_the_smaller_result_comes_first():
    plan = through_the_big_one()
    after = order_joins(plan, facts())
    assert after.schema.equals(plan.schema)
    joins = [op for op in ops.topological(after) if isinstance(op, ops.Join)]
    assert joins[0].on == (("b_small", "s_id"),)
    assert leaves(joins[0]) == ["big", "small"]
    assert order_joins(after, facts()).digest == after.digest  # nothing better is left


def test_equal_plans_give_equal_orders():
    first, second = (order_joins(through_the_big_one(), facts()) for _ in range(2))
    assert first.digest == second.digest


@pytest.mark.parametrize("how", ["left", "right", "full", "semi", "anti"])
def test_other_joins_end_a_tree(how: str):
    inner = join(BIG, MIDDLE, ("b_middle", "m_id"))
    plan = join(inner, SMALL, ("b_small", "s_id"), how=how)
    assert order_joins(plan, facts()) is plan


def test_what_may_fail_keeps_its_place():
    number = Cast(Cast(Column("v"), STRING, True), INT64, True)
    plan = through_the_big_one()
    inner = ops.Filter(input=plan.left, predicate=Call("equal", (number, Column("w"))))
    assert order_joins(plan.with_inputs((inner, plan.right)), facts()).digest == (
        plan.with_inputs((inner, plan.right)).digest
    )


def test_what_is_read_twice_is_not_taken_apart():
    plan = through_the_big_one()
    count = ops.Count(input=plan.left)
    both = ops.Join(left=plan, right=count, how="cross")
    after = order_joins(both, facts())
    inner = [op for op in ops.topological(after) if op == plan.left]
    assert len(inner) == 1  # still computed once, for both


def test_pinned_joins_are_ordered_among_themselves_only():
    plan = through_the_big_one()
    pinned = plan.with_inputs((plan.left.pinned("polars"), plan.right)).pinned("polars")
    after = order_joins(pinned, facts())
    joins = [op for op in ops.topological(after) if isinstance(op, ops.Join)]
    assert joins[0].on == (("b_small", "s_id"),)
    assert {op.pin for op in joins} == {"polars"}
    mixed = plan.with_inputs((plan.left.pinned("polars"), plan.right)).pinned("duckdb")
    assert order_joins(mixed, facts()).digest == mixed.digest


def test_a_database_orders_its_own_joins():
    big, middle = table("big", "b_middle", "b_small"), table("middle", "m_id")
    few = ops.Filter(
        input=table("small", "s_id"), predicate=Call("equal", (Column("s_id"), Literal(1, INT64)))
    )
    plan = join(join(big, middle, ("b_middle", "m_id")), few, ("b_small", "s_id"))
    assert order_joins(plan, facts()) is plan
    elsewhere = ops.rebuild(
        plan, lambda op: table("middle", "m_id", platform="other") if op == middle else op
    )
    assert order_joins(elsewhere, facts()).digest != elsewhere.digest


def test_equal_names_are_kept_apart():
    again = ops.Project(input=SMALL, columns=(("other", Column("s_id")), ("t", Column("t"))))
    first = ops.Project(
        input=join(BIG, SMALL, ("b_small", "s_id")), columns=(("k", Column("b_middle")),)
    )
    second = join(first, MIDDLE, ("k", "m_id"))
    plan = join(second, again, ("w", "other"))
    after = order_joins(plan, facts())
    assert after.schema.equals(plan.schema)


# --- equal answers ----------------------------------------------------------------------------


@st.composite
def frames(draw: st.DrawFn) -> list[pa.Table]:
    values = st.one_of(st.none(), st.integers(0, 3))
    made = []
    for number in range(draw(st.integers(3, 5))):
        rows = draw(st.integers(0, 6))
        made.append(
            pa.table(
                {
                    f"{name}{number}": pa.array(
                        draw(st.lists(values, min_size=rows, max_size=rows)), INT64
                    )
                    for name in "abc"
                }
            )
        )
    return made


@settings(max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(tables=frames(), data=st.data())
def test_any_order_gives_the_same_rows(tables: list[pa.Table], data: st.DataObject):
    """Random joins, filters and projections, in a random order, before and after."""
    session = ub.connect(progress=False)
    plan = session.from_arrow(tables[0]).plan
    for number, more in enumerate(tables[1:], start=1):
        names = plan.schema.names
        right = session.from_arrow(more).plan
        own = st.sampled_from(right.schema.names)
        match data.draw(st.sampled_from(["keys", "two keys", "residual", "cross", "left"])):
            case "keys" | "two keys" as kind:
                count = 1 if kind == "keys" else 2
                pairs = tuple(
                    (data.draw(st.sampled_from(names)), data.draw(own)) for _ in range(count)
                )
                plan = join(plan, right, *pairs)
            case "residual":
                key = (data.draw(st.sampled_from(names)), data.draw(own))
                condition = less(data.draw(st.sampled_from(names)), data.draw(own))
                plan = join(plan, right, key, residual=condition)
            case "cross":
                plan = ops.Join(left=plan, right=right, how="cross")
            case "left":
                plan = join(
                    plan, right, (data.draw(st.sampled_from(names)), data.draw(own)), how="left"
                )
        if data.draw(st.booleans()):
            two = [Column(data.draw(st.sampled_from(plan.schema.names))) for _ in range(2)]
            name = data.draw(st.sampled_from(["equal", "less"]))
            plan = ops.Filter(input=plan, predicate=Call(name, tuple(two)))
        if data.draw(st.booleans()):
            kept = data.draw(st.lists(st.sampled_from(plan.schema.names), min_size=1, unique=True))
            columns = tuple((f"{name}_{number}", Column(name)) for name in kept)
            plan = ops.Project(input=plan, columns=columns)
    after = order_joins(plan, gain=1e9, worth=0.0)  # any other order, however small its gain
    assert after.schema.names == plan.schema.names
    assert after.schema.types == plan.schema.types
    answers = []
    for each in (plan, after):
        pinned = ops.rebuild(each, lambda op: op.pinned("python"))
        answers.append(ub.DataFrame(pinned, session).collect().to_pylist())
    assert _bag(answers[0]) == _bag(answers[1])


def _bag(rows: list[dict[str, object]]) -> list[str]:
    return sorted(map(repr, rows))


def test_the_rule_is_one_of_those_that_run():
    session = ub.connect(progress=False)
    numbers = pa.table({"k": list(range(200_000)), "g": [i % 10 for i in range(200_000)]})
    facts = session.from_arrow(numbers)
    groups = session.from_arrow(pa.table({"h": list(range(10)), "m": [0] * 10}))
    few = session.from_arrow(pa.table({"f": [5]}))
    frame = facts.join(groups, left_on="g", right_on="h").join(few, left_on="k", right_on="f")
    heard: list[str] = []
    last = [frame.plan]

    def observe(rule: str, plan: ops.Operator) -> None:
        if plan != last[0]:
            heard.append(rule)
        last[0] = plan

    after = rewrite(frame.plan, observer=observe)
    assert "order_joins" in heard
    first = next(op for op in ops.topological(after) if isinstance(op, ops.Join))
    assert ("k", "f") in first.on
    assert frame.filter(col("m") == 0).collect().to_pylist() == [{"k": 5, "g": 5, "m": 0}]
