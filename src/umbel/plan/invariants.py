"""What a loop's plans read from outside the loop, which is computed once and not in every round."""

from __future__ import annotations

from umbel.plan.operators import Broadcast, Operator, Placeholder, topological


class Invariants:
    """Plans from outside that a loop's plans read: computed once, and bound by placeholders."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[Operator, Placeholder]] = {}

    @property
    def operators(self) -> tuple[Operator, ...]:
        """What the placeholders stand for, in order."""
        return tuple(operator for operator, _ in self._found.values())

    @property
    def labels(self) -> tuple[str, ...]:
        """The placeholders' labels, in order."""
        return tuple(placeholder.label for _, placeholder in self._found.values())

    def bind(self, root: Operator, round_input: Placeholder) -> Operator:
        """Replace every largest part of a plan that does not read the round's input."""
        dependent: set[int] = set()
        for operator in topological(root):
            if operator is round_input or any(id(i) in dependent for i in operator.inputs):
                dependent.add(id(operator))

        built: dict[int, Operator] = {}
        for operator in topological(root):
            if operator is round_input:
                built[id(operator)] = operator
            elif isinstance(operator, Broadcast) or id(operator) in dependent:
                inputs = tuple(
                    built[id(i)] if self._stays(i, dependent) else self._placeholder(i)
                    for i in operator.inputs
                )
                built[id(operator)] = operator.with_inputs(inputs)
        return built[id(root)] if id(root) in dependent else self._placeholder(root)

    @staticmethod
    def _stays(operator: Operator, dependent: set[int]) -> bool:
        # A broadcast is part of the operator that reads it; only its input can be bound.
        return id(operator) in dependent or isinstance(operator, Broadcast)

    def _placeholder(self, operator: Operator) -> Placeholder:
        if id(operator) not in self._found:
            placeholder = Placeholder(
                label=f"invariant_{len(self._found)}",
                columns=operator.schema,
                form=operator.element,
                origin=operator.origin,
            )
            self._found[id(operator)] = (operator, placeholder)
        return self._found[id(operator)][1]
