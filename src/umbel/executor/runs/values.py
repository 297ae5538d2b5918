"""Python values as text, exactly: what comes back is equal and of the same types.

Only values of Python's own types have such a form. Nothing that is read is imported or evaluated,
so that a store that somebody else can write to does no more harm than a wrong answer.
"""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any


class NoFormError(ValueError):
    """A value that has no form as text."""


_MICRO = datetime.timedelta(microseconds=1)

#: Types whose values are written as a text, with a way there and back.
_BY_TEXT: dict[type, tuple[str, Callable[[Any], str], Callable[[str], Any]]] = {
    float: ("f", repr, float),
    bytes: ("b", lambda v: base64.b64encode(v).decode(), base64.b64decode),
    Decimal: ("D", str, Decimal),
    Fraction: ("Q", str, Fraction),
    complex: ("c", repr, complex),
    datetime.date: ("d", datetime.date.isoformat, datetime.date.fromisoformat),
    datetime.timedelta: ("i", lambda v: str(v // _MICRO), lambda t: int(t) * _MICRO),
}
_CONTAINERS: dict[type, str] = {tuple: "t", list: "l", set: "s", frozenset: "z"}
_BACK: dict[str, Callable[[Any], Any]] = {tag: back for tag, _, back in _BY_TEXT.values()}
_MAKE: dict[str, type] = {tag: made for made, tag in _CONTAINERS.items()}


def value_to_text(value: Any) -> str:
    """Write a value.

    Raises:
        NoFormError: it, or one in it, is of a type without a form; names the type.

    >>> value_to_text(("a", 1.5, None))
    '["t", ["a", ["f", "1.5"], null]]'
    >>> value_to_text(object())
    Traceback (most recent call last):
    umbel.executor.runs.values.NoFormError: object
    """
    try:
        return json.dumps(_plain(value))
    except RecursionError:
        raise NoFormError("a value nested too deeply") from None


def value_from_text(text: str) -> Any:
    """Read a value.

    >>> value_from_text('["t", ["a", ["f", "nan"], null]]')
    ('a', nan, None)
    """
    return _value(json.loads(text))


def _plain(value: Any) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind in _BY_TEXT:
        tag, write, _ = _BY_TEXT[kind]
        return [tag, write(value)]
    if kind in (datetime.datetime, datetime.time) and value.tzinfo in (None, datetime.UTC):
        return ["T" if kind is datetime.datetime else "h", value.isoformat(), value.fold]
    if kind in _CONTAINERS:
        return [_CONTAINERS[kind], [_plain(item) for item in value]]
    if kind is dict:
        return ["m", [[_plain(key), _plain(item)] for key, item in value.items()]]
    raise NoFormError(kind.__qualname__)


def _value(data: Any) -> Any:
    if not isinstance(data, list):
        return data
    tag, content, *more = data
    if tag in _BACK:
        return _BACK[tag](content)
    if tag in _MAKE:
        return _MAKE[tag](map(_value, content))
    if tag == "m":
        return {_value(key): _value(item) for key, item in content}
    kind = datetime.datetime if tag == "T" else datetime.time
    return kind.fromisoformat(content).replace(fold=more[0])


__all__ = ["NoFormError", "value_from_text", "value_to_text"]
