"""Names and texts that look like SQL are names and texts to every engine of this process."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.federation import Form, Rule, Site, local
from umbel.plan.sources import dotted

ENGINES = ("python", "duckdb", "datafusion", "polars")
HOSTILE = (
    "'; DROP TABLE victim; --",
    '"; DROP TABLE victim; --',
    "' OR '1'='1",
    '" OR ""="',
    "x' UNION SELECT secret FROM victim --",
    "/* open",
    "*/ close",
    "-- rest",
    "a;b",
    "\\",
    "\\'",
    '\\"',
    "''",
    '""',
    "`tick`",
    "[bracket]",
    "$1 $$ ? :name %s {0} {{x}}",
    "select",
    " space ",
    "d.o.t",
    "ünï–ƒ 漢字",
)
#: No name may hold these, but a text may.
TEXTS = (*HOSTILE, "", "nul\0nul", "\n\r\t", "%", "_")


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    """Each of the names names a column, and in each stand all the texts."""
    columns: dict[str, pa.Array] = {"n": pa.array(range(len(TEXTS)))}
    for shift, name in enumerate(HOSTILE):
        columns[name] = pa.array([*TEXTS[shift:], *TEXTS[:shift]])
    return pa.table(columns)


@pytest.mark.parametrize("engine", ENGINES)
def test_names_and_texts_come_back_as_they_are(rows: pa.Table, engine: str) -> None:
    pytest.importorskip(engine if engine != "python" else "pyarrow")
    frame = ub.connect(progress=False).from_arrow(rows)
    assert frame.on(engine).to_arrow().sort_by("n").equals(rows)
    # Each text as a literal, compared with and given, under names that are texts, too.
    asked = frame.select(
        *(
            (col(name) == text).alias(f"is {name}")
            for name, text in zip(HOSTILE, TEXTS, strict=False)
        ),
        *(ub.lit(text).alias(f"lit {i}") for i, text in enumerate(TEXTS)),
        n=col("n"),
    )
    found = asked.sort("n").on(engine).to_arrow()
    expected = {
        f"is {name}": [value == text for value in rows.column(name).to_pylist()]
        for name, text in zip(HOSTILE, TEXTS, strict=False)
    }
    expected |= {f"lit {i}": [text] * len(TEXTS) for i, text in enumerate(TEXTS)}
    assert found.to_pydict() == {**expected, "n": list(range(len(TEXTS)))}


@pytest.mark.parametrize("engine", ENGINES)
def test_hostile_names_group_join_and_pattern(rows: pa.Table, engine: str) -> None:
    pytest.importorskip(engine if engine != "python" else "pyarrow")
    first, second = HOSTILE[:2]
    frame = ub.connect(progress=False).from_arrow(rows)
    grouped = frame.group_by(first).agg(col(second).max().alias(HOSTILE[4]))
    joined = grouped.join(frame.select(first, n=col("n")), on=first).sort("n")
    assert joined.on(engine).to_arrow().column(HOSTILE[4]).to_pylist() == (
        rows.column(second).to_pylist()
    )
    held = frame.select(
        "n",
        *(
            col(first).str.contains(text, literal=True).alias(f"{i}")
            for i, text in enumerate(HOSTILE)
        ),
    )
    found = held.sort("n").on(engine).to_arrow()
    there = rows.column(first).to_pylist()
    for i, text in enumerate(HOSTILE):
        assert found.column(f"{i}").to_pylist() == [text in value for value in there]


def test_tables_of_a_database_by_hostile_names(tmp_path: Path) -> None:
    path = tmp_path / "a.db"

    def quoted(name: str) -> str:
        return '"' + name.replace('"', '""') + '"'

    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE victim (secret TEXT)")
        made.execute("INSERT INTO victim VALUES ('untouched')")
        for name in HOSTILE:
            made.execute(f"CREATE TABLE {quoted(name)} ({quoted(name)} TEXT, n INTEGER)")
            made.execute(f"INSERT INTO {quoted(name)} VALUES (?, 7)", [name])
        made.commit()
    before = path.read_bytes()
    session = ub.connect(progress=False)
    session.catalog.attach("lite", f"sqlite:///{path}")
    for name in HOSTILE:
        table = session.table(dotted(["lite", name]))
        kept = table.filter(col(name) == name).select(col(name).alias("; " + name), n=col("n"))
        assert kept.to_dicts() == [{"; " + name: name, "n": 7}]
        text = name.replace("'", "''")
        read = session.sql(
            f"SELECT {quoted(name)} AS {quoted('as ' + name)} FROM lite.{quoted(name)} "
            f"WHERE {quoted(name)} = '{text}'"
        )
        assert read.to_dicts() == [{"as " + name: name}]
    with pytest.raises(ub.UmbelError):
        session.table(["lite", "victim; DROP TABLE victim"]).collect()
    assert path.read_bytes() == before


def test_hostile_names_and_texts_over_sites(rows: pa.Table) -> None:
    sites = []
    for name in ("north", "south"):
        site = Site(name, ub.connect())
        site.publish("t", site.session.from_arrow(rows), Rule(Form.ROWS))
        sites.append(site)
    table = local(sites).table("t")
    first = HOSTILE[0]
    found = table.group_by(first).agg(
        ub.len().alias("' n"),
        *(
            ub.when(col(name) == text).then(1).otherwise(0).sum().alias("' " + name)
            for name, text in zip(HOSTILE, TEXTS, strict=False)
        ),
    )
    expected = {
        text: {first: text, "' n": 2}
        | {
            "' " + name: 2 * (rows.column(name)[i].as_py() == wanted)
            for name, wanted in zip(HOSTILE, TEXTS, strict=False)
        }
        for i, text in enumerate(rows.column(first).to_pylist())
    }
    assert {row[first]: row for row in found.to_dicts()} == expected
