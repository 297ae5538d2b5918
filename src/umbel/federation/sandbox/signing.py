"""Signatures of code: Ed25519 over its text, the function's name and its constants.

What is signed is what runs: the text of a module, never an object. Nothing is compiled before its
signature was verified. Ed25519: RFC 8032.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from pydantic import BaseModel, ConfigDict, Field

from umbel.federation.errors import FederationError, IdentityError, PolicyError
from umbel.federation.identity.keys import read_secret
from umbel.federation.messages import read_message
from umbel.plan.function_ref import SignedCode

#: What is signed before the code, so that a signature of code is one of nothing else.
_CONTEXT = b"umbel code 1\n"
_PREFIX = "ed25519:"
#: Characters of a module, and of its constants.
LARGEST_TEXT = 500_000
_LARGEST_FILE = 8 * LARGEST_TEXT


def with_signature(code: SignedCode, key: Path) -> SignedCode:
    """Sign code with an author's key, as `umbel policy keys` makes them.

    Raises:
        IdentityError: the key is none, or others can read it.
        FederationError: there is too much of it.
    """
    if len(code.text) + len(code.constants) > LARGEST_TEXT:
        raise FederationError(
            f"the code of {code.entry!r} has more than {LARGEST_TEXT:,} characters",
            hint="sign the function and what it needs, and give it data as columns",
        )
    try:
        private = serialization.load_pem_private_key(read_secret(key), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise IdentityError(
            f"{key} is no key to sign with", hint="make one: umbel code keys --key FILE"
        )
    raw = private.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )
    return replace(
        code,
        key=_PREFIX + base64.b64encode(raw).decode(),
        signature=base64.b64encode(private.sign(_CONTEXT + code.content)).decode(),
    )


def check_signer(text: str) -> str:
    """Give back an author's public key.

    Raises:
        ValueError: it is none.

    >>> check_signer("ed25519:AAAA")
    Traceback (most recent call last):
    ValueError: 'ed25519:AAAA' is no public key: umbel code keys shows it, such as "ed25519:…"
    """
    _public(text)
    return text


def verify_code(code: SignedCode, trusted: Collection[str], site: str) -> None:
    """Raise unless code is as somebody has signed it whom a site trusts.

    Args:
        code: text and signature, of which nothing is believed.
        trusted: public keys.
        site: whose they are, for the message.

    Raises:
        PolicyError: it is not signed, by nobody who is trusted, or was changed since.
    """
    if code.key not in trusted:
        signer = f"the key {code.key[:60]}" if code.signature else "nobody"
        raise PolicyError(
            f"site {site!r} does not run the code of {code.entry[:80]!r}: it is signed by {signer}, "
            "whom the site's policy does not trust",
            hint="ask the site's owner to write the key under [signers]"
            if trusted
            else "the site's policy lets no code run",
        )
    try:
        signature = base64.b64decode(code.signature, validate=True)
        _public(code.key).verify(signature, _CONTEXT + code.content)
    except (ValueError, binascii.Error, InvalidSignature):
        raise PolicyError(
            f"site {site!r} does not run the code of {code.entry[:80]!r}: it is not as it was "
            "signed",
            hint="sign it again: umbel code sign",
        ) from None


def write_code(path: Path, code: SignedCode) -> None:
    """Write signed code to a file."""
    content = {
        "umbel_code": 1,
        "entry": code.entry,
        "constants": code.constants,
        "key": code.key,
        "signature": code.signature,
        "text": code.text,
    }
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise FederationError(f"cannot write {path}: {error.strerror}") from None


def read_code(path: Path) -> SignedCode:
    """Read signed code from a file that `write_code` wrote; it is not verified.

    Raises:
        FederationError: it is none.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FederationError(
            f"{path}: cannot be read: {error.strerror}", hint="umbel code sign makes one"
        ) from None
    read = read_message(_CodeModel, "signed code", text, _LARGEST_FILE)
    return SignedCode(read.text, read.entry, read.constants, read.key, read.signature)


class _CodeModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    umbel_code: Literal[1]
    entry: str = Field(max_length=200)
    constants: str = Field(max_length=LARGEST_TEXT)
    key: str = Field(max_length=100)
    signature: str = Field(max_length=200)
    text: str = Field(max_length=LARGEST_TEXT)


def _public(text: str) -> Ed25519PublicKey:
    try:
        if not text.startswith(_PREFIX):
            raise ValueError
        raw = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise ValueError(
            f'{text[:80]!r} is no public key: umbel code keys shows it, such as "ed25519:…"'
        ) from None


__all__ = [
    "LARGEST_TEXT",
    "check_signer",
    "read_code",
    "verify_code",
    "with_signature",
    "write_code",
]
