"""Names of runs: the day, random digits, and the number of the run in its script.

What a coordinator is asked for is named by who asks, so this needs nothing of the store.
"""

from __future__ import annotations

import re
import secrets
import time

from umbel.plan.errors import PlanError

_ID = re.compile(r"\d{8}-[0-9a-f]{8,32}(\.\d{1,6})?", re.ASCII)


def new_id(digits: int = 8) -> str:
    """Name a run as no other is named; names of later days come later.

    Args:
        digits: random ones: more where many people name runs of one store.
    """
    return f"{time.strftime('%Y%m%d', time.gmtime())}-{secrets.token_hex(digits // 2)}"


def check_id(run_id: str) -> str:
    """Give back what can be a run's name, and nothing else; folders are named after it.

    >>> check_id("20261122-0badcafe.2")
    '20261122-0badcafe.2'
    >>> check_id("../../etc")
    Traceback (most recent call last):
    umbel.plan.errors.PlanError: '../../etc' is no id of a run
      they look like 20261122-0badcafe; `umbel runs list` has those that there are
    """
    if not isinstance(run_id, str) or not _ID.fullmatch(run_id):
        raise PlanError(
            f"{str(run_id)[:80]!r} is no id of a run",
            hint="they look like 20261122-0badcafe; `umbel runs list` has those that there are",
        )
    return run_id


__all__ = ["check_id", "new_id"]
