"""Curves lie where their values say, gaps are gaps, and whatever a site is called is only text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow as pa
import pytest
from typer.testing import CliRunner

import umbel as ub
from tests.learning.sites import LOGISTIC, NAMES, PEOPLE, federation
from umbel.cli.models_app import models_commands
from umbel.learning.curves.plotting import MOST, plot
from umbel.learning.curves.scales import linear, logarithmic
from umbel.learning.debugging.dynamics import DYNAMICS
from umbel.learning.rounds import HISTORY
from umbel.plan.errors import PlanError, UnknownNameError

SVG = "{http://www.w3.org/2000/svg}"


def history(losses: dict[str, list[float | None]], **excluded: dict[int, str]) -> pa.Table:
    """Rounds of parts with these losses, of ten rows each; that of all is their mean."""
    rows = []
    for i in range(max(map(len, losses.values()))):
        there = {part: own[i] for part, own in losses.items() if i < len(own)}
        known = [loss for loss in there.values() if loss is not None and math.isfinite(loss)]
        rows += [
            {
                "round": i + 1,
                "part": part,
                "rows": 10,
                "part_loss": loss,
                "loss": sum(known) / len(known) if known else None,
                "excluded": excluded.get(part, {}).get(i + 1),
            }
            for part, loss in there.items()
        ]
    return pa.Table.from_pylist(rows, schema=HISTORY)


class Drawing:
    """What an SVG document of curves shows, read back by the numbers that stand at its axes."""

    def __init__(self, svg: str, *, log: bool = False) -> None:
        self.root = ET.fromstring(svg)
        self.log = log
        self.legend = [text.text for text in self.of("text", "legend")]
        self.across = self._ticks("across", "x")
        self.up = self._ticks("up", "y")

    def of(self, tag: str, kind: str) -> list[ET.Element]:
        return [e for e in self.root.iter(f"{SVG}{tag}") if e.get("class") == kind]

    def _ticks(self, kind: str, axis: str) -> list[tuple[float, float]]:
        shift = 0.0 if axis == "x" else -4.0  # texts stand a little below their lines
        found = self.of("text", kind)
        return [(float(t.text or ""), float(t.get(axis, "nan")) + shift) for t in found]

    def _value(self, ticks: list[tuple[float, float]], at: float, *, log: bool = False) -> float:
        (low, start), (high, end) = ticks[0], ticks[-1]
        share = (at - start) / (end - start)
        return low * (high / low) ** share if log else low + share * (high - low)

    def curves(self) -> dict[str, list[list[tuple[float, float]]]]:
        """Of each curve its unbroken runs, as rounds and values."""
        found = {}
        for group in self.of("g", "curve"):
            runs = []
            for line in group.iter(f"{SVG}polyline"):
                points = [p.split(",") for p in line.get("points", "").split()]
                runs.append(
                    [
                        (self._value(self.across, float(x)),
                         self._value(self.up, float(y), log=self.log))
                        for x, y in points
                    ]
                )  # fmt: skip
            title = group.find(f"{SVG}title")
            assert title is not None
            found[title.text or ""] = runs
        return found


def approx(points: list[tuple[int, float]]) -> Any:
    # Places are written to a tenth of a pixel, of more than three hundred.
    return [pytest.approx(point, rel=2e-3, abs=2e-3) for point in points]


def test_curves_lie_where_their_values_say() -> None:
    found = Drawing(plot(history({"north": [0.9, 0.6, 0.5], "south": [0.7, 0.2, 0.1]})).svg)
    assert found.legend == ["all together", "north", "south"]
    curves = found.curves()
    assert curves["north"] == [approx([(1, 0.9), (2, 0.6), (3, 0.5)])]
    assert curves["south"] == [approx([(1, 0.7), (2, 0.2), (3, 0.1)])]
    assert curves["all together"] == [approx([(1, 0.8), (2, 0.4), (3, 0.3)])]
    assert [tick for tick, _ in found.across] == [1, 2, 3]
    texts = [text.text for text in found.of("text", "label")]
    assert texts == ["loss per row over 3 rounds", "round", "loss per row"]


def test_equal_factors_are_equally_high_when_asked_for() -> None:
    table = history({"north": [10.0, 1.0, 0.1, 0.0]})  # the last cannot be drawn
    found = Drawing(plot(table, parts=["north"], log=True).svg, log=True)
    (run,) = found.curves()["north"]
    assert run == approx([(1, 10.0), (2, 1.0), (3, 0.1)])
    heights = [y for _, y in found.up]
    assert heights == sorted(heights, reverse=True)


def test_what_is_not_known_is_a_gap_and_what_was_not_used_is_marked() -> None:
    table = history(
        {"north": [0.9, 0.8, None, 0.6, 0.5], "west": [0.5, 0.4, math.nan, math.inf, 0.3]},
        west={3: "its loss is no number", 4: "it holds <inf> & more"},
    )
    found = Drawing(plot(table).svg)
    north = found.curves()["north"]
    assert [[round(number) for number, _ in run] for run in north] == [[1, 2], [4, 5]]
    (west,) = found.curves()["west"]  # its last value stands alone, as a dot
    assert [round(number) for number, _ in west] == [1, 2]
    dots = [len(list(g.iter(f"{SVG}circle"))) for g in found.of("g", "curve")]
    assert dots == [4, 4, 3]  # of round 3 nobody knows anything
    marks = [mark.findtext(f"{SVG}title") for mark in found.of("path", "mark")]
    assert marks == [
        "west, round 3: its loss is no number", "west, round 4: it holds <inf> & more",
    ]  # fmt: skip


def test_names_of_sites_are_text_whatever_they_are() -> None:
    names = ["a<script>alert(1)</script>", "nul\x00 and bell\x07", "x" * 60]
    svg = plot(history({name: [0.5, 0.4] for name in names})).svg
    found = Drawing(svg)
    assert {e.tag.removeprefix(SVG) for e in found.root.iter()} == {
        "svg", "title", "rect", "text", "line", "path", "g", "polyline", "circle",
    }  # fmt: skip
    assert found.legend[1:] == ["a<script>alert(1)</script>", "nul� and bell�", "x" * 27 + "…"]
    (whole,) = [t.findtext(f"{SVG}title") for t in found.of("text", "legend") if "…" in t.text]  # type: ignore[operator]
    assert whole == "x" * 60
    # It needs nothing from elsewhere.
    assert "href" not in svg
    assert "url(" not in svg


def test_every_part_looks_different_and_all_of_it_is_inside() -> None:
    found = Drawing(plot(history({f"site{i}": [1.0 + i, 0.5 + i] for i in range(MOST)})).svg)
    lines = [
        (e.get("stroke"), e.get("stroke-dasharray"), e.get("stroke-width"))
        for e in found.root.iter(f"{SVG}polyline")
    ]
    assert len(set(lines)) == len(lines) == MOST + 1
    _, _, width, height = map(float, found.root.get("viewBox", "").split())
    for text in found.root.iter(f"{SVG}text"):
        x, y = float(text.get("x", "nan")), float(text.get("y", "nan"))
        assert 0 <= x <= width
        assert 0 <= y <= height


def test_many_parts_are_a_band_with_their_median() -> None:
    count = MOST + 1
    losses: dict[str, list[float | None]] = {f"s{i:02}": [1.0 + i, 0.5 + i] for i in range(count)}
    losses["s03"][1] = None
    table = history(losses, s03={2: "away"})
    found = Drawing(plot(table).svg)
    assert found.legend == ["all together", "median of 11 parts", "all 11 parts"]
    left = sorted(loss for own in losses.values() if (loss := own[1]) is not None)
    middle = [(1, 1.0 + count // 2), (2, (left[4] + left[5]) / 2)]
    assert found.curves()["median of 11 parts"] == [approx(middle)]
    (band,) = found.of("polygon", "band")
    ys = [float(point.split(",")[1]) for point in band.get("points", "").split()]
    values = [found._value(found.up, y) for y in ys]
    assert values == [pytest.approx(v, abs=0.02) for v in (11.0, 10.5, 0.5, 1.0)]
    (mark,) = found.of("path", "mark")
    assert mark.findtext(f"{SVG}title") == "s03, round 2: away"
    chosen = Drawing(plot(table, parts=["s07", "s01"]).svg)
    assert chosen.legend == ["all together", "s01", "s07"]


def test_one_round_and_one_value_are_drawn_too() -> None:
    found = Drawing(plot(history({"north": [0.25]})).svg)
    assert [tick for tick, _ in found.across] == [1]
    assert found.curves() == {"all together": [], "north": []}
    assert len(list(found.root.iter(f"{SVG}circle"))) == 2


@pytest.mark.parametrize("end", [1e-9, 0.3, 7.0, 1e12, -5.0])
def test_scales_hold_their_values_and_have_few_round_numbers(end: float) -> None:
    for values in ([0.0, end], [end, end], [end, 1.5 * end], [end, math.nextafter(end, 2 * end)]):
        scale = linear(values)
        assert all(-1e-9 <= scale.at(value) <= 1 + 1e-9 for value in values)
        assert 3 <= len(scale.ticks) <= 10
        assert [scale.at(tick) for tick in (scale.low, scale.high)] == [0.0, 1.0]
    if end > 0:
        scale = logarithmic([end, 300 * end])
        assert scale.low <= end * (1 + 1e-9)
        assert 300 * end <= scale.high * (1 + 1e-9)
        assert len(scale.ticks) <= 10


def test_what_cannot_be_drawn_says_why() -> None:
    table = history({"north": [0.5, 0.4]})
    with pytest.raises(UnknownNameError, match="accuracy"):
        plot(table, "accuracy")
    with pytest.raises(UnknownNameError, match="nort"):
        plot(table, parts=["nort"])
    with pytest.raises(PlanError, match="no round of this training has a number as 'norm'"):
        plot(table, "norm")
    with pytest.raises(PlanError, match="a positive number"):
        plot(history({"north": [-1.0, 0.0]}), log=True)
    with pytest.raises(PlanError, match="nothing to draw"):
        plot(DYNAMICS.empty_table(), "drift")


def test_a_training_over_sites_is_drawn_by_the_model_the_diagnosis_and_the_command(
    tmp_path: Path,
) -> None:
    session = federation()
    model = ub.learn.fit(
        session.table("people"), features=["age"], label="ill", classes=[False, True],
        model=LOGISTIC, strategy="fedavg", rounds=2, journal=tmp_path / "journal",
        settings=ub.learn.Settings(learning_rate=0.0001, batch_size=100),
    )  # fmt: skip
    shown = model.plot("norm", tmp_path / "norms.svg")
    assert (tmp_path / "norms.svg").read_text() == shown.svg == shown._repr_svg_()
    assert repr(shown) == "Plot('length of the update over 2 rounds')"
    curves = Drawing(shown.svg).curves()
    assert sorted(curves) == sorted(NAMES)
    norms = model.history.filter(ub.col("part") == "south").sort("round").collect()["norm"]
    (south,) = curves["south"]
    assert [v for _, v in south] == [pytest.approx(n, rel=0.02) for n in norms.to_pylist()]
    drift = Drawing(model.debug().plot("drift", tmp_path / "drift.svg").svg)
    assert drift.legend == sorted(NAMES)

    models = tmp_path / "models"
    ub.learn.Registry(models).save(model, "risk")
    target = tmp_path / "curves.svg"
    asked = ["plot", "risk", "-o", str(target), "--folder", str(models), "--part", "west"]
    done = CliRunner().invoke(models_commands(), asked)
    assert done.output == f"{target}\n"
    assert Drawing(target.read_text()).legend == ["all together", "west"]


def test_an_exact_training_is_drawn() -> None:
    people = ub.connect().from_arrow(PEOPLE)
    model = ub.learn.fit(people, features=["age"], label="ill", model=LOGISTIC)
    curves = Drawing(model.plot().svg).curves()
    losses = model.history.sort("round").collect()["loss"].to_pylist()
    (run,) = curves["all together"]
    assert [value for _, value in run] == [pytest.approx(loss, abs=2e-3) for loss in losses]
