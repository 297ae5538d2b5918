"""Python inside SQL engines: the catalogue's references and the plan's casts as their functions.

A statement's tree carries, on each call of such a function, what the function does. An engine's
stage asks `functions_used` for them and makes them known to the engine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.lazy import LazyModule
from umbel.plan.casting import cast_value
from umbel.plan.errors import EvaluationError
from umbel.plan.functions import CATALOGUE, Nulls
from umbel.plan.functions.forms import TypedCall
from umbel.plan.types import type_name

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


_META = "umbel_function"
_PLAIN_TYPES = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class PythonFunction:
    """A function of an engine that runs Python for every row.

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


def reference(call: TypedCall[exp.Expr]) -> exp.Expr:
    """Call the Python reference of a function where its form would stand."""
    return call_reference(call.row.name, call.types, call.dtype, call.arguments)


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


def calls_of(statement: exp.Expr) -> Iterator[tuple[exp.Expr, PythonFunction]]:
    """Yield the calls of Python functions in a statement, with what they call."""
    for node in statement.find_all(exp.Anonymous):
        if _META in node.meta:
            yield node, node.meta[_META]


def functions_used(statement: exp.Expr) -> list[PythonFunction]:
    """List the Python functions that a statement calls, each once, by name.

    >>> from umbel.sql.expressions import column
    >>> call = call_reference("lower", [pa.string()], pa.string(), [column("a")])
    >>> [used.name for used in functions_used(exp.select(call, call.copy()).from_("t"))]
    ['umbel_lower__string']
    """
    found = {described.name: described for _, described in calls_of(statement)}
    return [found[name] for name in sorted(found)]


def evaluator(described: PythonFunction) -> Callable[[Sequence[Sequence[Any]]], list[Any]]:
    """Build what computes the function's values from columns of the plan's Python values.

    >>> evaluator(PythonFunction("f", "reference", "upper", (pa.string(),), pa.string()))(
    ...     [["a", None]]
    ... )
    ['A', None]
    """
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

    def evaluate(columns: Sequence[Sequence[Any]]) -> list[Any]:
        return [
            None if skip_nulls and any(value is None for value in row) else function(*row)
            for row in zip(*columns, strict=True)
        ]

    return evaluate


def to_array(values: list[Any], dtype: pa.DataType) -> pa.Array:
    """Make a column of results.

    Raises:
        EvaluationError: a value is beyond its type.
    """
    try:
        return pa.array(values, type=dtype)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise EvaluationError(f"a result is no {type_name(dtype)}: {error}") from error


__all__ = [
    "PythonFunction",
    "call_cast",
    "call_reference",
    "calls_of",
    "evaluator",
    "functions_used",
    "reference",
    "to_array",
]
