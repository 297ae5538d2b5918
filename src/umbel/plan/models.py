"""What a model is, as data: the algorithm, how columns become numbers, and what is predicted.

All that is learned of the data stands beside it as numbers; see `umbel.models`. Like everything in
a plan these are closed lists of records: a model that is read is checked, and nothing of it is
imported, evaluated or unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal as OneOf

import pyarrow as pa

from umbel.plan.algorithms import (
    ALGORITHMS,
    MAX_WIDTH,
    PCA,
    Algorithm,
    BoostedTrees,
    CoxRegression,
    KMeans,
    LinearRegression,
    LogisticRegression,
    MultinomialRegression,
    NaiveBayes,
    Network,
    PoissonRegression,
    Regression,
    SklearnModel,
    TorchModule,
)
from umbel.plan.errors import PlanError, TypeClashError, UnknownNameError
from umbel.plan.expressions import Expression, Literal
from umbel.plan.records import Record
from umbel.plan.types import is_numeric, type_name

#: Name of the constant column.
INTERCEPT = "intercept"


class Feature(Record):
    """How one column becomes numbers. What is learned for it (a mean, the words) is part of it.

    Attributes:
        column: the column's name.
    """

    column: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the numbers that it makes."""
        return (self.column,)

    def check(self, dtype: pa.DataType) -> None:
        """Raise `TypeClashError` unless it can be made of values of a type."""
        if not _is_number(dtype):
            raise TypeClashError(
                f"feature {self.column!r} must be numbers, not {type_name(dtype)}",
                hint=f"encode it: ub.learn.one_hot({self.column!r}); or cast it before",
            )


class Number(Feature):
    """`(x - center) / scale`, where a missing x is `fill`; without that the row is left out."""

    center: float = 0.0
    scale: float = 1.0
    fill: float | None = None

    def __post_init__(self) -> None:
        numbers = (self.center, self.scale, 0.0 if self.fill is None else self.fill)
        if not all(map(math.isfinite, numbers)) or self.scale == 0:
            raise PlanError(f"feature {self.column!r} cannot be scaled by {numbers[:2]}")


class Category(Feature):
    """For each of some values 1 where it stands, else 0; other values give zeros.

    Attributes:
        values: constants of one type, the column's.
        fill: the value that a missing one counts as; without it the row is left out.
    """

    values: tuple[Expression, ...]
    fill: Expression | None = None

    def __post_init__(self) -> None:
        check_literals(self.values, f"the values of feature {self.column!r}")
        if self.fill is not None:
            check_literals((*self.values[:1], self.fill), f"the values of feature {self.column!r}")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.column}={value_text(value)}" for value in self.values)

    def check(self, dtype: pa.DataType) -> None:
        if self.values and dtype != self.values[0].dtype:  # type: ignore[attr-defined]
            known = type_name(self.values[0].dtype)  # type: ignore[attr-defined]
            raise TypeClashError(
                f"feature {self.column!r} has values of type {known}, the column of type "
                f"{type_name(dtype)}"
            )


class Bins(Feature):
    """For each interval between edges 1 where x lies in it, else 0; the first one has no column.

    Intervals hold their lower edge. What lies below the first edge or above the last one is in the
    first or last interval, so `edges` are those between intervals.
    """

    edges: tuple[float, ...]
    fill: float | None = None

    def __post_init__(self) -> None:
        pairs = zip(self.edges, self.edges[1:], strict=False)
        rising = all(a < b for a, b in pairs) and all(map(math.isfinite, self.edges))
        if not self.edges or not rising:
            raise PlanError(f"the edges of feature {self.column!r} must rise: {self.edges}")

    @property
    def names(self) -> tuple[str, ...]:
        ends = [f"{edge:g}" for edge in self.edges[1:]] + ["…"]
        return tuple(
            f"{self.column}={low:g}…{high}".replace("……", "…")
            for low, high in zip(self.edges, ends, strict=True)
        )


#: How slopes become steps, and how much of earlier slopes each of them keeps if it is not said.
OPTIMIZERS: dict[str, tuple[float, ...]] = {
    "sgd": (),
    "adam": (0.9, 0.999),
    "rmsprop": (0.99,),
    "adagrad": (),
}


