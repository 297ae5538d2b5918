"""Estimators of scikit-learn, built of a plan's name and values: how they train, what they predict.

They train by scikit-learn's own `partial_fit`, so parts that train need the package. Coefficients
are applied here, as a product of arrays, so those that only predict do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from umbel.models.examples import Examples
from umbel.models.layout import Array, Layout
from umbel.plan.errors import PlanError
from umbel.plan.models import Design, SklearnModel, Training

#: Losses whose numbers are the odds of classes; those of others say only which class is nearer.
_ODDS = "log_loss"


class EstimatorMathematics:
    """Linear estimators of scikit-learn, which take a step with each row."""

    def state(self, design: Design) -> Layout:
        """The attributes that scikit-learn keeps what it learned in."""
        width, lines = len(design.names), _lines(design)
        coef: tuple[int, ...] = (lines, width) if design.classes else (width,)
        parts: list[tuple[str, tuple[int, ...]]] = [("coef_", coef)]
        if _value(design, "fit_intercept", True):
            parts.append(("intercept_", (lines,)))
        return Layout(tuple(parts))

    def initial(self, design: Design, seed: int) -> Array:
        """All is 0, as scikit-learn begins."""
        check_buildable(design)
        return np.zeros(self.state(design).size)

    def scores(self, design: Design, state: Array, x: Array) -> Array:
        """The numbers; of classes shares, the largest of which is the class that is predicted.

        With "log_loss" they are the probabilities that scikit-learn gives. Other losses know none:
        there they only tell how near classes are.
        """
        made = _decisions(design, state, x)
        if not design.classes:
            found: Array = made[:, 0]
            return found
        if len(design.classes) == 2:
            second = _logistic(made[:, 0])
            return np.column_stack([1 - second, second])
        if _loss(design) == _ODDS:
            odds = _logistic(made)
            total = odds.sum(axis=1, keepdims=True)
            # Where no class has a chance, all are alike, as in scikit-learn.
            alike: Array = np.full_like(odds, 1 / odds.shape[1])
            np.divide(odds, total, out=alike, where=total > 0)
            return alike
        shares: Array = np.exp(made - made.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        return shares

    def slope(self, design: Design, state: Array, examples: Examples) -> tuple[Array, float]:
        """There is none: the estimator takes its steps itself."""
        raise PlanError(
            f"{algorithm_of(design).estimator} takes steps of its own, and gives no slope of its loss"
        )

    def loss(self, design: Design, state: Array, examples: Examples) -> float:
        """The estimator's own loss of all rows, without penalties; of classes each against all others."""
        check_buildable(design)
        made, y = _decisions(design, state, examples.x), examples.y
        if not design.classes:
            targets = y[:, None]
        else:
            numbers = np.arange(len(design.classes)) if made.shape[1] > 1 else np.array([1])
            targets = np.where(y[:, None] == numbers, 1.0, -1.0)
        epsilon = float(_value(design, "epsilon", 0.1))
        return float(losses(_loss(design), made, targets, epsilon).sum())

    def advance(
        self,
        design: Design,
        start: Array,
        examples: Examples,
        training: Training,
        batches: Iterable[np.ndarray],
    ) -> tuple[Array, int]:
        """Train on batches of rows, one after the other.

        Args:
            design: the model.
            start: its numbers before.
            examples: the rows.
            training: how; falling rates go on from the rows of the rounds before.
            batches: the positions of rows.

        Returns:
            The numbers after, and how many steps were taken: one for each row. Numbers that are not
            finite where it diverges.
        """
        estimator = built(design, start, training.seed)
        estimator.t_ = 1.0 + float(training.earlier) * training.epochs * len(examples)
        classes = {"classes": estimator.classes_} if design.classes else {}
        steps = 0
        for rows in batches:
            try:
                estimator.partial_fit(examples.x[rows], examples.y[rows], **classes)
            except ValueError:
                # Parameters were tried before: it refuses coefficients that are not finite.
                return np.full_like(start, np.nan), steps
            steps += len(rows)
        return numbers_of(design, estimator), steps


def built(design: Design, state: Array, seed: int) -> Any:
    """Build an estimator, with its numbers.

    Args:
        design: the model.
        state: its numbers.
        seed: of the order in which it takes a batch's rows, where its parameters name none.
    """
    algorithm = algorithm_of(design)
    values = dict(algorithm.values)
    if values.get("random_state") is None:
        values["random_state"] = np.random.RandomState(seed % (1 << 32))  # type: ignore[assignment]
    estimator = _linear_models()[algorithm.estimator](**values)
    tensors = EstimatorMathematics().state(design).split(state)
    estimator.coef_ = tensors["coef_"].copy()
    kept = tensors.get("intercept_")
    estimator.intercept_ = np.zeros(_lines(design)) if kept is None else kept.copy()
    estimator.n_features_in_ = len(design.names)
    if design.classes:
        estimator.classes_ = np.arange(len(design.classes), dtype=np.float64)
    return estimator


