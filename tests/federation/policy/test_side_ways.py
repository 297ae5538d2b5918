"""Ways around the clauses that were open once: by how many rows there are, and by arithmetic.

Each of them was found to tell something that no clause lets out. The rows, the clause and the
question are the least that show it.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from tests.federation.policy.conftest import ask
from umbel import col, lit
from umbel.api.dataframe import DataFrame
from umbel.federation import Form, Rule, Site
from umbel.federation.errors import PolicyError
from umbel.federation.policy.clauses import Clause, Recipients
from umbel.plan.operators import Scan
from umbel.plan.sources import RelationSource

ALL = Recipients(users=("*",))
CLAUSE = Clause(
    "statistics", Form.AGGREGATES, 3, ("cost", "weight"), ("sex",), ("sex",), ("ward",),
    ("count", "sum", "mean"), recipients=ALL,
)  # fmt: skip
ROWS = pa.Table.from_pylist(
    [
        {
            "id": i // 2,
            "sex": "fm"[i // 2 % 2],
            "ward": i % 3,
            "secret": "word " * (i % 5),
            "cost": 100 + 7 * i,
            "weight": 50.0 + i,
            "digits": Decimal(i),
        }
        for i in range(40)
    ],
    pa.schema(
        [
            ("id", pa.int64()),
            ("sex", pa.string()),
            ("ward", pa.int64()),
            ("secret", pa.string()),
            ("cost", pa.int64()),
            ("weight", pa.float64()),
            ("digits", pa.decimal128(38, 30)),
        ]
    ),
)
WARDS: dict[str, list[Any]] = {"ward": [0, 1, 2], "wing": ["east", "west", "east"]}


def published(rule: Rule, rows: pa.Table = ROWS) -> tuple[Site, Callable[[str], DataFrame]]:
    """A site with rows under a rule, beside a table that everybody may have."""
    site = Site("north", ub.connect())
    site.publish("visits", site.session.from_arrow(rows), rule)
    wards = Rule(Form.ROWS, clause=Clause("all", Form.ROWS, columns=("*",), recipients=ALL))
    site.publish("wards", site.session.from_dict(WARDS), wards)
    schemas = {table.name: table.schema for table in site.manifest().tables}
    session = ub.connect()

    def table(name: str) -> DataFrame:
        return DataFrame(Scan(source=RelationSource(schemas[name], "north", (name,))), session)

    return site, table


@pytest.fixture(scope="module")
def strict() -> tuple[Site, Callable[[str], DataFrame]]:
    return published(Rule(Form.AGGREGATES, 3, "id", clause=CLAUSE))


def _questions(table: Callable[[str], DataFrame]) -> dict[str, tuple[DataFrame, str]]:
    t, wards = table("visits"), table("wards")
    n, weight, cost = ub.len().alias("n"), col("weight"), col("cost")
    a_list = ub.when(col("id") == 7).then(lit("a b c d")).otherwise(lit("a"))
    return {
        # Number 7 gets all rows as partners, so that its cost counts forty times.
        "joined by what is made of a name": (
            t.join(t.select(k=col("id") * 0 + 7), left_on="id", right_on="k", how="left").select(
                cost.sum()
            ),
            "picks rows by a list of those they are about",
        ),
        "how many different values there are": (
            t.group_by("id", "secret").agg().group_by("id").agg(m=ub.len()).select(col("m").sum()),
            "groups rows of individuals by 'secret'",
        ),
        "how many different rows there are": (
            t.select("id", "secret").distinct().select(n),
            "groups rows of individuals by 'secret'",
        ),
        "picked by how many rows somebody has": (
            t.group_by("id").agg(m=ub.len()).filter(col("m") == 2).select(n),
            "picks rows by 'its number of rows'",
        ),
        "grouped by how many rows somebody has": (
            t.group_by("id").agg(m=ub.len()).group_by("m").agg(n),
            "groups by 'its number of rows'",
        ),
        "how many words a text has": (
            t.with_columns(w=col("secret").str.split(" ")).explode("w").select(n),
            "computes .* of 'secret'",
        ),
        "repeated by who it is": (
            t.with_columns(w=a_list.str.split(" ")).explode("w").select(cost.sum()),
            "repeats rows by who they are about",
        ),
        "joined with a published table of one's own keys": (
            t.join(wards.with_columns(ward=lit(1)), on="ward").select(cost.sum()),
            "which picks rows",
        ),
        # Infinite if anybody's weight is above a bound.
        "overflow to infinity": (t.select((weight * 1e305 * 10.0).sum()), "another unit"),
        "times infinity": (t.select((weight * float("inf")).sum()), "another unit"),
        # Each weight above half of 256 adds one; 1 is added to all, so that none is a zero.
        "rounded to nothing": (
            t.select(((weight * (1 / 256) + 2.0**52) - 2.0**52 + 1.0).sum()),
            "another unit",
        ),
        "rounded in several steps": (
            t.with_columns(x=weight * 1e-5 * 1e-5)
            .with_columns(x=col("x") + 2.0**20)
            .select((col("x") - 2.0**20).sum()),
            "another unit",
        ),
        "a sum of decimals that overflows": (
            t.filter(col("sex") == "f").select(col("digits").sum()),
            "'digits'",
        ),
        "computed and thrown away": (
            t.with_columns(y=col("secret").str.contains("w.*d")).select(n),
            "computes .* of 'secret'",
        ),
        "gathered and thrown away": (
            t.group_by("id").agg(y=col("secret").max()).select(n),
            "computes max of 'secret'",
        ),
    }


def _asked(name: str, site: Site, frame: DataFrame) -> None:
    answered, _ = ask(site, frame.plan)
    raise AssertionError(f"{name}: answered {answered.to_pylist()[:3]}")


def test_no_way_around_is_open(strict: tuple[Site, Callable[[str], DataFrame]]) -> None:
    site, table = strict
    for name, (frame, why) in _questions(table).items():
        with pytest.raises(PolicyError, match=why):
            _asked(name, site, frame)


def test_honest_questions_beside(strict: tuple[Site, Callable[[str], DataFrame]]) -> None:
    site, table = strict
    t, costs = table("visits"), ROWS["cost"].to_pylist()
    in_cents = t.select((col("cost") * 100).sum().alias("s"))
    degrees = t.select(((col("weight") - 32) * 5 / 9).mean().alias("m"))
    visits = t.group_by("id", "sex").agg(m=ub.len()).group_by("sex").agg(col("m").mean())
    with_itself = t.join(t.select("id", other="cost"), on="id").select(col("other").sum())
    with_all = t.join(table("wards").select("ward"), on="ward").select(col("cost").sum())
    asked: dict[DataFrame, Any] = {
        in_cents: [{"s": 100 * sum(costs)}],
        degrees: [{"m": pytest.approx(sum((50 + i - 32) * 5 / 9 for i in range(40)) / 40)}],
        visits: [{"sex": "f", "m": 2.0}, {"sex": "m", "m": 2.0}],
        with_itself: [{"other": 2 * sum(costs)}],
        with_all: [{"cost": sum(costs)}],
    }
    for frame, expected in asked.items():
        found = ask(site, frame.plan)[0].to_pylist()
        assert sorted(found, key=repr) == expected


def test_exploded_rows_are_not_more_individuals() -> None:
    """Where each row is another individual's, one row would pass for as many as it has items."""
    everything = Clause(
        "all", Form.AGGREGATES, 3, *(("*",),) * 5, recipients=ALL
    )  # fmt: skip
    site, table = published(Rule(Form.AGGREGATES, 3, clause=everything))
    one = table("visits").filter(col("cost") == 107).with_columns(w=lit("a b c").str.split(" "))
    with pytest.raises(PolicyError, match="individuals cannot be counted"):
        ask(site, one.explode("w").select(col("cost").sum()).plan)


