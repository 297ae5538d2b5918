"""Writing lakehouse tables, whichever kind they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from umbel.catalog.writers import WriteReport, arrow_batches
from umbel.plan.errors import RunError
from umbel.plan.operators import Element
from umbel.plan.sinks import DeltaSink, IcebergSink, LakeSink


def check_lake_sink(sink: LakeSink, schema: pa.Schema) -> None:
    """Raise `RunError` if rows of a schema cannot be written there; cheap, for before a run."""
    match sink:
        case DeltaSink():
            from umbel.catalog.delta import check_delta_sink

            check_delta_sink(sink, schema)
        case IcebergSink():
            _catalogue(sink).check(sink, schema)


def write_lake(
    sink: LakeSink,
    data: pa.Table | pa.RecordBatchReader | Iterable[Any],
    schema: pa.Schema,
    element: Element,
    check_cancelled: Callable[[], None] = lambda: None,
) -> WriteReport:
    """Write rows to a lakehouse table: its log names them all, or none.

    They are in memory as a whole before the first is written, so that a run that fails or is
    cancelled leaves no files behind.
    """
    rows = pa.Table.from_batches(arrow_batches(data, schema, element, check_cancelled), schema)
    check_cancelled()
    match sink:
        case DeltaSink():
            from umbel.catalog.delta import write_delta

            write_delta(sink, rows)
            return WriteReport(sink.path, rows.num_rows)
        case IcebergSink():
            _catalogue(sink).write(sink, rows)
            return WriteReport(sink.describe().split(" ")[1], rows.num_rows)
    raise RunError(f"there is no writer for {sink.kind} tables")


def _catalogue(sink: IcebergSink) -> Any:
    if sink.data is None:
        raise RunError(
            f"the Iceberg catalogue {sink.catalog!r} is not at hand",
            hint="a plan file holds no catalogue; write the table in a session that attached it",
        )
    return sink.data


__all__ = ["check_lake_sink", "write_lake"]
