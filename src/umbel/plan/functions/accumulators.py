"""The reference implementations of the catalogue's aggregates: running states over one group.

Each takes rows one by one and uses a fixed amount of memory where its function allows that. The
caller has applied the call's filter, distinctness and order before. Nulls come as None.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa

from umbel.plan.errors import EvaluationError
from umbel.plan.types import is_decimal, is_float, type_name

#: Adds decimals of 38 digits exactly; the default context rounds to 28 digits.
EXACT = decimal.Context(prec=100, traps=[decimal.InvalidOperation])

_INT64_LIMIT = 2**63


def distinct_key(value: Any) -> Any:
    """Give a hashable stand-in that is equal for values that the plan holds equal.

    >>> distinct_key(float("nan")) == distinct_key(-float("nan"))
    True
    >>> distinct_key([0.0, None]) == distinct_key([-0.0, None])
    True
    """
    if isinstance(value, float):
        return "NaN" if value != value else value
    if isinstance(value, list | tuple):
        return tuple(map(distinct_key, value))
    if isinstance(value, dict):
        return tuple((name, distinct_key(item)) for name, item in value.items())
    return value


class IntegerSum:
    """The sum of integers or booleans, which must fit into 64 bits."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total: int | None = None

    def add(self, value: int | None) -> None:
        if value is not None:
            self.total = value + (self.total or 0)

    def result(self) -> int | None:
        total = self.total
        if total is not None and not -_INT64_LIMIT <= total < _INT64_LIMIT:
            raise EvaluationError(
                f"the sum {total} does not fit into int64",
                hint="cast the values to float64 or decimal(38,0) before",
            )
        return total


class DecimalSum:
    """The exact sum of decimals, which must fit into 38 digits."""

    __slots__ = ("dtype", "total")

    def __init__(self, dtype: pa.DataType) -> None:
        self.dtype = dtype
        self.total: Decimal | None = None

    def add(self, value: Decimal | None) -> None:
        if value is not None:
            self.total = value if self.total is None else EXACT.add(self.total, value)

    def result(self) -> Decimal | None:
        total = self.total
        if total is not None and total.copy_abs() >= Decimal(10) ** (38 - self.dtype.scale):
            raise EvaluationError(
                f"the sum {total} does not fit into {type_name(self.dtype)}",
                hint="cast the values to float64 before",
            )
        return total


class FloatSum:
    """The sum of floats, added in the order in which they come."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total: float | None = None

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total = value if self.total is None else self.total + value

    def result(self) -> float | None:
        return self.total


def sum_of(dtype: pa.DataType) -> IntegerSum | DecimalSum | FloatSum:
    """Start the sum whose result has type `dtype`."""
    if is_decimal(dtype):
        return DecimalSum(dtype)
    return FloatSum() if is_float(dtype) else IntegerSum()


class Mean:
    """The exact sum (of floats: the running sum) divided by the count, as a float."""

    __slots__ = ("count", "total")

    def __init__(self) -> None:
        self.total: Any = 0
        self.count = 0

    def add(self, value: Any) -> None:
        if value is not None:
            self.count += 1
            if isinstance(value, Decimal):
                self.total = EXACT.add(self.total, value)
            else:
                self.total += value

    def result(self) -> float | None:
        if not self.count:
            return None
        if isinstance(self.total, Decimal):
            return float(EXACT.divide(self.total, Decimal(self.count)))
        return float(self.total / self.count)


class Product:
    """The product of numbers as floats."""

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total: float | None = None

    def add(self, value: Any) -> None:
        if value is not None:
            self.total = float(value) * (1.0 if self.total is None else self.total)

    def result(self) -> float | None:
        return self.total


class Minimum:
    """The least value; NaN is greater than any number."""

    __slots__ = ("best",)

    def __init__(self) -> None:
        self.best: Any = None

    def add(self, value: Any) -> None:
        best = self.best
        if value is not None and (best is None or value < best or best != best):
            self.best = value

    def result(self) -> Any:
        return self.best


class Maximum(Minimum):
    """The greatest value; NaN is greater than any number."""

    __slots__ = ()

    def add(self, value: Any) -> None:
        best = self.best
        if value is not None and (best is None or value > best or value != value):
            self.best = value


class MinimumBy:
    """The value beside the least key."""

    __slots__ = ("key", "value")

    def __init__(self) -> None:
        self.key: Any = None
        self.value: Any = None

    def add(self, value: Any, key: Any) -> None:
        best = self.key
        if key is not None and (best is None or key < best or (best != best and key == key)):
            self.key, self.value = key, value

    def result(self) -> Any:
        return self.value


class MaximumBy(MinimumBy):
    """The value beside the greatest key."""

    __slots__ = ()

    def add(self, value: Any, key: Any) -> None:
        best = self.key
        if key is not None and (best is None or key > best or (key != key and best == best)):
            self.key, self.value = key, value


class Count:
    """How many values are not null."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def add(self, value: Any) -> None:
        if value is not None:
            self.count += 1

    def result(self) -> int:
        return self.count


