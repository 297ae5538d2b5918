"""What the catalogue's functions look like on duckdb, one module per theme as in the catalogue."""

from __future__ import annotations

from functools import cache
from typing import Any

from umbel.plan.functions.forms import Absent, Form, merge_forms


@cache
def forms() -> dict[str, Form[Any] | Absent]:
    """The table of all functions."""
    from umbel.platforms.duckdb.functions import (
        aggregates,
        arithmetic,
        comparison,
        mathematics,
        nested,
        patterns,
        strings,
        temporal,
        windows,
    )

    return merge_forms(
        arithmetic.FORMS,
        comparison.FORMS,
        mathematics.FORMS,
        strings.FORMS,
        patterns.FORMS,
        temporal.FORMS,
        nested.FORMS,
        aggregates.FORMS,
        windows.FORMS,
    )
