"""What features need to know of all rows: means, spreads, the words that occur.

It is asked for in plain aggregates, under the same rules of sites as any other question, and
becomes part of the model: what is scored is prepared exactly as what was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any
from typing import Literal as OneOf

import pyarrow as pa

from umbel.api.expressions import Expr, col, when
from umbel.api.functions import count_rows
from umbel.api.values import literal
from umbel.plan.errors import PlanError, TypeClashError, UnknownNameError
from umbel.plan.expressions import Expression, Literal
from umbel.plan.models import Bins, Category, Feature, Number
from umbel.plan.recipes import MadeFeature, Wanted, WantedBins, WantedCategory, WantedNumber
from umbel.plan.types import is_float, is_numeric

if TYPE_CHECKING:
    from umbel.api.dataframe import DataFrame

#: Values of one column that get a column of their own.
MOST_VALUES = 1000


class _OneHot(Wanted):
    """A column for each of some values as the user wrote them: of which type is not known yet."""

    values: tuple[Any, ...] | None = None
    drop_first: bool = True
    impute: Any = None


def numeric(
    column: str, *, scale: bool = False, impute: float | OneOf["mean"] | None = None
) -> Wanted:
    """Take a column as the number that it is.

    Args:
        column: its name; numbers or booleans.
        scale: subtract the mean of all rows, and divide by their standard deviation.
        impute: what a missing value counts as: a number, or the mean. None leaves such rows out.

    >>> numeric("age", scale=True, impute="mean").column
    'age'
    """
    if isinstance(impute, str) and impute != "mean":
        raise PlanError(f"feature {column!r} is imputed by a number or 'mean', not {impute!r}")
    return WantedNumber(column, scale, *_filled(impute))


def one_hot(
    column: str,
    *,
    values: Iterable[Any] | None = None,
    drop_first: bool = True,
    impute: Any = None,
) -> Wanted:
    """Give each value of a column a column of zeros and ones.

    Args:
        column: its name; of any type but floats.
        values: the values in order; None finds those that occur. Others give zeros.
        drop_first: leave out the first value's column, which follows from the others.
        impute: what a missing value counts as; None leaves such rows out.
    """
    given = None if values is None else tuple(values)
    return _OneHot(column, given, drop_first, impute)


def binned(
    column: str,
    *,
    edges: Sequence[float] = (),
    bins: int = 0,
    impute: float | OneOf["mean"] | None = None,
) -> Wanted:
    """Cut a column's numbers into intervals, each with a column of zeros and ones but the first.

    Args:
        column: its name.
        edges: between the intervals.
        bins: or how many intervals; the edges are then the quantiles of a normal distribution with
            the mean and the standard deviation of all rows.
        impute: what a missing value counts as: a number, or the mean. None leaves such rows out.
    """
    if bool(edges) == bool(bins) or bins == 1:
        raise PlanError(f"feature {column!r} is cut at given edges, or into two bins or more")
    return WantedBins(column, tuple(map(float, edges)), bins, *_filled(impute))


def _filled(impute: float | str | None) -> tuple[float | None, bool]:
    """What a missing value counts as, and whether it is the mean."""
    return (None, True) if impute == "mean" else (_number(impute), False)


def prepared(df: DataFrame, wanted: Iterable[Wanted]) -> tuple[Feature, ...]:
    """Make features, asking for what they need to know of all rows.

    Args:
        df: the rows.
        wanted: what `wanted_of` gives.
    """
    features = tuple(wanted)
    numbers = [feature.column for feature in features if _asks(feature)]
    known = _spreads(df, tuple(dict.fromkeys(numbers)))
    return tuple(_made(df, feature, known) for feature in features)


def wanted_of(df: DataFrame, features: Iterable[str | Wanted | Feature]) -> tuple[Wanted, ...]:
    """Say what features are to be made of columns; nothing is asked for yet.

    Args:
        df: the rows.
        features: names of columns (numbers are taken as they are, texts get a column for each
            value), features yet to be made, or made ones.
    """
    return tuple(_wanted(df, feature) for feature in features)


def values_of(df: DataFrame, column: str, what: str) -> tuple[Expression, ...]:
    """Find the values that occur in a column, in order, without missing ones.

    Args:
        df: the rows.
        column: its name.
        what: what it is, for errors.
    """
    dtype = df.schema.field(column).type
    if is_float(dtype):
        raise TypeClashError(
            f"{what} {column!r} has fractions, so its values are no classes",
            hint="cast it to an integer or to text before",
        )
    # The aggregate beside the key is what rules of sites count individuals by.
    found = df.group_by(column).agg(count_rows().alias("umbel rows")).collect()
    values = sorted(v for v in found.column(column).to_pylist() if v is not None)
    if len(values) > MOST_VALUES:
        raise PlanError(
            f"{what} {column!r} has {len(values):,} values, of which {MOST_VALUES:,} are the most",
            hint="name those that count: values=[…]",
        )
    return tuple(Literal(value, dtype) for value in values)


def literals(values: Iterable[Any], dtype: pa.DataType) -> tuple[Expression, ...]:
    """Make constants of a column's type of given values."""
    return tuple(literal(value, dtype) for value in values)


