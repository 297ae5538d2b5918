"""A trained model: applied, measured and shown where rows are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from umbel.api.located import here
from umbel.dataclass import dataclass
from umbel.learning.lineage import Lineage
from umbel.learning.masked import check_parts
from umbel.learning.parts import over_parts, parts_of
from umbel.learning.rounds import check_all, masked_sums, sums_of
from umbel.learning.secure.options import Secure
from umbel.models import measures
from umbel.models.layout import Array, state_table
from umbel.models.solvers import mathematics_of
from umbel.plan.errors import PlanError
from umbel.plan.models import Design, LinearRegression, value_text
from umbel.plan.operators import Evaluate, Operator, Predict, Transform

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from torch import nn

    from umbel.api.dataframe import DataFrame
    from umbel.api.session import Session
    from umbel.learning.curves.plotting import Plot
    from umbel.learning.debugging.diagnosis import Diagnosis


@dataclass(frozen=True)
class Evaluation(Mapping[str, float]):
    """The measures of a model over some rows, by name.

    Attributes:
        values: over all rows.
        rows: how many there are.
        by_part: a row for each part of the data, with its measures.
    """

    values_: Mapping[str, float]
    rows: int
    by_part: pa.Table

    def __getitem__(self, name: str) -> float:
        return self.values_[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def __str__(self) -> str:
        shown = ", ".join(f"{name} {value:.4g}" for name, value in self.items())
        return f"{shown} over {self.rows:,} rows"


@dataclass(frozen=True, eq=False)
class Model:
    """A model that `umbel.learn.fit` gives.

    Attributes:
        design: what it is: the algorithm, the features with all that was learned for them, the
            label and its classes.
        state: its numbers, flat.
        session: the session that it was trained in.
        rounds: a row for each round and part of the training.
        details: what training found besides, by name.
        lineage: where it comes from; None if that is not known.
        journal: the folder that its rounds are kept in; None if they are not.
    """

    design: Design
    state: Array
    session: Session = field(repr=False)
    rounds: pa.Table = field(repr=False)
    details: Mapping[str, Array] = field(default_factory=dict, repr=False)
    lineage: Lineage | None = field(default=None, repr=False)
    journal: str | None = field(default=None, repr=False)

    @property
    def tensors(self) -> dict[str, Array]:
        """Its numbers as named arrays."""
        return mathematics_of(self.design).state(self.design).split(self.state)

    @property
    def history(self) -> DataFrame:
        """Every round of the training, with each part's rows and loss."""
        return self.session.from_arrow(self.rounds)

    @property
    def trained_on(self) -> int:
        """The rows that it was trained on."""
        last = max(self.rounds.column("round").to_pylist(), default=0)
        return sum(row["rows"] for row in self.rounds.to_pylist() if row["round"] == last)

    def predict(
        self, df: DataFrame, *, output: str = "prediction", probabilities: bool = False
    ) -> DataFrame:
        """Add what the model predicts to rows, where these lie; runs when it is collected.

        Args:
            df: rows with the columns of the features.
            output: the column of the prediction; null where a feature is missing.
            probabilities: for classifiers add the probability of each class, as `<output>_<class>`.

        Raises:
            UnknownNameError: a column is missing.
            TypeClashError: one has another type than in training.
        """
        table, origin = state_table(self.state), here()

        def change(rows: Operator) -> Operator:
            return Predict(
                input=rows,
                design=self.design,
                state=table,
                output=output,
                probabilities=probabilities,
                origin=origin,
            )

        return df._then(over_parts(df.plan, df.session, change))

    def to_torch(self) -> nn.Module:
        """Give a network of PyTorch as a module of its own, with its numbers.

        Raises:
            PlanError: it is another kind of model.
        """
        from umbel.learning.beginning import as_torch

        return as_torch(self.design, self.state)

    def to_sklearn(self) -> BaseEstimator:
        """Give an estimator of scikit-learn, which takes the numbers of features as they are made.

        Raises:
            PlanError: it is another kind of model.
        """
        from umbel.learning.trainers.estimators import as_sklearn

        return as_sklearn(self.design, self.state)

    def transform(self, df: DataFrame) -> DataFrame:
        """Give the numbers that the model goes by, a column for each."""
        origin = here()
        return df._then(
            over_parts(
                df.plan,
                df.session,
                lambda rows: Transform(input=rows, design=self.design, origin=origin),
            )
        )

    def evaluate(
        self, df: DataFrame, *, without: Iterable[str] = (), privacy: Secure | None = None
    ) -> Evaluation:
        """Measure the model on rows with a label, where these lie; only sums come here.

        Args:
            df: the rows.
            without: parts of the data to leave out, by the names of their sites.
            privacy: have sites mask their sums, so that only those of all together are seen.
        """
        layout = measures.layout(self.design)
        parts = parts_of(df.plan, df.session, without=without)
        if privacy is None:
            shares = sums_of(df.session, self.design, self.state, parts, layout, Evaluate)
        else:
            check_parts(parts)
            masked = masked_sums(
                df.session, self.design, self.state, parts, layout, privacy, 0, Evaluate
            )
            check_all(masked)
            shares = masked
        rows = sum(share.rows for share in shares)
        together = np.sum([share.sums for share in shares], axis=0)
        table = pa.Table.from_pylist(
            [
                {
                    "part": share.part,
                    "rows": share.rows,
                    "left_out": share.left_out,
                    **measures.measures(self.design, share.sums, share.rows),
                }
                for share in shares
            ]
        )
        return Evaluation(measures.measures(self.design, together, rows), rows, table)

    def debug(self, df: DataFrame | None = None, **options: Any) -> Diagnosis:
        """Tell what parts did in training by steps that was kept; see `umbel.learn.diagnose`."""
        from umbel.learning.debugging.diagnosis import diagnose

        return diagnose(self, df, **options)

    def plot(
        self,
        what: str = "loss",
        path: str | os.PathLike[str] | None = None,
        *,
        parts: Iterable[str] | None = None,
        log: bool = False,
    ) -> Plot:
        """Draw the training: a curve for each part over the rounds; a notebook shows it.

        `model.debug().plot(…)` knows more of training by steps that was kept.

        Args:
            what: "loss", "norm" (the length of updates), "rows" or "left_out".
            path: an SVG file to write it to besides.
            parts: draw only these; None for all, together as a band if there are more than ten.
            log: equal factors are equally high.

        Raises:
            UnknownNameError: there is no such column, or no such part.
            PlanError: nothing is known of it that can be drawn.
        """
        from umbel.learning.curves.plotting import plot

        drawn = plot(self.rounds, what, parts=parts, log=log)
        if path is not None:
            drawn.save(path)
        return drawn

    def coefficients(self) -> pa.Table:
        """The coefficients of a regression, with their standard errors.

        For LinearRegression the errors go by the spread of what is not explained.
        """
        if "covariance" not in self.details:
            raise PlanError(
                f"this {type(self.design.algorithm).__name__} has no standard errors: it is no "
                "regression, or was trained by steps",
                hint="its numbers are in model.tensors; without a strategy it is found exactly",
            )
        found = self.tensors["coefficients"]
        errors = np.sqrt(np.diag(self.details["covariance"])).reshape(found.shape)
        if isinstance(self.design.algorithm, LinearRegression):
            freedom = self.trained_on - len(self.design.names)
            loss = self.rounds.column("loss")[-1].as_py() * self.trained_on
            errors = errors * np.sqrt(2 * loss / freedom) if freedom > 0 else errors * np.nan
        columns: dict[str, list[Any]] = {}
        if found.ndim == 2:
            classes = [value_text(value) for value in self.design.classes[1:]]
            columns["class"] = [name for name in classes for _ in self.design.names]
        columns["feature"] = list(self.design.names) * (found.size // len(self.design.names))
        columns["coefficient"] = found.ravel().tolist()
        columns["standard_error"] = errors.ravel().tolist()
        return pa.table(columns)

    def baseline(self) -> pa.Table:
        """Of a CoxRegression the hazard until each time, and how many rows are then left.

        They are those of a row whose features are all 0: the hazard until a time is Breslow's
        estimate, and `survival` is `exp(-hazard)`. For another row take `exp(-hazard * risk)`, where
        `risk` is what the model predicts of it.
        """
        if "baseline_hazard" not in self.details:
            kind = type(self.design.algorithm).__name__
            raise PlanError(f"{kind} has no baseline hazard", hint="CoxRegression has one")
        hazard = self.details["baseline_hazard"]
        columns = {"time": self.details["times"], "hazard": hazard, "survival": np.exp(-hazard)}
        return pa.table(columns)

    def __str__(self) -> str:
        return f"{self.design.words}, trained on {self.trained_on:,} rows"


__all__ = ["Evaluation", "Model"]
