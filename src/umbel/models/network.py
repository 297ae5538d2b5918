"""Networks of full layers: what they predict, and the slope of their loss by backpropagation.

Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors", Nature 323,
1986; the spread of the first weights is that of He et al., "Delving deep into rectifiers", ICCV 2015.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from umbel.models.examples import Examples
from umbel.models.layout import Array, Layout
from umbel.plan.models import Design, Network


class NetworkMathematics:
    """Layers of `max(x W + b, 0)`, the last one without the maximum."""

    def state(self, design: Design) -> Layout:
        """Weights and biases of each layer."""
        widths = _widths(design)
        parts: list[tuple[str, tuple[int, ...]]] = []
        for number, (before, after) in enumerate(pairwise(widths), 1):
            parts += [(f"weights {number}", (before, after)), (f"bias {number}", (after,))]
        return Layout(tuple(parts))

    def initial(self, design: Design, seed: int) -> Array:
        """Draw the weights; biases are 0."""
        layout = self.state(design)
        flat = np.zeros(layout.size)
        draw = np.random.Generator(np.random.Philox(key=seed))
        for name, view in layout.split(flat).items():
            if view.ndim == 2:
                spread = np.sqrt((1.0 if name == f"weights {_layers(design)}" else 2.0) / len(view))
                view[...] = draw.normal(0.0, spread, view.shape)
        return flat

    def scores(self, design: Design, state: Array, x: Array) -> Array:
        """The last layer's numbers; of classes their shares."""
        outputs = self._outputs(design, state, x)
        last: Array = outputs[-1]
        return np.exp(_logs(last)) if design.classes else last[:, 0]

    def slope(self, design: Design, state: Array, examples: Examples) -> tuple[Array, float]:
        """The mean loss: the negative log-likelihood of classes, or half the squared error."""
        layout, count = self.state(design), len(examples)
        tensors = layout.split(state)
        outputs = self._outputs(design, state, examples.x)
        if design.classes:
            place = examples.y.astype(np.int64)
            logs = _logs(outputs[-1])
            loss = -float(logs[np.arange(count), place].sum())
            apart = np.exp(logs)
            apart[np.arange(count), place] -= 1
        else:
            apart = outputs[-1] - examples.y[:, None]
            loss = float(0.5 * np.sum(apart**2))
        apart = apart / count
        gradient = np.empty(layout.size)
        into = layout.split(gradient)
        fine = design.algorithm.l2 if isinstance(design.algorithm, Network) else 0.0
        for number in range(_layers(design), 0, -1):
            before = outputs[number - 1]
            weights = tensors[f"weights {number}"]
            into[f"weights {number}"][...] = before.T @ apart + fine * weights
            into[f"bias {number}"][...] = apart.sum(axis=0)
            if number > 1:
                apart = (apart @ weights.T) * (before > 0)
        return gradient, loss

    def row_slopes(self, design: Design, state: Array, examples: Examples) -> Array:
        """The slopes of all layers, of each row."""
        layout, count = self.state(design), len(examples)
        tensors = layout.split(state)
        outputs = self._outputs(design, state, examples.x)
        if design.classes:
            apart = np.exp(_logs(outputs[-1]))
            apart[np.arange(count), examples.y.astype(np.int64)] -= 1
        else:
            apart = outputs[-1] - examples.y[:, None]
        found: list[Array] = []
        for number in range(_layers(design), 0, -1):
            before = outputs[number - 1]
            each = (before[:, :, None] * apart[:, None, :]).reshape(count, -1)
            found = [each, apart, *found]
            if number > 1:
                apart = (apart @ tensors[f"weights {number}"].T) * (before > 0)
        return np.concatenate(found, axis=1)

    def _outputs(self, design: Design, state: Array, x: Array) -> list[Array]:
        """What every layer gives; first what the first one is given."""
        tensors = self.state(design).split(state)
        found = [x]
        for number in range(1, _layers(design) + 1):
            made = found[-1] @ tensors[f"weights {number}"] + tensors[f"bias {number}"]
            found.append(np.maximum(made, 0) if number < _layers(design) else made)
        return found


def _widths(design: Design) -> tuple[int, ...]:
    hidden = design.algorithm.hidden if isinstance(design.algorithm, Network) else ()
    return (len(design.names), *hidden, len(design.classes) or 1)


def _layers(design: Design) -> int:
    return len(_widths(design)) - 1


def _logs(linear: Array) -> Array:
    """The logarithm of each class's share."""
    centred = linear - linear.max(axis=1, keepdims=True)
    found: Array = centred - np.log(np.exp(centred).sum(axis=1, keepdims=True))
    return found


__all__ = ["NetworkMathematics"]
