"""Runs a function on symbols, once per path through its branches, and joins the paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.optimizer.lifting import symbols
from umbel.optimizer.lifting.purity import prepare
from umbel.optimizer.lifting.symbols import NotLiftable, Symbol, lift_value
from umbel.plan.expressions import Call, Case, Expression, Literal, depth
from umbel.plan.limits import MAX_EXPRESSION_DEPTH
from umbel.plan.types import BOOL

#: A function with more paths through its branches stays a Python function.
MOST_PATHS = 16

#: Lifting puts some more around what a function builds: guards, the items of a tuple.
_DEEPEST = MAX_EXPRESSION_DEPTH - 16

#: A traced result: a symbol, or a tuple of such, as deep as the function built it.
Result = Any


@dataclass(frozen=True)
class Traced:
    """What a function gives for symbolic arguments.

    Attributes:
        result: a `Symbol`, or nested tuples of symbols.
    """

    result: Result

    @property
    def symbol(self) -> Symbol:
        """The result, if it is a single value."""
        if isinstance(self.result, Symbol):
            return self.result
        raise NotLiftable("it gives a tuple")


def trace(function: Callable[..., Any], *arguments: Any) -> Traced:
    """Call a function with symbols (or tuples of symbols) and give what it builds.

    Raises:
        NotLiftable: some step has no exactly equal expression; says which.

    >>> from umbel.plan.expressions import Column
    >>> from umbel.plan.types import INT64
    >>> str(trace(lambda x: x + 1 if x > 0 else x, Symbol(Column("x"), INT64)).symbol.expression)
    'case when greater(x, 0) then add(x, 1) else x end'
    """
    prepared = prepare(function)
    return Traced(_explore(prepared, arguments, (), [0]))


def _explore(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    script: tuple[bool, ...],
    count: list[int],
) -> Result:
    """Run along the decisions in `script`; at the first open one, explore both ways."""
    asked: list[Expression] = []

    def decide(condition: Expression) -> bool:
        _check_depth(condition)
        position = len(asked)
        asked.append(condition)
        if position < len(script):
            return script[position]
        raise symbols.Decide

    count[0] += 1
    if count[0] > 2 * MOST_PATHS:
        raise NotLiftable(f"it has more than {MOST_PATHS} paths")
    symbols.decide.append(decide)
    try:
        return _normal(function(*arguments))
    except symbols.Decide:
        pass
    except NotLiftable:
        raise
    except Exception as error:  # noqa: BLE001 - what it does with symbols may fail in any way
        raise NotLiftable(f"tracing it raised {type(error).__name__}: {error}") from None
    finally:
        symbols.decide.pop()
    condition = asked[-1]
    yes = _explore(function, arguments, (*script, True), count)
    no = _explore(function, arguments, (*script, False), count)
    return _join(condition, yes, no)


def _normal(value: Any) -> Result:
    if type(value) is tuple or (isinstance(value, tuple) and hasattr(value, "_fields")):
        if hasattr(value, "_fields"):
            raise NotLiftable("it gives a named tuple")
        if not value:
            raise NotLiftable("it gives an empty tuple")
        return tuple(_normal(item) for item in value)
    symbol = lift_value(value)
    _check_depth(symbol.expression)
    return symbol


def _check_depth(expression: Expression) -> None:
    if depth(expression) > _DEEPEST:
        raise NotLiftable("its expression is nested too deep")


def _join(condition: Expression, yes: Result, no: Result) -> Result:
    if isinstance(yes, tuple) and isinstance(no, tuple) and len(yes) == len(no):
        return tuple(_join(condition, a, b) for a, b in zip(yes, no, strict=True))
    if not (isinstance(yes, Symbol) and isinstance(no, Symbol)):
        raise NotLiftable("its branches give values of different shapes")
    if _kind(yes.dtype) != _kind(no.dtype):
        raise NotLiftable(f"its branches give {yes.dtype} and {no.dtype}")
    if yes.expression == no.expression:
        return yes
    if yes.dtype == BOOL and not yes.nullable and not no.nullable:
        if (yes.known, no.known) in ((True, False), (False, True)):
            return Symbol(condition if yes.known else Call("not", (condition,)), BOOL)
        # `a and b` gives a itself where a is false; `a or b` where it is true.
        if no.expression in (condition, Literal(False, BOOL)):
            return Symbol(Call("and", (condition, yes.expression)), BOOL)
        if yes.expression in (condition, Literal(True, BOOL)):
            return Symbol(Call("or", (condition, no.expression)), BOOL)
    dtype = yes.dtype if yes.dtype == no.dtype else pa.int64()
    branches = ((condition, yes.expression),)
    return Symbol(Case(branches, no.expression), dtype, nullable=yes.nullable or no.nullable)


def _kind(dtype: pa.DataType) -> str:
    return "integer" if pa.types.is_integer(dtype) else str(dtype)
