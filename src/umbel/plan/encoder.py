"""Plans to JSON values: the writing half of `umbel.plan.codec`."""

from __future__ import annotations

from collections import deque
from pathlib import PurePath
from typing import Any

import pyarrow as pa

from umbel.plan.constants import value_to_json
from umbel.plan.errors import PlanFormatError
from umbel.plan.limits import Limits, check_depth, check_part, check_table, refusal
from umbel.plan.operators import OPERATORS, Operator, topological
from umbel.plan.shapes import Atom, Choice, Family, Fixed, Many, Maybe, Shape, fields_of
from umbel.plan.tables import table_to_json
from umbel.plan.types import type_to_json


class Writer:
    """Turns parts of a plan into JSON values; nested parts wait in a queue, not on the stack."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.nodes = self.parts = self.table_bytes = 0
        self.waiting: deque[tuple[Any, Family, dict[str, Any], int, str]] = deque()

    def plan(self, root: Operator, loops: int, path: str) -> dict[str, Any]:
        """Write a plan, or the plan inside a loop, that will stand at `path`."""
        if loops > self.limits.loop_depth:
            raise refusal(path, f"more than {self.limits.loop_depth} loops inside loops")
        order = topological(root)
        self.nodes += len(order)
        if self.nodes > self.limits.nodes:
            raise refusal(path, f"the plan has more than {self.limits.nodes} operators")
        index = {id(operator): i for i, operator in enumerate(order)}
        depths: list[int] = []
        nodes = []
        for i, operator in enumerate(order):
            inputs = [index[id(child)] for child in operator.inputs]
            here = f"{path}.nodes[{i}]"
            check_depth(depths, inputs, self.limits, here)
            nodes.append(self._operator(operator, inputs, loops, here))
        return {"nodes": nodes, "root": index[id(root)]}

    def _operator(
        self, operator: Operator, inputs: list[int], loops: int, path: str
    ) -> dict[str, Any]:
        if OPERATORS.get(operator.name) is not type(operator):
            raise refusal(path, f"operator {operator.name!r} is not on the list of operators")
        node: dict[str, Any] = {"op": operator.name}
        if inputs:
            node["inputs"] = inputs
        self._fields(operator, node, 0, loops, path)
        while self.waiting:
            part, family, target, depth, where = self.waiting.popleft()
            self._part(part, family, target, depth, where)
        return node

    def _part(
        self, part: Any, family: Family, target: dict[str, Any], depth: int, path: str
    ) -> None:
        self.parts += 1
        check_part(self.parts, depth, self.limits, path)
        for tag, cls in family.members:
            if type(part) is cls:
                if family.tag:
                    target[family.tag] = tag
                return self._fields(part, target, depth, 0, path)
        raise refusal(path, f"{type(part).__name__} is not on the list of {family.name}")

    def _fields(self, part: Any, target: dict[str, Any], depth: int, loops: int, path: str) -> None:
        for item in fields_of(type(part)):
            value = getattr(part, item.name)
            if item.is_default(value):
                continue
            where = f"{path}.{item.name}"
            if item.shape is Atom.VALUE:
                try:
                    target[item.name] = value_to_json(value, part.dtype)
                except PlanFormatError as error:
                    raise refusal(where, error.message) from error
            elif item.name == "file":
                # Folders tell user names and layouts of machines; the name is enough for people.
                target[item.name] = PurePath(value).name
            elif item.shape is Atom.PLAN:
                target[item.name] = self.plan(value, loops + 1, where)
            else:
                target[item.name] = self._value(value, item.shape, depth, where)

    def _value(self, value: Any, shape: Shape, depth: int, path: str) -> Any:
        match shape:
            case Maybe(item):
                return None if value is None else self._value(value, item, depth, path)
            case Many(item):
                return [self._value(v, item, depth, f"{path}[{i}]") for i, v in enumerate(value)]
            case Fixed(items):
                pairs = enumerate(zip(value, items, strict=True))
                return [self._value(v, item, depth, f"{path}[{i}]") for i, (v, item) in pairs]
            case Choice(_, family):
                return value if family is None else value.value
            case Family():
                target: dict[str, Any] = {}
                # What has no tag, such as a sort key, stands beside expressions and nests none.
                self.waiting.append((value, shape, target, depth + bool(shape.tag), path))
                return target
            case Atom.TYPE:
                return type_to_json(value)
            case Atom.SCHEMA:
                return schema_to_json(value)
            case Atom.TABLE:
                made = table_to_json(value)
                self.table_bytes += len(made) * 3 // 4
                check_table(self.table_bytes, self.limits, path)
                return made
        return value


def schema_to_json(schema: pa.Schema) -> list[dict[str, Any]]:
    """Give a schema's JSON form.

    >>> schema_to_json(pa.schema([pa.field("a", pa.int64(), nullable=False)]))
    [{'name': 'a', 'type': 'int64', 'nullable': False}]
    """
    return [
        {
            "name": f.name,
            "type": type_to_json(f.type),
            **({} if f.nullable else {"nullable": False}),
        }
        for f in schema
    ]
