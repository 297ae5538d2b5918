"""Files that hold what a run must not lose: sealed outputs of stages, and data of its process.

A file is written beside its place and renamed; its SHA-256 is kept elsewhere, in the store. A file
that does not fit its digest is as good as none: what it held is computed again. So only what cannot
be computed again is flushed to the disk; the rest outlives its process, which is what is promised.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.catalog.commits import digest_of
from umbel.catalog.writers import sync_folder
from umbel.dataclass import dataclass
from umbel.executor.runs.errors import StoreError
from umbel.executor.runs.values import value_from_text, value_to_text
from umbel.failpoints import reach

#: How rows lie in a file.
TABLE, VALUES = "arrow", "values"

_BATCH = 2**16
_TEXTS = pa.schema([pa.field("value", pa.string(), nullable=False)])


@dataclass(frozen=True)
class Seal:
    """A sealed file.

    Attributes:
        file: its name in its folder.
        sha256: of its bytes.
        size: its bytes.
        form: how the rows lie in it.
    """

    file: str
    sha256: str
    size: int
    form: str


def seal_table(folder: Path, name: str, table: pa.Table, *, lasting: bool = True) -> Seal:
    """Seal a table.

    Args:
        folder: where the file goes.
        name: the file's, without its suffix; empty for its SHA-256.
        table: the rows.
        lasting: it must outlive the machine's power too.

    Raises:
        StoreError: the file cannot be written, such as on a full disk.
    """
    batches = table.to_batches(max_chunksize=_BATCH)
    return _sealed(folder, name, table.schema, batches, TABLE, lasting=lasting)


def seal_values(folder: Path, name: str, values: Iterable[Any], *, lasting: bool = True) -> Seal:
    """Seal Python values; see `seal_table`.

    Raises:
        NoFormError: one has no form that can be kept.
        StoreError: the file cannot be written.
    """
    return _sealed(folder, name, _TEXTS, _texts(values), VALUES, lasting=lasting)


def _texts(values: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    items = iter(values)
    while piece := [value_to_text(value) for value in islice(items, _BATCH)]:
        yield pa.RecordBatch.from_arrays([pa.array(piece, pa.string())], schema=_TEXTS)


def _sealed(
    folder: Path,
    name: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    form: str,
    *,
    lasting: bool,
) -> Seal:
    temporary = folder / f"{name or secrets.token_hex(8)}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with (
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, schema, options=options) as writer,
        ):
            for batch in batches:
                writer.write_batch(batch)
        with temporary.open("rb+") as written:
            sha256 = hashlib.file_digest(written, "sha256").hexdigest()
            size = written.tell()
            if lasting:
                os.fsync(written.fileno())
        place = folder / f"{name or sha256}.{form}"
        reach("seal-written")
        temporary.replace(place)
        if lasting:
            sync_folder(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(folder, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    reach("seal-placed")
    return Seal(place.name, sha256, size, form)


def cannot_write(folder: Path, error: OSError) -> StoreError:
    """Make the error for a folder of runs that takes no more."""
    why = os.strerror(error.errno) if error.errno else str(error)
    return StoreError(
        f"{folder}: what the run has finished cannot be kept: {why}",
        hint="make room or let it be written to, then resume the run: what was kept before is there",
    )


def is_whole(folder: Path, seal: Seal) -> bool:
    """Whether a sealed file is there, and is what was sealed."""
    path = folder / seal.file
    try:
        return path.stat().st_size == seal.size and digest_of(path) == seal.sha256
    except OSError:
        return False


def read_seal(folder: Path, seal: Seal) -> pa.Table | list[Any]:
    """Read a sealed file: a table, or a list of values."""
    with pa.ipc.open_file(pa.OSFile(str(folder / seal.file), "rb")) as reader:
        table = reader.read_all()
    if seal.form == TABLE:
        return table
    return [value_from_text(text) for text in table.column(0).to_pylist()]


__all__ = [
    "TABLE",
    "VALUES",
    "Seal",
    "cannot_write",
    "is_whole",
    "read_seal",
    "seal_table",
    "seal_values",
]
