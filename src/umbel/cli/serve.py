"""`umbel serve`: the SQL door, until the process is told to stop."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.api.located import written_at
from umbel.cli.sessions import opened
from umbel.cli.settings import Settings
from umbel.cli.sql import attach_and_register

if TYPE_CHECKING:
    from umbel.door.server import Door

#: Seconds between looks at what is to be done.
_LOOK = 0.05


def serve(
    settings: Settings,
    tables: Sequence[str],
    attached: Sequence[str],
    *,
    config: Path | None,
    grace: float,
    **options: Any,
) -> None:
    """Serve SQL until SIGTERM or Ctrl-C; both are its normal end.

    Args:
        settings: how to run statements.
        tables: files by name, as `name=file`.
        attached: databases by name, as `name=url`.
        config: the configuration; None looks where sessions look.
        grace: seconds that running statements have to end when the command is told to stop.
        options: those of `Session.serve`.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    with opened(settings, config) as session:
        with written_at(None):  # there is no script whose line could be shown
            attach_and_register(session, tables, attached)
            made = session.serve(**options)
        _until_told(made, grace)


def _until_told(made: Door, grace: float) -> None:
    """Keep a door open until SIGTERM or Ctrl-C."""
    with made as door:
        print(f"umbel answers SQL at {door.url}", flush=True)
        never = threading.Event()
        try:
            # This thread must run Python code now and then: it is the one that stops queries of
            # Polars, see `umbel.platforms.polars.abort`.
            while not never.wait(_LOOK):
                pass
        except KeyboardInterrupt:  # which SIGTERM is, too
            print("shutting down", file=sys.stderr, flush=True)
            door.close(grace)
