"""Strategies and settings as a plan and a file hold them: names and numbers, and back."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from umbel.learning.strategies.base import Settings, Strategy
from umbel.learning.strategies.catalogue import STRATEGIES
from umbel.learning.strategies.catalogue import strategy as named_strategy
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.models import Training
from umbel.plan.recipes import Combining


def combining_of(strategy: str | Strategy) -> Combining:
    """Give the name of a strategy, and its numbers that are not the usual ones.

    Raises:
        PlanError: it has no name, or is made of more than numbers.
    """
    if isinstance(strategy, str):
        try:
            named_strategy(strategy)
        except ValueError as error:
            raise PlanError(str(error)) from None
        return Combining(strategy)
    name = next((name for name, kind in STRATEGIES.items() if type(strategy) is kind), None)
    options = [] if name is None else _options(strategy)
    if name is None or not all(type(value) in (bool, int, float) for _, value in options):
        raise PlanError(
            f"a plan holds strategies by name, with numbers, and {strategy!r} is more",
            hint=f"one of {', '.join(STRATEGIES)}; fit(…) takes any at once",
        )
    return Combining(name, tuple((key, float(value)) for key, value in options))


def _options(strategy: Strategy) -> list[tuple[str, Any]]:
    given = [(item, getattr(strategy, item.name)) for item in fields(strategy)]  # type: ignore[arg-type]
    return [
        (item.name, value)
        for item, value in given
        if item.init and (item.default is MISSING or value != item.default)
    ]


def strategy_of(combining: Combining) -> Strategy:
    """Make the strategy that a plan names.

    >>> strategy_of(Combining("fedprox", (("mu", 0.5),)))
    FedProx(server_rate=1.0, mu=0.5)
    """
    kind = STRATEGIES.get(combining.name)
    if kind is None:
        raise UnknownNameError("strategy", combining.name, STRATEGIES)
    types = {item.name: item.type for item in fields(kind)}
    options = {
        # JSON does not tell 2 from 2.0, and a count must be whole.
        key: int(value) if str(types.get(key)).startswith(("int", "bool")) else value
        for key, value in combining.options
    }
    try:
        return named_strategy(combining.name, **options)
    except ValueError as error:
        raise PlanError(str(error)) from None


def training_of(settings: Settings) -> Training:
    """Give settings as a plan holds them; the seed is drawn for each round and part.

    Raises:
        PlanError: they are of one round only.
    """
    if settings.correction is not None:
        raise PlanError("a correction is of one round, and not of a plan")
    return Training(
        settings.learning_rate,
        settings.epochs,
        settings.batch_size or 0,
        settings.momentum,
        settings.proximal,
        0,
        float(settings.clip),
        settings.optimizer,
        settings.betas,
        settings.decay,
    )


def settings_of(training: Training) -> Settings:
    """Make the settings that a plan holds.

    >>> settings_of(Training(0.5, batch=8)).batch_size
    8
    >>> adam = Settings(optimizer="adam", betas=(0.9, 0.99), decay=0.1)
    >>> again = settings_of(training_of(adam))
    >>> again.optimizer, again.betas, again.decay
    ('adam', (0.9, 0.99), 0.1)
    """
    return Settings(
        learning_rate=training.rate,
        epochs=training.epochs,
        batch_size=training.batch or None,
        momentum=training.momentum,
        proximal=training.proximal,
        clip=training.clip,
        optimizer=training.optimizer,
        betas=training.betas,
        decay=training.decay,
    )


__all__ = ["combining_of", "settings_of", "strategy_of", "training_of"]
