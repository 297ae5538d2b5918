"""Loops that add as little as can be to the time of the functions that they call.

Neighbouring operators become one loop, as one would write it by hand: the maps and filters, and
what a reduction, a grouping or a `flat_map` then does with each element. The text of such a loop
is put together from the few fixed lines below; the functions are its global names.

CPython (3.11 and later) adapts the bytecode of a call to what was called there before. A loop
shared by all operators would meet another function each time and stay slow, so every operator
gets a copy of its loop with bytecode of its own.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from umbel.dataclass import dataclass
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import Operator
from umbel.platforms.python.failures import current, function_error, stopped, unfinished
from umbel.platforms.python.run import Piece

#: Calls in one loop; the compiler takes no more than twenty clauses.
LONGEST_LOOP = 8


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
    selects: bool = False


class Ending(Enum):
    """What a loop does with each element; `{item}` stands for it, the other names are the loop's.

    `out`, `kind`, `table`, `get` and `result` are arguments of the loop, `combine` is a global name.
    """

    LIST = ()
    EXTEND = (
        "if type({item}) is kind:",
        "    out += {item}",
        "else:",
        "    return {item}, {given}",
    )
    REDUCE_PAIRS = (
        "key, value = {item}",
        "if key in table:",
        "    table[key] = combine(table[key], value)",
        "else:",
        "    table[key] = value",
    )
    GROUP_PAIRS = (
        "key, value = {item}",
        "table[key].append(value)",
    )
    #: The last call gives the key of the element that it was given, `{given}`.
    REDUCE_KEYED = (
        "if {item} in table:",
        "    table[{item}] = combine(table[{item}], {given})",
        "else:",
        "    table[{item}] = {given}",
    )
    GROUP_KEYED = ("table[{item}].append({given})",)
    DISTINCT = (
        "if {item} not in table:",
        "    table[{item}] = None",
        "    out.append({item})",
    )
    FOLD = ("result = combine(result, {item})",)
    #: A list of a pair for each two with equal keys, its last clauses and what they make.
    JOIN_PAIRS = (
        "(key, (value, other))",
        "for key, value in ({item},)",
        "for other in get(key, ())",
    )

    @property
    def arguments(self) -> str:
        """What the loop takes besides the pieces, and gives back if it is called `result`."""
        match self:
            case Ending.LIST:
                return ""
            case Ending.EXTEND:
                return ", out, kind"
            case Ending.JOIN_PAIRS:
                return ", get"
            case Ending.DISTINCT:
                return ", table, out"
            case Ending.FOLD:
                return ", result"
            case _:
                return ", table"


#: What tracebacks say for a loop made here.
_FILE = "<umbel loop>"

#: Raises the error for an element with which the ending of a loop failed.
#: Takes the error, the element, and what it was given if the element is a key.
Explain = Callable[[Exception, Any, Any], None]


class Loop:
    """A loop over the elements of pieces, through calls, to an ending.

    It is called with an iterable of pieces and what the ending takes, and gives a list
    (`Ending.LIST`, `JOIN_PAIRS`), the result (`FOLD`), or None; `EXTEND` stops at the first thing
    that is not of the kind that it takes, and gives that and what the last call made it of.

    >>> Loop([], Ending.FOLD, combine=max)([[1, 5], [3]], 0)
    5
    """

    def __init__(
        self,
        work: Sequence[Calling],
        ending: Ending = Ending.LIST,
        *,
        combine: Callable[..., Any] | None = None,
        explain: Explain | None = None,
    ) -> None:
        text = _loop_text(tuple(item.selects for item in work), ending)
        names: dict[str, Any] = {f"f{index}": item.call for index, item in enumerate(work)}
        self._run: Callable[..., Any] = FunctionType(
            _copied(text.code), {**names, "combine": combine}
        )
        self._work = work
        self._text = text
        self._explain = explain

    def __call__(self, pieces: Iterable[Iterable[Any]], *state: Any) -> Any:
        """Run the loop.

        Raises:
            FunctionError: a call raised; errors of the pieces themselves pass unchanged.
        """
        try:
            return self._run(pieces, *state)
        except Exception as error:
            self._place(error)
            raise

    def _place(self, error: Exception) -> None:
        """Raise the error that names what failed, and on which value, by the loop's own frame."""
        found = _own_frame(error)
        if found is None:
            return
        line, names = found
        text = self._text
        if line in text.calls:
            index, name = text.calls[line]
            failed = self._work[index]
            raise function_error(failed.operator, failed.function, error, names[name]) from error
        if line >= text.ending and self._explain is not None:
            self._explain(error, names[text.item], names[text.given])


@dataclass(frozen=True)
class _Text:
    """A loop's code, and what its lines are.

    Attributes:
        lines: the source.
        code: of the function `loop`; not to be run itself, as its bytecode adapts.
        calls: for each line with a call which it is, and the variable that it is given.
        ending: the first line of the ending.
        item, given: the variable that the ending takes, and the one before it.
    """

    lines: tuple[str, ...]
    code: CodeType
    calls: dict[int, tuple[int, str]]
    ending: int
    item: str
    given: str


