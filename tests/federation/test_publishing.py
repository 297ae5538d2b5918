"""What sites publish: from Python, from a file of settings, and as the coordinator is told of it."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from umbel.federation import Form, Link, Mapped, Rule, Site, read_site
from umbel.federation.errors import FederationError
from umbel.federation.manifest import Manifest, TableManifest
from umbel.plan.errors import PlanError, UnknownNameError

ROWS = pa.table({"id": [1, 2, 3], "weight_g": [70_000, 80_000, 90_000], "note": ["a", "b", "c"]})

SETTINGS = """
[site]
name = "north"
bandwidth = 1e6
latency = 0.5
dollars_per_gb = 0.09

[catalog.lake]
url = "data"

[agent]                         # of others
slots = 2

[tables.people]
from = "lake.people"
form = "aggregates"
min_individuals = 7
individual = "id"
to = ["ann"]
resident = true
tells_size = true
only = ["id", "kg"]

[tables.people.columns]
kg = { from = "weight_g", factor = 0.001, offset = 0.5 }

[tables.again]
parquet = "data/people.parquet"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    pq.write_table(ROWS, tmp_path / "data" / "people.parquet")
    (tmp_path / "site.toml").write_text(SETTINGS)
    return tmp_path


def test_a_site_is_read_from_its_settings(folder: Path) -> None:
    site = read_site(folder / "site.toml", name="north")
    people, again = site.tables["people"], site.tables["again"]
    assert people.rule == Rule(Form.AGGREGATES, 7, "id", ("ann",), resident=True)
    assert again.rule == Rule(Form.NOTHING)
    rows = ub.api.dataframe.DataFrame(people.plan, site.session).collect()
    assert rows.to_pylist() == [
        {"id": row["id"], "kg": row["weight_g"] * 0.001 + 0.5} for row in ROWS.to_pylist()
    ]
    told = site.manifest()
    assert told.link == Link(1e6, 0.5, 0.09)
    assert {table.name: table.rows for table in told.tables} == {"people": 4, "again": None}
    assert Manifest.from_json(told.to_json()) == told
    assert str(folder) not in told.to_json()


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('form = "aggregates"', 'form = "everything"', r"line \d+: key tables.people.form"),
        ("min_individuals = 7", "min_individuals = 0", "greater than or equal to 1"),
        ('individual = "id"', 'individual = "ids"', r"site.toml, line \d+: unknown column 'ids'"),
        ('from = "weight_g"', 'from = "weight"', "unknown column 'weight'"),
        ('from = "lake.people"', 'from = "lake.persons"', "lake.persons"),
        ('from = "lake.people"', "", "a table has one source"),
        ("tells_size = true", "tells_sizes = true", "did you mean tells_size"),
        ('name = "north"', 'name = "../north"', "no name of a site|called"),
        ('name = "north"', 'name = "south"', "called 'south', not 'north'"),
        ('url = "data"', 'url = "data"\noptions = { password = "x" }', "password"),
        ('to = ["ann"]', 'to = "ann"', "list"),
    ],
)
def test_wrong_settings_name_their_place(folder: Path, old: str, new: str, word: str) -> None:
    assert old in SETTINGS
    (folder / "site.toml").write_text(SETTINGS.replace(old, new, 1))
    with pytest.raises(ub.UmbelError, match=word):
        read_site(folder / "site.toml", name="north")


def test_what_cannot_be_published_is_refused() -> None:
    site = Site("north", ub.connect())
    frame = site.session.from_arrow(ROWS)
    with pytest.raises(UnknownNameError, match="the rule of table 'people'"):
        site.publish("people", frame, Rule(Form.AGGREGATES, individual="who"))
    with pytest.raises(UnknownNameError, match="column 'kg'"):
        site.publish("people", frame, mapping={"kg": Mapped("grams")})
    site.publish("people", frame)
    with pytest.raises(PlanError, match="another table"):
        site.publish("people", frame)
    with pytest.raises(FederationError, match="min_individuals"):
        Rule(Form.AGGREGATES, min_individuals=0)
    with pytest.raises(FederationError, match="no link"):
        Link(bandwidth=float("inf"))


MANIFEST = Manifest(
    "north",
    "1.0",
    (TableManifest("t", pa.schema([("id", pa.int64())]), Rule(Form.AGGREGATES, 5, "id"), 8),),
    (("duckdb", "1.5"),),
)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"site": "../x"}, "no name of a site"),
        ({"umbel_manifest": 2}, "umbel_manifest"),
        ({"code": "1"}, "code"),
        ({"tables": [{}]}, "tables.0"),
        ({"link": {"bandwidth": 0.0, "latency": 0.0, "dollars_per_gb": 0.0}}, "no link"),
        # Costs beside which nothing else counts, or that are no numbers.
        ({"link": {"bandwidth": 1e-300, "latency": 0.0, "dollars_per_gb": 0.0}}, "no link"),
        ({"link": {"bandwidth": 1e6, "latency": 1e308, "dollars_per_gb": 0.0}}, "no link"),
        ({"link": {"bandwidth": 1e6, "latency": 0.0, "dollars_per_gb": 1e308}}, "no link"),
        ({"link": {"bandwidth": math.nan, "latency": 0.0, "dollars_per_gb": 0.0}}, "NaN"),
        ({"link": {"bandwidth": math.inf, "latency": 0.0, "dollars_per_gb": 0.0}}, "Infinity"),
        ({"version": "1\x1b[2J"}, "control characters"),
        ({"engines": [{"name": "duck\x00db", "version": "1"}]}, "control characters"),
        ({"signers": ["key\u202e"]}, "control characters"),
    ],
)
def test_what_is_no_manifest_is_refused(change: dict[str, object], word: str) -> None:
    assert Manifest.from_json(MANIFEST.to_json()) == MANIFEST
    with pytest.raises((FederationError, PlanError), match=word):
        Manifest.from_json(json.dumps(json.loads(MANIFEST.to_json()) | change))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (
            {
                "rule": {
                    "form": "rows",
                    "min_individuals": 1,
                    "individual": "x",
                    "to": [],
                    "resident": False,
                }
            },
            "'x'",
        ),
        (
            {
                "rule": {
                    "form": "all",
                    "min_individuals": 1,
                    "individual": "",
                    "to": [],
                    "resident": False,
                }
            },
            "form",
        ),
        ({"schema": [{"name": "id", "type": "object of any kind"}]}, "not a manifest"),
        # What a terminal would obey, or show as another name.
        ({"name": "people\x1b[31m"}, r"'people\\x1b\[31m' is no name of a table: it holds control"),
        ({"name": "elpoep\u202e"}, "control characters"),
        (
            {"schema": [{"name": n, "type": "int64"} for n in ("id", "x\r\n")]},
            "column of table",
        ),
        ({"rows": -1}, "rows"),
    ],
)
def test_what_is_no_table_of_a_manifest_is_refused(change: dict[str, object], word: str) -> None:
    document = json.loads(MANIFEST.to_json())
    document["tables"][0] |= change
    with pytest.raises(FederationError, match=word):
        Manifest.from_json(json.dumps(document))
    twice = json.loads(MANIFEST.to_json())
    twice["tables"] *= 2
    with pytest.raises(FederationError, match="twice"):
        Manifest.from_json(json.dumps(twice))
