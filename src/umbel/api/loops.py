"""Loops: the plan of a body, with placeholders for what each round reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.api.located import here
from umbel.plan.errors import PlanError
from umbel.plan.invariants import Invariants
from umbel.plan.operators import DoWhile, Element, Operator, Placeholder, Repeat
from umbel.plan.operators.base import same_schema

if TYPE_CHECKING:
    from umbel.api.dataset import Dataset

Body = Callable[["Dataset"], "Dataset"]
ROUND = "round"


def same_elements(left: Operator, right: Operator) -> bool:
    """Whether two operators give elements of the same form and types."""
    return left.element is right.element and same_schema([left.schema, right.schema])


def trace(dataset: Dataset, body: Body, what: str) -> tuple[Dataset, Placeholder, Operator]:
    """Call a body on a placeholder; where it does not give what it takes, on Python objects.

    Returns:
        What the first round reads, the placeholder, and the body's plan over it.
    """
    placeholder = _placeholder(dataset.plan)
    result = _traced(dataset, placeholder, body, what)
    if same_elements(placeholder, result):
        if all(a.nullable or not b.nullable for a, b in _fields(placeholder, result)):
            return dataset, placeholder, result
        # A round may give nulls, so the next one must reckon with them.
        placeholder = _placeholder(dataset.plan, nullable=True)
        result = _traced(dataset, placeholder, body, what)
        if same_elements(placeholder, result):
            return dataset, placeholder, result
    dataset = dataset._as_objects()
    placeholder = _placeholder(dataset.plan)
    result = _traced(dataset, placeholder, body, what)
    if result.element is not Element.OBJECT:
        result = type(dataset)(result, dataset.session)._as_objects().plan
    return dataset, placeholder, result


def _fields(left: Operator, right: Operator) -> Iterable[tuple[pa.Field, pa.Field]]:
    return zip(left.schema, right.schema, strict=True)


def _placeholder(plan: Operator, *, nullable: bool = False) -> Placeholder:
    columns = plan.schema
    if nullable:
        columns = pa.schema([field.with_nullable(True) for field in columns])
    return Placeholder(label=ROUND, columns=columns, form=plan.element, origin=here())


def _traced(dataset: Dataset, placeholder: Placeholder, function: Body, what: str) -> Operator:
    kind = type(dataset)
    result = function(kind(placeholder, dataset.session))
    if not isinstance(result, kind):
        raise PlanError(
            f"{what} must give a Dataset, not {type(result).__name__}",
            hint="it is called once, to build a plan; it cannot look at data",
        )
    return result.plan


def repeat(dataset: Dataset, n: int, body: Body) -> Dataset:
    """Build a loop of `n` rounds."""
    initial, placeholder, result = trace(dataset, body, "the body of repeat")
    invariants = Invariants()
    bound = invariants.bind(result, placeholder)
    plan = Repeat(
        initial=initial.plan,
        invariants=invariants.operators,
        body=bound,
        labels=(ROUND, *invariants.labels),
        times=n,
        origin=here(),
    )
    return dataset._then(plan)


def do_while(dataset: Dataset, condition: Body, body: Body, expected: int, limit: int) -> Dataset:
    """Build a loop that ends when its condition is false."""
    initial, placeholder, result = trace(dataset, body, "the body of do_while")
    test = _traced(initial, placeholder, condition, "the condition of do_while")
    invariants = Invariants()
    bound, bound_test = invariants.bind(result, placeholder), invariants.bind(test, placeholder)
    plan = DoWhile(
        initial=initial.plan,
        invariants=invariants.operators,
        body=bound,
        condition=bound_test,
        labels=(ROUND, *invariants.labels),
        expected=expected,
        limit=limit,
        origin=here(),
    )
    return dataset._then(plan)


__all__ = ["Invariants", "do_while", "repeat", "same_elements"]
