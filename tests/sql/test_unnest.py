"""UNNEST of several lists side by side, as PostgreSQL has it; DuckDB, the oracle, has it not."""

from __future__ import annotations

import pyarrow as pa
import pytest

import umbel as ub
from umbel.platforms.registry import Registry
from umbel.sql.reading import SqlError

LISTS = pa.table(
    {
        "i": [1, 2, 3, 4],
        "a": pa.array([[1, 2], [3], [], None], pa.list_(pa.int64())),
        "b": pa.array([["x"], ["y", "z", None], None, ["q"]], pa.list_(pa.string())),
    }
)
SIDE_BY_SIDE = [
    (1, 1, "x"),
    (1, 2, None),
    (2, 3, "y"),
    (2, None, "z"),
    (2, None, None),
    (4, None, "q"),
]


@pytest.fixture(params=["python", "polars", "duckdb"])
def session(request: pytest.FixtureRequest) -> ub.Session:
    made = ub.Session(platforms=Registry.discover().only(request.param), progress=False)
    made.register("n", LISTS)
    return made


def rows(session: ub.Session, text: str) -> list[tuple[object, ...]]:
    found = [tuple(row.values()) for row in session.sql(text).collect().to_pylist()]
    return sorted(found, key=str)


def test_the_shorter_list_is_filled_up_with_nulls(session: ub.Session) -> None:
    expected = sorted(SIDE_BY_SIDE, key=str)
    assert rows(session, "select i, x, y from n, unnest(a, b) as q(x, y)") == expected
    assert rows(session, "select i, unnest(a) as x, unnest(b) as y from n") == expected


def test_a_left_join_keeps_rows_whose_lists_are_empty(session: ub.Session) -> None:
    found = rows(session, "select i, x, y from n left join unnest(a, b) as q(x, y) on true")
    assert found == sorted([*SIDE_BY_SIDE, (3, None, None)], key=str)


def test_ordinality_counts_from_one(session: ub.Session) -> None:
    text = "select i, x, y, k from n, unnest(a, b) with ordinality as q(x, y, k) where i < 3"
    numbered = [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
    assert [(row[0], row[3]) for row in rows(session, f"{text} order by i, k")] == numbered


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("select unnest(i) from n", "UNNEST takes a list"),
        ("select unnest(a) + 1 from n", "alone in the SELECT list"),
        ("select i from n where unnest(a) = 1", "alone in the SELECT list"),
        ("select sum(unnest(a)) from n", "alone in the SELECT list"),
        ("select unnest(a), count(*) from n group by a", "do not go together"),
        ("select unnest(list(i)) from n", "no aggregate"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    session = ub.connect(progress=False)
    session.register("n", LISTS)
    with pytest.raises(SqlError, match=says):
        session.sql(text)
