"""Files that are missing, empty or malformed: which file, which row, and what to do."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from tests.bad_input.conftest import ENGINES, PADDING, ROWS, WRONG, on, raised
from umbel import col
from umbel.catalog.files import resolve
from umbel.catalog.readers import read
from umbel.plan.operators import Scan, topological
from umbel.plan.sources import FileSource

engines = pytest.mark.parametrize("engine", ENGINES)


def lines(wrong: str, of: Callable[[int], str], header: str = "") -> str:
    """A long file's text whose row `WRONG`, counted from 1, is wrong."""
    rows = [wrong if number == WRONG else of(number) for number in range(1, ROWS + 1)]
    return "\n".join([*([header] if header else []), *rows]) + "\n"


def csv_row(number: int) -> str:
    return f"{number},{PADDING}"


def json_row(number: int) -> str:
    return json.dumps({"n": number, "t": PADDING})


# --- what is not there ------------------------------------------------------------------------


@pytest.mark.parametrize("read", ["read_text", "read_csv", "read_json", "read_parquet", "read_ipc"])
def test_a_missing_file_is_named_with_those_that_are_like_it(session: ub.Session, read: str):
    Path("orders.csv").write_text("a\n1\n")
    error = raised(lambda: getattr(session, read)("order.csv"), ub.SourceError)
    assert error.message == "order.csv: no such file or folder"
    assert "did you mean orders.csv?" in error.hint
    assert f"at {__file__}:" in str(error)  # the line that asked for it


def test_a_missing_folder_is_named(session: ub.Session):
    error = raised(lambda: session.read_csv("data/2024/a.csv"), ub.SourceError)
    assert error.message == "data/2024/a.csv: no such file or folder"
    assert "there is no folder data" in error.hint


def test_a_pattern_that_matches_nothing(session: ub.Session):
    Path("a.txt").write_text("")
    error = raised(lambda: session.read_text("*.csv"), ub.SourceError)
    assert error.message == "*.csv: the pattern matches no file"
    assert "a.txt" in error.hint


def test_a_folder_without_files(session: ub.Session):
    Path("empty").mkdir()
    Path("empty/_SUCCESS").write_text("")
    error = raised(lambda: session.read_parquet("empty"), ub.SourceError)
    assert error.message == "empty: there are no files in this folder"
    assert "'_'" in error.hint


def test_no_paths_at_all(session: ub.Session):
    with pytest.raises(ub.PlanError, match="name at least one file"):
        session.read_csv([])


def test_an_unreadable_file(session: ub.Session, monkeypatch: pytest.MonkeyPatch):
    """The tests may run as root, who may read everything, so the answer is made here."""
    Path("secret.csv").write_text("a\n1\n")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    error = raised(lambda: session.read_csv("secret.csv"), ub.SourceError)
    assert error.message == "secret.csv: no permission to read the file"
    assert "chmod +r secret.csv" in error.hint


@pytest.mark.parametrize("read", ["read_csv", "read_parquet", "read_ipc", "read_json"])
def test_an_empty_file(session: ub.Session, read: str):
    Path("nothing").write_bytes(b"")
    error = raised(lambda: getattr(session, read)("nothing").collect(), ub.SourceError)
    assert error.message.startswith("nothing: ")


# --- what is malformed, in the row that is at fault -------------------------------------------


@engines
def test_a_number_that_is_none_beyond_the_sample(session: ub.Session, engine: str | None):
    Path("n.csv").write_text(lines(f"oops,{PADDING}", csv_row, "n,t"))
    frame = session.read_csv("n.csv")
    assert frame.schema.field("n").type == pa.int64()
    for query in (frame, frame.filter(col("n") > 5)):
        error = raised(on(query, engine).collect, ub.SourceError)
        assert error.message == f"n.csv, row {WRONG}: column 'n' holds 'oops', which is no int64"
        assert "schema={'n': pa.string()}" in error.hint


# --- which bad values fail a run: docs/decisions/0008-bad-values-in-files.md -------------------


