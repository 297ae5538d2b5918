"""The site's line to its coordinator.

TLS does not tell a client why it was turned away, so the site looks at its own certificate and
clock before it dials, and when it gets no connection it finds out by itself what is wrong, in
words. A line that is dead is noticed by gRPC's keepalive within fifteen seconds.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pyarrow import flight

import umbel
from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError, IdentityError
from umbel.federation.identity import Certificate, PrivateKey, enrolment
from umbel.federation.identity.cards import Card
from umbel.federation.identity.certificates import key_matches
from umbel.federation.identity.keys import key_bytes, read_key, sign, write_secret
from umbel.federation.wire import frames, messages
from umbel.federation.wire.messages import Buffer, Message, Refused, RefusedError, Request
from umbel.federation.wire.sessions import signed_hello

#: The files of a site's identity.
KEY, CERTIFICATE, ROOT = "site.key", "site.pem", "root.pem"
#: A line without an answer is tried after 10 s and given up 5 s later. Polls are shorter than
#: that, so a healthy line carries no such pings, of which gRPC's servers allow few.
_OPTIONS = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # Despite its name this bounds one attempt: a handshake between busy machines takes a while.
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A line of one's own, also after a certificate was renewed.
    ("grpc.use_local_subchannel_pool", 1),
]
#: Seconds after which an answer is not waited for any more.
_TIMEOUT = 60.0
#: Bytes of a refusal.
_LONGEST_REFUSAL = 32 << 10

_M = TypeVar("_M", bound=Message)


class UnreachableError(FederationError):
    """The coordinator cannot be reached now; later it may."""


@dataclass(frozen=True)
class SiteIdentity:
    """A site's key and certificate, and whom it trusts."""

    folder: Path
    key: PrivateKey
    certificate: Certificate
    root: x509.Certificate

    @classmethod
    def read(cls, folder: Path) -> SiteIdentity:
        """Read what joining left in a folder.

        Raises:
            IdentityError: something of it is missing, or does not belong together.
        """
        certificate = Certificate.read(folder / CERTIFICATE)
        key = read_key(folder / KEY)
        if not key_matches(key, certificate):
            raise IdentityError(
                f"{folder / KEY} is not the key of {CERTIFICATE}", hint="join again"
            )
        return cls(folder, key, certificate, Certificate.read(folder / ROOT).own)

    @property
    def site(self) -> str:
        """The site's name."""
        return self.certificate.party.name

    def check(self) -> None:
        """Check what a TLS handshake would.

        Raises:
            IdentityError: says what is wrong.
        """
        self.certificate.check(self.root)

    def renewed(self, certificate: Certificate) -> SiteIdentity:
        """Take the next certificate, for the same key.

        Raises:
            IdentityError: it is not for this site's key, or not from its authority.
        """
        certificate.check(self.root)
        if certificate.party != self.certificate.party or not key_matches(self.key, certificate):
            raise IdentityError("the coordinator sent a certificate that is not for this site")
        write_secret(self.folder / CERTIFICATE, certificate.pem())
        return replace(self, certificate=certificate)


