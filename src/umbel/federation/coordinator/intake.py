"""What a client sends is taken in here: plans and tables, of which nothing is believed.

A plan names tables of the federation, brings constants and tables of its own, and holds nothing
else: no files, no addresses, no statements in an engine's language, no code, and nothing is
written. What a table's name means the coordinator says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import pyarrow as pa

from umbel.federation.errors import AccessError
from umbel.plan.codec import Limits, plan_from_json
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Column
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import (
    DoWhile,
    Loop,
    Operator,
    Project,
    Scan,
    Write,
    is_signed,
    rebuild,
    topological,
)
from umbel.plan.origin import Origin
from umbel.plan.sources import MemorySource, RelationSource


class Tables(Protocol):
    """Says what the names of tables mean."""

    def operator(self, name: tuple[str, ...]) -> Operator:
        """Give the rows of a table: a scan of it, or of its parts.

        Raises:
            UnknownNameError: there is no such table.
        """


def read_plan(
    text: bytes, uploads: Mapping[str, pa.Table], tables: Tables, *, limit: int
) -> Operator:
    """Read a plan that a client sent.

    Args:
        text: its JSON.
        uploads: the tables that it brings, by the tokens of its memory sources.
        tables: what names mean here.
        limit: characters of the plan.

    Raises:
        PlanFormatError: it is no plan, or too large.
        PlanError: it holds what a client may not ask for, or names a table that has changed.
        UnknownNameError: it names a table that is not there.
    """
    plan = plan_from_json(text, data=uploads, limits=Limits(text=limit, nodes=5_000))
    return _resolved(plan, tables)


def _resolved(plan: Operator, tables: Tables) -> Operator:
    for operator in topological(plan):
        _check(operator)
    return rebuild(plan, lambda operator: _bound(operator, tables))


def _check(operator: Operator) -> None:
    """Raise for an operator that a client may not send."""
    if isinstance(operator, Write):
        raise AccessError(
            f"{operator.name}: nothing is written for a client",
            hint="collect the rows, and write them where you are",
        )
    for name, value in operator.arguments():
        if isinstance(value, PythonFunction) and not is_signed(operator):
            raise AccessError(
                f"{operator.name}: Python code is not run for a client ({name} {value})",
                hint="use expressions: col(…), functions that can be replaced by them, or signed "
                "ones where the sites trust who signed them",
            )
    if isinstance(operator, Scan):
        source = operator.source
        if isinstance(source, MemorySource):
            if not isinstance(source.data, pa.Table):
                raise PlanError(f"the rows of {source.describe()} were not sent with the plan")
        elif not isinstance(source, RelationSource):
            raise AccessError(
                f"a client may not read {source.kind} sources of the coordinator",
                hint="name a table of the federation, or send the rows: session.from_arrow(…)",
            )


def _bound(operator: Operator, tables: Tables) -> Operator:
    """Put what a name means in the place of the name."""
    if isinstance(operator, Loop):
        operator = replace(operator, body=_resolved(operator.body, tables))
        if isinstance(operator, DoWhile):
            operator = replace(operator, condition=_resolved(operator.condition, tables))
        return operator
    if not isinstance(operator, Scan) or not isinstance(operator.source, RelationSource):
        return operator
    name = (operator.source.platform, *operator.source.relation)
    found = _written_at(operator.origin, tables.operator(name))
    if not found.schema.equals(operator.source.schema):
        raise PlanError(
            f"the columns of {operator.source.describe()} have changed",
            hint="connect again, to see the table as it is now",
        )
    if isinstance(found, Scan) and found.columns is None and found.predicate is None:
        return replace(operator, source=found.source, pin=operator.pin or found.pin)
    if operator.predicate is not None:
        raise PlanError(
            f"a filter inside of the scan of {operator.source.describe()}",
            hint="put it into an operator of its own: .filter(…)",
        )
    if operator.columns is not None:
        columns = tuple((column, Column(column)) for column in operator.columns)
        return Project(input=found, columns=columns, origin=operator.origin)
    return found


def _written_at(origin: Origin | None, plan: Operator) -> Operator:
    """Let what stands for a table name the line that named the table."""
    return rebuild(plan, lambda inner: replace(inner, origin=origin))


__all__ = ["Tables", "read_plan"]
