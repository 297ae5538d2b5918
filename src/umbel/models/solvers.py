"""Which mathematics belongs to which kind of model."""

from __future__ import annotations

from umbel.models.base import Mathematics, Solver
from umbel.models.bayes import NaiveBayesSolver
from umbel.models.cox import CoxSolver
from umbel.models.estimators import EstimatorMathematics
from umbel.models.kmeans import KMeansSolver
from umbel.models.modules import ModuleMathematics
from umbel.models.network import NetworkMathematics
from umbel.models.pca import PCASolver
from umbel.models.regression import RegressionSolver
from umbel.models.softmax import SoftmaxSolver
from umbel.models.trees import BoostedTreesSolver
from umbel.plan.errors import PlanError
from umbel.plan.models import (
    PCA,
    Algorithm,
    BoostedTrees,
    CoxRegression,
    Design,
    KMeans,
    LinearRegression,
    LogisticRegression,
    MultinomialRegression,
    NaiveBayes,
    Network,
    PoissonRegression,
    SklearnModel,
    TorchModule,
)

MATHEMATICS: dict[type[Algorithm], Mathematics] = {
    LinearRegression: RegressionSolver(),
    PoissonRegression: RegressionSolver(),
    LogisticRegression: SoftmaxSolver(),
    MultinomialRegression: SoftmaxSolver(),
    NaiveBayes: NaiveBayesSolver(),
    BoostedTrees: BoostedTreesSolver(),
    CoxRegression: CoxSolver(),
    KMeans: KMeansSolver(),
    PCA: PCASolver(),
    Network: NetworkMathematics(),
    SklearnModel: EstimatorMathematics(),
    TorchModule: ModuleMathematics(),
}


def mathematics_of(design: Design) -> Mathematics:
    """Give the mathematics of a model."""
    return MATHEMATICS[type(design.algorithm)]


def solver_of(design: Design) -> Solver:
    """Give what finds a model exactly.

    Raises:
        PlanError: nothing does: it is trained by steps.

    >>> from umbel.plan.models import Number
    >>> solver_of(Design(LinearRegression(), (Number("a"),), "y")).__class__.__name__
    'RegressionSolver'
    """
    found = mathematics_of(design)
    if not isinstance(found, Solver):
        raise PlanError(
            f"{type(design.algorithm).__name__} is not found exactly",
            hint='train it by steps: strategy="fedavg"',
        )
    return found


__all__ = ["MATHEMATICS", "mathematics_of", "solver_of"]
