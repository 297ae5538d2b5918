"""The operators that learn and apply, over a table: what an engine runs.

Columns go to NumPy and back as whole arrays; no row becomes a Python value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from umbel.models import measures
from umbel.models.base import DivergedError
from umbel.models.descent import descend
from umbel.models.examples import PIECE_ROWS, Data, Examples, counted, matrix
from umbel.models.layout import Array, Layout, state_array, to_bytes
from umbel.models.solvers import mathematics_of, solver_of
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.models import Design
from umbel.plan.operators import (
    Contribute,
    Evaluate,
    Operator,
    Predict,
    Summing,
    Transform,
)
from umbel.plan.operators.learning import GUARDS


def contribute(operator: Summing, table: pa.Table) -> pa.Table:
    """Sum up one part of the data; one row."""
    return Contributions(operator, table).give(operator)


class Contributions:
    """What one table gives to any number of rounds; its rows are made into numbers once."""

    def __init__(self, operator: Summing, table: pa.Table) -> None:
        """Prepare.

        Args:
            operator: says what is learned; with other numbers it may be asked again and again.
            table: its input.
        """
        self._people = operator.individuals if operator.guarded else ()
        self._table = table
        self._data = Data(table, operator.design, self._people)
        self._fixed: dict[str, int] = {}

    def keep(self) -> None:
        """Keep the rows as numbers, for more than one round."""
        self._data.keep()

    def give(self, operator: Summing) -> pa.Table:
        """Sum up, for the numbers of an operator; one row."""
        design, data = operator.design, self._data
        state = checked_state(design, operator.state)
        guards = self._guards(operator, state) if operator.guarded else {}
        if isinstance(operator, Evaluate):
            sums = measures.contribute(design, state, data.pieces(), operator.least)
        elif isinstance(operator, Contribute) and operator.training is not None:
            correction = operator.correction
            pull = None if correction is None else checked_state(design, correction)
            whose = _whose(operator, self._table, data) if operator.training.clip else None
            sums = descend(design, state, data.whole(), operator.training, pull, whose)
        else:
            sums = solver_of(design).contribute(design, state, data.pieces(), operator.least)
        columns: dict[str, Any] = {
            "part": [operator.part],
            "rows": [data.rows],
            # A small count would say of single rows that they lack something.
            "left_out": [data.left_out if data.left_out >= operator.least else 0],
            "sums": [to_bytes(sums)],
            **{name: [count] for name, count in guards.items()},
        }
        return pa.table(columns, schema=operator.schema)

    def _guards(self, operator: Summing, state: Array) -> dict[str, int]:
        """Count what the sums are made of; only weights depend on the state."""
        exact = isinstance(operator, Contribute) and operator.training is None
        if exact or not self._fixed:
            counts = _guards(operator, self._data, state)
            for name in self._people:
                kept = self._table.column(name).filter(self._data.kept())
                counts[f"umbel count {name}"] = pc.count_distinct(kept, mode="only_valid").as_py()
            if exact:
                return counts
            self._fixed = counts
        return self._fixed


def _whose(operator: Summing, table: pa.Table, data: Data) -> np.ndarray | None:
    """For each row that is learned from a number that says whom it is about; None: all differ."""
    if not operator.individuals:
        return None
    if len(operator.individuals) > 1:
        raise PlanError(
            "rows that are about several individuals have no one whose slope could be clipped",
            hint="learn from one table",
        )
    column = table.column(operator.individuals[0]).filter(data.kept()).combine_chunks()
    codes = pc.dictionary_encode(column, null_encoding="encode")
    indices = codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes
    return indices.indices.to_numpy(zero_copy_only=False)


def _guards(operator: Summing, data: Data, state: Array) -> dict[str, int]:
    """Count what the sums are made of; see `Summing`."""
    examples = data.whole()
    groups: np.ndarray = np.zeros(len(examples), dtype=np.int64)
    weights = None
    if isinstance(operator, Contribute) and operator.training is None:
        solver = solver_of(operator.design)
        weights = solver.weights(operator.design, state, examples)
        apart = solver.groups(operator.design, examples)
        groups = groups if apart is None else apart.astype(np.int64)
    size = int(groups.max(initial=0)) + 1
    cells = counted(groups, size, [examples])
    cell = int(cells[cells > 0].min(initial=len(examples)))
    counts = (
        len(examples),
        smallest_group(operator.design, examples),
        cell if weights is None else _effective(groups, weights, size),
        cell,
    )
    return dict(zip(GUARDS, counts, strict=True))


def _effective(groups: np.ndarray, weights: Array, size: int) -> int:
    """How many rows of one weight the weights of a group amount to; the fewest of all groups."""
    known = groups >= 0
    sums = np.bincount(groups[known], weights[known], minlength=size)
    squares = np.bincount(groups[known], weights[known] ** 2, minlength=size)
    there = np.bincount(groups[known], minlength=size) > 0
    if not there.any() or not (squares[there] > 0).all():
        return 0
    return int((sums[there] ** 2 / squares[there]).min() + 1e-6)


def smallest_group(design: Design, examples: Examples) -> int:
    """Find the fewest that share a class, or a value of a feature that has two values only.

    Individuals are counted where rows say who they are about, else rows.

    >>> from umbel.plan.models import LinearRegression, Number
    >>> design = Design(LinearRegression(), (Number("a"),), "y")
    >>> rows = Examples(np.array([[1.0, 0], [1, 5], [1, 5]]), np.array([1.0, 2, 3]))
    >>> smallest_group(design, rows)
    1
    """
    found = len(examples)
    if not found:
        return 0
    groups = []
    if design.classes:
        groups.append(examples.y.astype(np.int64))
    low, high = examples.x.min(axis=0), examples.x.max(axis=0)
    lows, highs = (examples.x == low).sum(axis=0), (examples.x == high).sum(axis=0)
    two = (low < high) & (lows + highs == len(examples))
    groups += [(examples.x[:, i] == high[i]).astype(np.int64) for i in np.flatnonzero(two)]
    for group in groups:
        counts = counted(group, int(group.max()) + 1, [examples])
        found = min(found, int(counts[counts > 0].min(initial=found)))
    return found


def predict(operator: Predict, table: pa.Table) -> pa.Table:
    """Add what a model predicts to rows."""
    design = operator.design
    solver, state = mathematics_of(design), checked_state(design, operator.state)
    predicted: list[list[pa.Array]] = []
    shares = []
    fields = design.algorithm.fields(operator.output)
    for start in range(0, table.num_rows, PIECE_ROWS):
        x, known = matrix(table.slice(start, PIECE_ROWS), design)
        x[~known] = 0.0
        scores = solver.scores(design, state, x)
        if design.classes:
            shares.append(_nulled(scores, known))
            predicted.append([_classes(design).take(pa.array(_places(scores), mask=~known))])
        else:
            columns = _nulled(scores.reshape(len(known), -1), known)
            predicted.append([a.cast(f.type) for a, f in zip(columns, fields, strict=True)])
    names = [f.name for f in fields]
    added: list[Any] = [
        pa.chunked_array([made[i] for made in predicted], operator.schema.field(name).type)
        for i, name in enumerate(names)
    ]
    if operator.probabilities:
        added += [
            pa.chunked_array([made[i] for made in shares], pa.float64())
            for i in range(len(design.classes))
        ]
    return pa.Table.from_arrays([*table.columns, *added], schema=operator.schema)


def _places(scores: Array) -> np.ndarray:
    return np.asarray(scores.argmax(axis=1))


def _nulled(scores: Array, known: np.ndarray) -> list[pa.Array]:
    """The columns of scores, null where a feature is missing."""
    return [pa.array(np.ascontiguousarray(column), mask=~known) for column in scores.T]


def _classes(design: Design) -> pa.Array:
    literals = [value for value in design.classes if isinstance(value, Literal)]
    return pa.array([literal.value for literal in literals], literals[0].dtype)


def transform(operator: Transform, table: pa.Table) -> pa.Table:
    """Give the numbers that a model goes by."""
    x, known = matrix(table, operator.design)
    return pa.Table.from_arrays(_nulled(x, known), schema=operator.schema)


def not_converged(rounds: int) -> DivergedError:
    """The error of a model that is not done after all rounds."""
    return DivergedError(
        f"the model has not converged after {rounds} rounds",
        hint="scale the features, give l2 a small value, or allow more rounds",
    )


def checked_state(design: Design, table: pa.Table) -> Array:
    """Take a model's numbers out of a plan.

    Raises:
        PlanError: they are not those of the design.
    """
    state = state_array(table)
    layout: Layout = mathematics_of(design).state(design)
    layout.split(state)
    return state


#: How each operator is run over the table of its input.
OVER_TABLES: dict[type[Operator], Callable[[Any, pa.Table], pa.Table]] = {
    Contribute: contribute,
    Evaluate: contribute,
    Predict: predict,
    Transform: transform,
}

__all__ = ["OVER_TABLES", "Contributions", "checked_state", "not_converged", "smallest_group"]