@pytest.fixture(params=["csv", "json"])
def hostile(session: ub.Session, request: pytest.FixtureRequest) -> ub.DataFrame:
    """Columns n, t and u: n is wrong in row 701, the only one where t is x; u in row 801."""
    rows: list[tuple[Any, str, Any]] = [(number, "y", number) for number in range(1, 1001)]
    rows[700] = ("oops", "x", 701)
    rows[800] = (801, "y", "bad")
    if request.param == "csv":
        Path("h.csv").write_text("n,t,u\n" + "".join(f"{n},{t},{u}\n" for n, t, u in rows))
        return session.read_csv("h.csv", schema={"n": int, "t": str, "u": int})
    Path("h.json").write_text(
        "".join(json.dumps({"n": n, "t": t, "u": u}) + "\n" for n, t, u in rows)
    )
    return session.read_json("h.json", schema={"n": int, "t": str, "u": int})


#: Queries in which the wrong n is read, though nothing of its row would come out.
DROPPED: dict[str, Callable[[ub.DataFrame], ub.DataFrame]] = {
    "a filter": lambda f: f.filter(col("t") == "y").select("n"),
    "a filter, then groups": lambda f: (
        f.filter(col("t") == "y").group_by("t").agg(ub.sum("n").alias("n"))
    ),
    "a filter above a column of it": lambda f: (
        f.with_columns((col("n") + 1).alias("m")).filter(col("t") == "y").select("m")
    ),
    "a semi join": lambda f: f.select("n", "t").join(
        f.session.from_dict({"t": ["y"]}), on="t", how="semi"
    ),
    "a join": lambda f: f.select("n", "t").join(
        f.session.from_dict({"t": ["y"], "z": [1]}), on="t"
    ),
    "a filtered sum": lambda f: f.select(ub.sum("n").filter(col("t") == "y")),
    "a branch": lambda f: f.select(ub.when(col("t") == "y").then(col("n")).otherwise(0).alias("q")),
    "a count": lambda f: f.select(ub.count("n").alias("c")),
}


@engines
@pytest.mark.parametrize("query", DROPPED.values(), ids=DROPPED)
def test_a_bad_value_fails_though_its_row_is_dropped(
    hostile: ub.DataFrame, engine: str | None, query: Callable[[ub.DataFrame], ub.DataFrame]
):
    error = raised(on(query(hostile), engine).collect, ub.SourceError)
    assert error.message in (
        "h.csv, row 701: column 'n' holds 'oops', which is no int64",
        "h.json, line 701: 'n' is \"oops\", which is no int64",
    )


@engines
def test_a_bad_value_in_a_column_that_is_not_read_does_no_harm(
    hostile: ub.DataFrame, engine: str | None
):
    wrong = hostile.filter(col("t") == "x").select("t")
    assert on(wrong, engine).collect().to_pylist() == [{"t": "x"}]
    assert on(hostile.select("t"), engine).count() == 1000
    # Even if something must be read to count the rows.
    assert on(hostile.select(ub.len().alias("c")), engine).to_dicts() == [{"c": 1000}]
    counted = hostile.filter(col("t") == "y").select(ub.len().alias("c"))
    assert on(counted, engine).to_dicts() == [{"c": 999}]


@engines
def test_a_failure_is_not_put_down_to_a_column_that_is_not_read(
    session: ub.Session, engine: str | None
):
    Path("o.csv").write_text(f"a,u\n{2**63 - 1},bad\n1,2\n")
    frame = session.read_csv("o.csv", schema={"a": int, "u": int})
    error = raised(on(frame.select((col("a") + 1).alias("b")), engine).collect, ub.EvaluationError)
    assert "o.csv" not in error.message


@engines
def test_a_limit_may_stop_the_scan_before_a_bad_value(hostile: ub.DataFrame, engine: str | None):
    try:
        rows = on(hostile.select("n").limit(5), engine).to_dicts()
    except ub.SourceError as error:
        assert "701" in error.message  # noqa: PT017 (either is right)
    else:
        assert rows == [{"n": number} for number in range(1, 6)]


def test_on_python_rows_before_a_bad_value_come_first(session: ub.Session):
    Path("h.csv").write_text("n\n" + "1\n" * 100 + "oops\n")
    frame = session.read_csv("h.csv", schema={"n": int})
    assert frame.limit(100).on("python").count() == 100
    raised(frame.limit(101).on("python").collect, ub.SourceError)


