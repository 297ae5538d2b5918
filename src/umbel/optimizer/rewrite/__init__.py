"""Rewrite rules: one module per rule, one function of the same name, run in a fixed order.

A rule takes a plan and gives an equal one: the same rows under the same schema. After each rule
the schema is compared with the one before, and a rule that changed it is an internal error that
names the rule; only `lift` may give elements a type that they did not have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from umbel.optimizer.facts import Facts
from umbel.optimizer.rewrite.aggregate_early import aggregate_early
from umbel.optimizer.rewrite.lift import lift
from umbel.optimizer.rewrite.order_evaluation import order_evaluation
from umbel.optimizer.rewrite.order_joins import order_joins
from umbel.optimizer.rewrite.prune_columns import prune_columns
from umbel.optimizer.rewrite.push_filters import push_filters
from umbel.optimizer.rewrite.restrict_groups import restrict_groups
from umbel.optimizer.rewrite.share import share
from umbel.optimizer.rewrite.simplify import simplify
from umbel.optimizer.rewrite.spread_code import spread_code
from umbel.plan.operators import DoWhile, Element, Loop, Operator, rebuild, topological

#: Gives an equal plan; what it needs to know of sources it asks the facts.
Rule = Callable[[Operator, Facts], Operator]
#: Told after each rule: the rule's name and the plan it gave.
Observer = Callable[[str, Operator], None]

#: The rules, in the order in which they run.
RULES: tuple[Rule, ...] = (
    lift,  # first: what is relational can be moved and merged by the others
    prune_columns,  # early too: a column that nobody reads holds no filter up
    simplify,  # before pushing, so that projections to push through are few
    push_filters,  # before pruning: a pushed filter may free columns
    simplify,  # filters that met in one place become one
    aggregate_early,  # after simplifying: keys and what they are computed from have met
    prune_columns,
    spread_code,  # after pruning: what is left between code and a union is few operators
    restrict_groups,  # after pushing filters: they say how few keys are asked for
    order_joins,  # after pruning: what is not carried along costs nothing
    order_evaluation,  # after all that moves expressions: it fixes where they are evaluated
    share,  # last: only now are equal subplans written equally
)


class RuleError(AssertionError):
    """A rule changed what a plan means: a defect of umbel, not of the plan."""


def rewrite(
    root: Operator,
    *,
    lifting: bool = True,
    observer: Observer | None = None,
    rules: tuple[Rule, ...] = RULES,
    facts: Facts | None = None,
) -> Operator:
    """Run the rules over a plan, and over the bodies of its loops.

    Args:
        root: the plan.
        lifting: whether Python functions are replaced by expressions.
        observer: told of the plan after each rule.
        rules: the rules.
        facts: what is known of sources and operators.
    """
    facts = Facts() if facts is None else facts
    for rule in rules:
        if rule is lift and not lifting:
            continue
        after = rule(root, facts)
        _check(rule, root, after)
        root = after
        if observer is not None:
            observer(rule.__name__, root)
    if not any(isinstance(operator, Loop) for operator in topological(root)):
        return root
    return rebuild(root, lambda op: _rewrite_bodies(op, lifting=lifting, rules=rules, facts=facts))


def _rewrite_bodies(
    operator: Operator,
    *,
    lifting: bool,
    rules: tuple[Rule, ...],
    facts: Facts,
) -> Operator:
    if not isinstance(operator, Loop):
        return operator
    body = rewrite(operator.body, lifting=lifting, rules=rules, facts=facts)
    if isinstance(operator, DoWhile):
        condition = rewrite(operator.condition, lifting=lifting, rules=rules, facts=facts)
        return replace(operator, body=body, condition=condition)
    return replace(operator, body=body)


def _check(rule: Rule, before: Operator, after: Operator) -> None:
    if before is after or (rule is lift and before.element is Element.OBJECT):
        return
    if before.element is after.element and before.schema.equals(after.schema):
        return
    same = before.schema.names == after.schema.names and before.schema.types == after.schema.types
    if not same or before.element is not after.element:
        raise RuleError(
            f"rule {rule.__name__} changed the schema of a plan from "
            f"{before.element.value} {before.schema} to {after.element.value} {after.schema}"
        )
