"""CSV files row by row: their headers, and the first row that is wrong.

Slow and exact, for what an engine's reader does not tell: which row, which column, which text.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from umbel.catalog.complaints import changed, invalid_text, open_quote, wrong_value
from umbel.catalog.lines import BLOCK, line_blocks
from umbel.catalog.texts import value_of_text
from umbel.plan.errors import EvaluationError, SourceError
from umbel.plan.sources import CsvSource
from umbel.plan.types import is_string

#: Bytes that are read for a header; more if it is longer.
_HEADER_BYTES = 2**16


def header_of(source: CsvSource, path: str) -> list[str]:
    """Read the first record of a file: the names of its columns, if it has a header.

    Raises:
        SourceError: the file is empty, or two columns have one name, or one has none.
    """
    first = next(records(source, path, _HEADER_BYTES), None)
    if first is None:
        raise SourceError(
            f"{path}: the file is empty: it has no columns", hint="leave it out of the paths"
        )
    names = first[1]
    if source.header:
        seen: set[str] = set()
        for place, name in enumerate(names, 1):
            if not name:
                raise SourceError(
                    f"{path}: column {place} has no name in the header",
                    hint="name it in the file, or read it without its header: header=False",
                )
            if name in seen:
                raise SourceError(
                    f"{path}: two columns are called {name!r} in the header",
                    hint="rename one of them in the file",
                )
            seen.add(name)
    return names


def check_header(source: CsvSource, path: str) -> None:
    """Raise `SourceError` unless the header of a file names the columns that its source has.

    Engines that take columns by their place would give them wrong names.
    """
    if not source.header:
        return
    stored = [name for name in source.schema.names if name not in source.partitions]
    found = header_of(source, path)
    if found != stored:
        what = f"its columns are {', '.join(found)}, not {', '.join(stored)}"
        raise changed(path, what, source.kind)


def records(source: CsvSource, path: str, size: int = BLOCK) -> Iterator[tuple[int, list[str]]]:
    """Yield the records of a file, each with the number of the line that it begins in.

    Raises:
        SourceError: text that is not UTF-8, or a quote that is out of place or never closed.
    """
    reader = csv.reader(
        _lines(path, size),
        delimiter=source.delimiter,
        quotechar=source.quote or None,
        quoting=csv.QUOTE_MINIMAL if source.quote else csv.QUOTE_NONE,
        strict=True,
    )
    line = 1
    with _long_fields():
        while True:
            try:
                record = next(reader, None)
            except csv.Error as error:
                what = str(error)
                if "unexpected end" in what:
                    raise open_quote(source, path, line) from error
                if "expected after" in what:
                    what = f"text follows a closing quote {source.quote}"
                raise SourceError(
                    f"{path}, line {line}: {what}",
                    hint="correct the line; a quote inside of quotes is written twice",
                ) from error
            if record is None:
                return
            yield line, record
            line = reader.line_num + 1


def find_csv_error(
    source: CsvSource, path: str, columns: Collection[str] | None = None
) -> SourceError | None:
    """Find the first row of a file that its source's columns do not describe.

    Args:
        source: what the columns are.
        path: the file.
        columns: those whose values are looked at; None for all.
    """
    fields = [f for f in source.schema if f.name not in source.partitions]
    texts = {f.name for f in fields if is_string(f.type)}
    if columns is not None:
        texts.update(f.name for f in fields if f.name not in columns)
    row = 0
    try:
        for line, record in records(source, path):
            if not record:
                if len(fields) != 1:
                    continue
                record = [""]  # noqa: PLW2901  (an empty line is the one field, empty)
            if source.header and row == 0 and line == 1:
                row = 1
                continue
            number = row if source.header else row + 1
            row += 1
            if len(record) != len(fields):
                return SourceError(
                    f"{path}, row {number} (line {line}): {len(record)} fields, "
                    f"but there are {len(fields)} columns",
                    hint=f"correct the line: {source.delimiter.join(record)[:80]}",
                )
            for text, field in zip(record, fields, strict=True):
                if field.name in texts or text in source.null_values:
                    continue
                try:
                    value_of_text(text, field.type)
                except EvaluationError:
                    return wrong_value(path, number, field, text)
    except SourceError as error:
        return error
    return None


def _lines(path: str, size: int) -> Iterator[str]:
    line = 1
    for block in line_blocks(path, size):
        try:
            text = block.decode()
        except UnicodeDecodeError:
            raise invalid_text(path, block, line) from None
        for piece in text.split("\n")[:-1]:
            line += 1
            yield piece + "\n"


def line_of_open_quote(source: CsvSource, path: str) -> int:
    """Find the line of a quote that is opened and never closed; 0 if there is none."""
    quote, before = source.quote.encode(), (source.delimiter.encode(), b"\n")
    line, opened, inside = 1, 0, False
    for block in line_blocks(path):
        place, start = block.find(quote), -1
        while place >= 0:
            if not inside:
                inside = place == 0 or block[place - 1 : place] in before
                start = place if inside else start
            elif block[place + 1 : place + 2] == quote:
                place += 1  # a quote that is written twice
            else:
                inside = False
            place = block.find(quote, place + 1)
        if start >= 0:
            opened = line + block.count(b"\n", 0, start)
        line += block.count(b"\n")
    return opened if inside else 0


class CountingQuotes:
    """A file that is read through, and the quotes that went by."""

    closed = False

    def __init__(self, file: Any, quote: bytes) -> None:
        self._file = file
        self._quote = quote
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        block: bytes = self._file.read(size)
        self.count += block.count(self._quote)
        return block

    def close(self) -> None:
        self.closed = True


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lift the limit that Python's csv sets on a field, for all of the process, for a while."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


__all__ = [
    "CountingQuotes",
    "check_header",
    "find_csv_error",
    "header_of",
    "line_of_open_quote",
    "records",
]
