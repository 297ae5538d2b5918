"""Which expressions have a value for every row, and which may fail the run for some.

The rules of the optimizer go by it when they move work, and so do engines that would evaluate all
branches of a case. `docs/decisions/0008-what-fails-a-run.md` says what umbel promises; this module
says which expressions the promise is about. It is careful: what it holds to be safe is safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.casting import cast_value, integer_bounds
from umbel.plan.errors import TypeClashError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expression,
    Literal,
    WindowCall,
    walk,
)
from umbel.plan.functions import CATALOGUE, Nulls
from umbel.plan.functions.numbers import exact_type
from umbel.plan.functions.temporal import microseconds_of, months_of
from umbel.plan.types import (
    INT64,
    MAX_DECIMAL_PRECISION,
    common_type,
    is_decimal,
    is_float,
    is_integer,
    is_string,
)
from umbel.plan.typing import infer_type

#: The least and the greatest value of a column: integers, `Fraction`s for decimals, and for dates
#: and timestamps (local ones and those in UTC) microseconds since 1970.
Range = tuple[Any, Any]

#: Microseconds of a day.
DAY = 86_400_000_000


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Functions that can never fail, whatever their arguments.
TOTAL = _names(
    """
    equal not_equal less less_equal greater greater_equal between is_in is_distinct_from
    is_not_distinct_from and or not xor is_null is_not_null is_nan is_finite is_infinite coalesce
    null_if greatest least divide modulo remainder length byte_length lower upper strip strip_start
    strip_end contains starts_with ends_with like ilike regexp_matches concat substring slice left
    right split split_whitespace split_part replace replace_all position reverse is_ascii
    capitalize title concat_ws md5 sha256 year iso_year quarter month day weekday day_of_year hour
    minute second millisecond microsecond week days_in_month is_leap_year sqrt sin cos tanh cbrt
    exp ln log10 log2 log power tan asin acos atan atan2 sinh cosh degrees radians pi e sign floor
    ceil truncate bitwise_and bitwise_or bitwise_xor bitwise_not shift_right list_length list_get
    list_contains list_min list_max list_reverse list_distinct struct_field make_struct make_list
    """
)
#: Aggregates and window functions that can never fail.
_TOTAL_OVER_ROWS = _names(
    """
    min max min_by max_by count len n_unique any_value first last first_non_null last_non_null
    median any all bit_and bit_or bit_xor list var_sample std_sample var_population std_population
    row_number rank dense_rank percent_rank cume_dist lag lead
    """
)
#: Functions that give one of their arguments, or an argument's neighbour in its type.
_CHOOSING = frozenset(["coalesce", "null_if", "greatest", "least"])
_CHOOSING_ROWS = frozenset(["min", "max", "any_value", "first", "last", "lag", "lead"])
#: What some functions give at least and at most. Texts and lists have fewer than 2**31 parts.
_RANGES: dict[str, Range] = {
    **dict.fromkeys(["length", "byte_length", "position", "list_length"], (0, 2**31)),
    **dict.fromkeys(["year", "iso_year"], (-(2**31), 2**31)),
    **dict.fromkeys(
        _names("quarter month day weekday day_of_year hour minute second week days_in_month"),
        (0, 366),
    ),
    "millisecond": (0, 60_000),
    "microsecond": (0, 60_000_000),
    "sign": (-1, 1),
}
#: The moments that there are: those of the years 1 to 9999.
_YEARS: Range = (-62_135_596_800_000_000, 253_402_300_799_999_999)
#: Days that a month has at least and at most, also where its end cuts a step short.
_MONTH = (28, 31)
#: Aggregates and window functions that count rows, and more of them than any table has.
_COUNTING = frozenset(["row_number", "rank", "dense_rank", "count", "len", "n_unique"])
_COUNTED: Range = (0, 2**62)
#: Rows that a group is taken not to have, so that sums of small numbers are known to fit.
_ROWS = 2**32 - 1
#: Sums of decimals of so many digits are taken to fit 38. Products have many digits by their type,
#: and few in fact; and a sum of 38 digits is no sum that anyone asks for.
_SUMMABLE_DIGITS = 36


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of an expression's values.

    Attributes:
        dtype: their type.
        safe: it has a value, or null, for every row.
        bounds: the least and greatest value that it can have, of those that `Range` is for.
        constant: it reads no column.
    """

    dtype: pa.DataType
    safe: bool
    bounds: Range | None = None
    constant: bool = False


