"""Sources of a session: what goes in comes out, and what cannot go in is named."""

from __future__ import annotations

import decimal
import pathlib

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import umbel as ub
from umbel import col

TABLE = pa.table({"a": [1, 2, None], "b": ["x", "é", None], "c": [1.5, float("inf"), -0.0]})


def test_arrow_comes_back_unchanged(session):
    assert session.from_arrow(TABLE).collect().equals(TABLE)
    assert session.from_arrow(TABLE.to_batches()[0]).collect().equals(TABLE)
    assert session.from_arrow(TABLE.to_reader()).collect().equals(TABLE)


def test_physical_variants_of_a_type_are_one_type(session):
    variants = pa.table(
        {
            "view": pa.array(["a"], pa.string_view()),
            "large": pa.array(["b"], pa.large_string()),
            "dictionary": pa.array(["c"]).dictionary_encode(),
            "time": pa.array([1000], pa.time32("ms")),
        }
    )
    frame = session.from_arrow(variants)
    assert frame.dtypes == [pa.string()] * 3 + [pa.time64("us")]
    assert frame.to_dicts() == variants.to_pylist()


def test_polars_and_pandas_round_trip(session):
    polars = pl.DataFrame({"a": [1, None], "b": ["x", "y"], "d": [[1], []]})
    assert session.from_polars(polars).to_polars().equals(polars)
    pandas = pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]})
    frame = session.from_pandas(pandas)
    assert frame.to_dicts() == [{"a": 1.5, "b": "x"}, {"a": None, "b": "y"}]
    back = session.from_pandas(pandas.set_index("b"), include_index=True).to_pandas()
    assert set(back.columns) == {"a", "b"}


def test_python_columns_and_rows(session):
    assert session.from_dict({"a": [1], "b": ["x"]}).to_dicts() == [{"a": 1, "b": "x"}]
    typed = session.from_dict({"a": [1]}, schema={"a": "decimal(5,2)"})
    assert typed.to_dicts() == [{"a": decimal.Decimal("1.00")}]
    rows = session.from_dicts([{"a": 1}, {"b": 2, "a": None}])
    assert rows.to_dicts() == [{"a": 1, "b": None}, {"a": None, "b": 2}]


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "ipc"])
def test_files_round_trip(session, tmp_path: pathlib.Path, kind):
    frame = session.from_arrow(TABLE.slice(0, 1))
    path = tmp_path / f"data.{kind}"
    report = getattr(frame, f"write_{kind}")(path)
    assert report.table.to_pylist() == [{"path": str(path), "rows": 1}]
    back = getattr(session, f"read_{kind}")(path)
    assert back.to_dicts() == TABLE.slice(0, 1).to_pylist()
    assert back.filter(col("a") > 1).count() == 0
    with pytest.raises(ub.UmbelError, match=str(path.name)):
        getattr(frame, f"write_{kind}")(path, exists="fail")


def test_text_round_trips(session, tmp_path: pathlib.Path):
    lines = ["to be", "", "or not é"]
    session.from_items(lines).write_text(tmp_path / "out.txt.gz")
    assert session.read_text(tmp_path / "*.gz").collect() == lines
    session.from_items([1, 2]).write_text(tmp_path / "n.txt")
    assert (tmp_path / "n.txt").read_text() == "1\n2\n"


def test_csv_options(session, tmp_path: pathlib.Path):
    (tmp_path / "a.csv").write_text("1;'x;y';-\n")
    frame = session.read_csv(
        tmp_path / "a.csv",
        schema={"n": int, "t": str, "m": float},
        delimiter=";",
        quote="'",
        header=False,
        null_values="-",
    )
    assert frame.to_dicts() == [{"n": 1, "t": "x;y", "m": None}]


def test_the_last_run_is_kept_with_estimates_beside_measurements(session):
    assert session.last_run is None
    result = session.from_arrow(TABLE).filter(col("a") > 1).execute()
    assert session.last_run is result.run
    assert [stage.rows for stage in result.run.stages][-1] == 1
    assert "estimate" in str(result.run)


def test_a_budget_that_cannot_be_kept_is_an_error_before_anything_runs(session):
    tight = ub.connect(budget=ub.Budget(seconds=0.0), progress=False)
    with pytest.raises(ub.PlacementError, match="budget"):
        tight.from_arrow(TABLE).select(ub.sum("a")).collect()


def test_explain_has_its_forms(session):
    explanation = session.from_arrow(TABLE).select(ub.sum("a")).explain()
    assert "Aggregate" in str(explanation)
    assert "Aggregate" in explanation.to_json()
    assert explanation.to_mermaid().startswith(("flowchart", "graph"))
    assert explanation.to_svg().startswith("<svg")


def test_platforms_are_those_installed(session):
    assert {p.name for p in session.platforms()} == {"datafusion", "duckdb", "polars", "python"}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda s: s.from_items("abc"), "from_items takes a list"),
        (lambda s: s.from_items(5), "from_items takes a list"),
        (lambda s: s.from_arrow([1]), "from_arrow takes a pyarrow Table, not list"),
        (lambda s: s.from_polars(pl.LazyFrame({"a": [1]})), "collect the LazyFrame"),
        (lambda s: s.from_polars([1]), "from_polars takes a DataFrame"),
        (lambda s: s.from_pandas(pd.DataFrame({"a": [1, "x"]})), "'a'|Could not convert|column a"),
        (lambda s: s.from_dict({"a": [1], "b": [1, 2]}), "'a' has 1, 'b' has 2"),
        (lambda s: s.from_dict({"a": [1, "x"]}), "column 'a'"),
        (lambda s: s.from_dict({"a": [1]}, schema={"b": int}), "no column 'a'"),
        (lambda s: s.from_dict({}, schema={"b": int}), "no column 'b'"),
        (
            lambda s: s.from_arrow(pa.table([[1], [2]], names=["a", "a"])),
            "has column 'a' twice",
        ),
        (
            lambda s: s.from_arrow(pa.table({"m": pa.array([[(1, 2)]], pa.map_("int8", "int8"))})),
            "column 'm' of type map",
        ),
        (lambda s: s.read_text("no/such/*.txt"), "no/such"),
        (lambda s: s.read_parquet("no/such.parquet"), "no/such.parquet"),
        (lambda s: s.read_csv([]), "at least one file"),
    ],
)
def test_a_source_that_cannot_be_is_named(session, build, message):
    with pytest.raises(ub.UmbelError, match=message) as caught:
        build(session)
    assert f"{__file__}:" in str(caught.value)
