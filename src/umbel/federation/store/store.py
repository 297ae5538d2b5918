"""The coordinator's store as one object."""

from __future__ import annotations

from umbel.federation.store.database import Database
from umbel.federation.store.members import Members
from umbel.federation.store.tasks import Tasks
from umbel.federation.store.tokens import Tokens


class Store:
    """All that a coordinator must remember.

    Attributes:
        members: sites, certificates and invitations.
        tasks: what was asked of sites, and what they committed.
        tokens: what is kept of the tokens of people and tools.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.members = Members(database)
        self.tasks = Tasks(database)
        self.tokens = Tokens(database)

    @classmethod
    def open(cls, url: str) -> Store:
        """Open a store and bring its tables up to date; make it if there is none.

        Args:
            url: `sqlite:///path/coordinator.db` or `postgresql://user@host/database`.

        Raises:
            FederationError: it cannot be opened, or a newer umbel wrote it.
        """
        return cls(Database.open(url))

    @property
    def database(self) -> Database:
        """The database, for what else the coordinator keeps in it."""
        return self._database

    def claim(self) -> int:
        """Become the coordinator of this store; give the number of this start.

        Raises:
            FederationError: one is running on it already.
        """
        return self._database.claim()

    def close(self) -> None:
        """Close it."""
        self._database.close()


__all__ = ["Store"]
