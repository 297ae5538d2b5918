"""An OpenID provider: what it says of itself, asked for by HTTPS and believed within limits.

Only addresses that an operator configured, or that the provider there named, are ever asked, never
one that stands in a token. There are no redirects, and no more is read than is reasonable.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from umbel.dataclass import dataclass
from umbel.federation.errors import IdentityError, ProviderError

#: Where a provider describes itself: OpenID Connect Discovery 1.0, section 4.
_WELL_KNOWN = "/.well-known/openid-configuration"
#: Bytes of an answer, and seconds for it.
_LONGEST, _PATIENCE = 512 * 1024, 10.0
_LONGEST_URL = 2_000


@dataclass(frozen=True)
class Metadata:
    """What a provider says of itself.

    Attributes:
        issuer: its name, which stands in its tokens.
        jwks: where its public keys are.
        token: where tokens are given out.
        authorization: where people log in with a browser; empty if nowhere.
        device: where a code for another device is given out (RFC 8628); empty if nowhere.
        revocation: where tokens are taken back (RFC 7009); empty if nowhere.
    """

    issuer: str
    jwks: str
    token: str
    authorization: str = ""
    device: str = ""
    revocation: str = ""


class Provider:
    """An OpenID provider.

    Args:
        issuer: its URL, as it stands in its tokens.
        ca: a file of certificates to trust beside it; None for those that the world trusts.

    Raises:
        IdentityError: the URL is not https, and not of this machine.
    """

    def __init__(self, issuer: str, *, ca: Path | None = None) -> None:
        self.issuer = checked_url(issuer, "the issuer", plain=True)
        #: On this machine plain HTTP will do, for trying things out.
        self._plain = issuer.startswith("http:")
        verify: Any = True
        if ca is not None:
            import ssl

            try:
                verify = ssl.create_default_context(cafile=str(ca))
            except (OSError, ssl.SSLError):
                raise IdentityError(f"{ca} holds no certificates that can be used") from None
        self._client = httpx.Client(
            verify=verify,
            timeout=_PATIENCE,
            follow_redirects=False,
            # A proxy that the environment names sees nothing of TLS.
            trust_env=not self._plain,
            headers={"accept": "application/json"},
        )

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def discover(self) -> Metadata:
        """Ask the provider what it offers.

        Raises:
            ProviderError: it does not answer, or as another.
        """
        found = self.get(self.issuer.rstrip("/") + _WELL_KNOWN)
        if found.get("issuer") != self.issuer:
            raise ProviderError(
                f"who answers at {self.issuer} calls itself another issuer",
                hint="write the issuer exactly as the provider does, with or without a last /",
            )

        def url(key: str, *, needed: bool = False) -> str:
            value = found.get(key, "")
            if value == "" and not needed:
                return ""
            if not isinstance(value, str):
                raise ProviderError(f"the provider {self.issuer} does not say its {key}")
            return checked_url(value, f"the {key} of {self.issuer}", plain=self._plain)

        return Metadata(
            self.issuer,
            url("jwks_uri", needed=True),
            url("token_endpoint", needed=True),
            url("authorization_endpoint"),
            url("device_authorization_endpoint"),
            url("revocation_endpoint"),
        )

    def get(self, url: str) -> dict[str, Any]:
        """Ask for a JSON object.

        Raises:
            ProviderError: there is none.
        """
        status, found = self._ask("GET", url)
        if status != httpx.codes.OK:
            raise ProviderError(f"the provider {self.issuer} answers {status}")
        return found

    def post(self, url: str, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Send a form; give the status and the JSON object of the answer.

        Raises:
            ProviderError: there is no answer, or no JSON object.
        """
        return self._ask("POST", url, data=dict(form))

    def _ask(self, method: str, url: str, **options: Any) -> tuple[int, dict[str, Any]]:
        content = b""
        try:
            with self._client.stream(method, url, **options) as response:
                for part in response.iter_bytes():
                    content += part
                    if len(content) > _LONGEST:
                        raise ProviderError(f"the provider {self.issuer} answers too much")
        except httpx.HTTPError as error:
            # What httpx says may quote the URL; its kind tells enough.
            raise ProviderError(
                f"the provider {self.issuer} cannot be reached ({type(error).__name__})",
                hint="is the machine's way to it open, and its certificate one that is trusted?",
            ) from None
        if not content and response.is_success:
            return response.status_code, {}
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ProviderError(
                f"the provider {self.issuer} answers {response.status_code} without a JSON object"
            )
        return response.status_code, found


def checked_url(url: str, what: str, *, plain: bool) -> str:
    """Give a URL back if it may be asked.

    Args:
        url: to check.
        what: it is, for people.
        plain: allow http on this machine.

    Raises:
        IdentityError: it is not https, or holds what it must not.

    >>> checked_url("https://login.example.org/a", "the issuer", plain=False)
    'https://login.example.org/a'
    """
    try:
        parts = urlsplit(url)
        wrong = parts.username or parts.password or parts.fragment or not parts.hostname
        wrong = wrong or len(url) > _LONGEST_URL or not url.isprintable() or " " in url
        _ = parts.port
    except ValueError:
        raise IdentityError(f"{what} is no URL") from None
    if not wrong and parts.scheme == "https":
        return url
    if not wrong and plain and parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return url
    raise IdentityError(
        f"{what} is not a plain https:// URL",
        hint="without user, password and #; http:// only for a provider on this machine",
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


__all__ = ["Metadata", "Provider", "checked_url"]
