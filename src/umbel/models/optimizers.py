"""How a slope becomes a step: plain, by Adam, RMSprop or Adagrad, for states of any kind.

Sources: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1; Duchi,
Hazan and Singer, "Adaptive Subgradient Methods", JMLR 12, 2011; Hinton, "Neural Networks for Machine
Learning", lecture 6e, 2012. Decay is apart from the slope, as in Loshchilov and Hutter, "Decoupled
Weight Decay Regularization", ICLR 2019. The small numbers under fractions are those of PyTorch.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from umbel.plan.models import OPTIMIZERS, Training

#: An array of floats of 32 or of 64 bits.
Floats: TypeAlias = npt.NDArray[Any]


class Stepping:
    """Takes steps; remembers what an optimizer keeps from one to the next.

    >>> state, steps = np.array([1.0]), Stepping(Training(0.5), 1, "float64")
    >>> steps.take(state, np.array([1.0]))
    >>> state.tolist()
    [0.5]
    """

    def __init__(self, training: Training, size: int, dtype: npt.DTypeLike) -> None:
        """Begin.

        Args:
            training: says how steps are taken.
            size: how many numbers there are.
            dtype: of the numbers.
        """
        self._how = training
        self._betas = training.betas or OPTIMIZERS[training.optimizer]
        self._count = 0
        kept = {"sgd": int(training.momentum > 0), "adam": 2, "rmsprop": 1, "adagrad": 1}
        self._kept = [np.zeros(size, dtype) for _ in range(kept[training.optimizer])]

    def take(self, state: Floats, slope: Floats) -> None:
        """Move a state, in place; the slope is used up."""
        how, self._count = self._how, self._count + 1
        if how.decay:
            state *= 1 - how.rate * how.decay
        match how.optimizer:
            case "sgd":
                if self._kept:
                    (velocity,) = self._kept
                    velocity *= how.momentum
                    velocity += slope
                    slope = velocity
                state -= how.rate * slope
            case "adam":
                mean, square = self._kept
                one, two = self._betas
                mean += (1 - one) * (slope - mean)
                square *= two
                square += (1 - two) * slope**2
                size = how.rate / (1 - one**self._count)
                state -= size * mean / (np.sqrt(square / (1 - two**self._count)) + 1e-8)
            case "rmsprop":
                (square,) = self._kept
                square *= self._betas[0]
                square += (1 - self._betas[0]) * slope**2
                state -= how.rate * slope / (np.sqrt(square) + 1e-8)
            case "adagrad":
                (square,) = self._kept
                square += slope**2
                state -= how.rate * slope / (np.sqrt(square) + 1e-10)


__all__ = ["Floats", "Stepping"]
