"""The messages of Flight SQL that the door reads and writes.

They are declared here as `format/FlightSql.proto` of Apache Arrow numbers their fields, and made
by the protobuf library when the module is imported; no generated code is kept.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

PACKAGE = "arrow.flight.protocol.sql"

_TABLE_FILTER = "optional string catalog = 1; optional string db_schema = 2; string table = 3"
_MESSAGES = {
    "CommandGetSqlInfo": "repeated uint32 info = 1",
    "CommandGetXdbcTypeInfo": "optional int32 data_type = 1",
    "CommandGetCatalogs": "",
    "CommandGetDbSchemas": (
        "optional string catalog = 1; optional string db_schema_filter_pattern = 2"
    ),
    "CommandGetTables": (
        "optional string catalog = 1; optional string db_schema_filter_pattern = 2;"
        "optional string table_name_filter_pattern = 3; repeated string table_types = 4;"
        "bool include_schema = 5"
    ),
    "CommandGetTableTypes": "",
    "CommandGetPrimaryKeys": _TABLE_FILTER,
    "CommandGetExportedKeys": _TABLE_FILTER,
    "CommandGetImportedKeys": _TABLE_FILTER,
    "CommandGetCrossReference": (
        "optional string pk_catalog = 1; optional string pk_db_schema = 2; string pk_table = 3;"
        "optional string fk_catalog = 4; optional string fk_db_schema = 5; string fk_table = 6"
    ),
    "CommandStatementQuery": "string query = 1; optional bytes transaction_id = 2",
    "CommandStatementUpdate": "string query = 1; optional bytes transaction_id = 2",
    "CommandPreparedStatementQuery": "bytes prepared_statement_handle = 1",
    "CommandPreparedStatementUpdate": "bytes prepared_statement_handle = 1",
    "TicketStatementQuery": "bytes statement_handle = 1",
    "DoPutUpdateResult": "int64 record_count = 1",
    "DoPutPreparedStatementResult": "optional bytes prepared_statement_handle = 1",
    "ActionCreatePreparedStatementRequest": "string query = 1; optional bytes transaction_id = 2",
    "ActionCreatePreparedStatementResult": (
        "bytes prepared_statement_handle = 1; bytes dataset_schema = 2; bytes parameter_schema = 3"
    ),
    "ActionClosePreparedStatementRequest": "bytes prepared_statement_handle = 1",
    "ActionCancelQueryRequest": "bytes info = 1",
    "ActionCancelQueryResult": "int32 result = 1",
    # Of Arrow Flight itself; its FlightInfo is read by pyarrow, so here it is bytes.
    "CancelFlightInfoRequest": "bytes info = 1",
    "CancelFlightInfoResult": "int32 status = 1",
}
_FIELD = re.compile(r"(?:(optional|repeated) )?(\w+) (\w+) = (\d+)")
_TYPES = descriptor_pb2.FieldDescriptorProto


def _declare() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="umbel/flight_sql.proto", package=PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for label, kind, field, number in _FIELD.findall(fields):
            made = message.field.add(name=field, number=int(number))
            made.type = _TYPES.Type.Value(f"TYPE_{kind.upper()}")
            repeated = label == "repeated"
            made.label = _TYPES.LABEL_REPEATED if repeated else _TYPES.LABEL_OPTIONAL
            if label == "optional":  # whether it was sent can be told
                made.proto3_optional = True
                made.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _declare()


class MalformedError(Exception):
    """Bytes that are none of the protocol's messages."""


def make(name: str, **fields: Any) -> Any:
    """Make a message.

    >>> make("DoPutUpdateResult", record_count=3).record_count
    3
    """
    return _CLASSES[name](**fields)


def read(name: str, data: bytes) -> Any:
    """Read the message of a name.

    Raises:
        MalformedError: the bytes are not that message.
    """
    message = _CLASSES[name]()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise MalformedError(f"the bytes are no {name} of Flight SQL") from None
    return message


def pack(message: Any) -> bytes:
    """Write a message with its name, as `google.protobuf.Any`.

    >>> unpack(pack(make("CommandStatementQuery", query="select 1")))[0]
    'CommandStatementQuery'
    """
    wrapped = any_pb2.Any()
    wrapped.Pack(message)
    data: bytes = wrapped.SerializeToString()
    return data


def unpack(data: bytes) -> tuple[str, Any]:
    """Read a message with its name.

    Raises:
        MalformedError: the bytes are no message that the door knows.
    """
    wrapped = _any(data)
    name = name_of(data)
    if name not in _CLASSES:
        raise MalformedError(f"{wrapped.type_url[:100]!r} is no command of Flight SQL known here")
    return name, read(name, wrapped.value)


def name_of(data: bytes) -> str:
    """Name a message of Flight SQL that is wrapped with its name; "" if it is another's.

    Raises:
        MalformedError: the bytes are no such thing.
    """
    package, _, name = _any(data).type_url.rpartition("/")[2].rpartition(".")
    return name if package == PACKAGE else ""


def _any(data: bytes) -> any_pb2.Any:
    wrapped = any_pb2.Any()
    try:
        wrapped.ParseFromString(data)
    except DecodeError:
        raise MalformedError("the bytes are no command of Flight SQL") from None
    return wrapped


__all__ = ["MalformedError", "make", "name_of", "pack", "read", "unpack"]
