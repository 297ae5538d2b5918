"""From the columns of a table to the numbers that models go by, a piece at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from umbel.dataclass import dataclass
from umbel.models.layout import Array
from umbel.plan.expressions import Literal
from umbel.plan.models import (
    Bins,
    Category,
    CoxRegression,
    Design,
    Feature,
    Number,
    PoissonRegression,
)

#: Rows that are worked on at once. Sums are added up piece by piece, so it is part of the result.
PIECE_ROWS = 65_536


@dataclass(frozen=True)
class Examples:
    """Rows as numbers.

    Attributes:
        x: a row of `design.names` for each example.
        y: for classifiers the position of each one's class; else the label; empty if there is none.
        beside: the numbers of what training reads besides, a column for each.
        people: who each row is about, as numbers from 0 on, -1 for nobody; a column for each way in
            which individuals are told apart. Empty where nobody asks.
    """

    x: Array
    y: Array
    beside: Array = field(default_factory=lambda: np.empty((0, 0)))
    people: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.x)

    def taken(self, rows: np.ndarray) -> Examples:
        """Some of the rows, by position or by whether they are wanted."""
        return Examples(*(part[rows] if len(part) else part for part in self._parts))

    @property
    def _parts(self) -> tuple[np.ndarray, ...]:
        return (self.x, self.y, self.beside, self.people)

    @classmethod
    def joined(cls, pieces: Sequence[Examples]) -> Examples:
        """The rows of several pieces, of which there is at least one."""
        if len(pieces) == 1:
            return pieces[0]
        parts = zip(*(piece._parts for piece in pieces), strict=True)
        return cls(*(np.concatenate(part) for part in parts))


class Data:
    """The rows of a table that a model can learn from.

    Rows in which a feature or the label is missing are left out: null, NaN, infinite, of a class
    that the model does not know, or a negative count. None of it is an error: at a site, whether
    there is one would tell of a single row.

    Attributes:
        rows: how many there are, once they have been read.
        left_out: how many were left out, once they have been read.
    """

    def __init__(self, table: pa.Table, design: Design, individuals: Sequence[str] = ()) -> None:
        """Prepare.

        Args:
            table: the rows.
            design: says what is learned from them.
            individuals: columns that say who a row is about.
        """
        self._table = table
        self._design = design
        self._people = _people(table, individuals)
        self.rows = self.left_out = 0
        self._kept: list[Examples] | None = None
        self._whole: Examples | None = None

    def keep(self) -> None:
        """Read the rows now, and keep their numbers for whoever asks for them again."""
        self._kept = list(self.pieces())
        self._whole = self.whole()

    def pieces(self) -> Iterator[Examples]:
        """Yield the examples, piece by piece, in the order of the rows."""
        if self._kept is not None:
            yield from self._kept
            return
        self.rows = self.left_out = 0
        for start in range(0, self._table.num_rows, PIECE_ROWS):
            piece = self._table.slice(start, PIECE_ROWS)
            x, known = matrix(piece, self._design)
            y, beside, there = self._targets(piece)
            known = known & there
            whole = bool(known.all())
            self.rows += len(known) if whole else int(known.sum())
            self.left_out += 0 if whole else int((~known).sum())
            made = Examples(x, y, beside, self._people[start : start + PIECE_ROWS])
            if not whole:
                made = made.taken(known)
            if len(made):
                yield made

    def _targets(self, piece: pa.Table) -> tuple[Array, Array, np.ndarray]:
        """The label, what is read besides, and for each row whether all of it is there."""
        y: Array = np.empty(0)
        beside: Array = np.empty((0, 0))
        known = np.ones(piece.num_rows, dtype=bool)
        if self._design.label:
            y, known = label_of(piece, self._design)
        if self._design.algorithm.beside:
            columns = [numbers(piece.column(name)) for name in self._design.algorithm.beside]
            beside = np.column_stack(columns)
            known = known & ~np.isnan(beside).any(axis=1)
            if isinstance(self._design.algorithm, CoxRegression):
                known &= (beside == 0).all(axis=1) | (beside == 1).all(axis=1)
        return y, beside, known

    def whole(self) -> Examples:
        """Give all examples at once."""
        if self._whole is not None:
            return self._whole
        pieces = list(self.pieces())
        if not pieces:
            return Examples(np.empty((0, len(self._design.names))), np.empty(0))
        return Examples.joined(pieces)

    def kept(self) -> pa.ChunkedArray:
        """Say of each row of the table whether it is an example."""
        known = matrix(self._table, self._design)[1] & self._targets(self._table)[2]
        return pa.chunked_array([pa.array(known)])


def counted(groups: np.ndarray, size: int, pieces: Sequence[Examples]) -> np.ndarray:
    """Count the individuals of each group; of several ways to tell them apart, the fewest.

    Args:
        groups: of each row the number of its group; -1 for none.
        size: how many groups there are.
        pieces: the rows; each is one individual where they do not say who they are about.

    >>> rows = Examples(np.zeros((3, 1)), np.zeros(3), people=np.array([[0], [0], [1]]))
    >>> counted(np.array([0, 0, 1]), 3, [rows]).tolist()
    [1, 1, 0]
    """
    ways = pieces[0].people.shape[1] if pieces else 0
    known = groups >= 0
    found = np.bincount(groups[known], minlength=size)
    for way in range(ways):
        people = np.concatenate([piece.people[:, way] for piece in pieces])[known]
        most = int(people.max(initial=0)) + 1
        if len(people) and people.min() >= 0 and np.bincount(people).max() == 1:
            continue  # each row is about somebody else
        once = np.unique(groups[known][people >= 0] * most + people[people >= 0])
        found = np.minimum(found, np.bincount(once // most, minlength=size))
    return found


def _people(table: pa.Table, individuals: Sequence[str]) -> np.ndarray:
    """Number individuals."""
    found = np.empty((table.num_rows, len(individuals)), dtype=np.int64)
    for i, name in enumerate(individuals):
        codes = pc.dictionary_encode(table.column(name).combine_chunks()).indices
        found[:, i] = pc.fill_null(codes, -1).to_numpy()
    return found


def matrix(table: pa.Table, design: Design) -> tuple[Array, np.ndarray]:
    """Make numbers of rows.

    Args:
        table: the rows.
        design: its features.

    Returns:
        A row of `design.names` for each row; and for each row whether nothing is missing in it.
        Where something is, the numbers mean nothing.

    >>> from umbel.plan.models import LinearRegression
    >>> design = Design(LinearRegression(), (Number("a"),))
    >>> x, known = matrix(pa.table({"a": [2.0, None]}), design)
    >>> x[0].tolist(), known.tolist()
    ([1.0, 2.0], [True, False])
    """
    x = np.empty((table.num_rows, len(design.names)))
    known = np.ones(table.num_rows, dtype=bool)
    at = 0
    if design.algorithm.constant:
        x[:, 0], at = 1.0, 1
    for feature in design.features:
        width = len(feature.names)
        known &= _fill(x[:, at : at + width], table.column(feature.column), feature)
        at += width
    return x, known


def label_of(table: pa.Table, design: Design) -> tuple[Array, np.ndarray]:
    """Give the label of each row as a number, and whether it is there; see `Examples.y`."""
    column = table.column(design.label)
    if design.classes:
        found = _positions(column, tuple(design.classes))
        return found.astype(np.float64), found >= 0
    values = numbers(column)
    if isinstance(design.algorithm, PoissonRegression):
        return values, values >= 0
    return values, ~np.isnan(values)


def numbers(column: pa.ChunkedArray) -> Array:
    """Give a column as 64-bit floats, missing and infinite values as NaN."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    found = np.array(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
    found[np.isinf(found)] = np.nan
    return found


