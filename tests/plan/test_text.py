"""Plans as indented text."""

from __future__ import annotations

import pyarrow as pa

from umbel.plan.expressions import Column, Literal
from umbel.plan.operators import (
    Distinct,
    DoWhile,
    Filter,
    Join,
    Limit,
    Operator,
    Placeholder,
    Project,
    Union,
    Values,
)
from umbel.plan.text import plan_to_text

VALUES = Values(table=pa.table({"a": [1, 2], "b": [True, False]}))


def test_one_operator_a_line_inputs_below_and_in_order() -> None:
    right = Values(table=pa.table({"c": [1]}))
    plan = Join(
        left=Filter(input=VALUES, predicate=Column("b"), pin="duckdb"),
        right=right,
        on=(("a", "c"),),
    )
    assert plan_to_text(plan) == (
        "Join: inner on a = c\n  Filter: b on duckdb\n    Values: 2 rows\n  Values: 1 rows"
    )


def test_shared_operators_are_shown_once_with_what_is_below_them() -> None:
    shared = Distinct(input=VALUES)
    twice = Union(members=(Limit(input=shared, count=1), shared, Limit(input=VALUES, count=2)))
    assert plan_to_text(twice) == (
        "Union: all\n"
        "  Limit: 1 from 0\n"
        "    #1 Distinct\n"
        "      #2 Values: 2 rows\n"
        "  (#1 Distinct)\n"
        "  Limit: 2 from 0\n"
        "    (#2 Values)"
    )


def test_loops_show_their_bodies() -> None:
    start = Placeholder(label="x", columns=VALUES.schema)
    condition = Project(
        input=Limit(input=start, count=1), columns=(("value", Literal(False, pa.bool_())),)
    )
    loop = DoWhile(
        initial=VALUES, body=Distinct(input=start), condition=condition, labels=("x",), limit=5
    )
    assert plan_to_text(loop) == (
        "DoWhile: about 10 times, at most 5\n"
        "  body:\n"
        "    Distinct\n"
        "      Placeholder: x\n"
        "  condition:\n"
        "    Project: value = False\n"
        "      Limit: 1 from 0\n"
        "        Placeholder: x\n"
        "  Values: 2 rows"
    )


def test_notes_stand_behind_the_operators_they_are_about() -> None:
    def rows(operator: Operator) -> str:
        return "2 rows" if isinstance(operator, Values) else ""

    assert plan_to_text(Distinct(input=VALUES), rows) == "Distinct\n  Values: 2 rows  [2 rows]"


def test_long_chains_and_long_lines_are_shown() -> None:
    plan: Operator = VALUES
    for _ in range(3000):
        plan = Limit(input=plan, count=1)
    assert plan_to_text(plan).count("\n") == 3000
    wide = Project(input=VALUES, columns=tuple((f"column_{i}", Column("a")) for i in range(100)))
    first = plan_to_text(wide).split("\n")[0]
    assert len(first) == len("Project: ") + 200
    assert first.endswith("…")
