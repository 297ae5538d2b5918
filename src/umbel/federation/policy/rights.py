"""The catalogue of rights: what may be asked of a table, told beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from umbel.federation.policy.clauses import Form
from umbel.federation.policy.explaining import clause_words
from umbel.federation.rules import Rule
from umbel.plan import operators as ops
from umbel.plan.sources import RelationSource


def rights(rules: Sequence[Rule]) -> list[str]:
    """What rules of a table let out, one line for each thing.

    >>> rights((Rule(Form.AGGREGATES, 5, "id", ("ann",)),))
    ['aggregates over at least 5 different id leave, for: ann']
    """
    lines = []
    for rule in rules:
        if rule.clause is not None:
            lines += [f"clause {rule.clause.name}:"]
            lines += [f"  {line}" for line in clause_words(rule.clause, rule.individual)]
        elif rule.form is not Form.NOTHING:
            whom = "everybody" if "*" in rule.to else ", ".join(rule.to)
            lines.append(f"{rule.words} leave, for: {whom}")
        if rule.clause is None and rule.updates:
            lines.append(f"{rule.update_words} leave")
    return lines or ["nothing leaves"]


def tables_at(plan: ops.Operator) -> list[tuple[str, str]]:
    """The tables that a plan reads: where they lie, and their names."""
    found = (
        (op.source.platform, op.source.relation[-1])
        for op in ops.topological(plan)
        if isinstance(op, ops.Scan) and isinstance(op.source, RelationSource)
    )
    return sorted(set(found))


def shown(found: Mapping[tuple[str, str], Sequence[str]]) -> str:
    """Rights of tables of sites, as a text."""
    lines = []
    for (site, table), told in found.items():
        lines.append(f"{site}.{table}:")
        lines += [f"  {line}" for line in told]
    return "\n".join(lines)


__all__ = ["rights", "shown", "tables_at"]
