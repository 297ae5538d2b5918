"""Constant tables in a plan's JSON: an Arrow IPC stream in base64, checked before it is trusted."""

from __future__ import annotations

import base64
import struct

import pyarrow as pa

from umbel.plan.errors import PlanFormatError
from umbel.plan.types import is_object, type_to_json

#: Rows beyond this are refused: columns of nulls hold any number of rows in no bytes.
MAX_ROWS = 2**24

_HEADER, _COMPRESSION = 2, 3  # positions of these fields in the tables Message and RecordBatch


def table_to_json(table: pa.Table) -> str:
    """Give a table's JSON form.

    Raises:
        PlanFormatError: a column has a type that plans do not know.

    >>> table_from_json(table_to_json(pa.table({"a": [1, None]}))).to_pydict()
    {'a': [1, None]}
    """
    for item in table.schema:
        type_to_json(item.type)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return base64.b64encode(sink.getvalue()).decode("ascii")


def table_from_json(text: str, path: str = "$") -> pa.Table:
    """Read a table's JSON form back; `path` is where it stands.

    Raises:
        PlanFormatError: not an uncompressed Arrow stream of types that plans know, whole and valid.
    """
    try:
        buffer = pa.py_buffer(base64.b64decode(text, validate=True))
        rows = 0
        for message in pa.ipc.MessageReader.open_stream(buffer):
            if message.type == "dictionary":
                raise ValueError("dictionaries are not used in plans")
            if message.type == "record batch":
                metadata = message.metadata.to_pybytes()
                if _is_compressed(metadata):
                    raise ValueError("compressed tables are not used in plans")
                rows += _rows(metadata)
        if rows > MAX_ROWS:
            raise ValueError(f"it has more than {MAX_ROWS} rows")
        table = pa.ipc.open_stream(buffer).read_all()
        for item in table.schema:
            type_to_json(item.type)
            if is_object(item.type):
                raise ValueError(f"column {item.name!r} holds Python objects")
        table.validate(full=True)
    except (
        pa.ArrowException,
        OSError,
        OverflowError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        raise PlanFormatError(f"{path}: not a table of a plan: {error}") from error
    except PlanFormatError as error:
        raise PlanFormatError(f"{path}: {error.message}") from error
    return table


def _is_compressed(metadata: bytes) -> bool:
    """Whether a record batch's buffers are compressed: such may swell without bound."""
    batch = _child(metadata, struct.unpack_from("<I", metadata, 0)[0], _HEADER)
    return _offset(metadata, batch, _COMPRESSION) != 0


def _rows(metadata: bytes) -> int:
    batch = _child(metadata, struct.unpack_from("<I", metadata, 0)[0], _HEADER)
    offset = _offset(metadata, batch, 0)
    rows = int(struct.unpack_from("<q", metadata, batch + offset)[0]) if offset else 0
    if rows < 0:
        raise ValueError("it has a negative number of rows")
    return rows


def _offset(metadata: bytes, table: int, position: int) -> int:
    """Find a field of a FlatBuffers table by its position; 0 if it is absent."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    size = struct.unpack_from("<H", metadata, vtable)[0]
    slot = 4 + 2 * position
    return int(struct.unpack_from("<H", metadata, vtable + slot)[0]) if slot < size else 0


def _child(metadata: bytes, table: int, position: int) -> int:
    offset = _offset(metadata, table, position)
    if not offset:
        raise ValueError("a message of the stream has no header")
    at = table + offset
    return at + int(struct.unpack_from("<I", metadata, at)[0])