def check_optimizer(name: str, betas: tuple[float, ...], decay: float) -> None:
    """Raise `PlanError` unless there is such an optimizer.

    >>> check_optimizer("adam", (0.9, 0.99), 0.01)
    """
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, list(OPTIMIZERS), where="training by steps")
    wanted = len(OPTIMIZERS[name])
    if betas and (len(betas) != wanted or not all(0 <= beta < 1 for beta in betas)):
        raise PlanError(f"{name} takes {wanted} betas from 0 to 1, not {betas}")
    if not 0 <= decay < math.inf:
        raise PlanError(f"decay is 0 or more, not {decay:g}")


class Training(Record):
    """How one part of the data trains in a round, by steps.

    Attributes:
        rate: how far a step goes.
        epochs: how often it goes over all rows.
        batch: rows of a step; 0 takes all.
        momentum: how much of the last step is in the next one.
        proximal: pulls each step back to where the round began.
        seed: of the order of the rows.
        clip: the slope of each individual's rows is made no longer than this, and one step is taken
            along their sum; 0 takes slopes as they are.
        optimizer: how a slope becomes a step.
        betas: how much of earlier slopes, and of their squares, the optimizer keeps; none for what
            is usual.
        decay: shrinks the state by this times the rate in each step.
        earlier: rounds of the training before this one; rates that fall over time go on from there.
    """

    rate: float
    epochs: int = 1
    batch: int = 0
    momentum: float = 0.0
    proximal: float = 0.0
    seed: int = 0
    clip: float = 0.0
    optimizer: OneOf["sgd", "adam", "rmsprop", "adagrad"] = "sgd"
    betas: tuple[float, ...] = ()
    decay: float = 0.0
    earlier: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.earlier < 1 << 40:
            raise PlanError(f"there were no {self.earlier} rounds before")
        if not 0 <= self.clip < math.inf:
            raise PlanError(f"no slope is cut to {self.clip:g}")
        check_optimizer(self.optimizer, self.betas, self.decay)
        plain = (self.epochs, self.batch, self.momentum, self.proximal) == (1, 0, 0.0, 0.0)
        plain = plain and (self.optimizer, self.decay) == ("sgd", 0.0)
        if self.clip and not plain:
            raise PlanError(
                "slopes of individuals are clipped in one step over all rows",
                hint='Settings(learning_rate=…) alone; momentum can be the strategy\'s: "fedavgm"',
            )
        if not 0 < self.rate < math.inf or not 0 <= self.proximal < math.inf:
            raise PlanError(f"no step goes as far as {self.rate:g}, pulled by {self.proximal:g}")
        if not 0 <= self.momentum < 1:
            raise PlanError(f"the momentum lies from 0 to 1, and is not {self.momentum:g}")
        if self.epochs < 1 or self.batch < 0 or self.seed < 0:
            raise PlanError("training takes an epoch or more, and rows and seeds from 0 on")


#: The steps of a round of secure aggregation, in their order.
MASKING_STEPS = ("keys", "share", "mask", "confirm", "open")


def check_training(algorithm: Algorithm, training: Training, *, corrected: bool) -> None:
    """Raise `PlanError` unless parts can train a model so.

    Args:
        algorithm: the kind of model.
        training: how.
        corrected: whether something is added to the slope of each step.
    """
    kind = type(algorithm).__name__
    if not algorithm.by_steps:
        raise PlanError(f"{kind} is found exactly, and not by steps", hint="leave out strategy")
    if not algorithm.own_steps:
        return
    asked = {
        "corrections of slopes, as scaffold makes": corrected,
        "a pull to where the round began, as fedprox makes": training.proximal,
        "slopes of individuals that are clipped": training.clip,
        "a momentum": training.momentum,
        f"the optimizer {training.optimizer}": training.optimizer != "sgd",
        "a decay": training.decay,
    }
    for what, wanted in asked.items():
        if wanted:
            raise PlanError(
                f"{kind} takes steps of its own, and has no place for {what}",
                hint='its own parameters say how it steps; strategy="fedavg" takes any steps',
            )


