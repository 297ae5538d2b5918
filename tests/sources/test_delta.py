"""Delta tables: one version is one table on every engine, and only what is needed is read."""

from __future__ import annotations

import datetime
import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field, write_deltalake
from deltalake.schema import PrimitiveType

import umbel as ub
from tests.conformance.compare import assert_same_rows
from tests.sources.conftest import ENGINES, Bucket
from umbel import col
from umbel.plan.operators import Scan
from umbel.platforms.registry import Registry

MOMENT = datetime.datetime(2026, 1, 31, 23, 59, 59, 123456)

#: Each type that Delta knows, with nulls, and values that trouble file formats.
HOSTILE = pa.table(
    {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "part": ["x y", "a/b=c%", "ü", None],
        "small": pa.array([-128, 127, None, 0], pa.int8()),
        "float": [float("nan"), float("inf"), None, -0.0],
        "text": ["", None, "é", "z" * 50],
        "flag": [True, None, False, True],
        "bytes": pa.array([b"", b"\x00\xff", None, b"a"], pa.binary()),
        "day": pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None, None]),
        "at": pa.array([MOMENT, None, MOMENT, MOMENT], pa.timestamp("us")),
        "zoned": pa.array([MOMENT, None, MOMENT, MOMENT], pa.timestamp("us", "UTC")),
        "money": pa.array([Decimal("0.01"), None, Decimal("-99.99"), Decimal("1.10")],
                          pa.decimal128(38, 2)),
        "many": pa.array([[1, None], [], None, [2]], pa.list_(pa.int64())),
        "pair": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": ""}, {"a": 2, "b": "y"}],
                         pa.struct([("a", pa.int64()), ("b", pa.string())])),
    }
)  # fmt: skip


def rows(frame: ub.DataFrame) -> list[dict[str, Any]]:
    return sorted(frame.collect().to_pylist(), key=lambda row: row["id"])


def complaint(work: Any) -> ub.UmbelError:
    with pytest.raises(ub.UmbelError) as caught:
        work()
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("by", [(), ("part",), ("flag", "day")])
def test_every_type_comes_back(
    session: ub.Session, tmp_path: Path, engine: str, by: tuple[str, ...]
) -> None:
    path = tmp_path / "t"
    session.from_arrow(HOSTILE).on(engine).write_delta(path, partition_by=by)
    again = session.read_delta(path)
    assert again.schema.names == HOSTILE.schema.names
    assert again.schema.types == HOSTILE.schema.types
    assert_same_rows(again.on(engine).collect(), HOSTILE)
    # Another reader sees the same table.
    assert_same_rows(DeltaTable(path).to_pyarrow_table().cast(HOSTILE.schema), HOSTILE)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_version_stays_what_it_was(session: ub.Session, tmp_path: Path, engine: str) -> None:
    path = tmp_path / "t"
    session.from_dict({"id": [1]}).write_delta(path)
    first = session.read_delta(path)
    plan = ub.plan_to_json(first.plan)
    session.from_dict({"id": [2]}).write_delta(path, mode="append")
    session.from_dict({"id": [3]}).write_delta(path, mode="replace")
    ids = {
        version: [r["id"] for r in rows(session.read_delta(path, version=version).on(engine))]
        for version in (0, 1, 2)
    }
    assert ids == {0: [1], 1: [1, 2], 2: [3]}
    assert rows(first.on(engine)) == [{"id": 1}]
    read_back = session.from_plan(ub.plan_from_json(plan))
    assert isinstance(read_back, ub.DataFrame)
    assert rows(read_back) == [{"id": 1}]
    times = {e["version"]: e["timestamp"] for e in DeltaTable(path).history()}
    middle = datetime.datetime.fromtimestamp(times[1] / 1000, datetime.UTC)
    latest = max(version for version, time in times.items() if time <= times[1])
    assert [r["id"] for r in rows(session.read_delta(path, timestamp=middle))] == ids[latest]
    assert [r["id"] for r in rows(session.read_delta(path, timestamp=middle.isoformat()))] == ids[
        latest
    ]
    early = complaint(lambda: session.read_delta(path, timestamp="2001-01-01"))
    assert "no version as old as 2001-01-01" in early.message
    assert "the latest is 2" in complaint(lambda: session.read_delta(path, version=3)).hint


