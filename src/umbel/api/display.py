"""How handles show themselves: schema and plan as text and HTML, rows as a table."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.plan.operators import Operator
from umbel.plan.text import plan_to_text
from umbel.plan.types import type_name

if TYPE_CHECKING:
    from umbel.plan.operators import Element

#: A plan longer than this is cut in a handle's text.
MAX_LINES = 30
MAX_WIDTH = 100


def _short_plan(root: Operator) -> str:
    lines = plan_to_text(root).splitlines()
    more = [f"… {len(lines) - MAX_LINES} more operators"] if len(lines) > MAX_LINES else []
    short = [*lines[:MAX_LINES], *more]
    return "\n".join(s if len(s) <= MAX_WIDTH else s[: MAX_WIDTH - 1] + "…" for s in short)


class FrameDisplay:
    """The displays of a DataFrame."""

    plan: Operator

    def __repr__(self) -> str:
        fields = self.plan.schema
        width = max((len(name) for name in fields.names), default=0)
        columns = [f"  {f.name:<{width}}  {type_name(f.type)}" for f in fields]
        head = f"DataFrame of {len(fields)} column{'s' if len(fields) != 1 else ''}, not run yet"
        plan = "\n".join(f"  {line}" for line in _short_plan(self.plan).splitlines())
        return "\n".join([head, *columns, "plan:", plan])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{html.escape(f.name)}</td><td>{html.escape(type_name(f.type))}</td></tr>"
            for f in self.plan.schema
        )
        return (
            "<div class='umbel'><p><b>umbel DataFrame</b>, not run yet</p>"
            f"<table><thead><tr><th>column</th><th>type</th></tr></thead><tbody>{rows}</tbody>"
            f"</table><details><summary>plan</summary><pre>{html.escape(_short_plan(self.plan))}"
            "</pre></details></div>"
        )

    def show(self, n: int = 10) -> None:
        """Run, and print at most `n` rows as a table."""
        table = self.limit(n).collect()  # type: ignore[attr-defined]
        print_table(table)


class DatasetDisplay:
    """The displays of a Dataset."""

    plan: Operator

    def __repr__(self) -> str:
        plan = "\n".join(f"  {line}" for line in _short_plan(self.plan).splitlines())
        return f"Dataset of {element_text(self.plan.element, self.plan.schema)}, not run yet\nplan:\n{plan}"

    def _repr_html_(self) -> str:
        elements = html.escape(element_text(self.plan.element, self.plan.schema))
        return (
            f"<div class='umbel'><p><b>umbel Dataset</b> of {elements}, not run yet</p>"
            f"<details><summary>plan</summary><pre>{html.escape(_short_plan(self.plan))}</pre>"
            "</details></div>"
        )

    def show(self, n: int = 10) -> None:
        """Run, and print at most `n` elements."""
        from rich.console import Console

        console = Console()
        for element in self.take(n):  # type: ignore[attr-defined]
            console.print(repr(element), highlight=False, markup=False)


def element_text(element: Element, schema: pa.Schema) -> str:
    """Say what the elements of a dataset are.

    >>> from umbel.plan.operators import Element
    >>> element_text(Element.TUPLE, pa.schema([("item_0", pa.string()), ("item_1", pa.int64())]))
    'tuples (string, int64)'
    """
    types = ", ".join(type_name(dtype) for dtype in schema.types)
    match element.value:
        case "value":
            return f"{types} values"
        case "tuple":
            return f"tuples ({types})"
        case "record":
            names = ", ".join(f"{f.name}: {type_name(f.type)}" for f in schema)
            return f"named tuples ({names})"
        case _:
            return "Python objects"


def print_table(table: pa.Table) -> None:
    """Print a table's rows with their types, in colours where the terminal has them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, header_style="bold", pad_edge=False)
    for field in table.schema:
        name = Text(field.name)
        name.append(f"\n{type_name(field.type)}", style="dim")
        right = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        shown.add_column(name, justify="right" if right else "left", overflow="ellipsis")
    for row in table.to_pylist():
        shown.add_row(*(_cell(row[name]) for name in table.schema.names))
    console = Console()
    console.print(shown)
    console.print(Text(f"{table.num_rows} rows", style="dim"))


def _cell(value: Any) -> Any:
    from rich.text import Text

    return Text("null", style="dim") if value is None else Text(str(value))
