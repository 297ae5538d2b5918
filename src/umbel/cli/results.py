"""Shows what a run gave, on standard output: as a table for people, as CSV or JSON for programs."""

from __future__ import annotations

import base64
import json
import sys
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.catalog.formats import csv_header, csv_rows, json_rows
from umbel.catalog.writers import BATCH
from umbel.plan.errors import TypeClashError, UnknownNameError
from umbel.plan.sinks import CsvSink

if TYPE_CHECKING:
    from rich.table import Table

    from umbel.executor import Result

FORMS = ("table", "csv", "json")
#: Rows of a table that are shown; all are computed.
SHOWN = 20


def check_form(form: str | None) -> str:
    """Give the form to show results in.

    Raises:
        UnknownNameError: there is no such form.

    >>> check_form(None)
    'table'
    """
    if form is None:
        return "table"
    if form not in FORMS:
        raise UnknownNameError("format", form, FORMS)
    return form


def show_result(result: Result, form: str) -> None:
    """Print what a run gave: a relation, or the elements of a dataset."""
    match result.data, form:
        case pa.Table() as table, "table":
            _show_table(table)
        case pa.Table() as table, "csv":
            _show_csv(table)
        case pa.Table() as table, _:
            _show_json(table)
        case elements, "table":
            for element in elements:
                print(repr(element))
        case elements, "json":
            for element in elements:
                print(json.dumps(element, default=json_value, ensure_ascii=False))
        case _:
            raise TypeClashError(
                "a dataset's elements have no columns, so they cannot be shown as csv",
                hint="--format json shows them, or end the plan with to_frame(schema)",
            )


def _show_csv(table: pa.Table) -> None:
    CsvSink("standard output").check(table.schema, "row")
    sys.stdout.flush()
    sys.stdout.buffer.write(csv_header(table.schema.names))
    for batch in table.to_batches(max_chunksize=BATCH):
        sys.stdout.buffer.write(csv_rows(batch))


def _show_json(table: pa.Table) -> None:
    sys.stdout.flush()
    first = 1
    for batch in table.to_batches(max_chunksize=BATCH):
        sys.stdout.buffer.write(json_rows(batch, first))
        first += batch.num_rows


def _show_table(table: pa.Table) -> None:
    print_laid(rich_table(table.slice(0, SHOWN)))
    rows = f"{table.num_rows:,} row{'' if table.num_rows == 1 else 's'}"
    if table.num_rows > SHOWN:
        rows += f", the first {SHOWN} shown; --format csv shows all, --output writes them"
    print(rows)


def print_laid(table: Table) -> None:
    """Print a table; where no terminal bounds its width, nothing is cut short."""
    from rich.console import Console

    console = Console(highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    wide = Console(width=100_000)
    with wide.capture() as captured:
        wide.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def rich_table(table: pa.Table) -> Table:
    """Lay a table out, with the types below the names."""
    from rich.table import Table
    from rich.text import Text

    from umbel.plan.types import is_numeric, type_name

    laid = Table(box=None, pad_edge=False, header_style="bold")
    for field in table.schema:
        name = Text(field.name)
        name.append(f"\n{type_name(field.type)}", style="dim")
        laid.add_column(name, justify="right" if is_numeric(field.type) else "left")
    for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
        cells = (Text("null", style="dim") if v is None else Text(cell_text(v)) for v in row)
        laid.add_row(*cells)
    return laid


def cell_text(value: Any) -> str:
    """Give a value as a cell of a table shows it.

    >>> cell_text(0.1 + 0.2), cell_text("a"), cell_text(True)
    ('0.3', 'a', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def json_value(value: Any) -> Any:
    """Give what has no JSON form of its own as text, a number or a list.

    >>> json_value(date(2026, 11, 22)), json_value(Decimal("1.50"))
    ('2026-11-22', '1.50')
    """
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, set | frozenset):
        return list(value)
    return repr(value)
