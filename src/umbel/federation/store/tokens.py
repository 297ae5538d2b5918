"""Tokens of people and tools: what the coordinator keeps of them, which opens nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa

from umbel.federation.access import Role, TokenRecord
from umbel.federation.store.database import Database
from umbel.federation.store.schema import TOKENS


class Tokens:
    """The tokens that were given out."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: TokenRecord) -> None:
        """Keep a token's record."""
        with self._database.write() as connection:
            connection.execute(
                sa.insert(TOKENS).values(
                    id=record.id,
                    owner=record.user,
                    digest=record.digest,
                    roles=" ".join(role.value for role in record.roles),
                    expires=record.expires.timestamp(),
                    revoked=record.revoked,
                )
            )

    def get(self, name: str) -> TokenRecord | None:
        """Give a token's record; None if there is none of that id."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(TOKENS).where(TOKENS.c.id == name)).first()
        return None if row is None else _record(row)

    def all(self) -> list[TokenRecord]:
        """Give all, by user."""
        query = sa.select(TOKENS).order_by(TOKENS.c.owner, TOKENS.c.id)
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(query)]

    def revoke(self, name: str) -> bool:
        """Take a token back; give whether there was one to take back."""
        change = sa.update(TOKENS).where(TOKENS.c.id == name, TOKENS.c.revoked.is_(sa.false()))
        with self._database.write() as connection:
            return connection.execute(change.values(revoked=True)).rowcount == 1


def _record(row: sa.Row[tuple[object, ...]]) -> TokenRecord:
    values = row._asdict()
    return TokenRecord(
        id=values["id"],
        user=values["owner"],
        digest=values["digest"],
        roles=tuple(Role(role) for role in values["roles"].split()),
        expires=datetime.fromtimestamp(values["expires"], UTC),
        revoked=values["revoked"],
    )


__all__ = ["Tokens"]
