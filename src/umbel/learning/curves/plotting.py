"""`plot`: a column of a training's rounds as curves, one for each part."""

from __future__ import annotations

import math
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.learning.curves.chart import Band, Line, draw
from umbel.learning.files import replace_file
from umbel.plan.errors import PlanError, UnknownNameError

#: More parts than these are shown together, as a band, unless some are named.
MOST = 10

#: What can be drawn, by the names of columns, in the words at the axis.
_WORDS = {
    "loss": "loss per row",
    "norm": "length of the update",
    "drift": "distance from the mean",
    "to_mean": "cosine to the mean",
    "to_others": "cosine to the others",
    "to_last": "cosine to its last update",
    "rows": "rows",
    "left_out": "rows left out",
    "seconds": "seconds",
    "waited": "seconds waited for others",
}


@dataclass(frozen=True)
class Plot:
    """A drawing of curves; a notebook shows it.

    Attributes:
        svg: the drawing as a document of its own.
        words: what it shows.
    """

    svg: str
    words: str

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it into a file, at once; returns the file's path."""
        target = Path(path)
        replace_file(target, self.svg.encode())
        return target

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Plot({self.words!r})"


def plot(
    rounds: pa.Table,
    what: str = "loss",
    *,
    parts: Iterable[str] | None = None,
    log: bool = False,
) -> Plot:
    """Draw what parts did over the rounds of a training.

    Each part has a curve, and of the loss there is one of all together. Where a part's value is not
    known its curve has a gap; a cross at the axis says that what it gave was not used, and why.
    More than ten parts are drawn as a band from the least to the most, with their median.

    Args:
        rounds: a row for each round and part: the history of a model, or what `diagnose` found.
        what: the column; `loss` is that of each part.
        parts: draw only these, each by itself; None for all.
        log: equal factors are equally high; values that are not positive are left out.

    Raises:
        UnknownNameError: there is no such column, or no such part.
        PlanError: nothing is known of it that can be drawn.
    """
    known = [name for name in _WORDS if name in rounds.column_names]
    history = "part_loss" in rounds.column_names
    if history:
        known.remove("seconds")  # there they are those of the round, whoever took them
    if what not in known:
        raise UnknownNameError("column", what, known, where="the rounds")
    own = "part_loss" if history and what == "loss" else what
    rows = rounds.to_pylist()
    lines = _of_parts(rows, own)
    bands: list[Band] = []
    if parts is not None:
        chosen = list(parts)
        names = [line.name for line in lines]
        for name in chosen:
            if name not in names:
                raise UnknownNameError("part", name, names, where="the rounds")
        lines = [line for line in lines if line.name in chosen]
    elif len(lines) > MOST:
        lines, bands = _together(lines)
    lines = [line for line in lines if _known(line, log) or line.marks]
    if own == "part_loss":
        lines.insert(0, _of_all(rows))
    if not any(_known(line, log) for line in lines):
        positive = "a positive number" if log else "a number"
        raise PlanError(
            f"no round of this training has {positive} as {what!r}, so there is nothing to draw",
            hint=f"others are {', '.join(name for name in known if name != what)}",
        )
    title = f"{_WORDS[what]} over {len({row['round'] for row in rows})} rounds"
    return Plot(draw(lines, bands, title=title, up=_WORDS[what], log=log), title)


def _known(line: Line, log: bool) -> bool:
    return any(
        value is not None and math.isfinite(value) and (value > 0 or not log)
        for _, value in line.points
    )


def _of_parts(rows: list[dict[str, object]], column: str) -> list[Line]:
    """A curve of each part, in the order of names; a round that it is not in is a gap."""
    numbers = sorted({_whole(row["round"]) for row in rows})
    values: dict[str, dict[int, float | None]] = defaultdict(dict)
    marks: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row in rows:
        part, number, value = str(row["part"]), _whole(row["round"]), row[column]
        values[part][number] = float(value) if isinstance(value, int | float) else None
        if row["excluded"]:
            marks[part].append((number, f"{part}, round {number}: {row['excluded']}"))
    return [
        Line(
            part,
            tuple((number, values[part].get(number)) for number in numbers),
            marks=tuple(marks[part]),
        )
        for part in sorted(values)
    ]


def _of_all(rows: list[dict[str, object]]) -> Line:
    found: dict[int, float | None] = {}
    for row in rows:
        value = row["loss"]
        found[_whole(row["round"])] = float(value) if isinstance(value, int | float) else None
    return Line("all together", tuple(sorted(found.items())), strong=True)


def _together(lines: list[Line]) -> tuple[list[Line], list[Band]]:
    """Many curves as their median, and a band from the least to the most of each round."""
    middle: list[tuple[int, float | None]] = []
    ends: list[tuple[int, float, float]] = []
    for points in zip(*(line.points for line in lines), strict=True):
        number = points[0][0]
        there = [v for _, v in points if v is not None and math.isfinite(v)]
        middle.append((number, statistics.median(there) if there else None))
        if there:
            ends.append((number, min(there), max(there)))
    count = f"{len(lines):,} parts"
    marks = tuple(mark for line in lines for mark in line.marks)
    return [Line(f"median of {count}", tuple(middle), marks=marks)], [
        Band(f"all {count}", tuple(ends))
    ]


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"a round's number is {value!r}")
    return value


__all__ = ["MOST", "Plot", "plot"]
