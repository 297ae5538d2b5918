"""The errors for files that are not what they should be: each names the file and what to do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from umbel.catalog.files import compression_of, is_remote
from umbel.catalog.stores.registry import open_file, store_of
from umbel.plan.errors import SourceError
from umbel.plan.sources import CsvSource
from umbel.plan.types import type_name


def wrong_value(path: str, row: int, field: pa.Field, text: str) -> SourceError:
    """Make the error for a text that its column's type does not hold."""
    shown = text if len(text) <= 80 else text[:79] + "…"
    return SourceError(
        f"{path}, row {row}: column {field.name!r} holds {shown!r}, "
        f"which is no {type_name(field.type)}",
        hint="correct the file, or give the column another type: "
        f"schema={{{field.name!r}: pa.string()}}",
    )


def invalid_text(path: str, block: bytes, line: int) -> SourceError:
    """Make the error for a piece of a file, starting at line `line`, that is not UTF-8."""
    start = 0
    try:
        block.decode()
    except UnicodeDecodeError as error:
        start = error.start
    number = line + block.count(b"\n", 0, start)
    return SourceError(
        f"{path}, line {number}: byte 0x{block[start]:02x} is not UTF-8",
        hint="convert the file first: iconv -f LATIN1 -t UTF-8",
    )


def open_quote(source: CsvSource, path: str, line: int) -> SourceError:
    """Make the error for a quote that is opened in a line and never closed."""
    return SourceError(
        f"{path}, line {line}: a quote {source.quote} is opened and never closed",
        hint="correct the line; a quote inside of quotes is written twice",
    )


def damaged(path: str, error: Exception) -> SourceError:
    """Make the error for a file that ends too early or does not decompress."""
    elsewhere = of_the_store(path, error)
    if elsewhere is not None:
        return elsewhere
    compression = compression_of(path)
    what = f"the {compression} data is damaged or cut off" if compression else "cannot be read"
    return SourceError(
        f"{path}: {what}: {error}",
        hint="copy the file again from where it came, or leave it out of the paths",
    )


def malformed(path: str, form: str, error: Exception) -> SourceError:
    """Make the error for a file that is not what it should be."""
    elsewhere = of_the_store(path, error)
    if elsewhere is not None:
        return elsewhere
    if not is_remote(path) and not Path(path).exists():
        return vanished(path)
    if _is_empty(path):
        return SourceError(f"{path}: the file is empty", hint="leave it out of the paths")
    first = str(error).strip().split("\n", 1)[0]
    return SourceError(
        f"{path}: not well-formed {form}: {first}",
        hint="repair the file, or leave it out of the paths",
    )


def of_the_store(path: str, error: BaseException) -> SourceError | None:
    """Make the error for a file whose store, not whose bytes, made reading fail; None if it did."""
    return store_of(path).explain(path, error) if is_remote(path) else None


def _is_empty(path: str) -> bool:
    if is_remote(path):
        with open_file(path) as file:
            return not file.read(1)
    return Path(path).stat().st_size == 0


def changed(path: str, what: str, kind: str) -> SourceError:
    """Make the error for a file that is not what it was when the plan was made."""
    return SourceError(
        f"{path}: {what}: the file was changed after the plan was made",
        hint=f"read it again, so that its columns are found anew: session.read_{kind}(…)",
    )


def vanished(path: str) -> SourceError:
    """Make the error for a file that was found, and was gone when it was to be read."""
    return SourceError(
        f"{path}: the file was removed while it was to be read",
        hint="run it again once nothing changes the files, or leave it out of the paths; of a table "
        "that was removed, replaced or cleaned make the frame anew",
    )


__all__ = [
    "changed",
    "damaged",
    "invalid_text",
    "malformed",
    "of_the_store",
    "open_quote",
    "vanished",
    "wrong_value",
]
