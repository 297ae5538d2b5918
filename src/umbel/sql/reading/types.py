"""SQL's names of types."""

from __future__ import annotations

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.types import MAX_DECIMAL_PRECISION
from umbel.sql.reading.syntax import reading

_T = exp.DType
_NAMES: dict[exp.DType, pa.DataType] = {
    _T.BOOLEAN: pa.bool_(),
    _T.TINYINT: pa.int8(),
    _T.SMALLINT: pa.int16(),
    _T.INT: pa.int32(),
    _T.BIGINT: pa.int64(),
    _T.INT128: pa.decimal128(38, 0),
    _T.UTINYINT: pa.uint8(),
    _T.USMALLINT: pa.uint16(),
    _T.UINT: pa.uint32(),
    _T.UBIGINT: pa.uint64(),
    _T.FLOAT: pa.float32(),
    _T.DOUBLE: pa.float64(),
    _T.TEXT: pa.string(),
    _T.VARCHAR: pa.string(),
    _T.NVARCHAR: pa.string(),
    _T.VARBINARY: pa.binary(),
    _T.BINARY: pa.binary(),
    _T.BLOB: pa.binary(),
    _T.DATE: pa.date32(),
    _T.TIME: pa.time64("us"),
    _T.TIMESTAMP: pa.timestamp("us"),
    _T.TIMESTAMPNTZ: pa.timestamp("us"),
    _T.TIMESTAMP_S: pa.timestamp("s"),
    _T.TIMESTAMP_MS: pa.timestamp("ms"),
    _T.TIMESTAMP_NS: pa.timestamp("ns"),
    _T.TIMESTAMPTZ: pa.timestamp("us", "UTC"),
    _T.TIMESTAMPLTZ: pa.timestamp("us", "UTC"),
}


def read_type(node: exp.DataType) -> pa.DataType:
    """Give Arrow's type for a type as SQL writes it.

    >>> read_type(exp.DataType.build("decimal(10, 2)"))
    Decimal128Type(decimal128(10, 2))
    """
    with reading(node) as syntax:
        kind, parameters = syntax["this"], syntax.many("expressions")
        _ = syntax["nested"], syntax["nullable"]
        if kind in (_T.DECIMAL, _T.BIGDECIMAL):
            return _decimal([int(item.name) for item in parameters])
        if kind in (_T.ARRAY, _T.LIST):
            return pa.list_(read_type(parameters[0]))
        if kind is _T.STRUCT:
            return pa.struct([(item.name, read_type(item.args["kind"])) for item in parameters])
        if kind in (_T.CHAR, _T.NCHAR):
            raise PlanError("the type char pads with spaces and is not supported", hint="use text")
        if kind is _T.INTERVAL:
            raise PlanError("intervals stand only beside dates and timestamps: + INTERVAL '1 day'")
        if kind not in _NAMES:
            raise UnknownNameError("type", node.sql(), sorted(t.name.lower() for t in _NAMES))
        if parameters and kind not in (_T.VARCHAR, _T.TEXT):
            raise PlanError(f"the type {node.sql()} takes no parameters here")
        return _NAMES[kind]


def _decimal(parameters: list[int]) -> pa.DataType:
    precision, scale = (*parameters, *(18, 3)[len(parameters) :])[:2] if parameters else (18, 3)
    if len(parameters) == 1:
        scale = 0
    if not (1 <= precision <= MAX_DECIMAL_PRECISION and 0 <= scale <= precision):
        raise PlanError(
            f"decimal({precision}, {scale}) has no place here",
            hint=f"1 to {MAX_DECIMAL_PRECISION} digits, of which 0 to all after the point",
        )
    return pa.decimal128(precision, scale)
