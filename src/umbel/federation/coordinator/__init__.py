"""The coordinator: plans and drives runs over sites, for people and tools that ask by HTTPS."""

from umbel.federation.coordinator.coordinator import Coordinator, create
from umbel.federation.coordinator.server import Server
from umbel.federation.coordinator.settings import CoordinatorSettings

__all__ = ["Coordinator", "CoordinatorSettings", "Server", "create"]
