"""Writing: what is written reads back the same, and files appear whole or not at all."""

from __future__ import annotations

import datetime
import math
import os
import stat
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tests.plan.random_plans import PRIMITIVES, names, same_bits, types, values_of
from umbel.catalog.infer import csv_source, ipc_source, json_source, parquet_source, text_source
from umbel.catalog.readers import read
from umbel.catalog.writers import WriteReport, check_sink, write
from umbel.plan.errors import CancelledError, RunError
from umbel.plan.operators import Element
from umbel.plan.sinks import CsvSink, FileSink, IpcSink, JsonLinesSink, ParquetSink, TextSink
from umbel.plan.sources import FileSource

RELAXED = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60)
TABLE = pa.table({"a": [1, None, 3], "b": ["x", "", None]})


def back(source: FileSource) -> pa.Table:
    return pa.Table.from_batches(read(source), source.schema)


def same(left: pa.Table, right: pa.Table) -> bool:
    return left.schema.types == right.schema.types and same_bits(
        left.to_pydict(), right.to_pydict()
    )


def put(sink: FileSink, table: pa.Table, element: Element = Element.ROW) -> WriteReport:
    return write(sink, table, table.schema, element, lambda: None)


@st.composite
def tables(draw: Any, dtypes: st.SearchStrategy[pa.DataType]) -> pa.Table:
    """Small tables of columns of some types."""
    rows = draw(st.integers(0, 5))
    wanted = draw(
        st.lists(st.tuples(names, dtypes), min_size=1, max_size=4, unique_by=lambda c: c[0])
    )
    return pa.table(
        {
            name: pa.array([draw(values_of(dtype)) for _ in range(rows)], dtype)
            for name, dtype in wanted
        }
    )


@RELAXED
@given(tables(st.sampled_from(PRIMITIVES)), st.sampled_from(["", ".gz", ".zst", ".bz2"]))
def test_csv_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, table: pa.Table, suffix: str
) -> None:
    path = str(tmp_path_factory.mktemp("csv") / f"a.csv{suffix}")
    if any(isinstance(v, bytes) and not _is_utf8(v) for c in table.columns for v in c.to_pylist()):
        with pytest.raises(RunError, match="which CSV cannot"):
            put(CsvSink(path), table)
        assert not Path(path).exists()
        return
    assert put(CsvSink(path), table) == WriteReport(path, table.num_rows)
    assert same(back(csv_source(path, schema=table.schema)), table)


@RELAXED
@given(tables(types))
def test_json_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, table: pa.Table
) -> None:
    path = str(tmp_path_factory.mktemp("json") / "a.json")
    unwritable = any(map(_has_no_json, table.to_pydict().values()))
    if unwritable:
        with pytest.raises(RunError, match="which JSON cannot"):
            put(JsonLinesSink(path), table)
        assert not Path(path).exists()
        return
    put(JsonLinesSink(path), table)
    assert same(back(json_source(path, schema=table.schema)), table)


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


#: Ticks that hostile moments and durations have, in any unit.
TICKS = [0, 1, -1, 999, -1001, 86_400_000_000_123, -(2**62) - 7, 2**63 - 1, None]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_durations_of_every_unit_read_back_the_same(tmp_path: Path, unit: str) -> None:
    table = pa.table({"d": pa.array(TICKS, pa.duration(unit))})
    put(CsvSink(str(tmp_path / "a.csv")), table)
    put(JsonLinesSink(str(tmp_path / "a.json")), table)
    put(IpcSink(str(tmp_path / "a.arrow")), table)
    put(ParquetSink(str(tmp_path / "a.parquet")), table)
    for source in (
        csv_source(str(tmp_path / "a.csv"), schema=table.schema),
        json_source(str(tmp_path / "a.json"), schema=table.schema),
        ipc_source(str(tmp_path / "a.arrow")),
        parquet_source(str(tmp_path / "a.parquet")),
    ):
        assert back(source).equals(table), source.kind


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Paris"])
def test_nanoseconds_read_back_the_same_or_are_refused(tmp_path: Path, zone: str | None) -> None:
    whole = pa.table(
        {"t": pa.array([0, -1_000, 1_700_000_000_000_001_000], pa.timestamp("ns", zone))}
    )
    finer = pa.table({"t": pa.array([1, -1, 1_700_000_000_123_456_789], pa.timestamp("ns", zone))})
    put(CsvSink(str(tmp_path / "a.csv")), whole)
    assert back(csv_source(str(tmp_path / "a.csv"), schema=whole.schema)).equals(whole)
    with pytest.raises(RunError, match=r"row 1: column 't' holds .*, which CSV cannot"):
        put(CsvSink(str(tmp_path / "b.csv")), finer)
    for table in (whole, finer):
        put(JsonLinesSink(str(tmp_path / "a.json")), table)
        assert back(json_source(str(tmp_path / "a.json"), schema=table.schema)).equals(table)


