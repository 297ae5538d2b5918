"""Shows the heads of a site's audit log to the coordinator, and keeps what it says of them."""

from __future__ import annotations

import logging

from cryptography import x509

from umbel.federation.audit import Anchors, AuditLog, Head
from umbel.federation.errors import FederationError
from umbel.federation.wire.messages import AuditHead, Countersigned
from umbel.telemetry.logs import say

_LOG = logging.getLogger(__name__)


class Witness:
    """Has the coordinator countersign a log, whenever there is something new in it."""

    def __init__(self, log: AuditLog | None, root: x509.Certificate) -> None:
        """Prepare; without a log nothing is shown."""
        self._log = log
        self._anchors = None if log is None else Anchors(log.path.parent, log.site, root)
        self._told = 0

    def unsigned(self) -> AuditHead | None:
        """The log's head, if it is not countersigned yet."""
        if self._log is None or self._anchors is None:
            return None
        head = self._log.head
        if head.seq <= self._anchors.newest:
            return None
        return AuditHead(seq=head.seq, digest=head.digest)

    def hear(self, shown: AuditHead | None, said: Countersigned | None) -> None:
        """Take what the coordinator says of a head that it was shown."""
        if shown is None or said is None or self._log is None or self._anchors is None:
            return
        known = said.known
        if known is not None and known.seq != self._told:
            self._told = known.seq  # once for each
            text = "the coordinator has seen another audit log than this: it was cut or changed"
            say(_LOG, logging.ERROR, "audit.cut", text, site=self._log.site, number=known.seq)
        if said.anchor:
            try:
                self._anchors.take(said.anchor, Head(shown.seq, shown.digest))
            except (FederationError, OSError) as error:
                say(_LOG, logging.WARNING, "audit.anchor", "it is no good", cause=error)


__all__ = ["Witness"]