def _fill(target: Array, column: pa.ChunkedArray, feature: Feature) -> np.ndarray:
    """Write a feature's numbers; give for each row whether it is there."""
    match feature:
        case Category(values=values, fill=fill):
            if fill is not None:
                column = column.fill_null(_scalar(fill))
            found = _positions(column, values)
            target[:] = found[:, None] == np.arange(len(values))
            return np.asarray(column.is_valid().to_numpy(), dtype=bool)
        case Bins(edges=edges, fill=number):
            values_ = numbers(column)
            known = _filled(values_, number)
            place = np.searchsorted(np.array(edges), values_, side="right")
            target[:] = place[:, None] == np.arange(1, len(edges) + 1)
            return known
        case Number(center=center, scale=scale, fill=number):
            values_ = numbers(column)
            known = _filled(values_, number)
            target[:, 0] = (values_ - center) / scale
            return known
    raise TypeError(f"no feature: {feature}")


def _filled(values: Array, number: float | None) -> np.ndarray:
    """Fill in missing values in place; give for each row whether there is one now."""
    missing = np.isnan(values)
    if number is None or not missing.any():
        return ~missing
    values[missing] = number
    return np.ones(len(values), dtype=bool)


def _positions(column: pa.ChunkedArray, values: tuple[object, ...]) -> np.ndarray:
    """Give for each row the position of its value among some; -1 if it is not among them."""
    if not values:
        return np.full(len(column), -1)
    known = pa.array([_scalar(value).as_py() for value in values], _scalar(values[0]).type)
    found = pc.fill_null(pc.index_in(column, value_set=known), -1)
    return np.asarray(found.to_numpy(), dtype=np.int64)


def _scalar(value: object) -> pa.Scalar:
    literal = cast("Literal", value)  # a design holds nothing else
    return pa.scalar(literal.value, literal.dtype)


__all__ = ["PIECE_ROWS", "Data", "Examples", "counted", "label_of", "matrix", "numbers"]
