"""Columns of a table as matrices of numbers, checked on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from umbel.dataclass import dataclass
from umbel.learning.state import Vector

if TYPE_CHECKING:
    from umbel.api.dataframe import DataFrame


@dataclass(frozen=True, eq=False)
class Columns:
    """What of a table is learned from.

    Attributes:
        features: a row of numbers for each row.
        labels: a number for each row.
        owners: the number of each row's site, where a column says it.
        names: what these sites are called.
    """

    features: Vector
    labels: npt.NDArray[Any]
    owners: npt.NDArray[np.int64] | None
    names: tuple[str, ...]


def columns_of(
    data: DataFrame | pa.Table, features: Sequence[str], label: str, owner: str | None
) -> Columns:
    """Take the columns that are learned from.

    Args:
        data: rows; a DataFrame runs.
        features: columns of numbers.
        label: a column of numbers; whole numbers and truth values are classes.
        owner: the column that says which site a row belongs to.

    Raises:
        ValueError: a column is missing, is no number, or holds null, NaN or infinity.
    """
    table = data if isinstance(data, pa.Table) else data.collect()
    for name in (*features, label, *([owner] if owner else [])):
        if name not in table.column_names:
            raise ValueError(
                f"There is no column {name!r}; there are {', '.join(table.column_names)}."
            )
    if not features:
        raise ValueError("There must be at least one feature.")
    if not table.num_rows:
        raise ValueError("The table has no rows: there is nothing to learn from.")
    matrix = np.stack([_numbers(table, name).astype(np.float64) for name in features], axis=1)
    owners, names = None, np.array([], object)
    if owner:
        texts = np.array(pc.cast(table[owner], pa.string()).to_pylist(), object)
        if any(text is None for text in texts):
            raise ValueError(f"The column {owner!r} holds null: such a row belongs to no site.")
        names, owners = np.unique(texts, return_inverse=True)
    return Columns(matrix, _numbers(table, label), owners, tuple(names.tolist()))


def _numbers(table: pa.Table, name: str) -> npt.NDArray[Any]:
    column = table[name]
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        raise ValueError(f"The column {name!r} is of type {column.type}; it must be numbers.")
    if column.null_count:
        raise ValueError(f"The column {name!r} holds {column.null_count} nulls; fill or drop them.")
    values: npt.NDArray[Any] = column.to_numpy()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise ValueError(f"The column {name!r} holds NaN or infinity; fill or drop such rows.")
    return values.astype(np.int64) if values.dtype.kind in "iu" else values
