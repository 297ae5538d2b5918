"""What goes wrong between the parties of a federation."""

from __future__ import annotations

from umbel.plan.errors import PlacementError, RunError, UmbelError


class FederationError(UmbelError):
    """Something between sites and their coordinator that a person has to look at."""

    exit_code = 10


class DiskFullError(FederationError):
    """There is no room on a disk for what has to be kept; nothing of it was."""


class IdentityError(FederationError):
    """A credential that is missing, forged, expired, revoked or meant for somebody else."""

    exit_code = 11


class ProviderError(FederationError):
    """An OpenID provider that cannot be reached, or does not answer as one does."""

    exit_code = 15


class PolicyError(PlacementError):
    """A site's rules do not let out what was asked for; says which rule, and what they allow."""

    exit_code = 12


class ApprovalError(PolicyError):
    """A person at a site has to agree before this may go on; asking again later may help.

    Attributes:
        first: whether this asking has made the request.
    """

    def __init__(self, message: str, *, hint: str = "", first: bool = False) -> None:
        super().__init__(message, hint=hint)
        self.first = first


class SiteError(RunError):
    """Work that a site took on and could not do; says the site, and nothing of its data.

    Attributes:
        site: the site's name.
        retryable: whether the same work may succeed later.
    """

    exit_code = 13

    def __init__(
        self, message: str, *, hint: str = "", site: str = "", retryable: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.site = site
        self.retryable = retryable


class AccessError(FederationError):
    """Somebody who is known, but may not do what they ask for."""

    exit_code = 16


class CoordinatorError(FederationError):
    """A coordinator that cannot be reached, is of another version, or breaks off."""

    exit_code = 15


class UnreachedError(CoordinatorError):
    """A coordinator that does not answer, or not to the end: asking again may help."""


class LimitError(FederationError):
    """Work that would take more than it may: rows, bytes or time."""

    exit_code = 14
