"""What goes wrong in secure aggregation."""

from __future__ import annotations

from umbel.plan.errors import RunError


class SecureAggregationError(RunError):
    """The sum can't be had, or somebody does not follow the protocol. Nothing is revealed."""
