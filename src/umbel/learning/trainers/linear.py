"""Generalised linear models trained by gradient steps, at many sites in the same array operations.

With the canonical link the gradient of all of them is `X' (mean - y)`; they differ in how a
prediction becomes a mean. Exact solvers need fewer rounds; this is for strategies, for privacy by
clipping, and for rows that come in batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.state import Layout, State, TensorSpec, Vector
from umbel.learning.strategies.base import Settings
from umbel.learning.trainers.base import Rows, Shuffler

Link: TypeAlias = Literal["identity", "logit", "softmax", "log"]

CACHED = 1 << 21
"""Bytes of features that are worked on at once: more falls out of a processor's cache."""


@dataclass(frozen=True)
class LinearTrainer:
    """Trains `link(mean) = X w + b`.

    Attributes:
        features: how many numbers a row has.
        link: "identity" for least squares, "logit" for two classes, "softmax" for more, "log" for
            counts (Poisson).
        classes: how many, for "softmax".
        dtype: the type of the parameters.
    """

    features: int
    link: Link = "identity"
    classes: int = 1
    dtype: str = "float64"

    def __post_init__(self) -> None:
        if self.features < 1:
            raise ValueError(f"features must be at least 1, not {self.features}.")
        if (self.link == "softmax") != (self.classes > 1):
            raise ValueError(f"{self.link} with {self.classes} classes: softmax takes 2 or more.")

    @property
    def layout(self) -> Layout:
        """The weights of each feature, and the bias, for each output."""
        shape = (self.features, self.classes)
        return Layout(
            (
                TensorSpec("weights", shape, self.dtype),
                TensorSpec("bias", shape[1:], self.dtype),
            )
        )

    def initial(self, seed: int) -> State:
        """Zero: the problem is convex, so nothing is drawn."""
        return State.zeros(self.layout.specs)

    def check(self, rows: Rows) -> None:
        """See `Trainer.check`."""
        width = rows.features.shape[1]
        if width != self.features:
            raise ValueError(f"Rows have {width} features; the trainer takes {self.features}.")
        low, high = float(rows.labels.min(initial=0)), float(rows.labels.max(initial=0))
        whole = rows.labels.dtype.kind in "iu"
        match self.link:
            case "softmax" if not (whole and low >= 0 and high < self.classes):
                wanted = f"whole numbers from 0 to {self.classes - 1}"
            case "logit" if not (low >= 0 and high <= 1):
                wanted = "0 or 1"
            case "log" if low < 0:
                wanted = "0 or more"
            case _:
                return
        raise ValueError(f"Labels lie between {low:g} and {high:g}; {self.link} takes {wanted}.")

    def train(
        self,
        starts: Vector,
        rows: Rows,
        chosen: npt.NDArray[np.int64],
        settings: Settings,
        corrections: Vector | None,
        keys: list[bytes],
    ) -> tuple[Vector, npt.NDArray[np.int64]]:
        """See `Trainer.train`."""
        counts, begins = rows.counts[chosen], rows.begins[chosen]
        widths = batch_widths(counts, settings.batch_size)
        steps = settings.epochs * -(-counts // np.maximum(widths, 1))
        trained, shuffler = starts.copy(), Shuffler()
        for members in self._groups(counts, widths):
            width = int(widths[members[0]])
            velocity = np.zeros_like(starts[members]) if settings.momentum else None
            own = [keys[i] for i in members]
            now, begin = trained[members], starts[members]
            correction = None if corrections is None else corrections[members]
            for epoch in range(settings.epochs):
                shuffled = None if settings.batch_size is None else (shuffler, own, epoch)
                for index, sizes in batches(begins[members], counts[members], width, shuffled):
                    active = len(sizes)
                    gradient = self._gradient(now[:active], rows, index, sizes)
                    if settings.proximal:
                        gradient += settings.proximal * (now[:active] - begin[:active])
                    if correction is not None:
                        gradient += correction[:active]
                    if velocity is not None:
                        velocity[:active] = settings.momentum * velocity[:active] + gradient
                        gradient = velocity[:active]
                    now[:active] -= settings.learning_rate * gradient
            trained[members] = now
        return trained - starts, steps

    def _groups(
        self, counts: npt.NDArray[np.int64], widths: npt.NDArray[np.int64]
    ) -> Iterator[npt.NDArray[np.int64]]:
        """Sites of one batch width, those with most rows first, as many as the cache takes."""
        for width in np.unique(widths[counts > 0]):
            same = np.flatnonzero((widths == width) & (counts > 0))
            same = same[np.argsort(-counts[same], kind="stable")]
            bytes_each = int(width) * self.features * np.dtype(self.dtype).itemsize
            at_once = max(1, CACHED // bytes_each)
            for begin in range(0, len(same), at_once):
                yield same[begin : begin + at_once]

    def _gradient(
        self,
        now: Vector,
        rows: Rows,
        index: npt.NDArray[np.int64],
        sizes: npt.NDArray[np.int64],
    ) -> Vector:
        features = rows.features[index].astype(self.dtype, copy=False)
        apart = self.means(now, features)
        labels = rows.labels[index]
        if self.link == "softmax":
            # Each row has one class, so none is subtracted from twice.
            apart.reshape(-1, self.classes)[np.arange(labels.size), labels.ravel()] -= 1.0
        else:
            apart -= labels[..., None]
        if sizes.min() < index.shape[1]:
            apart *= (np.arange(index.shape[1]) < sizes[:, None])[..., None]
        apart /= sizes[:, None, None]
        gradient = np.empty_like(now)
        parts = self.layout.split(gradient)
        np.matmul(features.transpose(0, 2, 1), apart, out=parts["weights"])
        np.sum(apart, axis=1, out=parts["bias"])
        return gradient

    def means(self, states: Vector, features: Vector) -> Vector:
        """What rows of parameters predict for features of as many sites.

        Args:
            states: (sites, parameters).
            features: (sites, rows, features).

        Returns:
            (sites, rows, classes); one column where there are no classes.
        """
        parts = self.layout.split(states)
        scores: Vector = np.matmul(features, parts["weights"])
        scores += parts["bias"][:, None, :]
        match self.link:
            case "logit":
                scores = 0.5 * (1.0 + np.tanh(0.5 * scores))
            case "softmax":
                scores -= scores.max(axis=2, keepdims=True)
                np.exp(scores, out=scores)
                scores /= scores.sum(axis=2, keepdims=True)
            case "log":
                np.exp(scores, out=scores)
        return scores

    def measure(self, state: State, rows: Rows) -> dict[str, float]:
        """The mean loss, and of classifiers the share that is right."""
        features = rows.features.astype(self.dtype, copy=False)[None]
        mean = self.means(state.vector[None], features)[0].astype(np.float64)
        tiny = np.finfo(np.float64).tiny
        labels: npt.NDArray[Any] = rows.labels
        match self.link:
            case "softmax":
                right = mean[np.arange(len(labels)), labels]
                loss, hits = -np.log(np.maximum(right, tiny)), mean.argmax(axis=1) == labels
            case "logit":
                right = np.where(labels > 0, mean[:, 0], 1 - mean[:, 0])
                loss, hits = -np.log(np.maximum(right, tiny)), (mean[:, 0] > 0.5) == (labels > 0)
            case "log":
                loss = mean[:, 0] - labels * np.log(np.maximum(mean[:, 0], tiny))
                return {"loss": float(loss.mean())}
            case _:
                return {"loss": float(0.5 * np.square(mean[:, 0] - labels).mean())}
        return {"loss": float(loss.mean()), "accuracy": float(hits.mean())}


def batch_widths(counts: npt.NDArray[np.int64], batch_size: int | None) -> npt.NDArray[np.int64]:
    """How many rows a site's batches are laid out for: of its own numbers alone.

    Sites with few rows, or one batch of all, get the next size of a short list, so that many sites
    share one, and a site gets the same one whoever else is there.

    >>> batch_widths(np.array([0, 5, 9, 100]), 32).tolist()
    [0, 5, 10, 32]
    """
    # Four sizes for each doubling: at most a fourth of a batch is filling.
    doubling = np.maximum(np.ceil(np.log2(np.maximum(counts, 1))).astype(np.int64) - 3, 0)
    unit = np.left_shift(np.int64(1), doubling)
    widths = -(-counts // unit) * unit
    return (
        widths
        if batch_size is None
        else np.where(counts >= batch_size, batch_size, np.minimum(widths, batch_size))
    )


def batches(
    begins: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    width: int,
    shuffled: tuple[Shuffler, list[bytes], int] | None,
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """For each step of an epoch the rows of each site's batch, and how many they are.

    Sites come with most rows first, so those that still have a batch are the first ones. A batch
    that is not full is filled with a row that does not count.

    >>> for index, sizes in batches(np.array([0, 3]), np.array([3, 1]), 2, None):
    ...     print(index.tolist(), sizes.tolist())
    [[0, 1], [3, 3]] [2, 1]
    [[2, 0]] [1]
    """
    most = -(-int(counts[0]) // width)
    padded = np.zeros((len(counts), most * width), np.int64)
    if shuffled is None:
        padded += np.arange(most * width)
        padded[padded >= counts[:, None]] = 0
    else:
        shuffler, keys, epoch = shuffled
        for row, key, count in zip(padded, keys, counts.tolist(), strict=True):
            row[:count] = shuffler.order(key, epoch, count)
    padded += begins[:, None]
    for step in range(most):
        sizes = np.minimum(counts - step * width, width)
        active = int(np.count_nonzero(sizes > 0))
        yield padded[:active, step * width : (step + 1) * width], sizes[:active]
