"""Segments from a site that is broken or means harm are refused, each with a word that says why."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Iterator

import pyarrow as pa
import pytest

from umbel.federation.errors import FederationError
from umbel.federation.wire import segments
from umbel.federation.wire.declared import declared_size
from umbel.federation.wire.messages import SegmentEntry

TABLE = pa.table(
    {
        "x": pa.array([1.5, float("nan"), None, float("inf")]),
        "s": pa.array(["one", None, "", "three"]),
        "d": pa.array(["a", "b", "a", None]).dictionary_encode(),
        "l": pa.array([[1], [], None, [2, 3]], pa.list_(pa.int32())),
    }
)


def only(table: pa.Table) -> segments.Segment:
    (segment,) = segments.seal(table)
    return segment


def entry(content: bytes, rows: int) -> SegmentEntry:
    return SegmentEntry(digest=segments.digest(content), bytes=len(content), rows=rows)


def refused(content: bytes, rows: int, schema: pa.Schema = TABLE.schema) -> str:
    with pytest.raises(FederationError) as caught:
        segments.unseal(content, entry(content, rows), schema, known=False)
    return caught.value.message


def written(table: pa.Table, compression: str | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_what_is_sealed_is_unsealed_with_nan_inf_and_nulls() -> None:
    segment = only(TABLE)
    given = segments.unseal(segment.content, segment.entry(), TABLE.schema, known=False)
    # Their text is equal also where NaN is not.
    assert str(given.to_pylist()) == str(TABLE.to_pylist())
    assert given.schema == TABLE.schema


def test_large_tables_are_cut_and_rows_that_no_segment_holds_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = pa.table({"x": pa.array(range(10_000)), "s": ["long" * 20] * 10_000})
    cut = list(segments.seal(table, size=100_000))
    assert len(cut) >= table.nbytes // 100_000
    again = [segments.unseal(s.content, s.entry(), table.schema, known=False) for s in cut]
    assert pa.concat_tables(again).equals(table)
    assert list(segments.seal(table.slice(0, 0))) == []
    monkeypatch.setattr(segments, "LARGEST_SEGMENT", 50_000)
    noise = random.Random(1).randbytes(60_000)
    with pytest.raises(FederationError, match="one row takes"):
        list(segments.seal(pa.table({"b": pa.array([b"", noise], pa.large_binary())})))


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    # With zstd 33 kB decode to a gigabyte; a smaller bomb against a smaller limit is as good.
    monkeypatch.setattr(segments, "LARGEST_DECODED", 1 << 20)
    zeros = pa.Array.from_buffers(pa.int64(), 1 << 20, [None, pa.py_buffer(bytes(8 << 20))])
    content = written(pa.table({"x": zeros}), "zstd")
    assert len(content) < 2_000
    message = refused(content, 1 << 20, pa.schema([("x", pa.int64())]))
    assert message.endswith(f"bytes would decode to {8 << 20:,}")


def patched(content: bytes, count: int, by: int) -> Iterator[bytes]:
    """The file with one of the places changed in which it says how many rows there are."""
    here = struct.pack("<q", count)
    at = content.find(here)
    while at >= 0:
        yield content[:at] + struct.pack("<q", by) + content[at + 8 :]
        at = content.find(here, at + 1)


@pytest.mark.parametrize("count", [78, 2**31, 2**40, 2**62, 2**63 - 1])
def test_a_count_that_is_not_true_is_refused(count: int) -> None:
    """The length of the batch, of its column's node: each alone, whatever the manifest says."""
    content = written(pa.table({"x": pa.array(range(77), pa.int64())}))
    tried = list(patched(content, 77, count))
    assert len(tried) >= 2
    for changed in tried:
        for rows in (77, count):
            message = refused(changed, rows, pa.schema([("x", pa.int64())]))
            assert re.search("number of rows than its manifest|is corrupt|would decode", message)


