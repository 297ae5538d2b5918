"""Schemas of files, found from footers and samples."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from umbel.catalog.infer import csv_source, ipc_source, json_source, parquet_source, text_source
from umbel.catalog.readers import read
from umbel.plan.errors import SourceError, TypeClashError, UnknownNameError
from umbel.plan.sources import FileSource

UTC = pa.timestamp("us", "UTC")


def table(source: FileSource) -> pa.Table:
    return pa.Table.from_batches(read(source), source.schema)


def csv(folder: Path, text: str, name: str = "a.csv") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


@pytest.mark.parametrize(
    ("texts", "dtype"),
    [
        (["true", "False"], pa.bool_()),
        (["1", "-2", "+3", "9223372036854775807"], pa.int64()),
        (["9223372036854775808"], pa.string()),
        (["1", "2.5"], pa.float64()),
        (["1e5", ".5", "nan", "-inf"], pa.float64()),
        (["007"], pa.string()),
        (["0", "-0"], pa.int64()),
        (["2024-05-01", "0001-01-01"], pa.date32()),
        (["2024-02-30"], pa.string()),
        (["2024-05-01", "2024-05-01T10:00:00"], pa.timestamp("us")),
        (["2024-05-01 10:00"], pa.timestamp("us")),
        (["2024-05-01T10:00:00Z", "2024-05-01T10:00:00.5+02:00"], UTC),
        (["2024-05-01T10:00:00Z", "2024-05-01T10:00:00"], pa.string()),
        (["1", "x"], pa.string()),
        (["1", " 2"], pa.string()),
        (["true", "1"], pa.string()),
        (["", ""], pa.string()),
        (["1", ""], pa.int64()),
        (["１"], pa.string()),
    ],
)
def test_types_of_csv_columns(tmp_path: Path, texts: list[str], dtype: pa.DataType) -> None:
    path = csv(tmp_path, "k,v\n" + "".join(f"k,{text}\n" for text in texts))
    source = csv_source(path)
    assert source.schema.field("v").type == dtype
    assert table(source).num_rows == len(texts)


def test_a_quoted_null_is_a_text(tmp_path: Path) -> None:
    source = csv_source(csv(tmp_path, 'a,b\n,""\n"x",NA\n'), null_values=("", "NA"))
    assert table(source).to_pydict() == {"a": [None, "x"], "b": ["", None]}


def test_other_delimiters_quotes_and_no_header(tmp_path: Path) -> None:
    path = csv(tmp_path, "1;'a;b'\n2;'it''s'\n")
    source = csv_source(path, delimiter=";", quote="'", header=False)
    assert table(source).to_pydict() == {"column_0": [1, 2], "column_1": ["a;b", "it's"]}
    named = csv_source(
        path, delimiter=";", quote="'", header=False,
        schema=pa.schema([("n", pa.int8()), ("t", pa.string())]),
    )  # fmt: skip
    assert table(named).to_pydict() == {"n": [1, 2], "t": ["a;b", "it's"]}


def test_line_ends_inside_quotes_and_a_byte_order_mark(tmp_path: Path) -> None:
    source = csv_source(csv(tmp_path, '\ufeffa,b\r\n"x\r\ny",1\r\n\r\nz,2'))
    assert table(source).to_pydict() == {"a": ["x\r\ny", "z"], "b": [1, 2]}


def test_a_partial_schema_is_obeyed_and_the_rest_found(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,b\n1,2\n")
    source = csv_source(path, schema=pa.schema([("b", pa.decimal128(5, 2))]))
    assert source.schema.types == [pa.int64(), pa.decimal128(5, 2)]
    with pytest.raises(UnknownNameError, match="did you mean 'b'"):
        csv_source(path, schema=pa.schema([("bb", pa.string())]))
    with pytest.raises(TypeClashError, match="column 'a' of a CSV file: there is no cast"):
        csv_source(path, schema=pa.schema([("a", pa.list_(pa.int64()))]))


def test_a_header_alone_gives_columns_of_text(tmp_path: Path) -> None:
    source = csv_source(csv(tmp_path, "a,b\n"))
    assert source.schema.types == [pa.string(), pa.string()]
    assert table(source).num_rows == 0


def test_an_empty_csv_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.csv: the file is empty"):
        csv_source(csv(tmp_path, ""))


def test_headers_that_name_no_columns_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.csv: two columns are called 'x' in the header"):
        csv_source(csv(tmp_path, "x,y,x\n1,2,3\n"))
    with pytest.raises(SourceError, match=r"a\.csv: column 2 has no name in the header"):
        csv_source(csv(tmp_path, "x,,z\n1,2,3\n"))


def test_a_row_with_other_fields_names_file_and_row(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"a\.csv, row 2 \(line 3\): 3 fields, but there are 2"):
        csv_source(csv(tmp_path, "a,b\n1,2\n3,4,5\n"))


def test_types_are_unified_over_files(tmp_path: Path) -> None:
    csv(tmp_path, "a,b,c\n1,,2024-01-01\n", "1.csv")
    csv(tmp_path, "a,b,c\n1.5,2,x\n", "2.csv")
    source = csv_source(str(tmp_path))
    assert source.schema.types == [pa.float64(), pa.int64(), pa.string()]


def test_other_headers_in_another_file_name_both(tmp_path: Path) -> None:
    one, two = csv(tmp_path, "a,b\n", "1.csv"), csv(tmp_path, "a,c\n", "2.csv")
    with pytest.raises(SourceError, match=r"2\.csv has no column 'b', which .*1\.csv has"):
        csv_source([one, two])
    csv(tmp_path, "b,a\n", "2.csv")
    with pytest.raises(SourceError, match=r"column 1 is 'a' in .*1\.csv, but 'b' in .*2\.csv"):
        csv_source([one, two])


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, pa.Codec("zstd").compress])
def test_compressed_csv(tmp_path: Path, compress: object) -> None:
    suffix = {"gzip": ".gz", "bz2": ".bz2"}.get(getattr(compress, "__module__", ""), ".zst")
    path = tmp_path / f"a.csv{suffix}"
    stream = pa.BufferOutputStream()
    with pa.CompressedOutputStream(
        stream, {".zst": "zstd", ".gz": "gzip", ".bz2": "bz2"}[suffix]
    ) as out:
        out.write(b"a\n1\n2\n")
    path.write_bytes(stream.getvalue())
    assert table(csv_source(str(path))).to_pydict() == {"a": [1, 2]}


def test_partition_columns_come_last_with_their_types(tmp_path: Path) -> None:
    csv(tmp_path, "a\n1\n", "year=2023/month=01/x.csv")
    csv(tmp_path, "a\n2\n", "year=2024/month=__HIVE_DEFAULT_PARTITION__/x.csv")
    source = csv_source(str(tmp_path))
    assert source.partitions == ("year", "month")
    assert table(source).to_pydict() == {"a": [1, 2], "year": [2023, 2024], "month": [1, None]}
    assert [f.nullable for f in source.schema] == [True, False, True]


def test_text_has_one_column_and_keeps_what_is_no_line_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\ntwo\rthree\u2028four\n\nlast\r".encode())
    source = text_source(str(path))
    assert table(source).to_pydict() == {"value": ["one", "two\rthree\u2028four", "", "last\r"]}


def test_text_with_lines_longer_than_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umbel.catalog.readers.BLOCK", 5)
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789abc\r\n\r\nde\r\n0123\r\n")
    assert table(text_source(str(path))).to_pydict() == {
        "value": ["0123456789abc", "", "de", "0123"]
    }


def test_json_types(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        '{"i": 1, "f": 1, "s": "x", "d": "2024-01-01", "t": "2024-01-01T00:00:00", "b": true, '
        '"n": null, "l": [1], "o": {"x": 1}}\n\n'
        '{"f": 2.5, "l": [1.5], "o": {"y": ["2024-01-01"]}, "e": 18446744073709551616}\n'
    )
    source = json_source(str(path))
    assert {f.name: f.type for f in source.schema} == {
        "i": pa.int64(), "f": pa.float64(), "s": pa.string(), "d": pa.date32(),
        "t": pa.timestamp("us"), "b": pa.bool_(), "n": pa.string(), "l": pa.list_(pa.float64()),
        "o": pa.struct([("x", pa.int64()), ("y", pa.list_(pa.date32()))]), "e": pa.float64(),
    }  # fmt: skip
    rows = table(source).to_pylist()
    assert [row["i"] for row in rows] == [1, None]
    assert rows[1]["o"]["x"] is None
    assert rows[0]["d"].isoformat() == rows[1]["o"]["y"][0].isoformat() == "2024-01-01"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": "x"}\n', r"a\.json, line 2: 'a' is \"x\", but int64 in the lines before"),
        ('{"a": 1}\n{"a": \n', r"a\.json, line 2: not JSON"),
        ("[1]\n", r"a\.json, line 1: \[1\] where an object is needed"),
        ('{"a": 1, "a": 2}\n', r"a\.json, line 1: .*the key 'a' stands twice"),
        ("", r"a\.json: there is no object in the file"),
    ],
)
def test_wrong_json_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        json_source(str(path))


def test_a_given_json_schema_is_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1, "m": "x"}\n{"a": 2, "m": 5}\n')
    source = json_source(
        str(path),
        schema=pa.schema([("a", pa.decimal128(5, 1)), ("z", pa.int8()), ("m", pa.string())]),
    )
    assert source.schema.names == ["a", "m", "z"] or source.schema.names == ["a", "z", "m"]
    assert source.schema.field("z").type == pa.int8()


def test_parquet_and_ipc_have_canonical_types(tmp_path: Path) -> None:
    data = pa.table(
        {"s": pa.array(["x"]).dictionary_encode(), "l": pa.array(["y"], pa.large_string())}
    )
    pq.write_table(data, tmp_path / "a.parquet")
    pyarrow.feather.write_feather(data, tmp_path / "a.arrow", compression="uncompressed")
    for source in (
        parquet_source(str(tmp_path / "a.parquet")),
        ipc_source(str(tmp_path / "a.arrow")),
    ):
        assert source.schema.types == [pa.string(), pa.string()]
        assert table(source).to_pydict() == {"s": ["x"], "l": ["y"]}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"a": [1]}, r"2\.parquet has no column 'b', which .*1\.parquet has"),
        (
            {"a": [1], "b": ["x"], "c": [1]},
            r"2\.parquet has a column 'c', which .*1\.parquet has not",
        ),
        (
            {"a": ["1"], "b": ["x"]},
            r"column 'a' is int64 in .*1\.parquet, but string in .*2\.parquet",
        ),
    ],
)
def test_parquet_files_of_other_columns_name_both(
    tmp_path: Path, other: dict[str, list[object]], message: str
) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table(other), tmp_path / "2.parquet")
    with pytest.raises(SourceError, match=message):
        parquet_source(str(tmp_path))


def test_columns_in_another_order_are_the_same_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": ["y"], "a": [2]}), tmp_path / "2.parquet")
    assert table(parquet_source(str(tmp_path))).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}


def test_nullability_is_kept(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    pq.write_table(pa.table({"a": [1]}, schema=schema), tmp_path / "1.parquet")
    assert parquet_source(str(tmp_path)).schema == schema
    pq.write_table(
        pa.table({"a": [None]}, schema=pa.schema([("a", pa.int64())])), tmp_path / "2.parquet"
    )
    assert parquet_source(str(tmp_path)).schema.field("a").nullable


def test_what_is_no_parquet_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("hello, I am text")
    with pytest.raises(SourceError, match=r"a\.parquet: not well-formed Parquet"):
        parquet_source(str(tmp_path / "a.parquet"))
    (tmp_path / "b.arrow").write_bytes(b"")
    with pytest.raises(SourceError, match=r"b\.arrow: the file is empty"):
        ipc_source(str(tmp_path / "b.arrow"))
