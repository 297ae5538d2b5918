"""Signatures of policies: whose a policy is, and that no older one comes in its place.

The owner signs the file with an Ed25519 key; the signature lies beside it. The site's own settings
name the public key, so that neither the coordinator nor whoever can write the policy's file changes
what leaves. The highest version that was in force is kept in the site's folder.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from umbel.federation.errors import IdentityError
from umbel.federation.identity.keys import read_secret, write_secret
from umbel.federation.policy.reading import Policy, read_policy

#: What is signed before the file, so that the signature holds for policies only.
_CONTEXT = b"umbel policy 1\n"
_PREFIX = "ed25519:"
#: The file with the highest version that was in force.
SEEN = "policy-in-force.json"


def new_owner(path: Path) -> str:
    """Make an owner's key, in a file that only its user reads; give its public part.

    Raises:
        IdentityError: there is a file already, or it cannot be written.
    """
    if path.exists():
        raise IdentityError(f"{path} is there already", hint="name another file, or keep the key")
    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_secret(path, content)
    return _public(key)


def sign(policy: Path, key: Path) -> Path:
    """Sign a policy; give the file with the signature.

    Raises:
        PlanError: the policy is wrong; a wrong one is not signed.
        IdentityError: the key is none, or others can read it.
    """
    read = read_policy(policy)
    try:
        private = serialization.load_pem_private_key(read_secret(key), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise IdentityError(
            f"{key} is no owner's key", hint="make one: umbel policy keys --key FILE"
        )
    signature = base64.b64encode(private.sign(_CONTEXT + read.file.text.encode())).decode()
    target = signature_of(policy)
    content = json.dumps({"owner": _public(private), "signature": signature}, indent=1) + "\n"
    target.write_text(content, encoding="utf-8")
    return target


def signature_of(policy: Path) -> Path:
    """The file with a policy's signature."""
    return policy.with_name(policy.name + ".sig")


def read_signed(policy: Path, owner: str) -> Policy:
    """Read a policy that an owner has signed.

    Args:
        policy: the file.
        owner: the owner's public key.

    Raises:
        IdentityError: it is not signed, by another, or was changed since.
        PlanError: the policy is wrong.
    """
    read = read_policy(policy)
    try:
        found = json.loads(signature_of(policy).read_bytes())
        signature = base64.b64decode(found["signature"], validate=True)
        key = base64.b64decode(owner.removeprefix(_PREFIX), validate=True)
        public = Ed25519PublicKey.from_public_bytes(key)
    except OSError:
        raise IdentityError(
            f"the policy {policy} is not signed", hint=f"umbel policy sign {policy} --key FILE"
        ) from None
    except (ValueError, TypeError, KeyError, binascii.Error):
        raise IdentityError(
            f"the signature of {policy}, or the owner's key, is malformed",
            hint="sign it again; owner = is the line that umbel policy keys has shown",
        ) from None
    try:
        public.verify(signature, _CONTEXT + read.file.text.encode())
    except InvalidSignature:
        raise IdentityError(
            f"the policy {policy} is not as its owner has signed it",
            hint="if you are the owner, look it over and sign it again",
        ) from None
    return read


def put_in_force(policy: Policy, folder: Path) -> None:
    """Note that a policy is in force; no older one takes its place.

    Raises:
        IdentityError: a newer one was in force, or another of the same version.
    """
    path = folder / SEEN
    try:
        seen = json.loads(path.read_bytes())
        version, digest = int(seen["version"]), str(seen["digest"])
    except FileNotFoundError:
        version, digest = 0, ""
    except (OSError, ValueError, TypeError, KeyError):
        raise IdentityError(
            f"{path} cannot be read, so it is not known which policy was in force",
            hint="look who has changed it; put it back",
        ) from None
    if policy.version < version:
        raise IdentityError(
            f"version {policy.version} of the policy is older than {version}, which was in force",
            hint="give it a higher version and sign it again",
        )
    if policy.version == version and policy.digest != digest:
        raise IdentityError(
            f"the policy was changed and is still of version {version}",
            hint="give it a higher version and sign it again",
        )
    if policy.version > version:
        content = json.dumps({"version": policy.version, "digest": policy.digest})
        write_secret(path, content.encode())


def _public(key: Ed25519PrivateKey) -> str:
    raw = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return _PREFIX + base64.b64encode(raw).decode()


__all__ = ["SEEN", "new_owner", "put_in_force", "read_signed", "sign", "signature_of"]
