"""Forms on DuckDB of the catalogue's comparisons, boolean logic and choice.

DuckDB compares values as the plan does.
"""

from __future__ import annotations

from typing import Any

from umbel.plan.functions.forms import Absent, Form
from umbel.platforms.duckdb.dialect import DIALECT
from umbel.platforms.duckdb.operators import error
from umbel.sql.common_forms import choices, comparisons, float_test, requirement
from umbel.sql.expressions import function

FORMS: dict[str, Form[Any] | Absent] = {
    **comparisons(DIALECT),
    **choices(DIALECT),
    **requirement(DIALECT, lambda dtype: error("a guard failed")),
    "is_nan": float_test(DIALECT, lambda node: function("isnan", node), otherwise=False),
    "is_finite": float_test(DIALECT, lambda node: function("isfinite", node), otherwise=True),
    "is_infinite": float_test(DIALECT, lambda node: function("isinf", node), otherwise=False),
}