@pytest.mark.parametrize("engine", ENGINES)
def test_columns_that_were_added_later(session: ub.Session, tmp_path: Path, engine: str) -> None:
    path = tmp_path / "t"
    write_deltalake(path, pa.table({"id": [1, 2], "p": ["a", "b"]}), partition_by=["p"])
    new = pa.table({"id": [3], "p": ["a"], "more": pa.array([7], pa.int32())})
    write_deltalake(path, new, mode="append", schema_mode="merge")
    frame = session.read_delta(path).on(engine)
    assert rows(frame) == [
        {"id": 1, "p": "a", "more": None},
        {"id": 2, "p": "b", "more": None},
        {"id": 3, "p": "a", "more": 7},
    ]
    assert rows(frame.filter(col("more") == 7)) == [{"id": 3, "p": "a", "more": 7}]
    DeltaTable(path).alter.add_columns([Field("last", PrimitiveType("string"))])
    assert [r["last"] for r in rows(session.read_delta(path).on(engine))] == [None] * 3


def test_columns_that_change_after_planning(session: ub.Session, tmp_path: Path) -> None:
    path = tmp_path / "t"
    session.from_dict({"id": [1], "a": ["x"]}).write_delta(path)
    frame = session.read_delta(path)
    session.from_dict({"id": ["2"], "b": [2.5]}).write_delta(path, mode="replace")
    for engine in ENGINES:  # the version of the plan, whatever became of the table since
        assert rows(frame.on(engine)) == [{"id": 1, "a": "x"}]
        assert rows(frame.filter(col("a") == "x").on(engine)) == [{"id": 1, "a": "x"}]
        assert rows(session.read_delta(path).on(engine)) == [{"id": "2", "b": 2.5}]


@pytest.mark.parametrize("was_read", [False, True])
@pytest.mark.parametrize(
    "columns",
    [{"id": [2], "b": ["y"]}, {"id": ["2"], "a": ["y"]}, {"id": [2], "a": ["y"]}],
    ids=["renamed", "retyped", "alike"],
)
def test_another_table_that_takes_the_place_of_one(
    session: ub.Session, tmp_path: Path, columns: dict[str, list[Any]], was_read: bool
) -> None:
    path = tmp_path / "t"
    session.from_dict({"id": [1], "a": ["x"]}).write_delta(path)
    frame = session.read_delta(path)
    plan = ub.plan_to_json(frame.plan)
    if was_read:
        assert rows(frame) == [{"id": 1, "a": "x"}]
    shutil.rmtree(path)
    session.from_dict(columns).write_delta(path)  # its version 0 too
    again = session.from_plan(ub.plan_from_json(plan))
    for engine in ENGINES:
        for old in (frame, again):
            assert isinstance(old, ub.DataFrame)
            error = complaint(old.on(engine).collect)
            assert str(path) in error.message
            assert "make the frame anew" in error.hint
            if not was_read:
                assert "another Delta table is there now" in error.message
        new = session.read_delta(path)
        assert new.on(engine).collect().to_pydict() == columns


