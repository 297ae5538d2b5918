"""Which functions may be called with symbols: those whose code can do nothing but compute.

A function that prints, counts its calls, draws random numbers or reads what may change between
planning and running would do so while it is traced, and its trace would be wrong. So the byte code
may hold only instructions that compute on the stack, and every name it loads must be a constant,
a known builtin, or another such function.
"""

from __future__ import annotations

import builtins
import dis
import types
from collections.abc import Callable
from functools import cache
from typing import Any

from umbel.optimizer.lifting.symbols import BUILTINS, METHODS, NotLiftable

#: Instructions that only move and combine values. Version specific names do no harm: a name that
#: is not here makes a function stay as it is.
_COMPUTING = frozenset(
    [
        "RESUME",
        "NOP",
        "CACHE",
        "PUSH_NULL",
        "POP_TOP",
        "COPY",
        "SWAP",
        "COPY_FREE_VARS",
        "EXTENDED_ARG",
        "PRECALL",
        "KW_NAMES",
        "LOAD_FAST",
        "LOAD_FAST_CHECK",
        "LOAD_FAST_LOAD_FAST",
        "STORE_FAST",
        "STORE_FAST_LOAD_FAST",
        "STORE_FAST_STORE_FAST",
        "LOAD_CONST",
        "LOAD_SMALL_INT",
        "LOAD_FAST_BORROW",
        "LOAD_FAST_BORROW_LOAD_FAST_BORROW",
        "LOAD_GLOBAL",
        "LOAD_DEREF",
        "LOAD_ATTR",
        "LOAD_METHOD",
        "BINARY_OP",
        "COMPARE_OP",
        "CONTAINS_OP",
        "UNARY_NOT",
        "UNARY_NEGATIVE",
        "UNARY_POSITIVE",
        "UNARY_INVERT",
        "BINARY_SUBSCR",
        "BINARY_SLICE",
        "BUILD_TUPLE",
        "BUILD_SLICE",
        "UNPACK_SEQUENCE",
        "TO_BOOL",
        "NOT_TAKEN",
        "CALL",
        "CALL_KW",
        "RETURN_VALUE",
        "RETURN_CONST",
        "POP_JUMP_IF_TRUE",
        "POP_JUMP_IF_FALSE",
        "POP_JUMP_FORWARD_IF_TRUE",
        "POP_JUMP_FORWARD_IF_FALSE",
        "JUMP_IF_TRUE_OR_POP",
        "JUMP_IF_FALSE_OR_POP",
        "JUMP_FORWARD",
    ]
)
_CONSTANTS = (int, float, str, bool, type(None))


def prepare(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a form of a function that can be called with symbols.

    Raises:
        NotLiftable: the function may do more than compute, or calls what is not known.

    >>> prepare(lambda x: x + 1)(1)
    2
    >>> prepare(lambda x: print(x))
    Traceback (most recent call last):
    umbel.optimizer.lifting.symbols.NotLiftable: it uses print
    """
    return _prepare(function, ())


def _prepare(function: Any, around: tuple[Any, ...]) -> Callable[..., Any]:
    known = _known(function)
    if known is not None:
        return known
    if not isinstance(function, types.FunctionType):
        raise NotLiftable(f"{function!r} is not a Python function")
    if function in around:
        raise NotLiftable("it is recursive")
    code = function.__code__
    flags = code.co_flags & (0x20 | 0x80 | 0x100 | 0x200 | 0x04 | 0x08)  # generators, *args …
    if flags or code.co_kwonlyargcount:
        raise NotLiftable("it is a generator, or takes variable arguments")
    _check_code(code)
    around = (*around, function)
    names: dict[str, Any] = {"__builtins__": {}}
    for name in _global_names(code):
        if name in function.__globals__:
            value = function.__globals__[name]
        elif hasattr(builtins, name):
            value = getattr(builtins, name)
        else:
            raise NotLiftable(f"it uses {name}, which is not defined")
        names[name] = _value(value, name, around)
    cells = []
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:
            raise NotLiftable(f"it uses {name}, which is not set yet") from None
        cells.append(types.CellType(_value(content, name, around)))
    defaults = tuple(_value(d, "a default", around) for d in function.__defaults__ or ())
    return types.FunctionType(
        code, names, function.__name__, defaults or None, tuple(cells) or None
    )


def _known(function: Any) -> Callable[..., Any] | None:
    """The symbolic form of a builtin or of a method such as `str.lower`."""
    try:
        if function in BUILTINS:
            return BUILTINS[function]
    except TypeError:  # unhashable
        return None
    if getattr(function, "__objclass__", None) is str:
        name = str(getattr(function, "__name__", ""))
        if name in METHODS and getattr(str, name) is function:

            def method(value: Any, *arguments: Any) -> Any:
                return getattr(value, name)(*arguments)

            return method
    return None


def _value(value: Any, name: str, around: tuple[Any, ...]) -> Any:
    if type(value) in _CONSTANTS:
        return value
    if type(value) is tuple:
        return tuple(_value(item, name, around) for item in value)
    if isinstance(value, types.FunctionType) or _known(value) is not None:
        return _prepare(value, around)
    raise NotLiftable(f"it uses {name}")


def _check_code(code: types.CodeType) -> None:
    for instruction in dis.get_instructions(code):
        if instruction.opname not in _COMPUTING:
            raise NotLiftable(f"it does more than compute ({instruction.opname})")
        if instruction.opname in ("POP_JUMP_BACKWARD_IF_TRUE", "JUMP_BACKWARD"):
            raise NotLiftable("it loops")


@cache
def _global_names(code: types.CodeType) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL")
    )
