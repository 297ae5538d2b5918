"""Groups that a join does not ask for are not made, where nothing shows that."""

from __future__ import annotations

import pyarrow as pa
import pytest

import umbel as ub
from umbel.optimizer import rewrite
from umbel.plan.operators import Aggregate, Join, topological

ROWS, KEYS = 60_000, 20_000


@pytest.fixture(scope="module")
def session() -> ub.Session:
    made = ub.connect(progress=False)
    lines = pa.table({"k": [i % KEYS for i in range(ROWS)], "v": list(range(ROWS))})
    parts = pa.table({"p": list(range(KEYS)), "kind": [i % 100 for i in range(KEYS)]})
    made.register("lines", made.from_arrow(lines))
    made.register("parts", made.from_arrow(parts))
    return made


CORRELATED = """
    select p, v from lines join parts on k = p
    where kind = 7 and v > (select {what} from lines as inside where inside.k = p)
"""


def below_groups(frame: ub.DataFrame) -> list[str]:
    """How the joins below the aggregates of the rewritten plan are."""
    groups = [op for op in topological(rewrite(frame.plan)) if isinstance(op, Aggregate)]
    return [op.how for group in groups for op in topological(group) if isinstance(op, Join)]


def test_groups_of_a_correlated_subquery_are_those_asked_for(session: ub.Session) -> None:
    frame = session.sql(CORRELATED.format(what="avg(v)"))
    assert below_groups(frame) == ["semi"]
    # Each key has three rows, 20,000 apart: two are not above, one is above their mean.
    wanted = {(p, p + 2 * KEYS) for p in range(7, KEYS, 100)}
    assert {(row["p"], row["v"]) for row in frame.collect().to_pylist()} == wanted


def test_through_the_join_below_the_groups(session: ub.Session) -> None:
    text = """
        select p, v from lines join parts on k = p where kind = 7 and v =
        (select max(b.v) from lines as a join lines as b on a.v = b.v where a.k = p)
    """
    frame = session.sql(text)
    assert "semi" in below_groups(frame)
    assert frame.collect().num_rows == KEYS // 100


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        ("what may fail for rows of other groups", CORRELATED.format(what="sum(v * v * v * v * v)")),
        ("most keys are asked for", CORRELATED.format(what="avg(v)").replace("kind = 7", "kind >= 7")),
        ("the join is not by the key", "select p from parts left join (select k, count(*) as n from lines group by k) on n = p where kind = 7"),
    ],
)  # fmt: skip
def test_other_groups_stay(session: ub.Session, kept: str, text: str) -> None:
    assert "semi" not in below_groups(session.sql(text)), kept


def test_groups_that_others_read_stay(session: ub.Session) -> None:
    frame = session.sql("""
        with g as (select k, avg(v) as mean from lines group by k)
        select p from parts join g on k = p where kind = 7
        union all select k from g where mean > 59000
    """)
    assert "semi" not in below_groups(frame)
