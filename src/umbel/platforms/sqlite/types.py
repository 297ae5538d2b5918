"""Plan types and constants in SQLite's terms, and the types of columns by their declarations.

Dates are ISO texts of ten characters, whose order is that of the dates; booleans are 0 and 1.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.types import is_float, is_integer, type_name

pc = LazyModule("pyarrow.compute")

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: What a column of each type is declared as when a table is made.
DECLARED = {
    pa.bool_(): "BOOLEAN",
    pa.int64(): "INTEGER",
    pa.float64(): "REAL",
    pa.string(): "TEXT",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
}


def refuse_type(dtype: pa.DataType) -> str | None:
    """Say why SQLite cannot hold values of a type; None if it can."""
    if dtype in DECLARED or (is_integer(dtype) and dtype != pa.uint64()):
        return None
    return f"SQLite has no values of type {type_name(dtype)}"


def declared_type(declaration: str) -> pa.DataType | None:
    """Give the plan's type for a declared type; None if the values have to say.

    The rule is SQLite's own of affinity, but for BOOLEAN and DATE. DATETIME and TIMESTAMP are read
    as the texts that they are stored as, DECIMAL and NUMERIC as floats.

    >>> declared_type("VARCHAR(20)"), declared_type("UNSIGNED BIG INT"), declared_type("date")
    (DataType(string), DataType(int64), DataType(date32[day]))
    """
    name = declaration.upper().split("(")[0].strip()
    if name in ("BOOLEAN", "BOOL"):
        return pa.bool_()
    if name == "DATE":
        return pa.date32()
    if name in ("DATETIME", "TIMESTAMP", "TIME"):
        return pa.string()
    if not name or name == "ANY":
        return None
    if "INT" in name:
        return pa.int64()
    if any(part in name for part in ("CHAR", "CLOB", "TEXT")):
        return pa.string()
    if "BLOB" in name:
        return pa.binary()
    return pa.float64()


def type_of_kinds(kinds: set[str]) -> pa.DataType:
    """Give the type of a column that is not declared, by the storage classes of its values."""
    kinds = kinds - {"null"}
    if kinds == {"integer"}:
        return pa.int64()
    if kinds and kinds <= {"integer", "real"}:
        return pa.float64()
    return pa.binary() if kinds == {"blob"} else pa.string()


def misfit(column: str, dtype: pa.DataType) -> str:
    """Write the condition that a column, in quotes, holds what is no value of its type."""
    kind = f"typeof({column})"
    if dtype == pa.bool_():
        return f"({column} IS NOT NULL AND ({kind} <> 'integer' OR {column} NOT IN (0, 1)))"
    if dtype == pa.date32():
        # date() gives null for what is no date; adding nothing moves the 31st of February.
        date = f"date({column}, '+0 days')"
        return f"({column} IS NOT NULL AND ({kind} <> 'text' OR {date} IS NOT {column}))"
    if dtype == pa.float64():
        # Beyond 2^53 an integer would be rounded.
        exact = f"({kind} = 'integer' AND {column} BETWEEN -9007199254740992 AND 9007199254740992)"
        return f"({column} IS NOT NULL AND {kind} <> 'real' AND NOT {exact})"
    wanted = {pa.int64(): "integer", pa.string(): "text", pa.binary(): "blob"}[dtype]
    return f"({kind} NOT IN ('null', '{wanted}'))"


def literal(value: Any, dtype: pa.DataType) -> exp.Expr:
    """Write a constant; None is null.

    >>> literal(datetime.date(2026, 1, 2), pa.date32()).sql("sqlite")
    "'2026-01-02'"
    """
    if value is None:
        return exp.Null()
    if isinstance(value, bool):
        return exp.Literal.number(int(value))
    if is_integer(dtype):
        if value == -(2**63):  # without its sign it is no integer
            return exp.Paren(this=exp.maybe_parse("-9223372036854775807 - 1"))
        node = exp.Literal.number(value)
        return node if value >= 0 else exp.Paren(this=node)
    if is_float(dtype):
        return _float(value)
    if isinstance(value, bytes):
        return exp.HexString(this=value.hex())
    text = value.isoformat() if isinstance(value, datetime.date) else value
    if "\0" in text:
        blob: exp.Expr = exp.HexString(this=text.encode().hex())
        return exp.Cast(this=blob, to=exp.DataType.build("TEXT"))
    return exp.Literal.string(text)


def _float(value: float) -> exp.Expr:
    if value in (float("inf"), float("-inf")):
        text = "9e999" if value > 0 else "-9e999"
    else:
        text = repr(value)
        text = text if any(c in text for c in ".e") else f"{text}.0"
    node = exp.Var(this=text)
    return exp.Paren(this=node) if text.startswith("-") else node


def refuse_literal(value: Any) -> str | None:
    """Say why a constant cannot be written; None if it can."""
    if isinstance(value, float) and value != value:
        return "SQLite makes null of NaN"
    return None


def to_arrow(values: tuple[Any, ...], dtype: pa.DataType) -> pa.Array:
    """Make a column of values that came out of SQLite.

    >>> to_arrow(("2026-01-02", None), pa.date32()).to_pylist()
    [datetime.date(2026, 1, 2), None]
    """
    if dtype == pa.bool_():
        return pa.array(values, pa.int64()).cast(pa.bool_())
    if dtype == pa.date32():
        return pa.array(values, pa.string()).cast(pa.date32())
    return pa.array(values, dtype)


def to_sqlite(column: pa.ChunkedArray) -> list[Any]:
    """Give a column's values as they are bound to a statement."""
    if column.type == pa.date32():
        column = column.cast(pa.string())
    values: list[Any] = column.to_pylist()
    return values


def has_nan(column: pa.ChunkedArray) -> bool:
    """Whether a column holds NaN, of which SQLite would make null."""
    return bool(is_float(column.type) and pc.any(pc.is_nan(column)).as_py())
