"""Training: from a DataFrame to a model."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from umbel.api.handle import check_handle
from umbel.learning.beginning import Begun, begun
from umbel.learning.checkpoints import CheckpointFile
from umbel.learning.debugging.journal import Journal
from umbel.learning.durations import timed
from umbel.learning.gathering import Patience
from umbel.learning.lineage import lineage_of, versions_of
from umbel.learning.masked import check_parts
from umbel.learning.model import Model
from umbel.learning.parts import kept_here, parts_of
from umbel.learning.preparation import Wanted, literals, prepared, values_of, wanted_of
from umbel.learning.rounds import Watcher, check_rounds, history_of, train_exactly, watcher_of
from umbel.learning.secure.options import Secure
from umbel.learning.standing import lasting
from umbel.learning.steps import train_by_steps
from umbel.learning.strategies.base import Settings, Strategy
from umbel.learning.strategies.catalogue import strategy as named_strategy
from umbel.models.layout import Array
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import Expression
from umbel.plan.models import Algorithm, CoxRegression, Design, Feature

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator
    from torch import nn

    from umbel.api.dataframe import DataFrame


def fit(
    df: DataFrame,
    *,
    features: Iterable[str | Wanted | Feature],
    label: str = "",
    model: Algorithm | Model | Begun | nn.Module | BaseEstimator,
    classes: Iterable[Any] | None = None,
    strategy: str | Strategy | None = None,
    settings: Settings | None = None,
    privacy: Secure | None = None,
    patience: Patience | None = None,
    rounds: int | None = None,
    without: Iterable[str] = (),
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    journal: str | os.PathLike[str] | None = None,
    progress: bool | Watcher = False,
) -> Model:
    """Train a model where the rows are.

    Rows of a table with parts at several sites stay there: each site gives sums over its rows, under
    its own rules. The model is the one that all rows together would give.

    Args:
        df: the rows.
        features: what it goes by: names of columns, or what `numeric`, `one_hot` and `binned` give.
        label: the column to predict; of CoxRegression the time until it happened, or until which
            it was known not to have. KMeans and PCA have none.
        model: the kind of model, such as `LogisticRegression()`; a module of PyTorch, whose layers
            sites build anew, with its own numbers to begin with; an estimator of scikit-learn that
            trains by `partial_fit`, likewise; or a fitted model to go on from, by steps.
        classes: for classifiers the label's values in order; None finds those that occur.
        strategy: train by steps, and put the parts' updates together so: "fedavg", "fedprox", …, or
            a strategy. None finds a regression exactly, and trains networks, and what goes on, by
            "fedavg".
        settings: how parts train by steps: `Settings(learning_rate=0.1, epochs=1, batch_size=32)`.
        privacy: `Secure()` has sites mask what they give, so that only the sum of all is seen, by
            the coordinator too. With a `Private` strategy each site adds its share of the noise
            before it masks.
        patience: of training by steps, how long a round waits for the parts, and how many of them
            it takes; None for all, as long as it takes.
        rounds: of steps so many, 20 if it is not said. Exact training stops when the model does not
            change any more; that it has not after so many rounds is an error.
        without: parts of the data to leave out, by the names of their sites.
        seed: of whatever is drawn.
        checkpoint: a file that training by steps is kept in after each round. Where it is there,
            the training goes on from it, and the model is the same as if it had never stopped.
        journal: a folder in which each round of training by steps is kept with the update of each
            part, for `diagnose` and `replay`.
        progress: True writes a line a round; a function is told of every round.

    Raises:
        UnknownNameError: a column is not there.
        TypeClashError: a column has values that cannot be learned from.
        PolicyError: a site lets out nothing that this needs.
        DivergedError: the model does not converge; says why.
        CheckpointError: the checkpoint is broken, or of another training.
        SecureAggregationError: too few sites are left for a sum, or one does not follow the
            protocol.
        RunError: too few parts have answered for a round.

    >>> import umbel as ub
    >>> df = ub.connect().from_dict({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 3.0, 5.0, 7.0]})
    >>> model = fit(df, features=["x"], label="y", model=ub.learn.LinearRegression())
    >>> model.tensors["coefficients"].round(6).tolist()
    [1.0, 2.0]
    """
    from umbel.api.dataframe import DataFrame

    check_handle(df, DataFrame, what="fit")
    versions = versions_of(df.plan)  # before anything is read
    there = label in df.columns
    start = begun(model, df.schema.field(label).type if there else None)
    model = start.algorithm
    exact = strategy is None and model.exact and start.state is None
    if not exact and not model.by_steps:
        raise PlanError(
            f"{type(model).__name__} is found exactly, and not by steps", hint="leave out strategy"
        )
    if settings is not None and exact:
        raise PlanError("settings are for training by steps", hint='strategy="fedavg"')
    if checkpoint is not None and exact:
        raise PlanError("a checkpoint is for training by steps", hint='strategy="fedavg"')
    if journal is not None and exact:
        raise PlanError(
            "a journal is for training by steps: an exact model is that of all rows together",
            hint='strategy="fedavg"',
        )
    if patience is not None and exact:
        raise PlanError("patience is for training by steps", hint='strategy="fedavg"')
    rounds = (model.rounds if exact else 20) if rounds is None else rounds
    check_rounds(rounds)
    if isinstance(features, str):
        raise PlanError("features is a list of columns", hint=f"features=[{features!r}]")
    if label and label not in df.columns:
        raise UnknownNameError("column", label, df.columns, where="the label")
    if not label and model.labelled:
        raise PlanError(f"{type(model).__name__} needs a label")
    for name in model.beside:
        if name not in df.columns:
            raise UnknownNameError("column", name, df.columns, where=f"{type(model).__name__}")
    known: tuple[Expression, ...] = ()
    if model.classifies:
        dtype = df.schema.field(label).type
        known = values_of(df, label, "label") if classes is None else literals(classes, dtype)
    elif classes is not None:
        raise PlanError(f"{type(model).__name__} has no classes")
    design = Design(model, prepared(df, wanted_of(df, features)), label, known)
    design.check(df.schema, label=True)
    start.check(design)
    if isinstance(model, CoxRegression):
        design = replace(design, algorithm=timed(df, model, label))
    session = df.session
    parts = [
        kept_here(session, part, design) for part in parts_of(df.plan, session, without=without)
    ]
    if not parts:
        raise PlanError("all parts of the data are left out")
    initial = start.numbers(design)
    chosen, how = _strategy(strategy), settings or Settings()
    if model.own_steps and how.learning_rate != Settings().learning_rate:
        raise PlanError(
            f"{type(model).__name__} takes steps of its own: learning_rate has no effect",
            hint="give the estimator its eta0 and learning_rate",
        )
    if privacy is not None:
        check_parts(parts)
        privacy.least(len(parts))
    watch = watcher_of(progress)
    with lasting(session) as asker:
        if exact:
            done = train_exactly(
                asker, design, parts, rounds=rounds, seed=seed, watch=watch, secure=privacy
            )
        else:
            names = tuple(part.name for part in parts)
            file = checkpoint and CheckpointFile.of(
                checkpoint, design, chosen, how, seed, names, privacy, _digest(initial)
            )
            done = train_by_steps(
                asker,
                design,
                parts,
                chosen,
                how,
                rounds=rounds,
                seed=seed,
                watch=watch,
                checkpoint=file or None,
                secure=privacy,
                patience=patience,
                journal=None if journal is None else Journal(journal),
                initial=initial,
            )
    lineage = lineage_of(
        df,
        versions,
        parts,
        None if exact else chosen,
        None if exact else how,
        seed=seed,
        masked=privacy is not None,
        rounds=len(done.rounds),
    )
    folder = None if journal is None else os.fspath(journal)
    history = history_of(done.rounds)
    return Model(design, done.state, session, history, done.details, lineage, folder)


def _strategy(given: str | Strategy | None) -> Strategy:
    if given is None or isinstance(given, str):
        try:
            return named_strategy(given or "fedavg")
        except ValueError as error:
            raise PlanError(str(error)) from None
    return given


def _digest(state: Array | None) -> str:
    return "" if state is None else hashlib.sha256(state.tobytes()).hexdigest()


__all__ = ["fit"]
