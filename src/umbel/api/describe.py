"""`DataFrame.describe()` as a plan: one aggregate of the whole frame, turned into rows."""

from __future__ import annotations

import pyarrow as pa

from umbel.api.binding import extract_aggregates
from umbel.api.expressions import Expr, col, lit
from umbel.plan.expressions import Cast, Column, Expression
from umbel.plan.operators import Operator, Project, Union
from umbel.plan.origin import Origin
from umbel.plan.types import FLOAT64, STRING, is_numeric, is_object

STATISTICS = ("count", "null_count", "mean", "std", "min", "25%", "50%", "75%", "max")


def describe(below: Operator, origin: Origin | None) -> Operator:
    """One row for each statistic: its name, and for each column its value.

    Numbers are floats. Other columns have text; a statistic that a type lacks is null.
    """
    wanted: list[tuple[str, Expression]] = []
    cells: dict[tuple[str, str], Expression] = {}
    for field in below.schema:
        shown = FLOAT64 if is_numeric(field.type) else STRING
        for statistic in STATISTICS:
            expression = _statistic(statistic, field)
            if expression is None:
                cells[statistic, field.name] = lit(None, shown).node
            else:
                name = f"{statistic}:{field.name}"
                wanted.append((name, expression.node))
                cells[statistic, field.name] = Cast(Column(name), shown)
    _, aggregate = extract_aggregates((), wanted, below, origin)
    names = [field.name for field in below.schema]
    label = "statistic" if "statistic" not in names else "statistic_"
    rows = [
        Project(
            input=aggregate,
            columns=((label, lit(statistic).node), *((n, cells[statistic, n]) for n in names)),
            origin=origin,
        )
        for statistic in STATISTICS
    ]
    return Union(members=tuple(rows), origin=origin)


def _statistic(statistic: str, field: pa.Field) -> Expr | None:
    """The aggregate behind a statistic; None if the column's type has none."""
    column, dtype = col(field.name), field.type
    if statistic == "count":
        return column.count()
    if statistic == "null_count":
        return column.null_count()
    if statistic in ("min", "max"):
        ordered = not (pa.types.is_nested(dtype) or is_object(dtype) or pa.types.is_binary(dtype))
        comparable = ordered and not pa.types.is_null(dtype) and not pa.types.is_duration(dtype)
        return (column.min() if statistic == "min" else column.max()) if comparable else None
    if not is_numeric(dtype):
        return None
    number = column.cast(FLOAT64)
    if statistic == "mean":
        return number.mean()
    if statistic == "std":
        return number.std()
    return number.quantile(int(statistic.rstrip("%")) / 100)
