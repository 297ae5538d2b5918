"""Loops over a piece that add as little as can be to the time of the function that they call.

CPython (3.11 and later) adapts the bytecode of a call to what was called there before. A loop
shared by all operators would meet another function each time and stay slow, so every operator
gets a copy of its loop with bytecode of its own. Neighbouring maps and filters become one loop,
as one would write it by hand.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, TypeVar, cast

from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import Operator
from umbel.platforms.python.failures import current, function_error, stopped, unfinished
from umbel.platforms.python.run import Piece

F = TypeVar("F", bound=Callable[..., Any])


def own_copy(loop: F) -> F:
    """Copy a function, with the same closure but bytecode that adapts by itself.

    >>> own_copy(len) is len  # not written in Python: nothing to copy
    True
    """
    if not isinstance(loop, FunctionType):
        return loop
    copy = FunctionType(
        _copied(loop.__code__),
        loop.__globals__,
        loop.__name__,
        loop.__defaults__,
        loop.__closure__,
    )
    return cast("F", copy)


def _copied(code: CodeType) -> CodeType:
    constants = [_copied(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.replace(co_consts=tuple(constants))


def mapping(call: Callable[..., Any]) -> Callable[[Iterator[Any]], Piece]:
    """Give the fastest loop that lists what a function gives for the items of an iterator.

    The interpreter calls a function written in Python without a detour through C (and `str` by
    an instruction of its own), and `map` calls one written in C without one through the
    interpreter.

    >>> mapping(len)(iter(["a", ""]))
    [1, 0]
    """
    if isinstance(call, FunctionType) or call is str:
        return own_copy(lambda items: [call(item) for item in items])
    return lambda items: list(map(call, items))


def selecting(call: Callable[..., Any]) -> Callable[[Iterator[Any]], Piece]:
    """Give the fastest loop that lists the items for which a function is true; see `mapping`.

    >>> selecting(len)(iter(["a", ""]))
    ['a']
    """
    if isinstance(call, FunctionType):
        return own_copy(lambda items: [item for item in items if call(item)])
    return lambda items: list(filter(call, items))


@dataclass(frozen=True, eq=False)
class Calling:
    """A call of a function for every element.

    Attributes:
        operator: whose work this is.
        function: as the plan names it.
        call: the function, with its side inputs.
        selects: keep the elements for which it is true, rather than what it gives.
    """

    operator: Operator
    function: PythonFunction
    call: Callable[..., Any]
    selects: bool


def calling(work: Sequence[Calling]) -> Callable[[Piece], Piece]:
    """Give the step from a piece to a piece that does several calls, with their errors placed."""
    if len(work) > 1:
        return _fused(work)
    (only,) = work
    loop = (selecting if only.selects else mapping)(only.call)
    operator, function, selects = only.operator, only.function, only.selects

    def step(piece: Piece) -> Piece:
        iterator = iter(piece)
        try:
            result = loop(iterator)
        except Exception as error:
            raise function_error(operator, function, error, current(iterator, piece)) from error
        if len(result) < len(piece) and (not selects or unfinished(iterator)):
            raise stopped(operator, function, current(iterator, piece))
        return result

    return step


#: What tracebacks say for a loop made here.
_FILE = "<umbel loop>"


def _fused(work: Sequence[Calling]) -> Callable[[Piece], Piece]:
    lines, places = _loop_source([item.selects for item in work])
    namespace: dict[str, Any] = {}
    # The text is made of fixed words and numbers; the functions come as arguments.
    exec(compile("\n".join(lines), _FILE, "exec"), namespace)  # noqa: S102
    loop = namespace["make"](*[item.call for item in work])

    def step(piece: Piece) -> Piece:
        iterator = iter(piece)
        try:
            return cast("Piece", loop(iterator))
        except Exception as error:
            index, value = _failed(error, places, work, current(iterator, piece))
            failed = work[index]
            raise function_error(failed.operator, failed.function, error, value) from error

    return step


def _loop_source(selects: Sequence[bool]) -> tuple[list[str], dict[int, tuple[int, str]]]:
    r"""Write a loop over several calls; say for its lines which call on which variable they are.

    >>> lines, _ = _loop_source([False, True, False])
    >>> print("\n".join(lines))
    def make(f0, f1, f2):
        return lambda items: [
            f2(v1)
            for v0 in items
            for v1 in (f0(v0),)
            if f1(v1)
        ]
    """
    clauses = ["for v0 in items"]
    calls: dict[int, tuple[int, str]] = {}
    name = "v0"
    last = len(selects) - 1
    result = ""
    for index, select in enumerate(selects):
        if select:
            clauses.append(f"if f{index}({name})")
        elif index == last:
            result = f"f{index}({name})"
            calls[0] = (index, name)
            continue
        else:
            # An assignment, to the compiler: it makes no tuple and no loop of this.
            clauses.append(f"for v{index + 1} in (f{index}({name}),)")
        calls[len(clauses)] = (index, name)
        if not select:
            name = f"v{index + 1}"
    parameters = ", ".join(f"f{index}" for index in range(len(selects)))
    body = [f"        {text}" for text in (result or name, *clauses)]
    lines = [f"def make({parameters}):", "    return lambda items: [", *body, "    ]"]
    return lines, {line + 3: place for line, place in calls.items()}


def _failed(
    error: Exception,
    places: dict[int, tuple[int, str]],
    work: Sequence[Calling],
    element: Any,
) -> tuple[int, Any]:
    """Find which call of a loop raised, and on which value, from the loop's own frame."""
    found: tuple[int, dict[str, Any]] | None = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == _FILE:
            found = (line, frame.f_locals)
        elif found is not None:
            break
    if found is None or found[0] not in places:
        return 0, element
    index, name = places[found[0]]
    return index, found[1].get(name, element)
