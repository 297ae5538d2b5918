"""What the catalogue's functions look like on SQLite.

Only those that mean exactly the same are here. SQLite has no NaN, turns integers that overflow into
floats, and knows upper and lower case of ASCII alone, so that much is left to other engines.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from umbel.plan.functions import CATALOGUE
from umbel.plan.functions.forms import Absent, Form, merge_forms

_OTHERWISE = "SQLite has none that means the same"


@cache
def forms() -> dict[str, Form[Any] | Absent]:
    """The table of all functions."""
    from umbel.platforms.sqlite.functions import aggregates, scalars

    table = merge_forms(scalars.FORMS, aggregates.FORMS)
    return {name: table.get(name, Absent(_OTHERWISE)) for name in CATALOGUE.names()}
