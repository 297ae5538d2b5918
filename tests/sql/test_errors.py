"""What SQL text that has no meaning says: the place, the line, what is wrong, what to do."""

from __future__ import annotations

import pyarrow as pa
import pytest
from sqlglot import expressions as exp

import umbel as ub
from umbel.plan.errors import PlanError
from umbel.sql.reading import SqlError
from umbel.sql.reading.syntax import Syntax, UnreadError


@pytest.fixture
def session() -> ub.Session:
    made = ub.connect(progress=False)
    made.register("orders", pa.table({"id": [1], "price": [1.5], "Day": ["x"], "tags": [["a"]]}))
    made.register("other", pa.table({"id": [1], "name": ["x"]}))
    return made


# Each: the text with ^ before the place that the error names, and what it must say.
CASES = [
    ("select ^prise from orders", "unknown column 'prise'", "did you mean 'price'"),
    ("select o.^prise from orders o", "unknown column 'prise'", "table 'o'"),
    ("select ^x.id from orders", "unknown table 'x'", "orders"),
    ("select * from ^ordres", "unknown table 'ordres'", "did you mean 'orders'"),
    ("select ^id from orders, other", "column 'id' is ambiguous", "qualify"),
    ("select ^frobnicate(id) from orders", "unknown function 'frobnicate'", "There are"),
    ("select ^uper(id) from orders", "unknown function 'uper'", "did you mean 'upper'"),
    ("select a b ^c from orders", "unexpected token 'c'", "dialect"),
    ("select id,\n  ^prise\nfrom orders", "unknown column 'prise' at line 2, column 3", "price"),
    ("select ^price from orders group by id", "neither a key of GROUP BY", "aggregate it"),
    ("select id from orders where ^sum(price) > 1", "an aggregate cannot stand in WHERE", "HAVING"),
    (
        "select id from orders where ^row_number() over () = 1",
        "a window function cannot stand in WHERE",
        "QUALIFY",
    ),
    ("select id from orders where ^price", "WHERE must be a boolean", "float64"),
    ("select id from orders order by ^3", "there is no output column 3", "there are 1"),
    ("select id from orders limit ^'x'", "'x' is no int64", ""),
    ("select ^id + 'x' from orders", "'x' is no int64", ""),
    (
        "select id from orders where id = date ^'2020-13-01'",
        "'2020-13-01' is no date",
        "'2020-12-31'",
    ),
    ("select ^(select id, name from other) from orders", "must give one column, not 2", ""),
    ("select id from orders where id in ^(select id, name from other)", "gives 2 columns", ""),
    ("select ^id from orders union select id, name from other", "1 and 2 columns", "as many"),
    ("select ^max(sum(price)) from orders", "cannot stand inside an aggregate", ""),
    ("select ^cast(id as blurb) from orders", "unknown type 'blurb'", "There are"),
    ("select ^current_date", "current date", "DATE '2020-12-31'"),
    ("select distinct id from orders order by ^price", "with DISTINCT", "select it too"),
    ('select ^"DAY" from orders', "unknown column 'DAY'", "Day"),
    ("select id from orders join other ^using (nothing)", "USING (nothing)", ""),
    ("with q as (select 1 as a) select ^b from q", "unknown column 'b'", "There are: a"),
    ("select sum(price) ^over w from orders", "unknown window 'w'", ""),
    ("select * exclude (^nope) from orders", "no column 'nope'", ""),
    ("select ^grouping(price) from orders group by rollup(id)", "GROUPING takes expressions", ""),
]


@pytest.mark.parametrize(("marked", "what", "hint"), CASES, ids=range(len(CASES)))
def test_an_error_says_what_and_where(
    session: ub.Session, marked: str, what: str, hint: str
) -> None:
    text = marked.replace("^", "")
    with pytest.raises(SqlError) as caught:
        session.sql(text)
    message = str(caught.value)
    assert what in message
    assert hint in message
    assert caught.value.line >= 1, message
    line = text.split("\n")[caught.value.line - 1]
    assert f"  | {line}\n  | {' ' * (caught.value.column - 1)}^" in message


