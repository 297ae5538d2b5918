"""How tasks travel to sites and rows come back: Arrow Flight with mutual TLS, dialled by the sites.

A site keeps one long poll open. With it come tasks and cancellations; it also is the heartbeat.
Rows travel as sealed segments, each known by its digest, and count when a manifest of them has
been committed. Whatever is sent twice, out of order or too late changes nothing.
"""

from __future__ import annotations

from umbel.federation.wire.agent import Agent, AgentConfig
from umbel.federation.wire.board import Board, Presence
from umbel.federation.wire.dispatcher import WireDispatcher
from umbel.federation.wire.endpoint import FlightEndpoint

__all__ = ["Agent", "AgentConfig", "Board", "FlightEndpoint", "Presence", "WireDispatcher"]
