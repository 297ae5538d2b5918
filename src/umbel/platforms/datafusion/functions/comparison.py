"""Forms on DataFusion of the catalogue's comparisons, boolean logic and choice.

Floats are compared by their keys; see `umbel.platforms.datafusion.operators.key`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.platforms.datafusion.dialect import DIALECT
from umbel.platforms.datafusion.operators import fail, snippet
from umbel.platforms.datafusion.types import literal
from umbel.sql.common_forms import choices, comparisons, float_test, requirement
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _is_infinite(node: exp.Expr) -> exp.Expr:
    return snippet("abs(x) = i", x=node, i=literal(float("inf"), pa.float64()))


def _is_finite(node: exp.Expr) -> exp.Expr:
    """Whether a float is a number; of a NaN with a sign and one without `abs` makes the greatest."""
    return snippet("abs(x) < i", x=node, i=literal(float("inf"), pa.float64()))


FORMS: dict[str, Form[Any] | Absent] = {
    **comparisons(DIALECT),
    **choices(DIALECT),
    **requirement(DIALECT, lambda dtype: fail("a guard failed", dtype)),
    "is_nan": float_test(DIALECT, lambda node: function("isnan", node), otherwise=False),
    "is_finite": float_test(DIALECT, _is_finite, otherwise=True),
    "is_infinite": float_test(DIALECT, _is_infinite, otherwise=False),
}
