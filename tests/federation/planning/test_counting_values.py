"""Different values of tables with parts at several sites: counted without bringing rows together."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import umbel as ub
from umbel.federation import Form, Rule, Site, local
from umbel.federation.errors import PolicyError
from umbel.federation.planning import FederatedSession, WithheldWarning
from umbel.plan.operators import Aggregate

LEAST = 5


def part(seed: int, rows: int = 2000) -> pa.Table:
    """Values that come often, that both parts have, that are missing, and that are no numbers."""
    random = np.random.default_rng(seed)
    some = random.random(rows) < 0.1
    weights = random.integers(0, 30, rows) / 4
    return pa.table(
        {
            "who": random.integers(seed * 1000, seed * 1000 + 300, rows),
            "ward": pa.array(random.integers(seed, seed + 5, rows), mask=some),
            "sex": random.choice(["f", "m"], rows),
            "weight": np.where(random.random(rows) < 0.1, float("nan"), weights),
            "small": random.integers(0, 100, rows).astype(np.int32),
        }
    )


PARTS = {name: part(seed) for seed, name in enumerate(("north", "south", "west"), start=1)}


def session(rule: Rule, *, size: bool = True) -> FederatedSession:
    made = []
    shared = ub.connect()  # what runs it; engines for each would be of no use here
    for name, table in PARTS.items():
        site = Site(name, shared)
        site.publish("visits", shared.from_arrow(table), rule, tells_size=size)
        made.append(site)
    return local(made)


@pytest.fixture(scope="module")
def pooled() -> pl.DataFrame:
    return pl.concat(pl.DataFrame(pl.from_arrow(table)) for table in PARTS.values())


def test_where_rows_may_leave_each_site_gives_its_values_once(pooled: pl.DataFrame) -> None:
    federation = session(Rule(Form.ROWS))
    text = (
        "select sex, count(distinct ward) as wards, count(distinct weight) as weights, "
        "count(distinct ward) filter (where ward > 2) as high, sum(small) as s, count(*) as n "
        "from visits group by sex order by sex"
    )
    asked = federation.sql(text)
    plan = asked.explain().plan
    assert plan.early == ("partial aggregate by ward, sex, weight in each part",)
    leaving = [stage for stage in plan.stages if stage.platform.name in PARTS]
    assert len(leaving) == len(PARTS)
    for stage in leaving:
        root = stage.root.operator
        assert isinstance(root, Aggregate)
        assert [name for name, _ in root.keys] == ["ward", "sex", "weight"]
    # NaN is one value, and null is none (SQL:2023, 10.9; the plan's semantics).
    expected = (
        pooled.group_by("sex")
        .agg(
            wards=pl.col("ward").drop_nulls().n_unique(),
            weights=pl.col("weight").n_unique(),
            high=pl.col("ward").filter(pl.col("ward") > 2).n_unique(),
            s=pl.col("small").sum().cast(pl.Int64),
            n=pl.len().cast(pl.Int64),
        )
        .sort("sex")
    )
    assert asked.collect().to_pylist() == expected.to_dicts()
    # One column: its values, and nothing besides.
    one = federation.sql("select count(distinct ward) as n from visits")
    assert one.collect().to_pylist() == [{"n": pooled["ward"].drop_nulls().n_unique()}]
    moved = sum(b["bytes"] for b in one.explain().to_dict()["borders"])
    assert moved < 0.5 * sum(table["ward"].nbytes for table in PARTS.values())


def test_of_sums_that_cannot_be_parted_the_rows_come(pooled: pl.DataFrame) -> None:
    """Sums of floats are not added up in another order where they need not be."""
    federation = session(Rule(Form.ROWS))
    asked = federation.sql("select count(distinct ward) as n, sum(weight) as s from visits")
    assert not asked.explain().plan.early
    assert asked.collect().column("n").to_pylist() == [pooled["ward"].drop_nulls().n_unique()]


def test_where_only_aggregates_may_leave_it_is_refused_with_what_is_allowed(
    pooled: pl.DataFrame,
) -> None:
    federation = session(Rule(Form.AGGREGATES, LEAST, "who"))
    with pytest.raises(PolicyError) as caught:
        federation.sql("select count(distinct ward) as n from visits").collect()
    assert "gives rows of it" in caught.value.message
    assert caught.value.hint == (
        "column 'n_unique': n_unique(ward) over several sites cannot be made of what each gives: "
        "it takes the different values themselves, some of which are in single rows; allowed: "
        "counting them at each site, counting individuals that are resident, and counting the "
        "groups of a query that groups by them, without those of too few individuals"
    )
    # Each of which is allowed indeed; the last but one is the next test.
    for name, table in PARTS.items():
        found = federation.sql(f"select count(distinct ward) as n from {name}.visits").collect()
        assert found.to_pylist() == [{"n": len(table["ward"].drop_null().unique())}]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", WithheldWarning)
        found = federation.sql(
            "select count(ward) as n from (select ward from visits group by ward)"
        ).collect()
    assert found.to_pylist() == [{"n": pooled["ward"].drop_nulls().n_unique()}]


def test_individuals_of_one_site_each_are_counted_at_their_sites(pooled: pl.DataFrame) -> None:
    federation = session(Rule(Form.AGGREGATES, LEAST, "who", resident=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left out
        found = federation.sql(
            "select sex, count(distinct who) as people, count(*) as n from visits "
            "where small < 90 group by sex order by sex"
        ).collect()
        whole = federation.sql("select count(distinct who) as people from visits").collect()
    some = pooled.filter(pl.col("small") < 90).group_by("sex")
    expected = some.agg(people=pl.col("who").n_unique(), n=pl.len()).sort("sex")
    assert found.to_pylist() == expected.to_dicts()
    assert whole.to_pylist() == [{"people": pooled["who"].n_unique()}]
    # Who is in two groups of one site is counted in each, and in a group of both once.
    for key, groups in (("small % 2", pl.col("small") % 2), ("small < 200", pl.col("small") < 200)):
        text = f"select {key} as k, count(distinct who) as n from visits group by {key} order by k"
        counted = pooled.group_by(k=groups).agg(n=pl.col("who").n_unique()).sort("k")
        assert federation.sql(text).collect().to_pylist() == counted.to_dicts()
    # Not without a word that nobody is at two sites.
    plain = session(Rule(Form.AGGREGATES, LEAST, "who"))
    with pytest.raises(PolicyError, match="counting individuals that are resident"):
        plain.sql("select count(distinct who) as n from visits").collect()
