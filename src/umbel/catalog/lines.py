"""Files as bytes and as pieces of whole lines, decompressed by their suffix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from umbel.catalog.complaints import damaged, vanished
from umbel.catalog.files import compression_of, is_remote
from umbel.catalog.stores.registry import open_file
from umbel.plan.errors import SourceError

#: Bytes of text that are read and cut into lines at once.
BLOCK = 4 * 2**20

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def open_bytes(path: str) -> Any:
    """Open a file for reading, decompressed by its suffix: .gz, .zst, .bz2."""
    try:
        if is_remote(path):
            return pa.input_stream(open_file(path), compression=compression_of(path))
        return pa.input_stream(path, compression=compression_of(path))
    except FileNotFoundError:
        raise vanished(path) from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error


def line_blocks(path: str, size: int = BLOCK) -> Iterator[bytes]:
    r"""Yield a text file in pieces of whole lines, each line ended by `\n`.

    `\r\n` becomes `\n`, and a byte order mark at the start is dropped.
    """
    pending: list[bytes] = []
    first = True
    with open_bytes(path) as file:
        while True:
            try:
                block = file.read(size)
            except (OSError, EOFError) as error:
                raise damaged(path, error) from error
            if not block:
                break
            if first:
                block, first = block.removeprefix(BYTE_ORDER_MARK), False
            cut = block.rfind(b"\n") + 1
            if not cut:  # a line longer than a block: joined once, at its end
                pending.append(block)
                continue
            whole = b"".join([*pending, block[:cut]])
            pending = [block[cut:]]
            yield whole.replace(b"\r\n", b"\n")
    rest = b"".join(pending)
    if rest:
        yield rest + b"\n"


__all__ = ["BLOCK", "line_blocks", "open_bytes"]
