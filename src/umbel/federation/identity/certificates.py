"""Certificates: what they say, and whether they can be used, in words that a person can act on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from umbel.dataclass import dataclass
from umbel.federation.errors import IdentityError
from umbel.federation.identity.keys import CURVE, PrivateKey, PublicKey
from umbel.federation.identity.names import PartyName

#: How far two clocks may be apart before a certificate looks not yet valid.
CLOCK_SKEW = timedelta(minutes=5)
#: The part of a certificate's life after which it is renewed.
RENEW_AFTER = 2 / 3


@dataclass(frozen=True)
class Certificate:
    """A party's certificate, with those that vouch for it.

    Attributes:
        chain: the party's own certificate first, then those between it and the root.
    """

    chain: tuple[x509.Certificate, ...]

    @classmethod
    def parse(cls, content: bytes, what: str = "the certificate") -> Certificate:
        """Read PEM.

        Raises:
            IdentityError: it is none.
        """
        try:
            chain = tuple(x509.load_pem_x509_certificates(content))
        except ValueError:
            raise IdentityError(f"{what} is no PEM certificate") from None
        return cls(chain)

    @classmethod
    def read(cls, path: Path) -> Certificate:
        """Read a file.

        Raises:
            IdentityError: it is not there, or holds no certificate.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise IdentityError(f"cannot read {path}: {error.strerror}") from None
        return cls.parse(content, str(path))

    def pem(self) -> bytes:
        """Write it as PEM."""
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in self.chain)

    @property
    def own(self) -> x509.Certificate:
        """The party's own certificate, without those that vouch for it."""
        return self.chain[0]

    @property
    def party(self) -> PartyName:
        """Whose it is.

        Raises:
            IdentityError: it names no party, or several.
        """
        try:
            names = self.own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError):
            raise IdentityError("the certificate names no party of a federation") from None
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        if len(uris) != 1:
            raise IdentityError("the certificate names no party of a federation")
        return PartyName.parse(uris[0])

    @property
    def serial(self) -> str:
        """Its number, by which it is revoked."""
        return f"{self.own.serial_number:x}"

    @property
    def public_key(self) -> PublicKey:
        """The key that it vouches for.

        Raises:
            IdentityError: it is of another kind than those of a federation.
        """
        try:
            key = self.own.public_key()
        except (ValueError, UnsupportedAlgorithm):
            raise IdentityError("the certificate holds no P-256 key") from None
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, CURVE):
            raise IdentityError("the certificate holds no P-256 key")
        return key

    @property
    def renewal(self) -> datetime:
        """When it is time to renew it: after two thirds of its life."""
        start, end = self.own.not_valid_before_utc, self.own.not_valid_after_utc
        return start + (end - start) * RENEW_AFTER

    def check(self, root: x509.Certificate, *, now: datetime | None = None) -> None:
        """Check what a TLS handshake would, and say what is wrong, which the handshake does not.

        Args:
            root: whom we trust.
            now: the time; None for the clock's.

        Raises:
            IdentityError: it has expired, is not yet valid, or another authority issued it.
        """
        now = now or datetime.now(UTC)
        for one in (*self.chain, root):
            start, end = one.not_valid_before_utc, one.not_valid_after_utc
            name = one.subject.rfc4514_string()
            if now > end:
                raise IdentityError(
                    f"the certificate of {name} expired on {end:%Y-%m-%d %H:%M} UTC",
                    hint="join again with a new invitation; if it is not that late, set the clock",
                )
            if now < start - CLOCK_SKEW:
                raise IdentityError(
                    f"the certificate of {name} is valid only from {start:%Y-%m-%d %H:%M} UTC; "
                    f"this machine's clock says {now:%Y-%m-%d %H:%M}",
                    hint="set the clock",
                )
        for one, above in zip(self.chain, (*self.chain[1:], root), strict=True):
            _check_issued(one, above)


def _check_issued(one: x509.Certificate, above: x509.Certificate) -> None:
    try:
        one.verify_directly_issued_by(above)
        authority = above.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        authority = False
    if not authority:
        raise IdentityError(
            f"the certificate of {one.subject.rfc4514_string()} was not issued by "
            f"{above.subject.rfc4514_string()}",
            hint="it belongs to another federation, or was forged",
        )


def fingerprint(certificate: x509.Certificate) -> str:
    """Give the SHA-256 of a certificate, by which it is known before it can be trusted."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def key_matches(key: PrivateKey, certificate: Certificate) -> bool:
    """Whether a key is the one that a certificate vouches for."""
    return key.public_key() == certificate.public_key


def name_of(common: str, federation: str) -> x509.Name:
    """Make a certificate's subject, which is for people; the party's name is what counts."""
    return x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, federation),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, common),
        ]
    )


__all__ = [
    "CLOCK_SKEW",
    "Certificate",
    "fingerprint",
    "key_matches",
    "name_of",
]
