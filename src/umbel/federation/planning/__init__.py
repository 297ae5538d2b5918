"""The coordinator's view of sites: platforms, tables of several parts, and sessions over them."""

from umbel.federation.planning.catalogue import FederatedCatalogue, FederatedTable
from umbel.federation.planning.dispatch import DirectDispatcher
from umbel.federation.planning.platform import SitePlatform
from umbel.federation.planning.session import FederatedSession, WithheldWarning, left_out

__all__ = [
    "DirectDispatcher",
    "FederatedCatalogue",
    "FederatedSession",
    "FederatedTable",
    "SitePlatform",
    "WithheldWarning",
    "left_out",
]
