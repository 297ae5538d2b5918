"""Forms on Polars of the catalogue's guards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.errors import EvaluationError
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.platforms.polars.fallback import each_batch
from umbel.platforms.polars.types import literal

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


def _check(value: pl.Series, condition: pl.Series) -> pl.Series:
    if len(value) and not condition.fill_null(value=False).all():
        failed = condition.fill_null(value=False).not_().arg_true()[0]
        row = value[failed if len(value) > 1 else 0]
        raise EvaluationError(f"a guard failed for {row!r}")
    rows = min(len(value), len(condition)) and max(len(value), len(condition))
    return value if len(value) == rows else value.new_from_index(0, rows)


def _require(call: TypedCall[pl.Expr]) -> pl.Expr:
    condition = call.arguments[1]
    if pa.types.is_null(call.types[1]):
        condition = literal(None, pa.bool_())
    return each_batch(_check, [call.arguments[0], condition], call.dtype)


FORMS: dict[str, Form[Any] | Absent] = {"require": Form(_require)}
