"""Which aggregates can be answered with differential privacy, and what they would measure.

Each row below such an aggregate must be of one individual, so that an individual's rows can be
taken out and no other row changes: one protected table, read once. What is summed must lie within
bounds, and groups come from domains, both of which the policy names; so nothing of the data decides
how large the noise is or which groups there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from umbel.dataclass import dataclass
from umbel.federation.policy.clauses import Form, Privacy
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Cast, Column, Expression
from umbel.plan.sources import RelationSource
from umbel.plan.types import is_numeric
from umbel.plan.typing import infer_type

if TYPE_CHECKING:
    from umbel.federation.policy.rule import Rule

#: The count of individuals, beside "count" (of rows), "sum" and "mean".
PEOPLE = "people"
#: Groups of one answer at most; each gets noise, whether anybody is in it or not.
MOST_CELLS = 100_000


@dataclass(frozen=True)
class Asked:
    """What a private aggregate measures.

    Attributes:
        table: whose individuals are protected.
        privacy: of its clause.
        functions: by the name of an aggregate's column "count", `PEOPLE`, "sum" or "mean".
        calls: by that name the aggregate as it was asked for.
        bounds: of those that are summed.
        domains: of keys the values that they may have.
        known: whether all keys have domains.
    """

    table: str
    privacy: Privacy
    functions: Mapping[str, str]
    calls: Mapping[str, str]
    bounds: Mapping[str, tuple[float, float]]
    domains: Mapping[str, tuple[Any, ...]]
    known: bool

    @property
    def measurements(self) -> int:
        """How many noisy values each group has: a mean is of two, finding the groups is one."""
        found = sum(2 if what == "mean" else 1 for what in self.functions.values())
        return found + (not self.known)


def asked_of(aggregate: ops.Aggregate, site: str, rules: Mapping[str, Rule]) -> Asked | str:
    """What an aggregate over a private table measures, or why it cannot be answered."""
    table = _only_table(aggregate.input, site, rules)
    if table is None:
        return "reads protected tables more than once; a private answer is of one, read once"
    rule = rules.get(table)
    if rule is None:
        return "reads a table without a rule"
    privacy = None if rule.clause is None else rule.clause.privacy
    if privacy is None:
        return "has no privacy budget in its clause"
    functions: dict[str, str] = {}
    bounds: dict[str, tuple[float, float]] = {}
    for name, call in aggregate.aggregates:
        what, column = _measured(call, aggregate.input, rule)
        if not what:
            return (
                f"column {name!r}: {call.function} has no private form; count, sum and mean of "
                "columns have, and the count of individuals"
            )
        if what in ("sum", "mean"):
            if column is None or column not in privacy.bounds:
                known = ", ".join(privacy.bounds) or "none"
                return (
                    f"column {name!r}: what it sums has no bounds in the policy; there are: {known}"
                )
            bounds[name] = privacy.bounds[column]
        functions[name] = what
    origins = {name: _origin(aggregate.input, key) for name, key in aggregate.keys}
    domains = {
        name: tuple(privacy.domains[origin])
        for name, origin in origins.items()
        if origin is not None and origin in privacy.domains
    }
    missing = next((name for name in origins if name not in domains), None)
    if missing is not None and not privacy.delta:
        known = ", ".join(privacy.domains) or "none"
        return (
            f"groups by {missing!r}, whose values the policy does not list, and grants no delta to "
            f"find them by; it lists those of: {known}"
        )
    if missing is None and math.prod(map(len, domains.values())) > MOST_CELLS:
        return f"makes more than {MOST_CELLS:,} groups, each of which would get noise"
    calls = {name: str(call) for name, call in aggregate.aggregates}
    return Asked(table, privacy, functions, calls, bounds, domains, missing is None)


def _only_table(operator: ops.Operator, site: str, rules: Mapping[str, Rule]) -> str | None:
    """The protected table that a plan reads, if it reads one and that once.

    A plan may use one node in several places: each use is a reading.
    """
    read: dict[int, tuple[str, ...]] = {}
    for node in ops.topological(operator):
        found = tuple(table for child in node.inputs for table in read[id(child)])
        if isinstance(node, ops.Scan) and isinstance(node.source, RelationSource):
            table = node.source.relation[-1]
            rule = rules.get(table)
            if node.source.platform == site and (rule is None or rule.form is not Form.ROWS):
                found = (table,)
        read[id(node)] = found[:2]
    whole = read[id(operator)]
    return whole[0] if len(whole) == 1 else None


def _measured(call: AggregateCall, below: ops.Operator, rule: Rule) -> tuple[str, str | None]:
    """What an aggregate measures, and of which column of the table."""
    if call.order_by:
        return "", None
    if call.function == "n_unique" or (call.function == "count" and call.distinct):
        origins = [_origin(below, argument) for argument in call.arguments]
        return (PEOPLE if origins == [rule.individual] and call.where is None else ""), None
    if call.distinct:
        return "", None
    if call.function in ("count", "len"):
        return "count", None
    if call.function in ("sum", "mean") and is_numeric(infer_type(call.arguments[0], below.schema)):
        argument = call.arguments[0]
        return call.function, _origin(below, argument)
    return "", None


def _origin(below: ops.Operator, expression: Expression) -> str | None:
    """The column of a table that an expression is, as it is but for the type; None if none."""
    while isinstance(expression, Cast) and is_numeric(expression.dtype):
        expression = expression.operand
    if not isinstance(expression, Column):
        return None
    name = expression.name
    match below:
        case ops.Scan():
            return name
        case ops.Project(columns=columns, input=child):
            return _origin(child, dict(columns)[name])
        case ops.Aggregate(keys=keys, input=child):
            found = dict(keys).get(name)
            return None if found is None else _origin(child, found)
        case ops.Filter() | ops.Sort() | ops.Rows() | ops.Distinct():
            return _origin(below.inputs[0], expression)
        case ops.Join(left=left, right=right):
            return _origin(left if name in left.schema.names else right, expression)
    return None


__all__ = ["MOST_CELLS", "PEOPLE", "Asked", "asked_of"]
