"""Logging in at a coordinator's OpenID provider: `umbel login`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from umbel.federation.client.connection import (
    Connection,
    asked_root,
    checked_url,
    given_root,
    shown_root,
    tls_context,
)
from umbel.federation.errors import IdentityError
from umbel.federation.identity.certificates import Certificate, fingerprint
from umbel.federation.oidc import grants
from umbel.federation.oidc.logins import Login, Logins
from umbel.federation.oidc.provider import Provider


def root_of(url: str, *, ca: str | os.PathLike[str] | None, authority: str | None) -> bytes | None:
    """Give the root certificate of a coordinator if something vouches for it.

    Args:
        url: the coordinator's.
        ca: a file that holds it.
        authority: its fingerprint: 64 hexadecimal digits.

    Raises:
        IdentityError: the coordinator shows another.
        CoordinatorError: it does not answer.
    """
    url = checked_url(url)
    if ca is not None:
        return given_root(ca, authority).pem()
    if authority is not None:
        return asked_root(url, authority.lower(), "fingerprint")
    known = Logins().find(url)
    return None if known is None else known.root.encode()


def root_that_is_shown(url: str) -> tuple[bytes, str]:
    """Give the root certificate that a coordinator shows, and its fingerprint for a person to check.

    Raises:
        CoordinatorError: it does not answer.
    """
    found = shown_root(checked_url(url)).own
    return Certificate((found,)).pem(), fingerprint(found)


def log_in(
    url: str, root: bytes, show: grants.Show, *, browser: bool | None = None
) -> dict[str, Any]:
    """Log in, and keep the login; give what the coordinator says of whoever it is.

    Args:
        url: the coordinator's.
        root: its root certificate, which somebody vouches for.
        show: tells a person what to do.
        browser: use a browser of this machine; None does if the provider has no codes for devices.

    Raises:
        IdentityError: the person did not log in, or the coordinator does not take them.
        AccessError: they have no role there.
        ProviderError: the provider does not answer as one does.
        CoordinatorError: the coordinator does not answer.
    """
    url = checked_url(url)
    asking = Connection(url, None, tls_context(root))
    try:
        told = asking.get("/v1/login")["oidc"]
    finally:
        asking.close()
    if told is None:
        raise IdentityError(
            f"{url} takes no logins of an OpenID provider",
            hint="ask its operator for a token, or to write [oidc] into its configuration",
        )
    client = grants.Client(
        str(told["client_id"]), str(told["token"]), tuple(told["scopes"]), dict(told["parameters"])
    )
    provider = Provider(str(told["issuer"]))
    try:
        found = provider.discover()
        if browser is None:
            browser = not found.device
        way = grants.by_browser if browser else grants.by_device
        grant = way(provider, found, client, show)
    finally:
        provider.close()
    login = Login.begin(url, root, found, client, grant)
    trying = Connection(url, lambda: login.word, tls_context(root))
    try:
        known: dict[str, Any] = trying.get("/v1/whoami")
    finally:
        trying.close()
    Logins().keep(login)
    return known


def kept_at(url: str) -> Path:
    """Where the login at a coordinator is kept."""
    return Logins().path(checked_url(url))


__all__ = ["kept_at", "log_in", "root_of", "root_that_is_shown"]
