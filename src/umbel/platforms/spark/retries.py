"""How long Spark's client goes on asking a server that does not answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Tries after the first; with the client's waits (0.05 s, four times as long each time, at most
#: `_LONGEST`) about 40 seconds in all. The client's own policy would be ten minutes.
_TRIES, _LONGEST = 6, 20_000


def retry_policy(is_dead: Callable[[], bool]) -> Any:
    """Make a policy that tries for less than a minute, and not at all once the server is dead.

    Args:
        is_dead: whether it is known that the server has ended.
    """
    from pyspark.sql.connect.client.retries import DefaultPolicy

    class Patience(DefaultPolicy):
        """As the client's, within bounds."""

        def can_retry(self, e: BaseException) -> bool:
            return super().can_retry(e) and not is_dead()

    return Patience(max_retries=_TRIES, max_backoff=_LONGEST)
