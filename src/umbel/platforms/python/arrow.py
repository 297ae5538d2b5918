"""Arrow tables to Python rows and back, batch by batch, with exactly the schema's types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.errors import EvaluationError, PlanError
from umbel.plan.operators import Element
from umbel.plan.types import is_object, type_name
from umbel.platforms.conform import conform
from umbel.platforms.python.elements import Convert, to_elements, to_rows
from umbel.platforms.python.failures import shorten
from umbel.platforms.python.run import Piece

pc = LazyModule("pyarrow.compute")

#: Rows converted at once: enough that Arrow's own cost per batch does not show.
BATCH_ROWS = 32_768
#: Tables up to this many bytes are converted once into a list; larger ones at every reading.
_LIST_BYTES = 32 << 20


def rows_of(batch: pa.RecordBatch) -> Piece:
    """Give the rows of a batch as tuples of Python values.

    >>> rows_of(pa.record_batch({"a": [1, None], "b": ["x", "y"]}))
    [(1, 'x'), (None, 'y')]
    """
    if not batch.num_columns:
        return [()] * batch.num_rows
    columns = [
        _values(column, field) for column, field in zip(batch.columns, batch.schema, strict=True)
    ]
    return list(zip(*columns, strict=True))


def _values(column: pa.Array, field: pa.Field) -> list[Any]:
    dtype = field.type
    try:
        if pa.types.is_timestamp(dtype) and dtype.unit == "ns":
            # Python has no nanoseconds; whole microseconds are exact, others fail the cast.
            column = pc.cast(column, pa.timestamp("us", dtype.tz), safe=True)
        elif pa.types.is_duration(dtype) and dtype.unit == "ns":
            column = pc.cast(column, pa.duration("us"), safe=True)
        values: list[Any] = column.to_pylist()
    except (pa.ArrowInvalid, ValueError, OverflowError) as error:
        raise EvaluationError(
            f"column {field.name!r} of type {type_name(dtype)} holds a value that Python cannot: "
            f"{error}",
            hint="round it to microseconds, or keep the column away from Python functions",
        ) from error
    return values


def batch_of(rows: Piece, schema: pa.Schema) -> list[pa.RecordBatch]:
    """Make batches of rows; more than one only where one would be too large for Arrow.

    Raises:
        EvaluationError: a value that its column cannot hold, naming both.
    """
    if not len(schema):
        empty = pa.array([{}] * len(rows), pa.struct([]))
        return [pa.RecordBatch.from_struct_array(empty)]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = []
    for values, field in zip(columns, schema, strict=True):
        array = array_of(values, field)
        if isinstance(array, pa.ChunkedArray):
            middle = len(rows) // 2
            return [*batch_of(rows[:middle], schema), *batch_of(rows[middle:], schema)]
        arrays.append(array)
    return [pa.RecordBatch.from_arrays(arrays, schema=schema)]


def array_of(values: Any, field: pa.Field) -> Any:
    """Make a column of values.

    >>> array_of([2**63], pa.field("n", pa.int64()))
    Traceback (most recent call last):
    umbel.plan.errors.EvaluationError: 9223372036854775808 does not fit into column 'n' of type int64
    """
    if is_object(field.type):
        raise PlanError(
            f"column {field.name!r} holds Python objects, which have no form in Arrow",
            hint="give the Dataset columns first: .to_frame(schema)",
        )
    try:
        array = pa.array(values, type=field.type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise _misfit(values, field, error) from error
    if array.null_count and not field.nullable:
        raise EvaluationError(f"column {field.name!r} is not nullable, but holds a null")
    return array


def _misfit(values: Any, field: pa.Field, error: Exception) -> EvaluationError:
    for value in values:
        try:
            pa.array([value], type=field.type)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            return EvaluationError(
                f"{shorten(value)} does not fit into column {field.name!r} "
                f"of type {type_name(field.type)}"
            )
    return EvaluationError(f"column {field.name!r} of type {type_name(field.type)}: {error}")


def table_of(pieces: Iterable[Piece], schema: pa.Schema) -> pa.Table:
    """Make a table of pieces of rows."""
    batches: list[pa.RecordBatch] = []
    held: Piece = []
    for piece in pieces:
        held.extend(piece)
        if len(held) >= BATCH_ROWS:
            batches.extend(batch_of(held, schema))
            held = []
    if held or not batches:
        batches.extend(batch_of(held, schema))
    return pa.Table.from_batches(batches)


class ArrowElements:
    """The elements of a table, made anew at every reading, so that they take no memory."""

    def __init__(self, table: pa.Table, schema: pa.Schema, element: Element) -> None:
        self.table = conform(table, schema)
        self._convert: Convert | None = to_elements(schema, element)

    def batches(self) -> Iterator[Piece]:
        """Yield the elements in lists."""
        for start in range(0, len(self), BATCH_ROWS):
            part = self.table.slice(start, BATCH_ROWS)
            rows = [row for batch in part.to_batches() for row in rows_of(batch)]
            if not self.table.num_columns:
                rows = [()] * part.num_rows
            yield rows if self._convert is None else self._convert(rows)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches():
            yield from batch


def arrow_to_python(table: pa.Table, schema: pa.Schema, element: Element) -> Any:
    """Convert from the channel "arrow" to the channel "python".

    >>> schema = pa.schema([("value", pa.int64())])
    >>> arrow_to_python(pa.table({"value": [1, 2]}, schema), schema, Element.VALUE)
    [1, 2]
    """
    elements = ArrowElements(table, schema, element)
    if table.nbytes > _LIST_BYTES:
        return elements
    return list(elements)


def python_to_arrow(data: Any, schema: pa.Schema, element: Element) -> pa.Table:
    """Convert from the channel "python" to the channel "arrow".

    >>> schema = pa.schema([("item_0", pa.int64()), ("item_1", pa.string())])
    >>> python_to_arrow([(1, "a")], schema, Element.TUPLE).num_rows
    1
    """
    convert = to_rows(schema, element)
    batches = data.batches() if hasattr(data, "batches") else _batches(data)
    return table_of((part if convert is None else convert(part) for part in batches), schema)


def _batches(data: Any) -> Iterator[Piece]:
    if isinstance(data, list):
        for start in range(0, len(data), BATCH_ROWS):
            yield data[start : start + BATCH_ROWS]
        return
    part: Piece = []
    for value in data:
        part.append(value)
        if len(part) == BATCH_ROWS:
            yield part
            part = []
    yield part
