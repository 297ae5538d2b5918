"""Compute equal parts of a plan once."""

from __future__ import annotations

from umbel.optimizer.facts import Facts
from umbel.plan import operators as ops

_CHEAP = (ops.Scan, ops.Values, ops.Placeholder)


def share(root: ops.Operator, facts: Facts | None = None) -> ops.Operator:
    """Merge operators that are equal, so that one output feeds all their consumers.

    Sources are left apart: each consumer's engine reads only what it needs of them.

    >>> import pyarrow as pa
    >>> from umbel.plan.operators import Distinct, Union, Values
    >>> def twin():
    ...     return Distinct(input=Values(table=pa.table({"a": [1, 1]})))
    >>> merged = share(Union(members=(twin(), twin())))
    >>> merged.members[0] is merged.members[1]
    True
    """
    first: dict[tuple[str, str], ops.Operator] = {}

    def change(operator: ops.Operator) -> ops.Operator:
        if isinstance(operator, _CHEAP):
            return operator
        return first.setdefault((operator.digest, operator.pin), operator)

    return ops.rebuild(root, change)
