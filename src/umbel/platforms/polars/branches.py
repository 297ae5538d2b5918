"""Cases whose branches may fail.

Polars evaluates all branches of a `when` for all rows. A branch that fails for rows which another
branch takes must be evaluated for its own rows only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import (
    AggregateCall,
    Case,
    Cast,
    Expression,
    WindowCall,
    columns_of,
    walk,
)
from umbel.plan.safety import cannot_fail
from umbel.plan.typing import infer_type
from umbel.platforms.polars.fallback import each_batch
from umbel.platforms.polars.types import literal, polars_type

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


Compile: TypeAlias = "Callable[[Expression, pa.Schema], pl.Expr]"


def must_wait(case: Case, schema: pa.Schema) -> bool:
    """Whether a case has something that must not be evaluated for rows that do not reach it."""
    if all(cannot_fail(node, schema) for node in case.children[1:]):
        return False
    per_row = not any(isinstance(node, AggregateCall | WindowCall) for node in walk(case))
    return per_row and bool(columns_of(case))


def row_by_branch(case: Case, schema: pa.Schema, compile_expression: Compile) -> pl.Expr:
    """Build a case that evaluates each branch for its own rows, if it fails otherwise."""
    dtype = infer_type(case, schema)
    names = sorted(columns_of(case))

    def compiled(node: Expression) -> pl.Expr:
        if infer_type(node, schema) != dtype:
            node = Cast(node, dtype)
        return compile_expression(node, schema)

    branches = [
        (compile_expression(test, schema), compiled(value)) for test, value in case.branches
    ]
    otherwise = literal(None, dtype) if case.otherwise is None else compiled(case.otherwise)
    at_once = otherwise
    for condition, value in reversed(branches):
        at_once = pl.when(condition).then(value).otherwise(at_once)

    def run(*columns: pl.Series) -> pl.Series:
        rows = max(map(len, columns)) if all(map(len, columns)) else 0
        frame = pl.DataFrame(
            [
                column.alias(name).new_from_index(0, rows)
                if len(column) == 1 and rows > 1
                else column.alias(name)
                for name, column in zip(names, columns, strict=True)
            ]
        )
        try:
            return frame.with_columns(at_once.alias("umbel_value")).get_column("umbel_value")
        except Exception:  # noqa: BLE001 (whatever failed fails again below if a row reaches it)
            return _step_by_step(frame, branches, otherwise, dtype)

    return each_batch(run, [pl.col(name) for name in names], dtype)


def _step_by_step(
    frame: pl.DataFrame,
    branches: list[tuple[pl.Expr, pl.Expr]],
    otherwise: pl.Expr,
    dtype: pa.DataType,
) -> pl.Series:
    wanted = polars_type(dtype)
    result = pl.Series([None], dtype=wanted).new_from_index(0, frame.height)
    left = pl.Series(range(frame.height), dtype=pl.UInt32)
    for condition, value in [*branches, (pl.lit(value=True), otherwise)]:
        here = frame[left]
        taken = here.with_columns(condition.fill_null(value=False).alias("umbel_taken"))
        mask = taken.get_column("umbel_taken")
        rows = left.filter(mask)
        if len(rows):
            values = here.filter(mask).with_columns(value.alias("umbel_value"))
            result = result.scatter(rows, values.get_column("umbel_value"))
        left = left.filter(~mask)
    return result