def test_a_sum_of_decimals_that_may_overflow_tells_of_few() -> None:
    everything = Clause("all", Form.AGGREGATES, 3, *(("*",),) * 5, recipients=ALL)
    site, table = published(Rule(Form.AGGREGATES, 3, "id", clause=everything))
    digits = table("visits").filter(col("cost") < 120)
    with pytest.raises(PolicyError, match="may overflow and tell of it"):
        ask(site, digits.select(col("digits").sum()).plan)
    narrow = digits.select(col("digits").cast("float64").sum())
    assert ask(site, narrow.plan)[0].num_rows == 0  # two people: left out


def test_rows_of_nobody_are_in_nothing() -> None:
    """A row whose individual is null cannot be counted; with two tables it counted as none."""
    rows = ROWS.to_pylist()
    rows[5]["id"] = None
    everything = Clause("all", Form.AGGREGATES, 3, *(("*",),) * 5, recipients=ALL)
    rule = Rule(Form.AGGREGATES, 3, "id", clause=everything)
    site, table = published(rule, pa.Table.from_pylist(rows, ROWS.schema))
    t = table("visits")
    found, _ = ask(site, t.select(col("cost").sum()).plan)
    assert found.to_pylist() == [{"cost": sum(r["cost"] for r in rows if r["id"] is not None)}]
    alone = t.filter(col("cost") == rows[5]["cost"]).select("cost")
    others = t.filter(col("cost") > 150).select("cost")
    found, _ = ask(site, alone.union(others).select(col("cost").sum()).plan)
    assert found.to_pylist() == [{"cost": sum(r["cost"] for r in rows if r["cost"] > 150)}]
