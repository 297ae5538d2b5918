"""Parameters of SQL: values become constants of the plan, and never text."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

import umbel as ub
from umbel.sql.reading import SqlError, count_parameters

DAYS = [datetime.date(2020, 1, day) for day in (1, 2, 3)]


@pytest.fixture
def session() -> ub.Session:
    made = ub.connect()
    made.register("t", made.from_dict({"a": [1, 2, 3], "day": DAYS, "name": ["x", "y'", "?"]}))
    return made


@pytest.mark.parametrize("dialect", ["duckdb", "postgres", "spark"])
def test_marks_count_in_the_order_of_the_text(session: ub.Session, dialect: str) -> None:
    text = "select a + ? as b from t where day >= ? and a in (?, ?) order by a limit ?"
    values = [10, DAYS[1], 2, 3, 1]
    made = session.sql(text, dialect=dialect, parameters=values).collect()
    assert made.to_pydict() == {"b": [12]}
    assert count_parameters(text, dialect) == 5


def test_from_may_stand_first(session: ub.Session) -> None:
    made = session.sql("from t select a + ? as b where a = ?", parameters=[10, 3]).collect()
    assert made.to_pydict() == {"b": [13]}


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_numbered_ones_may_repeat(session: ub.Session, dialect: str) -> None:
    frame = session.sql("select $2 - $1 + $2 as x", dialect=dialect, parameters=[1, 5])
    assert frame.collect().to_pydict() == {"x": [9]}


def test_values_keep_their_types(session: ub.Session) -> None:
    values = {
        "i": 2**40,
        "f": 0.1,
        "d": pa.scalar(Decimal("1.50"), pa.decimal128(5, 2)),
        "t": datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.UTC),
        "s": "it's; drop table t --",
        "b": b"\x00'",
        "n": None,
        "l": [1, None],
    }
    text = "select " + ", ".join(f"? as {name}" for name in values)
    row = session.sql(text, parameters=list(values.values())).collect()
    expected = {k: v.as_py() if isinstance(v, pa.Scalar) else v for k, v in values.items()}
    assert row.to_pylist() == [expected]
    assert row.schema.field("d").type == pa.decimal128(5, 2)


def test_text_takes_the_type_of_what_it_meets(session: ub.Session) -> None:
    made = session.sql("select a from t where day = ?", parameters=["2020-01-02"]).collect()
    assert made.to_pydict() == {"a": [2]}


def test_quotes_and_question_marks_in_values_and_text(session: ub.Session) -> None:
    made = session.sql("select a from t where name in (?, '?') -- ?", parameters=["y'"]).collect()
    assert sorted(made["a"].to_pylist()) == [2, 3]


@pytest.mark.parametrize(
    ("text", "values", "says"),
    [
        ("select ?", [], "has 1 parameters, but 0 values"),
        ("select 1", [1], "has 0 parameters, but 1 values"),
        ("select $name", [1], "has a name"),
        ("select $0", [1], "no parameter \\$0"),
        ("select $99999999999999999999", [1], "no parameter"),
        ("select * from ?", ["t"], "cannot be a name"),
        ("select 1 as ?", ["t"], "parameter|unexpected"),
        ("select cast(a as decimal(?, 2)) from t", [9], "cannot stand there|parameter"),
        ("select a from t limit ?", [-1], "not negative"),
    ],
)
def test_what_is_refused(session: ub.Session, text: str, values: list[object], says: str) -> None:
    with pytest.raises(SqlError, match=says):
        session.sql(text, parameters=values)
