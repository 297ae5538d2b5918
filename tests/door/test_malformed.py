"""Bytes that are no Flight SQL are errors, and the server goes on."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from umbel.door.messages import make, pack
from umbel.door.server import Door


def calls(client: Any, data: bytes) -> list[Callable[[], Any]]:
    descriptor = flight.FlightDescriptor.for_command(data)
    return [
        lambda: client.get_flight_info(descriptor),
        lambda: client.get_schema(descriptor),
        lambda: client.do_get(flight.Ticket(data)).read_all(),
        lambda: _put(client, descriptor),
        *(
            partial(_act, client, flight.Action(name, data))
            for name in (
                "CreatePreparedStatement",
                "ClosePreparedStatement",
                "CancelFlightInfo",
                "CancelQuery",
            )
        ),
    ]


def _act(client: Any, action: Any) -> list[Any]:
    return list(client.do_action(action))


def _put(client: Any, descriptor: Any) -> None:
    writer, _ = client.do_put(descriptor, pa.schema({"a": pa.int64()}))
    writer.close()


def refused(call: Callable[[], Any]) -> str:
    try:
        call()
    except (pa.ArrowException, flight.FlightError, OSError) as error:
        # Of errors of get_schema pyarrow tells where it called; nothing of what is below.
        text = str(error)
        assert "Traceback" not in text or "_get_schema" in text
        assert text.count('File "') <= 2
        assert "internal error" not in text
        return text
    return ""


VALID = [
    pack(make("CommandStatementQuery", query="select n from letters")),
    pack(make("CommandGetTables", catalog="shop", include_schema=True)),
    pack(make("CommandGetSqlInfo", info=[0, 4_000_000_000])),
    pack(make("ActionCreatePreparedStatementRequest", query="select ?")),
    pack(make("CommandPreparedStatementQuery", prepared_statement_handle=b"none")),
    pack(make("TicketStatementQuery", statement_handle=b"none")),
]


def test_broken_messages_are_errors(door: Door) -> None:
    """Each valid message with bytes changed, cut off, doubled and put in between."""
    chosen = random.Random(7)
    with flight.connect(door.url) as client:
        for message in VALID:
            for _ in range(15):
                data = bytearray(message)
                for _ in range(chosen.randint(1, 4)):
                    at = chosen.randrange(len(data) + 1)
                    match chosen.randrange(4):
                        case 0:
                            data[at : at + 1] = bytes([chosen.randrange(256)])
                        case 1:
                            del data[at:]
                        case 2:
                            data[at:at] = chosen.randbytes(chosen.randint(1, 8))
                        case _:
                            data += data[at:]
                for call in calls(client, bytes(data)):
                    refused(call)
    assert door.running == 0


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no command of Flight SQL"),
        (b"\xff" * 100, "no command of Flight SQL"),
        (b"select 1", "no command of Flight SQL"),
        (pack(make("CommandStatementQuery", query="")), "no statement|no command"),
        (pack(make("TicketStatementQuery", statement_handle=b"x")), "no statement|no command"),
        (
            pack(make("CommandPreparedStatementQuery", prepared_statement_handle=b"x")),
            "no prepared statement",
        ),
    ],
)
def test_what_is_told(door: Door, data: bytes, says: str) -> None:
    with flight.connect(door.url) as client:
        info, schema, get, *_ = calls(client, data)
        for call in (info, schema, get):
            with pytest.raises((pa.ArrowException, flight.FlightError, OSError), match=says):
                call()


def test_too_much_is_refused(door: Door) -> None:
    with flight.connect(door.url) as client:
        text = "select " + "1 + " * 2_000_000 + "1"
        long = pack(make("CommandStatementQuery", query=text))
        assert "the most is" in refused(calls(client, long)[0])
        nested = pack(make("CommandStatementQuery", query="select " + "(" * 50_000 + "1"))
        assert refused(calls(client, nested)[0])
        marks = pack(make("ActionCreatePreparedStatementRequest", query="select $99999999"))
        create = calls(client, marks)[4]
        assert "no parameter" in refused(create)


def test_parameters_that_do_not_fit_are_errors(door: Door, connection: Any) -> None:
    import adbc_driver_manager

    with connection.cursor() as cursor:
        for values in (
            pa.table({"a": [1, 2]}),  # two rows for a query
            pa.table({"a": [1], "b": [2]}),  # one too many
            pa.table({"a": pa.array(range(10_001))}),
            pa.table({"a": pa.array([{"k": [1]}])}),  # compared with a number
        ):
            with pytest.raises(adbc_driver_manager.Error) as caught:  # noqa: PT012 (either may)
                cursor.execute("select n from letters where n = ?", values)
                cursor.fetchall()
            assert "Traceback" not in str(caught.value)
            assert "internal error" not in str(caught.value)


def test_paths_and_unknown_actions(door: Door) -> None:
    with flight.connect(door.url) as client:
        path = flight.FlightDescriptor.for_path("letters")
        assert "holds a path" in refused(lambda: client.get_flight_info(path))
        for name, says in (("BeginTransaction", "no transactions"), ("Reboot", "no action")):
            action = flight.Action(name, b"")
            assert says in refused(partial(_act, client, action))
        names = {action.type for action in client.list_actions()}
        assert {"CreatePreparedStatement", "CancelFlightInfo"} <= names
        assert "not listed" in refused(lambda: list(client.list_flights()))
