"""What goes wrong in secure aggregation."""

from __future__ import annotations


class SecureAggregationError(Exception):
    """The sum can't be had, or somebody does not follow the protocol. Nothing is revealed."""
