"""Groups are begun where the rows lie, though no site tells how many there will be."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa

import umbel as ub
from umbel import col
from umbel.federation import Form, Link, Rule, Site, local

ROWS = 5_000
#: A line of 10 Mbit/s, over which rows take a second and groups none.
LINE = Link(bandwidth=1.25e6, latency=0.08)
MONEY = pa.decimal128(15, 2)


def part(number: int) -> pa.Table:
    """One site's rows: their product needs more digits than a decimal is sure to have."""
    ids = range(number * ROWS, (number + 1) * ROWS)
    cents = [Decimal(i % 900) / 100 for i in ids]
    return pa.table(
        {
            "flag": ["ANR"[i % 3] for i in ids],
            "status": ["FO"[i % 2] for i in ids],
            "price": pa.array([Decimal(i) / 100 for i in ids], MONEY),
            "discount": pa.array(cents, MONEY),
            "tax": pa.array(cents, MONEY),
        }
    )


def test_rows_do_not_cross_the_line_where_groups_do() -> None:
    sites = []
    for number, name in enumerate(("north", "south", "west")):
        site = Site(name, ub.connect(), link=LINE)
        site.publish("lines", site.session.from_arrow(part(number)), Rule(Form.ROWS))
        sites.append(site)
    session = local(sites)
    charge = col("price") * (1 - col("discount")) * (1 + col("tax"))

    def asked(lines: ub.DataFrame) -> pa.Table:
        grouped = lines.group_by("flag", "status").agg(
            ub.len().alias("n"), charge.sum().alias("charge"), col("price").mean().alias("mean")
        )
        return grouped.sort("flag", "status").collect()

    found = asked(session.table("lines"))
    stages = session.last_run.stages  # type: ignore[union-attr]
    sent = {stage.platform: stage.rows for stage in stages}
    assert [sent[site.name] for site in sites] == [6, 6, 6]  # three flags of two states each
    pooled = ub.connect().from_arrow(pa.concat_tables(part(number) for number in range(3)))
    assert found.to_pylist() == asked(pooled).to_pylist()