@engines
@pytest.mark.parametrize(("row", "fields"), [("7", 1), (f"7,{PADDING},8", 3)])
def test_a_row_with_another_number_of_fields(
    session: ub.Session, engine: str | None, row: str, fields: int
):
    Path("f.csv").write_text(lines(row, csv_row, "n,t"))
    error = raised(lambda: on(session.read_csv("f.csv"), engine).collect(), ub.SourceError)
    place = f"f.csv, row {WRONG} (line {WRONG + 1})"
    assert error.message == f"{place}: {fields} fields, but there are 2 columns"
    assert row[:80] in error.hint


@engines
def test_a_quote_that_is_never_closed(session: ub.Session, engine: str | None):
    Path("q.csv").write_text(lines('7,"x', csv_row, "n,t"))
    error = raised(lambda: on(session.read_csv("q.csv"), engine).collect(), ub.SourceError)
    assert error.message == f'q.csv, line {WRONG + 1}: a quote " is opened and never closed'


@engines
def test_quotes_that_are_text_do_no_harm(session: ub.Session, engine: str | None):
    Path("inches.csv").write_text(lines('7,5" pipe', csv_row, "n,t"))
    assert on(session.read_csv("inches.csv"), engine).count() == ROWS


@engines
@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"n": ', "not JSON: Expecting value at column 7"),
        ('{"n": "x", "t": ""}', "'n' is \"x\", which is no int64"),
        ("[1]", "[1] where an object is needed"),
    ],
)
def test_a_malformed_line_of_json(session: ub.Session, engine: str | None, row: str, said: str):
    Path("l.json").write_text(lines(row, json_row))
    error = raised(lambda: on(session.read_json("l.json"), engine).collect(), ub.SourceError)
    assert error.message == f"l.json, line {WRONG}: {said}"


@engines
@pytest.mark.parametrize("form", ["text", "csv"])
def test_bytes_that_are_not_utf8(session: ub.Session, engine: str | None, form: str):
    header = "n,t" if form == "csv" else ""
    text = lines("1,café", csv_row, header).encode("latin-1")
    Path(f"latin.{form}").write_bytes(text)

    def read() -> Any:
        if form == "csv":
            return on(session.read_csv("latin.csv"), engine).collect()
        frame = session.read_text("latin.text").to_frame()
        return on(frame.filter(col("value") != ""), engine).collect()

    error = raised(read, ub.SourceError)
    line = WRONG + (form == "csv")
    assert error.message == f"latin.{form}, line {line}: byte 0xe9 is not UTF-8"
    assert "iconv" in error.hint


@engines
def test_gzip_that_is_cut_off(session: ub.Session, engine: str | None):
    packed = gzip.compress(os.urandom(1_500_000).hex().encode(), compresslevel=1)
    Path("cut.txt.gz").write_bytes(packed[:-1000])
    frame = session.read_text("cut.txt.gz").to_frame()
    error = raised(lambda: on(frame.filter(col("value") != ""), engine).collect(), ub.SourceError)
    assert error.message.startswith("cut.txt.gz: the gzip data is damaged or cut off")


