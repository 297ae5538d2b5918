"""Plans to SQL that `umbel.sql.reading` reads back to an equal plan, for people and other tools.

What SQL says as the plan means it is written as SQL; every other function goes by the name that
it has in the catalogue, with `umbel_` before it, which only umbel reads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.plan.functions import CATALOGUE, Kind
from umbel.plan.functions.forms import Form, Forms, TypedCall
from umbel.plan.operators import Operator, Placeholder, Scan, Values
from umbel.plan.types import is_decimal, is_integer, is_list, is_numeric, is_string, type_name
from umbel.sql.compiler import compile_plan

Call = TypedCall[exp.Expr]
Build = Callable[[Call], exp.Expr]

#: Stands before the name of a function of the catalogue that SQL has no word for.
PREFIX = "umbel_"
#: A table of more rows is not written into a statement.
MOST_ROWS = 1000


class Namer(Protocol):
    """Names the tables of a plan."""

    def table(self, scan: Scan) -> tuple[str, ...]:
        """Give the parts of the name that the table of a scan has in FROM.

        Raises:
            PlanError: it has no name in SQL.
        """


def write_sql(plan: Operator, namer: Namer, *, dialect: str = "duckdb") -> str:
    """Write a plan as one statement.

    Args:
        plan: of relational operators only.
        namer: names the tables.
        dialect: one of sqlglot's.

    Raises:
        PlanError: some operator or type has no SQL.
    """
    from umbel.sql.reading.syntax import check_dialect

    check_dialect(dialect)
    try:
        query = compile_plan(plan, PortableDialect(), _Sources(namer))
    except TypeError as error:
        raise PlanError(
            f"the plan cannot be written as SQL: {error}",
            hint="only relational operators have SQL; to_json() writes every plan",
        ) from None
    return query.sql(dialect, pretty=True)


class _Sources:
    """Implements `umbel.sql.compiler.Sources`."""

    def __init__(self, namer: Namer) -> None:
        self._namer = namer

    def relation(self, leaf: Scan | Values | Placeholder) -> exp.Expr:
        match leaf:
            case Scan():
                return _table(self._namer.table(leaf))
            case Values():
                return _constant_table(leaf.table)
        raise PlanError(f"input {leaf.describe()} is not bound, so it has no name in SQL")


def _table(parts: tuple[str, ...]) -> exp.Expr:
    names: list[exp.Expr] = [exp.to_identifier(part, quoted=True) for part in parts]
    keys = ("this", "db", "catalog")
    if len(names) > len(keys):
        names = [*names[:2], exp.Dot.build(names[2:])]
    return exp.Table(**dict(zip(keys, reversed(names), strict=False)))


def _constant_table(table: pa.Table) -> exp.Expr:
    if table.num_rows > MOST_ROWS:
        raise PlanError(
            f"a table of {table.num_rows} rows is not written into SQL; the most is {MOST_ROWS}",
            hint="write it to a file, or register it, and read that",
        )
    rows = table.to_pylist() or [dict.fromkeys(table.schema.names)]
    selects = [
        exp.Select(
            expressions=[
                literal(row[field.name], field.type).as_(field.name, quoted=True)
                for field in table.schema
            ]
        )
        for row in rows
    ]
    if not table.num_rows:
        selects[0] = selects[0].where(exp.false(), copy=False)
    query: exp.Expr = selects[0]
    for select in selects[1:]:
        query = exp.Union(this=query, expression=select, distinct=False)
    return exp.Subquery(this=query)


class PortableDialect:
    """Implements `umbel.sql.expressions.Dialect` by words that mean the same to the reader."""

    @property
    def forms(self) -> Forms[exp.Expr]:
        """The form of every function of the catalogue."""
        return _forms()

    def cast(
        self, operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
    ) -> exp.Expr:
        """Write a cast. A number becomes an integer by truncation, which SQL's cast does not do."""
        if is_integer(target) and not is_integer(source) and is_numeric(source):
            operand = exp.Trunc(this=operand)
        made = exp.Cast if strict else exp.TryCast
        return made(this=operand, to=_type(target))

    def literal(self, value: Any, dtype: pa.DataType) -> exp.Expr:
        """Write a constant of exactly this type."""
        return literal(value, dtype)

    def reference(self, call: Call) -> exp.Expr:
        """Call a function by its name in the catalogue."""
        return _by_name(call)


