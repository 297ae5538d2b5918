"""What operators cost on platforms, by the platforms' profiles and the estimated rows."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from umbel.optimizer.cost import Cost
from umbel.optimizer.estimates import Estimate
from umbel.optimizer.execution_plan import ExecutionPlan
from umbel.plan.expressions import Call, Cast, Expression, WindowCall, columns_of, walk
from umbel.plan.operators import Loop, Operator, Scan
from umbel.plan.sources import FileSource, MemorySource
from umbel.platforms.base import Platform
from umbel.platforms.costs import CostProfile, Price, Work
from umbel.platforms.registry import Registry

_ARITHMETIC = frozenset({"add", "subtract", "multiply"})


class OperatorCosts:
    """The cost of operators on platforms, from the platforms' profiles."""

    def __init__(
        self,
        estimates: Mapping[int, Estimate],
        bodies: Mapping[int, tuple[ExecutionPlan, ...]],
        platforms: Registry,
    ) -> None:
        self._estimates = estimates
        self._bodies = bodies
        self._platforms = platforms
        self._known: dict[tuple[int, str], Cost] = {}
        self._works: dict[int, Work] = {}
        self._terms: dict[str, tuple[CostProfile, Price]] = {}

    def __call__(self, operator: Operator, platform: Platform) -> Cost:
        key = (id(operator), platform.name)
        if key not in self._known:
            self._known[key] = self._cost(operator, platform)
        return self._known[key]

    def _cost(self, operator: Operator, platform: Platform) -> Cost:
        if id(operator) not in self._works:
            self._works[id(operator)] = work_of(operator, self._estimates)
        if platform.name not in self._terms:
            terms = self._platforms.costs(platform), self._platforms.price(platform)
            self._terms[platform.name] = terms
        profile, price = self._terms[platform.name]
        seconds = profile.seconds(self._works[id(operator)])
        # A source is paid for as it is read, whatever a filter then leaves of it.
        output = self._estimates[id(operator)]
        scanned = output.whole * output.width if isinstance(operator, Scan) else 0.0
        cost = Cost(seconds, price(seconds, scanned))
        if isinstance(operator, Loop):
            for body in self._bodies[id(operator)]:
                cost += body.cost  # of all rounds
        return cost


def work_of(operator: Operator, estimates: Mapping[int, Estimate]) -> Work:
    """What an operator has to do.

    Args:
        operator: the operator.
        estimates: its own and those of its inputs, by identity.
    """
    output = estimates[id(operator)]
    name = operator.name
    rows = sum(estimates[id(child)].expected for child in operator.inputs)
    size = sum(estimates[id(child)].size for child in operator.inputs)
    if isinstance(operator, Scan):
        name = f"Scan.{operator.source.kind}"
        rows, size = output.expected, output.size
        if isinstance(operator.source, FileSource | MemorySource):
            # All rows are looked at, whatever a filter then leaves of them.
            rows, size = output.whole, output.whole * output.width
    functions = tuple(f for e in expressions_of(operator) for f in _functions(e, operator))
    return Work(name, rows, size, output.expected, output.size, functions)


def _functions(expression: Expression, operator: Operator) -> list[str]:
    """Name the functions that an expression calls for each row, casts included.

    Arithmetic on decimals takes engines several times as long as on other numbers, so it has a
    name of its own.
    """
    found = [
        getattr(node, "function", "cast")
        for node in walk(expression)
        if isinstance(node, Call | Cast | WindowCall)
    ]
    if _ARITHMETIC.isdisjoint(found):
        return found
    schemas = [child.schema for child in operator.inputs] or [operator.schema]
    decimal = any(
        pa.types.is_decimal(schema.field(name).type)
        for name in columns_of(expression)
        for schema in schemas
        if name in schema.names
    )
    return [f"{f} decimal" if decimal and f in _ARITHMETIC else f for f in found]


def expressions_of(operator: Operator) -> list[Expression]:
    """All expressions that an operator evaluates."""
    found: list[Expression] = []

    def look(value: object) -> None:
        if isinstance(value, Expression):
            found.append(value)
        elif isinstance(value, tuple):
            for item in value:
                look(item)
        elif hasattr(value, "expression"):
            look(value.expression)

    for _, value in operator.arguments():
        look(value)
    return found
