"""Small Parquet files that unpack to much: read in few rows at once, and stopped in time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from umbel.catalog import unpacking
from umbel.catalog.infer import parquet_source
from umbel.catalog.readers import read

LONG = "x" * 100_000


def _batches(path: Path, table: pa.Table, **options: Any) -> list[pa.RecordBatch]:
    parquet.write_table(table, path, **options)
    found = list(read(parquet_source(str(path))))
    assert pa.Table.from_batches(found).equals(table)
    return found


@pytest.mark.parametrize(
    "column",
    [
        pa.array([LONG] * 300),
        pa.array([None] * 150 + [LONG] * 150),
        pa.array([LONG.encode()] * 300),
        pa.array([[], *[[LONG, "a"]] * 150]),
        pa.array([{"a": LONG, "b": 1}] * 300),
        pa.array([[("k", LONG)]] * 300, pa.map_(pa.string(), pa.string())),
    ],
    ids=["text", "nulls", "bytes", "lists", "structs", "maps"],
)
def test_a_value_that_stands_in_each_row_is_read_in_few_rows_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: pa.Array
) -> None:
    monkeypatch.setattr(unpacking, "AT_ONCE", 2_000_000)  # twenty of the long values
    table = pa.table({"n": pa.array(range(len(column))), "value": column})
    found = _batches(tmp_path / "bomb.parquet", table, compression="zstd")
    assert (tmp_path / "bomb.parquet").stat().st_size < 50_000
    assert max(batch.nbytes for batch in found) < 3_000_000
    # A row of a list or a map counts as one of as many long values as it has items.
    assert max(batch.num_rows for batch in found) >= 5


def test_rows_of_ordinary_files_stay_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "AT_ONCE", 4_000_000)
    table = pa.table({"id": range(100_000), "kind": [f"kind {i % 50}" for i in range(100_000)]})
    found = _batches(tmp_path / "a.parquet", table, row_group_size=70_000)
    assert max(batch.num_rows for batch in found) == unpacking.ROWS


#: In a process of its own, whose memory nothing else has taken.
BOMB = """
import resource, sys
import umbel as ub
from umbel.executor.memory import memory_in_use

path = sys.argv[1]
session = ub.connect(progress=False)
frame = session.read_parquet(path)
print(frame.limit(1).select(n=ub.col("s").str.len_bytes()).on("python").to_dicts())
session.memory_budget = memory_in_use() + (200 << 20)
try:
    frame.on("python").to_arrow()
except ub.MemoryLimitError as error:
    print(str(error).split(":")[0])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10)
"""


def test_a_parquet_bomb_is_stopped_at_the_budget(tmp_path: Path) -> None:
    """One megabyte in each of 2,000 rows, in less than 50 kB: it took 3.5 GB once.

    How far it gets beyond the budget is up to how soon the machine lets the watch look.
    """
    path = tmp_path / "bomb.parquet"
    value = pa.DictionaryArray.from_arrays(pa.array([0] * 2000), pa.array(["x" * 10**6]))
    parquet.write_table(pa.table({"s": value}), path, store_schema=False)
    assert path.stat().st_size < 50_000
    run = [sys.executable, "-c", BOMB, str(path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()
    assert done[:2] == ["[{'n': 1000000}]", "the run was stopped for want of memory"]
    assert int(done[2]) < 2_500_000_000
