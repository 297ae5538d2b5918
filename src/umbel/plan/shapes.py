"""The shape of every part of a plan, read off the dataclasses' own field annotations.

The JSON codec and the JSON Schema both go by these shapes, so a new operator, expression, source
or sink needs no codec of its own: its fields say how it is written, read and validated.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expression,
    Frame,
    Literal,
    SortKey,
    WindowCall,
)
from umbel.plan.function_ref import PythonFunction, SignedCode
from umbel.plan.layers import LAYERS, Layer
from umbel.plan.models import ALGORITHMS, FEATURES, Algorithm, Design, Feature, Masking, Training
from umbel.plan.operators import OPERATORS, Operator
from umbel.plan.origin import Origin
from umbel.plan.recipes import WANTED, Combining, Hiding, Recipe, Wanted
from umbel.plan.sinks import (
    CsvSink,
    DeltaSink,
    IcebergSink,
    IpcSink,
    JsonLinesSink,
    ParquetSink,
    RelationSink,
    Sink,
    TextSink,
)
from umbel.plan.sources import (
    CsvSource,
    DeltaSource,
    IcebergSource,
    IpcSource,
    JsonLinesSource,
    MemorySource,
    ParquetSource,
    QuerySource,
    RelationSource,
    Source,
    TextSource,
)

EXPRESSIONS: dict[str, type] = {
    cls.__name__: cls for cls in (Column, Literal, Call, Cast, Case, AggregateCall, WindowCall)
}
SOURCES: dict[str, type] = {
    cls.kind: cls
    for cls in (
        TextSource,
        CsvSource,
        JsonLinesSource,
        ParquetSource,
        IpcSource,
        MemorySource,
        RelationSource,
        QuerySource,
        DeltaSource,
        IcebergSource,
    )
}
SINKS: dict[str, type] = {
    cls.kind: cls
    for cls in (
        TextSink,
        CsvSink,
        JsonLinesSink,
        ParquetSink,
        IpcSink,
        RelationSink,
        DeltaSink,
        IcebergSink,
    )
}

#: Fields that never stand in a plan's JSON: live objects that travel beside it.
BESIDE = frozenset({"code", "data"})


class Atom(enum.Enum):
    """A value that JSON holds directly, or in a form of its own."""

    TEXT = "text"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    TYPE = "type"
    SCHEMA = "schema"
    TABLE = "table"
    VALUE = "value"
    PLAN = "plan"


@dataclass(frozen=True)
class Choice:
    """One of some texts; with `family` they are the values of an enumeration."""

    values: tuple[str, ...]
    family: type[enum.Enum] | None = None


@dataclass(frozen=True)
class Maybe:
    """A shape, or null."""

    item: Shape


@dataclass(frozen=True)
class Many:
    """A list of one shape."""

    item: Shape


@dataclass(frozen=True)
class Fixed:
    """A list of as many items as there are shapes."""

    items: tuple[Shape, ...]


@dataclass(frozen=True)
class Family:
    """An object for one of several classes; the value under `tag` says which.

    A family of one class has no tag and no name to look up.
    """

    name: str
    tag: str
    members: tuple[tuple[str, type], ...]


Shape = Atom | Choice | Maybe | Many | Fixed | Family

_ATOMS: dict[Any, Atom] = {
    str: Atom.TEXT,
    bool: Atom.BOOLEAN,
    int: Atom.INTEGER,
    float: Atom.NUMBER,
    pa.DataType: Atom.TYPE,
    pa.Schema: Atom.SCHEMA,
    pa.Table: Atom.TABLE,
    Any: Atom.VALUE,
    Operator: Atom.PLAN,
}
_FAMILIES: dict[Any, Family] = {
    Expression: Family("Expression", "expr", tuple(EXPRESSIONS.items())),
    AggregateCall: Family("AggregateCall", "expr", (("AggregateCall", AggregateCall),)),
    WindowCall: Family("WindowCall", "expr", (("WindowCall", WindowCall),)),
    SortKey: Family("SortKey", "", (("SortKey", SortKey),)),
    Frame: Family("Frame", "", (("Frame", Frame),)),
    PythonFunction: Family("PythonFunction", "", (("PythonFunction", PythonFunction),)),
    SignedCode: Family("SignedCode", "", (("SignedCode", SignedCode),)),
    Origin: Family("Origin", "", (("Origin", Origin),)),
    Source: Family("Source", "kind", tuple(SOURCES.items())),
    Sink: Family("Sink", "kind", tuple(SINKS.items())),
    Algorithm: Family("Algorithm", "kind", tuple(ALGORITHMS.items())),
    Layer: Family("Layer", "kind", tuple(LAYERS.items())),
    Feature: Family("Feature", "kind", tuple(FEATURES.items())),
    Design: Family("Design", "", (("Design", Design),)),
    Training: Family("Training", "", (("Training", Training),)),
    Masking: Family("Masking", "", (("Masking", Masking),)),
    Wanted: Family("Wanted", "kind", tuple(WANTED.items())),
    Combining: Family("Combining", "", (("Combining", Combining),)),
    Hiding: Family("Hiding", "", (("Hiding", Hiding),)),
    Recipe: Family("Recipe", "", (("Recipe", Recipe),)),
}


@dataclass(frozen=True)
class FieldShape:
    """A field of a part of a plan.

    Attributes:
        name: the field's name, in Python and in JSON.
        shape: the shape of its value.
        required: it has no default; a field at its default is left out of the JSON.
        default: the default, if not required.
    """

    name: str
    shape: Shape
    required: bool
    default: Any = None

    def is_default(self, value: Any) -> bool:
        """Whether a value may be left out.

        >>> FieldShape("n", Atom.INTEGER, required=False, default=0).is_default(False)
        False
        """
        return not self.required and type(value) is type(self.default) and value == self.default


_FIELDS: dict[type, tuple[FieldShape, ...]] = {}
_INPUTS: dict[type, tuple[tuple[str, bool], ...]] = {}


def fields_of(cls: type) -> tuple[FieldShape, ...]:
    """List the fields that a part of a plan has in JSON, inputs of operators left out.

    >>> from umbel.plan.operators import Limit
    >>> [field.name for field in fields_of(Limit)]
    ['origin', 'pin', 'count', 'offset']
    """
    if cls in _FIELDS:
        return _FIELDS[cls]
    hints = typing.get_type_hints(cls)
    found = []
    for item in dataclasses.fields(cls):
        if item.metadata.get("input") or item.name in BESIDE:
            continue
        required = item.default is dataclasses.MISSING
        default = None if required else item.default
        found.append(FieldShape(item.name, shape_of(hints[item.name]), required, default))
    _FIELDS[cls] = tuple(found)
    return _FIELDS[cls]


def inputs_of(cls: type[Operator]) -> tuple[tuple[str, bool], ...]:
    """List an operator's input fields, each with whether it takes any number of inputs.

    >>> from umbel.plan.operators import Map
    >>> inputs_of(Map)
    (('input', False), ('broadcasts', True))
    """
    if cls not in _INPUTS:
        hints = typing.get_type_hints(cls)
        _INPUTS[cls] = tuple(
            (item.name, typing.get_origin(hints[item.name]) is tuple)
            for item in dataclasses.fields(cls)
            if item.metadata.get("input")
        )
    return _INPUTS[cls]


def shape_of(hint: Any) -> Shape:
    """Read a shape off a type annotation.

    Raises:
        TypeError: an annotation that has no place in a plan; a mistake in the class.

    >>> shape_of(tuple[str, ...] | None)
    Maybe(item=Many(item=<Atom.TEXT: 'text'>))
    """
    if hint in _ATOMS:
        return _ATOMS[hint]
    if hint in _FAMILIES:
        return _FAMILIES[hint]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return Choice(tuple(member.value for member in hint), hint)
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Literal:
            return Choice(arguments)
        case types.UnionType | typing.Union:
            (item,) = (argument for argument in arguments if argument is not type(None))
            return Maybe(shape_of(item))
        case builtin if builtin is tuple and arguments[-1] is ...:
            return Many(shape_of(arguments[0]))
        case builtin if builtin is tuple:
            return Fixed(tuple(map(shape_of, arguments)))
    raise TypeError(f"no field of a plan can be annotated {hint!r}")


__all__ = [
    "EXPRESSIONS",
    "OPERATORS",
    "SINKS",
    "SOURCES",
    "Atom",
    "Choice",
    "Family",
    "FieldShape",
    "Fixed",
    "Many",
    "Maybe",
    "Shape",
    "fields_of",
    "inputs_of",
    "shape_of",
]
