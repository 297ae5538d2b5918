"""Which part of a plan runs at the coordinator, and which part here.

Here runs what reads nothing of the federation, and what must not travel: Python functions that
nobody has signed, and what writes files. So a plan falls into three layers: what is read here and sent, what the
coordinator runs over it, and what is done here with the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa

from umbel.api.items import new_token
from umbel.dataclass import dataclass
from umbel.plan.expressions import Column
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import (
    Broadcast,
    DoWhile,
    Element,
    Loop,
    Operator,
    Project,
    Scan,
    Values,
    Write,
    consumers,
    is_signed,
    topological,
)
from umbel.plan.sources import MemorySource, RelationSource
from umbel.plan.types import is_object

#: Whether a name is the coordinator's: of a namespace, or of a platform or a site.
IsRemote = Callable[[str], bool]


@dataclass(frozen=True)
class Cut:
    """A plan in its parts.

    Attributes:
        here: what runs here at the end; over `answers` where it reads the coordinator's.
        asked: what the coordinator is asked, by the tokens under which `here` reads the answers.
    """

    here: Operator
    asked: dict[str, Asked]


@dataclass(frozen=True)
class Asked:
    """One question to the coordinator.

    Attributes:
        plan: what it is asked; its result is a relation.
        sent: what is run here before, and sent, by the tokens under which `plan` reads it.
    """

    plan: Operator
    sent: dict[str, Operator]


def is_remote(plan: Operator, remote: IsRemote) -> bool:
    """Whether a plan reads anything of the federation."""
    return any(_reads_remote(operator, remote) for operator in topological(plan))


def _reads_remote(operator: Operator, remote: IsRemote) -> bool:
    match operator:
        case Scan(source=RelationSource(platform=name)):
            return remote(name)
        case Loop():
            return any(is_remote(body, remote) for body in _bodies(operator))
    return False


def _bodies(loop: Loop) -> list[Operator]:
    return [loop.body, *([loop.condition] if isinstance(loop, DoWhile) else [])]


def cut(plan: Operator, remote: IsRemote, runs: IsRemote) -> Cut:
    """Divide a plan between the coordinator and here.

    Args:
        plan: what was asked for.
        remote: tells which namespaces are the coordinator's.
        runs: tells which platforms are.
    """
    there: set[int] = set()  # operators that run at the coordinator
    touched: set[int] = set()  # operators that read anything of the federation
    order = topological(plan)
    for operator in order:
        below = [id(child) for child in operator.inputs]
        if not _reads_remote(operator, remote) and not any(i in touched for i in below):
            continue
        touched.add(id(operator))
        # An input is run there, or is read here and sent.
        if (
            _sendable(operator)
            and (not operator.pin or runs(operator.pin))
            and all(
                i in there or (i not in touched and _typed(child))
                for i, child in zip(below, operator.inputs, strict=True)
            )
        ):
            there.add(id(operator))
    # A side input belongs to the function that reads it.
    for operator in order:
        if isinstance(operator, Broadcast):
            there.discard(id(operator))
    _keep_objects_together(plan, order, there)
    asked: dict[str, Asked] = {}
    built: dict[int, Operator] = {}
    for operator in order:
        if id(operator) in there:
            continue
        inputs = []
        for child in operator.inputs:
            if id(child) in there:
                if id(child) not in built:
                    built[id(child)] = _question(child, there, asked)
                inputs.append(built[id(child)])
            else:
                inputs.append(built[id(child)])
        built[id(operator)] = operator.with_inputs(tuple(inputs))
    if id(plan) in there:
        built[id(plan)] = _question(plan, there, asked)
    return Cut(built[id(plan)], asked)


def _keep_objects_together(plan: Operator, order: list[Operator], there: set[int]) -> None:
    """Take back what would have to bring Python objects from there, and all that reads it."""
    if all(_typed(operator) for operator in order):
        return
    readers = consumers(plan)
    back: set[int] = set()
    for operator in reversed(order):
        if id(operator) in there and not _typed(operator):
            above = readers[id(operator)]
            if not above or any(id(r) not in there or id(r) in back for r in above):
                back.add(id(operator))
    for operator in order:
        if any(id(child) in back for child in operator.inputs):
            back.add(id(operator))
    left = there - back
    if left == there:
        return
    there.intersection_update(left)
    _keep_objects_together(plan, order, there)


def _question(root: Operator, there: set[int], asked: dict[str, Asked]) -> Operator:
    """Note a question; give what stands in its place here."""
    sent: dict[str, Operator] = {}
    built: dict[int, Operator] = {}
    for operator in topological(root):
        if id(operator) in there:
            inputs = tuple(built[id(child)] for child in operator.inputs)
            built[id(operator)] = operator.with_inputs(inputs)
        elif isinstance(operator, Values):
            built[id(operator)] = operator  # travels in the plan
        else:
            built[id(operator)] = _stand_in(operator, sent)
    token = new_token()
    form, schema = built[id(root)].element, built[id(root)].schema
    plan = as_relation(built[id(root)])
    # What was sent for operators that turned out to lie below others that were sent is not read.
    read = {
        inner.source.token
        for inner in topological(plan)
        if isinstance(inner, Scan) and isinstance(inner.source, MemorySource)
    }
    asked[token] = Asked(plan, {name: part for name, part in sent.items() if name in read})
    return Scan(source=MemorySource(schema, token, form.value), origin=root.origin)


def as_relation(plan: Operator) -> Operator:
    """The same rows as a relation, whatever Python sees of them."""
    if plan.element is Element.ROW:
        return plan
    columns = tuple((name, Column(name)) for name in plan.schema.names)
    return Project(input=plan, columns=columns, origin=plan.origin)


def _stand_in(operator: Operator, sent: dict[str, Operator]) -> Operator:
    """A scan of what is read here and sent."""
    match operator:
        case Scan(source=MemorySource() as source, columns=None, predicate=None) if isinstance(
            source.data, pa.Table
        ):
            sent[source.token] = operator
            return operator
    token = new_token()
    sent[token] = operator
    source = MemorySource(operator.schema, token, operator.element.value)
    return Scan(source=source, origin=operator.origin)


def with_answers(plan: Operator, answers: dict[str, pa.Table]) -> Operator:
    """Put what the coordinator answered into the part of a plan that runs here."""
    built: dict[int, Operator] = {}
    for operator in topological(plan):
        inputs = tuple(built[id(child)] for child in operator.inputs)
        match operator:
            case Scan(source=MemorySource(token=token) as source) if token in answers:
                made = replace(source, data=answers[token])
                built[id(operator)] = replace(operator, source=made)
            case _:
                built[id(operator)] = operator.with_inputs(inputs)
    return built[id(plan)]


def _typed(operator: Operator) -> bool:
    return not any(is_object(item.type) for item in operator.schema)


def _sendable(operator: Operator) -> bool:
    """Whether a coordinator takes an operator, as far as the operator itself goes."""
    if is_signed(operator):
        return True
    if not _typed(operator) or isinstance(operator, Write):
        return False
    if any(isinstance(value, PythonFunction) for _, value in operator.arguments()):
        return False
    match operator:
        case Scan(source=RelationSource()):
            return True
        case Scan():
            return False
        case Loop():
            inner = [op for body in _bodies(operator) for op in topological(body)]
            return all(_sendable(op) and not is_signed(op) for op in inner)
    return True


__all__ = ["Asked", "Cut", "as_relation", "cut", "is_remote", "with_answers"]
