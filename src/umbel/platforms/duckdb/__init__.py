"""The engine DuckDB: one SQL statement for a whole stage, over Arrow tables, files and its own.

Every session has one in memory; DuckDB files are attached by `duckdb:///path`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.platforms.base import Engine, MissingEngineError

if TYPE_CHECKING:
    from umbel.catalog.address import Address
    from umbel.platforms.duckdb.attached import DuckDBFile
    from umbel.platforms.duckdb.platform import DuckDBPlatform


def check() -> None:
    """Raise `MissingEngineError` if DuckDB is not installed."""
    from importlib.util import find_spec

    if find_spec("duckdb") is None:
        raise MissingEngineError("DuckDB is not installed: pip install duckdb")


def engine(name: str = "duckdb") -> DuckDBPlatform:
    """Make the platform; DuckDB itself is imported when the first stage is compiled or run.

    >>> engine().name
    'duckdb'
    """
    check()
    from umbel.platforms.duckdb.platform import DuckDBPlatform

    return DuckDBPlatform(name)


def attach(name: str, address: Address) -> DuckDBFile:
    """Make a platform of a DuckDB file, which is opened when it is first needed.

    >>> from umbel.catalog.address import Address
    >>> attach("local", Address.of("duckdb:///data/shop.duckdb")).address
    'duckdb:///data/shop.duckdb'
    """
    check()
    from umbel.platforms.duckdb.attached import DuckDBFile

    return DuckDBFile(name, address)


ENGINE = Engine(
    make=engine, schemes=("duckdb",), attach=attach, check=check, signature=(8, b"DUCK")
)
