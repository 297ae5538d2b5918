"""Places at which a test lets this process die, as a machine that loses its power would.

The variable UMBEL_FAILPOINT names one, and after a colon the how-manieth time that it is reached;
the process then ends itself by SIGKILL, so that nothing of it can clean up. Without the variable a
place costs one comparison. The names of all places are in `POINTS`.
"""

from __future__ import annotations

import itertools
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
    "stage-kept": "the store knows of a stage's output",
    "write-started": "a sink begins to be written",
    "write-staged": "a sink's rows are written where nobody sees them",
    "write-intended": "the store knows what will be put in place",
    "write-linked": "a new file has its name, and still the other that it was written under",
    "write-done": "the sink holds the rows, and the store does not know of it",
    "write-kept": "the store knows that the sink holds the rows",
    "run-finished": "the store knows that the run is finished; its caller does not",
}

_NAME, _, _TIMES = os.environ.get(VARIABLE, "").partition(":")
_passed = itertools.count(1)


def reach(name: str) -> None:
    """Die here if the variable says so.

    >>> reach("stage-done")
    """
    if name == _NAME and next(_passed) == int(_TIMES or 1):
        os.kill(os.getpid(), signal.SIGKILL)


__all__ = ["POINTS", "VARIABLE", "reach"]
