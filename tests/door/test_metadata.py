"""What tools ask to show a tree of catalogs, schemas and tables, and what they can do with it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from umbel.door.messages import make, pack
from umbel.door.metadata import SCHEMAS
from umbel.door.server import Door


def tree(connection: Any, **filters: Any) -> dict[str, dict[str, list[str]]]:
    found = connection.adbc_get_objects(depth="tables", **filters).read_all().to_pylist()
    return {
        catalog["catalog_name"]: {
            schema["db_schema_name"]: [t["table_name"] for t in schema["db_schema_tables"]]
            for schema in catalog["catalog_db_schemas"]
        }
        for catalog in found
    }


def test_the_tree_of_tables(connection: Any) -> None:
    found = tree(connection)
    assert found["shop"] == {"main": ["orders"]}
    assert found["ware"] == {"main": ["one"], "stock": ["items"]}
    assert "letters" in found["session"]["main"]


def test_patterns_and_kinds(connection: Any) -> None:
    assert tree(connection, catalog_filter="ware", db_schema_filter="st%")["ware"] == {
        "stock": ["items"]
    }
    assert tree(connection, catalog_filter="shop", table_name_filter="_rders") == {
        "shop": {"main": ["orders"]}
    }
    views = tree(connection, catalog_filter="ware", table_types_filter=["VIEW"])
    assert views["ware"]["main"] == ["one"]
    assert connection.adbc_get_table_types() == ["TABLE", "VIEW"]


def test_every_table_can_be_asked_by_the_name_that_is_listed(connection: Any, ask: Any) -> None:
    for catalog, schemas in tree(connection).items():
        for schema, tables in schemas.items():
            for table in tables:
                whole = f'"{catalog}"."{schema}"."{table}"'
                listed = connection.adbc_get_table_schema(
                    table, catalog_filter=catalog, db_schema_filter=schema
                )
                assert ask(f"select * from {whole} limit 0").schema == listed


def test_columns_have_types(connection: Any) -> None:
    found = connection.adbc_get_table_schema("items", catalog_filter="ware")
    assert found == pa.schema({"id": pa.int32(), "price": pa.decimal128(9, 2)})


def test_a_catalog_that_is_down_hides_no_other(session: Any, connection: Any) -> None:
    session.catalog.attach("down", "sqlite:///nowhere/at/all.db")
    try:
        found = tree(connection)
    finally:
        session.catalog.detach("down")
    assert found["down"] == {}
    assert found["shop"] == {"main": ["orders"]}


def test_what_the_server_says_of_itself(connection: Any) -> None:
    info = connection.adbc_get_info()
    assert (info["vendor_name"], info["vendor_arrow_version"]) == ("umbel", pa.__version__)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_each_command_answers_in_the_schema_that_it_announced(door: Door, name: str) -> None:
    with flight.connect(door.url) as client:
        descriptor = flight.FlightDescriptor.for_command(pack(make(name)))
        info = client.get_flight_info(descriptor)
        assert info.schema == client.get_schema(descriptor).schema
        answer = client.do_get(info.endpoints[0].ticket).read_all()
        answer.validate(full=True)
        assert answer.schema == info.schema
        assert (answer.num_rows == 0) == ("Keys" in name or "Reference" in name)


def test_types_can_be_asked_one_by_one(door: Door) -> None:
    with flight.connect(door.url) as client:
        command = make("CommandGetXdbcTypeInfo", data_type=3)
        ticket = flight.Ticket(pack(command))
        assert client.do_get(ticket).read_all()["type_name"].to_pylist() == ["DECIMAL"]
