"""What goes wrong between the parties of a federation."""

from __future__ import annotations

from umbel.plan.errors import UmbelError


class FederationError(UmbelError):
    """Something between sites and their coordinator that a person has to look at."""

    exit_code = 10


class IdentityError(FederationError):
    """A credential that is missing, forged, expired, revoked or meant for somebody else."""

    exit_code = 11
