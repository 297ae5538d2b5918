"""Writes the pages of the reference that are made from the code: functions and operators.

`python -m tests.docs.reference` writes them; a test holds that they are current.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from umbel.plan import operators
from umbel.plan.functions import CATALOGUE, Function
from umbel.plan.functions.forms import Absent
from umbel.plan.operators import (
    OPERATORS,
    Fit,
    Functional,
    Learned,
    Loop,
    PairOperator,
    Transform,
    WithModel,
)

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
THEMES = (
    "arithmetic", "comparison", "conditional", "mathematics", "strings", "patterns", "temporal",
    "nested", "guards", "aggregates", "windows",
)  # fmt: skip
#: Engines that have a table of forms; the python platform runs the reference of every row.
ENGINES = ("polars", "duckdb", "datafusion", "postgres", "spark")


def functions_page() -> str:
    """The table of the catalogue's functions."""
    return "\n".join(_functions()) + "\n"


def _functions() -> Iterator[str]:
    forms = {name: _forms(name) for name in ENGINES}
    count = len(CATALOGUE.names())
    yield "# Functions"
    yield ""
    yield (
        f"The function catalogue has {count} rows. This page is made from it by "
        "`python -m tests.docs.reference`."
    )
    yield ""
    yield (
        "The names are those of plans, of `explain` and of messages; the methods of expressions "
        "stand in the [Python API](umbel.md). A null argument gives null, and an aggregate skips "
        "nulls, unless the meaning says otherwise."
    )
    yield ""
    yield (
        "The python platform runs every function. A number behind an engine is the reason why it "
        "does not, below the table; such a part of a plan is placed on another engine. Engines may "
        "still refuse some types or arguments; `explain` says which."
    )
    for theme in THEMES:
        yield from _theme(theme, forms)


def _forms(engine: str) -> dict[str, Any]:
    found: dict[str, Any] = importlib.import_module(f"umbel.platforms.{engine}.functions").forms()
    return found


def _theme(theme: str, forms: dict[str, dict[str, Any]]) -> Iterator[str]:
    rows: tuple[Function, ...] = importlib.import_module(f"umbel.plan.functions.{theme}").ROWS
    reasons: list[str] = []
    yield ""
    yield f"## {theme.capitalize()}"
    yield ""
    yield f"| function | arguments | meaning | example | {' | '.join(ENGINES)} |"
    yield "|---|---|---|---|" + "---|" * len(ENGINES)
    for row in sorted(rows, key=lambda row: row.name):
        cells = [f"`{row.name}`", _arity(row), _cell(row.semantics), _example(row)]
        for engine in ENGINES:
            form = forms[engine][row.name]
            if not isinstance(form, Absent):
                cells.append("yes")
                continue
            if form.reason not in reasons:
                reasons.append(form.reason)
            cells.append(f"no ({reasons.index(form.reason) + 1})")
        yield f"| {' | '.join(cells)} |"
    if reasons:
        yield ""
        for number, reason in enumerate(reasons, 1):
            yield f"{number}. {reason[:1].upper()}{reason[1:].rstrip('.')}."


def _arity(row: Function) -> str:
    least, most = row.arity
    if most is None:
        return f"{least} or more"
    return str(least) if least == most else f"{least} to {most}"


def _example(row: Function) -> str:
    for arguments, result in row.examples:
        shown = f"{', '.join(map(repr, arguments))} → {result!r}"
        if len(shown) <= 60 and "`" not in shown:
            return f"`{shown}`".replace("|", "\\|")
    return ""


def _cell(text: str) -> str:
    """A text as a cell of a table; code between back ticks stays as it is."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    plain = (part.replace("<", "&lt;").replace("*", "\\*") for part in parts[::2])
    return "`".join(
        part for pair in zip_longest(plain, parts[1::2]) for part in pair if part is not None
    )


def operators_page() -> str:
    """The list of the operators of a plan."""
    return "\n".join(_operators()) + "\n"


def _operators() -> Iterator[str]:
    yield "# Operators"
    yield ""
    yield (
        f"A plan is made of these {len(OPERATORS)} operators. This page is made from their "
        "docstrings by `python -m tests.docs.reference`. How a plan looks as JSON stands in "
        "[Plan format](plan-format.md)."
    )
    sections = {
        "On relations": lambda cls: (
            cls.__module__.removeprefix(f"{operators.__name__}.") in ("relational", "sets")
        ),
        "On collections of Python values": lambda cls: (
            issubclass(cls, Functional | PairOperator) or cls.__name__ in ("Count", "ZipWithId")
        ),
        "Between the two": lambda cls: cls.__name__ in ("Rows", "ToFrame", "Broadcast"),
        "Learning": lambda cls: issubclass(cls, Learned | Fit | Transform | WithModel),
        "Control": lambda cls: issubclass(cls, Loop) or cls.__name__ in ("Placeholder", "Write"),
    }
    for title, holds in sections.items():
        yield ""
        yield f"## {title}"
        yield ""
        yield "| operator | gives |"
        yield "|---|---|"
        for name, cls in OPERATORS.items():
            if holds(cls):
                yield f"| `{name}` | {_cell(_meaning(cls))} |"


def _meaning(cls: type) -> str:
    """An operator's docstring without the part on its attributes."""
    text = inspect.cleandoc(cls.__doc__ or "")
    return text.split("\nAttributes:")[0]


PAGES = {"functions.md": functions_page, "operators.md": operators_page}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (REFERENCE / page).write_text(make(), encoding="utf-8")
