"""Iceberg tables: one snapshot is one table on every engine, and only what is needed is read."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from tests.conformance.compare import assert_same_rows
from tests.sources.conftest import ENGINES, Bucket
from umbel import col
from umbel.catalog.iceberg_catalog import IcebergNamespace

MOMENT = datetime.datetime(2026, 1, 31, 23, 59, 59, 123456)

#: Each type that Iceberg knows, with nulls, and values that trouble file formats.
HOSTILE = pa.table(
    {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "part": ["x y", "a/b=c%", "ü", None],
        "small": pa.array([-(2**31), 2**31 - 1, None, 0], pa.int32()),
        "float": [float("nan"), float("inf"), None, -0.0],
        "text": ["", None, "é", "z" * 50],
        "flag": [True, None, False, True],
        "bytes": pa.array([b"", b"\x00\xff", None, b"a"], pa.binary()),
        "day": pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None, None]),
        "hour": pa.array([datetime.time(23, 59, 59, 1), None, None, datetime.time(0)],
                         pa.time64("us")),
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


@pytest.fixture
def ice(session: ub.Session, tmp_path: Path) -> Any:
    """A catalogue in SQLite, attached as `ice`; pyiceberg's own view of it."""
    session.catalog.attach(
        "ice", f"iceberg+sqlite://{tmp_path}/catalog.db", warehouse=str(tmp_path / "warehouse")
    )
    namespace = session.catalog["ice"]
    assert isinstance(namespace, IcebergNamespace)
    yield namespace._open()
    session.catalog.detach("ice")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("by", [(), ("part",)])
def test_every_type_comes_back(
    session: ub.Session, ice: Any, engine: str, by: tuple[str, ...]
) -> None:
    frame = session.from_arrow(HOSTILE).on(engine)
    frame.write_iceberg("db.t", catalog="ice", partition_by=by)
    again = session.read_iceberg("db.t", catalog="ice")
    assert again.schema.names == HOSTILE.schema.names
    assert again.schema.types == HOSTILE.schema.types
    assert_same_rows(again.on(engine).collect(), HOSTILE)
    # Another reader sees the same table.
    other = ice.load_table("db.t").scan().to_arrow()
    assert_same_rows(other.select(HOSTILE.schema.names).cast(HOSTILE.schema), HOSTILE)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_snapshot_stays_what_it_was(session: ub.Session, ice: Any, engine: str) -> None:
    session.from_dict({"id": [1]}).write_iceberg("db.t", catalog="ice")
    first = session.read_iceberg("db.t", catalog="ice")
    plan = ub.plan_to_json(first.plan)
    session.from_dict({"id": [2]}).write_iceberg("db.t", catalog="ice", mode="append")
    session.from_dict({"id": [3]}).write_iceberg("db.t", catalog="ice", mode="replace")
    log = ice.load_table("db.t").history()
    # A replacement is two snapshots at once: rows deleted, rows added.
    snapshots = [log[0].snapshot_id, log[1].snapshot_id, log[-1].snapshot_id]
    found = [
        [r["id"] for r in rows(session.read_iceberg("db.t", catalog="ice", snapshot=s).on(engine))]
        for s in snapshots
    ]
    assert found == [[1], [1, 2], [3]]
    assert rows(first.on(engine)) == [{"id": 1}]
    read_back = session.from_plan(ub.plan_from_json(plan))
    assert isinstance(read_back, ub.DataFrame)
    assert rows(read_back) == [{"id": 1}]
    moment = datetime.datetime.fromtimestamp(log[1].timestamp_ms / 1000, datetime.UTC)
    latest = max(n for n, entry in enumerate(log) if entry.timestamp_ms <= log[1].timestamp_ms)
    if latest == 1:
        then = session.read_iceberg("db.t", catalog="ice", as_of=moment.isoformat())
        assert len(rows(then)) == 2
    early = complaint(lambda: session.read_iceberg("db.t", catalog="ice", as_of="2001-01-01"))
    assert "no snapshot as old as 2001-01-01" in early.message
    wrong = complaint(lambda: session.read_iceberg("db.t", catalog="ice", snapshot=7))
    assert "there is no snapshot 7" in wrong.message


