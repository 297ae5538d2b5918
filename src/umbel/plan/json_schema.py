"""A JSON Schema (2020-12) of plan files, made from the shapes that the codec itself goes by.

`docs/reference/plan.schema.json` holds its output: `python -m umbel.plan.json_schema > FILE`.
The schema says what a document looks like; limits of size, and whether a plan means anything
(known columns, fitting types, inputs before their readers), are checked by reading it.
"""

from __future__ import annotations

import enum
import json
import sys
from typing import Any

from umbel.plan.codec import VERSION
from umbel.plan.expressions import Expression, Frame, SortKey
from umbel.plan.function_ref import PythonFunction, SignedCode
from umbel.plan.layers import Layer
from umbel.plan.models import Algorithm, Design, Feature, Masking, Training
from umbel.plan.operators import OPERATORS
from umbel.plan.origin import Origin
from umbel.plan.recipes import Combining, Hiding, Recipe, Wanted
from umbel.plan.shapes import (
    Atom,
    Choice,
    Family,
    Fixed,
    Many,
    Maybe,
    Shape,
    fields_of,
    inputs_of,
    shape_of,
)
from umbel.plan.sinks import Sink
from umbel.plan.sources import Source
from umbel.plan.types import primitive_names

_UNITS = ["s", "ms", "us", "ns"]


def plan_json_schema() -> dict[str, Any]:
    """Make the JSON Schema of plan files.

    >>> plan_json_schema()["$defs"]["Limit"]["required"]
    ['op', 'inputs', 'count']
    """
    definitions = {
        "Plan": _record({"nodes": _nodes(), "root": _count()}),
        "Type": _type(),
        "Schema": {"type": "array", "items": {"$ref": "#/$defs/Field"}},
        "Field": _record(
            {
                "name": {"type": "string"},
                "type": {"$ref": "#/$defs/Type"},
                "nullable": {"type": "boolean", "default": True},
            },
            optional={"nullable"},
        ),
        "Table": {
            "description": "An uncompressed Arrow IPC stream, in base64.",
            "type": "string",
            "contentEncoding": "base64",
            "contentMediaType": "application/vnd.apache.arrow.stream",
        },
        "Value": {
            "description": "A constant; which form it has depends on its type. Integers beyond "
            "2**53, decimals, dates, times and timestamps are texts, binary is base64, "
            "NaN and infinities are 'nan', 'inf', '-inf'; a duration counts its unit; a struct "
            "is an object."
        },
    }
    for cls in OPERATORS.values():
        definitions[cls.__name__] = _operator(cls)
    for base in (
        *(Expression, Source, Sink, SortKey, Frame, PythonFunction, SignedCode, Origin),
        *(Algorithm, Layer, Feature, Design, Training, Masking),
        *(Wanted, Combining, Hiding, Recipe),
    ):
        for name, made in _family(shape_of(base)).items():
            if definitions.setdefault(name, made) != made:
                raise ValueError(f"two classes of plans are called {name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "umbel plan",
        "description": "A plan of umbel: operators in an order in which inputs come first.",
        **_record({"umbel": {"const": VERSION}, "nodes": _nodes(), "root": _count()}),
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """Give the schema as the documentation holds it."""
    return json.dumps(plan_json_schema(), indent=2) + "\n"


def _record(properties: dict[str, Any], optional: set[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in (optional or set())],
        "additionalProperties": False,
    }


def _count() -> dict[str, Any]:
    return {"type": "integer", "minimum": 0}


def _nodes() -> dict[str, Any]:
    return {
        "type": "array",
        "minItems": 1,
        "items": {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in OPERATORS]},
    }


def _operator(cls: Any) -> dict[str, Any]:
    properties: dict[str, Any] = {"op": {"const": cls.__name__}}
    fields = inputs_of(cls)
    if fields:
        least = sum(not many for _, many in fields)
        properties["inputs"] = {
            "description": f"Positions of earlier nodes: {', '.join(name for name, _ in fields)}.",
            "type": "array",
            "items": _count(),
            "minItems": max(least, 1),
            **({} if any(many for _, many in fields) else {"maxItems": least}),
        }
    return _described(cls, properties)


def _described(cls: Any, properties: dict[str, Any]) -> dict[str, Any]:
    optional = set()
    for item in fields_of(cls):
        made = _shape(item.shape)
        if not item.required:
            optional.add(item.name)
            default = item.default.value if isinstance(item.default, enum.Enum) else item.default
            made = {**made, "default": list(default) if isinstance(default, tuple) else default}
        properties[item.name] = made
    first_line = (cls.__doc__ or "").strip().split("\n", 1)[0]
    return {"description": first_line, **_record(properties, optional)}


def _family(shape: Shape) -> dict[str, Any]:
    """Define a family of classes, and each of its members."""
    if not isinstance(shape, Family):
        raise TypeError(f"not a family: {shape}")
    definitions: dict[str, Any] = {}
    for tag, cls in shape.members:
        properties = {shape.tag: {"const": tag}} if shape.tag else {}
        definitions[cls.__name__] = _described(cls, properties)
    if len(shape.members) > 1:
        members = [{"$ref": f"#/$defs/{cls.__name__}"} for _, cls in shape.members]
        definitions[shape.name] = {"oneOf": members}
    return definitions


def _shape(shape: Shape) -> dict[str, Any]:
    match shape:
        case Maybe(item):
            return {"anyOf": [_shape(item), {"type": "null"}]}
        case Many(item):
            return {"type": "array", "items": _shape(item)}
        case Fixed(items):
            made = [_shape(item) for item in items]
            return {"type": "array", "prefixItems": made, "items": False, "minItems": len(made)}
        case Choice(values):
            return {"enum": list(values)}
        case Family(name):
            return {"$ref": f"#/$defs/{name}"}
        case Atom.TEXT:
            return {"type": "string"}
        case Atom.BOOLEAN | Atom.INTEGER | Atom.NUMBER:
            return {"type": shape.value}
    return {"$ref": f"#/$defs/{shape.value.capitalize()}"}


def _type() -> dict[str, Any]:
    inner = {"$ref": "#/$defs/Type"}
    name = {"type": "string"}

    def nested(key: str, content: dict[str, Any]) -> dict[str, Any]:
        return _record({key: content})

    def pair(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
        both = [first, second]
        return {"type": "array", "prefixItems": both, "items": False, "minItems": 2}

    zone = {"anyOf": [name, {"type": "null"}]}
    return {
        "description": "An Arrow type.",
        "oneOf": [
            {"enum": list(primitive_names())},
            nested("decimal", pair({"type": "integer"}, {"type": "integer"})),
            nested("timestamp", pair({"enum": _UNITS}, zone)),
            nested("duration", {"enum": _UNITS}),
            nested("list", inner),
            nested("struct", {"type": "array", "items": pair(name, inner)}),
        ],
    }


if __name__ == "__main__":
    sys.stdout.write(schema_text())