@engines
@pytest.mark.parametrize("kind", ["cut off", "something else", "damaged"])
def test_what_is_no_parquet(session: ub.Session, engine: str | None, kind: str):
    pq.write_table(pa.table({"n": list(range(10_000))}), "p.parquet", row_group_size=500)
    whole = Path("p.parquet").read_bytes()
    if kind == "cut off":
        Path("p.parquet").write_bytes(whole[: len(whole) // 2])
    elif kind == "something else":
        Path("p.parquet").write_text("n\n1\n" * 10)
    else:  # the footer is whole, some pages are not
        third = len(whole) // 3
        Path("p.parquet").write_bytes(whole[:third] + b"\xff" * 400 + whole[third + 400 :])
    error = raised(lambda: on(session.read_parquet("p.parquet"), engine).collect(), ub.SourceError)
    assert error.message.startswith("p.parquet: not well-formed Parquet: ")
    assert "\n" not in error.message


def test_what_is_no_arrow_file(session: ub.Session):
    Path("a.arrow").write_text("hello")
    error = raised(lambda: session.read_ipc("a.arrow"), ub.SourceError)
    assert error.message.startswith("a.arrow: not well-formed Arrow IPC")


# --- what does not fit together ---------------------------------------------------------------


def test_types_that_clash_across_files(session: ub.Session):
    pq.write_table(pa.table({"n": [1]}), "1.parquet")
    pq.write_table(pa.table({"n": ["x"]}), "2.parquet")
    error = raised(lambda: session.read_parquet(["1.parquet", "2.parquet"]), ub.SourceError)
    assert error.message == "column 'n' is int64 in 1.parquet, but string in 2.parquet"


def test_columns_that_differ_across_files(session: ub.Session):
    Path("1.csv").write_text("a,b\n1,2\n")
    Path("2.csv").write_text("a,c\n1,2\n")
    error = raised(lambda: session.read_csv("*.csv"), ub.SourceError)
    for part in ("1.csv", "2.csv", "b", "c"):
        assert part in error.message


def test_values_of_one_key_that_clash(session: ub.Session):
    Path("k.json").write_text('{"a": 1}\n{"a": "x"}\n')
    error = raised(lambda: session.read_json("k.json"), ub.SourceError)
    assert error.message == "k.json, line 2: 'a' is \"x\", but int64 in the lines before"


def test_a_header_with_a_name_twice(session: ub.Session):
    Path("h.csv").write_text("a,a\n1,2\n")
    error = raised(lambda: session.read_csv("h.csv"), ub.SourceError)
    assert error.message == "h.csv: two columns are called 'a' in the header"


# --- what changes between planning and running ------------------------------------------------


@engines
@pytest.mark.parametrize("form", ["csv", "json", "parquet", "ipc", "txt"])
def test_a_file_that_disappears(session: ub.Session, engine: str | None, form: str):
    frame = written(session, form, {"a": [1]})
    Path(f"f.{form}").unlink()
    error = raised(lambda: on(frame, engine).collect(), ub.SourceError)
    assert error.message == f"f.{form}: no such file or folder"


@engines
@pytest.mark.parametrize(
    ("form", "columns", "said"),
    [
        ("csv", {"b": [1], "a": [2]}, "its columns are b, a, not a, b"),
        ("csv", {"a": [1]}, "its columns are a, not a, b"),
        ("parquet", {"b": [1]}, "it has no column 'a'"),
        ("parquet", {"a": ["x"], "b": [1]}, "column 'a' is string, not int64"),
        ("parquet", {"a": [1.0], "b": [1]}, "column 'a' is float64, not int64"),
        ("parquet", {"a": [1], "b": [1], "c": [1]}, "it has a column 'c' that it had not"),
        ("ipc", {"b": [1]}, "it has no column 'a'"),
        ("ipc", {"a": ["1"], "b": [1]}, "column 'a' is string, not int64"),
        ("ipc", {"a": [1], "b": [1], "c": [1]}, "it has a column 'c' that it had not"),
    ],
)
def test_a_file_that_changes(
    session: ub.Session, engine: str | None, form: str, columns: dict[str, Any], said: str
):
    frame = written(session, form, {"a": [1], "b": [2]})
    written(session, form, columns)
    error = raised(lambda: on(frame, engine).collect(), ub.SourceError)
    assert error.message == f"f.{form}: {said}: the file was changed after the plan was made"
    assert f"read it again, so that its columns are found anew: session.read_{form}" in error.hint


@engines
@pytest.mark.parametrize("form", ["parquet", "ipc"])
def test_one_of_many_files_that_changes_to_values_that_fit(
    session: ub.Session, engine: str | None, form: str
):
    for part in range(5):
        frame = session.from_arrow(pa.table({"a": pa.array([part], pa.int64())}))
        getattr(frame, f"write_{form}")(f"many/{part}.{form}")
    planned = getattr(session, f"read_{form}")("many")
    assert on(planned, engine).count() == 5
    frame = session.from_arrow(pa.table({"a": pa.array([3], pa.int8())}))
    getattr(frame, f"write_{form}")(f"many/3.{form}")
    error = raised(on(planned, engine).collect, ub.SourceError)
    what = "column 'a' is int8, not int64: the file was changed after the plan was made"
    assert error.message == f"many/3.{form}: {what}"


@engines
def test_a_column_that_comes_to_hold_nulls(session: ub.Session, engine: str | None):
    def store(*, nullable: bool) -> None:
        schema = pa.schema([pa.field("a", pa.int64(), nullable=nullable)])
        pq.write_table(pa.table({"a": pa.array([1], pa.int64())}, schema=schema), "r.parquet")

    store(nullable=False)
    frame = session.read_parquet("r.parquet")
    store(nullable=True)
    error = raised(on(frame, engine).collect, ub.SourceError)
    assert error.message.startswith("r.parquet: column 'a' may hold nulls now: ")


@engines
@pytest.mark.parametrize("form", ["parquet", "ipc"])
@pytest.mark.parametrize("left", [0.0, 0.5, 0.95])
def test_a_file_that_shrinks(session: ub.Session, engine: str | None, form: str, left: float):
    frame = written(session, form, {"a": list(range(5000)), "b": [1] * 5000})
    whole = Path(f"f.{form}").read_bytes()
    Path(f"f.{form}").write_bytes(whole[: int(len(whole) * left)])
    error = raised(lambda: on(frame, engine).collect(), ub.SourceError)
    assert error.message.startswith(f"f.{form}: ")


@engines
def test_a_csv_file_that_is_cut_off_within_a_row(session: ub.Session, engine: str | None):
    Path("f.csv").write_text("a,b\n1,2\n3,4\n")
    frame = session.read_csv("f.csv")
    Path("f.csv").write_text("a,b\n1,2\n3")
    error = raised(lambda: on(frame, engine).collect(), ub.SourceError)
    assert error.message == "f.csv, row 2 (line 3): 1 fields, but there are 2 columns"


@engines
@pytest.mark.parametrize("form", ["csv", "json", "parquet", "ipc"])
def test_a_pattern_is_looked_up_when_it_runs(session: ub.Session, engine: str | None, form: str):
    for part in range(3):
        getattr(session.from_dict({"a": [part]}), f"write_{form}")(f"{part}.{form}")
    frame = getattr(session, f"read_{form}")(f"*.{form}")
    Path(f"1.{form}").unlink()
    getattr(session.from_dict({"a": [7]}), f"write_{form}")(f"4.{form}")
    assert on(frame.sort("a"), engine).to_dicts() == [{"a": a} for a in (0, 2, 7)]


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "ipc", "txt"])
def test_a_file_that_goes_while_others_are_read(session: ub.Session, form: str):
    """Found when the run began, gone when its turn comes."""
    frame = written(session, form, {"a": [1]})
    source = next(op.source for op in topological(frame.plan) if isinstance(op, Scan))
    assert isinstance(source, FileSource)
    files = resolve(source)
    Path(f"f.{form}").unlink()
    error = raised(lambda: list(read(source, files=files)), ub.SourceError)
    assert error.message == f"f.{form}: the file was removed while it was to be read"


def written(session: ub.Session, form: str, columns: dict[str, Any]) -> ub.DataFrame:
    """Write a file, and give a frame that reads it."""
    if form == "txt":
        Path("f.txt").write_text("1\n")
        frame = session.read_text("f.txt").to_frame()
        return frame.filter(col("value") != "")
    getattr(session.from_dict(columns), f"write_{form}")(f"f.{form}")
    read: ub.DataFrame = getattr(session, f"read_{form}")(f"f.{form}")
    return read


# --- nothing is half-written ------------------------------------------------------------------


def test_a_query_that_fails_writes_nothing(session: ub.Session):
    Path("n.csv").write_text(lines(f"oops,{PADDING}", csv_row, "n,t"))
    Path("out.parquet").write_bytes(b"before")
    raised(lambda: session.read_csv("n.csv").write_parquet("out.parquet"), ub.SourceError)
    assert sorted(path.name for path in Path().iterdir()) == ["n.csv", "out.parquet"]
    assert Path("out.parquet").read_bytes() == b"before"
