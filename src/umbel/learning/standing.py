"""Rounds over questions that stand: each part takes the question once, and then only numbers go.

A `Lasting` stands in the place of a session while a model is trained. Where sites take standing
questions, rounds go over them; where not, or where one is lost for good, they are asked as before,
which gives the same answers more slowly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from umbel.learning.gathering import Gathered, Patience
from umbel.plan.operators import Operator

if TYPE_CHECKING:
    from umbel.api.session import Session


class Standing(Protocol):
    """Questions that stand, to several parts."""

    def ask(self, asks: Mapping[str, Operator], patience: Patience) -> Gathered:
        """Ask all at the same time; one row each.

        Args:
            asks: as they were taken, but for their numbers.
            patience: how long to wait, and for how many.

        Raises:
            PlanError: a part's rules do not allow it.
        """

    def close(self) -> None:
        """Ask no more."""


@runtime_checkable
class Stands(Protocol):
    """A session whose parts take questions that stand."""

    def stand(self, plans: Mapping[str, Operator]) -> Standing | None:
        """Have each part take a question; None if some cannot."""


class Lasting:
    """A session for the rounds of one training.

    Attributes:
        session: what it stands for.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._standing: dict[tuple[str, frozenset[str]], Standing] = {}
        self._able = isinstance(session, Stands)

    def gather(self, asks: Mapping[str, Operator], patience: Patience) -> Gathered | None:
        """Ask by what stands; None if it has to be asked as before."""
        if not self._able or not isinstance(self.session, Stands):
            return None
        kind = next(iter(asks.values())).name
        names = frozenset(asks)
        found = next((s for (k, n), s in self._standing.items() if k == kind and names <= n), None)
        new = found is None
        if found is None:
            found = self.session.stand(asks)
            if found is None:
                self._able = False
                return None
            self._standing[(kind, names)] = found
        gathered = found.ask(asks, patience)
        if gathered.away and (new or len(gathered.rows) < patience.needed(len(asks))):
            # Perhaps those who are away take no such questions: ask once more as before.
            self.close()
            self._able = False
            return None
        return gathered

    def close(self) -> None:
        """Let all questions go."""
        for standing in self._standing.values():
            standing.close()
        self._standing.clear()


@contextmanager
def lasting(session: Session) -> Iterator[Lasting]:
    """Lend what stands for a session while a model is trained."""
    made = Lasting(session)
    try:
        yield made
    finally:
        made.close()


__all__ = ["Lasting", "Standing", "Stands", "lasting"]