class CountRows:
    """How many rows there are."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def add(self) -> None:
        self.count += 1

    def result(self) -> int:
        return self.count


class DistinctCount:
    """How many different values there are, nulls apart."""

    __slots__ = ("keys",)

    def __init__(self) -> None:
        self.keys: set[Any] = set()

    def add(self, value: Any) -> None:
        if value is not None:
            self.keys.add(distinct_key(value))

    def result(self) -> int:
        return len(self.keys)


class First:
    """The value of the first row, null or not."""

    __slots__ = ("seen", "value")

    def __init__(self) -> None:
        self.seen = False
        self.value: Any = None

    def add(self, value: Any) -> None:
        if not self.seen:
            self.seen, self.value = True, value

    def result(self) -> Any:
        return self.value


class Last:
    """The value of the last row, null or not."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: Any = None

    def add(self, value: Any) -> None:
        self.value = value

    def result(self) -> Any:
        return self.value


class FirstNonNull(Last):
    """The first value that is not null."""

    __slots__ = ()

    def add(self, value: Any) -> None:
        if self.value is None:
            self.value = value


class LastNonNull(Last):
    """The last value that is not null."""

    __slots__ = ()

    def add(self, value: Any) -> None:
        if value is not None:
            self.value = value


class Nth:
    """The value of the n-th row, counted from 1, null or not."""

    __slots__ = ("count", "value")

    def __init__(self) -> None:
        self.count = 0
        self.value: Any = None

    def add(self, value: Any, n: int) -> None:
        if n is None or n < 1:
            raise EvaluationError(f"nth counts rows from 1, so it has no row {n}")
        self.count += 1
        if self.count == n:
            self.value = value

    def result(self) -> Any:
        return self.value


class Quantile:
    """A quantile with linear interpolation between the two nearest values, as floats."""

    __slots__ = ("fraction", "values")

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.fraction = 0.5

    def add(self, value: Any, fraction: Any = 0.5) -> None:
        self.fraction = _fraction(fraction)
        if value is not None:
            self.values.append(self.convert(value))

    @staticmethod
    def convert(value: Any) -> Any:
        return float(value)

    def result(self) -> Any:
        if not self.values:
            return None
        self.values.sort(key=_nan_last)
        position = (len(self.values) - 1) * self.fraction
        low, high = math.floor(position), math.ceil(position)
        if low == high:
            return self.values[low]
        weight = position - low
        return self.values[low] * (1.0 - weight) + self.values[high] * weight


class DiscreteQuantile(Quantile):
    """The least value with at least a fraction of the values at or below it."""

    __slots__ = ()

    @staticmethod
    def convert(value: Any) -> Any:
        return value

    def result(self) -> Any:
        if not self.values:
            return None
        self.values.sort(key=_nan_last)
        count = len(self.values)
        return self.values[max(1, count - math.floor(count - count * self.fraction)) - 1]


