"""What DataFrame and Dataset share: a plan, the session that runs it, and pins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

from umbel.api.located import here
from umbel.plan.errors import PlanError, TypeClashError
from umbel.plan.operators import Operator, Placeholder, Write, topological
from umbel.plan.sinks import Sink

if TYPE_CHECKING:
    from umbel.api.session import Session
    from umbel.executor import Result
    from umbel.optimizer import Budget, Explanation


class Handle:
    """A plan that has not run.

    Attributes:
        plan: the last operator of the plan.
        session: what runs it.
    """

    def __init__(self, plan: Operator, session: Session, inputs: Iterable[Operator] = ()) -> None:
        self.plan = plan
        self.session = session
        self._inputs = tuple(inputs)

    def _then(self, plan: Operator, *others: Handle) -> Self:
        """A handle of this kind on what a method built over this handle and others."""
        return type(self)(plan, self.session, (self.plan, *(other.plan for other in others)))

    def on(self, platform: str) -> Self:
        """Run what the last method does on one platform, whatever the optimizer would choose.

        Args:
            platform: its name; `session.platforms()` has them.

        Raises:
            UnknownNameError: there is no such platform.
            PlacementError: its engine is not installed. (That it cannot run the operator is found
                when the plan is explained or run.)
        """
        name = self.session.platform_name(platform)
        built: dict[int, Operator] = {id(operator): operator for operator in self._inputs}

        def pinned(operator: Operator) -> Operator:
            if id(operator) not in built:
                inputs = tuple(pinned(child) for child in operator.inputs)
                built[id(operator)] = operator.with_inputs(inputs).pinned(name)
            return built[id(operator)]

        return type(self)(pinned(self.plan), self.session, self._inputs)

    def to_json(self) -> str:
        """Give the plan as JSON; `ub.plan_from_json` reads it."""
        from umbel.plan.codec import plan_to_json

        return plan_to_json(self.plan)

    def explain(self, *, budget: Budget | None = None) -> Explanation:
        """Say how the plan would run, what it is estimated to cost, and what lost against it.

        The explanation prints as text; it also has `to_json()`, `to_mermaid()` and `to_svg()`.

        Args:
            budget: bounds on the estimates; None for those of the session.
        """
        self._check_bound()
        check_budget(budget)
        return self.session.explain(self.plan, budget)

    def execute(self, *, budget: Budget | None = None) -> Result:
        """Run the plan; give the data and the record of the run.

        Args:
            budget: bounds on what this run is estimated to cost; None for those of the session.

        Raises:
            PlacementError: no plan fits the budget; says what the fastest and the cheapest cost.
        """
        return self._run(self.plan, budget)

    def _run(self, plan: Operator, budget: Budget | None = None) -> Result:
        self._check_bound()
        check_budget(budget)
        return self.session.run(plan, budget)

    def _write(self, sink: Sink) -> Result:
        return self._run(Write(input=self.plan, sink=sink, origin=here()))

    def _check_bound(self) -> None:
        for operator in topological(self.plan):
            if isinstance(operator, Placeholder):
                raise PlanError(
                    "a dataset inside the body of a loop cannot be run: it has no data yet",
                    hint="return a dataset from the body, and run the loop's result",
                )

    def __bool__(self) -> bool:
        raise PlanError(
            f"a {type(self).__name__} has no truth value",
            hint="ask for its rows: .count() > 0",
        )

    def __len__(self) -> int:
        raise PlanError(
            f"a {type(self).__name__} does not know its length before it runs",
            hint="use .count(), which runs it",
        )


def check_handle(value: Any, kind: type[Handle], *, what: str) -> None:
    """Raise `PlanError` unless a method was given a handle of the right kind."""
    if not isinstance(value, kind):
        raise PlanError(f"{what} takes another {kind.__name__}, not {type(value).__name__}")


def check_budget(value: Any) -> None:
    """Raise `TypeClashError` unless a method was given a budget or None."""
    if value is None:
        return
    from umbel.optimizer import Budget

    if not isinstance(value, Budget):
        raise TypeClashError(
            f"a budget is not {value!r}", hint="write ub.Budget(seconds=10) or (dollars=1)"
        )
