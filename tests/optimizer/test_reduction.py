"""Semi-join reduction: keys go to the database where that is cheaper, and answers stay equal."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pytest

import umbel as ub
from tests.optimizer.fakes import FakePlatform, conversion
from umbel.catalog.statistics import ColumnStatistics, Interval, TableStatistics
from umbel.optimizer import optimize
from umbel.optimizer.cardinality import Estimator
from umbel.optimizer.reduction import Reduction, reduce_sides, reductions
from umbel.plan import operators as ops
from umbel.plan.expressions import Column
from umbel.plan.sources import AttachedSource, MemorySource, RelationSource, Source
from umbel.plan.types import INT64
from umbel.platforms.base import ARROW
from umbel.platforms.costs import CostProfile, Linear
from umbel.platforms.registry import Registry

#: Seconds for each byte that leaves the database, and for each that is sent to it.
FETCH, SEND = 1e-7, 1e-6
#: Of the database's table, 16 bytes each.
ROWS = 1e6


@dataclass(frozen=True)
class Database(FakePlatform):
    """Scans its own tables only."""

    def refuse(self, operator: ops.Operator) -> str | None:
        if isinstance(operator, ops.Scan) and not isinstance(operator.source, AttachedSource):
            return "not a table of mine"
        return super().refuse(operator)


@dataclass(frozen=True)
class Local(FakePlatform):
    """Scans no tables of databases."""

    def refuse(self, operator: ops.Operator) -> str | None:
        if isinstance(operator, ops.Scan) and isinstance(operator.source, AttachedSource):
            return "a table of a database"
        return super().refuse(operator)


class Known(Registry):
    """Knows the rows of the database's table."""

    def statistics(self, source: Source) -> TableStatistics:
        if not isinstance(source, AttachedSource):
            return super().statistics(source)
        columns = {"k": ColumnStatistics(distinct=ROWS)}
        return TableStatistics(Interval(ROWS, ROWS, 1.0), 0, 16.0, columns)


def platforms(send: float = SEND) -> Known:
    work = {"Join": Linear(per_row=1e-8), "Distinct": Linear(per_row=1e-8)}
    costs = CostProfile(
        operators=work, read={ARROW: Linear(per_byte=send)}, write={ARROW: Linear(per_byte=FETCH)}
    )
    database = Database("db", costs=costs, conversions=(conversion("x", ARROW, 0.0),))
    return Known(database, Local("local", costs=CostProfile(operators=work)))


TABLE = ops.Scan(
    source=RelationSource(
        schema=pa.schema([("k", INT64), ("v", INT64)]), platform="db", relation=("t",)
    )
)


def values(count: int) -> ops.Scan:
    table = pa.table({"n": list(range(count)), "w": list(range(count))})
    return ops.Scan(source=MemorySource(schema=table.schema, token=f"{count}", data=table))


def join(count: int, how: str = "inner") -> ops.Join:
    return ops.Join(left=TABLE, right=values(count), how=how, on=(("k", "n"),))  # type: ignore[arg-type]


def semi_joins(root: ops.Operator) -> list[ops.Join]:
    return [op for op in ops.topological(root) if isinstance(op, ops.Join) and op.how == "semi"]


def test_few_keys_are_sent_to_the_database():
    known = platforms()
    plan = optimize(join(10), known)
    (semi,) = semi_joins(plan.rewritten)
    assert semi.left.digest == TABLE.digest
    stage = next(s for s in plan.stages if semi.digest in {o.operator.digest for o in s.operators})
    assert stage.platform.name == "db"
    # The table's 16 MB would take 1.6 s.
    assert plan.cost.seconds < 0.1


def test_keys_that_cost_more_to_send_than_they_save_are_not():
    # 100,000 keys of 8 bytes: 2.4 s to send, against 1.6 s to fetch the whole table.
    assert semi_joins(optimize(join(100_000), platforms(3e-6)).rewritten) == []
    assert semi_joins(optimize(join(100_000), platforms(1e-9)).rewritten) != []


@pytest.mark.parametrize("how", ["left", "anti", "full"])
def test_a_side_that_keeps_its_rows_is_not_reduced(how: str):
    known = platforms()
    assert reductions(join(10, how), Estimator(known=known.statistics)) == []


def test_a_pinned_join_and_a_shared_side_stay():
    known = platforms()
    estimator = Estimator(known=known.statistics)
    assert reductions(join(10).pinned("local"), estimator) == []
    both = ops.Union(
        members=(
            ops.Project(input=join(10), columns=(("k", Column("k")),)),
            ops.Project(input=TABLE, columns=(("k", Column("k")),)),
        )
    )
    assert reductions(both, estimator) == []


def test_a_reduction_does_not_change_what_is_reckoned_of_the_join():
    known = platforms()
    estimator = Estimator(known=known.statistics)
    plain = join(10)
    reduced = reduce_sides(plain, reductions(plain, estimator))
    assert reduced.digest != plain.digest
    assert estimator(reduced).expected == pytest.approx(estimator(plain).expected)
    # Of a million rows with different keys, those with 10 of them.
    rows = estimator(semi_joins(reduced)[0]).rows
    assert rows.low <= 10 <= rows.high


LEFT = pa.table({"a": [1, 2, 2, None, 5], "b": [1, 1, 2, 2, 3], "x": [1, 2, 3, 4, 5]})
RIGHT = pa.table({"c": [2, 2, None, 5, 7], "d": [1, 2, 2, 3, 1], "y": [1, 2, 3, 4, 5]})


@pytest.mark.parametrize("engine", ["python", "polars", "duckdb"])
@pytest.mark.parametrize(
    ("how", "side"),
    [("inner", "left"), ("inner", "right"), ("left", "right"), ("right", "left"),
     ("semi", "right"), ("anti", "right")],
)  # fmt: skip
def test_answers_are_equal(engine: str, how: str, side: str):
    session = ub.connect(progress=False)
    left, right = session.from_arrow(LEFT).plan, session.from_arrow(RIGHT).plan
    on = (("a", "c"), ("b", "d"))
    plain = ops.Join(left=left, right=right, how=how, on=on)  # type: ignore[arg-type]
    reduced = reduce_sides(plain, [Reduction(plain.digest, side, 1.0)])
    assert semi_joins(reduced)
    answers = [
        sorted(map(repr, ub.DataFrame(_pinned(plan, engine), session).collect().to_pylist()))
        for plan in (plain, reduced)
    ]
    assert answers[0] == answers[1]


def _pinned(plan: ops.Operator, engine: str) -> ops.Operator:
    return ops.rebuild(plan, lambda op: op.pinned(engine))
