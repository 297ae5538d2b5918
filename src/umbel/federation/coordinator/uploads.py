"""Tables that clients send, kept for a while so that a plan can name them."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import time
from collections.abc import Iterable
from dataclasses import field
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.federation.coordinator.spool import Quota
from umbel.federation.errors import FederationError
from umbel.federation.stream import read_rows
from umbel.plan.decoder import schema_from_json
from umbel.plan.errors import PlanError
from umbel.plan.limits import Limits
from umbel.plan.types import is_object

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass
class _Kept:
    table: pa.Table = field(repr=False)
    size: int
    used: float


class Uploads:
    """What clients sent, each for the user who did.

    Args:
        limit: bytes of one table.
        total: bytes of all tables.
        keep: seconds for which a table is kept after it was last named.
    """

    def __init__(self, limit: int, total: int, keep: float) -> None:
        self.limit = limit
        self._quota = Quota(total, "uploads")
        self._keep = keep
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._lock = threading.Lock()

    def take(self, user: str, digest: str, schema: Any, chunks: Iterable[bytes]) -> int:
        """Take a table in; give its rows.

        Args:
            user: who sends it.
            digest: the SHA-256 of the body, by which plans name it.
            schema: its columns as JSON.
            chunks: the body.

        Raises:
            FederationError: it is larger than allowed, corrupt, or not what the digest says.
        """
        check_digest(digest)
        columns = schema_from_json(schema, "$.schema", Limits())
        for item in columns:
            if is_object(item.type):
                raise PlanError(f"column {item.name!r} holds Python objects")
        hasher = hashlib.sha256()
        parts: list[pa.Table] = []

        def hashed() -> Iterable[bytes]:
            for chunk in chunks:
                hasher.update(chunk)
                yield chunk

        read_rows(hashed(), columns, parts.append, limit=self.limit)
        if not secrets.compare_digest(hasher.hexdigest(), digest):
            raise FederationError("the table that came is not the one that its digest names")
        table = pa.concat_tables(parts) if parts else columns.empty_table()
        self._forget()
        with self._lock:
            if (user, digest) not in self._kept:
                self._quota.take(table.nbytes)
                self._kept[user, digest] = _Kept(table, table.nbytes, time.monotonic())
        return table.num_rows

    def has(self, user: str, digest: str) -> bool:
        """Whether a user sent a table, and it is kept still."""
        self._forget()
        with self._lock:
            kept = self._kept.get((user, digest))
            if kept is not None:
                kept.used = time.monotonic()
            return kept is not None

    def table(self, user: str, digest: str) -> pa.Table:
        """Give a table that a user sent.

        Raises:
            PlanError: it is not there, or not any more.
        """
        with self._lock:
            kept = self._kept.get((user, digest))
            if kept is None:
                raise PlanError(
                    f"no table {digest[:12]}… was sent, or it was forgotten", hint="send it again"
                )
            kept.used = time.monotonic()
            return kept.table

    def _forget(self) -> None:
        """Forget what nobody named for long."""
        with self._lock:
            now = time.monotonic()
            for key in [k for k, kept in self._kept.items() if now - kept.used > self._keep]:
                self._quota.give(self._kept.pop(key).size)


def check_digest(digest: str) -> str:
    """Give a digest back if it is one.

    Raises:
        PlanError: it is not.
    """
    if _DIGEST.fullmatch(digest) is None:
        raise PlanError("not a SHA-256", hint="64 hexadecimal digits, small letters")
    return digest


__all__ = ["Uploads", "check_digest"]
