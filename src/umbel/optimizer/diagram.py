"""Draws boxes and arrows as SVG, in layers from top to bottom."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as ET

from umbel.dataclass import dataclass

_LINE, _PAD, _GAP_X, _GAP_Y, _CHAR = 16, 10, 30, 46, 6.7
_FILLS = ("#e8f1fb", "#fdf0e0", "#e9f6ea", "#f6e9f4", "#f4f4e4", "#e6f5f5")


@dataclass(frozen=True)
class Box:
    """A box of text lines; boxes of one group share a colour."""

    key: str
    lines: tuple[str, ...]
    group: str

    @property
    def width(self) -> float:
        """Width in pixels, reckoned from the longest line."""
        return max(len(line) for line in self.lines) * _CHAR + 2 * _PAD

    @property
    def height(self) -> float:
        """Height in pixels."""
        return len(self.lines) * _LINE + 2 * _PAD


def layers(boxes: Sequence[Box], edges: Sequence[tuple[str, str, str]]) -> list[list[Box]]:
    """Put each box one layer below the lowest of the boxes that point to it.

    >>> a, b = Box("a", ("A",), "x"), Box("b", ("B",), "x")
    >>> [[box.key for box in layer] for layer in layers([a, b], [("a", "b", "")])]
    [['a'], ['b']]
    """
    depth: dict[str, int] = {box.key: 0 for box in boxes}
    for _ in boxes:
        for source, target, _label in edges:
            depth[target] = max(depth[target], depth[source] + 1)
    count = max(depth.values(), default=-1) + 1
    return [[box for box in boxes if depth[box.key] == level] for level in range(count)]


def draw(boxes: Sequence[Box], edges: Sequence[tuple[str, str, str]]) -> str:
    """Draw boxes, and arrows (source key, target key, label) between them, as an SVG document."""
    rows = layers(boxes, edges)
    groups = {group: i for i, group in enumerate(sorted({box.group for box in boxes}))}
    width = max((sum(b.width for b in row) + _GAP_X * (len(row) - 1) for row in rows), default=0.0)
    places: dict[str, tuple[float, float, Box]] = {}
    y = float(_PAD)
    for row in rows:
        x = _PAD + (width - sum(b.width for b in row) - _GAP_X * (len(row) - 1)) / 2
        for box in row:
            places[box.key] = (x, y, box)
            x += box.width + _GAP_X
        y += max(box.height for box in row) + _GAP_Y
    total = (width + 2 * _PAD, y - _GAP_Y + _PAD)
    svg = ET.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {total[0]:.0f} {total[1]:.0f}",
        width=f"{total[0]:.0f}",
        height=f"{total[1]:.0f}",
        role="img",
    )
    ET.SubElement(svg, "title").text = "execution plan"
    marker = ET.SubElement(
        ET.SubElement(svg, "defs"), "marker", id="arrow", viewBox="0 0 8 8", refX="7", refY="4",
        markerWidth="8", markerHeight="8", orient="auto",
    )  # fmt: skip
    ET.SubElement(marker, "path", d="M0,0 L8,4 L0,8 z", fill="#667")
    for source, target, label in edges:
        _arrow(svg, places[source], places[target], label)
    for x, top, box in places.values():
        _box(svg, x, top, box, _FILLS[groups[box.group] % len(_FILLS)])
    return ET.tostring(svg, encoding="unicode")


def _arrow(
    svg: ET.Element, source: tuple[float, float, Box], target: tuple[float, float, Box], label: str
) -> None:
    x1, y1 = source[0] + source[2].width / 2, source[1] + source[2].height
    x2, y2 = target[0] + target[2].width / 2, target[1]
    ET.SubElement(
        svg, "line", x1=f"{x1:.1f}", y1=f"{y1:.1f}", x2=f"{x2:.1f}", y2=f"{y2:.1f}",
        stroke="#667", attrib={"stroke-width": "1.5", "marker-end": "url(#arrow)"},
    )  # fmt: skip
    text = ET.SubElement(
        svg, "text", x=f"{(x1 + x2) / 2 + 6:.1f}", y=f"{(y1 + y2) / 2 + 4:.1f}", fill="#445",
        attrib={"font-family": "monospace", "font-size": "11"},
    )  # fmt: skip
    text.text = label


def _box(svg: ET.Element, x: float, y: float, box: Box, fill: str) -> None:
    ET.SubElement(
        svg, "rect", x=f"{x:.1f}", y=f"{y:.1f}", width=f"{box.width:.1f}",
        height=f"{box.height:.1f}", rx="6", fill=fill, stroke="#667",
    )  # fmt: skip
    for number, line in enumerate(box.lines):
        text = ET.SubElement(
            svg, "text", x=f"{x + _PAD:.1f}", y=f"{y + _PAD + (number + 0.75) * _LINE:.1f}",
            fill="#223",
            attrib={
                "font-family": "monospace",
                "font-size": "11",
                "font-weight": "bold" if number == 0 else "normal",
                "xml:space": "preserve",
            },
        )  # fmt: skip
        text.text = line
