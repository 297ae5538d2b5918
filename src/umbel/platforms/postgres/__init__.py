"""The engine PostgreSQL: whole stages as one statement inside a server that holds the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.platforms.base import Engine, MissingEngineError

if TYPE_CHECKING:
    from umbel.catalog.address import Address
    from umbel.platforms.postgres.platform import PostgresPlatform


def check() -> None:
    """Raise `MissingEngineError` if the drivers are not installed."""
    from importlib.util import find_spec

    for module in ("adbc_driver_postgresql", "psycopg"):
        if find_spec(module) is None:
            raise MissingEngineError(
                "the drivers of PostgreSQL are not installed: pip install 'umbel[postgres]'"
            )


def attach(name: str, address: Address) -> PostgresPlatform:
    """Make a platform of a server's database; nothing is connected yet.

    >>> from umbel.catalog.address import Address
    >>> attach("warehouse", Address.of("postgresql://ann@db/sales")).address
    'postgresql://ann@db/sales'
    """
    check()
    from umbel.platforms.postgres.platform import PostgresPlatform

    return PostgresPlatform(name, address)


engine = Engine(schemes=("postgresql", "postgres"), attach=attach, check=check)
