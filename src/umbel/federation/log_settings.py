"""The section [log] of the configurations of coordinators and sites."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from umbel.telemetry.logs import Form, Level


class LogSection(BaseModel):
    """What is logged, and how."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    format: Form = "text"
    level: Level = "info"


#: For the templates of configurations.
TEMPLATE = """\
# What goes to standard error: format "text" or "json" (a line for each event), and level "debug",
# "info", "warning" or "error". No data, no literals, no secrets, whatever the level.
# [log]
# format = "json"
# level = "info"
"""

__all__ = ["TEMPLATE", "LogSection"]
