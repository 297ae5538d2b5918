"""Which expressions a rule may have engines evaluate for more rows: see `umbel.plan.safety`."""

from __future__ import annotations

from umbel.plan.safety import TOTAL, cannot_fail

__all__ = ["TOTAL", "cannot_fail"]
