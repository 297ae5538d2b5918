"""Models as ONNX: regressions, and networks of full layers, with the preparation of their columns.

An input stands for each column, `[rows, 1]`: numbers as doubles (missing ones as NaN), others as the
text or whole number that they are. Outputs are `scores` (a mean, or the probability of each class)
and, for classifiers, `place`, the position of the likeliest class; the classes themselves stand in
the file's metadata, with the design. ONNX has no missing text, so a column of text takes none.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from umbel.learning.designs import design_text
from umbel.learning.model import Model
from umbel.models.layout import Array
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.models import (
    Bins,
    Category,
    Design,
    Feature,
    Network,
    Number,
    PoissonRegression,
    Regression,
    value_text,
)

#: Of the operators used here, `Equal` compares texts from this version on.
OPSET = 19


def to_onnx(model: Model) -> bytes:
    """Write a model as ONNX.

    Raises:
        PlanError: the kind of model has no such form, a column has a type that ONNX has not, or the
            package `onnx` is not installed.
    """
    if not isinstance(model.design.algorithm, Regression | Network):
        raise PlanError(
            f"{type(model.design.algorithm).__name__} has no form in ONNX here",
            hint="regressions and networks have; others are exported as safetensors",
        )
    try:
        import onnx
    except ModuleNotFoundError:
        raise PlanError("ONNX needs the package onnx", hint="pip install 'umbel[onnx]'") from None
    graph = _Graph()
    blocks = [graph.feature(feature) for feature in model.design.features]
    design = model.design
    x = graph.add("Concat", *blocks, axis=1)
    scores = graph.scores(design, {name: t.copy() for name, t in model.tensors.items()}, x)
    outputs = [("scores", scores, onnx.TensorProto.DOUBLE, [None, None])]
    if design.classes:
        place = graph.add("ArgMax", scores, axis=1, keepdims=0)
        outputs.append(("place", place, onnx.TensorProto.INT64, [None]))
    helper = onnx.helper
    for name, value, _, _ in outputs:
        graph.nodes.append(helper.make_node("Identity", [value], [name]))
    made = helper.make_graph(
        graph.nodes,
        "umbel",
        graph.inputs,
        [helper.make_tensor_value_info(name, kind, shape) for name, _, kind, shape in outputs],
        graph.constants,
    )
    file = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    notes = {
        "classes": json.dumps([value_text(value) for value in design.classes]),
        "design": design_text(design),
    }
    helper.set_model_props(file, notes)
    onnx.checker.check_model(file, full_check=True)
    return bytes(file.SerializeToString())


class _Graph:
    """A graph that grows."""

    def __init__(self) -> None:
        import onnx

        self._onnx = onnx
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.constants: list[Any] = []
        self._columns: dict[str, str] = {}

    def add(self, kind: str, *inputs: str, **options: Any) -> str:
        """Add an operation; gives the name of what it makes."""
        name = f"{kind} {len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(kind, list(inputs), [name], **options))
        return name

    def constant(self, value: Any) -> str:
        """Add a constant."""
        name = f"constant {len(self.constants)}"
        self.constants.append(self._onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def _column(self, name: str, kind: int) -> str:
        if name not in self._columns:
            info = self._onnx.helper.make_tensor_value_info(name, kind, [None, 1])
            self.inputs.append(info)
            self._columns[name] = name
        return name

    def feature(self, feature: Feature) -> str:
        """The numbers of a feature, a column each."""
        types = self._onnx.TensorProto
        match feature:
            case Number(center=center, scale=scale, fill=fill):
                x = self._filled(self._column(feature.column, types.DOUBLE), fill)
                return self.add(
                    "Div", self.add("Sub", x, self.constant(center)), self.constant(scale)
                )
            case Bins(edges=edges, fill=fill):
                x = self._filled(self._column(feature.column, types.DOUBLE), fill)
                # In an interval is what lies at or above its lower edge, and not at the next one.
                above = self.constant(np.array([edges], np.float64))
                below = self.constant(np.array([[*edges[1:], np.inf]], np.float64))
                inside = self.add(
                    "And", self.add("GreaterOrEqual", x, above), self.add("Less", x, below)
                )
                made = self.add("Cast", inside, to=types.DOUBLE)
                missing = self.add("IsNaN", x)
                return self.add("Where", missing, self.constant(np.nan), made)
            case Category(values=values):
                literals = [value for value in values if isinstance(value, Literal)]
                dtype = literals[0].dtype
                if pa.types.is_string(dtype):
                    known = self.constant(np.array([[v.value for v in literals]], object))
                    x = self._column(feature.column, types.STRING)
                elif pa.types.is_integer(dtype) or pa.types.is_boolean(dtype):
                    known = self.constant(np.array([[int(v.value) for v in literals]], np.int64))
                    x = self._column(feature.column, types.INT64)
                else:
                    raise PlanError(f"values of {feature.column!r} are {dtype}: ONNX has none such")
                return self.add("Cast", self.add("Equal", x, known), to=types.DOUBLE)
        raise PlanError(f"{type(feature).__name__} has no form in ONNX here")

    def _filled(self, x: str, fill: float | None) -> str:
        if fill is None:
            return x
        return self.add("Where", self.add("IsNaN", x), self.constant(float(fill)), x)

    def scores(self, design: Design, tensors: dict[str, Array], x: str) -> str:
        """What the model makes of its numbers."""
        if isinstance(design.algorithm, Network):
            layers = len(design.algorithm.hidden) + 1
            for number in range(1, layers + 1):
                weights = self.constant(tensors[f"weights {number}"])
                x = self.add("MatMul", x, weights)
                x = self.add("Add", x, self.constant(tensors[f"bias {number}"]))
                x = self.add("Relu", x) if number < layers else x
            return self.add("Softmax", x, axis=1) if design.classes else x
        found = tensors["coefficients"]
        matrix = found.reshape(-1, len(design.names)).T  # (numbers, outputs)
        if design.classes:  # those of the first class are 0
            matrix = np.hstack([np.zeros((len(matrix), 1)), matrix])
        begin = 1 if design.algorithm.constant else 0
        x = self.add("MatMul", x, self.constant(np.ascontiguousarray(matrix[begin:])))
        if begin:
            x = self.add("Add", x, self.constant(np.ascontiguousarray(matrix[0])))
        if design.classes:
            return self.add("Softmax", x, axis=1)
        return self.add("Exp", x) if isinstance(design.algorithm, PoissonRegression) else x


__all__ = ["OPSET", "to_onnx"]
