"""Statements that clients hold: prepared ones, and those that wait to be fetched.

Nobody tells when a client is gone for good, so of each kind only the newest are kept.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.door.backend import Statement
from umbel.door.messages import MalformedError
from umbel.plan.errors import PlanError

Held = TypeVar("Held")
#: Reads a statement with the values of its parameters.
Read = Callable[[str, Sequence[Any]], Statement]

#: Statements of each kind that are kept.
MOST = 1_000
#: Bytes of parameters that are taken at once, and rows.
_PARAMETER_BYTES, _PARAMETER_ROWS = 16 << 20, 10_000


class Handles(Generic[Held]):
    """What clients hold, by handles that cannot be guessed."""

    def __init__(self, what: str, most: int = MOST) -> None:
        self._what = what
        self._most = most
        self._held: OrderedDict[bytes, Held] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def add(self, held: Held) -> bytes:
        """Keep something; give its handle."""
        handle = secrets.token_bytes(16)
        with self._lock:
            self._held[handle] = held
            if len(self._held) > self._most:
                self._held.popitem(last=False)
        return handle

    def get(self, handle: bytes) -> Held:
        """Find what a handle means.

        Raises:
            MalformedError: nothing, or not any more.
        """
        with self._lock:
            if handle not in self._held:
                raise MalformedError(
                    f"there is no {self._what} of this handle (any more): prepare it again"
                )
            self._held.move_to_end(handle)
            return self._held[handle]

    def drop(self, handle: bytes) -> None:
        """Forget what a handle means, if anything."""
        with self._lock:
            self._held.pop(handle, None)


@dataclass
class Prepared:
    """A prepared statement.

    Attributes:
        text: the statement.
        count: how many parameters it takes.
        values: rows of parameters that were bound last.
    """

    text: str
    count: int
    values: Sequence[Sequence[Any]] = ()

    def statement(self, read: Read) -> Statement:
        """Read it with the values that are bound."""
        if self.count and not self.values:
            raise PlanError(f"the statement has {self.count} parameters, and none is bound")
        if len(self.values) > 1:
            raise PlanError(
                f"{len(self.values)} rows of parameters are bound, but a query takes one",
                hint="run it once for each",
            )
        return read(self.text, self.values[0] if self.values else ())

    def result_schema(self, read: Read) -> pa.Schema | None:
        """The columns of its result; None if they depend on the parameters."""
        if not self.count:
            return read(self.text, ()).schema
        try:
            return read(self.text, [None] * self.count).schema
        except PlanError:
            return None  # as of `limit ?`, or of names that are told when the values are there

    def parameter_schema(self) -> pa.Schema:
        """Its parameters, of which no types are asked for."""
        return pa.schema([pa.field(f"${i}", pa.null()) for i in range(1, self.count + 1)])


def read_parameters(reader: Any) -> list[list[Any]]:
    """Read the rows of parameters that a client binds.

    Raises:
        PlanError: there are too many of them.
    """
    rows: list[list[Any]] = []
    size = 0
    while True:
        try:
            batch = reader.read_chunk().data
        except StopIteration:
            return rows
        if batch is None:  # a message of metadata alone
            continue
        size += batch.nbytes
        if size > _PARAMETER_BYTES or len(rows) + batch.num_rows > _PARAMETER_ROWS:
            raise PlanError(
                f"more than {_PARAMETER_ROWS:,} rows or {_PARAMETER_BYTES >> 20} MiB of parameters",
                hint="write them to a file or a table, and read that",
            )
        rows += [[column[index] for column in batch.columns] for index in range(batch.num_rows)]


__all__ = ["MOST", "Handles", "Prepared", "read_parameters"]
