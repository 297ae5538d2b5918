"""Run signed code where the data lies: over each part of a table of several sites by itself."""

from __future__ import annotations

from dataclasses import replace

from umbel.optimizer.facts import Facts
from umbel.plan import operators as ops

#: What is done to each row by itself, and so goes under a union with the code above it.
_ROW_BY_ROW = (ops.Rows, ops.Project, ops.Filter)


def spread_code(root: ops.Operator, facts: Facts | None = None) -> ops.Operator:
    """Put a chain of signed functions under the union that it reads, once for each member.

    The functions work element by element, or on parts that are defined by nothing: so a union of
    what they give is what they give of the union. What makes elements of rows, and rows of
    elements, moves along. Functions that nobody signed run where the elements come together anyway.
    """
    order = ops.topological(root)
    if not any(ops.is_signed(operator) for operator in order):
        return root
    new: dict[int, ops.Operator] = {}
    for operator in order:
        moved = operator.with_inputs(tuple(new[id(child)] for child in operator.inputs))
        new[id(operator)] = _spread(moved)
    return new[id(root)]


def _spread(operator: ops.Operator) -> ops.Operator:
    chain = [operator]
    if ops.is_signed(operator):
        while isinstance(chain[-1].inputs[0], _ROW_BY_ROW):
            chain.append(chain[-1].inputs[0])
    elif not isinstance(operator, ops.ToFrame):
        return operator
    (below,) = chain[-1].inputs
    if not isinstance(below, ops.Union) or below.distinct:
        return operator
    if isinstance(operator, ops.ToFrame) and not all(map(ops.is_signed, below.members)):
        return operator
    members = []
    for member in below.members:
        for link in reversed(chain):
            member = link.with_inputs((member,))  # noqa: PLW2901 - grows from its input upwards
        members.append(member)
    return replace(below, members=tuple(members))


__all__ = ["spread_code"]
