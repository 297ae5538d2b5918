"""A connection to a coordinator: HTTPS to whom the token names, and errors as umbel's own."""

from __future__ import annotations

import contextlib
import json
import os
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

import umbel
from umbel.catalog.address import Secret
from umbel.federation.access import ApiToken
from umbel.federation.errors import CoordinatorError, FederationError, IdentityError, UnreachedError
from umbel.federation.identity import Certificate
from umbel.federation.identity.certificates import fingerprint
from umbel.federation.protocol import (
    HEARTBEAT,
    PROTOCOL,
    PROTOCOL_HEADER,
    error_from_json,
)
from umbel.plan.errors import PlanError

#: Seconds to reach the coordinator, and of silence after which it counts as gone.
_CONNECT, _SILENCE = 10.0, 4 * HEARTBEAT
#: Larger than any answer that is no result.
_LONGEST = 64 * 2**20
_LONGEST_CERTIFICATE = 64 * 1024


class Connection:
    """Speaks with one coordinator.

    Attributes:
        url: where it is.
        federation: its name, as it says.
    """

    def __init__(self, url: str, word: Callable[[], str] | None, context: ssl.SSLContext) -> None:
        self.url = url
        headers = {
            PROTOCOL_HEADER: str(PROTOCOL),
            "user-agent": f"umbel/{umbel.__version__}",
        }
        self._client = httpx.Client(
            base_url=url,
            verify=context,
            headers=headers,
            auth=None if word is None else _shows(word),
            timeout=httpx.Timeout(_SILENCE, connect=_CONNECT),
            trust_env=False,  # no proxy of the environment sees what is asked
            follow_redirects=False,
        )

    @classmethod
    def open(
        cls, url: str, token: str | Secret, ca: str | os.PathLike[str] | None = None
    ) -> Connection:
        """Reach a coordinator, and make sure that it is the one that the token is for.

        Args:
            url: "https://host:port".
            token: the word, or where it is: "env:NAME" or "file:/path".
            ca: a file with the federation's root certificate; None asks the coordinator for it,
                and believes the one alone whose fingerprint stands in the token.

        Raises:
            PlanError: the URL is none.
            IdentityError: the token is none, or the coordinator is another than the token's.
            CoordinatorError: it cannot be reached, or is of another version.
        """
        url = checked_url(url)
        read = ApiToken.decode(_word(token))
        if ca is not None:
            root = given_root(ca, read.authority).pem()
        else:
            root = asked_root(url, read.authority, "token")
        return cls(url, read.encode, tls_context(root))

    @classmethod
    def logged_in(cls, url: str) -> Connection | None:
        """Reach a coordinator as whoever logged in there; None if nobody did.

        Raises:
            PlanError: the URL is none.
            IdentityError: the login has ended, or others can read it.
        """
        from umbel.federation.oidc.logins import Bearer, Logins

        url = checked_url(url)
        logins = Logins()
        login = logins.find(url)
        if login is None:
            return None
        return cls(url, Bearer(logins, login).word, tls_context(login.root.encode()))

    def get(self, path: str, **query: Any) -> Any:
        """Ask for something."""
        return self._json("GET", path, params={k: v for k, v in query.items() if v is not None})

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """Ask to do something."""
        return self._json("POST", path, json=body, headers=dict(headers or {}))

    def send(self, path: str, content: bytes) -> bytes:
        """Ask with bytes, and be answered with bytes."""
        with self._failures():
            response = self._client.request("POST", path, content=content)
        self._checked(response)
        return response.content

    def delete(self, path: str) -> None:
        """Ask to take something away."""
        self._json("DELETE", path)

    def there(self, path: str) -> bool:
        """Whether something is there."""
        with self._failures():
            response = self._client.get(path)
        if response.status_code == httpx.codes.NOT_FOUND:
            return False
        self._checked(response)
        return True

    def put(self, path: str, content: Iterable[bytes], headers: Mapping[str, str]) -> Any:
        """Send something."""
        return self._json("PUT", path, content=content, headers=dict(headers))

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str] | None = None, **query: Any
    ) -> Iterator[Iterator[bytes]]:
        """Read something piece by piece.

        Raises:
            UnreachedError: it breaks off.
        """
        asked = self._client.stream("GET", path, params=query, headers=dict(headers or {}))
        with self._failures(), asked as response:
            if not response.is_success:
                response.read()
            self._checked(response)
            yield response.iter_raw()

    def close(self) -> None:
        """Let go of it."""
        self._client.close()

    def _json(self, method: str, path: str, **options: Any) -> Any:
        with self._failures():
            response = self._client.request(method, path, **options)
        self._checked(response)
        if not response.content:
            return None
        if len(response.content) > _LONGEST:
            raise CoordinatorError(f"the answer of {self.url} is too long")
        try:
            return response.json()
        except ValueError:
            raise self._foreign() from None

    def _checked(self, response: httpx.Response) -> None:
        """Raise what an answer says went wrong."""
        said = response.headers.get(PROTOCOL_HEADER)
        if said is None:
            raise self._foreign()
        if response.is_success:
            if said != str(PROTOCOL):
                raise CoordinatorError(
                    f"the coordinator at {self.url} speaks version {said[:20]!r} of the protocol, "
                    f"this umbel ({umbel.__version__}) version {PROTOCOL}",
                    hint="install the coordinator's version of umbel",
                )
            return
        try:
            body = json.loads(response.content)
        except ValueError:
            raise self._foreign() from None
        raise error_from_json(body.get("error") if isinstance(body, dict) else None)

    def _foreign(self) -> CoordinatorError:
        return CoordinatorError(
            f"{self.url} answers, but not as a coordinator does",
            hint="is this the port for people and tools? Sites have another",
        )

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise unreached(self.url, error) from None

    def __repr__(self) -> str:
        return f"Connection({self.url})"