@pytest.mark.parametrize("engine", ENGINES)
def test_evolved_columns_are_read_by_their_ids(session: ub.Session, ice: Any, engine: str) -> None:
    from pyiceberg.types import LongType, StringType

    before = pa.table({"id": [1], "old": ["a"], "n": pa.array([5], pa.int32()), "gone": [9]})
    session.from_arrow(before).write_iceberg("db.t", catalog="ice")
    table = ice.load_table("db.t")
    old = table.current_snapshot().snapshot_id
    with table.update_schema() as change:
        change.rename_column("old", "new")
        change.update_column("n", LongType())
        change.delete_column("gone")
        change.add_column("gone2", StringType())
    with table.update_schema() as change:
        change.rename_column("gone2", "gone")  # a name that a column of another type once had
    after = pa.table({"id": [2], "new": ["b"], "n": [2**40], "gone": ["x"]})
    session.from_arrow(after).write_iceberg("db.t", catalog="ice", mode="append")
    frame = session.read_iceberg("db.t", catalog="ice").on(engine)
    assert rows(frame) == [
        {"id": 1, "new": "a", "n": 5, "gone": None},
        {"id": 2, "new": "b", "n": 2**40, "gone": "x"},
    ]
    assert rows(frame.filter(col("n") > 5).select("id")) == [{"id": 2}]
    assert frame.count() == 2
    then = session.read_iceberg("db.t", catalog="ice", snapshot=old).on(engine)
    assert rows(then) == before.to_pylist()


def test_columns_that_change_after_planning(session: ub.Session, ice: Any) -> None:
    from pyiceberg.types import LongType, StringType

    before = [{"id": 1, "a": "x", "n": 5}]
    session.from_arrow(pa.Table.from_pylist(before)).write_iceberg("db.t", catalog="ice")
    frame = session.read_iceberg("db.t", catalog="ice")
    plan = ub.plan_to_json(frame.plan)
    with ice.load_table("db.t").update_schema() as change:
        change.rename_column("a", "b")
        change.delete_column("n")
        change.add_column("c", LongType())
    with ice.load_table("db.t").update_schema() as change:
        change.add_column("n", StringType())  # not the one of this name that was there
    read_back = session.from_plan(ub.plan_from_json(plan))
    assert isinstance(read_back, ub.DataFrame)
    # What is read anew has the columns of now, though no snapshot was written since.
    now = session.read_iceberg("db.t", catalog="ice")
    assert now.schema.names == ["id", "b", "c", "n"]
    assert session.catalog.describe("ice.db.t").schema.equals(now.schema)
    for engine in ENGINES:
        for old in (frame, read_back):
            assert rows(old.on(engine)) == before
            assert rows(old.filter((col("a") == "x") & (col("n") == 5)).on(engine)) == before
        after = [{"id": 1, "b": "x", "c": None, "n": None}]
        assert rows(now.on(engine)) == after
        assert rows(now.filter(col("b") == "x").on(engine)) == after
        assert rows(now.filter(col("n") == "5").on(engine)) == []


def test_filters_of_an_old_snapshot_mean_the_columns_of_then(session: ub.Session, ice: Any) -> None:
    before = [{"id": 1, "a": 10, "b": 20, "gone": 30}]
    session.from_arrow(pa.Table.from_pylist(before)).write_iceberg("db.t", catalog="ice")
    old = ice.load_table("db.t").current_snapshot().snapshot_id
    for renamings in ([("a", "x"), ("b", "a")], [("x", "b")]):  # a and b change places
        with ice.load_table("db.t").update_schema() as change:
            for name, other in renamings:
                change.rename_column(name, other)
    with ice.load_table("db.t").update_schema() as change:
        change.delete_column("gone")
    then = session.read_iceberg("db.t", catalog="ice", snapshot=old)
    now = session.read_iceberg("db.t", catalog="ice")
    for engine in ENGINES:
        # By the bounds of a column that has the name now, no file would be read.
        for name, value in (("a", 10), ("b", 20), ("gone", 30)):
            assert rows(then.filter(col(name) == value).on(engine)) == before
            assert rows(then.filter(col(name) == value + 1).on(engine)) == []
        assert rows(now.filter((col("a") == 20) & (col("b") == 10)).on(engine)) == [
            {"id": 1, "b": 10, "a": 20}
        ]


@pytest.mark.parametrize("was_read", [False, True])
def test_a_table_that_is_gone_or_another_when_it_runs(
    session: ub.Session, ice: Any, was_read: bool
) -> None:
    session.from_dict({"id": [1]}).write_iceberg("db.t", catalog="ice")
    frame = session.read_iceberg("db.t", catalog="ice")
    if was_read:
        assert rows(frame) == [{"id": 1}]
    ice.purge_table("db.t")
    for again in ({}, {"id": ["another"]}):
        if again:
            session.from_dict(again).write_iceberg("db.t", catalog="ice")
        for engine in ENGINES:
            error = complaint(frame.filter(col("id") > 0).on(engine).collect)
            assert "/db/t/" in error.message
            assert "anew" in error.hint
    assert rows(session.read_iceberg("db.t", catalog="ice")) == [{"id": "another"}]


