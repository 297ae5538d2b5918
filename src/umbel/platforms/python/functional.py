"""Operators that run Python functions element by element, and others on whole elements.

The loops are C loops over a piece (`list(map(function, piece))`), so that the functions' own time
is all there is. See `failures.current` for how the value that broke a function is found without
keeping count.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, count, islice
from typing import Any

from umbel.plan.errors import PlanError, RunError, UmbelError
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import (
    Broadcast,
    Cartesian,
    Count,
    FilterRows,
    FlatMap,
    Functional,
    Map,
    MapPartitions,
    Operator,
    Reduce,
    Rows,
    SortBy,
    ZipWithId,
)
from umbel.platforms.python.elements import record_class
from umbel.platforms.python.failures import current, function_error, stopped, unfinished, where
from umbel.platforms.python.loops import Calling, Ending, Loop
from umbel.platforms.python.run import LARGEST_PIECE, Piece, Run
from umbel.platforms.python.spill import Collection, sort_pieces
from umbel.platforms.python.stream import Stream

#: Pieces that make a part of MapPartitions: tens of thousands of elements.
_PART_PIECES = 8


def bind(operator: Functional, function: PythonFunction, sides: list[Stream]) -> Callable[..., Any]:
    """Give a function with its side inputs, collected into lists, as keywords."""
    code = function.callable()
    if not function.broadcast:
        return code
    lists = {
        side.keyword: list(chain.from_iterable(stream.elements()))
        for side, stream in zip(operator.broadcasts, sides, strict=True)
        if isinstance(side, Broadcast) and side.keyword in function.broadcast
    }
    missing = sorted(set(function.broadcast) - set(lists))
    if missing:
        raise PlanError(f"{where(operator)}: no broadcast input is named {missing[0]!r}")
    return partial(code, **lists)


def build_map(operator: Map, run: Run, inputs: list[Stream]) -> Stream:
    """`function(x)` for every x."""
    call = bind(operator, operator.function, inputs[1:])
    return inputs[0].elements().calling(Calling(operator, operator.function, call, selects=False))


def build_filter_rows(operator: FilterRows, run: Run, inputs: list[Stream]) -> Stream:
    """The elements for which `function(x)` is true."""
    call = bind(operator, operator.function, inputs[1:])
    return inputs[0].elements().calling(Calling(operator, operator.function, call, selects=True))


#: What a function may give that is surely finite, and whose items cost nothing to make.
_FINITE = frozenset({list, tuple, str, set, frozenset, dict, bytes})


def build_flat_map(operator: FlatMap, run: Run, inputs: list[Stream]) -> Stream:
    """Every item of `function(x)`, for every x; the items may be without end."""
    source, calls = inputs[0].elements().parted(operator)
    own = Calling(operator, operator.function, bind(operator, operator.function, inputs[1:]))
    extend = Loop((*calls, own), Ending.EXTEND)
    before, results = Loop(calls), Loop([own])
    kind: type = list

    def items_of(part: Piece) -> Iterator[Piece]:
        nonlocal kind
        elements = iter(part)
        out: Piece = []
        while (other := extend((elements,), out, kind)) is not None:
            items, element = other
            if type(items) in _FINITE:
                kind = type(items)
                out.extend(items)
                continue
            yield out
            given = before((elements,))
            yield from _iterated(operator, [element, *given], [items, *results((given,))])
            return
        yield out

    def pieces() -> Iterator[Piece]:
        # So many elements at a time that what they give makes about one piece.
        stride = 16
        for piece in source:
            start = 0
            while start < len(piece):
                whole = start == 0 and stride >= len(piece)
                part = piece if whole else piece[start : start + stride]
                start += len(part)
                made = 0
                for items in items_of(part):
                    made += len(items)
                    yield from run.cut(items)
                stride = max(1, min(2 * stride, run.size * len(part) // max(1, made)))

    return Stream.of(run, operator, pieces(), as_rows=False)


def _iterated(operator: FlatMap, given: Piece, results: Piece) -> Iterator[Piece]:
    """Yield the items of what the function gave for elements: iterables, perhaps without end."""
    iterator = iter(results)
    items = chain.from_iterable(iterator)
    full = True
    while full:
        try:
            part = list(islice(items, LARGEST_PIECE))
        except Exception as error:
            value = current(iterator, given)
            raise function_error(operator, operator.function, error, value) from error
        full = len(part) == LARGEST_PIECE
        yield part


def build_map_partitions(operator: MapPartitions, run: Run, inputs: list[Stream]) -> Stream:
    """Every item of `function(part)`; a part is an iterator over some tens of thousand elements."""
    function = operator.function
    call = bind(operator, function, inputs[1:])

    def pieces() -> Iterator[Piece]:
        source = iter(inputs[0].elements())
        for first in source:
            rest = islice(source, _PART_PIECES - 1)
            part = chain.from_iterable(chain((first,), rest))
            items = _iterate(operator, function, call, part)
            while made := _guarded(operator, function, items):
                yield made
            # What the function left over belongs to this part, not to the next.
            deque(part, maxlen=0)

    return Stream.of(run, operator, pieces(), as_rows=False)


def _iterate(
    operator: Operator, function: PythonFunction, call: Callable[..., Any], part: Iterator[Any]
) -> Iterator[Any]:
    try:
        return iter(call(part))
    except UmbelError:
        raise  # an operator below failed while the function was reading from it
    except Exception as error:
        raise function_error(operator, function, error, _PART) from error


def _guarded(operator: Operator, function: PythonFunction, items: Iterator[Any]) -> Piece:
    try:
        return list(islice(items, LARGEST_PIECE))
    except UmbelError:
        raise
    except Exception as error:
        raise function_error(operator, function, error, _PART) from error


class _Part:
    def __repr__(self) -> str:
        return "<an iterator over a part of the elements>"


_PART = _Part()


def build_reduce(operator: Reduce, run: Run, inputs: list[Stream]) -> Stream:
    """All elements combined into one."""
    function = operator.function
    call = bind(operator, function, inputs[1:])

    source, calls = inputs[0].elements().parted(operator)

    def explain(error: Exception, element: Any, _: Any) -> None:
        raise function_error(operator, function, error, element) from error

    first = Loop(calls)
    fold = Loop(calls, Ending.FOLD, combine=call, explain=explain)

    def pieces() -> Iterator[Piece]:
        result: Piece = []
        for piece in source:
            elements = iter(piece)
            start = result or first((islice(elements, 1),))
            result = [fold((elements,), start[0])]
        yield result

    return Stream.of(run, operator, pieces(), as_rows=False)


def build_sort_by(operator: SortBy, run: Run, inputs: list[Stream]) -> Stream:
    """The elements in order of their keys."""
    function, descending = operator.key, operator.descending
    call = None if function is None else bind(operator, function, inputs[1:])

    def sort(elements: Piece) -> None:
        try:
            elements.sort(key=call, reverse=descending)
        except Exception as error:
            if function is not None and call is not None:
                _raise_for_sort_key(operator, function, call, elements)
            raise _no_order(operator, error) from error

    def pieces() -> Iterator[Piece]:
        ordered = sort_pieces(run, inputs[0].elements(), call, descending=descending, sort=sort)
        try:
            yield from ordered
        except TypeError as error:  # two runs on disk, each sorted, whose keys do not compare
            raise _no_order(operator, error) from error

    return Stream.of(run, operator, pieces(), as_rows=False, whole=True)


def _raise_for_sort_key(
    operator: Operator, function: PythonFunction, call: Callable[..., Any], elements: Piece
) -> None:
    """Raise if the key function fails for an element; it is called again to find out."""
    iterator = iter(elements)
    try:
        deque(map(call, iterator), maxlen=0)
    except Exception as error:
        raise function_error(operator, function, error, current(iterator, elements)) from error
    if unfinished(iterator):
        raise stopped(operator, function, current(iterator, elements))


def _no_order(operator: SortBy, error: Exception) -> RunError:
    return RunError(
        f"{where(operator)}: the {'elements' if operator.key is None else 'keys'} have no "
        f"common order: {type(error).__name__}: {error}",
        hint="sort by a key whose values compare with one another",
    )


def build_zip_with_id(operator: ZipWithId, run: Run, inputs: list[Stream]) -> Stream:
    """(id, element), numbered from 0."""
    numbers = count()

    def step(piece: Piece) -> Piece:
        return list(zip(islice(numbers, len(piece)), piece, strict=True))

    return inputs[0].elements().through(operator, step, as_rows=False)


def build_count(operator: Count, run: Run, inputs: list[Stream]) -> Stream:
    """The number of elements."""

    def pieces() -> Iterator[Piece]:
        yield [sum(map(len, inputs[0]))]

    return Stream.of(run, operator, pieces(), as_rows=False)


def build_rows(operator: Rows, run: Run, inputs: list[Stream]) -> Stream:
    """Rows as named tuples."""
    make = record_class(tuple(operator.schema.names))._make  # type: ignore[attr-defined]
    return inputs[0].rows().through(operator, lambda piece: list(map(make, piece)), as_rows=False)


def build_broadcast(operator: Broadcast, run: Run, inputs: list[Stream]) -> Stream:
    """The side input itself; whoever takes it collects it."""
    return inputs[0].through(operator, lambda piece: piece, as_rows=inputs[0].as_rows)


def build_cartesian(operator: Cartesian, run: Run, inputs: list[Stream]) -> Stream:
    """(left, right) for every two elements; the right input is kept."""

    def pieces() -> Iterator[Piece]:
        right = Collection(run).fill(inputs[1].elements())
        for piece in inputs[0].elements():
            for batch in right.batches():
                for part in run.cut(batch):
                    # So many left elements at a time that the pairs make about one piece.
                    stride = max(1, run.size // len(part))
                    for start in range(0, len(piece), stride):
                        lefts = piece[start : start + stride]
                        yield [(left, value) for left in lefts for value in part]
        right.remove()

    return Stream.of(run, operator, pieces(), as_rows=False)
