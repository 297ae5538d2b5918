"""What a client of Flight SQL gets for its statements, by the ADBC driver that tools use."""

from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pyarrow as pa
import pytest

import umbel as ub
from tests.door.conftest import Ask
from umbel.door.server import Door

NOON = datetime.datetime(2024, 2, 29, 12, 0, 0, 123456)
#: A column of each type that a plan knows, with a null in each.
TYPES = pa.table(
    {
        "bool": pa.array([True, None]),
        "int8": pa.array([-128, None], pa.int8()),
        "int64": pa.array([2**62, None]),
        "uint64": pa.array([2**64 - 1, None], pa.uint64()),
        "float32": pa.array([0.5, None], pa.float32()),
        "float64": pa.array([float("nan"), None]),
        "decimal": pa.array([Decimal("-12345678901234567890.123"), None], pa.decimal128(38, 3)),
        "string": pa.array(["å\n'\"", None]),
        "binary": pa.array([b"\x00\xff", None]),
        "date": pa.array([NOON.date(), None]),
        "time": pa.array([NOON.time(), None], pa.time64("us")),
        "timestamp": pa.array([NOON, None], pa.timestamp("us")),
        "zoned": pa.array([NOON, None], pa.timestamp("us", "America/St_Johns")),
        "nanos": pa.array([1000, None], pa.timestamp("ns")),
        "duration": pa.array([datetime.timedelta(days=-1, microseconds=1), None]),
        "list": pa.array([[1, None], None], pa.list_(pa.int64())),
        "struct": pa.array([{"a": 1, "b": ["x"]}, None]),
    }
)


def test_types_come_as_they_are(session: ub.Session, ask: Ask) -> None:
    session.register("types", TYPES)
    made = ask("select * from types")
    assert made.schema == session.sql("select * from types").schema
    assert made.schema.types == TYPES.schema.types
    left, right = made.to_pylist(), TYPES.to_pylist()
    assert str(left[0].pop("float64")) == str(right[0].pop("float64")) == "nan"
    assert left == right


def test_one_statement_joins_two_databases_and_a_frame(ask: Ask) -> None:
    made = ask(
        """select o.customer, i.price, l.s from shop.orders o
           join ware.stock.items i on i.id = o.id
           join letters l on l.n = o.id"""
    )
    assert made.to_pylist() == [{"customer": "ann", "price": Decimal("2.50"), "s": "x"}]


def test_no_rows_have_columns(ask: Ask) -> None:
    made = ask("select id, customer from shop.orders where id > 5")
    assert made.schema == pa.schema({"id": pa.int64(), "customer": pa.string()})
    assert made.num_rows == 0


def test_order_is_kept_over_many_batches(session: ub.Session, ask: Ask) -> None:
    session.register("numbers", pa.table({"i": range(300_000)}))
    made = ask("select i, 'padding of some length' as p from numbers order by i desc")
    assert made["i"].to_pylist() == list(range(299_999, -1, -1))
    assert made["p"].num_chunks > 1


def test_parameters(ask: Ask) -> None:
    assert ask("select id from shop.orders where customer = ?", ["bo"]).to_pydict() == {"id": [2]}
    injected = "bo' or 'a' = 'a"
    assert ask("select id from shop.orders where customer = ?", [injected]).num_rows == 0
    made = ask("select id from shop.orders where id > ? order by id limit ?", [0, 2])
    assert made.to_pydict() == {"id": [1, 2]}
    typed = ask("select ? as t, ? as d", [NOON, Decimal("1.5")])
    assert typed.to_pylist() == [{"t": NOON, "d": Decimal("1.5")}]


def test_a_prepared_statement_says_its_parameters_and_runs_again(connection: Any) -> None:
    with connection.cursor() as cursor:
        schema = cursor.adbc_prepare("select n + ? as m from letters where s = ?")
        assert len(schema) == 2
        for value, expected in ((1, 2), (10, 11)):
            cursor.execute("select n + ? as m from letters where s = ?", [value, "x"])
            assert cursor.fetchall() == [(expected,)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "select n,\n  prise from letters",
            "unknown column 'prise' at line 2, column 3\n  |   prise from letters\n  |   ^",
        ),
        ("select from where", "line 1"),
        ("select 1; select 2", "2 statements"),
        ("select * from nowhere.t", "unknown namespace 'nowhere'"),
        ("drop table shop.orders", "not supported"),
        ("begin transaction", "not supported"),
        ("select cast(s as int) from letters", "cannot cast 'x' to int32"),
        ("select n from letters where n = ?", "1 parameters, and none is bound"),
        ("select 9223372036854775807 + n from letters", "does not fit into int64"),
    ],
)
def test_an_error_says_what_and_where_without_a_stack_trace(ask: Ask, text: str, says: str) -> None:
    with pytest.raises(adbc_driver_manager.Error) as caught:
        ask(text)
    assert says in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert ".py" not in str(caught.value)


def test_what_went_wrong_inside_stays_inside(
    session: ub.Session, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def broken(self: Any, name: str) -> None:
        raise ZeroDivisionError("the password is hunter2")

    monkeypatch.setattr(type(session.catalog), "source", broken)
    with pytest.raises(adbc_driver_manager.Error, match=r"internal error [0-9a-f]{8}") as caught:
        ask("select * from shop.orders")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" in caplog.text


def test_a_long_message_is_cut_to_what_the_wire_takes(ask: Ask) -> None:
    with pytest.raises(adbc_driver_manager.Error, match="unknown column 'ééé"):
        ask(f'select "{"é" * 20_000}" from letters')


def test_files_of_the_server_are_not_read_by_name(folder: Any, ask: Ask) -> None:
    secret = folder / "secret.csv"
    secret.write_text("a\n1\n")
    for text in (
        f"select * from '{secret}'",
        f"select * from read_csv('{secret}')",
        "select * from read_parquet(['http://127.0.0.1:9/x.parquet'])",
        f"copy (select 1 as a) to '{folder}/out.csv'",
    ):
        with pytest.raises(adbc_driver_manager.Error, match="by name here"):
            ask(text)
    assert not (folder / "out.csv").exists()


def test_many_clients_at_once(door: Door) -> None:
    def work(number: int) -> int:
        with adbc.connect(door.url, autocommit=True) as connection, connection.cursor() as cursor:
            total = 0
            for step in range(5):
                cursor.execute("select sum(id) + ? from shop.orders", [number * step])
                ((value,),) = cursor.fetchall()
                total += value
            return total

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [30 + 10 * number for number in range(4)]
    assert door.running == 0


def test_transactions_and_ingestion_are_refused(connection: Any) -> None:
    with pytest.raises(adbc_driver_manager.NotSupportedError, match="transaction"):
        connection.adbc_connection.set_autocommit(False)
    with (
        connection.cursor() as cursor,
        pytest.raises(adbc_driver_manager.Error, match="INSERT INTO"),
    ):
        cursor.adbc_ingest("t", pa.table({"a": [1]}))
