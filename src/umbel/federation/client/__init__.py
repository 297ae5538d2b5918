"""The client of a coordinator: `umbel.connect("https://…", token=…)`."""

from umbel.federation.client.session import RemoteSession, connect_to

__all__ = ["RemoteSession", "connect_to"]
