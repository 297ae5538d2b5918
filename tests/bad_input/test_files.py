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
        ("ipc", {"b": [1]}, "it has no column 'a'"),
    ],
)
def test_a_file_that_changes(
    session: ub.Session, engine: str | None, form: str, columns: dict[str, Any], said: str
):
    frame = written(session, form, {"a": [1], "b": [2]})
    written(session, form, columns)
    error = raised(lambda: on(frame, engine).collect(), ub.SourceError)
    assert error.message == f"f.{form}: {said}: the file was changed after the plan was made"


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
