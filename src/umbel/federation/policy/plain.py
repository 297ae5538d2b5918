"""Which computed values are those of a table in another unit, and which tell something else.

A sum of plain values tells what the sum of the table's own values tells. Arithmetic with constants
may do more than change a unit: a factor of 1e300 makes infinities of all values above a bound, and
2**52 added and taken away again makes zeros of all below one, so that their sum counts rows that no
clause lets anybody pick. So units are bounded, exact, and few.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.expressions import AggregateCall, Call, Cast, Column, Expression, Literal
from umbel.plan.safety import Outcome, Range, constant_value, examine
from umbel.plan.types import is_decimal, is_integer
from umbel.plan.typing import infer_type

#: The words of a policy for aggregates, and what they stand for.
FUNCTIONS: dict[str, frozenset[str]] = {
    "count": frozenset({"count", "len"}),
    "mean": frozenset({"mean"}),
    "n_unique": frozenset({"n_unique"}),
    "std": frozenset({"std_population", "std_sample"}),
    "sum": frozenset({"sum"}),
    "var": frozenset({"var_population", "var_sample"}),
}
#: By function of the catalogue the word of a policy.
WORDS = {function: word for word, names in FUNCTIONS.items() for function in names}
#: Integers of a table are taken to lie within, so that no arithmetic on them overflows. A greater
#: one can be found out by making it overflow; it would have to be greater than any amount of money.
INTEGERS: Range = (-(2**36), 2**36)
#: What is summed lies within: then no sum of few rows overflows.
_SUMMED = 2**56
#: Aggregates of one individual's rows whose value is as plain as the rows' values are.
PLAIN_ALONE = frozenset({"sum", "mean", "min", "max", "count", "len", "first", "last"})
#: The least and the greatest factor of a unit: from nano to giga.
_FACTORS = (1e-9, 1e9)
#: What a unit adds is at most so many times its factor: then no value above 2e-10 is rounded away.
_MOST_ADDED = 1e6


@dataclass(frozen=True)
class Unit:
    """What a plain value is of a table's own: so many times it, and something added."""

    factor: float = 1.0
    added: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether the table's value can be told from the new one, or all but."""
        least, most = _FACTORS
        return least <= abs(self.factor) <= most and abs(self.added) <= _MOST_ADDED * abs(
            self.factor
        )


OWN = Unit()


def unit_of(
    expression: Expression, schema: pa.Schema, units: Mapping[str, Unit], foreign: Container[str]
) -> Unit | None:
    """Say in which unit a value is a table's own; None if it is something else.

    Args:
        expression: over the schema.
        schema: the columns.
        units: of the columns that are plain.
        foreign: columns that are made of no table.

    >>> schema = pa.schema([("cost", pa.float64())])
    >>> cents = Call("multiply", (Column("cost"), Literal(100.0, pa.float64())))
    >>> unit_of(cents, schema, {"cost": OWN}, ())
    Unit(factor=100.0, added=0.0)
    >>> far = Call("add", (cents, Literal(2.0**52, pa.float64())))
    >>> unit_of(far, schema, {"cost": OWN}, ()) is None
    True
    """
    match expression:
        case Literal():
            return OWN
        case Column(name):
            return OWN if name in foreign else units.get(name)
        case Cast(operand=operand, dtype=dtype):
            return unit_of(operand, schema, units, foreign) if pa.types.is_float64(dtype) else None
        case Call(function="negate", arguments=(one,)):
            found = unit_of(one, schema, units, foreign)
            return None if found is None else Unit(-found.factor, -found.added)
        case Call(function=function, arguments=(left, right)) if function in _STEPS:
            first, second = _constant(left), _constant(right)
            if (first is None) is (second is None) or (function == "divide" and second is None):
                return None
            inner = unit_of(right if second is None else left, schema, units, foreign)
            number = first if second is None else second
            if inner is None or number is None or not _is_exact(expression, schema):
                return None
            made = _STEPS[function](inner, number, second is None)
            return made if made is not None and made.kept else None
    return None


def _added(unit: Unit, number: float, _: bool) -> Unit:
    return Unit(unit.factor, unit.added + number)


def _subtracted(unit: Unit, number: float, first: bool) -> Unit:
    if first:
        return Unit(-unit.factor, number - unit.added)
    return Unit(unit.factor, unit.added - number)


def _multiplied(unit: Unit, number: float, _: bool) -> Unit:
    return Unit(unit.factor * number, unit.added * number)


def _divided(unit: Unit, number: float, _: bool) -> Unit | None:
    return Unit(unit.factor / number, unit.added / number) if number else None


_STEPS = {
    "add": _added,
    "subtract": _subtracted,
    "multiply": _multiplied,
    "divide": _divided,
}


def _constant(expression: Expression) -> float | None:
    """The finite number that an expression without columns gives; else None."""
    value = expression.value if isinstance(expression, Literal) else constant_value(expression)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _is_exact(expression: Call, schema: pa.Schema) -> bool:
    """Whether arithmetic with a constant rounds nothing but the last of 53 bits."""
    dtype = infer_type(expression, schema)
    if not is_decimal(dtype):
        return is_integer(dtype) or pa.types.is_float64(dtype)
    given = [infer_type(argument, schema) for argument in expression.arguments]
    scales = [one.scale if is_decimal(one) else 0 for one in given]
    if expression.function == "multiply":
        return bool(dtype.scale == sum(scales))
    return expression.function != "divide" and bool(dtype.scale == max(scales))


def overflows(call: AggregateCall, schema: pa.Schema, bounds: Mapping[str, Range]) -> bool:
    """Whether a sum of a few rows may have no place in its type, and so fail and tell of them."""
    if call.function not in ("sum", "mean"):
        return False
    found: Outcome = examine(call.arguments[0], schema, bounds)
    if is_decimal(found.dtype):
        return not examine(call, schema, bounds).safe
    if call.function == "mean" or not is_integer(found.dtype):
        return False
    known = found.bounds
    return known is None or not -_SUMMED <= known[0] <= known[1] <= _SUMMED


__all__ = ["FUNCTIONS", "INTEGERS", "OWN", "PLAIN_ALONE", "WORDS", "Unit", "overflows", "unit_of"]