class Masking(Record):
    """One step of a round of secure aggregation; see `umbel.learning.secure`.

    Attributes:
        run: of which training; never the same twice.
        round: its number.
        step: one of `MASKING_STEPS`.
        fewest: of how many sites a sum may be, at least.
        sites: how many are asked, at most.
        degree: with how many others each site masks.
        question: identifies what all sites are asked for: none masks the answer to another.
        share: which part of a site's neighbours it takes to unmask it.
        bound: no number of an update is larger, and each takes 32 bits; 0 takes 128 bits for each,
            in which every sum has a place.
        rows: with a bound, no site's update counts for more rows than these.
        clip: updates are made no longer than this, and all count the same; 0 leaves them as they
            are.
        noise: with a clip, the standard deviation of the noise that each site adds, over the clip.
        of_rows: the clip is of what training with a clip has summed up already, of each individual
            by itself, and times its rate.
        within: with a clip, that of the noise on whether an update was no longer than the clip; 0
            does not tell.
    """

    run: str
    round: int
    step: str
    fewest: int
    sites: int
    degree: int
    question: str
    share: float = 2 / 3
    bound: float = 0.0
    rows: float = 1e6
    clip: float = 0.0
    noise: float = 0.0
    within: float = 0.0
    of_rows: bool = False

    def __post_init__(self) -> None:
        if self.step not in MASKING_STEPS:
            steps = ", ".join(MASKING_STEPS)
            raise PlanError(f"secure aggregation has no step {self.step!r}", hint=f"it has {steps}")
        if (
            not (0 < len(self.run) <= 200 and len(self.question) <= 200)
            or not 0 <= self.round < 1 << 40
        ):
            raise PlanError("a round of secure aggregation has a name of a run and a number")
        if not 2 <= self.fewest <= self.sites <= 10_000 or self.degree < 1:
            raise PlanError("a sum is of two sites or more, and of no more than there are")
        if not 0.5 < self.share <= 1:
            raise PlanError(f"it takes more than half of the neighbours, not {self.share:g}")
        numbers = (self.bound, self.clip, self.noise, self.within)
        if not all(0 <= number < math.inf for number in numbers) or not 0 < self.rows < math.inf:
            raise PlanError("bounds, clips, noise and rows are numbers from 0 on")
        if (self.noise or self.within) and not self.clip:
            raise PlanError("noise is measured in units of the clip, and there is none")


