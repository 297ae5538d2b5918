"""What an aggregate is asked of, so that two questions about the same rows are known as such."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from umbel.plan import operators as ops
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Column


def population_of(aggregate: ops.Aggregate) -> str:
    """Identify the rows that an aggregate is over, whatever columns of them it reads.

    Projections that only choose columns are left out, so that the counts and the sums over one
    filtered table are over the same rows. Keys that are computed, or have another name than their
    column, belong to what identifies them.
    """
    try:
        rows = ops.rebuild(aggregate.input, _whole)
    except PlanError:
        rows = aggregate.input  # with more columns it has no meaning
    renamed = [f"{name}={e!r}" for name, e in aggregate.keys if e != Column(name)]
    return hashlib.sha256("\n".join([rows.digest, *renamed]).encode()).hexdigest()


def arguments_of(aggregate: ops.Aggregate) -> dict[str, str]:
    """Identify what each aggregate tells of: a column as it is, after "=", or a digest."""
    found = {}
    for name, call in aggregate.aggregates:
        names = [a.name for a in call.arguments if isinstance(a, Column)]
        if len(names) == len(call.arguments) and call.where is None:
            found[name] = "=" + ",".join(names)
        else:
            text = repr((call.arguments, call.where))
            found[name] = hashlib.sha256(text.encode()).hexdigest()
    return found


def _whole(operator: ops.Operator) -> ops.Operator:
    match operator:
        case ops.Scan():
            return replace(operator, columns=None)
        case ops.Project(columns=columns, input=below):
            if all(e == Column(name) for name, e in columns):
                return below
    return operator


__all__ = ["arguments_of", "population_of"]
