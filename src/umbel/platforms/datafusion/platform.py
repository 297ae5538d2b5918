"""What the optimizer and the executor ask of DataFusion. Nothing here imports the engine at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa

from umbel.plan.expressions import AggregateCall, Expression, WindowCall, walk
from umbel.plan.functions import CATALOGUE, Kind
from umbel.plan.functions.forms import refuse_function
from umbel.plan.operators import (
    Aggregate,
    Distinct,
    Except,
    Intersect,
    Join,
    Operator,
    Union,
)
from umbel.plan.safety import cannot_fail
from umbel.plan.sources import FileSource, MemorySource
from umbel.plan.types import is_float, is_list
from umbel.plan.typing import infer_type
from umbel.platforms.base import ARROW, CompiledStage, Conversion, Stage
from umbel.platforms.costs import CostProfile
from umbel.platforms.datafusion.types import refuse_type
from umbel.platforms.refusal import (
    RELATIONAL,
    expressions_of,
    refuse_class,
    refuse_expressions,
    refuse_shape,
    refuse_source,
    refuse_texts,
)


class DataFusionPlatform:
    """DataFusion in this process; each stage has a session of its own."""

    engine = "datafusion"
    reads: Sequence[str] = (ARROW,)
    writes: Sequence[str] = (ARROW,)
    conversions: Sequence[Conversion] = ()  # Arrow is what it speaks

    def __init__(self, name: str = "datafusion") -> None:
        self.name = name
        self._refusals: dict[str, str | None] = {}

    @property
    def version(self) -> str:
        """The installed version."""
        return version("datafusion")

    @cached_property
    def costs(self) -> CostProfile:
        """The cost profile shipped with the engine."""
        return CostProfile.load(Path(__file__).with_name("costs.toml"))

    def refuse(self, operator: Operator) -> str | None:
        """Say why DataFusion cannot run an operator; None if it can.

        Answers are remembered by the operator's digest.
        """
        if not isinstance(operator, RELATIONAL):
            return refuse_class(operator)
        if operator.digest not in self._refusals:
            self._refusals[operator.digest] = (
                refuse_source(operator, self.name, (FileSource, MemorySource))
                or _refuse_names(operator)
                or refuse_shape(operator, "DataFusion")
                or refuse_texts(operator)
                or _refuse_keys(operator)
                or _refuse_residual(operator)
                or _refuse_aggregates(operator)
                or refuse_expressions(operator, _Abilities())
            )
        return self._refusals[operator.digest]

    def started(self) -> bool:
        """Whether DataFusion and the SQL generator are imported."""
        return "datafusion" in sys.modules and "sqlglot" in sys.modules

    def compile(self, stage: Stage) -> CompiledStage:
        """Translate a stage into one statement."""
        from umbel.platforms.datafusion.stage import DataFusionStage

        return DataFusionStage(stage)


class _Abilities:
    """What DataFusion says of types, casts, functions and windows."""

    def refuse_type(self, dtype: pa.DataType) -> str | None:
        return refuse_type(dtype)

    def refuse_cast(self, source: pa.DataType, target: pa.DataType) -> str | None:
        from umbel.platforms.datafusion.casts import refuse_cast

        return refuse_cast(source, target)

    def refuse_call(
        self, name: str, nodes: Sequence[Expression], types: Sequence[pa.DataType]
    ) -> str | None:
        from umbel.platforms.datafusion.functions import forms

        return refuse_function(forms(), name, nodes, types)

    def refuse_window(self, call: WindowCall, schema: pa.Schema) -> str | None:
        from umbel.platforms.datafusion.functions.aggregates import refuse_window

        types = [infer_type(node, schema) for node in call.arguments]
        aggregate = CATALOGUE[call.function].kind is Kind.AGGREGATE
        return refuse_window(call, types, aggregate=aggregate)


def _refuse_names(operator: Operator) -> str | None:
    """Say which column has a name that DataFusion does not keep."""
    for schema in (operator.schema, *(child.schema for child in operator.inputs)):
        for name in schema.names:
            if not name or "\0" in name:
                return "DataFusion has no columns without a name"
    return None


def _refuse_keys(operator: Operator) -> str | None:
    """Say which values DataFusion would not find equal: NaNs inside lists and structs."""
    types: list[pa.DataType] = []
    match operator:
        case Distinct() | Intersect() | Except():
            types = list(operator.schema.types)
        case Union(distinct=True):
            types = list(operator.schema.types)
        case Aggregate(keys=keys):
            types = [infer_type(key, operator.input.schema) for _, key in keys]
        case Join(on=on):
            types = [operator.left.schema.field(left).type for left, _ in on]
    if any(_holds_floats(dtype) for dtype in types):
        return "DataFusion tells NaNs inside lists and structs apart"
    return None


def _refuse_residual(operator: Operator) -> str | None:
    """Say why a join's condition may fail on rows that are no pair.

    DataFusion evaluates it on rows without a partner too, and on both sides of an AND.
    """
    match operator:
        case Join(how=how, residual=Expression() as residual) if how != "inner" and not cannot_fail(
            residual, operator.pair_schema
        ):
            return "DataFusion evaluates a join's condition on rows that are no pair, too"
    return None


def _holds_floats(dtype: pa.DataType) -> bool:
    """Whether a list or struct has floats inside."""
    inner = [dtype.value_type] if is_list(dtype) else []
    if pa.types.is_struct(dtype):
        inner = [field.type for field in dtype]
    return any(is_float(item) or _holds_floats(item) for item in inner)


def _refuse_aggregates(operator: Operator) -> str | None:
    for root, _ in expressions_of(operator):
        for node in walk(root):
            if isinstance(node, AggregateCall):
                from umbel.platforms.datafusion.functions.aggregates import refuse_aggregate

                reason = refuse_aggregate(node)
                if reason is not None:
                    return reason
    return None
