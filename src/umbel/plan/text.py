"""Plans as indented text, for messages, tests and people."""

from __future__ import annotations

from collections.abc import Callable

from umbel.plan.operators import DoWhile, Loop, Operator, consumers

_INDENT = "  "
_WIDEST = 200


def plan_to_text(root: Operator, annotate: Callable[[Operator], str] | None = None) -> str:
    """Show a plan as a tree, the last operator first, one operator a line.

    An operator that feeds several others is numbered where it is first shown; afterwards only
    its number stands there. The body and the condition of a loop stand below it.

    Args:
        root: the plan's last operator.
        annotate: gives what to add to an operator's line, such as an estimate; may be empty.

    >>> import pyarrow as pa
    >>> from umbel.plan.operators import Limit, Union, Values
    >>> values = Values(table=pa.table({"a": [1, 2]}))
    >>> print(plan_to_text(Union(members=(Limit(input=values, count=1), values))))
    Union: all
      Limit: 1 from 0
        #1 Values: 2 rows
      (#1 Values)
    """
    lines: list[str] = []
    _show(root, 0, lines, annotate)
    return "\n".join(lines)


def _show(
    root: Operator, level: int, lines: list[str], annotate: Callable[[Operator], str] | None
) -> None:
    """Append the lines of a plan; recurses into loops only, never along a chain of operators."""
    readers = consumers(root)
    numbers: dict[int, int] = {}
    stack = [(root, level)]
    while stack:
        operator, depth = stack.pop()
        number = numbers.get(id(operator))
        if number is not None:
            lines.append(f"{_INDENT * depth}(#{number} {operator.name})")
            continue
        label = ""
        if len(readers[id(operator)]) > 1:
            numbers[id(operator)] = number = len(numbers) + 1
            label = f"#{number} "
        lines.append(f"{_INDENT * depth}{label}{_line(operator, annotate)}")
        if isinstance(operator, Loop):
            parts = {"body": operator.body}
            if isinstance(operator, DoWhile):
                parts["condition"] = operator.condition
            for name, part in parts.items():
                lines.append(f"{_INDENT * (depth + 1)}{name}:")
                _show(part, depth + 2, lines, annotate)
        stack.extend((child, depth + 1) for child in reversed(operator.inputs))


def _line(operator: Operator, annotate: Callable[[Operator], str] | None) -> str:
    described = " ".join(operator.describe().split())
    if len(described) > _WIDEST:
        described = described[: _WIDEST - 1] + "…"
    line = f"{operator.name}: {described}" if described else operator.name
    if operator.pin:
        line += f" on {operator.pin}"
    note = annotate(operator) if annotate is not None else ""
    return f"{line}  [{note}]" if note else line


__all__ = ["plan_to_text"]
