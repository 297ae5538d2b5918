"""A file that is written appears whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import bz2
import gzip
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from tests.faults.conftest import Start, names
from umbel import col

FORMS = ["csv", "json", "parquet", "ipc"]


@pytest.fixture
def session() -> ub.Session:
    return ub.connect(progress=False)


def write(frame: ub.DataFrame, path: Path, **options: Any) -> Any:
    form = path.name.split(".")[1]
    writer: Callable[..., Any] = getattr(frame, f"write_{form}")
    return writer(path, **options)


def fragile(n):
    if n == 4_000:
        raise ValueError("on purpose")
    return n


@pytest.mark.parametrize("form", FORMS)
def test_a_failure_in_the_middle_leaves_the_old_file(
    session: ub.Session, tmp_path: Path, form: str
):
    path = tmp_path / f"out.{form}"
    path.write_bytes(b"before")
    frame = session.from_items(list(range(5_000))).map(fragile).to_frame({"n": int})
    with pytest.raises(ub.FunctionError, match="on purpose"):
        write(frame, path)
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == [path.name]


def test_a_value_that_the_format_cannot_hold_leaves_the_old_file(
    session: ub.Session, tmp_path: Path
):
    path = tmp_path / "out.json"
    path.write_bytes(b"before")
    frame = session.from_dict({"a": [1.0] * 70_000 + [float("nan")]})  # in the second batch
    with pytest.raises(ub.RunError) as caught:
        frame.write_json(path)
    assert str(path) in caught.value.message
    assert "row 70001: column 'a'" in caught.value.message
    assert caught.value.hint
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == [path.name]


def test_an_element_that_text_cannot_hold_is_named(session: ub.Session, tmp_path: Path):
    with pytest.raises(ub.RunError) as caught:
        session.from_items(["a", "b", "\ud800"]).write_text(tmp_path / "out.txt")
    assert f"{tmp_path / 'out.txt'}: line 3: '\\ud800'" in caught.value.message
    assert names(tmp_path) == []


def test_folders_that_were_made_go_with_a_failure(session: ub.Session, tmp_path: Path):
    frame = session.from_dict({"a": [float("inf")]})
    with pytest.raises(ub.RunError):
        frame.write_json(tmp_path / "new" / "deeper" / "out.json")
    assert names(tmp_path) == []
    frame.write_csv(tmp_path / "new" / "deeper" / "out.csv")
    assert (tmp_path / "new" / "deeper" / "out.csv").read_text() == "a\ninf\n"


def test_a_killed_process_leaves_the_old_file(start: Start, tmp_path: Path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "out.csv").write_bytes(b"before")
    process = start(
        """
import pathlib, time
import umbel as ub
import umbel.catalog.writers as writers

format_rows = writers.csv_rows

def slow(*arguments):  # as on a slow disk
    pathlib.Path("begun").touch()
    time.sleep(60)
    return format_rows(*arguments)

