"""Operators to one lazy query, so that Polars' optimizer sees a whole stage."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa

from umbel.plan.expressions import Expression, columns_of
from umbel.plan.operators import (
    Aggregate,
    Count,
    Distinct,
    Except,
    Explode,
    Filter,
    Intersect,
    Join,
    Limit,
    Operator,
    Placeholder,
    Project,
    Rows,
    Sample,
    Scan,
    Sort,
    ToFrame,
    Union,
    Values,
    Window,
    consumers,
    topological,
)
from umbel.plan.types import common_type, is_float
from umbel.platforms.polars.casts import cast
from umbel.platforms.polars.expressions import compile_expression, per_row, sort_key
from umbel.platforms.polars.types import literal, polars_type
from umbel.platforms.polars.windows import compile_window

#: Gives the rows of a leaf, with at least the columns of its schema.
Leaf = Callable[[Scan | Values | Placeholder], pl.LazyFrame]

#: A column for positions of rows, which no plan's column is called.
_ROW = "umbel_row"
#: A column that says whether a condition holds.
_HOLDS = "umbel_holds"


def compile_plan(root: Operator, leaf: Leaf) -> pl.LazyFrame:
    """Build the lazy query of a plan; its rows are in order if the plan sorts at its end."""
    frames: dict[int, pl.LazyFrame] = {}
    readers = consumers(root)
    for operator in topological(root):
        inputs = [frames[id(child)] for child in operator.inputs]
        frame = _operator(operator, inputs, leaf)
        if len(readers[id(operator)]) > 1 and operator.inputs:
            # Computed once: rows taken by number must be the same rows for each reader.
            frame = frame.cache()
        frames[id(operator)] = frame
    return frames[id(root)]


def _operator(operator: Operator, inputs: list[pl.LazyFrame], leaf: Leaf) -> pl.LazyFrame:
    match operator:
        case Scan():
            return _scan(operator, leaf(operator))
        case Values() | Placeholder():
            return leaf(operator)
        case Rows():
            return inputs[0]
        case ToFrame():
            names = zip(operator.input.schema.names, operator.schema.names, strict=True)
            return inputs[0].select([pl.col(old).alias(new) for old, new in names])
        case Project():
            return _project(operator, inputs[0])
        case Filter(predicate=predicate):
            return inputs[0].filter(_condition(predicate, operator.input.schema))
        case Join():
            return _join(operator, *inputs)
        case Aggregate():
            return _aggregate(operator, inputs[0])
        case Window(columns=columns):
            below = operator.input.schema
            return inputs[0].with_columns(
                [compile_window(call, below).alias(name) for name, call in columns]
            )
        case Sort():
            return _sort(operator, inputs[0])
        case Limit(count=count, offset=offset):
            return inputs[0].slice(offset, count)
        case Distinct():
            return _distinct(inputs[0], operator.schema)
        case Union(distinct=distinct):
            members = [
                _unified(frame, member.schema, operator.schema)
                for frame, member in zip(inputs, operator.members, strict=True)
            ]
            every = pl.concat(members) if len(members) > 1 else members[0]
            return _distinct(every, operator.schema) if distinct else every
        case Intersect() | Except():
            return _membership(operator, *inputs)
        case Sample():
            return _sample(inputs[0], operator)
        case Explode(column=column, outer=outer):
            return inputs[0].explode(column, empty_as_null=outer, keep_nulls=outer)
        case Count():
            return inputs[0].select(pl.len().cast(pl.Int64).alias("value"))
    raise TypeError(f"no Polars query for {operator.name}")


def _scan(scan: Scan, frame: pl.LazyFrame) -> pl.LazyFrame:
    if scan.predicate is not None:
        frame = frame.filter(_condition(scan.predicate, scan.source.schema))
    return frame.select(scan.schema.names)


def _condition(predicate: Expression, schema: pa.Schema) -> pl.Expr:
    return compile_expression(predicate, schema).cast(pl.Boolean)


def _project(project: Project, frame: pl.LazyFrame) -> pl.LazyFrame:
    below = project.input.schema
    constant = not columns_of(*(expression for _, expression in project.columns))
    build = per_row if constant else compile_expression
    return frame.select([build(e, below).alias(name) for name, e in project.columns])


def _aggregate(aggregate: Aggregate, frame: pl.LazyFrame) -> pl.LazyFrame:
    below = aggregate.input.schema
    calls = [compile_expression(c, below).alias(name) for name, c in aggregate.aggregates]
    if not aggregate.keys:
        return frame.select(calls)
    keys = []
    for position, (name, expression) in enumerate(aggregate.keys):
        key = compile_expression(expression, below)
        if is_float(aggregate.schema.field(position).type):
            key = _normal_zero(key, aggregate.schema.field(position).type)
        # A constant key would make a group of no rows.
        keys.append((key if columns_of(expression) else per_row(expression, below)).alias(name))
    if any(not columns_of(expression) for _, expression in aggregate.keys):
        hidden = [f"umbel_key_{i}" for i in range(len(keys))]
        frame = frame.with_columns([k.alias(h) for k, h in zip(keys, hidden, strict=True)])
        names = [name for name, _ in aggregate.keys]
        keys = [pl.col(h).alias(name) for h, name in zip(hidden, names, strict=True)]
    if not calls:
        return frame.select(keys).unique()
    return frame.group_by(keys).agg(calls).select(aggregate.schema.names)


def _sort(sort: Sort, frame: pl.LazyFrame) -> pl.LazyFrame:
    keys = [key for key in sort.keys if columns_of(key.expression)]
    if not keys:
        return frame
    return frame.sort(
        [sort_key(key, sort.input.schema) for key in keys],
        descending=[key.descending for key in keys],
        nulls_last=[not key.nulls_first for key in keys],
    )


def _normal_zero(value: pl.Expr, dtype: pa.DataType) -> pl.Expr:
    """Turn -0.0 into 0.0, which it equals, so that a group of both shows one for sure."""
    zero = literal(0.0, dtype)
    return pl.when(value == zero).then(zero).otherwise(value)


def _distinct(frame: pl.LazyFrame, schema: pa.Schema) -> pl.LazyFrame:
    floats = [
        _normal_zero(pl.col(field.name), field.type).alias(field.name)
        for field in schema
        if is_float(field.type)
    ]
    return (frame.with_columns(floats) if floats else frame).unique()


def _unified(frame: pl.LazyFrame, schema: pa.Schema, wanted: pa.Schema) -> pl.LazyFrame:
    """Give one side of a set operation the types that all sides share."""
    return frame.select(
        [
            pl.col(field.name)
            if field.type == target.type
            else cast(pl.col(field.name), field.type, target.type, strict=True).alias(field.name)
            for field, target in zip(schema, wanted, strict=True)
        ]
    )


def _membership(
    operator: Intersect | Except, left: pl.LazyFrame, right: pl.LazyFrame
) -> pl.LazyFrame:
    names = operator.schema.names
    here = _distinct(_unified(left, operator.left.schema, operator.schema), operator.schema)
    there = _unified(right, operator.right.schema, operator.schema)
    how: Any = "semi" if isinstance(operator, Intersect) else "anti"
    return here.join(there, on=names, how=how, nulls_equal=True)


def _sample(frame: pl.LazyFrame, sample: Sample) -> pl.LazyFrame:
    def take(rows: pl.DataFrame) -> pl.DataFrame:
        draw = random.Random(sample.seed)  # noqa: S311
        chosen = draw.sample(range(rows.height), sample.size(rows.height))
        return rows[sorted(chosen)]

    return frame.map_batches(
        take, predicate_pushdown=False, projection_pushdown=False, slice_pushdown=False
    )


def _join(join: Join, left: pl.LazyFrame, right: pl.LazyFrame) -> pl.LazyFrame:
    names = join.schema.names
    if join.how == "cross":
        return left.join(right, how="cross")
    if join.residual is None:
        return _match(join, left, right, join.how).select(names)
    if join.how == "inner":
        return _pairs(join, left, right).select(names)
    # Rows are told apart by number. The numbers must be the same wherever they are read.
    here = left.with_row_index(_ROW).cache()
    there = right.with_row_index(f"{_ROW}_right").cache()
    pairs = _pairs(join, here, there).cache()
    if join.how in ("semi", "anti"):
        how: Any = join.how
        return here.join(pairs, on=_ROW, how=how).select(names)
    parts = [pairs.select(names)]
    if join.how in ("left", "full"):
        parts.append(_padded(here.join(pairs, on=_ROW, how="anti"), join, join.left.schema))
    if join.how in ("right", "full"):
        rest = there.join(pairs, on=f"{_ROW}_right", how="anti")
        parts.append(_padded(rest, join, join.right.schema))
    return pl.concat(parts)


def _pairs(join: Join, left: pl.LazyFrame, right: pl.LazyFrame) -> pl.LazyFrame:
    """The pairs of rows for which keys and residual condition hold."""
    if join.residual is None:
        raise TypeError("a join without a residual condition needs no pairs")
    every = _match(join, left, right, "inner") if join.on else left.join(right, how="cross")
    # A column of its own: what may fail must not be tried on rows before they meet.
    holds = _condition(join.residual, join.pair_schema).alias(_HOLDS)
    return every.with_columns(holds).filter(pl.col(_HOLDS)).drop(_HOLDS)


def _match(join: Join, left: pl.LazyFrame, right: pl.LazyFrame, how: Any) -> pl.LazyFrame:
    """Join by keys alone; keys are copies, since Polars may merge or drop key columns."""
    left_keys: list[pl.Expr] = []
    right_keys: list[pl.Expr] = []
    for left_name, right_name in join.on:
        left_type = join.left.schema.field(left_name).type
        right_type = join.right.schema.field(right_name).type
        target = common_type(left_type, right_type)
        for name, source, keys in (
            (left_name, left_type, left_keys),
            (right_name, right_type, right_keys),
        ):
            key = pl.col(name)
            keys.append(key if source == target else cast(key, source, target, strict=True))
    if how in ("semi", "anti"):
        return left.join(right, left_on=left_keys, right_on=right_keys, how=how)
    if _same_types(join):
        return left.join(right, left_on=left_keys, right_on=right_keys, how=how, coalesce=False)
    left_names = [f"umbel_left_{i}" for i in range(len(left_keys))]
    right_names = [f"umbel_right_{i}" for i in range(len(right_keys))]
    return left.with_columns(
        [key.alias(name) for key, name in zip(left_keys, left_names, strict=True)]
    ).join(
        right.with_columns(
            [key.alias(name) for key, name in zip(right_keys, right_names, strict=True)]
        ),
        left_on=left_names,
        right_on=right_names,
        how=how,
        coalesce=False,
    )


def _same_types(join: Join) -> bool:
    """Whether every two keys have one type, so that the columns themselves can be joined."""
    left, right = join.left.schema, join.right.schema
    return all(left.field(a).type == right.field(b).type for a, b in join.on)


def _padded(frame: pl.LazyFrame, join: Join, side: pa.Schema) -> pl.LazyFrame:
    """Rows of one side that matched nothing, with nulls for the other side's columns."""
    return frame.select(
        [
            pl.col(field.name)
            if field.name in side.names
            else pl.lit(None, dtype=polars_type(field.type)).alias(field.name)
            for field in join.schema
        ]
    )