@pytest.mark.parametrize("engine", ENGINES)
def test_added_columns_and_odd_names(session: ub.Session, ice: Any, engine: str) -> None:
    from pyiceberg.types import DoubleType

    first = pa.table({"id": [1], "order line-no.": ["x"]})
    session.from_arrow(first).write_iceberg("db.odd", catalog="ice")
    assert rows(session.read_iceberg("db.odd", catalog="ice").on(engine)) == first.to_pylist()
    session.from_dict({"id": [1]}).write_iceberg("db.t", catalog="ice")
    with ice.load_table("db.t").update_schema() as change:
        change.add_column("more", DoubleType())
    session.from_dict({"id": [2], "more": [0.5]}).write_iceberg(
        "db.t", catalog="ice", mode="append"
    )
    frame = session.read_iceberg("db.t", catalog="ice").on(engine)
    assert rows(frame) == [{"id": 1, "more": None}, {"id": 2, "more": 0.5}]


@pytest.mark.parametrize("engine", ENGINES)
def test_deleted_rows_are_gone(session: ub.Session, ice: Any, engine: str) -> None:
    session.from_dict({"id": [1, 2, 3]}).write_iceberg("db.t", catalog="ice")
    ice.load_table("db.t").delete("id == 2")  # rewrites the file
    frame = session.read_iceberg("db.t", catalog="ice").on(engine)
    assert rows(frame) == [{"id": 1}, {"id": 3}]