@pytest.mark.parametrize("engine", ENGINES)
def test_files_are_pruned_by_the_log(session: ub.Session, bucket: Bucket, engine: str) -> None:
    path = f"{bucket.url}/t"
    for part in range(3):
        for start in (0, 100):
            ids = pa.array(range(part * 1000 + start, part * 1000 + start + 10))
            table = pa.table({"id": ids, "part": [part] * 10})
            session.from_arrow(table).write_delta(path, mode="append", partition_by="part")
    frame = session.read_delta(path)
    assert len(rows(frame.on(engine))) == 60
    before = len(bucket.requests("GET"))
    chosen = frame.filter((col("part") == 1) & (col("id") >= 1100)).select("id").on(engine)
    assert [row["id"] for row in rows(chosen)] == list(range(1100, 1110))
    data = [e["path"] for e in bucket.requests("GET")[before:] if e["path"].endswith(".parquet")]
    assert len(set(data)) == 1
    assert "/part=1/" in data[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_bounds_that_the_log_rounds_exclude_nothing(
    session: ub.Session, tmp_path: Path, engine: str
) -> None:
    # The log keeps milliseconds, and may cut off texts; NaN is in no bounds.
    session.from_arrow(HOSTILE).write_delta(tmp_path / "t")
    frame = session.read_delta(tmp_path / "t")
    assert len(rows(frame.filter(col("at") > MOMENT - datetime.timedelta(microseconds=1))
                    .on(engine))) == 3  # fmt: skip
    assert [r["id"] for r in rows(frame.filter(col("text") == "z" * 50).on(engine))] == [4]
    assert [r["id"] for r in rows(frame.filter(col("float") > 1.0).on(engine))] == [1, 2]
    assert [r["id"] for r in rows(frame.filter(col("money") < 0).on(engine))] == [3]


def test_statistics_come_from_the_log(session: ub.Session, bucket: Bucket) -> None:
    path = f"{bucket.url}/t"
    session.from_arrow(HOSTILE).write_delta(path)
    plan = session.read_delta(path).plan
    assert isinstance(plan, Scan)
    before = len(bucket.requests("GET"))
    known = Registry.discover().statistics(plan.source)
    assert (known.rows.low, known.rows.high) == (4, 4)
    assert (known.columns["id"].low, known.columns["id"].high) == (1, 4)
    assert known.columns["float"].nulls == 0.25
    asked = [e["path"] for e in bucket.requests("GET")[before:]]
    assert not [path for path in asked if path.endswith(".parquet")]


# --- writing ------------------------------------------------------------------------------------


def test_appending_keeps_the_columns(session: ub.Session, tmp_path: Path) -> None:
    path = tmp_path / "t"
    session.from_dict({"id": [1], "name": ["a"]}).write_delta(path)
    session.from_dict({"name": ["b"], "id": [2]}).write_delta(path, mode="append")
    assert rows(session.read_delta(path)) == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    wrongs: list[tuple[dict[str, list[Any]], str]] = [
        ({"id": [1], "nam": ["x"]}, "no column 'nam'"),
        ({"id": ["x"], "name": ["x"]}, "'id' is int64 in the table, but string"),
        ({"id": [1]}, "has a column 'name'"),
    ]
    for wrong, words in wrongs:
        frame = session.from_dict(wrong)
        assert words in complaint(lambda f=frame: f.write_delta(path, mode="append")).message
    assert DeltaTable(path).version() == 1


def test_existing_tables_are_kept_unless_asked(session: ub.Session, tmp_path: Path) -> None:
    frame = session.from_dict({"id": [1], "part": [1]})
    frame.write_delta(tmp_path / "t", partition_by="part")
    assert "there already" in complaint(lambda: frame.write_delta(tmp_path / "t")).message
    error = complaint(lambda: frame.write_delta(tmp_path / "t", mode="append", partition_by="id"))
    assert "partitioned by part, not by id" in error.message
    session.from_dict({"other": [2.5]}).write_delta(tmp_path / "t2", mode="replace")
    session.from_dict({"id": ["x"]}).write_delta(tmp_path / "t2", mode="replace")
    assert rows(session.read_delta(tmp_path / "t2")) == [{"id": "x"}]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_failing_run_leaves_no_file(session: ub.Session, tmp_path: Path, engine: str) -> None:
    frame = session.from_dict({"text": ["1", "x"]}).select(col("text").cast(pa.int64()))
    with pytest.raises(ub.UmbelError):
        frame.on(engine).write_delta(tmp_path / "t")
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "dtype", [pa.uint8(), pa.uint64(), pa.time64("us"), pa.duration("us"), pa.timestamp("ns"),
              pa.timestamp("us", "Europe/Berlin"), pa.list_(pa.uint16())],
)  # fmt: skip
def test_types_that_would_change_are_refused(
    session: ub.Session, tmp_path: Path, dtype: pa.DataType
) -> None:
    frame = session.from_arrow(pa.table({"x": pa.array([None], dtype), "y": [1]}))
    error = complaint(lambda: frame.write_delta(tmp_path / "t"))
    assert "delta cannot hold column 'x'" in error.message
    assert not (tmp_path / "t").exists()


