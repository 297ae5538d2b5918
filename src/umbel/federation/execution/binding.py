"""Binds a task's plan to what a site has: its published tables, and what came in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pyarrow as pa

from umbel.api.memory import memory_source
from umbel.federation.errors import FederationError
from umbel.federation.execution.pseudonyms import Pseudonyms
from umbel.federation.policy.applying import filtered
from umbel.federation.publishing import PublishedTable
from umbel.federation.rules import Analysis
from umbel.plan import operators as ops
from umbel.plan.expressions import Column, columns_of
from umbel.plan.sources import RelationSource


class Binding:
    """Plans over the site's own sources, as its rules show them, and over what came in."""

    def __init__(
        self,
        tables: Mapping[str, PublishedTable],
        analysis: Analysis,
        pseudonyms: Pseudonyms,
        purpose: str,
        run: Callable[[ops.Operator], pa.Table],
    ) -> None:
        """Prepare.

        Args:
            tables: what the site publishes, by name.
            analysis: its rules.
            pseudonyms: those of the site.
            purpose: what is asked for; pseudonyms are for one.
            run: gives the rows of a plan.
        """
        self._tables = tables
        self._analysis = analysis
        self._pseudonyms = pseudonyms
        self._purpose = purpose
        self._run = run

    def over(self, plan: ops.Operator, inputs: Mapping[str, pa.Table]) -> ops.Operator:
        """The plan over sources that can be read here.

        Args:
            plan: over published tables and placeholders.
            inputs: what came in, by label.

        Raises:
            FederationError: what came in is not as the plan says.
        """
        known: dict[str, ops.Operator] = {}

        def bind(operator: ops.Operator) -> ops.Operator:
            if operator.pin:
                operator = replace(operator, pin="")
            match operator:
                case ops.Placeholder(label=label):
                    if label not in known:
                        known[label] = _given(operator, inputs[label])
                    return known[label]
                case ops.Scan(source=RelationSource(relation=(name,))):
                    return _published(operator, self._rows(operator, name))
            return operator

        return ops.rebuild(plan, bind)

    def _rows(self, scan: ops.Scan, name: str) -> ops.Operator:
        """The rows of a table that may be read, with pseudonyms where it has them."""
        table, clause = self._tables[name], self._analysis.rules[name].clause
        where = "" if clause is None else clause.where
        rows = table.plan
        if table.pseudonyms:
            wanted = frozenset(rows.schema.names)
            if scan.columns is not None and not where:
                picked = () if scan.predicate is None else columns_of(scan.predicate)
                wanted = frozenset([*scan.columns, *picked])
            rows = self._pseudonyms.put(rows, table.pseudonyms, wanted, self._purpose, self._run)
        return filtered(rows, where)


def _given(placeholder: ops.Placeholder, table: pa.Table) -> ops.Operator:
    """What came in, as a source."""
    wanted = placeholder.schema
    table.validate(full=True)
    if table.schema.names != wanted.names or table.schema.types != wanted.types:
        raise FederationError(f"the input {placeholder.label!r} has other columns than the plan")
    for field, column in zip(wanted, table.columns, strict=True):
        if not field.nullable and column.null_count:
            raise FederationError(
                f"column {field.name!r} of the input {placeholder.label!r} has nulls"
            )
    source = memory_source(pa.Table.from_arrays(table.columns, schema=wanted))
    return ops.Scan(source=replace(source, form=placeholder.element.value))


def _published(scan: ops.Scan, rows: ops.Operator) -> ops.Operator:
    """The published rows, filtered and cut as a scan says."""
    found = rows
    if scan.predicate is not None:
        found = ops.Filter(input=found, predicate=scan.predicate)
    if scan.columns is not None:
        found = ops.Project(input=found, columns=tuple((n, Column(n)) for n in scan.columns))
    return found


__all__ = ["Binding"]
