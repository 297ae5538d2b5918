"""A site's own side of sealing: its key, its certificate, and whom it takes for which other site."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError
from umbel.federation.identity.cards import Peers
from umbel.federation.tasks import Input, Task, envelope_digest
from umbel.federation.wire import segments
from umbel.federation.wire.connection import SiteIdentity
from umbel.federation.wire.messages import Buffer, InputComes, SegmentEntry
from umbel.federation.wire.routes import Door, Line, Route
from umbel.federation.wire.sealing import Opener, Sealer, read_envelope


@dataclass(frozen=True)
class Seals:
    """What a site needs to seal to others, and to open what they seal to it.

    Attributes:
        identity: gives its key and its certificate as they are now.
        key: opens what is sealed to it.
        pinned: fingerprints of the keys of the only other sites that it knows; None for all that
            have a certificate.
        routes: addresses of the doors of other sites that may be dialled, by name.
        door: this site's own door; None if it has none.
    """

    identity: Callable[[], SiteIdentity]
    key: X25519PrivateKey
    pinned: Mapping[str, str] | None = None
    routes: Mapping[str, str] = field(default_factory=dict)
    door: Door | None = None

    def sealer(self, task: Task, cards: Mapping[str, str]) -> Sealer:
        """Prepare to seal a task's output.

        Args:
            task: says to which sites.
            cards: of these sites, as the coordinator gave them.

        Raises:
            FederationError: a card is not its site's.
        """
        identity, peers = self.identity(), self._peers()
        keys = {site: peers.card_of(cards[site], site).public_key for site in task.to}
        return Sealer(task, identity.certificate, identity.key, keys)

    def route(self, task: Task, cards: Mapping[str, str]) -> Route | None:
        """Find the straight way for a task's output; None unless there is one to all who read it.

        Args:
            task: says which sites read it.
            cards: of these sites.

        Raises:
            FederationError: a card is not its site's.
        """
        if not all(site in self.routes for site in task.to):
            return None
        identity, peers = self.identity(), self._peers()
        doors = {site: peers.card_of(cards[site], site).door for site in task.to}
        shut = [site for site in task.to if not doors[site]]
        if shut:
            return Route(task.id, (), f"site {shut[0]!r} has no door open")
        lines = [Line(site, self.routes[site], doors[site], identity) for site in task.to]
        return Route(task.id, lines)

    def brought(self, given: Input, comes: InputComes) -> list[tuple[SegmentEntry, pa.Buffer]]:
        """Give the segments of an input that another site has brought straight here.

        Raises:
            FederationError: they are not here.
        """
        if self.door is None:
            raise FederationError("this site has no door open any more")
        task = read_envelope(comes.envelope).task
        return list(self.door.contents(given.site, task, comes.segments))

    def opened(
        self,
        task: Task,
        given: Input,
        comes: InputComes,
        contents: Iterable[tuple[SegmentEntry, Buffer]],
        schema: pa.Schema,
    ) -> list[pa.Table]:
        """Open an input that another site has sealed.

        Args:
            task: whose input it is.
            given: what the task says of it.
            comes: what came of it, and goes with it.
            contents: its segments as they come.
            schema: the columns that must be in it.

        Raises:
            FederationError: it is not that site's, not for this task, or was changed.
        """
        if envelope_digest(comes.envelope) != given.digest:
            raise FederationError(f"input {given.label!r} is not the one that the task names")
        opener = Opener(
            comes.envelope,
            comes.segments,
            run=task.run,
            site=given.site,
            here=task.site,
            peers=self._peers(),
            key=self.key,
        )
        tables = []
        for number, (entry, content) in enumerate(contents):
            plain = opener.segment(number, content)
            inside = entry.model_copy(update={"bytes": len(plain)})
            tables.append(segments.unseal(plain, inside, schema, known=True))
        return tables

    def _peers(self) -> Peers:
        identity = self.identity()
        return Peers(identity.certificate.party.federation, identity.root, self.pinned)


__all__ = ["Seals"]