def unreached(url: str, error: Exception) -> FederationError:
    """Make the error that says why a coordinator cannot be reached, in words to act on."""
    causes: list[BaseException] = [error]
    while (below := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(below)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            if "hostname" in str(cause).lower() or "ip address" in str(cause).lower():
                return IdentityError(
                    f"the coordinator's certificate is not for the host of {url}",
                    hint="use the name that is in its configuration, or add this one to `hosts`",
                )
            return IdentityError(
                f"who answers at {url} is not the coordinator of this token: its certificate is "
                f"not of the federation's authority ({cause.verify_message})",
                hint="check the URL; a token is for one federation only",
            )
    if isinstance(error, httpx.ConnectTimeout):
        return UnreachedError(
            f"{url} does not answer within {_CONNECT:g} s", hint="is a firewall between?"
        )
    if isinstance(error, httpx.ConnectError):
        reason = next((c.strerror for c in causes if isinstance(c, OSError) and c.strerror), "")
        return UnreachedError(
            f"the coordinator at {url} cannot be reached" + (f": {reason}" if reason else ""),
            hint="is it running? umbel coordinator serve starts it",
        )
    if isinstance(error, httpx.ReadTimeout):
        return UnreachedError(
            f"the coordinator at {url} went silent", hint="look after it, and ask again"
        )
    return UnreachedError(
        f"the connection to {url} broke off ({type(error).__name__})", hint="ask again"
    )


def _shows(word: Callable[[], str]) -> Callable[[httpx.Request], httpx.Request]:
    """Put a word into each request; it may be another each time."""

    def show(request: httpx.Request) -> httpx.Request:
        request.headers["authorization"] = f"Bearer {word()}"
        return request

    return show


def checked_url(url: str) -> str:
    """Give a coordinator's URL in the form by which it is known.

    Raises:
        PlanError: it is none.

    >>> checked_url("https://umbel.example.org:8443/")
    'https://umbel.example.org:8443'
    """
    parts = urlsplit(url)
    wrong = parts.username or parts.password or parts.query or parts.path.strip("/")
    if parts.scheme != "https" or not parts.hostname or wrong:
        raise PlanError(
            "a coordinator's URL is https://host:port",
            hint="umbel.connect('https://umbel.example.org:8443', token='env:UMBEL_TOKEN')",
        )
    return url.rstrip("/")


def _word(token: str | Secret) -> str:
    if isinstance(token, Secret):
        return token.reveal()
    if isinstance(token, str) and token.startswith(("env:", "file:")):
        return Secret.of("token", token).reveal()
    return token


def tls_context(root: bytes) -> ssl.SSLContext:
    """Trust one authority, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=root.decode("ascii"))
    return context


def given_root(path: str | os.PathLike[str], authority: str | None) -> Certificate:
    """Read a root certificate.

    Args:
        path: where it is.
        authority: the fingerprint that it must have; None for any.

    Raises:
        IdentityError: it is none, or another.
    """
    certificate = Certificate.read(Path(path))
    if authority is not None:
        _check_root(certificate, authority, f"the certificate in {os.fspath(path)}", "token")
    return certificate


def asked_root(url: str, authority: str, what: str) -> bytes:
    """Ask a coordinator for its root certificate; nothing secret is said before it is known.

    Args:
        url: where the coordinator is.
        authority: the fingerprint of the one certificate that is believed.
        what: where the fingerprint stands, for people: "token".

    Raises:
        IdentityError: the certificate is another.
        CoordinatorError: nobody answers, or not as a coordinator does.
    """
    certificate = shown_root(url)
    _check_root(certificate, authority, f"the authority of {url}", what)
    return Certificate((certificate.own,)).pem()


def shown_root(url: str) -> Certificate:
    """Give the root certificate that whoever answers at a URL shows: nobody has vouched for it.

    Raises:
        CoordinatorError: nobody answers, or not as a coordinator does.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    timeout = httpx.Timeout(_SILENCE, connect=_CONNECT)
    content = b""
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(
                httpx.Client(verify=context, timeout=timeout, trust_env=False)
            )
            response = stack.enter_context(client.stream("GET", f"{url}/v1/authority"))
            if response.is_success and PROTOCOL_HEADER in response.headers:
                for part in response.iter_raw():
                    content += part
                    if len(content) > _LONGEST_CERTIFICATE:
                        break
        except httpx.TransportError as error:
            raise unreached(url, error) from None
    try:
        certificate = Certificate.parse(content)
        _ = certificate.own
    except (IdentityError, IndexError):
        raise CoordinatorError(
            f"{url} answers, but not as a coordinator does",
            hint="is this the port for people and tools? Sites have another",
        ) from None
    return certificate


def _check_root(certificate: Certificate, authority: str, shown: str, what: str) -> None:
    if fingerprint(certificate.own) != authority:
        raise IdentityError(
            f"{shown} is not the one that this {what} is for",
            hint=f"check the URL; a {what} is for one federation only",
        )


__all__ = [
    "Connection",
    "asked_root",
    "checked_url",
    "given_root",
    "shown_root",
    "tls_context",
    "unreached",
]
