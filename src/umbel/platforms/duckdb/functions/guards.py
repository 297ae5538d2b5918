"""Forms on DuckDB of the catalogue's guards."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.platforms.duckdb.operators import error, when
from umbel.platforms.duckdb.types import literal


def _require(call: TypedCall[exp.Expr]) -> exp.Expr:
    value, condition = call.arguments
    if pa.types.is_null(call.types[1]):
        condition = literal(None, pa.bool_())
    return when(condition, value, error("a guard failed"))


FORMS: dict[str, Form[Any] | Absent] = {"require": Form(_require)}
