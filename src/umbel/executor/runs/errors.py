"""The errors of a store of runs."""

from __future__ import annotations

from umbel.plan.errors import RunError


class StoreError(RunError):
    """A store of runs that cannot be used as it is: locked, damaged, full, or of a newer version."""


class RunInUseError(RunError):
    """A run that another process runs."""


class LostRunError(RunError):
    """This process has lost a run: another took it over, and nothing more is kept of this one."""


__all__ = ["LostRunError", "RunInUseError", "StoreError"]
