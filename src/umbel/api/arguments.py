"""Arguments of public functions against their annotations, before anything is done with them.

Python itself would find a wrong one somewhere inside, or not before the plan runs.
"""

from __future__ import annotations

import inspect
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, Union, get_args, get_origin

from umbel.plan.errors import TypeClashError

#: Whether a value is of an annotation's type.
Check = Callable[[Any], bool]

#: Elements of a sequence or mapping that are looked at.
_FIRST = 1000


class Parameters:
    """Which arguments a function takes, as far as its annotations say so in terms of Python.

    Classes that are not umbel's, protocols, and names that only type checkers know are not looked
    at: what is done with such an argument says better what is wrong.

    >>> def head(n: int, by: str | None = None) -> None: ...
    >>> Parameters(head).conform((3,), {})
    ((3,), {})
    >>> Parameters(head).conform((), {"n": "three"})
    Traceback (most recent call last):
    umbel.plan.errors.TypeClashError: head() takes int as n, not 'three' (str)
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = function.__name__
        self._checks: dict[str, tuple[Check, str]] = {}
        self._positions: list[str] = []
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            if parameter.kind is not parameter.KEYWORD_ONLY:
                self._positions.append(name)
            annotation = _evaluated(parameter.annotation, function)
            check = _check(annotation)
            if check is not None:
                self._checks[name] = (check, _in_words(annotation))

    def conform(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, scalars of NumPy as Python's own.

        Raises:
            TypeClashError: one is of another type; names it, its value and what is taken.
        """
        for i, (name, value) in enumerate(zip(self._positions, args, strict=False)):
            known = self._checks.get(name)
            if known is not None and not known[0](value):
                args = (*args[:i], self._plain(name, value), *args[i + 1 :])
        for name, value in kwargs.items():
            known = self._checks.get(name)
            if known is not None and not known[0](value):
                kwargs = {**kwargs, name: self._plain(name, value)}
        return args, kwargs

    def _plain(self, name: str, value: Any) -> Any:
        check, wanted = self._checks[name]
        if hasattr(value, "dtype") and not getattr(value, "shape", (0,)):
            plain = value.item()  # a scalar of NumPy
            if check(plain):
                return plain
        text = repr(value)
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        raise TypeClashError(
            f"{self._name}() takes {wanted} as {name}, not {shown} ({type(value).__name__})"
        )


def _evaluated(annotation: Any, function: Callable[..., Any]) -> Any:
    """What an annotation stands for; Any where only a type checker knows."""
    if not isinstance(annotation, str):
        return annotation
    try:
        # Not of a user: the annotations are this package's own source.
        return eval(annotation, vars(sys.modules[function.__module__]))  # noqa: S307
    except (NameError, TypeError):
        return Any


def _in_words(annotation: Any) -> str:
    """What an annotation takes, for people: without the aliases of the source."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (None, type(None)):
        return "None"
    if origin in (Union, types.UnionType):
        return " or ".join(map(_in_words, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin is Callable or annotation is Callable:
        return "a function"
    if origin is os.PathLike:
        return "a path"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a sequence of {_in_words(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping of {_in_words(arguments[0])} to {_in_words(arguments[1])}"
    return getattr(annotation, "__name__", str(annotation))


def _check(annotation: Any) -> Check | None:
    """A test of values; None for what is not tested."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if origin in (Union, types.UnionType):
        checks = [_check(argument) for argument in arguments]
        tested = [check for check in checks if check is not None]
        if len(tested) < len(checks):
            return None
        return lambda value: any(check(value) for check in tested)
    if origin is Literal:
        kinds = tuple({type(argument) for argument in arguments})
        return lambda value: isinstance(value, kinds)
    if origin is Callable or annotation is Callable:
        return callable
    if origin is os.PathLike:
        return lambda value: isinstance(value, os.PathLike)
    if isinstance(annotation, type) and _is_own(annotation):
        return lambda value: isinstance(value, annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(*(_check(argument) for argument in arguments))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _sequence(_check(arguments[0]))
    return None


def _is_own(annotation: type) -> bool:
    return annotation.__module__.startswith("umbel.") and Protocol not in annotation.__bases__


def _mapping(key: Check | None, item: Check | None) -> Check:
    def check(value: Any) -> bool:
        if not isinstance(value, Mapping):
            return False
        pairs = list(value.items())[:_FIRST]
        return all(
            (key is None or key(name)) and (item is None or item(found)) for name, found in pairs
        )

    return check


def _sequence(item: Check | None) -> Check:
    def check(value: Any) -> bool:
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            return False
        return item is None or all(item(found) for found in value[:_FIRST])

    return check


_SCALARS: dict[Any, Check] = {
    None: lambda value: value is None,
    type(None): lambda value: value is None,
    bool: lambda value: isinstance(value, bool),
    int: lambda value: isinstance(value, int) and not isinstance(value, bool),
    float: lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    str: lambda value: isinstance(value, str),
    bytes: lambda value: isinstance(value, bytes),
}
