"""Training: from a DataFrame to a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from umbel.api.handle import check_handle
from umbel.api.memory import memory_source
from umbel.learning.model import Model
from umbel.learning.parts import Part, parts_of
from umbel.learning.preparation import Wanted, literals, prepared, values_of
from umbel.learning.rounds import Watcher, check_rounds, history_of, train_exactly, watcher_of
from umbel.models.solvers import solver_of
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import Column, Expression
from umbel.plan.models import Algorithm, Design, Feature
from umbel.plan.operators import Operator, Project, Scan

if TYPE_CHECKING:
    from umbel.api.dataframe import DataFrame
    from umbel.api.session import Session


def fit(
    df: DataFrame,
    *,
    features: Iterable[str | Wanted | Feature],
    label: str = "",
    model: Algorithm,
    classes: Iterable[Any] | None = None,
    rounds: int = 100,
    without: Iterable[str] = (),
    seed: int = 0,
    progress: bool | Watcher = False,
) -> Model:
    """Train a model where the rows are.

    Rows of a table with parts at several sites stay there: each site gives sums over its rows, under
    its own rules. The model is the one that all rows together would give.

    Args:
        df: the rows.
        features: what it goes by: names of columns, or what `numeric`, `one_hot` and `binned` give.
        label: the column to predict.
        model: the kind of model, such as `LogisticRegression()`.
        classes: for classifiers the label's values in order; None finds those that occur.
        rounds: at most so many; that the model then has not converged is an error.
        without: parts of the data to leave out, by the names of their sites.
        seed: of whatever is drawn.
        progress: True writes a line a round; a function is told of every round.

    Raises:
        UnknownNameError: a column is not there.
        TypeClashError: a column has values that cannot be learned from.
        PolicyError: a site lets out nothing that this needs.
        DivergedError: the model does not converge; says why.

    >>> import umbel as ub
    >>> df = ub.connect().from_dict({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 3.0, 5.0, 7.0]})
    >>> model = fit(df, features=["x"], label="y", model=ub.learn.LinearRegression())
    >>> model.tensors["coefficients"].round(6).tolist()
    [1.0, 2.0]
    """
    from umbel.api.dataframe import DataFrame

    check_handle(df, DataFrame, what="fit")
    if not isinstance(model, Algorithm):
        raise PlanError(
            f"model is a kind of model, such as LogisticRegression(), not {type(model).__name__}"
        )
    check_rounds(rounds)
    if isinstance(features, str):
        raise PlanError("features is a list of columns", hint=f"features=[{features!r}]")
    if label and label not in df.columns:
        raise UnknownNameError("column", label, df.columns, where="the label")
    if not label:
        raise PlanError(f"{type(model).__name__} needs a label")
    known: tuple[Expression, ...] = ()
    if model.classifies:
        dtype = df.schema.field(label).type
        known = values_of(df, label, "label") if classes is None else literals(classes, dtype)
    elif classes is not None:
        raise PlanError(f"{type(model).__name__} has no classes")
    design = Design(model, prepared(df, features), label, known)
    design.check(df.schema, label=True)
    session = df.session
    parts = [
        _kept(session, part, design)
        for part in parts_of(df.plan, session.platforms(), without=without)
    ]
    if not parts:
        raise PlanError("all parts of the data are left out")
    done = train_exactly(
        session, design, parts, rounds=rounds, seed=seed, watch=watcher_of(progress)
    )
    history = history_of(done.rounds, solver_of(design).sums(design))
    return Model(design, done.state, session, history, done.details)


def _kept(session: Session, part: Part, design: Design) -> Part:
    """Read rows of this machine once, and not in every round: only the columns that count."""
    if not part.local:
        return part
    names = [n for n in part.plan.schema.names if n in {*design.columns, design.label}]
    plan: Operator = Project(input=part.plan, columns=tuple((n, Column(n)) for n in names))
    table = session.run(plan).data
    return Part(part.name, Scan(source=memory_source(table)), local=True)


__all__ = ["fit"]
