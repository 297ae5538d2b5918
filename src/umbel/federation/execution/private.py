"""What each individual has in each group, row by row within bounds: the input of private answers."""

from __future__ import annotations

from dataclasses import replace

from umbel.federation.policy.private import Asked
from umbel.federation.policy.verdict import INDIVIDUAL, ROWS, VALUE
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Call, Case, Cast, Column, Expression, Literal
from umbel.plan.types import FLOAT64


def clipped_parts(
    aggregate: ops.Aggregate, carried: ops.Operator, hidden: str, asked: Asked
) -> ops.Operator:
    """The plan of the parts of individuals in an aggregate.

    Args:
        aggregate: what was asked for.
        carried: its input with the individual of each row.
        hidden: the column of that.
        asked: what it measures.
    """
    parts: list[tuple[str, AggregateCall]] = [(ROWS, AggregateCall("len"))]
    for name, call in aggregate.aggregates:
        value = call.arguments[0] if call.arguments else None
        conditions = [] if call.where is None else [call.where]
        if name in asked.bounds and value is not None:
            value = Cast(value, FLOAT64)
            # What is no number says nothing, and must not make a sum into none.
            conditions += [Call("is_not_null", (value,)), Call("not", (Call("is_nan", (value,)),))]
            where = _all(conditions)
            clipped = _clipped(value, *asked.bounds[name])
            parts.append((f"{VALUE}{name}", AggregateCall("sum", (clipped,), where=where)))
        elif value is not None:
            conditions.append(Call("is_not_null", (value,)))
        parts.append((f"{ROWS} {name}", AggregateCall("len", where=_all(conditions))))
    return replace(
        aggregate,
        input=carried,
        keys=(*aggregate.keys, (f"{INDIVIDUAL}0", Column(hidden))),
        aggregates=tuple(parts),
        form=ops.Element.ROW,
    )


def _clipped(value: Expression, low: float, high: float) -> Expression:
    least, most = Literal(low, FLOAT64), Literal(high, FLOAT64)
    branches = ((Call("less", (value, least)), least), (Call("greater", (value, most)), most))
    return Case(branches, value)


def _all(conditions: list[Expression]) -> Expression | None:
    if not conditions:
        return None
    return conditions[0] if len(conditions) == 1 else Call("and", tuple(conditions))


__all__ = ["clipped_parts"]
