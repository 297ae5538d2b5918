"""Who may come in: where the door may listen, and the token that callers show."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyarrow import flight

from umbel.door.backend import Settings
from umbel.plan.errors import PlanError, SourceError

#: A shorter token can be guessed.
SHORTEST = 16
_HANDSHAKE = flight.FlightMethod.HANDSHAKE


def check_settings(settings: Settings) -> None:
    """Raise `PlanError` for a door that would be open to strangers, or cannot work.

    >>> check_settings(Settings())
    >>> check_settings(Settings(host="0.0.0.0"))
    Traceback (most recent call last):
    umbel.plan.errors.PlanError: the address 0.0.0.0 can be reached from other machines: it needs
    a certificate and a token
    ...
    """
    if (settings.certificate is None) != (settings.key is None):
        raise PlanError("a certificate and its key go together", hint="give both, or none")
    if not is_local(settings.host):
        missing = [
            what
            for what, given in (
                ("a certificate", settings.certificate),
                ("a token", settings.token),
            )
            if given is None
        ]
        if missing:
            raise PlanError(
                f"the address {settings.host} can be reached from other machines: it needs "
                f"{' and '.join(missing)}",
                hint="umbel serve --certificate cert.pem --key key.pem --token env:NAME; or listen "
                "on 127.0.0.1",
            )
    if settings.token is not None and len(settings.token.reveal()) < SHORTEST:
        raise PlanError(
            f"the token is shorter than {SHORTEST} characters",
            hint='make one: python -c "import secrets; print(secrets.token_urlsafe())"',
        )
    if settings.statements < 1:
        raise PlanError(f"{settings.statements} statements at the same time are too few")
    if settings.timeout is not None and settings.timeout <= 0:
        raise PlanError(f"a statement cannot end within {settings.timeout:g} seconds")


def is_local(host: str) -> bool:
    """Whether an address can be reached from this machine only.

    >>> is_local("127.0.0.1"), is_local("::1"), is_local("localhost"), is_local("10.0.0.1")
    (True, True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def certificates(settings: Settings) -> list[tuple[bytes, bytes]] | None:
    """Read the certificate and its key.

    Raises:
        SourceError: a file cannot be read.
    """
    if settings.certificate is None or settings.key is None:
        return None
    return [(_content(settings.certificate), _content(settings.key))]


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None


class AnyHandshake(flight.ServerAuthHandler):  # type: ignore[misc]
    """Lets clients shake hands; `Tokens` has looked at their token before."""

    def authenticate(self, outgoing: Any, incoming: Any) -> None:
        """Ask for nothing more."""

    def is_valid(self, token: bytes) -> bytes:
        """Let every call pass to `Tokens`."""
        return b""


class Tokens(flight.ServerMiddlewareFactory):  # type: ignore[misc]
    """Turns away calls without the token.

    It comes as a bearer token, or as the password of any user, which clients that only know users
    and passwords send; those get it back as a bearer token when they shake hands.
    """

    def __init__(self, token: str | None) -> None:
        self._token = token
        self._digest = b"" if token is None else hashlib.sha256(token.encode()).digest()

    def start_call(self, info: Any, headers: Mapping[str, Sequence[Any]]) -> Any:
        """Look at the headers of a call.

        Raises:
            FlightUnauthenticatedError: the token is missing or wrong.
        """
        shown = _credentials(headers)
        if self._token is not None:
            if shown is None:
                raise flight.FlightUnauthenticatedError(
                    "the call shows no token: send 'authorization: Bearer TOKEN', or the token as "
                    "the password of any user"
                )
            # Digests are of one length, so that the time tells nothing.
            if not hmac.compare_digest(hashlib.sha256(shown).digest(), self._digest):
                raise flight.FlightUnauthenticatedError("the token is wrong")
        if info.method == _HANDSHAKE:
            return _Bearer(self._token or "none")
        return None


class _Bearer(flight.ServerMiddleware):  # type: ignore[misc]
    def __init__(self, token: str) -> None:
        self._token = token

    def sending_headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"}


def _credentials(headers: Mapping[str, Sequence[Any]]) -> bytes | None:
    """Find the token in a call's headers; None if there is none."""
    found = next(
        (values for name, values in headers.items() if name.lower() == "authorization"), ()
    )
    for value in found:
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        scheme, _, rest = text.partition(" ")
        if scheme.lower() == "bearer":
            return rest.strip().encode()
        if scheme.lower() == "basic":
            try:
                return base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                return None
    return None


__all__ = ["SHORTEST", "AnyHandshake", "Tokens", "certificates", "check_settings", "is_local"]
