"""The engine Polars: one lazy query for a whole stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umbel.platforms.polars.platform import PolarsPlatform


def engine(name: str = "polars") -> PolarsPlatform:
    """Make the platform; Polars itself is imported when the first stage is compiled or run.

    >>> engine().name
    'polars'
    """
    from importlib.util import find_spec

    from umbel.platforms.base import MissingEngineError

    if find_spec("polars") is None:
        raise MissingEngineError("Polars is not installed: pip install polars")
    from umbel.platforms.polars.platform import PolarsPlatform

    return PolarsPlatform(name)
