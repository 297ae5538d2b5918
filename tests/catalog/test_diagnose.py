"""What diagnose says of every way in which a file can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umbel.catalog.diagnose import diagnose
from umbel.plan.errors import CancelledError
from umbel.plan.sources import (
    CsvSource,
    IpcSource,
    JsonLinesSource,
    MemorySource,
    ParquetSource,
    TextSource,
)

AB = pa.schema([("a", pa.int64()), ("b", pa.date32())])
LINES = pa.schema([("value", pa.string())])


def written(folder: Path, content: bytes, name: str = "f") -> tuple[str, ...]:
    path = folder / name
    path.write_bytes(content)
    return (str(path),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"a,b\n1,2024-01-01\n2,2024-13-01\n",
            "f, row 2: column 'b' holds '2024-13-01', which is no date",
        ),
        (b"a,b\n1,2024-01-01\nx,2024-01-01\n", "f, row 2: column 'a' holds 'x', which is no int64"),
        (b"a,b\n9223372036854775808,\n", "f, row 1: column 'a' holds '9223372036854775808'"),
        (b"a,b\n1,2024-01-01,3\n", "f, row 1 (line 2): 3 fields, but there are 2 columns"),
        (b'a,b\n"\n\n1",\n2\n', "f, row 1: column 'a' holds"),
        (b'a,b\n1,\n"2,\n3,\n', 'f, line 3: a quote " is opened and never closed'),
        (b'a,b\n"1"2,\n', "f, line 2: text follows a closing quote"),
        (b"a,b\n1,\n\xff,\n", "f, line 3: byte 0xff is not UTF-8"),
        (b"a,c\n1,\n", "f: its columns are a, c, not a, b: the file was changed"),
        (b"", "f: the file is empty"),
    ],
)
def test_csv(tmp_path: Path, content: bytes, message: str) -> None:
    found = diagnose(CsvSource(AB, written(tmp_path, content)), ValueError("engine"))
    assert found is not None
    assert message in found.message
    assert found.hint
    assert isinstance(found.__cause__, ValueError)


def test_csv_rows_are_counted_without_blank_lines_and_quoted_ones(tmp_path: Path) -> None:
    schema = pa.schema([("t", pa.string()), ("n", pa.int64())])
    content = b't,n\n"two\nlines",1\n\nx,y\n'
    found = diagnose(CsvSource(schema, written(tmp_path, content)))
    assert found is not None
    assert "f, row 2: column 'n' holds 'y'" in found.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n\n{"a": 1.5}\n', "f, line 3: 'a' is 1.5, which is no int64"),
        (b'{"a": "x"}\n', "f, line 1: 'a' is \"x\", which is no int64"),
        (b'{"b": "2024-13-01"}\n', "f, line 1: 'b' is \"2024-13-01\", which is no date"),
        (b'{"b": 5}\n', "f, line 1: 'b' is 5, which is no date"),
        (b'{"a": 1}\n{"a": \n', "f, line 2: not JSON"),
        (b'{"a": 1}\n[2]\n', "f, line 2: [2] where an object is needed"),
        (b'{"a": "\xff"}\n', "f, line 1: byte 0xff is not UTF-8"),
    ],
)
def test_json(tmp_path: Path, content: bytes, message: str) -> None:
    found = diagnose(JsonLinesSource(AB, written(tmp_path, content)))
    assert found is not None
    assert message in found.message


def test_text(tmp_path: Path) -> None:
    found = diagnose(TextSource(LINES, written(tmp_path, b"a\nb\xc3\n")))
    assert found is not None
    assert "f, line 2: byte 0xc3 is not UTF-8" in found.message
    whole = gzip.compress(b"line\n" * 10_000)
    found = diagnose(TextSource(LINES, written(tmp_path, whole[:-20], "f.gz")))
    assert found is not None
    assert "f.gz: the gzip data is damaged or cut off" in found.message


def test_parquet(tmp_path: Path) -> None:
    paths = written(tmp_path, b"PAR1 no footer")
    found = diagnose(ParquetSource(AB, paths))
    assert found is not None
    assert "f: not well-formed Parquet" in found.message
    pq.write_table(pa.table({"a": ["x"], "b": [None]}), paths[0])
    found = diagnose(ParquetSource(AB, paths))
    assert found is not None
    assert "column 'a' is string, not int64: the file was changed" in found.message


def test_damaged_pages_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "f"
    table = pa.table({"a": list(range(10_000))})
    pq.write_table(table, path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[4:40] = b"\xee" * 36
    path.write_bytes(bytes(data))
    found = diagnose(ParquetSource(table.schema, (str(path),)))
    assert found is not None
    assert "f: not well-formed Parquet" in found.message


def test_ipc(tmp_path: Path) -> None:
    found = diagnose(IpcSource(AB, written(tmp_path, b"ARROW1 but no more")))
    assert found is not None
    assert "f: not well-formed Arrow IPC" in found.message


def test_a_file_that_went_away(tmp_path: Path) -> None:
    found = diagnose(CsvSource(AB, (str(tmp_path / "gone.csv"),)))
    assert found is not None
    assert "gone.csv: no such file" in found.message


def test_sound_files_and_other_causes_are_not_blamed(tmp_path: Path) -> None:
    source = CsvSource(AB, written(tmp_path, b"a,b\n1,2024-01-01\n,\n"))
    assert diagnose(source, ValueError("the engine's own")) is None
    bad = CsvSource(AB, written(tmp_path, b"a,b\nx,\n", "bad"))
    assert diagnose(bad, CancelledError("stopped")) is None
    assert diagnose(bad, MemoryError()) is None
    assert diagnose(MemorySource(AB), ValueError()) is None
