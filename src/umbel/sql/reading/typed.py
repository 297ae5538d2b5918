"""The type of an expression over a statement's columns, where it was not kept while binding."""

from __future__ import annotations

import pyarrow as pa

from umbel.plan.expressions import Expression, columns_of
from umbel.plan.typing import infer
from umbel.sql.reading.values import Columns


def type_of(node: Expression, columns: Columns) -> tuple[pa.DataType, bool]:
    """Find the type of an expression, and whether it may be null.

    >>> from umbel.plan.expressions import Call, Column
    >>> columns = Columns()
    >>> name = columns.new("a", pa.int32(), False)
    >>> type_of(Call("add", (Column(name), Column(name))), columns)
    (DataType(int64), False)
    """
    schema = pa.schema([columns.field(name).with_name(name) for name in columns_of(node)])
    found = infer(node, schema)
    return found.type, found.nullable
