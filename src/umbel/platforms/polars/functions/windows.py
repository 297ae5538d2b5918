"""Forms on Polars of the catalogue's window functions.

A form gives an expression over one partition whose rows stand in the window's order. Its
arguments are those of the call, followed by the expressions of the order's keys; see
`umbel.platforms.polars.windows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.plan.expressions import Expression, Literal
from umbel.plan.functions.forms import Absent, Form, TypedCall

if TYPE_CHECKING:
    import polars as pl

Call = TypedCall["pl.Expr"]


def row_index() -> pl.Expr:
    """The position of each row, from 0, signed so that offsets may go below."""
    import polars as pl

    return pl.int_range(pl.len(), dtype=pl.Int64)


def row_count() -> pl.Expr:
    """The number of rows of the partition."""
    import polars as pl

    return pl.len().cast(pl.Int64)


def _starts_peers(keys: Sequence[pl.Expr]) -> pl.Expr:
    """Whether a row's keys differ from those of the row before it."""
    import polars as pl

    return pl.any_horizontal([key.ne_missing(key.shift(1)) for key in keys]) | (row_index() == 0)


def first_peer(keys: Sequence[pl.Expr]) -> pl.Expr:
    """The position of the first row whose order keys equal the row's."""
    import polars as pl

    if not keys:
        return row_index() * 0
    return pl.when(_starts_peers(keys)).then(row_index()).forward_fill()


def last_peer(keys: Sequence[pl.Expr]) -> pl.Expr:
    """The position of the last row whose order keys equal the row's."""
    import polars as pl

    last = row_index() == row_count() - 1
    if not keys:
        return row_index() * 0 + row_count() - 1
    ends = _starts_peers(keys).shift(-1, fill_value=True) | last
    return pl.when(ends).then(row_index()).backward_fill()


def _keys(call: Call) -> tuple[pl.Expr, ...]:
    return call.arguments[len(call.nodes) :]


def _dense_rank(call: Call) -> pl.Expr:
    import polars as pl

    keys = _keys(call)
    return _starts_peers(keys).cast(pl.Int64).cum_sum() if keys else row_index() * 0 + 1


def _percent_rank(call: Call) -> pl.Expr:
    import polars as pl

    others = (row_count() - 1).clip(lower_bound=1).cast(pl.Float64)
    return first_peer(_keys(call)).cast(pl.Float64) / others


def _cume_dist(call: Call) -> pl.Expr:
    import polars as pl

    return (last_peer(_keys(call)) + 1).cast(pl.Float64) / row_count().cast(pl.Float64)


def _ntile(call: Call) -> pl.Expr:
    import polars as pl

    buckets, index = call.constant(0), row_index()
    size, larger = row_count() // buckets, row_count() % buckets
    split = larger * (size + 1)
    small = larger + (index - split) // size.clip(lower_bound=1)
    return pl.when(index < split).then(index // (size + 1)).otherwise(small) + 1


def _refuse_buckets(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    node = nodes[0]
    if isinstance(node, Literal) and (node.value is None or not 1 <= node.value < 2**62):
        return "there must be at least one bucket"
    return None


def _shifted(sign: int) -> Form[Any]:
    def build(call: Call) -> pl.Expr:
        import polars as pl

        from umbel.platforms.polars.expressions import unify

        offset = sign * (call.constant(1) if len(call.nodes) > 1 else 1)
        if len(call.nodes) < 3:
            return call.arguments[0].shift(offset)
        value, default = unify(call, (0, 2))
        # Not by `fill_value`, which ignores the scale of decimals.
        source = row_index() - offset
        inside = (source >= 0) & (source < row_count())
        return pl.when(inside).then(value.shift(offset)).otherwise(default)

    return Form(build, _refuse_offset)


def _refuse_offset(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    node = nodes[1] if len(nodes) > 1 else None
    if isinstance(node, Literal) and (node.value is None or abs(node.value) >= 2**62):
        return "the offset is null or too large"
    return None


FORMS: dict[str, Form[Any] | Absent] = {
    "row_number": Form(lambda call: row_index() + 1),
    "rank": Form(lambda call: first_peer(_keys(call)) + 1),
    "dense_rank": Form(_dense_rank),
    "percent_rank": Form(_percent_rank),
    "cume_dist": Form(_cume_dist),
    "ntile": Form(_ntile, _refuse_buckets),
    "lag": _shifted(1),
    "lead": _shifted(-1),
}
