"""Designs of models as text, as they are kept: a plan in JSON, read by its strict reader."""

from __future__ import annotations

import pyarrow as pa

from umbel.learning.state import StateError
from umbel.plan.codec import plan_from_json, plan_to_json
from umbel.plan.expressions import Literal
from umbel.plan.models import Category, Design
from umbel.plan.operators import Transform, Values


def design_text(design: Design) -> str:
    """A design as a plan over a table without rows."""
    types: dict[str, pa.DataType] = dict.fromkeys(design.columns, pa.float64())
    for feature in design.features:
        if isinstance(feature, Category) and feature.values:
            first = feature.values[0]
            types[feature.column] = first.dtype if isinstance(first, Literal) else pa.float64()
    empty = pa.schema(list(types.items())).empty_table()
    return plan_to_json(Transform(input=Values(table=empty), design=design), indent=1)


def design_of(text: str | bytes) -> Design:
    """Read what `design_text` wrote.

    Raises:
        StateError: it is another plan.
        PlanFormatError: it is no plan.
    """
    plan = plan_from_json(text)
    if not isinstance(plan, Transform):
        raise StateError("its design is no model")
    return plan.design


__all__ = ["design_of", "design_text"]