_TYPES: dict[pa.DataType, str] = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINT",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "TEXT",
    pa.binary(): "VARBINARY",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.timestamp("s"): "TIMESTAMP_S",
    pa.timestamp("ms"): "TIMESTAMP_MS",
    pa.timestamp("us"): "TIMESTAMPNTZ",
    pa.timestamp("ns"): "TIMESTAMP_NS",
    pa.timestamp("us", "UTC"): "TIMESTAMPTZ",
}


def _type(dtype: pa.DataType) -> exp.DataType:
    if dtype in _TYPES:
        return exp.DataType(this=exp.DType[_TYPES[dtype]])
    if is_decimal(dtype):
        digits = [exp.Literal.number(n) for n in (dtype.precision, dtype.scale)]
        return exp.DataType(
            this=exp.DType.DECIMAL, expressions=[exp.DataTypeParam(this=n) for n in digits]
        )
    if is_list(dtype):
        return exp.DataType(
            this=exp.DType.ARRAY, expressions=[_type(dtype.value_type)], nested=True
        )
    if pa.types.is_struct(dtype):
        fields = [
            exp.ColumnDef(this=exp.to_identifier(f.name, quoted=True), kind=_type(f.type))
            for f in dtype
        ]
        return exp.DataType(this=exp.DType.STRUCT, expressions=fields, nested=True)
    raise PlanError(f"type {type_name(dtype)} has no name in SQL", hint="cast it, or use to_json()")


def literal(value: Any, dtype: pa.DataType) -> exp.Expr:
    """Write a constant of exactly a type.

    >>> literal(1, pa.int64()).sql("duckdb"), literal("it's", pa.string()).sql("duckdb")
    ('CAST(1 AS BIGINT)', "'it''s'")
    """
    if pa.types.is_null(dtype):
        return exp.Null()
    if value is None:
        return exp.Cast(this=exp.Null(), to=_type(dtype))
    if pa.types.is_boolean(dtype):
        return exp.Boolean(this=value)
    if is_string(dtype):
        return exp.Literal.string(value)
    if pa.types.is_duration(dtype):
        micros = round(value.total_seconds() * 1_000_000)
        return exp.Interval(this=exp.Literal.string(f"{micros} microseconds"))
    if is_list(dtype) and value:
        items = [literal(item, dtype.value_type) for item in value]
        return exp.Cast(this=exp.Array(expressions=items), to=_type(dtype))
    if pa.types.is_struct(dtype) or is_list(dtype) or pa.types.is_binary(dtype):
        raise PlanError(f"a constant of type {type_name(dtype)} has no SQL here")
    shown = str(value) if is_numeric(dtype) else value.isoformat()
    if is_decimal(dtype):
        shown = format(value, f".{dtype.scale}f")
    if is_integer(dtype):
        number = exp.Literal.number(shown)
        return number if dtype == pa.int32() else exp.Cast(this=number, to=_type(dtype))
    return exp.Cast(this=exp.Literal.string(shown), to=_type(dtype))


# Functions


def _paren(node: exp.Expr) -> exp.Expr:
    atoms = exp.Column | exp.Literal | exp.Func | exp.Null | exp.Boolean | exp.Paren
    return node if isinstance(node, atoms) else exp.Paren(this=node)


def _binary(cls: type[exp.Binary], *, numeric: bool = False) -> Build:
    def build(call: Call) -> exp.Expr:
        if numeric and not all(map(is_numeric, call.types)):
            return _by_name(call)
        left, right = map(_paren, call.arguments)
        return exp.Paren(this=cls(this=left, expression=right))

    return build


def _chain(cls: type[exp.Binary]) -> Build:
    def build(call: Call) -> exp.Expr:
        if len(call.arguments) == 1:
            return _by_name(call)
        node = _paren(call.arguments[0])
        for argument in call.arguments[1:]:
            node = cls(this=node, expression=_paren(argument))
        return exp.Paren(this=node)

    return build


def _divide(call: Call) -> exp.Expr:
    if not all(map(is_numeric, call.types)):
        return _by_name(call)
    left, right = map(_paren, call.arguments)
    return exp.Paren(this=exp.Div(this=left, expression=right, typed=False, safe=False))


