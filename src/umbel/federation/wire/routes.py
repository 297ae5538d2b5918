"""The straight way from one site to another: sealed segments without a stop at the coordinator.

A site listens on nothing, unless its people open a door for other sites, and others dial it only
where their own people have written its address: the coordinator can make nobody dial anybody.
Both sides show who they are. Who dials shows its certificate; the door has one of its own, which
stands in the site's card, signed by the site. What comes through the door is stored and no more:
its envelope goes by way of the coordinator, and is checked when a task asks for the rows.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from pyarrow import flight

from umbel.federation.errors import FederationError, IdentityError
from umbel.federation.identity import Certificate, PartyName
from umbel.federation.identity.certificates import CLOCK_SKEW, name_of
from umbel.federation.identity.keys import key_bytes, new_key
from umbel.federation.wire import messages
from umbel.federation.wire.actions import ActionServer
from umbel.federation.wire.arrivals import Arrivals
from umbel.federation.wire.connection import SiteIdentity, UnreachableError
from umbel.federation.wire.messages import Buffer, Refused, RefusedError, SegmentEntry
from umbel.federation.wire.segments import digest
from umbel.telemetry.logs import say

_LOG = logging.getLogger(__name__)

#: How long a door's certificate holds: it is made anew with each start.
_DOOR_LIFE = timedelta(days=400)
#: Seconds for which outputs are kept that nobody may come for any more.
_KEPT = 24 * 3600.0
#: Seconds for one answer, and how often one is asked for before the output goes the other way.
_TIMEOUT, _TRIES = 15.0, 2


class Door:
    """Where a site takes what others have sealed to it.

    Attributes:
        certificate: the door's, as PEM; for the site's card.
    """

    def __init__(
        self,
        identity: SiteIdentity,
        address: str,
        folder: Path,
        quota: int,
        known: Container[str] | None = None,
    ) -> None:
        """Open the door.

        Args:
            identity: the site's.
            address: host and port to listen on; port 0 for a free one.
            folder: where segments are kept.
            quota: bytes that those of one other site may take.
            known: the only sites that may come; None for all that have a certificate.

        Raises:
            FederationError: the address is taken.
        """
        self._identity = identity
        self._folder = folder
        self._quota = quota
        self._known = known
        self._arrivals: dict[str, Arrivals] = {}
        self._lock = threading.Lock()
        key = new_key()
        name = name_of(identity.site, identity.certificate.party.federation)
        now = datetime.now(UTC)
        own = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + _DOOR_LIFE)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(_host(identity.site))]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = Certificate((own,)).pem()
        self.certificate = pem.decode()
        try:
            self._server: Any = ActionServer(
                f"grpc+tls://{address}",
                self._answer,
                tls_certificates=[(pem, key_bytes(key))],
                root_certificates=Certificate((identity.root,)).pem(),
            )
        except (OSError, flight.FlightError, pa.ArrowException):
            raise FederationError(
                f"cannot listen on {address}", hint="is the port taken by another program?"
            ) from None

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self._server.port)

    def close(self) -> None:
        """Close it; what came whole stays for the next start."""
        self._server.shutdown()
        with self._lock:
            arrivals = list(self._arrivals.values())
        for one in arrivals:
            one.close()

    def contents(
        self, site: str, task: str, entries: Iterable[SegmentEntry]
    ) -> Iterator[tuple[SegmentEntry, pa.Buffer]]:
        """Give the segments of an output that another site has brought.

        Raises:
            FederationError: one is not here, or is damaged.
        """
        arrivals = self._of(site)
        for entry in entries:
            content, known = arrivals.read(task, entry.digest)
            if not known and digest(content) != entry.digest:
                raise FederationError("a segment is damaged")
            yield entry, content

    def _of(self, site: str) -> Arrivals:
        with self._lock:
            if site not in self._arrivals:
                self._arrivals[site] = Arrivals(self._folder / site, self._quota)
            return self._arrivals[site]

    def _answer(self, identity: bytes, action: str, body: memoryview) -> Iterator[Buffer]:
        try:
            site = self._peer(identity)
            if action != messages.Straight.name:
                raise RefusedError(Refused.PROTOCOL, "there is no such action")
            part, payload = messages.unpack(messages.Straight, body, messages.Straight.most)
            if not part.offset:
                self._sweep(site)
            answer: messages.Message = messages.Stored(next=self._of(site).put(part, payload))
        except RefusedError as refusal:
            answer = messages.Refusal(
                refused=refusal.why, message=refusal.message, hint=refusal.hint
            )
        except Exception as error:  # noqa: BLE001 - logged here; the other site learns nothing of it
            say(_LOG, logging.ERROR, "straight.failed", "it could not be taken", cause=error)
            answer = messages.Refusal(
                refused=Refused.INTERNAL, message="a fault of the other site's", hint=""
            )
        yield from messages.answer(answer)

    def _peer(self, identity: bytes) -> str:
        try:
            party = PartyName.parse(identity.decode())
        except (IdentityError, UnicodeDecodeError):
            raise RefusedError(Refused.IDENTITY, "the certificate names no site") from None
        federation = self._identity.certificate.party.federation
        if party.role != "site" or party.federation != federation:
            raise RefusedError(Refused.IDENTITY, f"{party} is no site of {federation!r}")
        if self._known is not None and party.name not in self._known:
            raise RefusedError(
                Refused.IDENTITY, f"site {party.name!r} is not among the peers of the other site"
            )
        return party.name

    def _sweep(self, site: str) -> None:
        """Remove what has lain here for long: its run is over."""
        arrivals, old = self._of(site), time.time() - _KEPT
        for folder in (self._folder / site).iterdir():
            try:
                late = folder.stat().st_mtime < old
            except FileNotFoundError:
                continue
            if late:
                arrivals.forget(folder.name)


class Line:
    """A line to the door of another site."""

    def __init__(self, site: str, address: str, door: str, identity: SiteIdentity) -> None:
        """Prepare to dial.

        Args:
            site: whose door it is.
            address: where, as our people have written it.
            door: its certificate, as the site's card has it.
            identity: of this site.
        """
        self.site = site
        self._client = flight.FlightClient(
            f"grpc+tls://{address}",
            tls_root_certs=door.encode(),
            override_hostname=_host(site),
            cert_chain=identity.certificate.pem(),
            private_key=key_bytes(identity.key),
            generic_options=[("grpc.use_local_subchannel_pool", 1)],
        )

    def give(self, task: str, entry: SegmentEntry, content: memoryview) -> None:
        """Bring a segment there.

        Raises:
            UnreachableError: there is no answer.
            RefusedError: the other site does not take it.
        """
        offset = 0
        while offset < entry.bytes:
            part = messages.Straight(
                task=task, digest=entry.digest, bytes=entry.bytes, offset=offset
            )
            payload = content[offset : offset + messages.PART]
            offset = self._asked(messages.pack(part, payload)).next

    def _asked(self, body: bytes) -> messages.Stored:
        action = flight.Action(messages.Straight.name, body)
        options = flight.FlightCallOptions(timeout=_TIMEOUT)
        for _ in range(_TRIES):
            try:
                (answer,) = list(self._client.do_action(action, options))
            except (flight.FlightError, pa.ArrowException, OSError, ValueError) as error:
                say(_LOG, logging.INFO, "route.away", "no answer", cause=error, site=self.site)
                continue
            return messages.read_answer(messages.Stored, answer.body.to_pybytes())
        raise UnreachableError(f"site {self.site!r} does not answer")

    def close(self) -> None:
        """Hang up."""
        self._client.close()


class Route:
    """The straight way for one output, as long as it holds.

    Attributes:
        failed: why it does not hold; empty if it does.
    """

    def __init__(self, task: str, lines: Sequence[Line], failed: str = "") -> None:
        self._task = task
        self._lines = lines
        self.failed = failed

    def give(self, entry: SegmentEntry, content: memoryview) -> bool:
        """Bring a segment to all who read it; tell whether they have it."""
        for line in self._lines:
            if self.failed:
                break
            try:
                line.give(self._task, entry, content)
            except FederationError as error:
                self.failed = error.message
        return not self.failed

    def close(self) -> None:
        """Hang up."""
        for line in self._lines:
            line.close()


def _host(site: str) -> str:
    """The name by which a door's certificate is known; nobody looks it up."""
    return f"{site}.site.umbel.internal"


__all__ = ["Door", "Line", "Route"]
