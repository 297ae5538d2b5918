"""An estimator of scikit-learn, read as data: its name, its values, and what it has learned."""

from __future__ import annotations

from typing import Any

import numpy as np

from umbel.models.estimators import algorithm_of, built, check_buildable, numbers_of
from umbel.models.layout import Array
from umbel.plan.errors import PlanError
from umbel.plan.estimators import ESTIMATORS, plain_text
from umbel.plan.expressions import Literal
from umbel.plan.models import Design, SklearnModel

#: Parameters that `partial_fit` does not look at.
_OF_FIT = (
    "max_iter", "tol", "n_iter_no_change", "validation_fraction", "warm_start", "verbose", "n_jobs",
)  # fmt: skip

#: What would need more than the coefficients, by what it must be.
_MUST_BE: dict[str, Any] = {"early_stopping": False, "class_weight": None, "average": False}


def read_estimator(estimator: Any) -> SklearnModel:
    """Read an estimator.

    PassiveAggressive ones become the steps "pa1" and "pa2" of SGD ones, which they are, and as
    which scikit-learn goes on with them.

    Raises:
        PlanError: it is none of those that a plan may name, or holds what is no plain value.
    """
    kind = type(estimator).__name__
    home = type(estimator).__module__
    if not home.startswith("sklearn.") or kind not in (*ESTIMATORS, *_AGGRESSIVE):
        known = ", ".join((*ESTIMATORS, *_AGGRESSIVE))
        raise PlanError(
            f"{home.split('.')[0]}'s {kind} cannot be trained over sites: a plan names estimators "
            f"out of a closed list, {known}",
            hint="umbel's own kinds of models are found exactly, such as ub.learn.BoostedTrees()",
        )
    given = {key: _python(value) for key, value in estimator.get_params(deep=False).items()}
    for key, wanted in _MUST_BE.items():
        if given.get(key, wanted) != wanted:
            raise PlanError(
                f"{kind} with {key}={given[key]!r} keeps more than coefficients, and cannot be put "
                f"together over sites",
                hint=f"set {key}={wanted!r}",
            )
    name, values = kind, {k: v for k, v in given.items() if k not in (*_OF_FIT, *_MUST_BE)}
    if kind in _AGGRESSIVE:
        name, loss, first = _AGGRESSIVE[kind]
        steps = "pa1" if values.pop("loss") == first else "pa2"
        aggressive = {
            "penalty": None,
            "loss": loss,
            "learning_rate": steps,
            "eta0": values.pop("C"),
        }
        values = {k: v for k, v in values.items() if k in ESTIMATORS[name]} | aggressive
    for key in values:
        if key not in ESTIMATORS[name]:
            raise PlanError(f"{kind} has the parameter {key!r}, which no plan has a place for")
    plain = ((key, plain_text(kind, key, value)) for key, value in sorted(values.items()))
    return SklearnModel(name, tuple(plain))  # type: ignore[arg-type]


#: What a class is written down as, its loss there, and its own loss that takes the steps "pa1".
_AGGRESSIVE = {
    "PassiveAggressiveClassifier": ("SGDClassifier", "hinge", "hinge"),
    "PassiveAggressiveRegressor": ("SGDRegressor", "epsilon_insensitive", "epsilon_insensitive"),
}


def started(estimator: Any, design: Design) -> Array | None:
    """Give the numbers that an estimator has learned already; None if it has learned none.

    Raises:
        PlanError: they are of other features or classes.
    """
    check_buildable(design)
    if getattr(estimator, "coef_", None) is None:
        return None
    if design.classes:
        known = [c.value for c in design.classes if isinstance(c, Literal)]
        own = np.asarray(estimator.classes_).tolist()
        if own != known:
            raise PlanError(
                f"{type(estimator).__name__} was fitted on the classes {own[:6]}, and is trained "
                f"on {known[:6]}",
                hint=f"classes={own[:6]}",
            )
    return numbers_of(design, estimator)


def _python(value: Any) -> Any:
    """Numbers of NumPy are plain too."""
    return value.item() if isinstance(value, np.generic) else value


def as_sklearn(design: Design, state: Array) -> Any:
    """Give an estimator of scikit-learn with what was learned.

    Raises:
        PlanError: it is another kind of model.
    """
    estimator = built(design, state, 0)
    estimator.set_params(random_state=algorithm_of(design).values.get("random_state"))
    if design.classes:
        known = [c.value for c in design.classes if isinstance(c, Literal)]
        estimator.classes_ = np.array(known)
    return estimator


__all__ = ["as_sklearn", "read_estimator", "started"]
