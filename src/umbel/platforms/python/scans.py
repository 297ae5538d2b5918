"""Reading sources in pieces: files by batches, text by blocks, memory by slices.

What files mean (which there are, line ends, quotes, compression, casts of texts) is the
catalogue's; here its batches become rows. Text goes without the detour through Arrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from umbel.catalog.complaints import invalid_text
from umbel.catalog.files import resolve
from umbel.catalog.lines import line_blocks
from umbel.catalog.readers import read
from umbel.plan.errors import SourceError
from umbel.plan.expressions import columns_of
from umbel.plan.operators import Element, Scan
from umbel.plan.sources import FileSource, MemorySource, TextSource
from umbel.platforms.conform import conform
from umbel.platforms.python.arrow import BATCH_ROWS, rows_of
from umbel.platforms.python.expressions import compile_expression
from umbel.platforms.python.keys import column_getter
from umbel.platforms.python.relational import filtering
from umbel.platforms.python.run import Piece, Run
from umbel.platforms.python.stream import Stream


def build_scan(operator: Scan, run: Run, inputs: list[Stream]) -> Stream:
    """The rows of a source; only columns that are wanted are read."""
    source = operator.source
    if isinstance(source, MemorySource) and source.data is None:
        raise SourceError(
            f"the data of {source.describe()} is not at hand",
            hint="a plan file holds no data; pass it beside the plan",
        )
    wanted = list(operator.schema.names)
    if operator.predicate is None:
        if isinstance(source, TextSource) and not source.partitions and wanted:
            return Stream.of(run, operator, _lines(run, source), as_rows=False)
        if isinstance(source, MemorySource) and source.form == Element.OBJECT.value:
            return Stream.of(run, operator, run.pieces(source.data), as_rows=False)
        return Stream.of(run, operator, _rows(run, operator, wanted), as_rows=True)
    needed = columns_of(operator.predicate) | set(wanted)
    columns = [name for name in source.schema.names if name in needed]
    schema = pa.schema([source.schema.field(name) for name in columns])
    keep = filtering(operator, compile_expression(operator.predicate, schema))
    kept: Iterable[Piece] = map(keep, _rows(run, operator, columns))
    if columns != wanted:
        pick = column_getter([columns.index(name) for name in wanted])
        kept = (list(map(pick, piece)) for piece in kept)
    return Stream.of(run, operator, kept, as_rows=True)


def _rows(run: Run, operator: Scan, columns: Sequence[str]) -> Iterator[Piece]:
    source = operator.source
    if isinstance(source, MemorySource):
        yield from _memory_rows(run, source, columns)
        return
    if not isinstance(source, FileSource):
        raise SourceError(f"the python platform cannot read {source.describe()}")
    check = run.context.check_cancelled
    for batch in read(source, columns, operator.predicate, check=check):
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield from run.cut(rows_of(batch.slice(start, BATCH_ROWS)))


def _lines(run: Run, source: TextSource) -> Iterator[Piece]:
    for entry in resolve(source):
        line = 1
        for block in line_blocks(entry.path):
            try:
                lines = block.decode().split("\n")
            except UnicodeDecodeError:
                raise invalid_text(entry.path, block, line) from None
            lines.pop()  # a block ends with a line end, after which there is nothing
            line += len(lines)
            yield from run.cut(lines)


def _memory_rows(run: Run, source: MemorySource, columns: Sequence[str]) -> Iterator[Piece]:
    if source.form == Element.OBJECT.value:
        for piece in run.pieces(source.data):
            yield list(zip(piece, strict=True)) if columns else [()] * len(piece)
        return
    schema = pa.schema([source.schema.field(name) for name in columns])
    for start in range(0, source.data.num_rows, BATCH_ROWS):
        part = conform(source.data.slice(start, BATCH_ROWS), schema)
        if not columns:
            yield from run.cut([()] * part.num_rows)
        for batch in part.to_batches():
            yield from run.cut(rows_of(batch))
