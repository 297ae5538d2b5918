"""The engine SQLite: whole stages as one statement over the tables of a file.

It comes with Python, in the module sqlite3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.platforms.base import Engine

if TYPE_CHECKING:
    from umbel.catalog.address import Address
    from umbel.platforms.sqlite.platform import SQLitePlatform


def attach(name: str, address: Address) -> SQLitePlatform:
    """Make a platform of an SQLite file, which is opened when it is first needed.

    >>> from umbel.catalog.address import Address
    >>> attach("local", Address.of("sqlite:///data/shop.db")).address
    'sqlite:///data/shop.db'
    """
    from umbel.platforms.sqlite.platform import SQLitePlatform

    return SQLitePlatform(name, address)


engine = Engine(schemes=("sqlite",), attach=attach, signature=(0, b"SQLite format 3\0"))
