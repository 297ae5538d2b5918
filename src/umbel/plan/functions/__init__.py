"""The function catalogue: one row per scalar, aggregate and window function.

A row says what a function means: argument and result types, null and edge semantics, and a
Python reference implementation. What a function looks like on an engine stands in that engine's
folder, in a table with the same names, so that adding an engine touches no file here. The module
of each theme holds its rows; to add a function is to add a row there.
"""

from umbel.plan.functions.row import Accumulator, Catalogue, Function, Kind, Nulls, refuse

__all__ = ["CATALOGUE", "Accumulator", "Catalogue", "Function", "Kind", "Nulls", "refuse"]

from umbel.plan.functions import (
    aggregates,
    arithmetic,
    comparison,
    conditional,
    guards,
    mathematics,
    nested,
    patterns,
    strings,
    temporal,
    windows,
)

CATALOGUE = Catalogue()
for _theme in (
    arithmetic,
    comparison,
    conditional,
    mathematics,
    strings,
    patterns,
    temporal,
    nested,
    guards,
    aggregates,
    windows,
):
    CATALOGUE.add(*_theme.ROWS)
