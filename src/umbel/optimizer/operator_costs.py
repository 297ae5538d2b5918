"""What operators cost on platforms, by the platforms' profiles and the estimated rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from umbel.optimizer.cardinality import Estimate
from umbel.optimizer.cost import Cost
from umbel.optimizer.execution_plan import ExecutionPlan
from umbel.plan.expressions import Call, Cast, Expression, WindowCall, walk
from umbel.plan.operators import Loop, Operator, Scan
from umbel.platforms.base import Platform
from umbel.platforms.costs import Price


class OperatorCosts:
    """The cost of operators on platforms, from the platforms' profiles."""

    def __init__(
        self,
        estimates: Mapping[int, Estimate],
        bodies: Mapping[int, tuple[ExecutionPlan, ...]],
        price: Callable[[Platform], Price],
    ) -> None:
        self._estimates = estimates
        self._bodies = bodies
        self._price = price
        self._known: dict[tuple[int, str], Cost] = {}
        self._calls: dict[int, list[str]] = {}

    def __call__(self, operator: Operator, platform: Platform) -> Cost:
        key = (id(operator), platform.name)
        if key not in self._known:
            self._known[key] = self._cost(operator, platform)
        return self._known[key]

    def _cost(self, operator: Operator, platform: Platform) -> Cost:
        profile = platform.costs
        output = self._estimates[id(operator)]
        rows = sum(self._estimates[id(child)].expected for child in operator.inputs)
        size = sum(self._estimates[id(child)].size for child in operator.inputs)
        key = operator.name
        if isinstance(operator, Scan):
            key = f"Scan.{operator.source.kind}"
            rows, size = output.expected, output.size
        seconds = 0.0
        if key in profile.operators:
            seconds += profile.operators[key](rows, size)
        if key in profile.output:
            seconds += profile.output[key](output.expected, output.size)
        for function in self._functions(operator):
            seconds += rows * profile.functions.get(function, profile.expression)
        # A source is paid for as it is read, whatever a filter then leaves of it.
        scanned = output.whole * output.width if isinstance(operator, Scan) else 0.0
        cost = Cost(seconds, self._price(platform)(seconds, scanned))
        if isinstance(operator, Loop):
            for body in self._bodies[id(operator)]:
                cost += body.cost  # of all rounds
        return cost

    def _functions(self, operator: Operator) -> list[str]:
        """The functions that an operator calls for each row, casts included."""
        if id(operator) not in self._calls:
            nodes = [node for e in expressions_of(operator) for node in walk(e)]
            self._calls[id(operator)] = [
                getattr(node, "function", "cast")
                for node in nodes
                if isinstance(node, Call | Cast | WindowCall)
            ]
        return self._calls[id(operator)]


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