def _fraction(value: Any) -> float:
    if value is None or not 0 <= value <= 1:
        raise EvaluationError(f"a quantile's fraction lies between 0 and 1, but is {value}")
    return float(value)


def _nan_last(value: Any) -> tuple[bool, Any]:
    return (True, 0.0) if value != value else (False, value)


class Moments:
    """Count, mean and sum of squared deviations, updated in Welford's manner."""

    __slots__ = ("count", "mean", "population", "root", "squares")

    def __init__(self, *, population: bool, root: bool) -> None:
        self.population, self.root = population, root
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, value: Any) -> None:
        if value is None:
            return
        number = float(value)
        self.count += 1
        delta = number - self.mean
        self.mean += delta / self.count
        # An infinite value would make mean - value NaN only in the next step.
        self.squares += delta * (number - self.mean) if math.isfinite(number) else math.nan

    def result(self) -> float | None:
        divisor = self.count if self.population else self.count - 1
        if divisor < 1:
            return None
        if self.count == 1:
            return 0.0
        variance = self.squares / divisor
        return math.sqrt(variance) if self.root else variance


class Comoments:
    """The joint moments of pairs without nulls, for covariance and correlation."""

    __slots__ = (
        "count",
        "kind",
        "mean_x",
        "mean_y",
        "products",
        "spread_x",
        "spread_y",
        "xx",
        "yy",
    )

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.count = 0
        self.mean_x = self.mean_y = self.xx = self.yy = self.products = 0.0
        self.spread_x, self.spread_y = (Minimum(), Maximum()), (Minimum(), Maximum())

    def add(self, x: Any, y: Any) -> None:
        if x is None or y is None:
            return
        x, y = float(x), float(y)
        for value, spread in ((x, self.spread_x), (y, self.spread_y)):
            spread[0].add(value)
            spread[1].add(value)
        self.count += 1
        if not (math.isfinite(x) and math.isfinite(y)):
            self.xx = self.yy = self.products = math.nan
            return
        dx, dy = x - self.mean_x, y - self.mean_y
        self.mean_x += dx / self.count
        self.mean_y += dy / self.count
        self.xx += dx * (x - self.mean_x)
        self.yy += dy * (y - self.mean_y)
        self.products += dx * (y - self.mean_y)

    def result(self) -> float | None:
        if self.kind == "population":
            return self.products / self.count if self.count else None
        if self.count < 2:
            return None
        if self.kind == "sample":
            return self.products / (self.count - 1)
        for least, greatest in (self.spread_x, self.spread_y):
            low, high = least.result(), greatest.result()
            if low == high or low != low:
                return None
        return self.products / math.sqrt(self.xx) / math.sqrt(self.yy)


class Fold:
    """Values folded by a function of two; null if there are none."""

    __slots__ = ("combine", "total")

    def __init__(self, combine: Callable[[Any, Any], Any]) -> None:
        self.combine = combine
        self.total: Any = None

    def add(self, value: Any) -> None:
        if value is not None:
            self.total = value if self.total is None else self.combine(self.total, value)

    def result(self) -> Any:
        return self.total


class JoinedStrings:
    """Strings joined with a separator, nulls left out."""

    __slots__ = ("parts", "separator")

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.separator = ""

    def add(self, value: str | None, separator: str) -> None:
        if separator is None:
            raise EvaluationError("the separator of join_strings cannot be null")
        self.separator = separator
        if value is not None:
            self.parts.append(value)

    def result(self) -> str | None:
        return self.separator.join(self.parts) if self.parts else None


class Collected:
    """The values as a list, nulls too."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: list[Any] = []

    def add(self, value: Any) -> None:
        self.values.append(value)

    def result(self) -> list[Any] | None:
        # A copy: a running frame may go on adding.
        return list(self.values) if self.values else None
