"""The way out of a site: what leaves is made anew, counted, and written down before it goes."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from umbel.federation.audit import Account
from umbel.federation.errors import LimitError
from umbel.federation.execution.clean import cleaned
from umbel.federation.tasks import Task

#: Rows that are handed on at once.
_PIECE = 2**16


class Outlet:
    """Hands rows on that leave: made anew, in pieces, and no more than the task may have.

    The last piece waits until it is written what left: so a small result leaves after the record of
    it, whole.
    """

    def __init__(
        self,
        task: Task,
        deliver: Callable[[pa.Table], None],
        account: Account,
        left: Callable[[int, int], None],
        answered: Callable[[], None],
    ) -> None:
        self._task = task
        self._answered = answered
        self._left = left
        self._deliver = deliver
        self._account = account
        self._last: pa.Table | None = None
        self.rows = self.bytes = 0

    def __call__(self, table: pa.Table) -> None:
        limits = self._task.limits
        for start in range(0, table.num_rows, _PIECE):
            piece = cleaned(table.slice(start, _PIECE), self._task.schema)
            self.rows += piece.num_rows
            self.bytes += piece.nbytes
            if self.rows > limits.rows or self.bytes > limits.bytes:
                raise LimitError(
                    f"the output has more than {limits.rows:,} rows or {limits.bytes:,} bytes",
                    hint="filter or aggregate more, or ask for higher limits",
                )
            self._left(self.rows, self.bytes)
            self._account.leaves(piece)
            if self._last is not None:
                self._deliver(self._last)
            self._last = piece

    def close(self, **more: object) -> None:
        """Write what left, and let the last piece go."""
        self._answered()
        self._account.released(**more)
        if self._last is not None:
            self._deliver(self._last)


__all__ = ["Outlet"]
