"""What training begins with: a kind of model, and the numbers that it has already, if any.

A module of PyTorch is read here into a plan's list of layers, an estimator of scikit-learn into its
name and values, and a fitted model is gone on with. Neither package is imported but where something
of it is given, so whoever has none never waits for it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any
from typing import Literal as OneOf

import numpy as np
import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.learning.model import Model
from umbel.models.layout import Array
from umbel.models.solvers import mathematics_of
from umbel.plan.errors import PlanError
from umbel.plan.models import Algorithm, Design, TorchModule
from umbel.plan.types import is_float

if TYPE_CHECKING:
    from torch import nn

#: What a network's numbers are compared with the label by.
Loss = OneOf["cross_entropy", "squared", "absolute", "huber", "poisson"]

#: Rows that a module and what was read of it are compared on.
_TRIED = 8


@dataclass(frozen=True, eq=False)
class Begun:
    """A kind of model and what its training begins with.

    Attributes:
        algorithm: the kind of model.
        state: its numbers; None for those that the kind of model begins with.
        module: the module of PyTorch that it was read from.
        design: of the model that is gone on with.
        estimator: that of scikit-learn that it was read from.
    """

    algorithm: Algorithm
    state: Array | None = None
    module: Any = field(default=None, repr=False)
    design: Design | None = field(default=None, repr=False)
    estimator: Any = field(default=None, repr=False)

    def numbers(self, design: Design) -> Array | None:
        """Give the numbers that training begins with; None for those of the kind of model.

        Raises:
            PlanError: the estimator has learned from other features or classes.
        """
        if self.estimator is None:
            return self.state
        from umbel.learning.trainers.estimators import started

        return started(self.estimator, design)

    def check(self, design: Design) -> None:
        """Raise unless the numbers are of a design's model.

        Raises:
            PlanError: the model that is gone on with has other features, another label or other
                classes; or the module computes something else than what was read of it.
        """
        if self.design is not None and self.design != design:
            raise PlanError(
                "training goes on from a model of other features, another label or other classes",
                hint="give features=model.design.features, and the same label and classes",
            )
        if self.state is None:
            return
        size = mathematics_of(design).state(design).size
        if size != len(self.state):
            raise PlanError(f"training begins with {len(self.state)} numbers, the model has {size}")
        if self.module is not None:
            _check_alike(self.module, design, self.state)


def torch_module(module: nn.Module, *, loss: Loss) -> Begun:
    """Say how what a module of PyTorch gives is compared with the label.

    `fit(model=module)` takes the module itself, and goes by the label's type: "squared" for
    fractions, "cross_entropy" for everything else.

    Args:
        module: takes a tensor of rows by numbers, and gives one with a row for each.
        loss: "cross_entropy" for classes, of which the module gives a number for each (or for two
            classes one: the logarithm of the second one's odds); "squared" (half the squared
            error), "absolute", "huber" or "poisson", for which it gives one number.

    Raises:
        PlanError: it holds what cannot be read as a list of known layers.
    """
    from umbel.learning.trainers.reading import read_module

    algorithm, state = read_module(module, loss)
    return Begun(algorithm, state, module)


def begun(model: Any, label: pa.DataType | None) -> Begun:
    """Read what somebody gave as a model.

    Args:
        model: a kind of model, a fitted one, a module of PyTorch, what `torch_module` gives, or an
            estimator of scikit-learn.
        label: the type of the label; None if there is none.

    Raises:
        PlanError: it is none of these.
    """
    if isinstance(model, Begun):
        return model
    if isinstance(model, Algorithm):
        return Begun(model)
    if isinstance(model, Model):
        return Begun(model.design.algorithm, model.state, None, model.design)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(model, torch.nn.Module):
        numbers = label is not None and (is_float(label) or pa.types.is_decimal(label))
        return torch_module(model, loss="squared" if numbers else "cross_entropy")
    sklearn = sys.modules.get("sklearn.base")
    if sklearn is not None and isinstance(model, sklearn.BaseEstimator):
        from umbel.learning.trainers.estimators import read_estimator

        return Begun(read_estimator(model), estimator=model)
    raise PlanError(
        f"model is a kind of model, such as LogisticRegression(), not {type(model).__name__}"
    )


def as_torch(design: Design, state: Array) -> nn.Module:
    """Give a network of PyTorch as a module, with copies of its numbers.

    Raises:
        PlanError: it is another kind of model.
    """
    from umbel.models.modules import algorithm_of, bind
    from umbel.models.torch_layers import LayerNetwork

    algorithm = algorithm_of(design)
    network = LayerNetwork(algorithm, device="meta")
    bind(network, state.astype(algorithm.dtype), None)
    return network.eval()


def _check_alike(module: Any, design: Design, state: Array) -> None:
    """Hold what was read of a module against the module itself, on some drawn rows."""
    import torch

    draw = np.random.Generator(np.random.Philox(key=1))
    width = len(design.names)
    algorithm = design.algorithm
    dtype = algorithm.dtype if isinstance(algorithm, TorchModule) else "float64"
    rows = torch.from_numpy(np.abs(draw.normal(size=(_TRIED, width))).astype(dtype))
    read, training = as_torch(design, state), module.training
    module.eval()
    try:
        with torch.no_grad():
            own, other = module(rows), read(rows)
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        why = str(error).split("\n")[0]
        raise PlanError(
            f"{type(module).__name__} cannot be computed for a row of {width} numbers: {why}",
            hint=f"they are {_some(design.names)}; whole numbers come as floats: x.long()",
        ) from error
    finally:
        module.train(training)
    near = 1e-4 if dtype == "float32" else 1e-9
    if own.shape != other.shape or not torch.allclose(own, other, rtol=near, atol=near):
        raise PlanError(
            f"{type(module).__name__} computes something else than what was read of it",
            hint="write its forward with layers and operations on whole batches of rows",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")


__all__ = ["Begun", "Loss", "as_torch", "begun", "torch_module"]
