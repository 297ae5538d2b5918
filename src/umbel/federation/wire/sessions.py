"""Who speaks: from the name that mutual TLS proved to the one certificate behind it.

TLS tells us the name in the client's certificate, not which certificate that was. So a site shows
its certificate when it says hello and signs a nonce with that certificate's key; what it sends
later carries the session's token, and each message is checked against all three: the name that TLS
proved, the session, and what was revoked meanwhile.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from datetime import UTC, datetime

from umbel.dataclass import dataclass
from umbel.federation.errors import IdentityError
from umbel.federation.identity import Authority, Certificate, PartyName
from umbel.federation.identity.certificates import fingerprint
from umbel.federation.identity.keys import verifies
from umbel.federation.store import Store
from umbel.federation.wire.messages import (
    OLDEST_PROTOCOL,
    PROTOCOL,
    Hello,
    Refused,
    RefusedError,
)
from umbel.telemetry.logs import say

_LOG = logging.getLogger(__name__)

#: Seconds for which a nonce holds, and how many one site may have open.
_NONCE_SECONDS, _MOST_NONCES = 60.0, 16
#: Seconds for which one look at what was revoked serves the parts of segments.
_MOMENT = 0.25
#: Sessions of one site that are remembered, so that an overtaken one hears why.
_MOST_SESSIONS = 4


@dataclass(frozen=True, slots=True)
class Session:
    """A site's session.

    Attributes:
        site: whose.
        serial: by which certificate.
        certificate: that certificate.
        epoch: of which of the site's lives.
        ends: when the first of the certificate's chain expires.
    """

    site: str
    serial: str
    certificate: Certificate
    epoch: str
    ends: datetime


def signed_hello(federation: str, nonce: str, epoch: str, certificate: Certificate) -> bytes:
    """Give what a site signs when it says hello."""
    parts = ("umbel hello 1", federation, nonce, epoch, fingerprint(certificate.own))
    return "\n".join(parts).encode()


class Sessions:
    """The sessions of all sites."""

    def __init__(self, authority: Authority, store: Store) -> None:
        self._authority = authority
        self._store = store
        self._lock = threading.Lock()
        self._nonces: dict[str, dict[str, float]] = {}
        self._sessions: dict[str, dict[str, Session]] = {}
        self._looked: dict[str, float] = {}

    def peer(self, identity: bytes) -> str:
        """Give the site that TLS proved.

        Raises:
            RefusedError: it is no site of this federation.
        """
        try:
            party = PartyName.parse(identity.decode())
        except (IdentityError, UnicodeDecodeError):
            raise RefusedError(Refused.IDENTITY, "the certificate names no site") from None
        if party.role != "site" or party.federation != self._authority.federation:
            raise RefusedError(
                Refused.IDENTITY,
                f"{party} is no site of the federation {self._authority.federation!r}",
            )
        return party.name

    def challenge(self, site: str, protocol: int) -> str:
        """Give a site a nonce to sign.

        Raises:
            RefusedError: it speaks another version.
        """
        _check_protocol(protocol)
        now = time.monotonic()
        nonce = secrets.token_hex(16)
        with self._lock:
            held = self._nonces.setdefault(site, {})
            for old in [n for n, end in held.items() if end < now][:_MOST_NONCES]:
                del held[old]
            if len(held) >= _MOST_NONCES:
                del held[next(iter(held))]
            held[nonce] = now + _NONCE_SECONDS
        return nonce

    def hello(self, site: str, hello: Hello) -> str:
        """Begin a session; give its token.

        Raises:
            RefusedError: the site does not prove that it holds the certificate, or that
                certificate is no good.
        """
        _check_protocol(hello.protocol)
        with self._lock:
            end = self._nonces.get(site, {}).pop(hello.nonce, float("-inf"))
        if end < time.monotonic():
            raise RefusedError(Refused.SESSION, "the nonce was used already, or is too old")
        try:
            certificate = Certificate.parse(hello.certificate.encode())
            certificate.check(self._authority.root)
            party, key = certificate.party, certificate.public_key
            serial = certificate.serial
        except IdentityError as error:
            raise RefusedError(Refused.IDENTITY, error.message, hint=error.hint) from None
        if party != PartyName(self._authority.federation, "site", site):
            raise RefusedError(
                Refused.IDENTITY, f"the certificate of {party} was shown by site {site!r}"
            )
        signed = signed_hello(party.federation, hello.nonce, hello.epoch, certificate)
        if not verifies(
            key, bytes.fromhex(hello.signature[: len(hello.signature) // 2 * 2]), signed
        ):
            raise RefusedError(
                Refused.IDENTITY, "the hello is not signed by the key of the certificate"
            )
        ends = min(one.not_valid_after_utc for one in certificate.chain)
        session = Session(site, serial, certificate, hello.epoch, ends)
        self._check_valid(session)
        token = secrets.token_hex(16)
        with self._lock:
            held = self._sessions.setdefault(site, {})
            held[token] = session
            while len(held) > _MOST_SESSIONS:
                oldest = next(iter(held))
                del held[oldest]
                self._looked.pop(oldest, None)
        ahead = hello.clock - time.time()
        say(_LOG, logging.INFO, "site.connected", site=site)
        self._store.members.saw(site, serial, hello.version, ahead, hello.round_trip)
        return token

    def session(self, site: str, token: str, *, lately: bool = False) -> Session:
        """Give the session of a message, if it may still speak.

        Args:
            site: whom TLS proved.
            token: the session's.
            lately: whether it is enough that it was not revoked a moment ago.

        Raises:
            RefusedError: there is none, a newer one took its place, or it was revoked.
        """
        with self._lock:
            held = self._sessions.get(site, {})
            session = held.get(token)
            newest = next(reversed(held.values()), None)
        if session is None or newest is None:
            raise RefusedError(Refused.SESSION, "there is no such session", hint="say hello again")
        if session.epoch != newest.epoch:
            raise RefusedError(
                Refused.SUPERSEDED,
                f"another process speaks for site {site!r} now",
                hint="run one agent for each site; if this was not you, revoke the site",
            )
        now = time.monotonic()
        if not lately or now - self._looked.get(token, float("-inf")) > _MOMENT:
            self._check_valid(session)
            self._looked[token] = now
        return session

    def _check_valid(self, session: Session) -> None:
        """Refuse what was revoked or ended since the certificate was checked, which was at hello."""
        try:
            if datetime.now(UTC) > session.ends:
                session.certificate.check(self._authority.root)
            self._store.members.check(session.site, session.serial)
        except IdentityError as error:
            raise RefusedError(Refused.IDENTITY, error.message, hint=error.hint) from None


def _check_protocol(protocol: int) -> None:
    if not OLDEST_PROTOCOL <= protocol <= PROTOCOL:
        raise RefusedError(
            Refused.PROTOCOL,
            f"the site speaks version {protocol} of the protocol, this coordinator "
            f"{OLDEST_PROTOCOL} to {PROTOCOL}",
            hint="install the same version of umbel on both",
        )


__all__ = ["Session", "Sessions", "signed_hello"]
