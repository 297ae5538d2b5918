"""Draws lines over rounds as SVG: axes, a legend, and gaps where nothing is known."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

from umbel.dataclass import dataclass
from umbel.learning.curves.scales import Scale, linear, logarithmic

_WIDTH, _HEIGHT = 560.0, 320.0
_LEFT, _TOP, _BOTTOM, _GAP, _ROW, _CHAR = 74.0, 40.0, 52.0, 18.0, 18.0, 6.7
_LONGEST = 28
#: With more rounds than this single points are too close together to be marked.
_MARKED = 40
#: Told apart by people who see few colours (Okabe and Ito, "Color Universal Design", 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b07d00", "#3a9bd0", "#6a3d9a")
_DASHES = ("", "6 3", "2 3")


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        name: stands in the legend.
        points: round and value; a value of None, or that is no number, leaves a gap.
        strong: drawn black and thick.
        marks: rounds that are marked at the axis, and what for, in words.
    """

    name: str
    points: tuple[tuple[int, float | None], ...]
    strong: bool = False
    marks: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Band:
    """What lies between two values in each round: round, lower and upper value."""

    name: str
    points: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True)
class _Place:
    """Where the rounds and values lie in the drawing."""

    across: Scale
    up: Scale

    def x(self, number: float) -> float:
        return _LEFT + self.across.at(number) * _WIDTH

    def y(self, value: float) -> float:
        return _TOP + (1 - self.up.at(value)) * _HEIGHT

    @property
    def floor(self) -> float:
        return _TOP + _HEIGHT


def draw(
    lines: Sequence[Line], bands: Sequence[Band], *, title: str, up: str, log: bool = False
) -> str:
    """Draw curves as an SVG document.

    Args:
        lines: the curves; at least one of them, or of the bands, has a value that can be drawn.
        bands: drawn below them.
        title: stands above.
        up: what the values are.
        log: equal factors are equally high.
    """
    values = [value for line in lines for _, value in line.points if _drawn(value, log)]
    values += [end for b in bands for _, *ends in b.points for end in ends if _drawn(end, log)]
    both: list[Line | Band] = [*lines, *bands]
    numbers = [point[0] for one in both for point in one.points]
    heights = [float(value) for value in values if value is not None]
    place = _Place(
        _rounds(min(numbers), max(numbers)), logarithmic(heights) if log else linear(heights)
    )
    names = [_short(one.name) for one in both]
    width = _LEFT + _WIDTH + _GAP + 34 + max(map(len, names)) * _CHAR + _GAP
    height = max(_TOP + _HEIGHT + _BOTTOM, _TOP + len(names) * _ROW + _GAP)
    svg = ET.Element(
        "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}", height=f"{height:.0f}", role="img",
    )  # fmt: skip
    ET.SubElement(svg, "title").text = printable(title)
    # Its own ground: a notebook may be dark.
    ET.SubElement(svg, "rect", width="100%", height="100%", fill="#ffffff")
    _axes(svg, place, title, up)
    looks = list(_looks(lines))
    for band in bands:
        _band(svg, place, band, log)
    for line, look in zip(lines, looks, strict=True):
        _line(svg, place, line, look, log)
    for row, (name, look) in enumerate(
        [(line.name, look) for line, look in zip(lines, looks, strict=True)]
        + [(band.name, {"fill": _BAND}) for band in bands]
    ):
        _legend(svg, row, name, look)
    return ET.tostring(svg, encoding="unicode")


_BAND = "#d5dbe3"


def printable(text: str) -> str:
    """Put a mark in the place of what no XML may hold, and no screen shows.

    >>> printable("a" + chr(0) + "b")
    'a�b'
    """
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _drawn(value: float | None, log: bool) -> bool:
    return value is not None and math.isfinite(value) and (value > 0 or not log)


def _rounds(first: int, last: int) -> Scale:
    """The scale of rounds: it ends where they do, and only whole numbers stand at it."""
    if first == last:
        return Scale(first - 1.0, last + 1.0, (float(first),))
    ticks = linear([float(first), float(last)], count=10, least=1.0).ticks
    room = (ticks[1] - ticks[0]) / 2
    inside = [tick for tick in ticks if first + room <= tick <= last]
    return Scale(first, last, (float(first), *inside))


