"""Operators that work on whole columns, so that no row becomes a Python value.

What comes into a stage as an Arrow table, or is scanned of memory, reaches them as it is. Behind
operators that work on rows it is made of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec

import pyarrow as pa

from umbel.plan.operators import Operator
from umbel.platforms.python.arrow import BATCH_ROWS, rows_of, table_of
from umbel.platforms.python.run import Piece, Run
from umbel.platforms.python.stream import Stream


@cache
def missing() -> str | None:
    """Say what is to be installed for these operators; None if it is there."""
    return None if find_spec("numpy") else "it needs NumPy: pip install 'umbel[learn]'"


def build_columnar(operator: Operator, run: Run, inputs: list[Stream]) -> Stream:
    """What an operator makes of the table of its input."""
    from umbel.models.applying import OVER_TABLES

    below, make = inputs[0], OVER_TABLES[type(operator)]

    def table() -> pa.Table:
        given = below.columns() if below.columns else table_of(below.rows(), below.schema)
        run.context.check_cancelled()
        meter = run.meter(operator)
        previous = run.switch(meter)
        try:
            made = make(operator, given)
        finally:
            run.switch(previous)
        meter.rows += made.num_rows
        return made

    def pieces() -> Iterator[Piece]:
        for batch in table().to_batches(max_chunksize=BATCH_ROWS):
            yield from run.cut(rows_of(batch))

    stream = Stream(run, pieces(), operator.schema, operator.element, as_rows=True)
    stream.columns = table
    return stream


def counted(operator: Operator, run: Run, table: pa.Table) -> Callable[[], pa.Table]:
    """Hand on a table that is there already, and count its rows."""

    def hand_on() -> pa.Table:
        run.meter(operator).rows += table.num_rows
        return table

    return hand_on


__all__ = ["build_columnar", "counted", "missing"]