@pytest.mark.parametrize("kind", [pa.null(), pa.list_(pa.int64(), 0), pa.struct([])])
def test_rows_that_take_no_bytes_are_a_bomb_too(kind: pa.DataType) -> None:
    """A terabyte of rows in no bytes: what is computed of them would take memory all the same."""
    content = written(pa.table({"x": pa.nulls(77, kind) if kind == pa.null() else empty(kind)}))
    changed = content.replace(struct.pack("<q", 77), struct.pack("<q", 2**40))
    message = refused(changed, 2**40, pa.schema([("x", kind)]))
    assert message.endswith(f"bytes would decode to {2**40:,} rows")


def empty(kind: pa.DataType) -> pa.Array:
    return pa.array([{} if pa.types.is_struct(kind) else []] * 77, kind)


def test_nulls_of_any_number_go_in_segments_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "LARGEST_DECODED", 1000)
    assert [one.rows for one in segments.seal(pa.table({"x": pa.nulls(1005)}))] == [1000, 5]


def test_columns_within_columns_are_not_what_was_asked_for() -> None:
    """As deep as Arrow's own limit lets a file be written; it is refused by its schema alone."""
    kind: pa.DataType = pa.int64()
    for _ in range(63):
        kind = pa.list_(kind)
    content = written(pa.table({"x": pa.array([None], kind)}))
    assert "is no 'x' of type int64" in refused(content, 1, pa.schema([("x", pa.int64())]))


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_the_declared_size_is_the_size(compression: str | None) -> None:
    table = pa.table({"x": pa.array(range(1000), pa.int64()), "f": [1.0] * 1000})
    assert declared_size(memoryview(written(table, compression))).rows == 1000
    # Arrow pads buffers to eight bytes, and these need none.
    assert declared_size(memoryview(written(table, compression))).bytes == table.nbytes


def test_offsets_that_point_outside_are_refused() -> None:
    """`validate()` lets them pass, and reading the value then ends the process."""
    offsets = pa.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, 1_000_000, 3)))
    text = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"abc")])
    content = written(pa.table({"s": text}))
    assert "corrupt" in refused(content, 2, pa.schema([("s", pa.string())]))


def test_a_cut_file_is_refused() -> None:
    """A cut IPC *stream* reads to its end without error; a file has a footer."""
    content = only(TABLE).content.to_pybytes()
    for size in (0, 5, 8, len(content) // 2, len(content) - 1):
        assert "not a whole Arrow file" in refused(content[:size], 4)
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, TABLE.schema) as writer:
        writer.write_table(TABLE)
    assert "not a whole Arrow file" in refused(stream.getvalue().to_pybytes(), 4)


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (TABLE.drop_columns("l"), "3 columns came; the task gives 4"),
        (TABLE.rename_columns(["x", "s", "d", "k"]), "it is no 'l' of type list"),
        (TABLE.set_column(0, "x", pa.array([1, 2, 3, 4])), "it is no 'x' of type double"),
        (TABLE.slice(1), "another number of rows"),
    ],
)
def test_other_columns_or_rows_are_refused(table: pa.Table, word: str) -> None:
    assert word in refused(written(table), 4)


def test_no_flipped_bit_passes_unseen_or_ends_the_process() -> None:
    content = only(TABLE).content.to_pybytes()
    good = entry(content, 4)
    source = random.Random(4)
    for _ in range(300):
        flipped = bytearray(content)
        flipped[source.randrange(len(content))] ^= 1 << source.randrange(8)
        with pytest.raises(FederationError, match="digest"):
            segments.unseal(bytes(flipped), good, TABLE.schema, known=False)
        # A site that means harm gives the digest of what it sends: it is read, or refused.
        harm = entry(bytes(flipped), 4)
        try:
            given = segments.unseal(bytes(flipped), harm, TABLE.schema, known=False)
        except FederationError:
            continue
        assert given.num_rows == 4
        given.to_pylist()
