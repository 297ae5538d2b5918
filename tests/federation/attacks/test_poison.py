"""NaN and infinity from one site: the answer shows them, and no other group or column has them."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.federation import Form, Rule, Site, local

NAN, INF = math.nan, math.inf
HONEST = [1.0, 2.0, 3.0, 4.0, 5.0]
POISON = {
    "nan": [NAN] * 5,
    "inf": [INF] * 5,
    "minus": [-INF] * 5,
    # Each half of the infinities alone would be one; together they are no number.
    "both": [INF, -INF, INF, -INF, INF],
    "huge": [1.7e308] * 5,
    "clean": HONEST,
}


def part(values: dict[str, list[float]], first: int) -> pa.Table:
    keys = [key for key in values for _ in values[key]]
    flat = [value for key in values for value in values[key]]
    return pa.table({"id": range(first, first + len(keys)), "g": keys, "v": flat})


@pytest.fixture(scope="module")
def parts() -> list[pa.Table]:
    honest = dict.fromkeys(POISON, HONEST)
    return [part(honest, 0), part(POISON, 100), part(honest, 200)]


@pytest.mark.parametrize("form", [Form.ROWS, Form.AGGREGATES])
def test_poison_shows_and_stays_where_it_is(parts: list[pa.Table], form: Form) -> None:
    sites = []
    for name, rows in zip(("north", "evil", "south"), parts, strict=True):
        site = Site(name, ub.connect())
        rule = Rule(form) if form is Form.ROWS else Rule(form, 3, "id")
        site.publish("t", site.session.from_arrow(rows), rule)
        sites.append(site)
    table = local(sites).table("t")
    asked = table.group_by("g").agg(
        ub.len().alias("n"), col("v").sum().alias("sum"), col("v").mean().alias("mean"),
        col("v").var().alias("var"),
    )  # fmt: skip
    found = {row["g"]: row for row in asked.to_dicts()}
    assert {row["n"] for row in found.values()} == {15}
    for key in ("nan", "both"):
        assert all(math.isnan(found[key][name]) for name in ("sum", "mean", "var"))
    for key, sign in (("inf", 1), ("minus", -1), ("huge", 1)):
        assert found[key]["sum"] == sign * INF
        assert found[key]["mean"] == sign * INF
        assert not math.isfinite(found[key]["var"])
    # The mean and the variance of 1..5 three times: 3, and 3 * 10 / 14.
    assert found["clean"]["sum"] == 45.0
    assert found["clean"]["mean"] == 3.0
    assert found["clean"]["var"] == pytest.approx(30 / 14)
    # Over all groups one such value is enough, and it is seen.
    whole = table.select(col("v").sum().alias("sum"), ub.len().alias("n")).to_dicts()
    assert [math.isnan(row["sum"]) for row in whole] == [True]
    finite = table.filter(col("v").is_finite()).select(ub.len().alias("n")).to_dicts()
    assert finite == [{"n": 90 - 20}]
