"""JSON values to plans: the reading half of `umbel.plan.codec`, which trusts nothing it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.constants import value_from_json
from umbel.plan.errors import PlanError, PlanFormatError, UnknownNameError
from umbel.plan.expressions import Literal
from umbel.plan.function_ref import PythonFunction
from umbel.plan.limits import MAX_TYPE_DEPTH, Limits, check_depth, check_part, check_table, refusal
from umbel.plan.operators import OPERATORS, Operator
from umbel.plan.shapes import Atom, Choice, Family, Fixed, Many, Maybe, Shape, fields_of, inputs_of
from umbel.plan.sources import MemorySource
from umbel.plan.tables import table_from_json
from umbel.plan.types import is_object, type_from_json

_MAX_INTEGER = 2**63 - 1

#: What building an operator from hostile arguments may raise, beside `PlanError`.
_BUILDING = (PlanError, pa.ArrowException, ArithmeticError, LookupError, TypeError, ValueError)


class Reader:
    """Builds a plan from parsed JSON; nested parts wait in a list, not on the stack."""

    def __init__(
        self,
        limits: Limits,
        functions: Mapping[str, PythonFunction],
        data: Mapping[str, pa.Table | list[Any]],
    ) -> None:
        self.limits = limits
        self.functions = functions
        self.data = data
        self.nodes = self.parts = self.table_bytes = 0
        self.waiting: list[_Pending] = []

    def plan(self, document: Any, loops: int, path: str) -> Operator:
        """Read a plan, or the plan inside a loop, that stands at `path`."""
        if loops > self.limits.loop_depth:
            raise refusal(path, f"more than {self.limits.loop_depth} loops inside loops")
        _check_keys(document, {"nodes", "root"}, {"nodes", "root"}, path)
        listed, root = document["nodes"], document["root"]
        if not isinstance(listed, list) or not listed:
            raise refusal(f"{path}.nodes", "expected a list of at least one operator")
        self.nodes += len(listed)
        if self.nodes > self.limits.nodes:
            raise refusal(path, f"the plan has more than {self.limits.nodes} operators")
        built: list[Operator] = []
        depths: list[int] = []
        unread: set[int] = set()
        for i, node in enumerate(listed):
            here = f"{path}.nodes[{i}]"
            inputs = _input_indices(node, i, here)
            check_depth(depths, inputs, self.limits, here)
            built.append(self._operator(node, [built[j] for j in inputs], loops, here))
            unread.difference_update(inputs)
            unread.add(i)
        if type(root) is not int or not 0 <= root < len(built):
            raise refusal(f"{path}.root", f"not the index of a node: {str(root)[:20]}")
        if unread != {root}:
            extra = sorted(unread - {root})
            where = f"{path}.nodes[{extra[0]}]" if extra else f"{path}.root"
            raise refusal(where, "the root must be the only node that feeds no other")
        return built[root]

    def _operator(
        self, node: dict[str, Any], inputs: list[Operator], loops: int, path: str
    ) -> Operator:
        cls = _look_up(node.get("op"), OPERATORS, "operator", f"{path}.op")
        outside, self.waiting = self.waiting, []  # a loop's body is read inside another operator
        values = self._fields(cls, node, frozenset({"op", "inputs"}), 0, loops, path)
        for part in self.waiting:  # grows while it is read: parents stand before their parts
            part.values = self._fields(part.cls, part.data, part.tags, part.depth, 0, part.path)
        for part in reversed(self.waiting):
            part.value = self._build(part)
        self.waiting = outside
        arguments = {name: _resolve(value) for name, value in values.items()}
        arguments.update(_assign_inputs(cls, inputs, path))
        try:
            operator: Operator = cls(**arguments)
            # Compute now, over inputs that have theirs: later it would recurse down the plan.
            _check_types(operator.schema, self.limits, path)
            _ = operator.element, operator.digest
        except PlanFormatError:
            raise
        except _BUILDING as error:
            hint = error.hint if isinstance(error, PlanError) else ""
            message = error.message if isinstance(error, PlanError) else str(error)
            raise refusal(path, f"{cls.__name__}: {message}", hint) from error
        return operator

    def _fields(
        self, cls: type, data: Any, tags: frozenset[str], depth: int, loops: int, path: str
    ) -> dict[str, Any]:
        fields = fields_of(cls)
        required = {item.name for item in fields if item.required}
        _check_keys(data, required, {item.name for item in fields} | tags, path)
        values: dict[str, Any] = {}
        for item in fields:
            where = f"{path}.{item.name}"
            if item.name not in data or item.shape is Atom.VALUE:
                continue
            if item.shape is Atom.PLAN:
                values[item.name] = self.plan(data[item.name], loops + 1, where)
            else:
                values[item.name] = self._value(data[item.name], item.shape, depth, where)
        if cls is Literal:
            if isinstance(data["value"], str):
                _text(data["value"], f"{path}.value", self.limits)
            try:
                values["value"] = value_from_json(data["value"], values["dtype"])
            except PlanFormatError as error:
                raise refusal(f"{path}.value", error.message) from error
        return values

    def _build(self, part: _Pending) -> Any:
        """Make a part of its fields, and hand it what travels beside the plan."""
        made = part.cls(**{name: _resolve(value) for name, value in part.values.items()})
        if isinstance(made, PythonFunction) and made.digest in self.functions:
            known = self.functions[made.digest]
            return replace(made, code=known.code, file=known.file, line=known.line)
        if isinstance(made, MemorySource) and made.token in self.data:
            table = self.data[made.token]
            if isinstance(table, pa.Table) and not table.schema.equals(made.schema):
                raise refusal(
                    part.path, f"the data handed over for {made.token!r} has other columns"
                )
            return replace(made, data=table)
        return made

    def _value(self, data: Any, shape: Shape, depth: int, path: str) -> Any:
        match shape:
            case Maybe(item):
                return None if data is None else self._value(data, item, depth, path)
            case Many(item):
                items = enumerate(_typed(data, list, path))
                return tuple(self._value(v, item, depth, f"{path}[{i}]") for i, v in items)
            case Fixed(shapes):
                if len(_typed(data, list, path)) != len(shapes):
                    raise refusal(path, f"expected {len(shapes)} items, not {len(data)}")
                pairs = enumerate(zip(data, shapes, strict=True))
                return tuple(self._value(v, s, depth, f"{path}[{i}]") for i, (v, s) in pairs)
            case Choice(values, family):
                if data not in values:
                    raise refusal(path, f"expected one of {', '.join(values)}")
                return data if family is None else family(data)
            case Family():
                return self._part(data, shape, depth + bool(shape.tag), path)
            case Atom.TYPE:
                return _type(data, path, self.limits)
            case Atom.SCHEMA:
                return schema_from_json(data, path, self.limits)
            case Atom.TABLE:
                text = _typed(data, str, path)
                self.table_bytes += len(text) * 3 // 4
                check_table(self.table_bytes, self.limits, path)
                return table_from_json(text, path)
            case Atom.TEXT:
                return _text(data, path, self.limits)
            case Atom.INTEGER:
                if abs(_typed(data, int, path)) > _MAX_INTEGER:
                    raise refusal(path, "the number has more than 64 bits")
                return data
            case Atom.NUMBER:
                if type(data) is int and abs(data) <= _MAX_INTEGER:
                    return float(data)
                return _typed(data, float, path)
            case Atom.BOOLEAN:
                return _typed(data, bool, path)
        raise refusal(path, "no value can stand here")

    def _part(self, data: Any, family: Family, depth: int, path: str) -> _Pending:
        self.parts += 1
        check_part(self.parts, depth, self.limits, path)
        _typed(data, dict, path)
        if family.tag:
            known = dict(family.members)
            cls = _look_up(data.get(family.tag), known, family.name, f"{path}.{family.tag}")
        else:
            cls = family.members[0][1]
        pending = _Pending(cls, data, frozenset({family.tag} - {""}), depth, path)
        self.waiting.append(pending)
        return pending


@dataclass(slots=True)
class _Pending:
    """A part of an operator, found but not built: its own parts come first.

    Attributes:
        cls: the class that the part becomes.
        data: its JSON object.
        tags: keys of the object that are no fields.
        depth: how many parts it stands in.
        path: where it stands in the document.
        values: its fields, read; those that are parts are pending themselves.
        value: the part, once built.
    """

    cls: type
    data: Any
    tags: frozenset[str]
    depth: int
    path: str
    values: dict[str, Any] = field(default_factory=dict)
    value: Any = None


def _resolve(value: Any) -> Any:
    """Put built parts in the places of pending ones."""
    if isinstance(value, _Pending):
        return value.value
    return tuple(map(_resolve, value)) if isinstance(value, tuple) else value


def schema_from_json(data: Any, path: str, limits: Limits) -> pa.Schema:
    """Read a schema's JSON form back; `path` is where it stands."""
    columns = []
    for i, item in enumerate(_typed(data, list, path)):
        here = f"{path}[{i}]"
        _check_keys(item, {"name", "type"}, {"name", "type", "nullable"}, here)
        nullable = _typed(item.get("nullable", True), bool, f"{here}.nullable")
        name = _text(item["name"], f"{here}.name", limits)
        columns.append(pa.field(name, _type(item["type"], f"{here}.type", limits), nullable))
    return pa.schema(columns)


