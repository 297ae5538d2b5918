"""The errors of a store of runs."""

from __future__ import annotations

from umbel.executor.journal import JournalError


class StoreError(JournalError):
    """A store of runs that cannot be used as it is: locked, damaged, full, or of a newer version."""


class RunInUseError(JournalError):
    """A run that another process runs."""


class LostRunError(JournalError):
    """This process has lost a run: another took it over, and nothing more is kept of this one."""


class RunInterruptedError(JournalError):
    """This process is being stopped: the run is left as it is, for the next one to go on with."""


__all__ = ["LostRunError", "RunInUseError", "RunInterruptedError", "StoreError"]