@pytest.mark.parametrize(
    "marked",
    [case[0] for case in CASES[:3]] + [CASES[7][0], CASES[8][0], CASES[9][0]],
)
def test_the_caret_stands_below_the_offender(session: ub.Session, marked: str) -> None:
    text = marked.replace("^", "")
    with pytest.raises(SqlError) as caught:
        session.sql(text)
    at = marked.index("^")
    line = text.count("\n", 0, at) + 1
    assert caught.value.line == line
    # A qualified name is pointed at from its first part on.
    assert caught.value.column <= at - (text.rfind("\n", 0, at) + 1) + 1


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no statement"),
        ("-- only a comment", "no statement"),
        ("select 1; select 2", "2 statements"),
        ("delete from orders", "DELETE is not supported"),
        ("drop table orders", "not supported"),
        ("pragma foo", "not supported"),
        ("select 'a", "words"),
        ("select (1", "expecting"),
        ("create table x as select 1", "does not say where"),
        ("copy orders from 'x.csv'", "COPY ... FROM"),
        ("copy (select 1) to 'x.xyz'", "unknown format of COPY 'xyz'"),
        ("copy (select 1) to 'x.csv' (format csv, delimiter ';')", "unknown option of COPY"),
        ("select * from orders tablesample (10 percent)", "with sample is not supported"),
        ("select id from orders for update", "with locks is not supported"),
        ("select sum(price) over (order by id groups 1 preceding) from orders", "GROUPS"),
        (
            "select sum(price) over (order by id rows 1 preceding exclude ties) from orders",
            "with exclude is not supported",
        ),
        ("select * from orders asof join other on orders.id >= other.id", "ASOF"),
        ("select * from orders a, orders b right join orders c on a.id = c.id", "before the comma"),
        ("select * from a.b.c.d", "unknown namespace 'a'"),
        ("select " + "(" * 400 + "1" + ")" * 400, "deep"),
    ],
)
def test_what_cannot_be_done_is_refused(session: ub.Session, text: str, what: str) -> None:
    with pytest.raises(PlanError) as caught:
        session.sql(text)
    assert what.lower() in str(caught.value).lower()


def test_an_unknown_dialect_is_refused(session: ub.Session) -> None:
    with pytest.raises(PlanError, match="did you mean 'postgres'"):
        session.sql("select 1", dialect="postgre")


def test_a_part_of_a_node_that_nothing_reads_is_an_error() -> None:
    node = exp.Like(this=exp.column("a"), expression=exp.Literal.string("x"), negate=True)
    syntax = Syntax(node)
    assert syntax["this"].name == "a"
    assert syntax["expression"].name == "x"
    with pytest.raises(UnreadError) as caught:
        syntax.finish()
    assert caught.value.keys == ["negate"]


def test_a_scalar_subquery_with_two_rows_fails_the_run(session: ub.Session) -> None:
    session.register("two", pa.table({"id": [1, 1], "k": [5, 6]}))
    for text in (
        "select (select k from two) from orders",
        "select (select k from two where two.id = orders.id) from orders",
        "select (select k from two where two.id >= orders.id) from orders",
    ):
        frame = session.sql(text)
        with pytest.raises(ub.UmbelError):
            frame.collect()
    kept = session.sql("select (select k from two where two.id > orders.id) as k from orders")
    assert kept.collect().to_pydict() == {"k": [None]}


def test_names_match_as_documented(session: ub.Session) -> None:
    both = session.sql('select ORDERS.ID, day, "Day" as d from Orders')
    assert both.collect().column_names == ["id", "Day", "d"]
    session.register("twins", pa.table({"a": [1], "A": [2]}))
    assert session.sql('select a, "A" as b from twins').collect().to_pylist() == [{"a": 1, "b": 2}]


def test_a_frame_is_a_table_and_a_plan_like_others(session: ub.Session) -> None:
    written = session.sql("select id, price from orders where price > 1")
    built = session.registered["orders"].filter(ub.col("price") > 1).select("id", "price")
    assert written.filter(ub.col("id") == 1).collect() == built.collect()
    with pytest.raises(PlanError, match="Dataset"):
        session.register("d", session.from_items([1, 2]))
