"""Files mean the same on every engine, to the last byte."""

from __future__ import annotations

import bz2
import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tests.conformance.compare import assert_same_rows
from tests.conformance.engines import LINES, run
from umbel.catalog.infer import parquet_source
from umbel.plan.errors import SourceError
from umbel.plan.expressions import Call, Column, Literal
from umbel.plan.operators import Count, Scan
from umbel.plan.sources import (
    CsvSource,
    IpcSource,
    JsonLinesSource,
    ParquetSource,
    TextSource,
)


def text(*paths: Path) -> Scan:
    return Scan(source=TextSource(schema=LINES, paths=tuple(map(str, paths))))


def csv(path: Path, schema: dict[str, pa.DataType], **options: Any) -> CsvSource:
    return CsvSource(schema=pa.schema(list(schema.items())), paths=(str(path),), **options)


# --- text -------------------------------------------------------------------------------------

TEXTS = {
    "plain": (b"a b\nc\n", ["a b", "c"]),
    "no last line end": (b"a\nb", ["a", "b"]),
    "windows": (b"a\r\nb\r\n", ["a", "b"]),
    "mixed": (b"a\nb\r\nc", ["a", "b", "c"]),
    "lone carriage returns": (b"a\rb\n\rc\nd\r", ["a\rb", "\rc", "d\r"]),
    "carriage return before a line end": (b"a\r\r\nb\n", ["a\r", "b"]),
    "empty lines": (b"\n\na\n\n", ["", "", "a", ""]),
    "only a line end": (b"\n", [""]),
    "nothing": (b"", []),
    "byte order mark": (b"\xef\xbb\xbfa\nb\n", ["a", "b"]),
    "byte order mark inside": (b"a\n\xef\xbb\xbfb\n", ["a", "\ufeffb"]),
    "only a byte order mark": (b"\xef\xbb\xbf", []),
    "NUL": (b"a\x00b\n\x00\n", ["a\x00b", "\x00"]),
    "quotes": (b'"a\nb"\n\'x\'\n""\n', ['"a', 'b"', "'x'", '""']),
    "backslashes": (b"a\\nb\n\\\n\\N\n", ["a\\nb", "\\", "\\N"]),
    "delimiters": (b"a,b;c\td|e\n", ["a,b;c\td|e"]),
    "control characters": (b"\x01\x02\x03\x04x\n\x1c\x1d\n", ["\x01\x02\x03\x04x", "\x1c\x1d"]),
    "other line separators": (
        "a\u2028b\x85c\x0bd\x0ce\n".encode(),
        ["a\u2028b\x85c\x0bd\x0ce"],
    ),
    "nulls by name": (b"NULL\nnull\nNA\n\n", ["NULL", "null", "NA", ""]),
    "spaces": (b"  a \n \n", ["  a ", " "]),
    "comments": (b"#a\n//b\n", ["#a", "//b"]),
    "other scripts": ("żółć 数\U0001f600\n".encode(), ["żółć 数\U0001f600"]),
}