def _looks(lines: Sequence[Line]) -> Iterator[dict[str, str]]:
    plain = 0
    for line in lines:
        if line.strong:
            yield {"stroke": "#111111", "stroke-width": "3"}
            continue
        look = {"stroke": _COLOURS[plain % len(_COLOURS)], "stroke-width": "1.8"}
        dash = _DASHES[plain // len(_COLOURS) % len(_DASHES)]
        plain += 1
        yield look | ({"stroke-dasharray": dash} if dash else {})


def _axes(svg: ET.Element, place: _Place, title: str, up: str) -> None:
    _text(svg, _LEFT, _TOP - 18, title, size="14", bold=True)
    for tick in place.up.ticks:
        y = place.y(tick)
        ET.SubElement(
            svg, "line", x1=f"{_LEFT:.1f}", x2=f"{_LEFT + _WIDTH:.1f}", y1=f"{y:.1f}",
            y2=f"{y:.1f}", stroke="#e3e6ea", attrib={"class": "grid"},
        )  # fmt: skip
        _text(svg, _LEFT - 8, y + 4, f"{tick:.6g}", anchor="end", kind="up")
    for tick in place.across.ticks:
        x = place.x(tick)
        ET.SubElement(
            svg, "line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=f"{place.floor:.1f}",
            y2=f"{place.floor + 5:.1f}", stroke="#667",
        )  # fmt: skip
        _text(svg, x, place.floor + 19, f"{tick:.0f}", anchor="middle", kind="across")
    corners = f"M{_LEFT:.1f},{_TOP:.1f} V{place.floor:.1f} H{_LEFT + _WIDTH:.1f}"
    ET.SubElement(svg, "path", d=corners, fill="none", stroke="#667", attrib={"class": "axes"})
    _text(svg, _LEFT + _WIDTH / 2, place.floor + 40, "round", anchor="middle")
    label = _text(svg, 0, 0, up, anchor="middle")
    label.set("transform", f"translate(16 {_TOP + _HEIGHT / 2:.1f}) rotate(-90)")


def _band(svg: ET.Element, place: _Place, band: Band, log: bool) -> None:
    whole = [p for p in band.points if _drawn(p[1], log) and _drawn(p[2], log)]
    if not whole:
        return
    over = [f"{place.x(number):.1f},{place.y(high):.1f}" for number, _, high in whole]
    under = [f"{place.x(number):.1f},{place.y(low):.1f}" for number, low, _ in reversed(whole)]
    shape = ET.SubElement(
        svg, "polygon", points=" ".join([*over, *under]), fill=_BAND,
        stroke=_BAND, attrib={"class": "band"},
    )  # fmt: skip
    ET.SubElement(shape, "title").text = printable(band.name)


def _line(svg: ET.Element, place: _Place, line: Line, look: dict[str, str], log: bool) -> None:
    group = ET.SubElement(svg, "g", attrib={"class": "curve"})
    ET.SubElement(group, "title").text = printable(line.name)
    runs: list[list[tuple[float, float]]] = [[]]
    for number, value in line.points:
        if value is not None and _drawn(value, log):
            runs[-1].append((place.x(number), place.y(value)))
        elif runs[-1]:
            runs.append([])
    marked = len(line.points) <= _MARKED
    for run in runs:
        if len(run) > 1:
            way = " ".join(f"{x:.1f},{y:.1f}" for x, y in run)
            ET.SubElement(group, "polyline", points=way, fill="none", attrib=look)
        for x, y in run if marked or len(run) == 1 else ():
            ET.SubElement(
                group, "circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r="2.5", fill=look["stroke"]
            )
    for number, why in line.marks:
        x, y = place.x(number), place.floor - 6
        cross = ET.SubElement(
            group, "path", d=f"M{x - 4:.1f},{y - 4:.1f} l8,8 m0,-8 l-8,8", stroke=look["stroke"],
            attrib={"stroke-width": "2", "class": "mark"},
        )  # fmt: skip
        ET.SubElement(cross, "title").text = printable(why)


def _legend(svg: ET.Element, row: int, name: str, look: dict[str, str]) -> None:
    x, y = _LEFT + _WIDTH + _GAP, _TOP + row * _ROW + 4
    if "fill" in look:
        ET.SubElement(
            svg, "rect", x=f"{x:.1f}", y=f"{y - 5:.1f}", width="26", height="10", attrib=look
        )
    else:
        ET.SubElement(
            svg, "line", x1=f"{x:.1f}", x2=f"{x + 26:.1f}", y1=f"{y:.1f}", y2=f"{y:.1f}",
            attrib=look,
        )  # fmt: skip
    entry = _text(svg, x + 34, y + 4, _short(name), kind="legend")
    if entry.text != name:
        ET.SubElement(entry, "title").text = printable(name)


def _text(
    svg: ET.Element, x: float, y: float, text: str, *, anchor: str = "start", size: str = "11",
    bold: bool = False, kind: str = "label",
) -> ET.Element:  # fmt: skip
    shown = ET.SubElement(
        svg, "text", x=f"{x:.1f}", y=f"{y:.1f}", fill="#223",
        attrib={
            "font-family": "monospace",
            "font-size": size,
            "font-weight": "bold" if bold else "normal",
            "text-anchor": anchor,
            "class": kind,
        },
    )  # fmt: skip
    shown.text = printable(text)
    return shown


__all__ = ["Band", "Line", "draw", "printable"]