@lru_cache(maxsize=1024)
def _loop_text(selects: tuple[bool, ...], ending: Ending) -> _Text:
    r"""Write a loop over several calls.

    >>> print("\n".join(_loop_text((False, True, False), Ending.LIST).lines))
    def loop(pieces):
        return [
            f2(v1)
            for piece in pieces
            for v0 in piece
            for v1 in (f0(v0),)
            if f1(v1)
        ]
    >>> print("\n".join(_loop_text((True, False), Ending.FOLD).lines))
    def loop(pieces, result):
        for piece in pieces:
            for v0 in piece:
                if not f0(v0):
                    continue
                v2 = f1(v0)
                result = combine(result, v2)
        return result
    """
    write = _listing if ending in _LISTING else _doing
    lines, calls, start, item, given = write(selects, ending)
    # The text is made of fixed words and numbers.
    module = compile("\n".join(lines), _FILE, "exec")
    (code,) = [constant for constant in module.co_consts if isinstance(constant, CodeType)]
    return _Text(tuple(lines), code, calls, start, item, given)


#: Endings that are clauses of a list, which is faster to make so than by appending.
_LISTING = (Ending.LIST, Ending.JOIN_PAIRS)

_Written = tuple[list[str], dict[int, tuple[int, str]], int, str, str]


def _listing(selects: tuple[bool, ...], ending: Ending) -> _Written:
    head = f"def loop(pieces{ending.arguments}):"
    lines = [head, "    return [", "", "for piece in pieces", "for v0 in piece"]
    calls: dict[int, tuple[int, str]] = {}
    name = given = result = "v0"
    for index, select in enumerate(selects):
        call = f"f{index}({name})"
        if ending is Ending.LIST and index == len(selects) - 1 and not select:
            result = call
            calls[3] = (index, name)
            break
        # An assignment, to the compiler: it makes no tuple and no loop of `in (...,)`.
        lines.append(f"if {call}" if select else f"for v{index + 1} in ({call},)")
        calls[len(lines)] = (index, name)
        if not select:
            given, name = name, f"v{index + 1}"
            result = name
    start = len(lines) + 1
    if ending.value:
        result, *clauses = ending.value
        lines += [clause.format(item=name) for clause in clauses]
    lines[2] = result
    lines[2:] = [f"        {line}" for line in lines[2:]]
    lines.append("    ]")
    return lines, calls, start, name, given


def _doing(selects: tuple[bool, ...], ending: Ending) -> _Written:
    lines = [
        f"def loop(pieces{ending.arguments}):",
        "    for piece in pieces:",
        "        for v0 in piece:",
    ]
    calls: dict[int, tuple[int, str]] = {}
    name = given = "v0"
    indent = " " * 12
    for index, select in enumerate(selects):
        call = f"f{index}({name})"
        lines.append(f"{indent}if not {call}:" if select else f"{indent}v{index + 1} = {call}")
        calls[len(lines)] = (index, name)
        if select:
            lines.append(f"{indent}    continue")
        else:
            name, given = f"v{index + 1}", name
    start = len(lines) + 1
    lines += [indent + line.format(item=name, given=given) for line in ending.value]
    if ending is Ending.FOLD:
        lines.append("    return result")
    return lines, calls, start, name, given


def _copied(code: CodeType) -> CodeType:
    constants = [_copied(c) if isinstance(c, CodeType) else c for c in code.co_consts]
    return code.replace(co_consts=tuple(constants))


def _own_frame(error: Exception) -> tuple[int, dict[str, Any]] | None:
    """Find the line at which the outermost loop stood when the error came, and its variables."""
    found: tuple[int, dict[str, Any]] | None = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename == _FILE:
            found = (line, frame.f_locals)
        elif found is not None:
            break
    return found


def inline(work: Sequence[Calling]) -> bool:
    """Whether a loop of the interpreter is the fastest for some calls.

    It calls a function written in Python without a detour through C (and `str` by an instruction
    of its own); `map` and `filter` call one written in C without one through the interpreter.
    """
    if len(work) > 1:
        return True
    (only,) = work
    return isinstance(only.call, FunctionType) or (only.call is str and not only.selects)


def calling(work: Sequence[Calling]) -> Callable[[Piece], Piece]:
    """Give the step from a piece to a piece that does several calls, with their errors placed."""
    if inline(work):
        loop = Loop(work)
        return lambda piece: loop((piece,))
    (only,) = work
    operator, function, call, selects = only.operator, only.function, only.call, only.selects
    through: Callable[..., Iterable[Any]] = filter if selects else map

    def step(piece: Piece) -> Piece:
        iterator = iter(piece)
        try:
            result = list(through(call, iterator))
        except Exception as error:
            raise function_error(operator, function, error, current(iterator, piece)) from error
        if len(result) < len(piece) and (not selects or unfinished(iterator)):
            raise stopped(operator, function, current(iterator, piece))
        return result

    return step
