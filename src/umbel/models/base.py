"""What the mathematics of a kind of model has to give: sums over rows, and what follows of them.

Every kind can be trained by steps against the slope of its loss (`umbel.models.descent`). A solver
is exact: it goes from state to state by sums over all rows, so it does not matter in how
many parts, or at how many sites, the rows lie. One state leads to the same next one as if all rows
lay together, but for the order in which numbers are added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Protocol, runtime_checkable

from umbel.dataclass import dataclass
from umbel.models.examples import Examples
from umbel.models.layout import Array, Layout
from umbel.plan.errors import PlanError, RunError
from umbel.plan.models import Design


class DivergedError(RunError):
    """Training does not lead to a model; says why, as far as it can be told."""


@dataclass(frozen=True)
class Memory:
    """Where a solver came from: it goes back half of the way if the next state is no better.

    Attributes:
        state: the last state that was better than those before.
        loss: its loss.
        step: how far it went from there.
        halvings: how often that was too far.
    """

    state: Array
    loss: float
    step: Array
    halvings: int = 0


@dataclass(frozen=True)
class Step:
    """What follows of one round's sums.

    Attributes:
        state: the next state.
        loss: of the best state so far, of all rows, penalties included.
        converged: whether the next state is the last one.
        memory: what the next round has to know.
        details: what the sums say besides, by name: such as the covariance of coefficients.
    """

    state: Array
    loss: float
    converged: bool
    memory: Memory | None = None
    details: Mapping[str, Array] = field(default_factory=dict)


class Mathematics(Protocol):
    """The mathematics of one kind of model; without state of its own."""

    def state(self, design: Design) -> Layout:
        """What a model's numbers are."""

    def initial(self, design: Design, seed: int) -> Array:
        """Give the state before the first round."""

    def scores(self, design: Design, state: Array, x: Array) -> Array:
        """Give what is predicted: numbers, or for classifiers the probability of each class."""

    def slope(self, design: Design, state: Array, examples: Examples) -> tuple[Array, float]:
        """Give the slope of the mean loss of rows, penalties included, and the loss of all of them.

        Penalties of exact solvers are on the loss of all rows, so here they are divided by as many
        as there are examples.
        """


@runtime_checkable
class Solver(Mathematics, Protocol):
    """A kind of model that is found exactly, by sums over all rows."""

    def sums(self, design: Design) -> Layout:
        """What one part of the data gives in a round."""

    def contribute(
        self, design: Design, state: Array, pieces: Iterable[Examples], least: int = 0
    ) -> Array:
        """Sum over the rows of one part.

        Args:
            design: the model.
            state: its numbers.
            pieces: the rows.
            least: what can be told of rows apart is told of so many individuals at least.
        """

    def groups(self, design: Design, examples: Examples) -> Array | None:
        """Give for each row the number of the group that sums tell of apart; None if of none.

        Negative numbers are of rows that are in no sum.
        """

    def weights(self, design: Design, state: Array, examples: Examples) -> Array | None:
        """Give the weight of each row in the sums; None if all count alike."""

    def solve(
        self, design: Design, state: Array, sums: Array, rows: int, memory: Memory | None
    ) -> Step:
        """Find the next state.

        Args:
            design: the model.
            state: the state that the sums belong to.
            sums: those of all parts together.
            rows: over how many rows.
            memory: what the last round said; None in the first.

        Raises:
            DivergedError: there is none.
        """


class FoundAtOnce:
    """What solvers share whose models are found exactly only, by sums in which rows count alike."""

    def groups(self, design: Design, examples: Examples) -> Array | None:
        """What sums tell of apart is large enough already, or all that there is."""
        return None

    def weights(self, design: Design, state: Array, examples: Examples) -> Array | None:
        """All rows count alike."""
        return None

    def slope(self, design: Design, state: Array, examples: Examples) -> tuple[Array, float]:
        """There is none."""
        raise PlanError(
            f"{type(design.algorithm).__name__} is found exactly, and not by steps",
            hint="leave out strategy",
        )


@runtime_checkable
class Measuring(Protocol):
    """Mathematics whose models have measures of their own kind."""

    def measured(self, design: Design) -> Layout:
        """What one part of the data gives."""

    def measure(
        self, design: Design, state: Array, piece: Examples, into: Mapping[str, Array]
    ) -> None:
        """Add up a piece, in place."""

    def measures(self, found: Mapping[str, Array], rows: int) -> dict[str, float]:
        """Find the measures of the sums of all parts."""


__all__ = ["DivergedError", "FoundAtOnce", "Mathematics", "Measuring", "Memory", "Solver", "Step"]
