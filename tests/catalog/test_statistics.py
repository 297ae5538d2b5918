"""Row counts, widths and bounds, exact where they can be."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from umbel.catalog import statistics as module
from umbel.catalog.infer import csv_source, ipc_source, json_source, parquet_source, text_source
from umbel.catalog.statistics import FOOTERS, ColumnStatistics, Interval, statistics
from umbel.plan.sources import MemorySource


def holds(interval: Interval, rows: int) -> bool:
    return interval.low <= rows <= interval.high


def test_parquet_footers_are_exact(tmp_path: Path) -> None:
    table = pa.table({"a": [5, None, 7, 7], "s": ["b", "a", "z", "c"], "l": [[1], [], None, [2]]})
    pq.write_table(table, tmp_path / "1.parquet", row_group_size=2)
    pq.write_table(table.slice(0, 1), tmp_path / "2.parquet")
    known = statistics(parquet_source(str(tmp_path)))
    assert known.rows == Interval(5, 5, 1.0)
    assert known.rows.exact
    assert known.files == 2
    assert known.bytes == sum(f.stat().st_size for f in tmp_path.iterdir())
    # Three integers from 5 to 7 lie between the bounds.
    assert known.columns["a"] == ColumnStatistics(5, 7, 1 / 5, 3.0)
    assert known.columns["s"] == ColumnStatistics("a", "z", 0.0, None)


def test_groups_without_bounds_give_none(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"a": [1, 2], "n": pa.array([None, None], pa.int64())}),
        path,
        write_statistics=["n"],
    )
    columns = statistics(parquet_source(str(path))).columns
    assert columns["a"] == ColumnStatistics()
    assert columns["n"] == ColumnStatistics(nulls=1.0)


def test_a_part_of_nulls_only_does_not_hide_bounds(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"a": pa.array([None, None, 3, 9], pa.int64())}), path, row_group_size=2
    )
    assert statistics(parquet_source(str(path))).columns["a"] == ColumnStatistics(3, 9, 0.5, 4.0)


def test_partition_columns_are_known(tmp_path: Path) -> None:
    for value in ("1", "2", "__HIVE_DEFAULT_PARTITION__"):
        folder = tmp_path / f"k={value}"
        folder.mkdir()
        pq.write_table(pa.table({"a": [1]}), folder / "a.parquet")
    column = statistics(parquet_source(str(tmp_path))).columns["k"]
    assert (column.low, column.high, column.distinct) == (1, 2, 2.0)
    assert column.nulls == pytest.approx(1 / 3)


def test_many_files_are_reckoned_from_some(tmp_path: Path) -> None:
    count = FOOTERS + 36
    for i in range(count):
        pq.write_table(pa.table({"a": list(range(10))}), tmp_path / f"{i}.parquet")
    known = statistics(parquet_source(str(tmp_path)))
    assert not known.rows.exact
    assert holds(known.rows, 10 * count)
    assert known.columns["a"].low is None


def test_ipc_counts_rows(tmp_path: Path) -> None:
    pyarrow.feather.write_feather(pa.table({"a": list(range(1000))}), tmp_path / "a", chunksize=100)
    assert statistics(ipc_source(str(tmp_path / "a"))).rows == Interval(1000, 1000, 1.0)


def test_memory_is_exact() -> None:
    table = pa.table({"a": [1.5, float("nan"), None, 1.5], "b": [True, None, None, False]})
    known = statistics(MemorySource(table.schema, data=table))
    assert known.rows == Interval(4, 4, 1.0)
    assert known.columns["b"] == ColumnStatistics(False, True, 0.5, 2.0)
    assert known.columns["a"].nulls == 0.25
    items = MemorySource(pa.schema([]), form="object", data=[1, "x"])
    assert statistics(items).rows == Interval(2, 2, 1.0)


def test_columns_in_memory_are_looked_at_when_they_are_asked_for_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[int] = []
    real = module._of_column

    def watched(column: pa.ChunkedArray) -> ColumnStatistics:
        looked.append(len(column))
        return real(column)

    monkeypatch.setattr(module, "_of_column", watched)
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]})
    source = MemorySource(table.schema, data=table)
    assert list(statistics(source).columns) == ["a", "b"]
    assert looked == []
    for _ in range(2):
        assert statistics(source).columns["a"].high == 3
    assert looked == [3]
    with pytest.raises(KeyError):
        statistics(source).columns["c"]


def test_small_text_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\nthree\n\nfour five six")
    known = statistics(text_source(str(tmp_path / "a.txt")))
    assert known.rows == Interval(4, 4, 1.0)
    assert known.words == 6 / 4
    assert (tmp_path / "b.txt").write_text("") == 0
    assert statistics(text_source(str(tmp_path / "b.txt"))).rows == Interval(0, 0, 1.0)


def test_large_text_is_reckoned_from_a_sample(tmp_path: Path) -> None:
    line, count = "the quick brown fox\n", 50_000
    (tmp_path / "a.txt").write_text(line * count)
    known = statistics(text_source(str(tmp_path / "a.txt")))
    assert holds(known.rows, count)
    assert known.rows.high < 2 * count
    assert known.words == 4.0
    assert known.row_width == len(line) + 8


def test_compressed_text_is_reckoned_too(tmp_path: Path) -> None:
    lines = [f"row {i * 2654435761 % 2**32}\n" for i in range(200_000)]
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("".join(lines).encode()))
    known = statistics(text_source(str(tmp_path / "a.txt.gz")))
    assert holds(known.rows, len(lines))
    assert known.rows.high < 4 * len(lines)


def test_csv_and_json(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n" + "".join(f"{i},x\n" for i in range(100)))
    known = statistics(csv_source(str(tmp_path / "a.csv")))
    assert holds(known.rows, 100)
    assert known.words is None
    (tmp_path / "a.json").write_text("".join(f'{{"a": {i}}}\n' for i in range(50_000)))
    known = statistics(json_source(str(tmp_path / "a.json")))
    assert holds(known.rows, 50_000)


def test_what_is_known_is_kept_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    source = parquet_source(str(path))
    assert statistics(source).rows.low == 1
    reads: list[object] = []
    real = pq.read_metadata

    def counted(path: str) -> object:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(pq, "read_metadata", counted)
    assert statistics(source).rows.low == 1
    assert reads == []
    pq.write_table(pa.table({"a": [1, 2]}), path)
    assert statistics(source).rows.low == 2
    assert len(reads) == 1


def test_statistics_are_cheap(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"some words on a line\n" * 2_000_000)
    source = text_source(str(tmp_path / "a.txt"))
    module._sample.cache_clear()
    start = time.perf_counter()
    statistics(source)
    assert time.perf_counter() - start < 0.25  # reading all of it takes more
