"""Watches a run at a coordinator: its events, for the progress display and for listeners."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from umbel.executor import Listener
from umbel.executor.progress import PAUSE, ProgressDisplay
from umbel.federation.client.connection import Connection
from umbel.federation.client.records import event_from
from umbel.federation.errors import FederationError

#: Seconds that the last events have to come after the last row.
_LAST = 2.0
#: Seconds before a stream of events that broke off is asked for again.
_PAUSE = 0.5


@contextmanager
def watched(
    connection: Connection, path: str, progress: bool | None, listener: Listener | None
) -> Iterator[None]:
    """Tell the events of a run while a block runs.

    Args:
        connection: to the coordinator.
        path: where the run's events are.
        progress: show them; None does so in a terminal, once the run takes longer than a moment.
        listener: is told of them, on a thread of its own.
    """
    shown = sys.stderr.isatty() if progress is None else progress
    if not shown and listener is None:
        yield
        return
    done = threading.Event()
    with ProgressDisplay(progress) as display:

        def watch() -> None:
            # Most runs are over before anybody would look.
            if listener is None and progress is None and done.wait(PAUSE):
                return
            last = ""
            while True:
                with contextlib.suppress(FederationError):
                    headers = {"last-event-id": last} if last else {}
                    with connection.stream(path, headers) as chunks:
                        for name, data in _messages(chunks):
                            last = name or last
                            if data.get("event") == "over":
                                return
                            event = event_from(data)
                            if event is not None:
                                display(event)
                                if listener is not None:
                                    listener(event)
                # It broke off: whoever waits for the rows finds out whether it comes back.
                if done.wait(_PAUSE):
                    return

        thread = threading.Thread(target=watch, name="umbel-events", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            if listener is not None or progress:
                thread.join(_LAST)


def _messages(chunks: Iterable[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read server-sent events: names and data, which is JSON in one line."""
    rest, name = b"", ""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"id: "):
                name = line[4:].decode("ascii", "replace")
            elif line.startswith(b"data: "):
                found = json.loads(line[6:])
                if isinstance(found, dict):
                    yield name, found


__all__ = ["watched"]