class Design(Record):
    """A model without its numbers: the algorithm, the features in order, and the label.

    Attributes:
        algorithm: the kind of model.
        features: what it goes by.
        label: the column that is predicted; empty if none is.
        classes: for classifiers the label's values, in order; constants of the label's type.
    """

    algorithm: Algorithm
    features: tuple[Feature, ...]
    label: str = ""
    classes: tuple[Expression, ...] = ()

    def __post_init__(self) -> None:
        if not self.features:
            raise PlanError("a model needs at least one feature")
        names = self.names
        if len(names) > MAX_WIDTH:
            raise PlanError(f"the features make more than {MAX_WIDTH} columns")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise PlanError(f"feature {twice!r} stands twice")
        kind = type(self.algorithm).__name__
        for column in self.targets:
            if any(feature.column == column for feature in self.features):
                what = "label" if column == self.label else "column"
                raise PlanError(f"the {what} {column!r} is among the features")
        if len(set(self.targets)) < len(self.targets):
            raise PlanError(f"{kind} needs {self.label!r} for one thing only")
        if self.label and not self.algorithm.labelled:
            raise PlanError(f"{kind} has no label", hint=f"leave {self.label!r} out")
        check_literals(self.classes, f"the classes of {self.label!r}")
        if isinstance(self.algorithm, PCA) and self.algorithm.components > len(names):
            raise PlanError(
                f"PCA finds {self.algorithm.components} components of {len(names)} columns: at "
                "most as many as there are"
            )
        if self.algorithm.classifies and len(self.classes) < 2:
            raise PlanError(f"{kind} needs two classes or more, {self.label!r} has one")
        if isinstance(self.algorithm, LogisticRegression) and len(self.classes) != 2:
            raise PlanError(
                f"LogisticRegression takes two classes, {self.label!r} has {len(self.classes)}",
                hint="MultinomialRegression takes more",
            )
        if self.classes and not self.algorithm.classifies:
            raise PlanError(f"{kind} has no classes")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the numbers that a row becomes; the constant comes first."""
        made = tuple(name for feature in self.features for name in feature.names)
        return (INTERCEPT, *made) if self.algorithm.constant else made

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the features read, each once."""
        return tuple(dict.fromkeys(feature.column for feature in self.features))

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that training reads besides those of features."""
        return (*((self.label,) if self.label else ()), *self.algorithm.beside)

    def check(self, schema: pa.Schema, *, label: bool) -> None:
        """Hold the model against the columns that it is to be applied to.

        Args:
            schema: the columns.
            label: whether the label is needed too, and what else training reads.

        Raises:
            UnknownNameError: a column is missing.
            TypeClashError: a column has another type than the model was made for.
        """
        kind = type(self.algorithm).__name__
        wanted = self.columns + (self.targets if label else ())
        for name in wanted:
            if name not in schema.names:
                raise UnknownNameError("column", name, schema.names, where=f"the model ({kind})")
        for feature in self.features:
            feature.check(schema.field(feature.column).type)
        if label and self.label:
            dtype = schema.field(self.label).type
            if self.classes:
                Category(self.label, self.classes).check(dtype)
            elif not _is_number(dtype):
                raise TypeClashError(
                    f"{kind} predicts numbers, and label {self.label!r} is {type_name(dtype)}",
                    hint="a classifier predicts classes, as LogisticRegression does",
                )
        for name in self.algorithm.beside if label else ():
            if not _is_number(dtype := schema.field(name).type):
                raise TypeClashError(
                    f"column {name!r} must be numbers or booleans for {kind}, not "
                    f"{type_name(dtype)}"
                )

    @property
    def words(self) -> str:
        """The model in a line, for people."""
        return words_of(self.algorithm, self.label, self.columns)


def words_of(algorithm: Algorithm, label: str, columns: Sequence[str]) -> str:
    """A model in a line, for people.

    >>> words_of(LinearRegression(), "price", ["age", "area"])
    'LinearRegression of price by age, area'
    """
    shown = ", ".join(columns[:6]) + (", …" if len(columns) > 6 else "")
    kind = type(algorithm).__name__
    return f"{kind} of {label} by {shown}" if label else f"{kind} of {shown}"


def _is_number(dtype: pa.DataType) -> bool:
    return is_numeric(dtype) or bool(pa.types.is_boolean(dtype))


def check_literals(values: tuple[Expression, ...], what: str) -> None:
    """Raise `PlanError` unless values are different constants of one type, none of them null."""
    for value in values:
        if not isinstance(value, Literal) or value.value is None:
            raise PlanError(f"{what} must be constants, not {value}")
    if len({str(value.dtype) for value in _literals(values)}) > 1:
        raise PlanError(f"{what} are of several types")


def value_text(value: Expression) -> str:
    """Show a constant as the name of a class.

    >>> value_text(Literal("icu", pa.string()))
    'icu'
    """
    return str(value.value) if isinstance(value, Literal) else str(value)


def _literals(values: tuple[Expression, ...]) -> Iterator[Literal]:
    return (value for value in values if isinstance(value, Literal))


FEATURES: dict[str, type[Feature]] = {cls.__name__: cls for cls in (Number, Category, Bins)}

__all__ = [
    "ALGORITHMS",
    "FEATURES",
    "INTERCEPT",
    "MASKING_STEPS",
    "OPTIMIZERS",
    "PCA",
    "Algorithm",
    "Bins",
    "BoostedTrees",
    "Category",
    "CoxRegression",
    "Design",
    "Feature",
    "KMeans",
    "LinearRegression",
    "LogisticRegression",
    "Masking",
    "MultinomialRegression",
    "NaiveBayes",
    "Network",
    "Number",
    "PoissonRegression",
    "Regression",
    "SklearnModel",
    "TorchModule",
    "Training",
    "check_literals",
    "check_optimizer",
    "check_training",
    "value_text",
    "words_of",
]
