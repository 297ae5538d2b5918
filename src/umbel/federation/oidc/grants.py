"""How a person on a machine gets tokens of a provider: by a code for a device, or by a browser.

Both are for a client without a secret. With the device grant (RFC 8628) one opens a page on any
machine and types a code; with the other a browser here comes back to a port of this machine
(RFC 8252), and a proof that only we know (PKCE, RFC 7636) ties the code to us.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import field
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from umbel.dataclass import dataclass
from umbel.federation.errors import IdentityError, ProviderError
from umbel.federation.oidc.provider import Metadata, Provider, checked_url

_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
#: Seconds between two questions unless the provider says otherwise, and what "slow down" adds.
_INTERVAL, _SLOWER = 5.0, 5.0
#: Seconds for a person to log in, whatever a provider says.
_PATIENCE = 900.0
_LONGEST = 32 * 1024
_PAGE = b"<!doctype html><title>umbel</title><p>%s You can close this page."


@dataclass(frozen=True)
class Client:
    """What a coordinator says of its provider.

    Attributes:
        id: the client's at the provider.
        kind: which token is sent to the coordinator: "access" or "id".
        scopes: what is asked for.
        parameters: what else the provider wants to be told, such as an audience.
    """

    id: str
    kind: str
    scopes: tuple[str, ...]
    parameters: dict[str, str]


@dataclass(frozen=True)
class Grant:
    """What a provider gave.

    Attributes:
        word: the token for the coordinator.
        seconds: how long it holds from now.
        refresh: gets the next one; empty if none was given.
    """

    word: str = field(repr=False)
    seconds: float
    refresh: str = field(default="", repr=False)


@dataclass(frozen=True)
class Prompt:
    """What a person is to do.

    Attributes:
        url: the page to open.
        code: what to type there; empty if nothing.
    """

    url: str
    code: str = ""


Show = Callable[[Prompt], None]


def by_device(provider: Provider, found: Metadata, client: Client, show: Show) -> Grant:
    """Log in with a code that is typed on any machine.

    Raises:
        IdentityError: the person did not, or may not.
        ProviderError: the provider does not do as it should.
    """
    if not found.device:
        raise ProviderError(
            f"the provider {found.issuer} gives no codes for devices", hint="umbel login --browser"
        )
    form = {"client_id": client.id, "scope": " ".join(client.scopes), **client.parameters}
    status, said = provider.post(found.device, form)
    if status != 200:
        raise _refused(said, status)
    device, code = _text(said, "device_code"), _text(said, "user_code")
    plain = found.issuer.startswith("http:")
    page = checked_url(_text(said, "verification_uri"), "the provider's page", plain=plain)
    whole = said.get("verification_uri_complete")
    if isinstance(whole, str) and whole:
        page = checked_url(whole, "the provider's page", plain=plain)
    if not code.isprintable() or len(code) > 64:
        raise ProviderError("the provider's code cannot be shown")
    interval = _seconds(said.get("interval"), _INTERVAL)
    end = time.monotonic() + min(_seconds(said.get("expires_in"), _PATIENCE), _PATIENCE)
    show(Prompt(page, code))
    never = threading.Event()
    while time.monotonic() < end:
        never.wait(interval)  # the protocol has no other way than to ask
        status, said = provider.post(
            found.token, {"grant_type": _DEVICE, "device_code": device, "client_id": client.id}
        )
        if status == 200:
            return _granted(said, client)
        match said.get("error"):
            case "authorization_pending":
                pass
            case "slow_down":
                interval += _SLOWER
            case _:
                raise _refused(said, status)
    raise IdentityError("nobody logged in in time", hint="umbel login URL")


def by_browser(provider: Provider, found: Metadata, client: Client, show: Show) -> Grant:
    """Log in with a browser of this machine.

    Raises:
        IdentityError: the person did not, or may not.
        ProviderError: the provider does not do as it should.
    """
    if not found.authorization:
        raise ProviderError(
            f"the provider {found.issuer} lets nobody log in by a browser",
            hint="umbel login --device",
        )
    verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    with _Return(state, found.issuer) as door:
        redirect = f"http://127.0.0.1:{door.server_address[1]}/"
        query = {
            **client.parameters,
            "response_type": "code",
            "client_id": client.id,
            "redirect_uri": redirect,
            "scope": " ".join(client.scopes),
            "state": state,
            "code_challenge": challenge.decode(),
            "code_challenge_method": "S256",
        }
        joint = "&" if urlsplit(found.authorization).query else "?"
        show(Prompt(f"{found.authorization}{joint}{urlencode(query)}"))
        code = door.code()
    status, said = provider.post(
        found.token,
        {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "client_id": client.id,
            "code_verifier": verifier,
        },
    )
    if status != 200:
        raise _refused(said, status)
    return _granted(said, client)


def renewed(provider: Provider, token: str, client: Client, refresh: str) -> Grant:
    """Get the next token.

    Args:
        provider: who gave the last one.
        token: the URL where it gives tokens.
        client: for whom.
        refresh: what it gave for this.

    Raises:
        IdentityError: the login has ended.
        ProviderError: the provider does not answer.
    """
    status, said = provider.post(
        token, {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": client.id}
    )
    if status >= 500:
        raise ProviderError(f"the provider {provider.issuer} answers {status}")
    if status != 200:
        raise IdentityError("your login has ended", hint="log in anew: umbel login URL")
    return _granted(said, client, refresh)


class _Return(TCPServer):
    """The port of this machine to which the browser comes back, once."""

    def __init__(self, state: str, issuer: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.timeout = 1.0
        self.state, self.issuer = state, issuer
        self.answer: dict[str, str] | None = None

    def code(self) -> str:
        """Wait for the browser; give the code that it brings."""
        end = time.monotonic() + _PATIENCE
        while self.answer is None:
            if time.monotonic() > end:
                raise IdentityError("nobody logged in in time", hint="umbel login URL")
            self.handle_request()
        if "code" not in self.answer:
            raise _refused(dict(self.answer), 400)
        return self.answer["code"]


class _Handler(BaseHTTPRequestHandler):
    """Takes the one request that knows our state; all others are none of ours."""

    server: _Return
    timeout = 5.0

    def do_GET(self) -> None:
        """Take what the browser brings."""
        query = parse_qs(urlsplit(self.path).query)
        said = {name: values[0] for name, values in query.items() if len(values) == 1}
        ours = hmac.compare_digest(said.get("state", "").encode(), self.server.state.encode())
        # Another provider may have sent the browser here: RFC 9207.
        ours = ours and said.get("iss", self.server.issuer) == self.server.issuer
        ours = ours and ("code" in said) != ("error" in said)
        if ours and self.server.answer is None:
            self.server.answer = said
        done = b"Done." if ours and "code" in said else b"This was no login."
        self.send_response(200 if ours else 400)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("referrer-policy", "no-referrer")
        self.end_headers()
        self.wfile.write(_PAGE % done)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: paths hold codes."""