def test_durations_are_recognised_without_a_schema(tmp_path: Path) -> None:
    table = pa.table({"d": pa.array([90_500_000, -1, None], pa.duration("us"))})
    put(CsvSink(str(tmp_path / "a.csv")), table)
    assert (tmp_path / "a.csv").read_text() == "d\nPT90.5S\n-PT0.000001S\n\n"
    put(JsonLinesSink(str(tmp_path / "a.json")), table)
    assert back(csv_source(str(tmp_path / "a.csv"))).equals(table)
    assert back(json_source(str(tmp_path / "a.json"))).equals(table)


def test_columns_of_nulls_read_back_the_same(tmp_path: Path) -> None:
    table = pa.table({"z": pa.nulls(2), "i": [1, 2]})
    put(CsvSink(str(tmp_path / "a.csv")), table)
    put(JsonLinesSink(str(tmp_path / "a.json")), table)
    assert back(csv_source(str(tmp_path / "a.csv"), schema=table.schema)).equals(table)
    assert back(json_source(str(tmp_path / "a.json"), schema=table.schema)).equals(table)


@pytest.mark.parametrize("dtype", [pa.list_(pa.int8()), pa.struct([("x", pa.int8())])])
def test_csv_refuses_nested_columns(tmp_path: Path, dtype: pa.DataType) -> None:
    with pytest.raises(RunError, match=r"column 'n' is .*, for which CSV has no form") as caught:
        put(CsvSink(str(tmp_path / "a.csv")), pa.table({"n": pa.nulls(0, dtype)}))
    assert "write JSON or Parquet" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def _has_no_json(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(map(_has_no_json, items))


@RELAXED
@given(tables(types), st.sampled_from(["zstd", "snappy", "none"]))
def test_parquet_and_ipc_read_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, table: pa.Table, compression: Any
) -> None:
    folder = tmp_path_factory.mktemp("binary")
    put(IpcSink(str(folder / "a.arrow")), table)
    assert same(back(ipc_source(str(folder / "a.arrow"))), table)
    if any(map(_no_parquet, table.schema.types)):
        return
    put(ParquetSink(str(folder / "a.parquet"), compression=compression), table)
    assert same(back(parquet_source(str(folder / "a.parquet"))), table)


def _no_parquet(dtype: pa.DataType) -> bool:
    """Parquet has no struct without fields, and no seconds."""
    nested = [dtype.field(i).type for i in range(dtype.num_fields)]
    seconds = pa.types.is_timestamp(dtype) and dtype.unit == "s"
    return (pa.types.is_struct(dtype) and not nested) or seconds or any(map(_no_parquet, nested))


def test_the_form_of_values_in_csv(tmp_path: Path) -> None:
    table = pa.table(
        {
            "f": [1.0, 1e20, float("nan"), -0.0, None],
            "g": pa.array([0.1, 1.0, None, None, None], pa.float32()),
            "d": pa.array(
                [Decimal("1.50"), Decimal("-0.01"), None, None, None], pa.decimal128(5, 2)
            ),
            "t": pa.array(
                [
                    datetime.datetime(2024, 5, 1, 10),
                    datetime.datetime(2024, 5, 1, 10, 0, 0, 5),
                    None,
                    None,
                    None,
                ]
            ),
            "b": [True, False, None, None, None],
            "s": ["", 'say "hi"', "a,b", "two\nlines", None],
        }
    )
    put(CsvSink(str(tmp_path / "a.csv")), table)
    assert (tmp_path / "a.csv").read_text() == (
        "f,g,d,t,b,s\n"
        '1.0,0.10000000149011612,1.50,2024-05-01T10:00:00,true,""\n'
        '1e+20,1.0,-0.01,2024-05-01T10:00:00.000005,false,"say ""hi"""\n'
        'nan,,,,,"a,b"\n'
        '-0.0,,,,,"two\nlines"\n'
        ",,,,,\n"
    )


