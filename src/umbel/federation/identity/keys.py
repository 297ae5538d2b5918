"""Private keys: made where they are used, kept in files that only their owner reads."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from umbel.federation.errors import IdentityError

#: The only kind of key in a federation: NIST P-256, which every TLS library takes.
CURVE = ec.SECP256R1

PrivateKey = ec.EllipticCurvePrivateKey
PublicKey = ec.EllipticCurvePublicKey


def new_key() -> PrivateKey:
    """Make a key."""
    return ec.generate_private_key(CURVE())


def key_bytes(key: PrivateKey) -> bytes:
    """Write a key as PEM (PKCS 8), in clear: guard it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def write_key(path: Path, key: PrivateKey) -> None:
    """Write a key to a file that only this user can read."""
    write_secret(path, key_bytes(key))


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only this user can read: whole or not at all, and never open in between.

    Raises:
        IdentityError: it cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise IdentityError(f"cannot write {path}: {error.strerror}") from None


def read_secret(path: Path) -> bytes:
    """Read a file that only this user can read.

    Raises:
        IdentityError: it is not there, or others can read it.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_bytes()
    except OSError as error:
        raise IdentityError(f"cannot read the key {path}: {error.strerror}") from None
    if mode & 0o077:
        raise IdentityError(
            f"others can read the key {path}",
            hint=f"chmod 600 {path}; if others use this machine, make a new key",
        )
    return content


def read_key(path: Path) -> PrivateKey:
    """Read a key.

    Raises:
        IdentityError: it is not there, is no such key, or others can read it.
    """
    try:
        key = serialization.load_pem_private_key(read_secret(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise IdentityError(f"{path} holds no key that can be used") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, CURVE):
        raise IdentityError(f"{path} holds no P-256 key")
    return key


def sign(key: PrivateKey, message: bytes) -> bytes:
    """Sign a message: ECDSA with SHA-256 (FIPS 186-5).

    >>> key = new_key()
    >>> verifies(key.public_key(), sign(key, b"x"), b"x")
    True
    """
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def verifies(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether a signature is this key's for a message."""
    try:
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def key_fingerprint(key: PublicKey) -> str:
    """Give the SHA-256 of a key (its SubjectPublicKeyInfo), by which people tell it to others.

    >>> key_fingerprint(new_key().public_key())[:7]
    'sha256:'
    """
    public = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return f"sha256:{hashlib.sha256(public).hexdigest()}"