# --- what goes wrong ---------------------------------------------------------------------------


def test_no_table(session: ub.Session, tmp_path: Path, bucket: Bucket) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    assert "no Delta table" in complaint(lambda: session.read_delta(tmp_path)).message
    assert complaint(lambda: session.read_delta(tmp_path / "none")).exit_code == 4
    assert (
        f"{bucket.url}/none" in complaint(lambda: session.read_delta(f"{bucket.url}/none")).message
    )
    assert "no bucket" in complaint(lambda: session.read_delta("s3://no-such-bucket/t")).message


def _rewrite_log(folder: Path, change: Any) -> None:
    log = folder / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        change(action)
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))


def test_deletion_vectors_are_refused_where_there_are_some(
    session: ub.Session, tmp_path: Path
) -> None:
    path = tmp_path / "t"
    write_deltalake(path, pa.table({"id": pa.array(range(40))}))

    def enable(action: dict[str, Any]) -> None:
        if "protocol" in action:
            action["protocol"] = {
                "minReaderVersion": 3, "minWriterVersion": 7,
                "readerFeatures": ["deletionVectors"], "writerFeatures": ["deletionVectors"],
            }  # fmt: skip

    _rewrite_log(path, enable)
    assert session.read_delta(path).count() == 40  # allowed, but none there

    def delete(action: dict[str, Any]) -> None:
        if "add" in action:
            # As in github.com/delta-io/delta, PROTOCOL.md, "Deletion Vector Descriptor Schema".
            action["add"]["deletionVector"] = {
                "storageType": "i", "sizeInBytes": 40, "cardinality": 6,
                "pathOrInlineDv": "wi5b=000010000siXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L",
            }  # fmt: skip

    _rewrite_log(path, delete)
    error = complaint(lambda: session.read_delta(path))
    assert "deleted by deletion vectors" in error.message


def test_renamed_columns_are_refused(session: ub.Session, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"id": [1]}))

    def change(action: dict[str, Any]) -> None:
        if "protocol" in action:
            action["protocol"] = {"minReaderVersion": 2, "minWriterVersion": 5}
        if "metaData" in action:
            action["metaData"]["configuration"] = {
                "delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "1",
            }  # fmt: skip
            schema = json.loads(action["metaData"]["schemaString"])
            for field in schema["fields"]:
                field["metadata"] = {
                    "delta.columnMapping.id": 1, "delta.columnMapping.physicalName": "col-1",
                }  # fmt: skip
            action["metaData"]["schemaString"] = json.dumps(schema)

    _rewrite_log(tmp_path / "t", change)
    error = complaint(lambda: session.read_delta(tmp_path / "t"))
    assert "columnMapping" in error.message


@pytest.mark.parametrize("engine", ENGINES)
def test_files_that_were_vacuumed(session: ub.Session, tmp_path: Path, engine: str) -> None:
    session.from_dict({"id": [1]}).write_delta(tmp_path / "t")
    frame = session.read_delta(tmp_path / "t").on(engine)
    (file,) = (tmp_path / "t").glob("*.parquet")
    file.unlink()
    with pytest.raises(ub.UmbelError) as caught:
        frame.collect()
    assert file.name in str(caught.value)


def test_a_broken_log(session: ub.Session, tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", pa.table({"id": [1]}))
    (tmp_path / "t" / "_delta_log" / f"{0:020}.json").write_text("{ not json")
    assert "cannot be read" in complaint(lambda: session.read_delta(tmp_path / "t")).message