def test_the_form_of_values_in_json(tmp_path: Path) -> None:
    table = pa.table({
        "n": [2**60], "d": pa.array([Decimal("1.50")], pa.decimal128(5, 2)), "s": ["ä\u2028\"\n"],
        "l": [[{"x": 1.0}]], "t": [datetime.date(2024, 5, 1)], "z": pa.nulls(1),
    })  # fmt: skip
    put(JsonLinesSink(str(tmp_path / "a.json")), table)
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == (
        '{"n": 1152921504606846976, "d": 1.50, "s": "ä\u2028\\"\\n", '
        '"l": [{"x": 1.0}], "t": "2024-05-01", "z": null}\n'
    )


def test_nan_has_no_json_and_says_where(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="row 2: column 'x' holds nan, which JSON cannot"):
        put(JsonLinesSink(str(tmp_path / "a.json")), pa.table({"x": [1.0, float("nan")]}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "element", "lines"),
    [
        ([1, "a", ("b", 2.0), None], Element.OBJECT, ["1", "a", "('b', 2.0)", "None"]),
        (["x", "y"], Element.VALUE, ["x", "y"]),
        (pa.table({"value": ["x", "é"]}), Element.VALUE, ["x", "é"]),
        (pa.table({"item_0": ["a"], "item_1": [1]}), Element.TUPLE, ["('a', 1)"]),
        (
            pa.table({"item_0": ["a"], "item_1": [{"item_0": 1, "item_1": [2.0]}]}),
            Element.TUPLE,
            ["('a', (1, [2.0]))"],
        ),
        (pa.table({"a": [1], "b": ["x"]}), Element.RECORD, ["Row(a=1, b='x')"]),
        ([], Element.OBJECT, []),
    ],
)
def test_text_takes_any_element(
    tmp_path: Path, data: Any, element: Element, lines: list[str]
) -> None:
    schema = data.schema if isinstance(data, pa.Table) else pa.schema([("value", pa.string())])
    path = tmp_path / "a.txt.zst"
    assert write(TextSink(str(path)), data, schema, element).rows == len(lines)
    if lines:
        assert back(text_source(str(path))).column(0).to_pylist() == lines


@pytest.mark.parametrize("form", ["table", "reader", "batches", "rows", "tuples"])
def test_data_comes_in_any_form(tmp_path: Path, form: str) -> None:
    data: Any = {
        "table": TABLE,
        "reader": TABLE.to_reader(max_chunksize=1),
        "batches": iter(TABLE.to_batches(max_chunksize=2)),
        "rows": list(zip(*TABLE.to_pydict().values(), strict=True)),
        "tuples": iter(zip(*TABLE.to_pydict().values(), strict=True)),
    }[form]
    path = str(tmp_path / "a.parquet")
    assert write(ParquetSink(path), data, TABLE.schema, Element.ROW).rows == 3
    assert back(parquet_source(path)).equals(TABLE)


def test_tuples_inside_of_elements_become_structs(tmp_path: Path) -> None:
    pair = pa.struct([("item_0", pa.int64()), ("item_1", pa.string())])
    schema = pa.schema([("item_0", pa.string()), ("item_1", pair)])
    path = str(tmp_path / "a.arrow")
    write(IpcSink(path), [("k", (1, "x")), ("n", None)], schema, Element.TUPLE)
    expected = [
        {"item_0": "k", "item_1": {"item_0": 1, "item_1": "x"}},
        {"item_0": "n", "item_1": None},
    ]
    assert back(ipc_source(path)).to_pylist() == expected


