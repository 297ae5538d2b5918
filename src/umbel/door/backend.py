"""What the door asks of a session, and what it is told about who may do what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import pyarrow as pa

from umbel.catalog.address import Secret
from umbel.dataclass import dataclass
from umbel.executor import Cancellation

#: Where the door is if nobody says otherwise: this machine alone.
HOST, PORT = "127.0.0.1", 31337


class Statement(Protocol):
    """A statement that was read and found to mean something; nothing has run yet."""

    @property
    def schema(self) -> pa.Schema:
        """The columns of what it gives."""

    @property
    def writes(self) -> bool:
        """Whether it writes a table or a file."""

    def run(self, deliver: Callable[[pa.Table], None], cancellation: Cancellation) -> None:
        """Run it.

        Args:
            deliver: takes the rows in pieces; raises to stop the run.
            cancellation: stops it from another thread.

        Raises:
            UmbelError: it failed.
        """


@dataclass(frozen=True)
class Listed:
    """A table as tools list it.

    Attributes:
        catalog, schema, name: how statements may call it.
        kind: "TABLE" or "VIEW".
        path: its name where it is attached; None if it is not.
    """

    catalog: str
    schema: str
    name: str
    kind: str
    path: tuple[str, ...] | None = None


class Backend(Protocol):
    """A session, as the door sees it. Its methods are called from many threads."""

    def statement(self, text: str, parameters: Sequence[Any]) -> Statement:
        """Read a statement.

        Raises:
            PlanError: it has no meaning.
        """

    def count_parameters(self, text: str) -> int:
        """Count the parameters that a statement takes."""

    def catalogs(self) -> Sequence[str]:
        """Name the catalogs."""

    def tables(self, catalog: str | None = None) -> Sequence[Listed]:
        """List the tables of one catalog, or of all."""

    def schema(self, table: Listed) -> pa.Schema:
        """Give a table's columns.

        Raises:
            UmbelError: it cannot be read.
        """


@dataclass(frozen=True)
class Settings:
    """How a door listens, and what it lets in.

    Attributes:
        host, port: where it listens; port 0 takes a free one.
        token: what callers must show; None lets everybody on this machine in.
        certificate, key: files in PEM form for TLS; None for none.
        allow_writes: statements may write tables.
        allow_files: statements may read files by name, and write them if writes are allowed too.
        statements: how many may run at the same time.
        patience: seconds that a statement waits for its turn.
        timeout: seconds that a statement may take; None for no bound.
    """

    host: str = HOST
    port: int = PORT
    token: Secret | None = None
    certificate: str | None = None
    key: str | None = None
    allow_writes: bool = False
    allow_files: bool = False
    statements: int = 8
    patience: float = 30.0
    timeout: float | None = 3600.0


__all__ = ["HOST", "PORT", "Backend", "Settings", "Statement"]