@pytest.mark.parametrize("engine", ENGINES)
def test_files_are_pruned_by_their_manifests(
    session: ub.Session, bucket: Bucket, tmp_path: Path, engine: str
) -> None:
    session.catalog.attach(
        "far", f"iceberg+sqlite://{tmp_path}/catalog.db", warehouse=f"{bucket.url}/wh"
    )
    for part in range(2):
        for start in (0, 100):
            table = pa.table(
                {"id": pa.array(range(part * 1000 + start, part * 1000 + start + 10)),
                 "part": [part] * 10}
            )  # fmt: skip
            mode: Any = "error" if (part, start) == (0, 0) else "append"
            session.from_arrow(table).write_iceberg(
                "db.t", catalog="far", mode=mode, partition_by="part"
            )
    frame = session.read_iceberg("db.t", catalog="far")
    before = len(bucket.requests("GET"))
    chosen = frame.filter((col("part") == 1) & (col("id") >= 1100)).select("id").on(engine)
    assert [row["id"] for row in rows(chosen)] == list(range(1100, 1110))
    data = [e["path"] for e in bucket.requests("GET")[before:] if e["path"].endswith(".parquet")]
    assert len(set(data)) == 1
    assert "part=1" in data[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_bounds_exclude_nothing_that_is_there(session: ub.Session, ice: Any, engine: str) -> None:
    session.from_arrow(HOSTILE).write_iceberg("db.t", catalog="ice")
    frame = session.read_iceberg("db.t", catalog="ice")
    for predicate, ids in (
        (col("text") == "z" * 50, [4]),
        (col("float") > 1.0, [1, 2]),  # NaN is greater than all, and in no bounds
        (col("money") < 0, [3]),
        (col("at") >= MOMENT, [1, 3, 4]),
        (col("day") == datetime.date(9999, 12, 31), [2]),
        (col("small") == -(2**31), [1]),
        (col("small") > 2**40, []),
    ):
        assert [r["id"] for r in rows(frame.filter(predicate).on(engine))] == ids


def test_statistics_come_from_the_manifests(session: ub.Session, ice: Any) -> None:
    session.from_arrow(HOSTILE).write_iceberg("db.t", catalog="ice")
    known = session.catalog.describe("ice.db.t").statistics
    assert (known.rows.low, known.rows.high) == (4, 4)
    assert (known.columns["id"].low, known.columns["id"].high) == (1, 4)
    assert known.columns["day"].high == datetime.date(9999, 12, 31)
    assert known.columns["text"].nulls == 0.25


def test_an_empty_table(session: ub.Session, ice: Any) -> None:
    ice.create_namespace("db")
    ice.create_table("db.t", schema=pa.schema([("id", pa.int64())]))
    for engine in ENGINES:
        frame = session.read_iceberg("db.t", catalog="ice").on(engine)
        assert frame.collect().num_rows == 0


# --- writing ------------------------------------------------------------------------------------


def test_appending_keeps_the_columns(session: ub.Session, ice: Any) -> None:
    session.from_dict({"id": [1], "name": ["a"]}).write_iceberg("db.t", catalog="ice")
    session.from_dict({"name": ["b"], "id": [2]}).write_iceberg(
        "db.t", catalog="ice", mode="append"
    )
    assert rows(session.read_iceberg("t", catalog="ice")) == [
        {"id": 1, "name": "a"}, {"id": 2, "name": "b"},
    ]  # fmt: skip
    wrong = session.from_dict({"id": ["x"], "name": ["x"]})
    error = complaint(lambda: wrong.write_iceberg("db.t", catalog="ice", mode="append"))
    assert "'id' is int64 in the table, but string" in error.message
    error = complaint(lambda: wrong.write_iceberg("db.t", catalog="ice"))
    assert "there already" in error.message
    assert len(ice.load_table("db.t").history()) == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_a_failing_run_makes_no_table(
    session: ub.Session, ice: Any, tmp_path: Path, engine: str
) -> None:
    frame = session.from_dict({"text": ["1", "x"]}).select(col("text").cast(pa.int64()))
    with pytest.raises(ub.UmbelError):
        frame.on(engine).write_iceberg("db.t", catalog="ice")
    assert not session.catalog.tables("ice")
    assert not [file for file in (tmp_path / "warehouse").rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    "dtype", [pa.uint8(), pa.duration("us"), pa.timestamp("ns"),
              pa.timestamp("us", "Europe/Berlin"), pa.list_(pa.uint16())],
)  # fmt: skip
def test_types_that_would_change_are_refused(
    session: ub.Session, ice: Any, dtype: pa.DataType
) -> None:
    frame = session.from_arrow(pa.table({"x": pa.array([None], dtype), "y": [1]}))
    error = complaint(lambda: frame.write_iceberg("db.t", catalog="ice"))
    assert "iceberg cannot hold column 'x'" in error.message


# --- names and what goes wrong -------------------------------------------------------------------


def test_tables_have_names(session: ub.Session, ice: Any) -> None:
    session.from_dict({"id": [1]}).write_iceberg("db.orders", catalog="ice")
    session.from_dict({"id": [2]}).write_iceberg("other.lines", catalog="ice")
    assert session.catalog.tables("ice").names == ["ice.db.orders", "ice.other.lines"]
    assert rows(session.table("ice.lines")) == [{"id": 2}]
    assert rows(session.sql("SELECT id FROM ice.db.orders")) == [{"id": 1}]
    error = complaint(lambda: session.table("ice.db.order"))
    assert "ice.db.orders" in error.hint
    error = complaint(lambda: session.read_iceberg("db.orders"))
    assert "catalog='ice'" in error.hint
    location = ice.load_table("db.orders").metadata_location
    assert rows(session.read_iceberg(location)) == [{"id": 1}]


def test_wrong_catalogues(session: ub.Session, tmp_path: Path) -> None:
    error = complaint(lambda: session.catalog.attach("a", f"iceberg+sqlite://{tmp_path}/c.db"))
    assert "has no warehouse" in error.message
    error = complaint(
        lambda: session.catalog.attach(
            "b", f"iceberg+sqlite://{tmp_path}/c.db", warehouse="w", wharehouse="x"
        )
    )
    assert "did you mean 'warehouse'?" in error.hint
    session.catalog.attach("c", f"iceberg+sqlite://{tmp_path}/none/c.db", warehouse="w")
    assert "does not exist" in complaint(lambda: session.catalog.tables("c")).message
    session.catalog.attach("d", "iceberg+http://127.0.0.1:1/catalog")
    error = complaint(lambda: session.catalog.tables("d"))
    assert "iceberg+http://127.0.0.1:1/catalog" in error.message


@pytest.mark.parametrize("engine", ENGINES)
def test_a_data_file_that_is_gone(
    session: ub.Session, ice: Any, tmp_path: Path, engine: str
) -> None:
    session.from_dict({"id": [1]}).write_iceberg("db.t", catalog="ice")
    frame = session.read_iceberg("db.t", catalog="ice").on(engine)
    (file,) = (tmp_path / "warehouse").rglob("*.parquet")
    file.unlink()
    with pytest.raises(ub.UmbelError) as caught:
        frame.collect()
    assert file.name in str(caught.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_deleted_by_position_are_left_out(
    session: ub.Session, ice: Any, tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pyiceberg plans such deletes but writes none: a file of them is made here, as Spark would.
    import pyarrow.parquet as pq
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.table import DataScan, FileScanTask
    from pyiceberg.typedef import Record

    session.from_dict({"id": [1, 2, 3]}).write_iceberg("db.t", catalog="ice")
    (planned,) = ice.load_table("db.t").scan().plan_files()
    place = tmp_path / "deletes.parquet"
    gone = {"file_path": [planned.file.file_path], "pos": pa.array([1], pa.int64())}
    pq.write_table(pa.table(gone), place)
    deletes = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=place.as_uri(),
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=1,
        file_size_in_bytes=place.stat().st_size,
    )
    monkeypatch.setattr(DataScan, "plan_files", lambda _: [FileScanTask(planned.file, {deletes})])
    frame = session.read_iceberg("db.t", catalog="ice")
    known = session.catalog.describe("ice.db.t").statistics.rows
    assert (known.low, known.high) == (2, 3)
    assert rows(frame.on(engine)) == [{"id": 1}, {"id": 3}]
