"""Databases are asked for their estimates where ours are weak, and their tables take part in all plans."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pyarrow as pa
import pytest

from tests.optimizer.fakes import conversion
from tests.optimizer.test_reduction import FETCH, Database, Local, values
from umbel.catalog.statistics import ColumnStatistics, Interval, TableStatistics
from umbel.optimizer import explain, optimize, probes
from umbel.optimizer.facts import Facts
from umbel.optimizer.rewrite.order_joins import order_joins
from umbel.plan import operators as ops
from umbel.plan.errors import RunError
from umbel.plan.expressions import Call, Column, Literal
from umbel.plan.sources import AttachedSource, RelationSource, Source
from umbel.plan.types import INT64, STRING
from umbel.platforms.base import ARROW
from umbel.platforms.costs import CostProfile, Linear
from umbel.platforms.registry import Registry

ROWS = 1e6
THREE = Interval(3, 3, 0.6)


@dataclass(frozen=True)
class Asked(Database):
    """A database that says three rows come, and remembers what it was asked."""

    questions: list[str] = field(default_factory=list, compare=False)
    answer: Interval | None = THREE
    error: bool = False

    def estimate(self, operator: ops.Operator) -> Interval | None:
        self.questions.append(operator.name)
        if self.error:
            raise RunError("canceling statement due to statement timeout")
        return self.answer


class Known(Registry):
    """Knows the rows of tables."""

    def statistics(self, source: Source) -> TableStatistics:
        if not isinstance(source, AttachedSource):
            return super().statistics(source)
        columns = {"k": ColumnStatistics(distinct=ROWS)}
        return TableStatistics(Interval(ROWS, ROWS, 0.9), 0, 60.0, columns)


def database(**more: object) -> Asked:
    costs = CostProfile(write={ARROW: Linear(per_byte=FETCH)})
    return replace(
        Asked("db", costs=costs, conversions=(conversion("x", ARROW, 0.0),)),
        questions=[], **more,  # type: ignore[arg-type]
    )  # fmt: skip


def registry(db: Asked) -> Known:
    return Known(db, Local("local"))


def table(name: str = "t", key: str = "k") -> ops.Scan:
    schema = pa.schema([(key, INT64), (f"text_{name}", STRING)])
    return ops.Scan(source=RelationSource(schema=schema, platform="db", relation=(name,)))


def starting(rows: ops.Scan) -> ops.Operator:
    """Of which rows start with an x only the database has an idea."""
    text = Call("starts_with", (Column(rows.schema.names[1]), Literal("x", STRING)))
    return replace(rows, predicate=text)


def joined(rows: ops.Operator) -> ops.Join:
    return ops.Join(left=rows, right=values(10), on=(("k", "n"),))


def test_a_database_is_asked_about_rows_that_leave_it() -> None:
    db = database()
    plan = optimize(joined(starting(table())), registry(db))
    assert db.questions == ["Scan"]
    scan = next(op for op in ops.topological(plan.rewritten) if not op.inputs)
    known = plan.estimates[id(scan)]
    assert (known.rows.low, known.rows.high, known.by) == (3, 3, "db")
    assert "3 rows, says db" in explain(joined(starting(table())), registry(db)).text()


@pytest.mark.parametrize(
    "plan",
    [
        joined(table()),  # of a whole table there are statistics
        starting(table()),  # no rows move but the result's
        joined(replace(table(), predicate=Call("equal", (Column("k"), Literal(1, INT64))))),  # few
    ],
    ids=["whole", "alone", "few"],
)
def test_it_is_not_asked_in_vain(plan: ops.Operator) -> None:
    db = database()
    optimize(plan, registry(db))
    assert db.questions == []


def test_a_database_that_takes_too_long_is_not_asked_again() -> None:
    db = database(error=True)
    both = ops.Union(
        members=tuple(
            ops.Project(input=joined(starting(table(name))), columns=(("k", Column("k")),))
            for name in ("t", "u")
        )
    )
    plan = optimize(both, registry(db))
    assert db.questions == ["Scan"]
    assert all(not estimate.by for estimate in plan.estimates.values())


def test_only_so_many_questions_are_asked() -> None:
    db = database(answer=None)
    members = [
        ops.Project(input=joined(starting(table(f"t{i}"))), columns=(("k", Column("k")),))
        for i in range(probes.MOST_ASKED + 3)
    ]
    optimize(ops.Union(members=tuple(members)), registry(db))
    assert len(db.questions) == probes.MOST_ASKED


# --- the order of joins -----------------------------------------------------------------------


def first_join(root: ops.Operator) -> ops.Join:
    return next(op for op in ops.topological(root) if isinstance(op, ops.Join))


def test_counted_rows_order_joins() -> None:
    """What an earlier run counted decides which join comes first."""
    left, right = starting(table("one", "a")), starting(table("two", "b"))
    middle = values(100_000)
    plan = ops.Join(
        left=ops.Join(left=middle, right=left, on=(("n", "a"),)), right=right, on=(("w", "b"),)
    )
    known = Known(database(), Local("local"))
    for few, other in ((left, right), (right, left)):
        counted = {few.digest: 2.0, other.digest: 900_000.0}
        after = order_joins(plan, Facts.of(known, counted), gain=1.0, worth=0.0)
        below = {op.digest for op in ops.topological(first_join(after))}
        assert few.digest in below
        assert other.digest not in below


def test_a_database_says_which_join_comes_first() -> None:
    db = database()
    facts = Facts.of(registry(db))
    left, right = starting(table("one", "a")), table("two", "b")
    plan = ops.Join(
        left=ops.Join(left=values(100_000), right=right, on=(("w", "b"),)),
        right=left,
        on=(("n", "a"),),
    )
    after = order_joins(plan, facts, gain=1.0, worth=0.0)
    assert left.digest in {op.digest for op in ops.topological(first_join(after))}
    assert facts.estimate(left).by == "db"


# --- what else was considered -----------------------------------------------------------------


def test_what_lost_is_planned_with_the_databases_that_hold_the_tables() -> None:
    other = Local("other", costs=CostProfile(start=5.0), up=False)
    found = explain(joined(table()), Known(database(), Local("local"), other))
    tried = {alternative.platforms: alternative.seconds for alternative in found.alternatives}
    assert tried.keys() == {("db",), ("db", "other")}
    assert tried["db",] is None  # it reads no tables in memory
    assert tried["db", "other"] is not None
    assert tried["db", "other"] > 5.0
