"""Files of models: written beside what is there, and put in its place at once."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from umbel.catalog.writers import sync_folder


def write_file(path: Path, data: bytes) -> None:
    """Write a new file; it is on the disk when this returns."""
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in the place of what is there, at once."""
    folder = path.absolute().parent
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as beside:
        made = Path(beside) / "file"
        write_file(made, data)
        made.replace(path)
    sync_folder(folder)


__all__ = ["replace_file", "write_file"]
