"""What somebody signs who asks: who they are, what they ask, what for, when, and for which run.

A coordinator sends sites stages that it has made of a question, so the question travels beside them
as it was signed. The run's name is the nonce: a statement holds for that run alone. Ed25519, RFC
8032; the key is the user's own, and neither the coordinator nor a site ever has it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import field
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from pydantic import BaseModel, ConfigDict, Field

from umbel.dataclass import dataclass
from umbel.federation.errors import IdentityError, PolicyError
from umbel.federation.identity.keys import read_secret
from umbel.federation.messages import read_message

#: What is signed before the statement, so that a signature of a question is one of nothing else.
_CONTEXT = b"umbel question 1\n"
_PREFIX = "ed25519:"
#: Seconds for which a statement holds: as long as a request for an approval waits, and a day.
LIFE = 8 * 86_400
#: Seconds that clocks may differ, and for which a statement may hold at most.
_SKEW, _LONGEST_LIFE = 300, 31 * 86_400
#: Plans of one statement, and characters of it.
_MOST_PLANS = 1_000
LARGEST_STATEMENT = 200_000


@dataclass(frozen=True, slots=True)
class Statement:
    """What somebody has signed.

    Attributes:
        user: who asks, by the name that the policies of sites know.
        purpose: what it is for.
        nonce: names what is asked now; the same name is used once.
        plans: the SHA-256 of each plan's text.
        at, until: from when to when it holds, in seconds since 1970.
    """

    user: str
    purpose: str
    nonce: str
    plans: tuple[str, ...]
    at: int
    until: int

    def to_json(self) -> str:
        """Write it."""
        return json.dumps(
            {
                "umbel_question": 1,
                "user": self.user,
                "purpose": self.purpose,
                "nonce": self.nonce,
                "plans": list(self.plans),
                "at": self.at,
                "until": self.until,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Statement:
        """Read one.

        Raises:
            FederationError: it is none.
        """
        read = read_message(_StatementModel, "signed question", text, LARGEST_STATEMENT)
        return cls(read.user, read.purpose, read.nonce, tuple(read.plans), read.at, read.until)


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement, its signature, and the plan that it is about; nothing of it is believed yet.

    Attributes:
        statement: as text, for what is signed is text.
        key: the public key.
        signature: of the statement.
        plan: the plan's text.
    """

    statement: str
    key: str
    signature: str
    plan: str = field(default="", repr=False)


class Signer:
    """Signs what one person asks.

    >>> signer = Signer(Ed25519PrivateKey.generate())
    >>> signed = signer.sign("ann", "sepsis", "run-1", ["{}"])
    >>> verify(signed, {signer.public}, "north").user
    'ann'
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        raw = key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        #: The public key, as policies name it.
        self.public = _PREFIX + base64.b64encode(raw).decode()

    @classmethod
    def read(cls, path: Path) -> Signer:
        """Read a key from a file, as `umbel policy keys` makes them.

        Raises:
            IdentityError: it is none, or others can read it.
        """
        try:
            private = serialization.load_pem_private_key(read_secret(path), None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise IdentityError(
                f"{path} is no key to sign with",
                hint="make one: umbel policy keys --key FILE --person NAME",
            )
        return cls(private)

    def sign(self, user: str, purpose: str, nonce: str, plans: Sequence[str]) -> Signed:
        """Sign a question.

        Args:
            user: who asks.
            purpose: what for.
            nonce: the name of what is asked.
            plans: their texts; if there is but one, it goes along.
        """
        now = int(time.time())
        digests = tuple(digest_of(plan) for plan in plans)
        text = Statement(user, purpose, nonce, digests, now, now + LIFE).to_json()
        signature = base64.b64encode(self._key.sign(_CONTEXT + text.encode())).decode()
        return Signed(text, self.public, signature, plans[0] if len(plans) == 1 else "")


def signature_of(signed: Signed) -> dict[str, str]:
    """What travels to the coordinator beside the plans themselves."""
    return {
        "statement": signed.statement,
        "key": signed.key,
        "signature": signed.signature,
    }


def digest_of(plan: str) -> str:
    """Identify a plan's text."""
    return hashlib.sha256(plan.encode()).hexdigest()


def verify(signed: Signed, keys: Iterable[str], site: str, now: float | None = None) -> Statement:
    """Give what somebody has signed whose key is known, if it holds now.

    Args:
        signed: of which nothing is believed.
        keys: public keys that are known.
        site: which asks, for the message.
        now: in seconds since 1970; None for now.

    Raises:
        PolicyError: the key is not known, the signature is not of this statement, it does not
            hold now, or the plan is another.
    """
    where = f"site {site!r}"
    if signed.key not in set(keys):
        raise PolicyError(
            f"{where} does not know who has signed this: {signed.key[:60]}",
            hint="have the site's owner write your key under [people] in the policy",
        )
    try:
        signature = base64.b64decode(signed.signature, validate=True)
        raw = base64.b64decode(signed.key.removeprefix(_PREFIX), validate=True)
        content = _CONTEXT + signed.statement.encode()
        Ed25519PublicKey.from_public_bytes(raw).verify(signature, content)
    except (ValueError, binascii.Error, InvalidSignature):
        raise PolicyError(f"{where}: the question is not as it was signed") from None
    found = Statement.from_json(signed.statement)
    now = time.time() if now is None else now
    if found.at > now + _SKEW or found.until > found.at + _LONGEST_LIFE:
        raise PolicyError(f"{where}: the question is signed for another time", hint=_CLOCKS)
    if now > found.until:
        raise PolicyError(f"{where}: the question was signed too long ago", hint="ask again")
    if digest_of(signed.plan) not in found.plans:
        raise PolicyError(f"{where}: the plan is not the one that was signed")
    return found


_CLOCKS = "look at the clocks of the site and of who asks"


class _StatementModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    umbel_question: Literal[1]
    user: str = Field(min_length=1, max_length=200)
    purpose: str = Field(max_length=500)
    nonce: str = Field(min_length=1, max_length=128)
    plans: list[str] = Field(min_length=1, max_length=_MOST_PLANS)
    at: int = Field(ge=0, lt=2**40)
    until: int = Field(ge=0, lt=2**40)


__all__ = [
    "LARGEST_STATEMENT",
    "LIFE",
    "Signed",
    "Signer",
    "Statement",
    "digest_of",
    "signature_of",
    "verify",
]
