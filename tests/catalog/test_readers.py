"""Reading: columns, partitions, and row groups that a predicate excludes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umbel.catalog.files import FileEntry
from umbel.catalog.infer import csv_source, parquet_source, text_source
from umbel.catalog.pruning import row_groups
from umbel.catalog.readers import read
from umbel.plan.errors import CancelledError, SourceError
from umbel.plan.expressions import Call, Column, Expression, Literal
from umbel.plan.types import INT64


def test_only_the_columns_wanted_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "k=5").mkdir()
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "k=5" / "a.parquet")
    source = parquet_source(str(tmp_path))
    (batch,) = read(source, ["k", "a"])
    assert batch.to_pydict() == {"k": [5], "a": [1]}
    (batch,) = read(source, [])
    assert (batch.num_rows, batch.num_columns) == (1, 0)


def test_a_wrong_value_names_file_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3,oops\n")
    source = csv_source(str(path), schema=pa.schema([("b", pa.int64())]))
    with pytest.raises(
        SourceError, match=r"a\.csv, row 2: column 'b' holds 'oops', which is no int64"
    ):
        list(read(source))


def test_text_that_is_not_utf8_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\ntwo\nthr\xffe\n")
    with pytest.raises(SourceError, match=r"a\.txt, line 3: byte 0xff is not UTF-8"):
        list(read(text_source(str(path))))


@pytest.mark.parametrize("cut", [0.5, 0.95])
@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst"])
def test_compressed_data_that_is_cut_off_is_an_error(
    tmp_path: Path, suffix: str, cut: float
) -> None:
    sink = pa.BufferOutputStream()
    codec = {"gz": "gzip", "bz2": "bz2", "zst": "zstd"}[suffix]
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write("".join(f"line {i * 7919 % 10007}\n" for i in range(20_000)).encode())
    data = sink.getvalue().to_pybytes()
    path = tmp_path / f"a.txt.{suffix}"
    path.write_bytes(data)
    assert sum(b.num_rows for b in read(text_source(str(path)))) == 20_000
    path.write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(SourceError, match=rf"a\.txt\.{suffix}: .*(cut off|cannot be read)"):
        list(read(text_source(str(path))))


def test_reading_stops_when_cancelled(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x\n")

    def cancel() -> None:
        raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        list(read(text_source(str(tmp_path / "a.txt")), check=cancel))


def compare(function: str, name: str, value: Any, dtype: pa.DataType = INT64) -> Expression:
    return Call(function, (Column(name), Literal(value, dtype)))


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """Three row groups: 0 to 9, 10 to 19, and nulls; the floats hold a NaN in the first."""
    path = tmp_path / "a.parquet"
    values = [*range(20), *[None] * 10]
    floats = [float("nan") if v == 0 else None if v is None else float(v) for v in values]
    pq.write_table(
        pa.table({"a": pa.array(values, pa.int64()), "f": floats}), path, row_group_size=10
    )
    return path


@pytest.mark.parametrize(
    ("predicate", "groups"),
    [
        (None, [0, 1, 2]),
        (compare("equal", "a", 9), [0]),
        (compare("equal", "a", 99), []),
        (compare("less", "a", 10), [0]),
        (compare("less_or_equal", "a", 10), [0, 1]),
        (compare("greater", "a", 9), [1]),
        (compare("greater_or_equal", "a", 9), [0, 1]),
        (compare("equal", "a", None), []),
        (compare("not_equal", "a", 9), [0, 1, 2]),
        (compare("greater", "f", 15.0, pa.float64()), [0, 1, 2]),
        (Call("less", (Literal(12, pa.int64()), Column("a"))), [1]),
        (Call("and", (compare("greater", "a", 3), compare("less", "a", 7))), [0]),
        (Call("or", (compare("greater", "a", 99), compare("less", "a", -7))), [0, 1, 2]),
        (compare("less", "a", float("nan"), pa.float64()), [0, 1]),
    ],
    ids=str,
)
def test_row_groups_that_may_hold_a_match(
    numbers: Path, predicate: Expression | None, groups: list[int]
) -> None:
    kept = row_groups(pq.read_metadata(numbers), predicate, {})
    # A group of nulls only has no bounds, so that nothing excludes it.
    assert [g for g in kept if g != 2] == [g for g in groups if g != 2]
    assert set(groups) <= set(kept) | {2}


def test_partition_values_exclude_whole_files(numbers: Path) -> None:
    metadata = pq.read_metadata(numbers)
    assert row_groups(metadata, compare("equal", "k", 2), {"k": 1}) == []
    assert row_groups(metadata, compare("equal", "k", 2), {"k": None}) == []
    assert row_groups(metadata, compare("equal", "k", 2), {"k": 2}) == [0, 1, 2]


def test_rows_of_excluded_groups_are_not_read(numbers: Path) -> None:
    source = parquet_source(str(numbers))
    entry = FileEntry(str(numbers), numbers.stat().st_size)
    batches = read(source, ["a"], compare("less", "a", 5), files=[entry])
    values = [v for batch in batches for v in batch.column(0).to_pylist() if v is not None]
    assert values == list(range(10))
