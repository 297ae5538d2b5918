"""What the optimizer and the executor ask of Polars. Nothing here imports the engine at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.plan.expressions import Expression, WindowCall
from umbel.plan.functions.forms import refuse_function
from umbel.plan.operators import (
    Element,
    Operator,
    Sample,
    Scan,
    ToFrame,
)
from umbel.plan.sources import FileSource, MemorySource
from umbel.plan.types import is_object
from umbel.platforms.base import ARROW, CompiledStage, Conversion, Stage
from umbel.platforms.costs import CostProfile, Linear
from umbel.platforms.refusal import (
    RELATIONAL,
    refuse_class,
    refuse_expressions,
    refuse_frame,
    refuse_source,
    refuse_texts,
)

if TYPE_CHECKING:
    import polars as pl

POLARS = "polars"

_COMPILED = (*RELATIONAL, Sample)


class PolarsPlatform:
    """Polars in this process."""

    engine = "polars"

    def __init__(self, name: str = "polars") -> None:
        self.name = name
        self._refusals: dict[str, str | None] = {}

    @property
    def version(self) -> str:
        """The installed version."""
        return version("polars")

    @cached_property
    def costs(self) -> CostProfile:
        """The cost profile shipped with the engine."""
        return CostProfile.load(Path(__file__).with_name("costs.toml"))

    @property
    def reads(self) -> Sequence[str]:
        """Polars frames, and Arrow tables."""
        return (POLARS, ARROW)

    @property
    def writes(self) -> Sequence[str]:
        """Polars frames, and Arrow tables."""
        return (POLARS, ARROW)

    @property
    def conversions(self) -> Sequence[Conversion]:
        """Between frames and Arrow tables."""
        return (
            Conversion(ARROW, POLARS, Linear(0.0003, 0.0, 6.2e-10), _from_arrow),
            Conversion(POLARS, ARROW, Linear(0.0003, 0.0, 7.0e-10), _to_arrow),
        )

    def refuse(self, operator: Operator) -> str | None:
        """Say why Polars cannot run an operator; None if it can.

        The tables of functions and casts, which import Polars, are asked only if an expression
        holds a call or a cast. Answers are remembered by the operator's digest.
        """
        if not isinstance(operator, _COMPILED):
            return refuse_class(operator)
        if operator.digest not in self._refusals:
            self._refusals[operator.digest] = (
                refuse_source(operator, self.name, (FileSource, MemorySource))
                or _refuse_shape(operator)
                or refuse_texts(operator)
                or refuse_expressions(operator, _Abilities())
            )
        return self._refusals[operator.digest]

    def started(self) -> bool:
        """Whether Polars is imported."""
        return "polars" in sys.modules

    def compile(self, stage: Stage) -> CompiledStage:
        """Translate a stage into one lazy query."""
        from umbel.platforms.polars.stage import PolarsStage

        return PolarsStage(stage)


def _from_arrow(data: pa.Table, schema: pa.Schema, element: Element) -> pl.DataFrame:
    from umbel.platforms.polars.scans import to_polars

    return to_polars(data)


def _to_arrow(data: pl.DataFrame, schema: pa.Schema, element: Element) -> pa.Table:
    from umbel.platforms.polars.stage import to_arrow

    return to_arrow(data, schema)


class _Abilities:
    """What Polars says of types, casts, functions and windows."""

    def refuse_type(self, dtype: pa.DataType) -> str | None:
        return "Polars columns hold no Python objects" if is_object(dtype) else None

    def refuse_cast(self, source: pa.DataType, target: pa.DataType) -> str | None:
        from umbel.platforms.polars.casts import refuse_cast

        return refuse_cast(source, target)

    def refuse_call(
        self, name: str, nodes: Sequence[Expression], types: Sequence[pa.DataType]
    ) -> str | None:
        from umbel.platforms.polars.functions import forms

        return refuse_function(forms(), name, nodes, types)

    def refuse_window(self, call: WindowCall, schema: pa.Schema) -> str | None:
        from umbel.platforms.polars.windows import refuse_window

        return refuse_window(call, schema)


def _refuse_shape(operator: Operator) -> str | None:
    """Say why an operator has no Polars query, expressions aside."""
    if not operator.schema.names or any(not child.schema.names for child in operator.inputs):
        return "a Polars frame without columns has no rows"
    for name in operator.schema.names:
        if not name or name == "*" or (name.startswith("^") and name.endswith("$")):
            return f"Polars takes the column name {name!r} for a pattern, or has none like it"
    match operator:
        case Scan(source=MemorySource(form="object")):
            return "Polars columns hold no Python objects"
        case ToFrame():
            return refuse_frame(operator)
    return None
