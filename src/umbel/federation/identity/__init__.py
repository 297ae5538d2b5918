"""Who is who: the federation's certificate authority, and how a site joins and stays joined.

A coordinator keeps a certificate authority of its own. A site makes its key where its data lies;
the key never leaves. With an invitation, which works once and soon expires, the site gets a
short-lived certificate that names it; from then on both sides prove by mutual TLS who they are.
"""

from umbel.federation.identity.authority import Authority
from umbel.federation.identity.certificates import Certificate
from umbel.federation.identity.enrolment import EnrolmentRequest
from umbel.federation.identity.invitations import Invitation, JoinToken
from umbel.federation.identity.keys import PrivateKey
from umbel.federation.identity.names import PartyName, check_name

__all__ = [
    "Authority",
    "Certificate",
    "EnrolmentRequest",
    "Invitation",
    "JoinToken",
    "PartyName",
    "PrivateKey",
    "check_name",
]
