"""Ties what the user wrote to what went wrong: every public method knows its caller's line."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import ParamSpec, TypeVar

from umbel.api.arguments import Parameters
from umbel.plan.errors import PlacementError, PlanError, SourceError, UmbelError
from umbel.plan.origin import Origin

P = ParamSpec("P")
R = TypeVar("R")

_NOT_OPERATORS = frozenset({"__init__", "__repr__", "__post_init__", "__setattr__", "__delattr__"})
_PACKAGE = str(Path(__file__).resolve().parents[1])


#: What stands for the user's line where there is no script; empty where there is one.
_written: ContextVar[tuple[Origin | None, ...]] = ContextVar("written", default=())


@contextlib.contextmanager
def written_at(origin: Origin | None) -> Iterator[None]:
    """Take a line, or none, for the user's: what is called here is not called by a script.

    >>> with written_at(Origin("query.sql", 1)):
    ...     print(here())
    query.sql:1
    """
    token = _written.set((origin,))
    try:
        yield
    finally:
        _written.reset(token)


def here() -> Origin | None:
    """Find the user's line: the innermost frame outside umbel, Narwhals and context managers.

    >>> here().line > 0
    True
    """
    for origin in _written.get():
        return origin
    hidden = [_PACKAGE, contextlib.__file__]
    narwhals = sys.modules.get("narwhals")
    if narwhals is not None and narwhals.__file__:
        hidden.append(str(Path(narwhals.__file__).parent))
    inside = tuple(hidden)
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(inside):
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return Origin(frame.f_code.co_filename, frame.f_lineno)


def located(function: Callable[P, R]) -> Callable[P, R]:
    """Make a public function whose errors of planning name the line that called it, once."""
    parameters: Parameters | None = None

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        nonlocal parameters
        if parameters is None:  # most functions are never called
            parameters = Parameters(function)
        try:
            conformed, named = parameters.conform(args, kwargs)
            return function(*conformed, **named)
        except (PlanError, PlacementError, SourceError) as error:
            point(error, here())
            raise

    return call


def located_methods(cls: type[R]) -> type[R]:
    """Make the public methods and operators of a class name their caller's line in errors."""
    seen: set[str] = set()
    for owner in cls.__mro__:
        if not owner.__module__.startswith("umbel.api"):
            continue
        for name, member in list(vars(owner).items()):
            operator = name.startswith("__") and name not in _NOT_OPERATORS
            if name in seen or not (operator or not name.startswith("_")):
                continue
            seen.add(name)
            if inspect.isfunction(member):
                setattr(cls, name, located(member))
    return cls


def point(error: UmbelError, origin: Origin | None) -> None:
    """Add the user's line to an error's text, unless it names one already.

    >>> error = PlanError("no such thing")
    >>> point(error, Origin("script.py", 7))
    >>> print(error)
    no such thing
      at script.py:7
    """
    if origin is None or "origin" in vars(error):
        return
    error.__dict__["origin"] = origin
    error.args = (f"{error}\n  at {origin}", *error.args[1:])
