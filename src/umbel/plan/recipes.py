"""What a model is to be made of, before anything is known of the rows: a fit that has not run.

A recipe is to a design what a question is to its answer. It says which columns become numbers in
which way; means, words and classes are found when it is trained. Like everything in a plan these
are closed lists of records.
"""

from __future__ import annotations

import math

import pyarrow as pa

from umbel.plan.algorithms import Algorithm
from umbel.plan.errors import PlanError, TypeClashError, UnknownNameError
from umbel.plan.expressions import Expression
from umbel.plan.models import Feature, Number, Training, check_literals, words_of
from umbel.plan.records import Record
from umbel.plan.types import type_name


class Wanted(Record):
    """A feature that is yet to be made.

    Attributes:
        column: the column's name.
    """

    column: str


class WantedNumber(Wanted):
    """A number; see `umbel.learn.numeric`.

    Attributes:
        scale: subtract the mean of all rows, and divide by their standard deviation.
        fill: what a missing value counts as; without it, and without `mean`, the row is left out.
        mean: a missing value counts as the mean.
    """

    scale: bool = False
    fill: float | None = None
    mean: bool = False


class WantedCategory(Wanted):
    """A column for each of some values; see `umbel.learn.one_hot`.

    Attributes:
        values: constants of the column's type; None finds those that occur.
        drop_first: leave out the first value's column.
        fill: the value that a missing one counts as; without it the row is left out.
    """

    values: tuple[Expression, ...] | None = None
    drop_first: bool = True
    fill: Expression | None = None

    def __post_init__(self) -> None:
        check_literals(self.values or (), f"the values of feature {self.column!r}")


class WantedBins(Wanted):
    """A column for each interval; see `umbel.learn.binned`.

    Attributes:
        edges: between the intervals.
        bins: or how many intervals.
        fill: as that of `WantedNumber`.
        mean: likewise.
    """

    edges: tuple[float, ...] = ()
    bins: int = 0
    fill: float | None = None
    mean: bool = False

    def __post_init__(self) -> None:
        if bool(self.edges) == bool(self.bins) or self.bins == 1 or self.bins < 0:
            raise PlanError(
                f"feature {self.column!r} is cut at given edges, or into two bins or more"
            )


class MadeFeature(Wanted):
    """A feature that is made already: nothing is asked for it.

    Attributes:
        feature: what it is, of the same column.
    """

    feature: Feature

    def __post_init__(self) -> None:
        if self.feature.column != self.column:
            raise PlanError(f"the feature of {self.column!r} is of {self.feature.column!r}")


WANTED: dict[str, type[Wanted]] = {
    cls.__name__: cls for cls in (WantedNumber, WantedCategory, WantedBins, MadeFeature)
}


class Combining(Record):
    """How the updates of parts become a state, by name; see `umbel.learn.strategy`.

    Attributes:
        name: the strategy's, such as "fedprox".
        options: its numbers that are not the usual ones.
    """

    name: str
    options: tuple[tuple[str, float], ...] = ()


class Hiding(Record):
    """That sites mask what they give; see `umbel.learn.Secure`.

    Attributes:
        fewest: of how many sites a sum may be, at least.
        bound: no number of an update is larger.
        rows: with a bound, the most rows that a site's update counts for.
    """

    fewest: int | None = None
    bound: float | None = None
    rows: float = 1e6


class Recipe(Record):
    """All that `umbel.learn.fit` is asked for, but the rows.

    Attributes:
        algorithm: the kind of model.
        features: what it goes by.
        label: the column that is predicted; empty if none is.
        classes: for classifiers the label's values; none finds those that occur.
        combining: train by steps, and put updates together so; None as `fit` does.
        training: how parts train by steps; its seed is not used.
        hiding: have sites mask what they give; None does not.
        rounds: at most, or of steps, so many; 0 leaves it to `fit`.
        seed: of whatever is drawn.
        without: parts to leave out.
        keep: the name under which the model is kept in the registry; empty keeps it nowhere.
    """

    algorithm: Algorithm
    features: tuple[Wanted, ...]
    label: str = ""
    classes: tuple[Expression, ...] = ()
    combining: Combining | None = None
    training: Training | None = None
    hiding: Hiding | None = None
    rounds: int = 0
    seed: int = 0
    without: tuple[str, ...] = ()
    keep: str = ""

    def __post_init__(self) -> None:
        kind = type(self.algorithm).__name__
        if not self.features:
            raise PlanError("a model needs at least one feature")
        if self.rounds < 0 or self.seed < 0:
            raise PlanError(f"rounds and seed are 0 or more, not {self.rounds} and {self.seed}")
        if self.algorithm.labelled != bool(self.label):
            raise PlanError(f"{kind} {'needs a' if self.algorithm.labelled else 'has no'} label")
        if self.classes and not self.algorithm.classifies:
            raise PlanError(f"{kind} has no classes")
        check_literals(self.classes, f"the classes of {self.label!r}")
        if self.combining is not None and not self.algorithm.by_steps:
            raise PlanError(f"{kind} is found exactly, and not by steps", hint="leave out strategy")
        for name, value in () if self.combining is None else self.combining.options:
            if not math.isfinite(value):
                raise PlanError(f"option {name!r} of {self.combining!r} is no number")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that features read, each once."""
        return tuple(dict.fromkeys(feature.column for feature in self.features))

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that training reads besides those of features."""
        return (*((self.label,) if self.label else ()), *self.algorithm.beside)

    def check(self, schema: pa.Schema, *, label: bool, like: pa.Schema | None = None) -> None:
        """Hold the recipe against columns.

        Args:
            schema: the columns.
            label: whether the label is needed too, and what else training reads.
            like: columns that the model is trained on; those of words must have the same types.

        Raises:
            UnknownNameError: a column is missing.
            TypeClashError: a column has a type that the feature cannot be made of.
        """
        where = f"the model ({type(self.algorithm).__name__})"
        for name in self.columns + (self.targets if label else ()):
            if name not in schema.names:
                raise UnknownNameError("column", name, schema.names, where=where)
        for feature in self.features:
            dtype = schema.field(feature.column).type
            match feature:
                case WantedNumber() | WantedBins():
                    Number(feature.column).check(dtype)
                case MadeFeature(feature=made):
                    made.check(dtype)
                case WantedCategory() if like is not None:
                    known = like.field(feature.column).type
                    if dtype != known:
                        raise TypeClashError(
                            f"feature {feature.column!r} is trained on {type_name(known)}, and the "
                            f"column is of type {type_name(dtype)}"
                        )

    @property
    def words(self) -> str:
        """The model in a line, for people."""
        how = f", by {self.combining.name}" if self.combining else ""
        return words_of(self.algorithm, self.label, self.columns) + how


__all__ = [
    "WANTED",
    "Combining",
    "Hiding",
    "MadeFeature",
    "Recipe",
    "Wanted",
    "WantedBins",
    "WantedCategory",
    "WantedNumber",
]