def _type(data: Any, path: str, limits: Limits) -> pa.DataType:
    level, depth, size = [data], 0, 0
    while level := [item for part in level for item in _below(part)]:
        depth, size = depth + 1, size + len(level)
        if size > 4 * limits.type_size:  # a field of a struct takes four values
            raise refusal(path, f"more than {limits.type_size} types inside types")
        if depth > 3 * MAX_TYPE_DEPTH:  # a struct takes three brackets
            raise refusal(path, f"a type is nested more than {MAX_TYPE_DEPTH} deep")
    try:
        dtype = type_from_json(data)
        if pa.types.is_timestamp(dtype) and dtype.tz is not None:
            pa.lib.string_to_tzinfo(dtype.tz)
    except PlanFormatError as error:
        raise refusal(path, error.message) from None
    except (pa.ArrowException, ValueError, TypeError, KeyError) as error:
        raise refusal(path, f"not a type of a plan: {error}") from None
    return dtype


def _below(data: Any) -> Iterable[Any]:
    if isinstance(data, dict):
        return data.values()
    return data if isinstance(data, list) else ()


def _text(data: Any, path: str, limits: Limits) -> str:
    if len(_typed(data, str, path)) > limits.string:
        raise refusal(path, f"a text of more than {limits.string} characters")
    try:
        data.encode("utf-8")
    except UnicodeEncodeError:
        raise refusal(path, "a text with half of a surrogate pair") from None
    return str(data)