writers.csv_rows = slow
ub.connect().from_dict({"a": ["x"]}).write_csv("data/out.csv")
"""
    )
    assert len(names(folder)) == 2  # the write is under way
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert (folder / "out.csv").read_bytes() == b"before"
    hidden, *others = names(folder)
    assert hidden.startswith(".out.csv.")
    assert others == ["out.csv"]
    # What is left is read by nobody.
    assert ub.connect(progress=False).read_text(folder).collect() == ["before"]


def test_exists_fail_keeps_the_file_and_runs_nothing(session: ub.Session, tmp_path: Path):
    path = tmp_path / "out.parquet"
    path.write_bytes(b"before")
    called: list[int] = []

    def note(n):
        called.append(n)
        return n

    frame = session.from_items([1]).map(note).to_frame({"n": int})
    with pytest.raises(ub.RunError) as caught:
        frame.write_parquet(path, exists="fail")
    line = caught.traceback[0].lineno + 1
    assert caught.value.message == f"Write at {__file__}:{line}: {path}: the file is there already"
    assert "exists='replace'" in caught.value.hint
    assert path.read_bytes() == b"before"
    assert called == []
    frame.write_parquet(path)
    assert pq.read_table(path).to_pydict() == {"n": [1]}


def test_a_file_that_comes_to_be_meanwhile_is_kept(session: ub.Session, tmp_path: Path):
    path = tmp_path / "out.txt"

    def intrude(n):
        path.write_text("somebody else's")
        return n

    with pytest.raises(ub.RunError, match=r"^Write at .*test_writes\.py:\d+: .*is there already"):
        session.from_items([1]).map(intrude).write_text(path, exists="fail")
    assert path.read_text() == "somebody else's"
    assert names(tmp_path) == [path.name]


def test_where_nothing_can_be_written(session: ub.Session, tmp_path: Path):
    (tmp_path / "file").write_text("")
    frame = session.from_dict({"a": [1]})
    for path, said in [
        (tmp_path / "file" / "out.csv", f"{tmp_path / 'file'} is no folder"),
        (tmp_path, "a folder is there"),
    ]:
        with pytest.raises(ub.RunError) as caught:
            frame.write_csv(path)
        assert str(path) in caught.value.message
        assert said in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize(
    ("form", "rows"),  # of one batch, of more, of more than a row group
    [("csv", 5_000), ("json", 5_000), ("csv.gz", 5_000), ("ipc", 70_000), ("parquet", 140_000)],
)
def test_the_same_bytes_whichever_engine_made_the_rows(
    session: ub.Session, tmp_path: Path, form: str, rows: int
):
    """Engines give their rows in other pieces, and leave other bits where nulls are."""
    pick = random.Random(1)
    table = pa.table(
        {
            "i": pa.array(range(rows), pa.int64()),
            "f": [pick.choice([1.5, None, -0.0, 1e300]) for _ in range(rows)],
            "t": [pick.choice(["a", 'ä,\n"', "", None]) for _ in range(rows)],
        }
    )
    written: dict[str, bytes] = {}
    for platform in ("python", "polars", "duckdb"):
        frame = session.from_arrow(table).filter(col("i") % 7 != 3).on(platform)
        path = tmp_path / f"{platform}.{form}"
        write(frame.sort("i").on(platform), path)
        written[platform] = path.read_bytes()
    assert written["python"] == written["polars"] == written["duckdb"]


def test_compressed_outputs_are_what_their_names_say(session: ub.Session, tmp_path: Path):
    lines = session.from_items(["é", "b"])
    expected = "é\nb\n".encode()
    lines.write_text(tmp_path / "out.txt.gz")
    lines.write_text(tmp_path / "out.txt.bz2")
    lines.write_text(tmp_path / "out.txt.zst")
    assert gzip.decompress((tmp_path / "out.txt.gz").read_bytes()) == expected
    assert bz2.decompress((tmp_path / "out.txt.bz2").read_bytes()) == expected
    zst = (tmp_path / "out.txt.zst").read_bytes()
    assert pa.decompress(zst, len(expected), codec="zstd").to_pybytes() == expected
    for suffix in ("gz", "bz2", "zst"):
        assert session.read_text(tmp_path / f"out.txt.{suffix}").collect() == ["é", "b"]


def test_a_cancelled_write_leaves_the_old_file(session: ub.Session, tmp_path: Path):
    path = tmp_path / "out.csv"
    path.write_bytes(b"before")

    def cancelling(event):
        if type(event).__name__ == "StageStarted" and event.stage.root.operator.name == "Write":
            time.sleep(0.01)
            session.cancel()

    session.listener = cancelling
    with pytest.raises(ub.CancelledError):
        session.from_dict({"a": ["x"] * 300_000}).write_csv(path)
    assert path.read_bytes() == b"before"
    assert names(tmp_path) == [path.name]


def test_a_write_says_how_much_it_wrote(session: ub.Session, tmp_path: Path):
    result = session.from_dict({"a": [1, 2]}).write_csv(tmp_path / "out.csv")
    assert result.table.to_pydict() == {"path": [str(tmp_path / "out.csv")], "rows": [2]}
