"""The client of a coordinator: `umbel.connect("https://…", token=…)`."""

from umbel.federation.client.records import MissingSitesWarning
from umbel.federation.client.session import RemoteSession, connect_to

__all__ = ["MissingSitesWarning", "RemoteSession", "connect_to"]
