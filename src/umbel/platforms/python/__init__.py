"""The engine `python`: the reference implementation of every operator, streaming.

It runs what no other engine can (Python functions on Python objects) and says, for everything
else, what the right answer is. It needs nothing but pyarrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umbel.platforms.python.platform import PythonPlatform


def engine(name: str = "python") -> PythonPlatform:
    """Make the platform; the entry point of the group `umbel.platforms`.

    >>> engine().name
    'python'
    """
    from umbel.platforms.python.platform import PythonPlatform

    return PythonPlatform(name)
