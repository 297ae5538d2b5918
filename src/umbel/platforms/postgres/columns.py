"""The columns of PostgreSQL's relations in the plan's terms, and how each is read as such.

Types that a plan has not come as text. What has no form in the plan's type (a month in an interval,
an array of arrays) fails when it is read, with the column's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.lazy import LazyModule
from umbel.plan.types import MAX_DECIMAL_PRECISION
from umbel.platforms.postgres.snippets import error, once, snippet
from umbel.sql.expressions import column

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: The decimal that a numeric without limits becomes; values with more digits fail.
UNLIMITED = pa.decimal128(MAX_DECIMAL_PRECISION, 10)

_PLAIN = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "text": pa.string(),
    "varchar": pa.string(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
}


@dataclass(frozen=True)
class ServerColumn:
    """A column as the server describes it.

    Attributes:
        name: its name.
        type: the name of its type, of what a domain is made of, or of an array's items.
        modifier: the type's modifier, -1 for none.
        array: it holds arrays.
        nullable: it may hold nulls.
        collated: it has a collation of its own, not the database's.
    """

    name: str
    type: str
    modifier: int = -1
    array: bool = False
    nullable: bool = True
    collated: bool = False

    @property
    def dtype(self) -> pa.DataType:
        """The type that it has in a plan.

        >>> ServerColumn("a", "numeric", ((15 << 16) | 2) + 4).dtype
        Decimal128Type(decimal128(15, 2))
        >>> ServerColumn("a", "uuid").dtype
        DataType(string)
        """
        item = self._item
        return pa.list_(item) if self.array else item

    @property
    def _item(self) -> pa.DataType:
        if self.type in _PLAIN:
            return _PLAIN[self.type]
        if self.type == "numeric":
            return self._numeric
        if self.type == "interval" and not self.array:
            return pa.duration("us")
        if self.type == "oid" and not self.array:
            return pa.int64()
        return pa.string()

    @property
    def _numeric(self) -> pa.DataType:
        if self.modifier < 4:
            return UNLIMITED
        # As PostgreSQL packs them; a scale has 11 bits and may be negative.
        precision = ((self.modifier - 4) >> 16) & 0xFFFF
        scale = (((self.modifier - 4) & 0x7FF) ^ 1024) - 1024
        if precision <= MAX_DECIMAL_PRECISION and 0 <= scale <= precision:
            return pa.decimal128(precision, scale)
        return UNLIMITED

    def read(self) -> exp.Expr:
        """Write the column as a value of its type in the plan."""
        value = column(self.name)
        if self.array:
            return self._read_array(value)
        if self.type == "numeric" and self.dtype == UNLIMITED:
            return self._checked(f"x = round(x, {UNLIMITED.scale})", "x", value, "more digits")
        if self.type == "interval":
            return self._checked(
                "EXTRACT(YEAR FROM x) = 0 AND EXTRACT(MONTH FROM x) = 0",
                "CAST(EXTRACT(EPOCH FROM x) * 1000000 AS BIGINT)",
                value,
                "months, which are no fixed time",
            )
        if self.type == "oid":
            return snippet("CAST(x AS BIGINT)", x=value)
        if self.type not in _PLAIN and self.type != "numeric":
            value = snippet("CAST(x AS TEXT)", x=value)
        if self.collated and pa.types.is_string(self.dtype):
            return snippet('x COLLATE "C"', x=value)
        return value

    def _read_array(self, value: exp.Expr) -> exp.Expr:
        if self.type not in _PLAIN and self.type != "numeric":
            value = snippet("CAST(x AS TEXT[])", x=value)
        return self._checked(
            "coalesce(array_ndims(x), 1) = 1 AND coalesce(array_lower(x, 1), 1) = 1",
            "x",
            value,
            "arrays that are not lists from 1",
        )

    def _checked(self, condition: str, result: str, value: exp.Expr, what: str) -> exp.Expr:
        failure = error(
            f"column {self.name!r} of type {self.type}{'[]' if self.array else ''} holds {what}",
            self.dtype,
        ).sql("postgres")
        return once(
            f"CASE WHEN {condition} THEN {result} WHEN NOT x IS NULL THEN {failure} END", x=value
        )


def schema_of(columns: Sequence[ServerColumn]) -> pa.Schema:
    """Give the plan's schema of a relation."""
    return pa.schema([pa.field(c.name, c.dtype, c.nullable) for c in columns])


__all__ = ["UNLIMITED", "ServerColumn", "schema_of"]
