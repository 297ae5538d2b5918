"""Writing lakehouse tables, whichever kind they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from umbel.catalog.commits import Commit
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
    commit: Commit | None = None,
) -> WriteReport:
    """Write rows to a lakehouse table: its log names them all, or none.

    The token of a durable run goes into the same entry of the log. The rows are in memory as a whole before the first is written, so that a run that fails or is
    cancelled leaves no files behind.
    """
    rows = pa.Table.from_batches(arrow_batches(data, schema, element, check_cancelled), schema)
    check_cancelled()
    token = None if commit is None else commit.token
    match sink:
        case DeltaSink():
            from umbel.catalog.delta import write_delta

            write_delta(sink, rows, token)
            return WriteReport(sink.path, rows.num_rows)
        case IcebergSink():
            _catalogue(sink).write(sink, rows, token)
            return WriteReport(sink.describe().split(" ")[1], rows.num_rows)
    raise RunError(f"there is no writer for {sink.kind} tables")


def lake_commit(sink: LakeSink, token: str) -> int | None:
    """Give the rows that a durable run has written with a token; None if it has written none."""
    match sink:
        case DeltaSink():
            from umbel.catalog.delta import delta_commit

            return delta_commit(sink, token)
        case IcebergSink():
            rows: int | None = _catalogue(sink).committed(sink, token)
            return rows
    raise RunError(f"{sink.kind} tables keep no tokens of durable runs")


def _catalogue(sink: IcebergSink) -> Any:
    if sink.data is None:
        raise RunError(
            f"the Iceberg catalogue {sink.catalog!r} is not at hand",
            hint="a plan file holds no catalogue; write the table in a session that attached it",
        )
    return sink.data


__all__ = ["check_lake_sink", "lake_commit", "write_lake"]
