"""A site's signature under what it says to other sites through the coordinator.

The coordinator brings it and cannot change it: it is made with the key of the site's certificate,
which goes along, and is held against the federation's root, the site's name, and the pinned keys of
peers where there are any; see `umbel.federation.identity.cards` for what that does not stop.
"""

from __future__ import annotations

from dataclasses import field

from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError
from umbel.federation.identity.cards import LARGEST_CARD, Peers
from umbel.federation.identity.certificates import Certificate
from umbel.federation.identity.keys import PrivateKey, sign, verifies

#: Nothing else that the key signs begins so.
_PURPOSE = b"umbel secure aggregation 1\n"


@dataclass(frozen=True)
class CertifiedIdentity:
    """Signs with the key of a certificate; `umbel.learning.secure.messages.Identity`.

    Attributes:
        certificate: the site's own.
        peers: whom it takes for which other site.
        key: of the certificate.
    """

    certificate: Certificate
    peers: Peers
    key: PrivateKey = field(repr=False)

    @property
    def site(self) -> str:
        """The name in the certificate."""
        return self.certificate.party.name

    @property
    def credential(self) -> bytes:
        """The certificate, as PEM."""
        return self.certificate.pem()

    def sign(self, message: bytes) -> bytes:
        """Sign with the key of the certificate."""
        return sign(self.key, _PURPOSE + message)

    def verify(self, site: str, message: bytes, signature: bytes, credential: bytes) -> bool:
        """Whether a signature is of the site whose name is in a certificate that holds."""
        if len(credential) > LARGEST_CARD:
            return False
        try:
            shown = Certificate.parse(credential, f"the certificate of site {site!r}")
            self.peers.check(shown, site)
        except FederationError:
            return False
        return verifies(shown.public_key, signature, _PURPOSE + message)


__all__ = ["CertifiedIdentity"]
