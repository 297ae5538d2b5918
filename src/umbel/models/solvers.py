"""Which solver trains which kind of model."""

from __future__ import annotations

from umbel.models.base import Solver
from umbel.models.regression import RegressionSolver
from umbel.models.softmax import SoftmaxSolver
from umbel.plan.models import (
    Algorithm,
    Design,
    LinearRegression,
    LogisticRegression,
    MultinomialRegression,
    PoissonRegression,
)

SOLVERS: dict[type[Algorithm], Solver] = {
    LinearRegression: RegressionSolver(),
    PoissonRegression: RegressionSolver(),
    LogisticRegression: SoftmaxSolver(),
    MultinomialRegression: SoftmaxSolver(),
}


def solver_of(design: Design) -> Solver:
    """Give what trains a model.

    >>> from umbel.plan.models import Number
    >>> solver_of(Design(LinearRegression(), (Number("a"),), "y")).__class__.__name__
    'RegressionSolver'
    """
    return SOLVERS[type(design.algorithm)]


__all__ = ["SOLVERS", "solver_of"]
