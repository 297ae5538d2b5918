"""Forms on DuckDB of the catalogue's guards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.platforms.duckdb.operators import error
from umbel.platforms.duckdb.types import literal
from umbel.sql.nodes import when

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _require(call: TypedCall[exp.Expr]) -> exp.Expr:
    value, condition = call.arguments
    if pa.types.is_null(call.types[1]):
        condition = literal(None, pa.bool_())
    return when(condition, value, error("a guard failed"))


FORMS: dict[str, Form[Any] | Absent] = {"require": Form(_require)}