def cannot_fail(
    expression: Expression, schema: pa.Schema, bounds: Mapping[str, Range] | None = None
) -> bool:
    """Whether an expression has a value for every row a schema allows.

    Args:
        expression: over the columns of the schema; may be an aggregate or window call.
        schema: the columns.
        bounds: what is known for sure of columns, by name.

    >>> schema = pa.schema([("a", pa.int64()), ("b", pa.int32())])
    >>> one = Literal(1, pa.int64())
    >>> cannot_fail(Call("add", (Column("a"), one)), schema)  # may overflow
    False
    >>> cannot_fail(Call("add", (Column("b"), one)), schema)  # 64 bits have room
    True
    >>> cannot_fail(Call("add", (Column("a"), one)), schema, {"a": (0, 100)})
    True
    """
    return examine(expression, schema, bounds).safe


def examine(
    expression: Expression, schema: pa.Schema, bounds: Mapping[str, Range] | None = None
) -> Outcome:
    """Find out whether an expression may fail, and within which bounds its integers lie."""
    return _Examiner(schema, bounds or {}).outcome(expression)


def always_evaluated(expression: Expression) -> frozenset[str]:
    """Name the columns that an expression reads for every row: not those only in a case's branch.

    >>> text = Case(((Column("a"), Column("b")),), Column("c"))
    >>> sorted(always_evaluated(text))
    ['a']
    """
    match expression:
        case Column(name):
            return frozenset([name])
        case Case(branches):
            return always_evaluated(branches[0][0])
        case Call("coalesce", (first, *_)):
            return always_evaluated(first)
        case AggregateCall(_, arguments, where=where):
            return always_evaluated(where) if where is not None else _all_of(arguments)
    return _all_of(expression.children)


def _all_of(expressions: Sequence[Expression]) -> frozenset[str]:
    return frozenset().union(*map(always_evaluated, expressions))


class _Examiner:
    """Goes through an expression once, from its leaves up."""

    def __init__(self, schema: pa.Schema, bounds: Mapping[str, Range]) -> None:
        self._schema = schema
        self._bounds = bounds

    def outcome(self, node: Expression) -> Outcome:
        match node:
            case Column(name):
                dtype = infer_type(node, self._schema)
                return Outcome(dtype, True, self._bounds.get(name) or _of_type(dtype))
            case Literal(value, dtype):
                return Outcome(dtype, True, _of_value(value, dtype), constant=True)
            case Cast():
                return self._cast(node)
            case Case():
                return self._case(node)
            case Call():
                return self._call(node)
            case AggregateCall() | WindowCall():
                return self._over_rows(node)
        raise TypeError(f"not an expression: {node!r}")

    def _cast(self, cast: Cast) -> Outcome:
        inner, target = self.outcome(cast.operand), cast.dtype
        bounds = _of_type(target)
        if inner.bounds is not None and bounds is not None:
            fits = _within(inner.bounds, bounds) and _keeps_digits(inner.dtype, target)
            safe = inner.safe and (fits or not cast.strict)
            return Outcome(target, safe, inner.bounds if fits else bounds, inner.constant)
        safe = inner.safe and (not cast.strict or _widens(inner.dtype, target))
        if inner.bounds is not None and is_moment(inner.dtype) and is_moment(target):
            low, high = inner.bounds
            bounds = low // DAY * DAY, high  # a date is the start of its day
            safe = safe or (inner.safe and _within(inner.bounds, _YEARS))
        return Outcome(target, safe, bounds, inner.constant)

    def _case(self, case: Case) -> Outcome:
        outcomes = [self.outcome(child) for child in case.children]
        values = [outcomes[i] for i in range(1, 2 * len(case.branches), 2)]
        values += outcomes[2 * len(case.branches) :]
        dtype = pa.null()
        for value in values:
            dtype = common_type(dtype, value.dtype)
        safe = all(o.safe for o in outcomes) and all(_widens(o.dtype, dtype) for o in values)
        return Outcome(dtype, safe, _union([o.bounds for o in values]))

    def _call(self, call: Call) -> Outcome:
        given = [self.outcome(argument) for argument in call.arguments]
        dtype = CATALOGUE[call.function].result_type([o.dtype for o in given], call.arguments)
        limits = _of_type(dtype)
        bounds = _range_of(call, [o.bounds for o in given])
        if not all(o.safe for o in given):
            return Outcome(dtype, False, limits)
        if all(o.constant for o in given):
            return _constant(call, dtype)
        if call.function in TOTAL:
            return Outcome(dtype, True, bounds or limits)
        if call.function in ("date_add", "date_diff"):
            return _over_calendar(call, dtype, given)
        if call.function in ("round", "round_half_even"):
            return Outcome(dtype, _has_room(call, given[0].dtype), limits)
        if call.function in ("add", "subtract", "multiply", "negate", "abs"):
            if is_float(dtype):
                return Outcome(dtype, True)
        elif call.function not in ("floor_divide", "truncate_divide") or is_decimal(dtype):
            return Outcome(dtype, False, limits)
        fits = limits is not None and bounds is not None and _within(bounds, limits)
        return Outcome(dtype, fits, bounds if fits else limits)

    def _over_rows(self, call: AggregateCall | WindowCall) -> Outcome:
        outcomes = [self.outcome(child) for child in call.children]
        given = [o.dtype for o in outcomes[: len(call.arguments)]]
        dtype = CATALOGUE[call.function].result_type(given, call.arguments)
        safe = all(o.safe for o in outcomes)
        if call.function == "sum":
            bounds = _of_sum(outcomes[0].bounds, _of_type(dtype))
            fits = bounds is not None or _of_type(dtype) is None or _is_summable(outcomes[0].dtype)
            return Outcome(dtype, safe and fits, bounds or _of_type(dtype))
        if call.function == "mean":
            exact = is_decimal(outcomes[0].dtype) and not _is_summable(outcomes[0].dtype)
            return Outcome(dtype, safe and not exact)
        chosen = outcomes[0].bounds if call.function in _CHOOSING_ROWS else None
        chosen = _COUNTED if call.function in _COUNTING else chosen
        return Outcome(dtype, safe and call.function in _TOTAL_OVER_ROWS, chosen or _of_type(dtype))


