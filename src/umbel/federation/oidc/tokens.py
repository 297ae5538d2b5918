"""Judges the tokens of a provider: who somebody is, and which roles they have here.

A token is a JWT (RFC 7519) that the provider signed. What it says of itself is not believed: which
algorithms there are, whose key it is and where that key is to be had are all known beforehand, so
its headers `jku`, `x5u`, `jwk` and `x5c` are not even looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import jwt

from umbel.dataclass import dataclass
from umbel.federation.access import Principal, Role, is_user
from umbel.federation.errors import AccessError, IdentityError
from umbel.federation.oidc.keys import ALGORITHMS, Keys

#: Characters of a token; those of large directories have some thousands.
LONGEST = 16 * 1024
_MOST_GROUPS = 2_000
#: The kinds of tokens that say who somebody is (RFC 9068 for the second); others, such as logout
#: tokens, are signed by the same key and are for something else.
_KINDS = {"id": ("jwt",), "access": ("jwt", "at+jwt", "application/at+jwt")}
_AGAIN = "log in anew: umbel login URL"


@dataclass(frozen=True)
class Expected:
    """What a token must say, and what its claims mean here.

    Attributes:
        issuer: who must have signed it.
        audience: for whom it must be.
        client: the client's id at the provider.
        kind: "access" for access tokens, "id" for ID tokens.
        user: the claim that holds the user's name.
        prefix: stands before that name here.
        claims: those that hold groups or roles; a dot leads into an object.
        roles: the roles here that each group has.
        leeway: seconds by which clocks may differ.
    """

    issuer: str
    audience: str
    client: str
    kind: Literal["access", "id"] = "access"
    user: str = "sub"
    prefix: str = ""
    claims: tuple[str, ...] = ("groups",)
    roles: Mapping[str, tuple[Role, ...]] = ()  # type: ignore[assignment]
    leeway: float = 60.0


class Tokens:
    """Judges tokens of one provider."""

    def __init__(self, expected: Expected, keys: Keys) -> None:
        self._expected = expected
        self._keys = keys

    def admit(self, word: str) -> Principal:
        """Give who the bearer of a token is.

        Raises:
            IdentityError: the token is no good; nothing of it is repeated.
            AccessError: it is good, but no group of theirs has a role here.
            ProviderError: the provider's keys are not to be had.
        """
        claims = self._claims(word)
        expected = self._expected
        user = self._user(claims)
        groups = {g for claim in expected.claims for g in _words(_find(claims, claim))}
        held = {role for group in groups for role in expected.roles.get(group, ())}
        if not held:
            raise AccessError(
                f"{user!r} is known, but has no role here",
                hint="an operator of the coordinator says in [oidc.roles] which groups have roles",
            )
        return Principal(user, tuple(role for role in Role if role in held))

    def _claims(self, word: str) -> dict[str, Any]:
        """Read a token's claims, once all else of it is found to be right."""
        if len(word) > LONGEST:
            raise IdentityError(f"a token has at most {LONGEST:,} characters", hint=_AGAIN)
        expected = self._expected
        try:
            header = jwt.get_unverified_header(word)
            algorithm, name = header.get("alg"), header.get("kid")
            if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
                raise IdentityError(
                    "this token is not signed in a way that is taken here",
                    hint=f"the provider can sign by {', '.join(ALGORITHMS)}",
                )
            kind = header.get("typ", "jwt")
            if not isinstance(kind, str) or kind.lower() not in _KINDS[expected.kind]:
                raise IdentityError(
                    f"this is no {expected.kind} token", hint="see the key oidc.token"
                )
            claims: dict[str, Any] = jwt.decode(
                word,
                self._keys.find(name, algorithm),
                algorithms=[algorithm],
                audience=expected.audience,
                issuer=expected.issuer,
                leeway=expected.leeway,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    "enforce_minimum_key_length": True,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise _refusal(error, expected) from None
        if expected.kind == "id" and claims.get("azp", expected.client) != expected.client:
            raise IdentityError("this token was given to another client", hint=_AGAIN)
        if "cnf" in claims:
            # Whoever has such a token must prove that they hold a key, which nothing here asks.
            raise IdentityError("this token is bound to a key: a plain one is needed")
        return claims

    def _user(self, claims: dict[str, Any]) -> str:
        expected = self._expected
        found = _find(claims, expected.user)
        if expected.user == "email" and claims.get("email_verified") is not True:
            raise IdentityError("the provider has not verified the address of this user")
        user = f"{expected.prefix}{found}"
        if not isinstance(found, str) or not is_user(user):
            raise IdentityError(
                f"the claim {expected.user!r} of this token holds no user's name",
                hint="see the key oidc.user_claim of the coordinator's configuration",
            )
        return user


def _find(claims: dict[str, Any], name: str) -> Any:
    """Give a claim: of the whole name, or, where there is none, along its dots."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _words(value: Any) -> list[str]:
    """The words of a claim that is a list of them, or a text with spaces between them."""
    if isinstance(value, str):
        value = value.split()
    if not isinstance(value, list):
        return []
    return [word for word in value[:_MOST_GROUPS] if isinstance(word, str)]


def _refusal(error: Exception, expected: Expected) -> IdentityError:
    """Say what is wrong with a token, in words that hold nothing of it."""
    match error:
        case jwt.ExpiredSignatureError():
            return IdentityError("this login has expired", hint=_AGAIN)
        case jwt.ImmatureSignatureError():
            return IdentityError(
                "this token is not valid yet", hint="compare the clocks of provider and coordinator"
            )
        case jwt.InvalidAudienceError():
            return IdentityError(
                f"this token is for somebody else: its audience is not {expected.audience!r}",
                hint="see the keys oidc.audience and oidc.token of the coordinator's configuration",
            )
        case jwt.InvalidIssuerError():
            return IdentityError(f"this token is not of the issuer {expected.issuer}", hint=_AGAIN)
        case jwt.MissingRequiredClaimError(claim=claim):
            return IdentityError(f"this token lacks the claim {claim!r}")
    return IdentityError("this token is no good", hint=_AGAIN)


__all__ = ["LONGEST", "Expected", "Tokens"]