@pytest.mark.parametrize("compression", ["", ".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("case", TEXTS)
def test_lines(engine, case, compression, tmp_path):
    if engine == "spark" and compression in (".bz2", ".zst"):
        pytest.skip("compressed text is read for Spark by the reader that .gz tests; a job is dear")
    data, expected = TEXTS[case]
    path = tmp_path / f"file.txt{compression}"
    if compression == ".gz":
        path.write_bytes(gzip.compress(data))
    elif compression == ".bz2":
        path.write_bytes(bz2.compress(data))
    elif compression == ".zst":
        path.write_bytes(pa.compress(data, "zstd", asbytes=True) if data else b"")
    else:
        path.write_bytes(data)
    assert_same_rows(run(engine, text(path)), [(line,) for line in expected], context=case)


def test_lines_of_several_files_of_different_kinds(engine, tmp_path):
    for name, data in {"a": b"1", "b": b"2\r\n", "c": b"\xef\xbb\xbf3\n"}.items():
        (tmp_path / f"{name}.txt").write_bytes(data)
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress(b"4\n"))
    assert_same_rows(run(engine, text(tmp_path)), [("1",), ("2",), ("3",), ("4",)])


def test_a_line_longer_than_any_buffer(engine, tmp_path):
    long = "x" * 9_000_000
    (tmp_path / "long.txt").write_text(f"a\n{long}\nb\n")
    result = run(engine, text(tmp_path / "long.txt"))
    assert sorted(map(len, result["value"].to_pylist())) == [1, 1, 9_000_000]


def test_a_file_whose_name_is_a_pattern(engine, tmp_path):
    (tmp_path / "a[1]*.txt").write_text("right\n")
    (tmp_path / "a1x.txt").write_text("wrong\n")
    assert_same_rows(run(engine, text(tmp_path / "a[1]*.txt")), [("right",)])


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_invalid_text_names_file_and_line(engine, suffix, tmp_path):
    path = tmp_path / f"bad{suffix}"
    data = b"fine\nfine\nwrong \xff here\nfine\n"
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    with pytest.raises(SourceError, match=r"bad\.txt.*line 3.*0xff.*UTF-8"):
        run(engine, text(path))


def test_counting_lines_reads_no_text(engine, tmp_path):
    (tmp_path / "a.txt").write_text("1\n2\n3")
    assert_same_rows(run(engine, Count(input=text(tmp_path / "a.txt"))), [(3,)])


# --- CSV --------------------------------------------------------------------------------------


def test_csv_tells_empty_text_from_null_and_quoted_nulls_from_nulls(engine, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('n,s,t\n1,"",x\n,"y, ""q""\nz",\n"3",NA,"NA"\n')
    source = csv(
        path,
        {"n": pa.int64(), "s": pa.string(), "t": pa.string()},
        null_values=("", "NA"),
    )
    rows = [(1, "", "x"), (None, 'y, "q"\nz', None), (3, None, "NA")]
    assert_same_rows(run(engine, Scan(source=source)), rows)


def test_csv_columns_and_predicate(engine, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b,c\n1,x,1.5\n2,y,2.5\n")
    source = csv(path, {"a": pa.int64(), "b": pa.string(), "c": pa.float64()})
    big = Call("greater", (Column("c"), Literal(2.0, pa.float64())))
    assert_same_rows(run(engine, Scan(source=source, columns=("b",), predicate=big)), [("y",)])


def test_csv_without_header_and_with_another_delimiter(engine, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"1;'x;y'\r\n2;'it''s'\r\n")
    types = {"column_0": pa.int32(), "column_1": pa.string()}
    source = csv(path, types, delimiter=";", quote="'", header=False)
    assert_same_rows(run(engine, Scan(source=source)), [(1, "x;y"), (2, "it's")])


def test_csv_types(engine, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("d,b,f,t\n12.50,true,1e3,2024-02-29\n-0.01,false,-0.5,1999-12-31\n")
    types = {"d": pa.decimal128(10, 2), "b": pa.bool_(), "f": pa.float64(), "t": pa.date32()}
    result = run(engine, Scan(source=csv(path, types)))
    assert result.schema.types == list(types.values())
    assert result["d"].to_pylist() == [Decimal("12.50"), Decimal("-0.01")]
    assert result["b"].to_pylist() == [True, False]
    assert result["f"].to_pylist() == [1000.0, -0.5]
    assert [str(day) for day in result["t"].to_pylist()] == ["2024-02-29", "1999-12-31"]


def test_csv_of_one_column_has_a_null_for_an_empty_line(engine, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a\n1\n\n""\n2\n')
    source = csv(path, {"a": pa.string()})
    assert_same_rows(run(engine, Scan(source=source)), [("1",), (None,), ("",), ("2",)])


@pytest.mark.parametrize("row", ["1,2", "1,2,3,4"])
def test_csv_rows_of_another_width_name_file_and_row(engine, row, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text(f"a,b,c\n1,2,3\n{row}\n")
    source = csv(path, dict.fromkeys("abc", pa.string()))
    with pytest.raises(SourceError, match=r"bad\.csv.*3"):
        run(engine, Scan(source=source))


def test_csv_value_of_another_type_names_file_row_and_column(engine, tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("a,b\n1,2\n3,four\n")
    source = csv(path, {"a": pa.int64(), "b": pa.int64()})
    with pytest.raises(SourceError, match=r"bad\.csv, row 2: column 'b' holds 'four'"):
        run(engine, Scan(source=source))


# --- JSON lines and Arrow IPC -----------------------------------------------------------------


def test_json_lines(engine, tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a":1,"b":"x","z":9}\n\n{"b":null}\n{"a":3,"b":"é","c":[1,null]}\n')
    schema = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.list_(pa.int64()))])
    source = JsonLinesSource(schema=schema, paths=(str(path),))
    rows = [(1, "x", None), (None, None, None), (3, "é", [1, None])]
    assert_same_rows(run(engine, Scan(source=source)), rows)


def test_malformed_json_names_the_file(engine, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text('{"a":1}\n{"a":\n')
    source = JsonLinesSource(schema=pa.schema([("a", pa.int64())]), paths=(str(path),))
    with pytest.raises(SourceError, match=r"bad\.json"):
        run(engine, Scan(source=source))


def test_ipc_with_columns_in_another_order(engine, tmp_path):
    data = pa.table({"a": [1, 2], "s": pa.array(["x", None]).dictionary_encode()})
    with (
        pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file,
        pa.ipc.new_file(file, data.schema) as w,
    ):
        w.write_table(data)
    schema = pa.schema([("a", pa.int64()), ("s", pa.string())])
    source = IpcSource(schema=schema, paths=(str(tmp_path / "a.arrow"),))
    assert_same_rows(run(engine, Scan(source=source, columns=("s", "a"))), [("x", 1), (None, 2)])


# --- Parquet ----------------------------------------------------------------------------------

PARQUET = {
    "i": pa.array([1, None], pa.uint16()),
    "d": pa.array([Decimal("1.25"), None], pa.decimal128(20, 2)),
    "ms": pa.array([1, None], pa.timestamp("ms")),
    "s": pa.array([1, None], pa.timestamp("s")),
    "zone": pa.array([1, None], pa.timestamp("us", "Europe/Paris")),
    "t": pa.array([1, None], pa.time64("us")),
    "gap": pa.array([1, None], pa.duration("us")),
    "view": pa.array(["x", None], pa.string_view()),
    "fixed": pa.array([b"ab", None], pa.binary(2)),
    "word": pa.array(["x", None]).dictionary_encode(),
    "list": pa.array([[1, None], None], pa.list_(pa.int32())),
    "struct": pa.array([{"x": 1}, None], pa.struct([("x", pa.int8())])),
}


@pytest.mark.parametrize("column", PARQUET)
def test_parquet_types(engine, column, tmp_path):
    data = pa.table({column: PARQUET[column]})
    parquet.write_table(data, tmp_path / "a.parquet")
    source = parquet_source([str(tmp_path / "a.parquet")])
    result = run(engine, Scan(source=source))
    assert result.schema.types == source.schema.types
    assert_same_rows(result, data.cast(source.schema), context=column)


def hive(folder: Path) -> ParquetSource:
    for year, values in {"2023": [1, 2], "2024": [3], "__HIVE_DEFAULT_PARTITION__": [4]}.items():
        (folder / f"year={year}" / "who=a%20b").mkdir(parents=True)
        path = folder / f"year={year}" / "who=a%20b" / "part.parquet"
        parquet.write_table(pa.table({"v": values}), path)
    schema = pa.schema([("v", pa.int64()), ("year", pa.int32()), ("who", pa.string())])
    return ParquetSource(schema=schema, paths=(str(folder),), partitions=("year", "who"))


def test_hive_partitions_are_typed_columns(engine, tmp_path):
    rows = [(1, 2023, "a b"), (2, 2023, "a b"), (3, 2024, "a b"), (4, None, "a b")]
    result = run(engine, Scan(source=hive(tmp_path)))
    assert result.schema.types == [pa.int64(), pa.int32(), pa.string()]
    assert_same_rows(result, rows)


def test_hive_partitions_in_predicates_and_projections(engine, tmp_path):
    late = Call("greater", (Column("year"), Literal(2023, pa.int32())))
    scan = Scan(source=hive(tmp_path), columns=("v",), predicate=late)
    assert_same_rows(run(engine, scan), [(3,)])


def test_parquet_files_whose_columns_stand_in_another_order(engine, tmp_path):
    parquet.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    parquet.write_table(pa.table({"b": ["y"], "a": [2]}), tmp_path / "2.parquet")
    schema = pa.schema([("a", pa.int64()), ("b", pa.string())])
    source = ParquetSource(schema=schema, paths=(str(tmp_path),))
    assert_same_rows(run(engine, Scan(source=source)), [(1, "x"), (2, "y")])


# --- durations, which no engine reads by itself -----------------------------------------------


@pytest.mark.parametrize("form", ["csv", "json"])
def test_durations_in_text_files(engine, form, tmp_path):
    gap = pa.duration("ms")
    schema = pa.schema([("n", pa.int64()), ("d", gap)])
    path = tmp_path / f"a.{form}"
    if form == "csv":
        path.write_text("n,d\n1,PT1.5S\n2,-P1DT2H\n3,\n")
        source = CsvSource(schema=schema, paths=(str(path),))
    else:
        path.write_text('{"n": 1, "d": "PT1.5S"}\n{"n": 2, "d": "-P1DT2H"}\n{"n": 3}\n')
        source = JsonLinesSource(schema=schema, paths=(str(path),))
    wanted = pa.table({"n": [1, 2, 3], "d": pa.array([1500, -(26 * 3600 * 1000), None], gap)})
    assert_same_rows(run(engine, Scan(source=source)), wanted)
    later = Call("greater", (Column("n"), Literal(1, pa.int64())))
    assert_same_rows(
        run(engine, Scan(source=source, columns=("d",), predicate=later)),
        wanted.slice(1).select(["d"]),
    )