def _granted(said: dict[str, Any], client: Client, refresh: str = "") -> Grant:
    word = _text(said, "access_token" if client.kind == "access" else "id_token")
    if str(said.get("token_type", "bearer")).lower() != "bearer":
        raise ProviderError("the provider gives tokens of a kind that is not known here")
    given = said.get("refresh_token", refresh)
    kept = given if isinstance(given, str) and len(given) <= _LONGEST else ""
    return Grant(word, _seconds(said.get("expires_in"), 300.0), kept)


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key)
    if not isinstance(value, str) or not value or len(value) > _LONGEST or not value.isascii():
        hint = "see the key oidc.token of the coordinator" if key.endswith("_token") else ""
        raise ProviderError(f"the provider's answer has no {key}", hint=hint)
    return value


def _seconds(value: Any, default: float) -> float:
    """Read a number of seconds; providers have been seen to write them as text."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return default
    return found if 0 < found < 10**8 else default


#: What providers say went wrong: RFC 6749, section 5.2, and RFC 8628, section 3.5.
_WORDS = {
    "access_denied": "the login was refused",
    "expired_token": "nobody logged in in time",
    "invalid_client": "the provider does not know this client",
    "unauthorized_client": "the provider does not let this client log in so",
    "invalid_scope": "the provider does not know what is asked for: see the key oidc.scopes",
    "invalid_grant": "the provider does not take the code",
}


def _refused(said: dict[str, Any], status: int) -> IdentityError:
    """Say why a provider gives no token; its own text is not repeated, it may be anything."""
    error = said.get("error")
    words = _WORDS.get(error) if isinstance(error, str) else None
    return IdentityError(
        words or f"the provider gives no token (it answers {status})", hint="umbel login URL"
    )


__all__ = ["Client", "Grant", "Prompt", "by_browser", "by_device", "renewed"]
