"""Invitations: what lets a site join once, and soon not any more."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import field
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from umbel.dataclass import dataclass
from umbel.federation.errors import IdentityError
from umbel.federation.identity.names import check_name

#: How long an invitation holds unless it says otherwise.
LIFE = timedelta(minutes=15)
_PREFIX = "umbel-join-"
#: Longer than any token that we make.
_LONGEST = 4096
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What an administrator hands to a site's owner, as one word.

    Attributes:
        url: where the coordinator is reached.
        authority: the fingerprint of the federation's root certificate: with it the site knows
            the coordinator, before it has any certificate.
        invitation: which invitation this is.
        secret: proves that its holder was invited; never sent.
    """

    url: str
    authority: str
    invitation: str
    secret: bytes = field(repr=False)

    def encode(self) -> str:
        """Write it as one word, to be handed over by a road that others cannot read."""
        content = {
            "v": 1,
            "url": self.url,
            "ca": self.authority,
            "id": self.invitation,
            "secret": self.secret.hex(),
        }
        text = json.dumps(content, separators=(",", ":")).encode()
        return _PREFIX + base64.urlsafe_b64encode(text).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> JoinToken:
        """Read a token.

        Raises:
            IdentityError: it is none, or was cut or changed on its way.
        """
        wrong = IdentityError(
            "this is no whole join token", hint=f"it is one word that begins with {_PREFIX}"
        )
        text = text.strip()
        if not text.startswith(_PREFIX) or len(text) > _LONGEST:
            raise wrong
        body = text.removeprefix(_PREFIX)
        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            content = json.loads(raw)
        except (ValueError, RecursionError):
            raise wrong from None
        if not isinstance(content, dict) or not all(
            isinstance(content.get(key), str) for key in ("url", "ca", "id", "secret")
        ):
            raise wrong
        if content.get("v") != 1:
            raise IdentityError(
                f"this join token is of version {content.get('v')!r}, not 1",
                hint="the coordinator is newer: install its version of umbel",
            )
        try:
            secret = bytes.fromhex(content["secret"])
            ca = bytes.fromhex(content["ca"])
            url = urlsplit(content["url"])
        except ValueError:
            raise wrong from None
        if len(secret) != _SECRET_BYTES or len(ca) != hashlib.sha256().digest_size:
            raise wrong
        if url.scheme != "https" or not url.hostname:
            raise IdentityError(f"a coordinator is reached by https, not {url.scheme or 'nothing'}")
        return cls(content["url"], content["ca"], content["id"], secret)


@dataclass(frozen=True, slots=True)
class Invitation:
    """What the coordinator keeps of an invitation.

    Attributes:
        id: its name.
        site: for whom it is.
        expires: until when it holds.
        key: what the secret was turned into; whoever reads it here cannot make the token of it.
    """

    id: str
    site: str
    expires: datetime
    key: bytes = field(repr=False)

    @classmethod
    def make(
        cls, site: str, url: str, authority: str, *, now: datetime, life: timedelta = LIFE
    ) -> tuple[Invitation, JoinToken]:
        """Invite a site; give what to keep and what to hand over.

        Raises:
            IdentityError: the site's name is none.
        """
        check_name(site)
        secret = secrets.token_bytes(_SECRET_BYTES)
        token = JoinToken(url, authority, secrets.token_hex(8), secret)
        return cls(token.invitation, site, now + life, proof_key(secret)), token


def proof_key(secret: bytes) -> bytes:
    """Turn a token's secret into the key that proves it, which the coordinator keeps.

    >>> proof_key(b"x" * 32) == proof_key(b"x" * 32) != proof_key(b"y" * 32)
    True
    """
    return hmac.digest(secret, b"umbel join", hashlib.sha256)
