"""How a plan with models in it would run: the rounds of each, and then what applies them.

What a model will be is not known before it is trained. So it is sketched: as many columns as can be
told, and zeros for numbers. Where rounds and predictions run depends on neither.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.learning.lowering import measures_table, model_table, predicting
from umbel.learning.model import Evaluation, Model
from umbel.learning.parts import parts_of
from umbel.models.layout import state_table
from umbel.models.solvers import mathematics_of
from umbel.plan.expressions import Expression, Literal
from umbel.plan.models import Bins, Category, CoxRegression, Design, Feature, Network, Number
from umbel.plan.operators import (
    Contribute,
    EvaluateWith,
    Fit,
    Operator,
    PredictWith,
    Union,
    Values,
    topological,
)
from umbel.plan.recipes import MadeFeature, Recipe, Wanted, WantedBins, WantedCategory

if TYPE_CHECKING:
    from umbel.api.session import Session


@dataclass(frozen=True)
class FitExplanation:
    """How a plan with models in it would run.

    Attributes:
        rounds: for each model what it is, and how one round of its training would run.
        rest: how the rest would run, with the models in it.
    """

    rounds: tuple[tuple[str, Any], ...]
    rest: Any

    def text(self) -> str:
        """Give the explanation as text."""
        lines = []
        for what, one in self.rounds:
            lines += [what, _indented(one.text()), ""]
        return "\n".join([*lines, "with the model" + "s" * (len(self.rounds) > 1) + " then:",
                          _indented(self.rest.text())])  # fmt: skip

    def __str__(self) -> str:
        return self.text()

    def to_dict(self) -> dict[str, Any]:
        """Give the explanation as plain data."""
        trained = [{"what": what, "round": one.to_dict()} for what, one in self.rounds]
        return {"trains": trained, **self.rest.to_dict()}

    def to_json(self) -> str:
        """Give the explanation as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_mermaid(self) -> str:
        """Give the stages of each round, and of the rest, as Mermaid flowcharts, for Markdown."""
        return "\n\n".join(e.to_mermaid() for e in (*(one for _, one in self.rounds), self.rest))

    def to_svg(self) -> str:
        """Give the stages of what applies the models as a drawing."""
        return str(self.rest.to_svg())

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text())}</pre>"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.split("\n"))


def explained(
    plan: Operator, session: Session, explain: Callable[[Operator], Any]
) -> FitExplanation:
    """Say how a plan with models in it would run; none of it runs.

    Args:
        plan: the plan.
        session: knows where tables lie.
        explain: says it of a plan without models.
    """
    rounds: list[tuple[str, Any]] = []
    sketches: dict[int, Design] = {}
    new: dict[int, Operator] = {}
    for operator in topological(plan):
        inputs = tuple(new[id(child)] for child in operator.inputs)
        change: Operator
        match operator:
            case Fit():
                asked = operator.with_inputs(inputs)
                design = sketch(asked.recipe, asked.input.schema)
                rounds.append(_round(asked, design, session, explain))
                made = Model(design, _zeros(design), session, pa.table({}))
                change = Values(table=model_table(made), origin=operator.origin)
                sketches[id(change)] = design
            case PredictWith():
                design = sketches[id(inputs[1])]
                change = predicting(operator, inputs[0], design, _zeros(design), session)
            case EvaluateWith():
                nothing = Evaluation({}, 0, pa.table({"part": pa.array([], pa.string())}))
                change = Values(table=measures_table(nothing), origin=operator.origin)
            case _:
                change = operator.with_inputs(inputs)
        new[id(operator)] = change
    return FitExplanation(tuple(rounds), explain(new[id(plan)]))


def _round(
    operator: Fit, design: Design, session: Session, explain: Callable[[Operator], Any]
) -> tuple[str, Any]:
    """What is trained, and how one round of it runs."""
    recipe = operator.recipe
    parts = parts_of(operator.input, session, without=recipe.without)
    state = state_table(_zeros(design))
    asks = tuple(Contribute(input=p.plan, design=design, state=state, part=p.name) for p in parts)
    steps = recipe.combining is not None or isinstance(recipe.algorithm, Network)
    most = recipe.rounds or (20 if steps else recipe.algorithm.rounds)
    how = f"by steps, in {most} rounds" if steps else f"exactly, in at most {most} rounds"
    hidden = ", masked" if recipe.hiding else ""
    where = ", ".join(part.name for part in parts)
    what = f"first trains {recipe.words}: {how} over {where}{hidden}; a round:"
    return what, explain(asks[0] if len(asks) == 1 else Union(members=asks))


def sketch(recipe: Recipe, schema: pa.Schema) -> Design:
    """Make a design as far as it is known before anything is asked of the rows.

    >>> from umbel.plan.models import LogisticRegression
    >>> from umbel.plan.recipes import WantedNumber
    >>> recipe = Recipe(LogisticRegression(), (WantedNumber("age", scale=True),), "ill")
    >>> sketch(recipe, pa.schema({"age": pa.int64(), "ill": pa.bool_()})).names
    ('intercept', 'age')
    """
    algorithm = recipe.algorithm
    if isinstance(algorithm, CoxRegression) and not algorithm.times:
        algorithm = replace(algorithm, times=(1.0,))
    classes = recipe.classes
    if algorithm.classifies and not classes:
        classes = _samples(schema.field(recipe.label).type, 2)
    wide = 2 + getattr(algorithm, "components", 0)  # as many columns as components, at least
    features = tuple(_sketched(f, schema.field(f.column).type, wide) for f in recipe.features)
    return Design(algorithm, features, recipe.label, classes)


def _sketched(wanted: Wanted, dtype: pa.DataType, wide: int) -> Feature:
    match wanted:
        case WantedCategory(values=None):
            return Category(wanted.column, _samples(dtype, wide))
        case WantedCategory(values=values, drop_first=drop_first):
            return Category(wanted.column, (values or ())[int(drop_first) :])
        case WantedBins(edges=edges, bins=bins):
            return Bins(wanted.column, edges or tuple(map(float, range(1, bins))))
        case MadeFeature(feature=made):
            return made
    return Number(wanted.column)


def _samples(dtype: pa.DataType, count: int) -> tuple[Expression, ...]:
    """Some different constants of a type, for values that are not known yet."""
    count = min(count, 2) if pa.types.is_boolean(dtype) else count
    values = pa.array(range(count), pa.int32()).cast(pa.int64())
    if pa.types.is_date32(dtype):
        values = values.cast(pa.int32())
    return tuple(Literal(value, dtype) for value in values.cast(dtype).to_pylist())


def _zeros(design: Design) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.zeros(mathematics_of(design).state(design).size)


__all__ = ["FitExplanation", "explained", "sketch"]
