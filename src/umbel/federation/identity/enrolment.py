"""How a site gets its first certificate, and each later one.

The site makes its key and asks for a certificate (a signing request, RFC 2986, which proves that
it holds the key). The first time it also proves with the invitation's secret that it was invited,
by an HMAC over the request: who only listens learns neither the secret nor can put a key of his
own into the request. Later it proves by its present certificate who it is.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from umbel.dataclass import dataclass
from umbel.federation.errors import IdentityError
from umbel.federation.identity.authority import Authority
from umbel.federation.identity.certificates import Certificate, name_of
from umbel.federation.identity.invitations import Invitation, JoinToken, proof_key
from umbel.federation.identity.keys import CURVE, PrivateKey, PublicKey

#: Larger than any request for a P-256 key with a name.
_LARGEST = 4096


@dataclass(frozen=True, slots=True)
class EnrolmentRequest:
    """What a site sends to join.

    Attributes:
        invitation: which invitation it answers.
        signing_request: PEM of the request for a certificate.
        proof: HMAC of the request by the invitation's secret, in hexadecimal.
    """

    invitation: str
    signing_request: bytes
    proof: str

    @classmethod
    def make(cls, token: JoinToken, key: PrivateKey) -> EnrolmentRequest:
        """Answer an invitation with a key."""
        request = signing_request(key)
        proof = _proof(proof_key(token.secret), token.invitation, request)
        return cls(token.invitation, request, proof)


def signing_request(key: PrivateKey) -> bytes:
    """Ask for a certificate for a key; the coordinator alone says what it will name."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(name_of("site", "umbel"))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def enrol(
    authority: Authority, invitation: Invitation, request: EnrolmentRequest, *, now: datetime
) -> Certificate:
    """Give an invited site its first certificate.

    The caller sees to it that an invitation is used once, in the transaction that records the
    certificate.

    Raises:
        IdentityError: the invitation has expired, or the request does not prove what it must.
    """
    given = _proof(invitation.key, invitation.id, request.signing_request)
    # One answer for what is forged and what is for another invitation: nothing to learn here.
    if invitation.id != request.invitation or not hmac.compare_digest(
        given.encode(), request.proof.encode()
    ):
        raise IdentityError(
            "the request does not prove that this site was invited",
            hint="copy the whole token; each invites one site, once",
        )
    if now >= invitation.expires:
        raise IdentityError(
            f"the invitation of {invitation.site!r} expired on "
            f"{invitation.expires:%Y-%m-%d %H:%M} UTC",
            hint="ask for a new one: umbel coordinator invite SITE",
        )
    return authority.issue_site(invitation.site, requested_key(request.signing_request), now=now)


def renew(
    authority: Authority, present: Certificate, request: bytes, *, now: datetime
) -> Certificate:
    """Give a site its next certificate.

    The caller has proof that it talks to whom the present certificate names (mutual TLS), and
    knows that this one is not revoked.

    Raises:
        IdentityError: the present certificate is no good, or is no site's.
    """
    present.check(authority.root, now=now)
    party = present.party
    if party.role != "site" or party.federation != authority.federation:
        raise IdentityError(f"{party} is no site of the federation {authority.federation!r}")
    return authority.issue_site(party.name, requested_key(request), now=now)


def requested_key(request: bytes) -> PublicKey:
    """Give the key for which a certificate is asked, if the asker holds it.

    Raises:
        IdentityError: this is no such request, or not signed by that key.
    """
    wrong = IdentityError("this is no request for a certificate with a P-256 key")
    if len(request) > _LARGEST:
        raise wrong
    try:
        parsed = x509.load_pem_x509_csr(request)
        signed = parsed.is_signature_valid
        key = parsed.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise wrong from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, CURVE):
        raise wrong
    if not signed:
        raise IdentityError("the request for a certificate is not signed by its own key")
    return key


def _proof(key: bytes, invitation: str, request: bytes) -> str:
    return hmac.digest(key, invitation.encode() + b"\0" + request, hashlib.sha256).hex()
