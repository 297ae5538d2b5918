"""The engine DataFusion: one SQL statement for a whole stage, over Arrow tables and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.platforms.base import Engine, MissingEngineError

if TYPE_CHECKING:
    from umbel.platforms.datafusion.platform import DataFusionPlatform


def check() -> None:
    """Raise `MissingEngineError` if DataFusion is not installed."""
    from importlib.util import find_spec

    if find_spec("datafusion") is None:
        raise MissingEngineError("DataFusion is not installed: pip install 'umbel[datafusion]'")


def engine(name: str = "datafusion") -> DataFusionPlatform:
    """Make the platform; DataFusion itself is imported when the first stage runs.

    >>> engine().name
    'datafusion'
    """
    check()
    from umbel.platforms.datafusion.platform import DataFusionPlatform

    return DataFusionPlatform(name)


ENGINE = Engine(make=engine, check=check)
