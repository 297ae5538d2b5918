"""Places at which a test lets this process die, as a machine that loses its power would.

The variable UMBEL_FAILPOINT names one, and after a colon the how-manieth time that it is reached;
the process then ends itself by SIGKILL, so that nothing of it can clean up. Without the variable a
place costs one comparison. The names of all places are in `POINTS`.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "UMBEL_FAILPOINT"

#: Every place, in the order in which a durable run passes them.
POINTS: dict[str, str] = {
    "run-created": "the run is in the store, and nothing of it has run",
    "stage-started": "a stage begins",
    "stage-done": "a stage has its output, and nothing of it is kept",
    "seal-written": "a stage's output is in a file beside its place",
    "seal-placed": "the file is in its place, and the store does not know of it",
    "stage-kept": "the store knows of a stage's output; that of the result it learns at the end",
    "write-started": "a sink begins to be written",
    "write-staged": "a sink's rows are written where nobody sees them",
    "write-intended": "the store knows what will be put in place",
    "write-linked": "a new file has its name, and still the other that it was written under",
    "write-done": "the sink holds the rows, and the store does not know of it",
    "write-kept": "the store knows that the sink holds the rows, which still hold the token",
    "run-finished": "the store knows that the run is finished; its caller does not",
}


class _Place:
    """Where to die, and how often it was passed."""

    def __init__(self, text: str) -> None:
        self.name, _, count = text.partition(":")
        self.left = int(count or 1)


_places = [_Place(os.environ.get(VARIABLE, ""))]


def arm(place: str) -> None:
    """Do as if the variable had named a place."""
    _places[0] = _Place(place)


def reach(name: str) -> None:
    """Die here if the variable says so.

    >>> reach("stage-done")
    """
    place = _places[0]
    if name == place.name:
        place.left -= 1
        if not place.left:
            os.kill(os.getpid(), signal.SIGKILL)


__all__ = ["POINTS", "VARIABLE", "arm", "reach"]
