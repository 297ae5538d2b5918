"""Operators that learn from rows, and apply what was learned.

A model is data: a `Design` says what it is, and `state`, a table of one column of numbers, holds
what it learned. What the numbers mean is the algorithm's affair (`umbel.models`). A model that is
yet to be trained is a `Fit` with a `Recipe`.
"""

from __future__ import annotations

from functools import cached_property

import pyarrow as pa

from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.models import Design, Masking, Training, check_training, value_text
from umbel.plan.operators.base import Binary, Operator, Unary, topological
from umbel.plan.operators.relational import check_names
from umbel.plan.recipes import Recipe
from umbel.plan.types import FLOAT64, INT64

#: The only column of a model's state.
STATE = pa.schema([pa.field("values", FLOAT64, nullable=False)])

#: What a trained model is as a table: its design as JSON of a plan, and its state.
MODEL = pa.schema(
    [
        pa.field("design", pa.string(), nullable=False),
        pa.field("values", pa.list_(FLOAT64), nullable=False),
    ]
)

#: What is measured of a model; the part of all parts together is null.
MEASURES = pa.schema(
    [
        pa.field("part", pa.string()),
        pa.field("rows", INT64, nullable=False),
        pa.field("measure", pa.string(), nullable=False),
        pa.field("value", FLOAT64),
    ]
)

#: The only column of a message of secure aggregation.
MESSAGE = pa.schema([pa.field("message", pa.binary(), nullable=False)])

#: Counts that a contribution gives where it is asked to guard individuals; see `Summing`.
GUARDS = ("umbel rows", "umbel smallest", "umbel effective", "umbel cell")


class Learned(Unary):
    """An operator that applies a model to its input.

    Attributes:
        design: the model without its numbers.
        state: its numbers.
    """

    design: Design
    state: pa.Table

    def __post_init__(self) -> None:
        check_state(self.state)
        self.design.check(self.input.schema, label=False)

    def describe(self) -> str:
        return self.design.words


class Predict(Learned):
    """The input with what a model predicts for each row, null where a feature is missing.

    Attributes:
        output: the column of the prediction.
        probabilities: add a column with the probability of each class.
    """

    output: str = "prediction"
    probabilities: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probabilities and not self.design.classes:
            raise PlanError(f"{type(self.design.algorithm).__name__} gives no probabilities")
        check_names(list(self.schema.names))

    @cached_property
    def schema(self) -> pa.Schema:
        first = next(iter(self.design.classes), None)
        added = self.design.algorithm.fields(self.output)
        if isinstance(first, Literal):
            added = [pa.field(self.output, first.dtype)]
        if self.probabilities:
            added += [
                pa.field(f"{self.output}_{value_text(value)}", FLOAT64)
                for value in self.design.classes
            ]
        return pa.schema([*self.input.schema, *added])


class Transform(Unary):
    """The numbers that a model goes by, a column each; null where one is missing.

    Attributes:
        design: the model without its numbers.
    """

    design: Design

    def __post_init__(self) -> None:
        self.design.check(self.input.schema, label=False)

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field(name, FLOAT64) for name in self.design.names])

    def describe(self) -> str:
        return self.design.words


class Summing(Learned):
    """An operator that gives one row: sums over all rows, from which no row can be told.

    Attributes:
        part: names the part of the data in the output.
        individuals: columns that say who a row is about; with `guarded` their different values are
            counted, each in a column of the output.
        guarded: count what the sums are made of, in columns of the output (`GUARDS`): the rows;
            the fewest that share a value of a feature of two values, or a class; the rows that
            the weights in the sums amount to; and the fewest that the sums tell of apart.
        least: what is counted of rows in the sums is counted of so many together at least.
        masking: give the sums masked, as this step of secure aggregation says; None gives them as
            they are. Sites do that, of what their rules let out.
        message: what the step goes by, in one cell; None if by nothing.
    """

    part: str = ""
    individuals: tuple[str, ...] = ()
    guarded: bool = False
    least: int = 0
    masking: Masking | None = None
    message: pa.Table | None = None

    def __post_init__(self) -> None:
        check_state(self.state)
        self.design.check(self.input.schema, label=True)
        for name in self.individuals:
            self.input.schema.field(name)
        if self.message is not None:
            check_message(self.message)
            if self.masking is None:
                raise PlanError("a message belongs to a step of secure aggregation")

    @cached_property
    def schema(self) -> pa.Schema:
        fields = [
            pa.field("part", pa.string(), nullable=False),
            pa.field("rows", INT64, nullable=False),
            pa.field("left_out", INT64, nullable=False),
            pa.field("sums", pa.binary(), nullable=False),
        ]
        if self.guarded:
            names = [*GUARDS, *(f"umbel count {name}" for name in self.individuals)]
            fields += [pa.field(name, INT64, nullable=False) for name in names]
        return pa.schema(fields)

    def describe(self) -> str:
        return f"{self.design.words}, part {self.part}" if self.part else self.design.words


