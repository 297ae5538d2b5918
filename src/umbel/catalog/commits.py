"""Writing once, though the process that writes may be killed at any moment.

A durable run gives each of its sinks a token. What keeps tokens with the rows (a transaction of a
database, the log of a lakehouse table) can later be asked whether it holds the rows. A file keeps
no token: before it is put in place, the run's store learns what will be put there.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from umbel.catalog.stores.registry import is_remote, plain_path, store_of
from umbel.plan.sinks import FileSink

#: The table in which databases keep the tokens of what durable runs wrote.
COMMITS = "umbel_commits"

_PIECE = 1 << 20


class Commit(Protocol):
    """One sink of a durable run, for what writes it.

    Attributes:
        token: names the run and the sink: letters, digits, dots and dashes.
    """

    @property
    def token(self) -> str:
        """The name."""

    def intend(self, facts: Mapping[str, Any]) -> None:
        """Keep what is about to be put in place; it lasts before this returns.

        Raises:
            RunError: the store cannot keep it, or another process took the run over.
        """

    def undo(self) -> None:
        """Keep that what was intended is not put in place."""


def digest_of(path: Path) -> str:
    """Give the SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def staged_path(target: Path, token: str) -> Path:
    """Where the file of a durable run is written before it is put in place: always the same."""
    return target.parent / f".{target.name[:100]}.{token}.partial"


def settle_file(sink: FileSink, token: str, facts: Mapping[str, Any]) -> bool:
    """Bring the writing of a file to its end, after the process that had begun it has died.

    Args:
        sink: the file.
        token: of the writing.
        facts: what was to be put in place.

    Returns:
        Whether the rows are in place now; if not, nothing of them is there.

    Raises:
        RunError: another file came to be at its place meanwhile, and may not be replaced.
    """
    path = plain_path(sink.path)
    if is_remote(path):
        return _holds(path, facts)
    target = Path(path).resolve()
    staged = staged_path(target, token)
    if not staged.exists():
        return True  # only the renaming takes it away; what happened to the file then is no matter
    if target.exists() and os.path.samestat(staged.stat(), target.stat()):
        staged.unlink()  # it was given its name, and died before it lost the other
        return True
    if staged.stat().st_size != facts["bytes"] or digest_of(staged) != facts["sha256"]:
        staged.unlink()
        return False
    store_of(path).put(staged, str(target), sink.exists, lambda: None)
    return True


def forget_staged(sink: FileSink, token: str) -> None:
    """Remove what a writing that was given up has left beside the file's place."""
    path = plain_path(sink.path)
    if not is_remote(path):
        staged_path(Path(path).resolve(), token).unlink(missing_ok=True)


def _holds(path: str, facts: Mapping[str, Any]) -> bool:
    """Whether an object is what was to be put there; an upload leaves nothing else behind."""
    store = store_of(path)
    name = path.rpartition("/")[2]
    if name not in {child.name for child in store.children(path.rpartition("/")[0])}:
        return False
    found = hashlib.sha256()
    with store.open(path) as file:
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest() == facts["sha256"]


__all__ = ["COMMITS", "Commit", "digest_of", "forget_staged", "settle_file", "staged_path"]