class Connection:
    """A line to the coordinator; safe to use from several threads."""

    def __init__(
        self,
        identity: SiteIdentity,
        address: str,
        sealing: X25519PrivateKey | None = None,
        door: str = "",
    ) -> None:
        """Prepare to dial.

        Args:
            identity: who speaks.
            address: the coordinator's.
            sealing: the key by which this site opens what others seal to it; None if it does not.
            door: the certificate of its own door for other sites; empty if it has none.
        """
        self.identity = identity
        self._sealing = sealing
        self._door = door
        #: How long a poll may wait, as the coordinator said.
        self.poll_seconds = 5.0
        self._address = address
        self._epoch = secrets.token_hex(16)
        self._lock = threading.RLock()
        self._client: Any = None
        self._session = ""

    def ask(
        self,
        make: Callable[[str], Request],
        form: type[_M],
        payload: Buffer = b"",
        *,
        seconds: float = _TIMEOUT,
    ) -> tuple[_M, Iterator[pa.Buffer]]:
        """Send a message in this site's session, which is begun if need be.

        Args:
            make: gives the message for a session.
            form: of the answer.
            payload: what follows the message.
            seconds: after which an answer is not waited for any more.

        Returns:
            The answer and the bytes that follow it, which come as they are read.

        Raises:
            UnreachableError: there is no answer.
            RefusedError: the coordinator refused.
            IdentityError: this site may not speak.
        """
        session = self._begin()
        try:
            return self._call(make(session), form, payload, seconds)
        except RefusedError as refusal:
            if refusal.why is not Refused.SESSION:
                raise
        # The coordinator was started anew.
        with self._lock:
            if self._session == session:
                self._session = ""
        return self._call(make(self._begin()), form, payload, seconds)

    def attend(self, make: Callable[[str], Request]) -> tuple[Any, Any]:
        """Open an exchange in this site's session; give its writer and its reader.

        Raises:
            UnreachableError: there is no coordinator.
            RefusedError: it refused.
            IdentityError: this site may not speak.
        """
        session = self._begin()
        descriptor = flight.FlightDescriptor.for_command(messages.pack(make(session)))
        try:
            writer, reader = self._connected().do_exchange(descriptor)
            kind, _, content = frames.receive(reader, lambda kind: _LONGEST_REFUSAL)
        except (flight.FlightError, pa.ArrowException, OSError) as error:
            raise self._unreachable(error) from None
        except frames.EndedError as error:
            raise self._unreachable(error) from None
        if kind == frames.REFUSED:
            try:
                messages.read_answer(messages.Done, bytes(content))
            except RefusedError as refusal:
                with self._lock:
                    if refusal.why is Refused.SESSION and self._session == session:
                        self._session = ""
                raise
        return writer, reader

    def renew(self) -> None:
        """Get the next certificate, and speak by it from now on.

        Raises:
            FederationError: the coordinator gives none.
        """
        request = enrolment.signing_request(self.identity.key)
        _, parts = self.ask(lambda session: messages.Renew(session=session), messages.Done, request)
        issued = b"".join(part.to_pybytes() for part in within(parts, 64 << 10))
        with self._lock:
            self.identity = self.identity.renewed(Certificate.parse(issued))
            self._client, self._session = None, ""

    @property
    def renewal_due(self) -> bool:
        """Whether it is time to renew the certificate."""
        return datetime.now(UTC) >= self.identity.certificate.renewal

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            client, self._client, self._session = self._client, None, ""
        if client is not None:
            client.close()

    def _begin(self) -> str:
        """Give the session, begun if there is none."""
        with self._lock:
            if self._session:
                return self._session
            identity = self.identity
            identity.check()
            began = time.monotonic()
            challenged, _ = self._call(
                messages.Challenge(protocol=messages.PROTOCOL), messages.Challenged
            )
            party = identity.certificate.party
            signed = signed_hello(
                party.federation, challenged.nonce, self._epoch, identity.certificate
            )
            hello = messages.Hello(
                protocol=messages.PROTOCOL,
                nonce=challenged.nonce,
                epoch=self._epoch,
                certificate=identity.certificate.pem().decode(),
                signature=sign(identity.key, signed).hex(),
                clock=time.time(),
                round_trip=time.monotonic() - began,
                version=umbel.__version__,
                card=self._card(),
            )
            welcome, _ = self._call(hello, messages.Welcome)
            self.poll_seconds = welcome.poll_seconds
            self._session = welcome.session
            return self._session

    def _card(self) -> str:
        if self._sealing is None:
            return ""
        identity = self.identity
        card = Card.make(identity.certificate, identity.key, self._sealing, self._door)
        return card.to_json()

    def _call(
        self, request: Request, form: type[_M], payload: Buffer = b"", seconds: float = _TIMEOUT
    ) -> tuple[_M, Iterator[pa.Buffer]]:
        client = self._connected()
        options = flight.FlightCallOptions(timeout=seconds)
        action = flight.Action(request.name, messages.pack(request, payload))
        try:
            results = client.do_action(action, options)
            header = next(results).body
        except StopIteration:
            raise UnreachableError("the coordinator broke off") from None
        except (flight.FlightError, pa.ArrowException, OSError) as error:
            raise self._unreachable(error) from None
        return messages.read_answer(form, header.to_pybytes()), self._rest(results)

    def _rest(self, results: Any) -> Iterator[pa.Buffer]:
        try:
            for result in results:
                yield result.body
        except (flight.FlightError, pa.ArrowException, OSError) as error:
            raise self._unreachable(error) from None

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self.identity.check()
                self._client = flight.FlightClient(
                    f"grpc+tls://{self._address}",
                    tls_root_certs=Certificate((self.identity.root,)).pem(),
                    cert_chain=self.identity.certificate.pem(),
                    private_key=key_bytes(self.identity.key),
                    generic_options=_OPTIONS,
                )
            return self._client

    def _unreachable(self, error: Exception) -> FederationError:
        if isinstance(error, flight.FlightUnavailableError):
            # An identity that went bad meanwhile is the likeliest reason, and the worst.
            self.identity.check()
            return UnreachableError(f"cannot reach the coordinator at {self._address}")
        return UnreachableError(f"the coordinator at {self._address} does not answer")

    def diagnose(self) -> str:
        """Find out in words why the coordinator cannot be reached."""
        host, _, port = self._address.rpartition(":")
        context = ssl.create_default_context(
            cadata=Certificate((self.identity.root,)).pem().decode()
        )
        context.load_cert_chain(self.identity.folder / CERTIFICATE, self.identity.folder / KEY)
        context.set_alpn_protocols(["h2"])
        try:
            with (
                socket.create_connection((host.strip("[]"), int(port)), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname=host.strip("[]")) as line,
            ):
                # With TLS 1.3 a server's word on our certificate comes after the handshake.
                line.settimeout(2)
                with contextlib.suppress(TimeoutError):
                    if not line.recv(1):
                        return "the coordinator hung up: it does not take this site's certificate"
        except ssl.SSLCertVerificationError as error:
            return f"the coordinator's certificate is no good here: {error.verify_message}"
        except ssl.SSLError as error:
            return f"the coordinator ended the TLS handshake: {error.reason or 'no reason given'}"
        except ConnectionResetError:
            return "the coordinator hung up: it does not take this site's certificate"
        except ValueError:
            return f"{self._address!r} is no address: write host:port"
        except OSError as error:
            return f"no connection: {error.strerror or type(error).__name__}"
        return "the line is fine now"


def within(parts: Iterator[pa.Buffer], most: int) -> Iterator[pa.Buffer]:
    """Give parts as long as they are not too large together."""
    for part in parts:
        most -= part.size
        if most < 0:
            raise RefusedError(Refused.PROTOCOL, "the coordinator sent more than it may")
        yield part


__all__ = ["Connection", "SiteIdentity", "UnreachableError", "within"]
