"""Relational operators that need no partner and no group: projections, orders, samples."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from umbel.plan.errors import UmbelError
from umbel.plan.expressions import Column
from umbel.plan.operators import (
    Explode,
    Filter,
    Limit,
    Operator,
    Project,
    Sample,
    Sort,
    Values,
)
from umbel.plan.safety import cannot_fail
from umbel.platforms.python.arrow import BATCH_ROWS, rows_of
from umbel.platforms.python.expressions import Evaluate, compile_expression
from umbel.platforms.python.failures import current, evaluation_error
from umbel.platforms.python.keys import column_getter, order_of
from umbel.platforms.python.run import LARGEST_PIECE, Piece, Run
from umbel.platforms.python.spill import Collection, sort_pieces
from umbel.platforms.python.stream import Step, Stream

#: First rows of a sort that are kept in memory, however large the rest is.
MOST_FIRST = 2**16


def evaluating(operator: Operator, make: Callable[[tuple[Any, ...]], Any]) -> Step:
    """Give the step that makes a list of what `make` gives for each row, with its errors placed."""

    def step(piece: Piece) -> Piece:
        iterator = iter(piece)
        try:
            return list(map(make, iterator))
        except Exception as error:
            raise evaluation_error(operator, error, current(iterator, piece)) from error

    return step


def build_project(operator: Project, run: Run, inputs: list[Stream]) -> Stream:
    """One value per column and row."""
    below = operator.input.schema
    expressions = [expression for _, expression in operator.columns]
    rows = inputs[0].rows()
    if expressions and all(isinstance(expression, Column) for expression in expressions):
        names = [expression.name for expression in expressions if isinstance(expression, Column)]
        if names == below.names:
            return rows.through(operator, lambda piece: piece, as_rows=True)
        pick = column_getter([below.get_field_index(name) for name in names])
        return rows.through(operator, lambda piece: list(map(pick, piece)), as_rows=True)
    parts = [compile_expression(expression, below) for expression in expressions]
    match parts:
        case [only]:
            return rows.through(operator, _single(operator, only), as_rows=True)
        case [first, second]:
            pair: Evaluate = lambda row: (first(row), second(row))  # noqa: E731
            return rows.through(operator, evaluating(operator, pair), as_rows=True)
    many: Evaluate = lambda row: tuple([part(row) for part in parts])  # noqa: E731
    return rows.through(operator, evaluating(operator, many), as_rows=True)


def _single(operator: Operator, only: Evaluate) -> Step:
    evaluate = evaluating(operator, only)
    return lambda piece: list(zip(evaluate(piece), strict=True))


def build_filter(operator: Filter, run: Run, inputs: list[Stream]) -> Stream:
    """The rows for which the predicate is true."""
    predicate = compile_expression(operator.predicate, operator.input.schema)
    return inputs[0].rows().through(operator, filtering(operator, predicate), as_rows=True)


def filtering(operator: Operator, predicate: Evaluate) -> Step:
    """Give the step that keeps the rows for which a predicate is true, not false or null."""

    def step(piece: Piece) -> Piece:
        iterator = iter(piece)
        try:
            # A predicate is a boolean or None: Python's truth is the plan's.
            return list(filter(predicate, iterator))
        except Exception as error:
            raise evaluation_error(operator, error, current(iterator, piece)) from error

    return step


def build_values(operator: Values, run: Run, inputs: list[Stream]) -> Stream:
    """The constant rows."""

    def pieces() -> Iterator[Piece]:
        for batch in operator.table.to_batches(max_chunksize=BATCH_ROWS):
            yield from run.cut(rows_of(batch))

    return Stream.of(run, operator, pieces(), as_rows=True)


def build_explode(operator: Explode, run: Run, inputs: list[Stream]) -> Stream:
    """One row per item of a list."""
    index = operator.input.schema.get_field_index(operator.column)
    nothing: tuple[Any, ...] = (None,) if operator.outer else ()

    def pieces() -> Iterator[Piece]:
        for piece in inputs[0].rows():
            made: Piece = []
            for row in piece:
                before, after = tuple(row[:index]), tuple(row[index + 1 :])
                made.extend([(*before, item, *after) for item in row[index] or nothing])
                if len(made) >= LARGEST_PIECE:
                    yield from run.cut(made)
                    made = []
            yield from run.cut(made)

    return Stream.of(run, operator, pieces(), as_rows=True)


def build_sort(operator: Sort, run: Run, inputs: list[Stream]) -> Stream:
    """The rows in order; rows with equal keys keep the order in which they came."""
    key = order_of(operator.keys, operator.input.schema)

    def sort(rows: Piece) -> None:
        try:
            rows.sort(key=key)
        except UmbelError:
            for row in rows:
                _try_key(operator, key, row)
            raise

    def pieces() -> Iterator[Piece]:
        wanted = run.wanted.get(id(operator))
        if wanted is not None and wanted <= MOST_FIRST:
            yield first_sorted(inputs[0].rows(), wanted, key, sort)
        else:
            yield from sort_pieces(run, inputs[0].rows(), key, sort=sort)

    return Stream.of(run, operator, pieces(), as_rows=True, whole=True)


def first_sorted(
    pieces: Iterable[Piece], count: int, key: Evaluate, sort: Callable[[Piece], None]
) -> Piece:
    """Give the first rows of a stable sort, keeping few more than those.

    Args:
        pieces: the rows.
        count: how many are wanted.
        key: what sorts a row.
        sort: sorts rows in place by `key`, stably, with errors of the caller's own.

    >>> first_sorted([[3, 1], [2, 1]], 2, lambda n: n, list.sort)
    [1, 1]
    """
    kept: Piece = []
    most = 2 * count + LARGEST_PIECE
    bound: Any = None  # the key of the last row that is in, once there are enough
    for piece in pieces:
        # A row that is equal to the last one came later, and so comes after it.
        kept += piece if bound is None else _below(piece, key, bound, sort)
        if len(kept) >= most:
            sort(kept)
            del kept[count:]
            bound = key(kept[-1]) if kept else None
    sort(kept)
    return kept[:count]


def _below(piece: Piece, key: Evaluate, bound: Any, sort: Callable[[Piece], None]) -> Piece:
    try:
        return [row for row in piece if key(row) < bound]
    except UmbelError:
        sort(piece)  # fails at the same row, and says where
        raise


def _try_key(operator: Operator, key: Evaluate, row: Any) -> None:
    try:
        key(row)
    except Exception as error:
        raise evaluation_error(operator, error, row) from error


def build_limit(operator: Limit, run: Run, inputs: list[Stream]) -> Stream:
    """Some rows from some row on; reads no further than that.

    Of an order, whose first rows are the same on every engine, all rows are computed that may
    fail to be.
    """
    whole = _may_fail_in_order(operator.input)

    def pieces() -> Iterator[Piece]:
        skip, left = operator.offset, operator.count
        if left == 0 and not whole:
            return
        source = iter(inputs[0])
        for piece in source:
            if skip >= len(piece):
                skip -= len(piece)
                continue
            wanted = piece[skip:]
            skip = 0
            if left is None:
                yield wanted
                continue
            wanted = wanted[:left]
            left -= len(wanted)
            yield wanted
            if not left:
                break
        if whole:
            deque(source, maxlen=0)

    return Stream.of(run, operator, pieces(), as_rows=inputs[0].as_rows)


def _may_fail_in_order(operator: Operator) -> bool:
    """Whether what may fail stands above an order."""
    fails = False
    while isinstance(operator, Project | Filter | Limit | Sort):
        below = operator.input
        match operator:
            case Sort():
                return fails
            case Filter(predicate=predicate):
                fails |= not cannot_fail(predicate, below.schema)
            case Project(columns=columns):
                fails |= not all(cannot_fail(e, below.schema) for _, e in columns)
        operator = below
    return False


def build_sample(operator: Sample, run: Run, inputs: list[Stream]) -> Stream:
    """The elements at some positions, drawn once their number is known."""

    def pieces() -> Iterator[Piece]:
        kept = Collection(run).fill(inputs[0])
        count = operator.size(len(kept))
        # A seeded draw is meant to be repeatable, not secret.
        draw = random.Random(operator.seed)  # noqa: S311
        wanted = iter(sorted(draw.sample(range(len(kept)), count)))
        position, start = next(wanted, None), 0
        for batch in kept.batches():
            chosen: Piece = []
            while position is not None and position < start + len(batch):
                chosen.append(batch[position - start])
                position = next(wanted, None)
            start += len(batch)
            yield from run.cut(chosen)
            if position is None:
                break
        kept.remove()

    return Stream.of(run, operator, pieces(), as_rows=inputs[0].as_rows)