def _of_sum(bounds: Range | None, limits: Range | None) -> Range | None:
    """The bounds of a sum, if they are within its type."""
    if bounds is None or limits is None:
        return None
    most = max(abs(bounds[0]), abs(bounds[1])) * _ROWS
    return (-most, most) if _within((-most, most), limits) else None


def _is_summable(dtype: pa.DataType) -> bool:
    return bool(is_decimal(dtype) and dtype.precision <= _SUMMABLE_DIGITS)


def _keeps_digits(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether a cast between exact numbers loses nothing behind the point, or may."""
    return not is_decimal(target) or is_integer(source) or source.scale <= target.scale


@lru_cache(maxsize=256)
def _of_type(dtype: pa.DataType) -> Range | None:
    if is_integer(dtype):
        return integer_bounds(dtype)
    if is_decimal(dtype):
        most = Fraction(10**dtype.precision - 1, 10**dtype.scale)
        return -most, most
    return None


def _of_value(value: Any, dtype: pa.DataType) -> Range | None:
    if value is None or not (is_integer(dtype) or is_decimal(dtype)):
        return None
    exact = Fraction(value) if isinstance(value, Decimal) else value
    return exact, exact


def _within(inner: Range, outer: Range) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _union(ranges: Sequence[Range | None]) -> Range | None:
    known = [r for r in ranges if r is not None]
    if not known or len(known) < len(ranges):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _range_of(call: Call, given: Sequence[Range | None]) -> Range | None:
    """The bounds of a function of exact numbers, if its arguments' are known."""
    if call.function in _RANGES:
        return _RANGES[call.function]
    if any(r is None for r in given) or not given:
        return None
    known = [r for r in given if r is not None]
    if call.function in _CHOOSING:
        return _union(known[:1] if call.function == "null_if" else known)
    low, high = known[0]
    greatest = max(abs(low), abs(high))
    if call.function == "negate":
        return -high, -low
    if call.function == "abs":
        return 0, greatest
    if len(known) != 2:
        return None
    other = known[1]
    match call.function:
        case "add":
            return low + other[0], high + other[1]
        case "subtract":
            return low - other[1], high - other[0]
        case "multiply":
            products = [a * b for a in (low, high) for b in other]
            return min(products), max(products)
        case "floor_divide" | "truncate_divide":
            # By zero gives null, and by anything else nothing greater than the dividend, but for
            # the sign: the least integer has no counterpart.
            return (min(low, -1), max(high, 0)) if other[0] >= 0 else (-greatest - 1, greatest)
        case "modulo" | "remainder":
            most = max(abs(other[0]), abs(other[1]))
            return -most, most
    return None


def _over_calendar(call: Call, dtype: pa.DataType, given: Sequence[Outcome]) -> Outcome:
    """Move a moment, or tell how far two are apart: neither fails within the years there are."""
    unit, (_, moment, other) = call.arguments[0], (o.bounds for o in given)
    if moment is None or other is None or not _within(moment, _YEARS):
        return Outcome(dtype, False, _of_type(dtype))
    if call.function == "date_diff":
        return Outcome(dtype, _within(other, _YEARS), _of_type(dtype))
    if not isinstance(unit, Literal) or not is_moment(given[1].dtype):
        return Outcome(dtype, False)
    months = months_of(unit.value)
    sizes = [d * DAY * months for d in _MONTH] if months else [microseconds_of(unit.value)]
    steps = [count * size for count in other for size in sizes]
    bounds = moment[0] + min(steps), moment[1] + max(steps)
    return Outcome(dtype, _within(bounds, _YEARS), bounds)


def _has_room(call: Call, dtype: pa.DataType) -> bool:
    """Whether a number of a type can be rounded: a digit more may be needed."""
    if is_decimal(dtype):
        return bool(dtype.precision < MAX_DECIMAL_PRECISION)
    digits = call.arguments[1] if len(call.arguments) > 1 else Literal(0, INT64)
    return is_float(dtype) or (isinstance(digits, Literal) and (digits.value or 0) >= 0)


def is_moment(dtype: pa.DataType) -> bool:
    """Whether bounds are kept for a type as microseconds since 1970.

    >>> is_moment(pa.date32()), is_moment(pa.timestamp("us", "Europe/Paris"))
    (True, False)
    """
    if pa.types.is_timestamp(dtype):
        return dtype.tz in (None, "UTC") and dtype.unit != "ns"
    return bool(pa.types.is_date32(dtype))


def is_constant(expression: Expression) -> bool:
    """Whether an expression reads no column, and no rows."""
    return all(isinstance(node, Call | Cast | Literal) for node in walk(expression))


def _constant(call: Call, dtype: pa.DataType) -> Outcome:
    """Evaluate what reads no column."""
    try:
        value = _value(call)
    except Exception:  # noqa: BLE001 (whatever it raises, it would raise for every row)
        return Outcome(dtype, False, _of_type(dtype))
    return Outcome(dtype, True, _of_value(value, dtype) or _of_type(dtype), constant=True)


def constant_value(expression: Expression) -> Any:
    """Give the value of an expression that reads no column; None if it does, or fails.

    >>> constant_value(Call("less", (Literal(1, pa.int64()), Literal(2, pa.int64()))))
    True
    """
    if not is_constant(expression):
        return None
    try:
        return _value(expression)
    except Exception:  # noqa: BLE001 (whatever it raises, it is no value)
        return None


def is_constant_null(expression: Expression) -> bool:
    """Whether an expression reads no column, and is null.

    >>> is_constant_null(Call("abs", (Literal(None, pa.int64()),)))
    True
    """
    if not is_constant(expression):
        return False
    try:
        return _value(expression) is None
    except Exception:  # noqa: BLE001 (whatever it raises, it is not null)
        return False


def _value(node: Expression) -> Any:
    match node:
        case Literal(value):
            return value
        case Cast(operand, dtype, strict):
            value = _value(operand)
            source = infer_type(operand, pa.schema([]))
            return None if value is None else cast_value(value, source, dtype, strict=strict)
        case Call(function, arguments):
            row = CATALOGUE[function]
            values = [_value(argument) for argument in arguments]
            if row.nulls not in (Nulls.CALLED, Nulls.NEVER) and None in values:
                return None
            empty = pa.schema([])
            typed = {"dtype": infer_type(node, empty)} if row.typed else {}
            return row.reference(*values, **typed)
    raise TypeError(f"not a constant: {node!r}")


def _widens(source: pa.DataType, target: pa.DataType) -> bool:
    if source == target or pa.types.is_null(source):
        return True
    if is_integer(source) and is_float(target):
        return True
    if is_string(target):
        plain = (is_integer, is_float, is_decimal, pa.types.is_boolean, pa.types.is_date)
        return any(test(source) for test in plain)
    if is_decimal(target):
        if not (is_integer(source) or is_decimal(source)):
            return False
        have = exact_type(source)
        return bool(
            have.scale <= target.scale
            and have.precision - have.scale <= target.precision - target.scale
        )
    try:
        return bool(common_type(source, target) == target)
    except TypeClashError:
        return False