def test_many_rows_make_row_groups_of_use(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = pa.table({"a": pa.array(range(300_000))})
    put(ParquetSink(str(tmp_path / "a")), table)
    assert pq.read_metadata(tmp_path / "a").num_row_groups == math.ceil(300_000 / 2**17)


# --- whole or not at all ----------------------------------------------------------------------

SINKS = [TextSink, CsvSink, JsonLinesSink, ParquetSink, IpcSink]


def failing(error: BaseException) -> Iterator[pa.RecordBatch]:
    yield from TABLE.to_batches()
    raise error


@pytest.mark.parametrize("kind", SINKS)
@pytest.mark.parametrize(
    "error", [ValueError("broken"), KeyboardInterrupt()], ids=["error", "interrupt"]
)
def test_a_failure_leaves_what_was_there(
    tmp_path: Path, kind: type[FileSink], error: BaseException
) -> None:
    path = tmp_path / "a.gz"
    path.write_text("before")
    with pytest.raises(type(error)):
        write(kind(str(path)), failing(error), TABLE.schema, Element.ROW)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gz"]
    assert path.read_text() == "before"


@pytest.mark.parametrize("kind", SINKS)
def test_cancelling_leaves_nothing(tmp_path: Path, kind: type[FileSink]) -> None:
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        write(kind(str(tmp_path / "new" / "deep" / "a")), TABLE, TABLE.schema, Element.ROW, check)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_at_the_path_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"

    def watching() -> Iterator[pa.RecordBatch]:
        for batch in TABLE.to_batches(max_chunksize=1):
            assert not path.exists()
            yield batch

    write(CsvSink(str(path)), watching(), TABLE.schema, Element.ROW)
    assert path.exists()


def test_parquet_has_dictionaries_of_values_that_come_again(tmp_path: Path) -> None:
    rows = range(10_000)
    table = pa.table(
        {
            "key": pa.array(rows, pa.int64()),
            "group": [f"g{i % 7}" for i in rows],
            "pairs": [[{"x": i % 3}] for i in rows],
            "nothing": pa.nulls(len(rows)),
        }
    )
    path = tmp_path / "a.parquet"
    put(ParquetSink(str(path)), table)
    group = parquet.read_metadata(path).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    packed = {c.path_in_schema for c in columns if "RLE_DICTIONARY" in c.encodings}
    assert packed == {"group", "pairs.list.element.x", "nothing"}
    assert parquet.read_table(path).equals(table)


def test_exists_fail(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    put(CsvSink(str(path), "fail"), TABLE)
    before = path.read_bytes()
    with pytest.raises(RunError, match=r"a\.csv: the file is there already"):
        put(CsvSink(str(path), "fail"), TABLE.slice(0, 1))
    assert path.read_bytes() == before


def test_exists_fail_holds_for_files_that_come_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"

    def racing() -> Iterator[pa.RecordBatch]:
        path.write_text("theirs")
        yield from TABLE.to_batches()

    with pytest.raises(RunError, match="there already"):
        write(CsvSink(str(path), "fail"), racing(), TABLE.schema, Element.ROW)
    assert path.read_text() == "theirs"
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]


def test_modes_and_links_are_kept(tmp_path: Path) -> None:
    real = tmp_path / "real.csv"
    real.write_text("old")
    real.chmod(0o640)
    link = tmp_path / "link.csv"
    link.symlink_to(real)
    put(CsvSink(str(link)), TABLE)
    assert link.is_symlink()
    assert real.read_text().startswith("a,b\n")
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_new_files_have_the_mode_that_new_files_have(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    put(CsvSink(str(tmp_path / "a.csv")), TABLE)
    assert (tmp_path / "a.csv").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_places_where_no_file_can_go(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a folder is there"):
        put(CsvSink(str(tmp_path)), TABLE)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file is no folder"):
        check_sink(CsvSink(str(tmp_path / "file" / "a.csv")))


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    def full() -> Iterator[pa.RecordBatch]:
        yield from TABLE.to_batches()
        raise OSError(28, os.strerror(28))

    with pytest.raises(RunError, match=r"a\.csv: cannot be written: No space left on device"):
        write(CsvSink(str(tmp_path / "a.csv")), full(), TABLE.schema, Element.ROW)
    assert list(tmp_path.iterdir()) == []
