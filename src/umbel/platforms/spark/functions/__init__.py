"""What the catalogue's functions look like on Spark, one module per theme as in the catalogue.

All forms are Spark's own SQL. What has none runs in Python, with the whole operator around it,
on Spark's workers (see `umbel.platforms.spark.pieces`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from umbel.plan.functions.forms import Absent, Form, merge_forms


@cache
def forms() -> dict[str, Form[Any] | Absent]:
    """The table of all functions."""
    from umbel.platforms.spark.functions import (
        aggregates,
        arithmetic,
        comparison,
        conditional,
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
        conditional.FORMS,
        mathematics.FORMS,
        strings.FORMS,
        patterns.FORMS,
        temporal.FORMS,
        nested.FORMS,
        aggregates.FORMS,
        windows.FORMS,
    )
