"""Training inside plans: what a session does with a `Fit` before it runs what reads the model.

Every model of a plan is trained in rounds over the places that its rows lie at, those first that
others learn from. Then its numbers take the place of the operator that trained it, and the rest is
a plan like any other: predictions run where the rows are.
"""

from __future__ import annotations

import sys
from dataclasses import field
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.api.dataframe import DataFrame
from umbel.dataclass import dataclass
from umbel.learning.designs import design_text
from umbel.learning.model import Evaluation, Model
from umbel.learning.parts import over_parts, parts_of
from umbel.learning.registry import Registry
from umbel.learning.rounds import Round, Watcher, watcher_of
from umbel.learning.secure.options import Secure
from umbel.learning.strategies.options import settings_of, strategy_of
from umbel.learning.training import fit
from umbel.models.layout import Array, state_table
from umbel.plan.expressions import Literal
from umbel.plan.models import Design
from umbel.plan.operators import (
    EvaluateWith,
    Fit,
    Operator,
    Predict,
    PredictWith,
    Values,
    topological,
)
from umbel.plan.operators.learning import MEASURES, MODEL

if TYPE_CHECKING:
    from umbel.api.session import Session
    from umbel.executor import Cancellation


@dataclass
class _Made:
    """A model of a plan.

    Attributes:
        model: the model.
        keep: the name under which it is to be kept; empty if it is not.
        metrics: what the plan measured of it first.
    """

    model: Model
    keep: str
    metrics: dict[str, float] = field(default_factory=dict)


def trained(plan: Operator, session: Session, cancellation: Cancellation | None = None) -> Operator:
    """Train the models of a plan, and give the plan that applies them.

    Args:
        plan: a plan, with operators that train models or without.
        session: runs the rounds.
        cancellation: of the run that the training is part of.

    Raises:
        DivergedError: a model does not converge; says why.
        PolicyError: a site lets out nothing that this needs.
    """
    tables: dict[str, Values] = {}
    made: dict[int, _Made] = {}
    new: dict[int, Operator] = {}
    for operator in topological(plan):
        inputs = tuple(new[id(child)] for child in operator.inputs)
        change: Operator
        match operator:
            case Fit():
                asked = operator.with_inputs(inputs)
                if asked.digest not in tables:
                    model = train(asked, session, cancellation)
                    table = Values(table=model_table(model), origin=operator.origin)
                    tables[asked.digest] = table
                    made[id(table)] = _Made(model, operator.recipe.keep)
                change = tables[asked.digest]
            case PredictWith():
                known = made[id(inputs[1])].model
                change = predicting(operator, inputs[0], known.design, known.state, session)
            case EvaluateWith():
                own = made[id(inputs[1])]
                rows = DataFrame(inputs[0], session)
                there = {part.name for part in parts_of(inputs[0], session)}
                left_out = there.intersection(operator.recipe.without)
                measured = own.model.evaluate(rows, without=sorted(left_out))
                own.metrics = own.metrics or dict(measured)
                change = Values(table=measures_table(measured), origin=operator.origin)
            case _:
                change = operator.with_inputs(inputs)
        new[id(operator)] = change
    for one in made.values():
        if one.keep:
            Registry().save(one.model, one.keep, metrics=one.metrics)
    return new[id(plan)]


def train(operator: Fit, session: Session, cancellation: Cancellation | None = None) -> Model:
    """Train the model that an operator stands for.

    Args:
        operator: says which.
        session: runs the rounds.
        cancellation: looked at after every round.
    """
    recipe = operator.recipe
    hiding = recipe.hiding
    return fit(
        DataFrame(operator.input, session),
        features=recipe.features,
        label=recipe.label,
        model=recipe.algorithm,
        classes=[c.value for c in recipe.classes if isinstance(c, Literal)] or None,
        strategy=None if recipe.combining is None else strategy_of(recipe.combining),
        settings=None if recipe.training is None else settings_of(recipe.training),
        privacy=None if hiding is None else Secure(hiding.fewest, hiding.bound, hiding.rows),
        rounds=recipe.rounds or None,
        without=recipe.without,
        seed=recipe.seed,
        progress=_watching(session, cancellation),
    )


def _watching(session: Session, cancellation: Cancellation | None) -> Watcher:
    """Shows rounds where the session shows progress, and ends a training that is cancelled."""
    shown = sys.stderr.isatty() if session.progress is None else session.progress
    say = watcher_of(shown)

    def watch(one: Round) -> None:
        if cancellation is not None:
            cancellation.check()
        if say is not None:
            say(one)

    return watch


def predicting(
    operator: PredictWith, rows: Operator, design: Design, state: Array, session: Session
) -> Operator:
    """Give what an operator predicts, where the rows lie, with a model that is known."""
    table = state_table(state)
    return over_parts(
        rows,
        session,
        lambda piece: Predict(
            input=piece,
            design=design,
            state=table,
            output=operator.output,
            probabilities=operator.probabilities,
            origin=operator.origin,
            pin=operator.pin,
        ),
    )


def model_table(model: Model) -> pa.Table:
    """Give a model as one row of a table."""
    row = {"design": design_text(model.design), "values": model.state.tolist()}
    return pa.Table.from_pylist([row], schema=MODEL)


def measures_table(measured: Evaluation) -> pa.Table:
    """Give measures as rows: those of each part, and of all together, whose part is null."""
    rows = [
        {"part": part["part"], "rows": part["rows"], "measure": name, "value": part[name]}
        for part in measured.by_part.to_pylist()
        for name in measured
    ]
    rows += [
        {"part": None, "rows": measured.rows, "measure": name, "value": value}
        for name, value in measured.items()
    ]
    return pa.Table.from_pylist(rows, schema=MEASURES)


__all__ = ["measures_table", "model_table", "predicting", "train", "trained"]
