"""Who may do what at a coordinator: roles, and the tokens by which people and tools are known.

A token is one word of 256 random bits. The coordinator keeps its SHA-256 only, so that whoever
reads the store cannot pose as anybody. The word also carries the fingerprint of the federation's
root certificate: with it a client knows the coordinator at once, and tells nobody else the secret.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import field
from datetime import datetime, timedelta

from umbel.dataclass import dataclass
from umbel.federation.errors import AccessError, IdentityError

#: How long a token holds unless it says otherwise.
LIFE = timedelta(days=90)
#: How the words of tokens begin that an operator makes.
TOKEN_PREFIX = "umbel-api-"  # noqa: S105 - no secret
_WORD = re.compile(r"umbel-api-([0-9a-f]{16})-([0-9a-f]{64})-([0-9a-f]{64})")
_USER = re.compile(r"[^\s\x00-\x1f\x7f]{1,128}")


class Permission(enum.Enum):
    """Something that can be done at a coordinator.

    LOOK: see sites, tables and links.
    ASK: explain and run plans, with data of one's own, and have what they give.
    INVITE: let sites join.
    OPERATE: revoke sites, make and revoke tokens, cancel anybody's runs.
    AUDIT: see who ran what, and who holds tokens.
    """

    LOOK = "look"
    ASK = "ask"
    INVITE = "invite"
    OPERATE = "operate"
    AUDIT = "audit"


class Role(enum.Enum):
    """What somebody is to a federation; says what they may do.

    >>> sorted(p.value for p in Role.ANALYST.permissions)
    ['ask', 'look']
    """

    VIEWER = "viewer"
    ANALYST = "analyst"
    PUBLISHER = "publisher"
    OPERATOR = "operator"
    AUDITOR = "auditor"

    @property
    def permissions(self) -> frozenset[Permission]:
        """What the role lets one do."""
        return _PERMISSIONS[self]

    @classmethod
    def of(cls, name: str) -> Role:
        """Read a role's name.

        Raises:
            AccessError: there is no such role.
        """
        try:
            return cls(name)
        except ValueError:
            known = ", ".join(role.value for role in cls)
            raise AccessError(f"{name!r} is no role", hint=f"there are: {known}") from None


_PERMISSIONS = {
    Role.VIEWER: frozenset({Permission.LOOK}),
    Role.ANALYST: frozenset({Permission.LOOK, Permission.ASK}),
    Role.PUBLISHER: frozenset({Permission.LOOK, Permission.INVITE}),
    Role.OPERATOR: frozenset(
        {Permission.LOOK, Permission.INVITE, Permission.OPERATE, Permission.AUDIT}
    ),
    Role.AUDITOR: frozenset({Permission.LOOK, Permission.AUDIT}),
}


@dataclass(frozen=True)
class TokenRecord:
    """What the coordinator keeps of a token.

    Attributes:
        id: names the token; no secret.
        user: whose it is.
        digest: the SHA-256 of its secret, in hexadecimal.
        roles: what its holder is.
        expires: until when it holds.
        revoked: whether it was taken back.
    """

    id: str
    user: str
    digest: str = field(repr=False)
    roles: tuple[Role, ...]
    expires: datetime
    revoked: bool = False

    def admit(self, secret: str, *, now: datetime) -> Principal:
        """Give who the holder of a secret is.

        Raises:
            IdentityError: the secret is another, or the token has expired or was revoked.
        """
        given = hashlib.sha256(secret.encode()).hexdigest()
        if not hmac.compare_digest(given, self.digest):
            raise unknown_token()
        if self.revoked:
            raise IdentityError(
                f"the token {self.id} of {self.user!r} was revoked", hint="ask an operator for one"
            )
        if now >= self.expires:
            raise IdentityError(
                f"the token {self.id} of {self.user!r} expired on "
                f"{self.expires:%Y-%m-%d %H:%M} UTC",
                hint="ask an operator for a new one: umbel coordinator token USER",
            )
        return Principal(self.user, self.roles)


@dataclass(frozen=True)
class Principal:
    """Somebody who is known.

    Attributes:
        user: the name.
        roles: what they are.
    """

    user: str
    roles: tuple[Role, ...]

    def may(self, permission: Permission) -> bool:
        """Whether one of the roles allows something."""
        return any(permission in role.permissions for role in self.roles)

    def check(self, permission: Permission) -> None:
        """Raise `AccessError` unless one of the roles allows something."""
        if not self.may(permission):
            needed = [r.value for r in Role if permission in r.permissions]
            held = ", ".join(role.value for role in self.roles)
            raise AccessError(
                f"{self.user!r} may not {permission.value} here as {held}",
                hint=f"this takes the role {' or '.join(needed)}",
            )


@dataclass(frozen=True)
class ApiToken:
    """A token as its holder has it.

    Attributes:
        id: names it.
        secret: proves it.
        authority: the fingerprint of the federation's root certificate.
    """

    id: str
    secret: str = field(repr=False)
    authority: str

    @classmethod
    def make(
        cls,
        user: str,
        roles: Iterable[Role],
        authority: str,
        *,
        now: datetime,
        life: timedelta = LIFE,
    ) -> tuple[TokenRecord, ApiToken]:
        """Make a token; give what to keep and what to hand over.

        Raises:
            AccessError: the user has no name, or there is no role.
        """
        if not isinstance(user, str) or not is_user(user):
            raise AccessError(f"{user!r} is no user's name", hint="write it without spaces")
        held = tuple(dict.fromkeys(roles))
        if not held:
            raise AccessError(f"a token of {user!r} needs a role")
        token = cls(secrets.token_hex(8), secrets.token_hex(32), authority)
        digest = hashlib.sha256(token.secret.encode()).hexdigest()
        return TokenRecord(token.id, user, digest, held, now + life), token

    def encode(self) -> str:
        """Write it as one word."""
        return f"umbel-api-{self.id}-{self.secret}-{self.authority}"

    @classmethod
    def decode(cls, text: str) -> ApiToken:
        """Read a token.

        Raises:
            IdentityError: it is none, or was cut on its way; the message does not repeat it.
        """
        found = _WORD.fullmatch(text.strip())
        if found is None:
            raise IdentityError(
                "this is no whole token", hint="it is one word that begins with umbel-api-"
            )
        return cls(*found.groups())


def is_user(name: str) -> bool:
    """Whether something can be a user's name.

    >>> is_user("ann"), is_user("ann smith")
    (True, False)
    """
    return _USER.fullmatch(name) is not None


def unknown_token() -> IdentityError:
    """Make the error for a token that nobody holds: the same whatever is wrong with it."""
    return IdentityError(
        "this token is not known here",
        hint="was it made for another coordinator? An operator makes one: "
        "umbel coordinator token USER",
    )
