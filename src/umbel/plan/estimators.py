"""Estimators of scikit-learn that a plan may name, and the parameters that go with them.

A plan holds an estimator's name and plain values. Sites build it of scikit-learn's own class, out of
a closed list; nothing is unpickled. See docs/decisions/0047-estimators-as-data.md.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn, TypeAlias

from umbel.plan.errors import PlanError, UnknownNameError

#: A value that an estimator may be built with.
Plain: TypeAlias = bool | int | float | str | None

_STEPS = (
    "penalty", "alpha", "l1_ratio", "fit_intercept", "shuffle", "eta0", "random_state",
)  # fmt: skip
_DESCENT = (*_STEPS, "loss", "epsilon", "learning_rate", "power_t")

#: The estimators, and the parameters that `partial_fit` of each goes by.
ESTIMATORS: dict[str, tuple[str, ...]] = {
    "SGDClassifier": _DESCENT,
    "SGDRegressor": _DESCENT,
    "Perceptron": _STEPS,
}
#: Those that predict one of some classes.
CLASSIFIERS = ("SGDClassifier", "Perceptron")
#: Characters of a value's text.
_LONGEST = 64


def check_estimator(name: str, parameters: tuple[tuple[str, str], ...]) -> None:
    """Raise `PlanError` unless a plan may name such an estimator.

    >>> check_estimator("SGDRegressor", (("alpha", "0.001"), ("penalty", "null")))
    """
    if name not in ESTIMATORS:
        raise UnknownNameError("estimator", name, ESTIMATORS, where="scikit-learn")
    known = ESTIMATORS[name]
    for key, text in parameters:
        if key not in known:
            raise UnknownNameError("parameter", key, known, where=name)
        plain_value(name, key, text)
    keys = [key for key, _ in parameters]
    if keys != sorted(set(keys)):
        raise PlanError(f"the parameters of {name} stand in order, each once")


def plain_value(name: str, key: str, text: str) -> Plain:
    """Read the value of a parameter.

    Raises:
        PlanError: it is more than a number, a word, true, false or null.

    >>> plain_value("Perceptron", "eta0", "0.5")
    0.5
    """
    refused = PlanError(f"parameter {key!r} of {name} is no plain value: {text[:_LONGEST]}")
    if len(text) > _LONGEST:
        raise refused
    try:
        value = json.loads(text, parse_constant=_no_number)
    except ValueError:
        raise refused from None
    if not _plain(value):
        raise refused
    found: Plain = value
    return found


def plain_text(name: str, key: str, value: Any) -> str:
    """Write the value of a parameter.

    Raises:
        PlanError: it is not plain.

    >>> plain_text("SGDClassifier", "penalty", None)
    'null'
    """
    text = json.dumps(value) if _plain(value) else ""
    if not text or len(text) > _LONGEST:
        raise PlanError(
            f"parameter {key!r} of {name} is {value!r}, which is no plain value",
            hint="a plan holds finite numbers, words, True, False and None",
        )
    return text


def _plain(value: Any) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is int:
        return abs(value) < 1 << 53
    return value is None or type(value) in (bool, str)


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


__all__ = [
    "CLASSIFIERS",
    "ESTIMATORS",
    "Plain",
    "check_estimator",
    "plain_text",
    "plain_value",
]
