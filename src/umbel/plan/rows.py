"""Row counts that follow from others by what operators mean, without counting anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from umbel.plan.operators import (
    Aggregate,
    Cartesian,
    Count,
    Join,
    Limit,
    Map,
    Operator,
    Predict,
    Project,
    Rows,
    Sample,
    Sort,
    SortBy,
    Summing,
    ToFrame,
    Transform,
    Union,
    Values,
    Window,
    ZipWithId,
)

#: Operators that give one row for each row of their first input.
_KEEP = (Project, Sort, Window, Rows, ToFrame, Map, SortBy, ZipWithId, Predict, Transform)


def infer_rows(order: Sequence[Operator], known: Mapping[int, int]) -> dict[int, int]:
    """Find the row counts that follow from known ones.

    Args:
        order: operators, inputs before consumers.
        known: row counts by the identity of the operator.

    Returns:
        The known counts, and those that follow from them for sure.

    >>> import pyarrow as pa
    >>> from umbel.plan.expressions import Column
    >>> table = Values(table=pa.table({"a": [1, 2, 3]}))
    >>> project = Project(input=table, columns=(("b", Column("a")),))
    >>> infer_rows([table, project], {})[id(project)]
    3
    """
    rows = dict(known)
    before = -1
    while len(rows) > before:
        before = len(rows)
        for operator in order:
            if id(operator) not in rows:
                found = _from_inputs(operator, rows)
                if found is not None:
                    rows[id(operator)] = found
        for operator in reversed(order):
            if id(operator) in rows:
                for child, count in _of_inputs(operator, rows):
                    rows.setdefault(id(child), count)
    return rows


def _from_inputs(operator: Operator, rows: Mapping[int, int]) -> int | None:
    """The rows that an operator gives, if those of its inputs tell."""
    below = [rows.get(id(child)) for child in operator.inputs]
    match operator:
        case Values(table=table):
            return int(table.num_rows)
        case Aggregate(keys=()) | Count() | Summing():
            return 1
        case Limit(count=0):
            return 0
    if not below or any(count is None for count in below):
        # Broadcast inputs come after the first one and do not count.
        if isinstance(operator, _KEEP) and below and below[0] is not None:
            return below[0]
        return None
    counts = [count for count in below if count is not None]
    match operator:
        case Limit(count=count, offset=offset):
            left = max(0, counts[0] - offset)
            return left if count is None else min(left, count)
        case Sample(count=int(count)):
            return min(counts[0], count)
        case Union(distinct=False):
            return sum(counts)
        case Join(how="cross") | Cartesian():
            return counts[0] * counts[1]
    return counts[0] if isinstance(operator, _KEEP) else None


def _of_inputs(operator: Operator, rows: Mapping[int, int]) -> list[tuple[Operator, int]]:
    """The rows that inputs gave, if those of the operator tell."""
    given = rows[id(operator)]
    match operator:
        case Limit(count=count, offset=offset):
            # One that is full says only that there was enough; one that is empty, not how little.
            if given > 0 and (count is None or given < count):
                return [(operator.input, given + offset)]
        case Sample(count=int(count)):
            if given < count:
                return [(operator.input, given)]
        case Union(distinct=False):
            unknown = [child for child in operator.inputs if id(child) not in rows]
            if len(unknown) == 1:
                others = sum(rows[id(c)] for c in operator.inputs if c is not unknown[0])
                return [(unknown[0], given - others)]
        case _ if isinstance(operator, _KEEP):
            return [(operator.inputs[0], given)]
    return []


def may_stop_early(order: Sequence[Operator]) -> set[int]:
    """Identities of the operators that a limit above may keep from giving all their rows."""
    cut: set[int] = set()
    for operator in reversed(order):
        if id(operator) in cut or (isinstance(operator, Limit) and operator.count is not None):
            cut.update(id(child) for child in operator.inputs)
    return cut


__all__ = ["infer_rows", "may_stop_early"]
