"""Python inside DuckDB: the catalogue's references and the plan's casts as DuckDB functions.

A statement's tree carries, on each call of such a function, what the function does. The stage
compiler asks `functions_used` for them and has `register` make them on the connection.
"""

from __future__ import annotations

import datetime
import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.casting import cast_value
from umbel.plan.errors import EvaluationError
from umbel.plan.functions import CATALOGUE, Nulls
from umbel.plan.types import type_name
from umbel.platforms.duckdb.types import type_text

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


_META = "umbel_function"
_PLAIN_TYPES = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class PythonFunction:
    """A DuckDB function that runs Python for every row.

    Attributes:
        name: the name in SQL; determined by all the rest.
        kind: "reference" for a row of the catalogue, "cast" or "try_cast" for a cast.
        function: the row's name; empty for a cast.
        types: the arguments' types.
        dtype: the result's type.
    """

    name: str
    kind: str
    function: str
    types: tuple[pa.DataType, ...]
    dtype: pa.DataType


def call_reference(
    function: str, types: Iterable[pa.DataType], dtype: pa.DataType, arguments: Iterable[exp.Expr]
) -> exp.Expr:
    """Call the Python reference of a catalogue function.

    >>> from umbel.sql.expressions import column
    >>> call_reference("lower", [pa.string()], pa.string(), [column("a")]).sql("duckdb")
    'UMBEL_LOWER__STRING("a")'
    """
    return _call(_describe("reference", function, tuple(types), dtype), arguments)


def call_cast(
    source: pa.DataType, target: pa.DataType, operand: exp.Expr, *, strict: bool
) -> exp.Expr:
    """Cast in Python, as the plan defines it."""
    kind = "cast" if strict else "try_cast"
    return _call(_describe(kind, "", (source,), target), [operand])


def _describe(
    kind: str, function: str, types: tuple[pa.DataType, ...], dtype: pa.DataType
) -> PythonFunction:
    names = [type_name(t) for t in (*types, dtype)]
    shown = names if kind != "reference" else names[:-1]
    words = [re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in shown]
    name = "__".join([f"umbel_{function or kind}", *words])
    plain = all(_PLAIN_TYPES.fullmatch(name) for name in names)
    if not plain or (function and CATALOGUE[function].resolve is not None):
        name += "__" + hashlib.sha256("/".join(names).encode()).hexdigest()[:8]
    return PythonFunction(name, kind, function, types, dtype)


def _call(described: PythonFunction, arguments: Iterable[exp.Expr]) -> exp.Expr:
    node = exp.Anonymous(this=described.name, expressions=list(arguments))
    node.meta[_META] = described
    return node


def functions_used(statement: exp.Expr) -> list[PythonFunction]:
    """List the Python functions that a statement calls, each once, by name.

    >>> from umbel.sql.expressions import column
    >>> call = call_reference("lower", [pa.string()], pa.string(), [column("a")])
    >>> [used.name for used in functions_used(exp.select(call, call.copy()).from_("t"))]
    ['umbel_lower__string']
    """
    found = {
        node.meta[_META].name: node.meta[_META]
        for node in statement.find_all(exp.Anonymous)
        if _META in node.meta
    }
    return [found[name] for name in sorted(found)]


def register(connection: Any, functions: Iterable[PythonFunction]) -> None:
    """Make the functions known on a DuckDB connection that does not know them yet."""
    wanted = list(functions)
    if not wanted:
        return
    names = [described.name for described in wanted]
    query = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_name IN "
    query += "(" + ", ".join(f"'{name}'" for name in names) + ")"
    known = {name for (name,) in connection.execute(query).fetchall()}
    for described in wanted:
        if described.name not in known:
            connection.create_function(
                described.name,
                _runner(described),
                [type_text(dtype) for dtype in described.types],
                type_text(described.dtype),
                type="arrow",
                null_handling="special",
                exception_handling="default",
            )


def _runner(described: PythonFunction) -> Callable[..., pa.Array]:
    """Build the function of Arrow columns that DuckDB calls."""
    skip_nulls = True
    function: Callable[..., Any]
    if described.kind == "reference":
        row = CATALOGUE[described.function]
        function = partial(row.reference, dtype=described.dtype) if row.typed else row.reference
        skip_nulls = row.nulls in (Nulls.STRICT, Nulls.PARTIAL)
    else:
        function = partial(
            cast_value,
            source=described.types[0],
            target=described.dtype,
            strict=described.kind == "cast",
        )
    types, dtype = described.types, described.dtype

    def run(*columns: Any) -> pa.Array:
        lists = [to_values(column, t) for column, t in zip(columns, types, strict=True)]
        values = [
            None if skip_nulls and any(value is None for value in row) else function(*row)
            for row in zip(*lists, strict=True)
        ]
        return _to_column(values, dtype)

    # DuckDB counts the parameters before it takes the function.
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(f"column_{i}", inspect.Parameter.POSITIONAL_ONLY)
            for i in range(len(types))
        ]
    )
    return run


def to_values(column: Any, dtype: pa.DataType) -> list[Any]:
    """Give the plan's Python values of a column that came out of DuckDB.

    >>> to_values(pa.array([1, None]), pa.int64())
    [1, None]
    """
    if pa.types.is_null(dtype):
        return [None] * len(column)
    if pa.types.is_duration(dtype):
        return [None if value is None else _timedelta(value) for value in column.to_pylist()]
    if column.type != dtype:
        column = column.cast(dtype)
    values: list[Any] = column.to_pylist()
    return values


def _timedelta(interval: Any) -> datetime.timedelta:
    """A duration from DuckDB's intervals, which count days apart; 30 days are a month."""
    days = interval.months * 30 + interval.days
    return datetime.timedelta(days=days, microseconds=interval.nanoseconds // 1000)


def _to_column(values: list[Any], dtype: pa.DataType) -> pa.Array:
    try:
        if pa.types.is_null(dtype):
            return pa.nulls(len(values), pa.int32())
        if pa.types.is_duration(dtype):
            return pa.array(values, type=pa.duration("us"))
        return pa.array(values, type=dtype)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise EvaluationError(f"a result is no {type_name(dtype)}: {error}") from error