def _not(call: Call) -> exp.Expr:
    return exp.Paren(this=exp.Not(this=_paren(call.arguments[0])))


def _is_null(call: Call) -> exp.Expr:
    return exp.Paren(this=exp.Is(this=_paren(call.arguments[0]), expression=exp.Null()))


def _is_not_null(call: Call) -> exp.Expr:
    return exp.Paren(this=exp.Not(this=_is_null(call)))


def _between(call: Call) -> exp.Expr:
    value, low, high = map(_paren, call.arguments)
    return exp.Paren(this=exp.Between(this=value, low=low, high=high))


def _is_in(call: Call) -> exp.Expr:
    value, *choices = call.arguments
    return exp.Paren(this=exp.In(this=_paren(value), expressions=choices))


def _like(cls: type[exp.Binary]) -> Build:
    def build(call: Call) -> exp.Expr:
        node: exp.Expr = cls(this=_paren(call.arguments[0]), expression=call.arguments[1])
        if len(call.arguments) == 3:
            node = exp.Escape(this=node, expression=call.arguments[2])
        return exp.Paren(this=node)

    return build


def _node(cls: type[exp.Expr], **keys: int) -> Build:
    def build(call: Call) -> exp.Expr:
        return cls(**{key: call.arguments[position] for key, position in keys.items()})

    return build


def _coalesce(call: Call) -> exp.Expr:
    first, *others = call.arguments
    return exp.Coalesce(this=first, expressions=others)


def _extract(part: str) -> Build:
    def build(call: Call) -> exp.Expr:
        return exp.Extract(this=exp.Var(this=part), expression=call.arguments[0])

    return build


def _aggregate(cls: type[exp.Expr]) -> Build:
    return lambda call: call.wrap(cls(this=call.arguments[0]))


def _len(call: Call) -> exp.Expr:
    return call.wrap(exp.Count(this=exp.Star()))


def _by_name(call: Call) -> exp.Expr:
    """Call a function by its name in the catalogue."""
    name = f"{PREFIX}{call.row.name}"
    if call.row.kind is Kind.SCALAR:
        return exp.Anonymous(this=name, expressions=list(call.arguments))
    if call.row.kind is Kind.AGGREGATE:
        return call.wrap(exp.Anonymous(this=name, expressions=list(call.arguments)))
    return call.wrap(exp.Anonymous(this=call.row.name, expressions=list(call.arguments)))


_STANDARD: dict[str, Build] = {
    "add": _binary(exp.Add, numeric=True),
    "subtract": _binary(exp.Sub, numeric=True),
    "multiply": _binary(exp.Mul, numeric=True),
    "divide": _divide,
    "equal": _binary(exp.EQ),
    "not_equal": _binary(exp.NEQ),
    "less": _binary(exp.LT),
    "less_equal": _binary(exp.LTE),
    "greater": _binary(exp.GT),
    "greater_equal": _binary(exp.GTE),
    "is_distinct_from": _binary(exp.NullSafeNEQ),
    "is_not_distinct_from": _binary(exp.NullSafeEQ),
    "and": _chain(exp.And),
    "or": _chain(exp.Or),
    "not": _not,
    "is_null": _is_null,
    "is_not_null": _is_not_null,
    "between": _between,
    "is_in": _is_in,
    "like": _like(exp.Like),
    "ilike": _like(exp.ILike),
    "coalesce": _coalesce,
    "null_if": _node(exp.Nullif, this=0, expression=1),
    "abs": _node(exp.Abs, this=0),
    "upper": _node(exp.Upper, this=0),
    "lower": _node(exp.Lower, this=0),
    "length": _node(exp.Length, this=0),
    "year": _extract("YEAR"),
    "month": _extract("MONTH"),
    "day": _extract("DAY"),
    "len": _len,
    "count": _aggregate(exp.Count),
    "sum": _aggregate(exp.Sum),
    "mean": _aggregate(exp.Avg),
    "min": _aggregate(exp.Min),
    "max": _aggregate(exp.Max),
}


@cache
def _forms() -> Forms[exp.Expr]:
    return {name: Form(_STANDARD.get(name, _by_name)) for name in CATALOGUE.names()}