def numbers_of(design: Design, estimator: Any) -> Array:
    """The numbers of an estimator, flat.

    Raises:
        PlanError: they are not as many as the design has.
    """
    layout = EstimatorMathematics().state(design)
    found: dict[str, Array] = {}
    for name, shape in layout.parts:
        given = np.asarray(getattr(estimator, name), np.float64)
        if given.shape != shape:
            raise PlanError(
                f"{type(estimator).__name__} has {name} of {_sides(given.shape)} numbers, and the "
                f"model needs {_sides(shape)}: {', '.join(design.names[:8])}",
                hint="give fit the features and classes that the estimator was fitted on",
            )
        found[name] = given
    return layout.join(found)


def algorithm_of(design: Design) -> SklearnModel:
    """The algorithm of a design that is known to be an estimator of scikit-learn.

    Raises:
        PlanError: it is another kind of model.
    """
    if not isinstance(design.algorithm, SklearnModel):
        raise PlanError(f"{type(design.algorithm).__name__} is no estimator of scikit-learn")
    return design.algorithm


@lru_cache(maxsize=64)
def check_buildable(design: Design) -> None:
    """Try an estimator on two rows of zeros: whether its parameters go together.

    Raises:
        PlanError: scikit-learn refuses them; or it is not installed.
    """
    algorithm = algorithm_of(design)
    values = dict(algorithm.values)
    if values.get("random_state") is None:
        values["random_state"] = 0
    estimator = _linear_models()[algorithm.estimator](**values)
    rows = np.zeros((2, len(design.names)))
    classes = {"classes": np.arange(len(design.classes))} if design.classes else {}
    try:
        estimator.partial_fit(rows, np.zeros(2), **classes)
    except (ValueError, TypeError, OverflowError) as error:
        why = str(error).split("\n")[0]
        raise PlanError(f"{algorithm.estimator} cannot be trained so: {why}") from error


def losses(loss: str, made: Array, y: Array, epsilon: float) -> Array:
    """The losses that scikit-learn's linear estimators know, of each number.

    Args:
        loss: its name.
        made: what the estimator gives.
        y: the label; of classes 1 for the one that is meant, and -1 for others.
        epsilon: from where, or up to where, errors count linearly.

    >>> losses("hinge", np.array([0.25, 2.0]), np.array([1.0, 1.0]), 0.1).tolist()
    [0.75, 0.0]
    """
    margin, apart = y * made, np.abs(made - y)
    found: Array
    match loss:
        case "hinge":
            found = np.maximum(0, 1 - margin)
        case "squared_hinge":
            found = np.maximum(0, 1 - margin) ** 2
        case "perceptron":
            found = np.maximum(0, -margin)
        case "log_loss":
            found = np.logaddexp(0, -margin)
        case "modified_huber":
            found = np.where(margin >= -1, np.maximum(0, 1 - margin) ** 2, -4 * margin)
        case "huber":
            found = np.where(apart <= epsilon, apart**2 / 2, epsilon * (apart - epsilon / 2))
        case "epsilon_insensitive":
            found = np.maximum(0, apart - epsilon)
        case "squared_epsilon_insensitive":
            found = np.maximum(0, apart - epsilon) ** 2
        case "squared_error":
            found = apart**2 / 2
        case _:
            raise PlanError(f"no estimator has the loss {loss!r}")
    return found


def _decisions(design: Design, state: Array, x: Array) -> Array:
    """The linear numbers of each row, a column for each line of coefficients."""
    tensors = EstimatorMathematics().state(design).split(state)
    found: Array = x @ np.atleast_2d(tensors["coef_"]).T
    return found + tensors["intercept_"] if "intercept_" in tensors else found


def _logistic(made: Array) -> Array:
    found: Array = np.exp(-np.logaddexp(0, -made))
    return found


def _lines(design: Design) -> int:
    """How many linear functions there are: one of numbers and of two classes, else of each class."""
    return len(design.classes) if len(design.classes) > 2 else 1


def _value(design: Design, key: str, usual: Any) -> Any:
    return algorithm_of(design).values.get(key, usual)


def _loss(design: Design) -> str:
    usual = {"SGDClassifier": "hinge", "SGDRegressor": "squared_error", "Perceptron": "perceptron"}
    found: str = _value(design, "loss", usual[algorithm_of(design).estimator])
    return found


def _sides(shape: tuple[int, ...]) -> str:
    return " by ".join(map(str, shape)) or "no"


def _linear_models() -> dict[str, Any]:
    """The classes that a plan's names stand for.

    Raises:
        PlanError: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import Perceptron, SGDClassifier, SGDRegressor
    except ImportError as error:
        raise PlanError(
            "estimators of scikit-learn need the package scikit-learn, which is not installed here",
            hint='pip install "umbel[learn]"',
        ) from error
    return {
        "SGDClassifier": SGDClassifier,
        "SGDRegressor": SGDRegressor,
        "Perceptron": Perceptron,
    }


__all__ = [
    "EstimatorMathematics",
    "algorithm_of",
    "built",
    "check_buildable",
    "losses",
    "numbers_of",
]
