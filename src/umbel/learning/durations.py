"""At which times something happens: what a model of durations needs to know of all rows.

It is asked for in plain aggregates, as everything that is prepared is.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.api.expressions import Expr, col
from umbel.api.functions import count_rows
from umbel.plan.errors import PlanError
from umbel.plan.models import CoxRegression
from umbel.plan.types import is_float

if TYPE_CHECKING:
    from umbel.api.dataframe import DataFrame


def timed(df: DataFrame, model: CoxRegression, label: str) -> CoxRegression:
    """Give a model the times that it tells apart, if it has none.

    Args:
        df: the rows.
        model: says whether they are those at which it happens, or how many intervals.
        label: the column of times.

    Raises:
        PlanError: it never happens, or sites keep back when.
    """
    if model.times:
        return model
    dtype = df.schema.field(label).type
    happened = col(model.event)
    if not pa.types.is_boolean(df.schema.field(model.event).type):
        happened = happened == 1
    known = happened & col(label).is_not_null()
    if is_float(dtype):
        known = known & ~col(label).is_nan() & (col(label).abs() < math.inf)
    events = df.filter(known)
    found = _intervals(events, model, label) if model.intervals else _each(events, model, label)
    return replace(model, times=found)


def _each(events: DataFrame, model: CoxRegression, label: str) -> tuple[float, ...]:
    """The times at which it happens."""
    groups = events.group_by(label).agg(count_rows().alias("umbel rows")).collect()
    whole = events.select(_rows()).collect().to_pylist()
    rows = whole[0]["umbel rows"] if whole else 0
    if not rows:
        raise _never(model)
    if sum(groups.column("umbel rows").to_pylist()) != rows:
        raise PlanError(
            f"the sites keep back at which {label!r} it happened to few",
            hint=f"cut time into intervals: CoxRegression({model.event!r}, intervals=10)",
        )
    return tuple(sorted(float(time) for time in groups.column(label).to_pylist()))


def _intervals(events: DataFrame, model: CoxRegression, label: str) -> tuple[float, ...]:
    """Between which times equally many happen, if these have an exponential distribution."""
    time = col(label).cast("float64")
    rows = events.select(time.mean().alias("mean"), _rows()).collect().to_pylist()
    mean = rows[0]["mean"] if rows else None
    if mean is None:
        raise _never(model)
    if not mean > 0:
        raise PlanError(
            f"{label!r} is {mean:g} on average, and intervals are of times above 0",
            hint=f"say at which times they begin: CoxRegression({model.event!r}, times=(…))",
        )
    count = model.intervals
    return tuple(-mean * math.log(1 - i / count) + 0.0 for i in range(count))


def _rows() -> Expr:
    return count_rows().alias("umbel rows")


def _never(model: CoxRegression) -> PlanError:
    return PlanError(
        f"in no row {model.event!r} is true: nothing happened to learn from",
        hint="1 or true says that it happened at the label's time, 0 that it had not yet",
    )


__all__ = ["timed"]
