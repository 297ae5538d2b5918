"""People whom a policy knows by their keys."""

from __future__ import annotations

from umbel.dataclass import dataclass


@dataclass(frozen=True)
class Person:
    """Somebody who may ask, and how the site knows them.

    Attributes:
        name: of the user.
        keys: their public keys.
        roles: what they are to this site, whatever the coordinator says.
    """

    name: str
    keys: tuple[str, ...]
    roles: tuple[str, ...] = ()


__all__ = ["Person"]
