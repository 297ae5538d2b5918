"""What one row of the function catalogue says, and the table that holds the rows."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError, TypeClashError, UnknownNameError
from umbel.plan.expressions import Expression, Literal
from umbel.plan.types import type_name

#: Gives the result type for argument types, or raises `TypeClashError`.
ResultType = Callable[[Sequence[pa.DataType]], pa.DataType]

#: Gives the result type for argument types and the values of those that are literals.
ResolveType = Callable[[Sequence[pa.DataType], Sequence[Any]], pa.DataType]


class Kind(enum.Enum):
    """Where a function may stand."""

    SCALAR = "scalar"
    AGGREGATE = "aggregate"
    WINDOW = "window"


class Nulls(enum.Enum):
    """What a function does with nulls.

    STRICT: any null argument gives null; the reference is not called; otherwise never null.
    PARTIAL: any null argument gives null; some other arguments give null too.
    CALLED: the reference is called with None for null, and says what happens.
    NEVER: as CALLED, and the result is never null.
    """

    STRICT = "strict"
    PARTIAL = "partial"
    CALLED = "called"
    NEVER = "never"


class Accumulator(Protocol):
    """The running state of an aggregate's reference implementation over one group."""

    def add(self, *arguments: Any) -> None:
        """Take one row's arguments (None for null), in the aggregate's order."""

    def result(self) -> Any:
        """Give the aggregate of the rows taken so far."""


class WindowReference(Protocol):
    """The reference implementation of a window function over one ordered partition."""

    def __call__(self, rows: Sequence[tuple[Any, ...]], peers: Sequence[int]) -> Sequence[Any]:
        """Give one value per row.

        Args:
            rows: each row's argument values, in the partition's order.
            peers: for each row the number of its peer group, counted from 0; rows with equal
                order keys are peers.
        """


@dataclass(frozen=True)
class Function:
    """One row of the catalogue: all that a plan knows of a function.

    Attributes:
        name: as used in plans; lower snake case.
        kind: scalar, aggregate or window.
        arity: least and greatest number of arguments; None for no upper bound.
        result: argument types to result type; raises `TypeClashError` for types it does not take.
        semantics: null, edge and error behaviour in a line or two of plain words.
        reference: for a scalar a function of Python values; for an aggregate a factory of
            accumulators (called once per group with the result type); for a window function a
            `WindowReference`. Values are those of `pyarrow.Scalar.as_py`, with timestamps as
            `datetime`, durations as `timedelta`, decimals as `Decimal`.
        nulls: how a scalar treats nulls. Aggregates skip nulls unless `semantics` says otherwise.
        constant: positions of arguments that must be literals.
        examples: (argument values, result) pairs that documentation shows and tests run.
        typed: the scalar's reference takes the result type as keyword `dtype`.
        ordered: the result of an aggregate depends on the order of its rows.
        resolve: for rows whose type depends on constants, or that check them: gives the result
            type from the types and the values of the arguments (None for those that are no
            literals), or raises `PlanError`. `result` then serves callers that know only types.
    """

    name: str
    kind: Kind
    arity: tuple[int, int | None]
    result: ResultType
    semantics: str
    reference: Callable[..., Any]
    nulls: Nulls = Nulls.STRICT
    constant: tuple[int, ...] = ()
    examples: tuple[tuple[tuple[Any, ...], Any], ...] = ()
    typed: bool = False
    ordered: bool = False
    resolve: ResolveType | None = None

    def result_type(self, types: Sequence[pa.DataType], nodes: Sequence[Expression]) -> pa.DataType:
        """Give the result type for arguments, checking types and constants."""
        if self.resolve is None:
            return self.result(types)
        values = [node.value if isinstance(node, Literal) else None for node in nodes]
        return self.resolve(types, values)

    def check_arity(self, count: int) -> None:
        """Raise `PlanError` if the function does not take `count` arguments."""
        least, most = self.arity
        if count < least or (most is not None and count > most):
            wanted = str(least) if least == most else f"{least} to {most or 'any'}"
            raise PlanError(f"function {self.name!r} takes {wanted} arguments, not {count}")


class Catalogue:
    """The table of functions, by name.

    >>> from umbel.plan.functions import CATALOGUE
    >>> CATALOGUE["abs"].kind
    <Kind.SCALAR: 'scalar'>
    >>> CATALOGUE["abz"]
    Traceback (most recent call last):
    umbel.plan.errors.UnknownNameError: unknown function 'abz'
      did you mean 'abs'? ...
    """

    def __init__(self) -> None:
        self._rows: dict[str, Function] = {}

    def add(self, *rows: Function) -> None:
        """Add rows; a name that is taken is an error."""
        for row in rows:
            if row.name in self._rows:
                raise PlanError(f"function {row.name!r} is in the catalogue already")
            self._rows[row.name] = row

    def remove(self, name: str) -> None:
        """Take a row out again, as an extension's tests need."""
        del self._rows[name]

    def __getitem__(self, name: str) -> Function:
        try:
            return self._rows[name]
        except KeyError:
            raise UnknownNameError("function", name, self._rows) from None

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def of_kind(self, kind: Kind) -> list[Function]:
        """List the rows of one kind, by name."""
        return sorted((row for row in self._rows.values() if row.kind is kind), key=_name)

    def names(self) -> list[str]:
        """List all names, sorted."""
        return sorted(self._rows)


def _name(row: Function) -> str:
    return row.name


def refuse(function: str, types: Sequence[pa.DataType], wanted: str) -> TypeClashError:
    """Make the error for argument types that a function does not take.

    >>> str(refuse("abs", [pa.string()], "a number"))
    "function 'abs' takes a number, not (string)"
    """
    given = ", ".join(map(type_name, types))
    return TypeClashError(f"function {function!r} takes {wanted}, not ({given})")
