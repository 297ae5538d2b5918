"""A site's own side of sealing: its key, its certificate, and whom it takes for which other site."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from umbel.federation.errors import FederationError
from umbel.federation.identity.cards import Peers
from umbel.federation.tasks import Input, Task, envelope_digest
from umbel.federation.wire import segments
from umbel.federation.wire.connection import SiteIdentity
from umbel.federation.wire.messages import InputComes, SegmentEntry
from umbel.federation.wire.sealing import Opener, Sealer


@dataclass(frozen=True)
class Seals:
    """What a site needs to seal to others, and to open what they seal to it.

    Attributes:
        identity: gives its key and its certificate as they are now.
        key: opens what is sealed to it.
        pinned: fingerprints of the keys of the only other sites that it knows; None for all that
            have a certificate.
    """

    identity: Callable[[], SiteIdentity]
    key: X25519PrivateKey
    pinned: Mapping[str, str] | None = None

    def sealer(self, task: Task, cards: Mapping[str, str]) -> Sealer:
        """Prepare to seal a task's output.

        Args:
            task: says to which sites.
            cards: of these sites, as the coordinator gave them.

        Raises:
            FederationError: a card is not its site's.
        """
        identity, peers = self.identity(), self._peers()
        keys = {site: peers.key_of(cards[site], site) for site in task.to}
        return Sealer(task, identity.certificate, identity.key, keys)

    def opened(
        self,
        task: Task,
        given: Input,
        comes: InputComes,
        contents: Iterable[tuple[SegmentEntry, bytes]],
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
