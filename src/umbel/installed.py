"""What installed packages offer by entry points: read once, and again when a package comes or goes.

`importlib.metadata` reads the lists of all packages each time that it is asked, which takes longer
than a small query. Sessions, databases and lakehouses ask each time they are made.
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

#: What tells one state of a place where packages are from another: its device, number and change.
_State = tuple[int, int, int]


def offered(group: str) -> tuple[EntryPoint, ...]:
    """Give the entry points of a group, from all packages that can be imported now.

    >>> "python" in {entry.name for entry in offered("umbel.platforms")}
    True
    """
    return _read(group, tuple(map(_state, sys.path)))


def _state(place: str) -> _State | None:
    """A package that is installed or removed changes the folder, or the archive."""
    try:
        found = os.stat(place or os.curdir)  # noqa: PTH116 - a fifth of the time
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


@lru_cache(maxsize=16)
def _read(group: str, places: tuple[_State | None, ...]) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=group))