def _wanted(df: DataFrame, feature: str | Wanted | Feature) -> Wanted:
    name = feature if isinstance(feature, str) else getattr(feature, "column", None)
    if not isinstance(name, str):
        raise PlanError(
            f"a feature is the name of a column, or what numeric, one_hot or binned give, not "
            f"{type(feature).__name__}"
        )
    if name not in df.columns:
        raise UnknownNameError("column", name, df.columns, where="the features")
    dtype = df.schema.field(name).type
    match feature:
        case str() if is_numeric(dtype) or pa.types.is_boolean(dtype):
            return WantedNumber(name)
        case str():
            return WantedCategory(name)
        case Feature():
            return MadeFeature(name, feature)
        case _OneHot(values=given, drop_first=drop_first, impute=impute):
            values = None if given is None else literals(given, dtype)
            fill = None if impute is None else literal(impute, dtype)
            return WantedCategory(name, values, drop_first, fill)
    return feature


def _asks(wanted: Wanted) -> bool:
    """Whether a feature needs the mean or the spread of its column."""
    match wanted:
        case WantedNumber(scale=scale, mean=mean):
            return scale or mean
        case WantedBins(bins=bins, mean=mean):
            return bins > 0 or mean
    return False


def _spreads(df: DataFrame, columns: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """The mean and the standard deviation of columns, over the values that are there."""
    if not columns:
        return {}
    asked: list[Expr] = []
    for i, name in enumerate(columns):
        Number(name).check(df.schema.field(name).type)
        value = _there(df, name)
        asked += [value.mean().alias(f"mean {i}"), value.std(ddof=0).alias(f"spread {i}")]
    rows = df.select(*asked).collect().to_pylist()
    found = {}
    for i, name in enumerate(columns):
        mean, spread = (rows[0][f"mean {i}"], rows[0][f"spread {i}"]) if rows else (None, None)
        if mean is None or not math.isfinite(mean) or not math.isfinite(spread or 0.0):
            raise PlanError(
                f"feature {name!r} has no mean: no value is there, or some are infinite",
                hint="say how it is scaled: umbel.plan.models.Number(column, center, scale, fill)",
            )
        found[name] = (float(mean), float(spread or 0.0))
    return found


def _there(df: DataFrame, name: str) -> Expr:
    """A column as a float, NaN as null."""
    dtype = df.schema.field(name).type
    value = col(name)
    if pa.types.is_boolean(dtype):
        return when(value).then(1.0).when(~value).then(0.0)  # a cast could fail for a row
    if not is_float(dtype):
        return value.cast("float64")
    return when(~value.is_nan()).then(value).cast("float64")


def _made(df: DataFrame, wanted: Wanted, known: dict[str, tuple[float, float]]) -> Feature:
    name = wanted.column
    mean, spread = known.get(name, (0.0, 1.0))
    match wanted:
        case WantedNumber(scale=scale, fill=fill, mean=by_mean):
            fill = mean if by_mean else fill
            if not scale:
                return Number(name, fill=fill)
            if not spread:
                raise PlanError(f"feature {name!r} has one value only, so it cannot be scaled")
            return Number(name, mean, spread, fill)
        case WantedBins(edges=edges, bins=bins, fill=fill, mean=by_mean):
            if bins:
                if not spread:
                    raise PlanError(f"feature {name!r} has one value only, so it cannot be cut")
                edges = tuple(NormalDist(mean, spread).quantiles(bins))
            return Bins(name, edges, mean if by_mean else fill)
        case WantedCategory(values=given, drop_first=drop_first, fill=missing):
            if is_float(df.schema.field(name).type):
                raise TypeClashError(
                    f"feature {name!r} has fractions, so its values get no columns",
                    hint="cut it into intervals: ub.learn.binned",
                )
            found = values_of(df, name, "feature") if given is None else given
            if len(found) - drop_first < 1:
                raise PlanError(f"feature {name!r} has {len(found)} value: there is nothing in it")
            return Category(name, found[int(drop_first) :], missing)
        case MadeFeature(feature=made):
            return made
    raise PlanError(f"no feature: {wanted!r}")


def _number(value: float | str | None) -> float | None:
    return None if value is None else float(value)


__all__ = [
    "Wanted",
    "binned",
    "literals",
    "numeric",
    "one_hot",
    "prepared",
    "values_of",
    "wanted_of",
]
