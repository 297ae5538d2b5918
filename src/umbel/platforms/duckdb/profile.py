"""From DuckDB's profile of a statement to the rows of our operators, where that is certain.

DuckDB's optimizer moves filters, drops joins, adds groupings; its physical operators are not ours.
But where a stage has one join (or grouping, or filter), nothing above it that DuckDB could push
below it, and the profile shows exactly one operator of that kind, then they are the same, and so
are their rows. Everything else is left untold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from umbel.dataclass import dataclass
from umbel.plan.operators import (
    Aggregate,
    Count,
    Distinct,
    Filter,
    Join,
    Limit,
    Operator,
    Placeholder,
    Project,
    Rows,
    Scan,
    Sort,
    ToFrame,
    Values,
    Window,
    consumers,
    topological,
)
from umbel.plan.rows import infer_rows

#: What may stand above an operator without changing how many rows DuckDB takes out of it.
_NEUTRAL = (Project, Sort, Window, ToFrame, Rows, Count)
#: What a stage may hold for its profile to be looked at.
_READABLE = (
    *_NEUTRAL, Scan, Values, Placeholder, Filter, Join, Aggregate, Distinct, Limit,
)  # fmt: skip
_GROUPINGS = frozenset({"HASH_GROUP_BY", "PERFECT_HASH_GROUP_BY"})
_JOINS = frozenset(
    {"HASH_JOIN", "NESTED_LOOP_JOIN", "BLOCKWISE_NL_JOIN", "PIECEWISE_MERGE_JOIN", "IE_JOIN"}
)
_ROWS = "intermediate_rows"


@dataclass(frozen=True)
class Targets:
    """The operators of a stage whose rows its profile tells; None where it does not."""

    grouping: Operator | None = None
    join: Join | None = None
    filtering: Operator | None = None

    def __bool__(self) -> bool:
        return any(op is not None for op in (self.grouping, self.join, self.filtering))


def find_targets(root: Operator) -> Targets:
    """Choose what to look for in the profile of a stage; nothing if its output tells all."""
    order = topological(root)
    readers = consumers(root)
    if not all(isinstance(op, _READABLE) for op in order) or any(
        len(found) > 1 for found in readers.values()
    ):
        return Targets()
    # A limit over a sort reads all; any other stops when it has enough.
    if any(isinstance(op, Limit) and not isinstance(op.input, Sort) for op in order):
        return Targets()
    groupings = [op for op in order if _groups(op)]
    joins = [op for op in order if isinstance(op, Join)]
    filters = [
        op for op in order if isinstance(op, Filter) or (isinstance(op, Scan) and op.predicate)
    ]
    known = infer_rows(order, {id(root): 1})  # whatever the number will be
    grouping = join = filtering = None
    if len(groupings) == 1 and id(groupings[0]) not in known:
        grouping = _if_untouched(groupings[0], readers, ())
    if len(joins) == 1 and joins[0].how != "cross" and id(joins[0]) not in known:
        join = _if_untouched(joins[0], readers, (Aggregate, Distinct))
    if not joins and len(filters) == 1 and id(filters[0]) not in known:
        filtering = _if_untouched(filters[0], readers, (Aggregate, Distinct))
    return Targets(grouping, join if isinstance(join, Join) else None, filtering)


def measured_rows(targets: Targets, profile: str) -> Iterator[tuple[Operator, int]]:
    """Read the rows of operators from a profile in JSON."""
    roots = json.loads(profile).get("operator") or []
    nodes = [node for root in roots for node in _walk(root, ())]
    limited = any(node["type"] == "TOP_N" for node, _ in nodes)
    if limited and any("Dynamic Filters" in (n.get("extra_info") or {}) for n, _ in nodes):
        return  # the best rows so far keep others from being read
    groups = [node for node, _ in nodes if node["type"] in _GROUPINGS]
    if targets.grouping is not None and len(groups) == 1:
        yield targets.grouping, int(groups[0][_ROWS])
    joins = [(node, above) for node, above in nodes if "JOIN" in node["type"]]
    if targets.join is not None and len(joins) == 1 and joins[0][0]["type"] in _JOINS:
        yield targets.join, _after_filters(*joins[0])
    leaves = [(node, above) for node, above in nodes if not node.get("children")]
    if targets.filtering is not None and len(leaves) == 1:
        yield targets.filtering, _after_filters(*leaves[0])


def _groups(operator: Operator) -> bool:
    return isinstance(operator, Distinct) or (
        isinstance(operator, Aggregate) and bool(operator.keys)
    )


def _if_untouched(
    operator: Operator, readers: Mapping[int, list[Operator]], also: tuple[type[Operator], ...]
) -> Operator | None:
    """The operator, if nothing above it has a condition that could be moved below it."""
    above = readers[id(operator)]
    while above:
        (reader,) = above
        neutral = isinstance(reader, (*_NEUTRAL, Limit, *also)) or (
            isinstance(reader, Aggregate) and not reader.keys
        )
        if not neutral:
            return None
        above = readers[id(reader)]
    return operator


def _walk(
    node: dict[str, Any], above: tuple[dict[str, Any], ...]
) -> Iterator[tuple[dict[str, Any], tuple[dict[str, Any], ...]]]:
    """Yield the nodes of a profile, each with those above it, the nearest first."""
    yield node, above
    for child in node.get("children") or []:
        yield from _walk(child, (node, *above))


def _after_filters(node: dict[str, Any], above: tuple[dict[str, Any], ...]) -> int:
    """The rows of a node once the conditions that DuckDB checks right after it have dropped some."""
    rows = int(node[_ROWS])
    for reader in above:
        if reader["type"] == "FILTER":
            rows = int(reader[_ROWS])
        elif reader["type"] != "PROJECTION":
            break
    return rows


__all__ = ["Targets", "find_targets", "measured_rows"]
