"""What trains: one protocol for one site and for thousands of simulated ones.

A trainer is given the rows of several sites at once, so that it can work on all of them in the
same few array operations. What it does for a site must not depend on which others are there: a
real site, alone, gets the same bits as in a simulation.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.state import State, Vector
from umbel.learning.strategies.base import Settings


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of some sites, one site after the other.

    Attributes:
        features: a row of numbers for each.
        labels: a number for each; of classifiers the number of the class.
        ends: where each site's rows end; those of the first begin at 0.
    """

    features: Vector
    labels: npt.NDArray[Any]
    ends: npt.NDArray[np.int64]

    @classmethod
    def of(cls, features: Vector, labels: npt.NDArray[Any]) -> Rows:
        """All rows as those of one site."""
        return cls(features, labels, np.array([len(labels)], np.int64))

    @property
    def begins(self) -> npt.NDArray[np.int64]:
        """Where each site's rows begin."""
        return np.concatenate([np.zeros(1, np.int64), self.ends[:-1]])

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many rows each site has."""
        return np.diff(self.ends, prepend=0)


class Trainer(Protocol):
    """Trains models of one kind."""

    def initial(self, seed: int) -> State:
        """The state before the first round."""
        ...

    def check(self, rows: Rows) -> None:
        """Hold rows against what is learned from.

        Raises:
            ValueError: they have other features or labels.
        """
        ...

    def train(
        self,
        starts: Vector,
        rows: Rows,
        chosen: npt.NDArray[np.int64],
        settings: Settings,
        corrections: Vector | None,
        keys: list[bytes],
    ) -> tuple[Vector, npt.NDArray[np.int64]]:
        """Train at some of the sites, each from its own start.

        Args:
            starts: for each chosen site the parameters that it begins with.
            rows: the rows of all sites.
            chosen: the positions of the sites that train.
            settings: how they train, but for the corrections.
            corrections: for each chosen site what is added to its gradients.
            keys: for each chosen site 16 bytes, from which it draws its batches.

        Returns:
            The updates, and the steps that each site took.
        """
        ...

    def measure(self, state: State, rows: Rows) -> dict[str, float]:
        """How well a state does on all rows together."""
        ...


def key_of(seed: int, number: int, site: str) -> bytes:
    """Where the randomness of a site in a round comes from: the same wherever it runs.

    >>> key_of(7, 1, "ward 3") == key_of(7, 1, "ward 3") != key_of(7, 2, "ward 3")
    True
    """
    text = f"{seed}\0{number}\0{site}".encode()
    return hashlib.blake2b(text, digest_size=16, person=b"umbel.training").digest()


def generator(key: bytes) -> np.random.Generator:
    """Random numbers of a key; for batches and partitions, never for privacy."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


class Shuffler:
    """Orders of rows by key and epoch; one generator whose key is changed, not one for each site.

    A new generator costs ten times what it then draws for a small site.

    >>> shuffler, key = Shuffler(), key_of(7, 1, "ward 3")
    >>> again = shuffler.order(key, 0, 5)
    >>> shuffler.order(key, 1, 5).tolist() != again.tolist() == shuffler.order(key, 0, 5).tolist()
    True
    """

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._bits)
        self._state = self._bits.state

    def order(self, key: bytes, epoch: int, count: int) -> npt.NDArray[np.int64]:
        """A permutation of so many rows."""
        inner = self._state["state"]
        inner["key"] = np.frombuffer(key, "<u8").astype(np.uint64)
        inner["counter"][:] = (0, 0, 0, epoch)
        self._bits.state = self._state
        return self._generator.permutation(count)
