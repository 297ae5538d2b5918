"""A fit as a part of a plan: nothing runs before what is made with the model is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from umbel.api.handle import check_handle
from umbel.api.located import here
from umbel.learning.preparation import Wanted, literals, wanted_of
from umbel.learning.secure.options import Secure
from umbel.learning.strategies.base import Settings, Strategy
from umbel.learning.strategies.options import combining_of, training_of
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.models import Algorithm, Feature, Network
from umbel.plan.operators import EvaluateWith, Fit, PredictWith
from umbel.plan.recipes import Hiding, Recipe

if TYPE_CHECKING:
    from umbel.api.dataframe import DataFrame
    from umbel.learning.model import Model


class PlannedModel:
    """A model that is trained when what is made with it is collected; see `plan_fit`.

    Attributes:
        plan: the operator that trains it.
        df: the rows that it will be trained on.
    """

    def __init__(self, df: DataFrame, recipe: Recipe) -> None:
        self.df = df
        self.plan = Fit(input=df.plan, recipe=recipe, origin=here())

    def predict(
        self, df: DataFrame, *, output: str = "prediction", probabilities: bool = False
    ) -> DataFrame:
        """Add what the model predicts to rows, where these lie.

        Args:
            df: rows with the columns of the features.
            output: the column of the prediction; null where a feature is missing.
            probabilities: for classifiers add the probability of each class, as `<output>_<class>`;
                the classes must have been named.

        Raises:
            UnknownNameError: a column is missing.
            TypeClashError: one has another type than in training.
        """
        self._check(df, "predict")
        return df._then(
            PredictWith(
                left=df.plan,
                right=self.plan,
                output=output,
                probabilities=probabilities,
                origin=here(),
            ),
            self.df,
        )

    def evaluate(self, df: DataFrame) -> DataFrame:
        """Give the measures of the model over rows with a label.

        Columns are `part`, `rows`, `measure` and `value`: a row for each measure of each part, and
        of all together, where `part` is null.
        """
        self._check(df, "evaluate")
        return df._then(EvaluateWith(left=df.plan, right=self.plan, origin=here()), self.df)

    def train(self) -> Model:
        """Train it now."""
        from umbel.learning.lowering import train

        return train(self.plan, self.df.session)

    def frame(self) -> DataFrame:
        """Give the trained model as one row: its design as JSON, and its numbers."""
        return self.df._then(self.plan)

    def _check(self, df: DataFrame, what: str) -> None:
        from umbel.api.dataframe import DataFrame

        check_handle(df, DataFrame, what=what)
        if df.session is not self.df.session:
            raise PlanError(
                "the rows belong to another session than those that the model is trained on",
                hint="model.train() gives a model that applies to rows of any session",
            )

    def __str__(self) -> str:
        return f"{self.plan.recipe.words}, not yet trained"


def plan_fit(
    df: DataFrame,
    *,
    features: Iterable[str | Wanted | Feature],
    label: str = "",
    model: Algorithm,
    classes: Iterable[Any] | None = None,
    strategy: str | Strategy | None = None,
    settings: Settings | None = None,
    privacy: Secure | None = None,
    rounds: int | None = None,
    without: Iterable[str] = (),
    seed: int = 0,
    keep: str = "",
) -> PlannedModel:
    """Make training a part of a plan, from raw rows to what is done with the model.

    As `fit`, but nothing runs before it is collected, and the whole can be written as JSON,
    explained, and run by `umbel run`.

    Args:
        df: the rows.
        features: as those of `fit`.
        label: likewise.
        model: likewise.
        classes: likewise; needed for probabilities.
        strategy: likewise; of one of umbel's own strategies, with numbers as options.
        settings: likewise.
        privacy: likewise.
        rounds: likewise.
        without: likewise.
        seed: likewise.
        keep: the name under which each run keeps the model in the registry, with the first measures
            that the plan takes of it.

    >>> import umbel as ub
    >>> df = ub.connect().from_dict({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 3.0, 5.0, 7.0]})
    >>> line = plan_fit(df, features=["x"], label="y", model=ub.learn.LinearRegression())
    >>> line.predict(df.filter(ub.col("x") > 2)).collect()["prediction"].to_pylist()
    [7.0]
    """
    from umbel.api.dataframe import DataFrame

    check_handle(df, DataFrame, what="plan_fit")
    if not isinstance(model, Algorithm):
        raise PlanError(
            f"a plan holds models of umbel's own kinds, such as LogisticRegression(), not "
            f"{type(model).__name__}",
            hint="fit(…) trains others at once",
        )
    if isinstance(features, str):
        raise PlanError("features is a list of columns", hint=f"features=[{features!r}]")
    if label and label not in df.columns:
        raise UnknownNameError("column", label, df.columns, where="the label")
    if rounds is not None and rounds < 1:
        raise PlanError(f"a model is trained in at least one round, not {rounds}")
    if settings is not None and strategy is None and not isinstance(model, Network):
        raise PlanError("settings are for training by steps", hint='strategy="fedavg"')
    known = () if classes is None else literals(classes, df.schema.field(label).type)
    recipe = Recipe(
        model,
        wanted_of(df, features),
        label,
        known,
        None if strategy is None else combining_of(strategy),
        None if settings is None else training_of(settings),
        None if privacy is None else Hiding(privacy.fewest, privacy.bound, privacy.rows),
        rounds or 0,
        seed,
        tuple(without),
        keep,
    )
    return PlannedModel(df, recipe)


__all__ = ["PlannedModel", "plan_fit"]
