"""From Python values to the columns of a relation, each value held against its column's type.

Nothing is guessed: text is not parsed, floats are not cut to integers, and what would lose
digits fails. A number that its column holds exactly may change its type (1 to 1.0).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import count
from typing import Any

import pyarrow as pa

from umbel.plan.casting import integer_bounds
from umbel.plan.errors import EvaluationError
from umbel.plan.operators import Element, ToFrame
from umbel.plan.types import is_decimal, is_float, is_integer, is_list, is_string, type_name
from umbel.platforms.python.elements import is_tuple_struct
from umbel.platforms.python.failures import shorten, where
from umbel.platforms.python.run import Piece, Run
from umbel.platforms.python.stream import Stream

#: Gives the value that a column holds for a value that is not None.
Check = Callable[[Any], Any]


class MisfitError(Exception):
    """A value that a type cannot hold; the message says why, if the types alone do not."""


def build_to_frame(operator: ToFrame, run: Run, inputs: list[Stream]) -> Stream:
    """Rows of exactly the given columns."""
    framer = _Framer(operator)
    return inputs[0].elements().through(operator, framer.step, as_rows=True)


class _Framer:
    """Turns elements into rows, and counts them for its messages."""

    def __init__(self, operator: ToFrame) -> None:
        self._operator = operator
        self._names = tuple(operator.columns.names)
        self._fields = list(operator.columns)
        self._checks = [checker(field.type) for field in self._fields]
        self._done = 0
        source = operator.input
        self._record_names = (
            tuple(source.schema.names) if source.element is Element.RECORD else None
        )
        self._bare = source.element is Element.VALUE

    def step(self, piece: Piece) -> Piece:
        """Turn a piece of elements into rows."""
        rows = list(map(self._items, piece, count(self._done + 1)))
        columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True))
        made = [self._column(values, index) for index, values in enumerate(columns)]
        self._done += len(piece)
        return list(zip(*made, strict=True)) if made else rows

    def _items(self, element: Any, number: int) -> Sequence[Any]:
        """Split an element into one item per column."""
        names = self._names
        if self._record_names is not None and isinstance(element, tuple):
            return self._by_name(dict(zip(self._record_names, element, strict=True)), number)
        if self._bare:
            return self._single(element, number)
        if isinstance(element, tuple):
            fields = getattr(element, "_fields", None)
            if fields is not None and fields != names:
                return self._by_name(dict(zip(fields, element, strict=True)), number)
            if len(element) == len(names):
                return element
            if len(names) == 1 and pa.types.is_nested(self._fields[0].type):
                return (element,)
            raise self._error(
                number,
                f"a tuple of {len(element)} items does not fit {len(names)} columns "
                f"({', '.join(names)}): {shorten(element)}",
            )
        if isinstance(element, Mapping):
            whole = len(names) == 1 and pa.types.is_struct(self._fields[0].type)
            if not whole or set(element) == set(names):
                return self._by_name(element, number)
        return self._single(element, number)

    def _single(self, element: Any, number: int) -> Sequence[Any]:
        if len(self._names) == 1:
            return (element,)
        raise self._error(
            number,
            f"{type(element).__name__} {shorten(element)} does not fit {len(self._names)} columns",
            hint=f"make a tuple, or a dictionary with the keys {', '.join(self._names)}",
        )

    def _by_name(self, element: Mapping[Any, Any], number: int) -> Sequence[Any]:
        missing = [name for name in self._names if name not in element]
        extra = [name for name in element if name not in self._names]
        if missing or extra:
            what = f"lacks column {missing[0]!r}" if missing else f"has no column for {extra[0]!r}"
            raise self._error(number, f"{shorten(element)} {what}")
        return [element[name] for name in self._names]

    def _column(self, values: Sequence[Any], index: int) -> Sequence[Any]:
        check, field = self._checks[index], self._fields[index]
        if _all_fit(values, field.type):
            return values
        made: list[Any] = []
        for number, value in enumerate(values, self._done + 1):
            if value is None:
                if not field.nullable:
                    raise self._misfit(number, field, value, "the column is not nullable")
                made.append(None)
                continue
            try:
                made.append(check(_plain(value)))
            except MisfitError as error:
                raise self._misfit(number, field, value, str(error)) from error
        return made

    def _misfit(self, number: int, field: pa.Field, value: Any, why: str) -> EvaluationError:
        return self._error(
            number,
            f"column {field.name!r} wants {type_name(field.type)}, but holds "
            f"{type(value).__name__} {shorten(value)}{': ' + why if why else ''}",
        )

    def _error(self, number: int, message: str, hint: str = "") -> EvaluationError:
        return EvaluationError(f"{where(self._operator)}: row {number}: {message}", hint=hint)


#: Types of which every value of one Python type is a value.
_PLAIN: dict[pa.DataType, type] = {
    pa.float64(): float,
    pa.bool_(): bool,
    pa.binary(): bytes,
    pa.date32(): datetime.date,
}


def _all_fit(values: Sequence[Any], dtype: pa.DataType) -> bool:
    """Find out for the common types, without a loop of our own, whether all values fit as is."""
    types = set(map(type, values))
    if len(types) != 1:
        return False
    (only,) = types
    if only is int and is_integer(dtype):
        least, most = integer_bounds(dtype)
        return bool(least <= min(values) and max(values) <= most)
    if only is str and is_string(dtype):
        return all(map(str.isascii, values))
    return _PLAIN.get(dtype) is only


def _plain(value: Any) -> Any:
    """Unwrap a NumPy scalar, without importing NumPy."""
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        return value.item()
    return value


def checker(dtype: pa.DataType) -> Check:
    """Give the function that holds a value against a type; it raises `MisfitError`.

    >>> checker(pa.float64())(1)
    1.0
    >>> checker(pa.int8())(300)
    Traceback (most recent call last):
    umbel.platforms.python.frames.MisfitError: out of range
    """
    if is_integer(dtype):
        return _integer(dtype)
    if is_float(dtype):
        return _float32 if dtype == pa.float32() else _float
    if is_decimal(dtype):
        return _decimal(dtype)
    if is_string(dtype):
        return _string
    if is_list(dtype):
        return _list(checker(dtype.value_type), dtype.value_field)
    if pa.types.is_struct(dtype):
        return _struct(dtype)
    if pa.types.is_timestamp(dtype):
        return _timestamp(dtype)
    if pa.types.is_duration(dtype):
        return _duration(dtype)
    if pa.types.is_null(dtype):
        return _nothing
    simple = {pa.bool_(): bool, pa.binary(): bytes, pa.date32(): datetime.date}
    wanted = simple.get(dtype, datetime.time)
    return lambda value: _exactly(value, wanted)


def _exactly(value: Any, wanted: type) -> Any:
    # A datetime is a date to isinstance, and a bool an int; neither is meant.
    if type(value) is wanted or (isinstance(value, wanted) and wanted is bytes):
        return value
    raise MisfitError


def _nothing(value: Any) -> Any:
    raise MisfitError


def _integer(dtype: pa.DataType) -> Check:
    least, most = integer_bounds(dtype)

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise MisfitError
        if not least <= value <= most:
            raise MisfitError("out of range")
        return int(value)

    return check


def _float(value: Any) -> float:
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            converted = float(value)
        except OverflowError:
            raise MisfitError("out of range") from None
        if converted == value:
            return converted
        raise MisfitError("a float64 has too few digits for it")
    raise MisfitError


def _float32(value: Any) -> float:
    converted = _float(value)
    return float(pa.scalar(converted, pa.float32()).as_py())


def _decimal(dtype: pa.DataType) -> Check:
    precision, scale = dtype.precision, dtype.scale

    def check(value: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, Decimal | int):
            raise MisfitError
        number = Decimal(value)
        if not number.is_finite():
            raise MisfitError("a decimal is finite")
        _, digits, exponent = number.as_tuple()
        if not isinstance(exponent, int):
            raise MisfitError("a decimal is finite")
        unscaled = int("".join(map(str, digits)) or "0")
        shift = exponent + scale
        if unscaled and abs(shift) > 400:
            raise MisfitError("too many digits")
        exact, rest = (unscaled * 10**shift, 0) if shift >= 0 else divmod(unscaled, 10**-shift)
        if rest:
            raise MisfitError(f"more than {scale} digits after the point")
        if exact >= 10**precision:
            raise MisfitError(f"more than {precision - scale} digits before the point")
        # Built from its digits: arithmetic would round to the context's precision.
        return Decimal((number.is_signed(), tuple(map(int, str(exact))), -scale))

    return check


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise MisfitError
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MisfitError("lone surrogates are not Unicode text") from None
    return str(value)


_UNIT_MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}


def _timestamp(dtype: pa.DataType) -> Check:
    aware = dtype.tz is not None
    unit = _UNIT_MICROSECONDS[dtype.unit]

    def check(value: Any) -> Any:
        if not isinstance(value, datetime.datetime):
            raise MisfitError
        if (value.tzinfo is not None) != aware:
            raise MisfitError("it has no time zone" if aware else "it has a time zone")
        if value.microsecond % unit:
            raise MisfitError(f"finer than the column's unit {dtype.unit}")
        return value

    return check


def _duration(dtype: pa.DataType) -> Check:
    unit = datetime.timedelta(microseconds=_UNIT_MICROSECONDS[dtype.unit])

    def check(value: Any) -> Any:
        if not isinstance(value, datetime.timedelta):
            raise MisfitError
        if value % unit:
            raise MisfitError(f"finer than the column's unit {dtype.unit}")
        return value

    return check


def _list(item: Check, field: pa.Field) -> Check:
    def check(value: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise MisfitError
        return [_inner(one, item, field, f"item {index}") for index, one in enumerate(value)]

    return check


def _struct(dtype: pa.DataType) -> Check:
    fields = [(field, checker(field.type)) for field in dtype]
    names = [field.name for field, _ in fields]
    positional = is_tuple_struct(dtype)

    def check(value: Any) -> dict[str, Any]:
        if isinstance(value, tuple):
            own = names if positional else list(getattr(value, "_fields", names))
            if len(value) != len(own):
                raise MisfitError(f"it has {len(value)} items, not {len(own)}")
            value = dict(zip(own, value, strict=True))
        if not isinstance(value, Mapping):
            raise MisfitError
        if set(value) != set(names):
            raise MisfitError(f"its fields are not {', '.join(names)}")
        return {
            field.name: _inner(value[field.name], inner, field, f"field {field.name!r}")
            for field, inner in fields
        }

    return check


def _inner(value: Any, check: Check, field: pa.Field, place: str) -> Any:
    if value is None:
        if field.nullable:
            return None
        raise MisfitError(f"{place} is not nullable")
    try:
        return check(_plain(value))
    except MisfitError as error:
        why = str(error) or f"it is {type(value).__name__}, not {type_name(field.type)}"
        raise MisfitError(f"{place}: {why}") from error