class Contribute(Summing):
    """One part's share of a round of training: sums that lead from one state to a better one.

    Attributes:
        training: train by steps, and give how far they led; None gives what an exact solver needs.
        correction: is added to the slope of each step, in the form of a state; None adds nothing.
    """

    training: Training | None = None
    correction: pa.Table | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.training is not None:
            corrected = self.correction is not None
            check_training(self.design.algorithm, self.training, corrected=corrected)
        if self.correction is not None:
            check_state(self.correction)


class Evaluate(Summing):
    """One part's share of the measures of a model."""


class Fit(Unary):
    """A model, trained where the input's rows are: one row with its design and its numbers.

    It is worked out in rounds over the places that the rows lie at, before the plan that it stands
    in runs. What reads it is `PredictWith` and `EvaluateWith`.

    Attributes:
        recipe: what it is made of.
    """

    recipe: Recipe

    def __post_init__(self) -> None:
        self.recipe.check(self.input.schema, label=True)

    @cached_property
    def schema(self) -> pa.Schema:
        return MODEL

    def describe(self) -> str:
        return self.recipe.words


class WithModel(Binary):
    """An operator over rows (left) with the model that a `Fit` gives (right)."""

    def __post_init__(self) -> None:
        if not isinstance(self.right, Fit):
            raise PlanError(
                f"{self.name} takes the model of a Fit, not what {self.right.name} gives"
            )
        labelled = isinstance(self, EvaluateWith)
        self.recipe.check(self.left.schema, label=labelled, like=self.right.input.schema)

    @property
    def recipe(self) -> Recipe:
        """What the model is made of."""
        if not isinstance(self.right, Fit):
            raise PlanError(f"{self.name} has no model")
        return self.right.recipe

    def describe(self) -> str:
        return self.recipe.words


class PredictWith(WithModel):
    """The left input with what the model predicts for each row, null where a feature is missing.

    Attributes:
        output: the column of the prediction.
        probabilities: add a column with the probability of each class; the recipe must name these.
    """

    output: str = "prediction"
    probabilities: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probabilities and not self.recipe.classes:
            raise PlanError(
                "which columns of probabilities there are must be known before training",
                hint="name the classes: fit(…, classes=[…])",
            )
        check_names(list(self.schema.names))

    @cached_property
    def schema(self) -> pa.Schema:
        recipe = self.recipe
        if recipe.algorithm.classifies:
            dtype = self.right.inputs[0].schema.field(recipe.label).type
            added = [pa.field(self.output, dtype)]
        else:
            added = recipe.algorithm.fields(self.output)
        if self.probabilities:
            added += [
                pa.field(f"{self.output}_{value_text(value)}", FLOAT64) for value in recipe.classes
            ]
        return pa.schema([*self.left.schema, *added])


class EvaluateWith(WithModel):
    """The measures of the model over the left input, of each part and of all: a row for each."""

    @cached_property
    def schema(self) -> pa.Schema:
        return MEASURES


def trains(plan: Operator) -> bool:
    """Whether models are trained in a plan, before what reads them runs."""
    return any(isinstance(operator, Fit) for operator in topological(plan))


def check_state(table: pa.Table) -> None:
    """Raise `PlanError` unless a table is a model's state."""
    if table.schema.names != STATE.names or table.schema.types != STATE.types:
        raise PlanError("the state of a model is one column 'values' of numbers")
    if table.column(0).null_count:
        raise PlanError("the state of a model holds nulls")


def check_message(table: pa.Table) -> None:
    """Raise `PlanError` unless a table is a message of secure aggregation."""
    if not table.schema.equals(MESSAGE) or table.num_rows != 1 or table.column(0).null_count:
        raise PlanError("a message of secure aggregation is one column 'message' with one cell")


__all__ = [
    "GUARDS",
    "MEASURES",
    "MESSAGE",
    "MODEL",
    "STATE",
    "Contribute",
    "Evaluate",
    "EvaluateWith",
    "Fit",
    "Learned",
    "Predict",
    "PredictWith",
    "Summing",
    "Transform",
    "WithModel",
    "trains",
]