def _typed(data: Any, wanted: type, path: str) -> Any:
    if type(data) is not wanted:  # not isinstance: True is an int
        names = {
            dict: "an object", list: "a list", str: "a text", int: "an integer", float: "a number"
        }  # fmt: skip
        given = "null" if data is None else names.get(type(data), f"a {type(data).__name__}")
        raise refusal(path, f"expected {names.get(wanted, 'true or false')}, not {given}")
    return data


def _check_keys(data: Any, required: set[str], allowed: set[str], path: str) -> None:
    _typed(data, dict, path)
    for key in data:
        if key not in allowed:
            error = UnknownNameError("key", key[:80], allowed)
            raise refusal(path, error.message, error.hint)
    for key in sorted(required - set(data)):
        raise refusal(path, f"the key {key!r} is missing")


def _look_up(name: Any, known: Mapping[str, type], what: str, path: str) -> Any:
    if type(name) is not str:
        raise refusal(path, f"the name of one of: {', '.join(known)} is needed")
    if name not in known:
        error = UnknownNameError(what, name[:80], known)
        raise refusal(path, error.message, error.hint)
    return known[name]


def _input_indices(node: Any, position: int, path: str) -> list[int]:
    inputs = _typed(_typed(node, dict, path).get("inputs", []), list, f"{path}.inputs")
    for i, index in enumerate(inputs):
        if type(index) is not int or not 0 <= index < position:
            raise refusal(
                f"{path}.inputs[{i}]",
                f"expected the index of an earlier node, not {str(index)[:20]}",
                "inputs stand before the operators that read them, so that there is no cycle",
            )
    return list(inputs)


def _assign_inputs(cls: type[Operator], inputs: list[Operator], path: str) -> dict[str, Any]:
    """Give inputs to the fields that hold them; only the last field takes any number."""
    fields = inputs_of(cls)
    least = sum(not many for _, many in fields)
    any_number = len(fields) > least
    if len(inputs) < least or (not any_number and len(inputs) > least) or (fields and not inputs):
        wanted = f"at least {max(least, 1)}" if any_number else str(least)
        raise refusal(f"{path}.inputs", f"{cls.__name__} needs {wanted} inputs, not {len(inputs)}")
    rest = iter(inputs)
    return {name: tuple(rest) if many else next(rest) for name, many in fields}


def _check_types(schema: pa.Schema, limits: Limits, path: str) -> None:
    """Refuse types that grow without bound, as a struct of a struct of itself twice would."""
    left, stack = limits.type_size, list(schema.types)
    while stack:
        dtype = stack.pop()
        left -= 1
        if left < 0:
            raise refusal(path, f"columns of more than {limits.type_size} types inside types")
        if not is_object(dtype):
            stack.extend(dtype.field(i).type for i in range(dtype.num_fields))
