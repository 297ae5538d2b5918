"""The engine DuckDB: one SQL statement for a whole stage, over Arrow tables and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from umbel.platforms.duckdb.platform import DuckDBPlatform


def engine(name: str = "duckdb") -> DuckDBPlatform:
    """Make the platform; DuckDB itself is imported when the first stage is compiled or run.

    >>> engine().name
    'duckdb'
    """
    from importlib.util import find_spec

    from umbel.platforms.base import MissingEngineError

    if find_spec("duckdb") is None:
        raise MissingEngineError("DuckDB is not installed: pip install duckdb")
    from umbel.platforms.duckdb.platform import DuckDBPlatform

    return DuckDBPlatform(name)
