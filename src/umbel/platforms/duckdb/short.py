"""Products of decimals in 64 bits.

A product of two decimals of up to 18 digits has up to 36, which DuckDB keeps in 128 bits: computing
and adding up those takes several times as long. Few products need them. So a statement is tried
with products of 18 digits, where DuckDB checks each for overflow, and written anew with whole ones
if a product does not fit. No answer changes, and none is lost: a statement that has handed out rows
is not begun again, so one that would do so is written with whole products at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Call, Expression, walk
from umbel.plan.operators import Aggregate, Filter, Limit, Operator, Project, Sort
from umbel.platforms.duckdb.types import convert, type_text
from umbel.sql.nodes import binary

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Digits of the decimals that DuckDB keeps in 64 bits.
SHORT = 18
#: Digits after the point of a product, beyond which too few are left before it to be worth a try.
_MOST_SCALE = 8
_MARK = "umbel_product"


def product(
    left: exp.Expr, right: exp.Expr, types: Sequence[pa.DataType], dtype: pa.DataType
) -> exp.Expr:
    """Write a product of decimals, which `shorten` may write otherwise.

    Args:
        left: the first operand.
        right: the second.
        types: theirs.
        dtype: the type of the product.
    """
    digits = [given.precision for given in types]
    scale = sum(given.scale for given in types)
    long = max(digits) <= SHORT < dtype.precision
    if long:  # DuckDB multiplies short decimals in 64 bits, and fails if the product is longer
        right = convert(right, type_text(pa.decimal128(SHORT + 1, types[1].scale)))
    node = convert(binary(exp.Mul, left, right), type_text(dtype))
    if dtype.precision > SHORT and scale == dtype.scale <= _MOST_SCALE:
        node.meta[_MARK] = (digits, long)
    return node


def shorten(query: exp.Expr) -> bool:
    """Let DuckDB compute products in 64 bits where it can; whether there are any.

    The statement is changed.

    >>> from umbel.sql.expressions import column, function
    >>> money = pa.decimal128(15, 2)
    >>> node = product(column("a"), column("b"), [money, money], pa.decimal128(31, 4))
    >>> query = exp.select(function("sum", node))
    >>> query.sql("duckdb")
    'SELECT SUM(CAST(("a" * CAST("b" AS DECIMAL(19, 2))) AS DECIMAL(31, 4)))'
    >>> shorten(query), query.sql("duckdb")
    (True, 'SELECT SUM(("a" * "b"))')
    """
    marked = []
    for node in query.find_all(exp.Cast, exp.Anonymous):
        if isinstance(node, exp.Anonymous):
            if node.name.lower() == "try":
                return False  # TRY would take an overflow for a null
        elif node._meta and _MARK in node._meta:
            marked.append(node)
    done: set[int] = set()
    for node in reversed(marked):  # operands before what they are part of
        whole = node.this.this
        digits, long = node.meta[_MARK]
        short = [id(operand) in done for operand in (whole.this, whole.expression)]
        if any(n > SHORT and not s for n, s in zip(digits, short, strict=True)):
            continue
        if long:
            whole.set("expression", whole.expression.this)
        for name, is_short in zip(("this", "expression"), short, strict=True):
            if is_short:
                whole.set(name, whole.args[name].this)
        done.add(id(node))
        parent = node.parent
        if isinstance(parent, exp.Anonymous) and parent.name.lower() == "sum":
            node.replace(node.this)  # a sum of decimals has 38 digits, whatever it adds up
    return bool(done)


def late(root: Operator) -> bool:
    """Whether all rows of a plan come only after every product was computed.

    >>> from umbel.plan.operators import Values
    >>> late(Values(table=pa.table({"a": [1]})))
    False
    """
    while True:
        match root:
            case Aggregate() | Sort():
                return True  # what it computes of a group or row comes before the first row
            case Limit():
                root = root.input
            case Project() if not any(_multiplies(e) for _, e in root.columns):
                root = root.input
            case Filter() if not _multiplies(root.predicate):
                root = root.input
            case _:
                return False


def _multiplies(expression: Expression) -> bool:
    return any(isinstance(node, Call) and node.function == "multiply" for node in walk(expression))
