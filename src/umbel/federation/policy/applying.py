"""Puts published tables under a policy: its filters and masks go below all that others ask.

What stands above a filter or a mask sees nothing of what it hides; so it need not be looked for in
plans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from umbel.federation.execution.pseudonyms import has_pseudonyms
from umbel.federation.policy.clauses import Clause, Privacy
from umbel.federation.policy.reading import Policy, TablePolicy
from umbel.plan import operators as ops
from umbel.plan.errors import PlanError, UmbelError, UnknownNameError
from umbel.plan.expressions import Cast, Column, Expression
from umbel.plan.types import is_numeric
from umbel.sql.reading.alone import read_expression

if TYPE_CHECKING:
    from umbel.federation.publishing import PublishedTable

Made = TypeVar("Made")


def applied(
    policy: Policy, site: str, tables: Mapping[str, PublishedTable]
) -> dict[str, PublishedTable]:
    """Give a site's tables under a policy.

    Args:
        policy: the site's.
        site: its name.
        tables: what it publishes.

    Raises:
        PlanError: the policy is another site's, or names what is not there; says the line.
    """
    if policy.site != site:
        raise policy.file.at(
            ("site",), PlanError(f"the policy is of site {policy.site!r}, not of {site!r}")
        )
    for name in policy.tables:
        if name not in tables:
            error = UnknownNameError("table", name, tables, where="what the site publishes")
            raise policy.file.at(("tables", name), error)
    found = {}
    for name, table in tables.items():
        rules = policy.tables.get(name, TablePolicy(name))
        plan = _checked(policy, rules, table.plan)
        first, *others = rules.rules
        found[name] = replace(
            table, plan=plan, rule=first, others=tuple(others), pseudonyms=rules.pseudonym
        )
    return found


def filtered(plan: ops.Operator, where: str) -> ops.Operator:
    """The rows for which some SQL is true; all of them if there is none."""
    return ops.Filter(input=plan, predicate=_read(where, plan)) if where else plan


def _checked(policy: Policy, rules: TablePolicy, plan: ops.Operator) -> ops.Operator:
    """The rows of a table as the policy shows them, and its columns as the clauses name them."""
    at = ("tables", rules.name)
    plan = _at(policy, (*at, "where"), partial(filtered, plan, rules.where))
    names = plan.schema.names
    for name in rules.mask:
        if name not in names:
            _unknown(policy, (*at, "mask"), name, names)
    if rules.mask:
        columns = tuple(
            (name, _at(policy, (*at, "mask"), partial(_read, rules.mask[name], plan)))
            if name in rules.mask
            else (name, Column(name))
            for name in names
        )
        plan = ops.Project(input=plan, columns=columns)
    shown = _named(policy, rules, plan)
    if rules.individual and rules.individual not in names:
        _unknown(policy, (*at, "individual"), rules.individual, names)
    for clause in rules.clauses:
        here = (*at, "allow", clause.name)
        for key, used in _columns_of(clause).items():
            for name in used:
                if name != "*" and name not in names:
                    _unknown(policy, (*here, key), name, names)
        _at(policy, (*here, "where"), partial(filtered, shown, clause.where))
        if clause.privacy is not None:
            _at(policy, (*here, "privacy"), partial(_fits, clause.privacy, shown.schema))
    return plan


def _named(policy: Policy, rules: TablePolicy, plan: ops.Operator) -> ops.Operator:
    """The rows with words where pseudonyms will be, which are made when somebody asks."""
    names = plan.schema.names
    for name in rules.pseudonym:
        at = ("tables", rules.name, "pseudonym")
        if name not in names:
            _unknown(policy, at, name, names)
        dtype = plan.schema.field(name).type
        if not has_pseudonyms(dtype):
            raise policy.file.at(
                at,
                PlanError(
                    f"column {name!r} is of type {dtype}, of which there are no pseudonyms",
                    hint="there are of integers, strings and dates",
                ),
            )
    if not rules.pseudonym:
        return plan
    columns = tuple(
        (n, Cast(Column(n), pa.string()) if n in rules.pseudonym else Column(n)) for n in names
    )
    return ops.Project(input=plan, columns=columns)


def _fits(privacy: Privacy, schema: pa.Schema) -> None:
    """Raise unless bounds are of columns of numbers, and domains of values of their columns."""
    for name in privacy.bounds:
        if not is_numeric(schema.field(name).type):
            raise PlanError(f"column {name!r} is no number and has no bounds")
    for name, values in privacy.domains.items():
        dtype = schema.field(name).type
        try:
            fits = pa.array(values, dtype).to_pylist() == list(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            fits = False
        if not fits:
            raise PlanError(f"the domain of column {name!r} has other values than its {dtype}")


def _columns_of(clause: Clause) -> dict[str, tuple[str, ...]]:
    bounds = () if clause.privacy is None else (*clause.privacy.bounds, *clause.privacy.domains)
    return {
        "columns": clause.columns,
        "dimensions": clause.dimensions,
        "conditions": clause.conditions,
        "joins": clause.joins,
        "privacy": bounds,
    }


def _unknown(policy: Policy, keys: tuple[str, ...], name: str, names: list[str]) -> None:
    raise policy.file.at(keys, UnknownNameError("column", name, names))


def _at(policy: Policy, keys: tuple[str, ...], work: Callable[[], Made]) -> Made:
    try:
        return work()
    except UmbelError as error:
        raise policy.file.at(keys, error) from None


@lru_cache(maxsize=1000)
def _read(text: str, plan: ops.Operator) -> Expression:
    return read_expression(text, plan)


__all__ = ["applied", "filtered"]
