"""Which row groups of a Parquet file a predicate can be true for, by the footer's statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from umbel.catalog.files import resolve
from umbel.catalog.stores.base import FileEntry
from umbel.plan.expressions import Call, Column, Expression, Literal
from umbel.plan.sources import FileSource, IcebergSource

#: A column, a comparison, and a constant.
Test = tuple[str, str, Any]

_MIRRORED = {
    "equal": "equal",
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}


def may_match(entry: FileEntry, predicate: Expression | None) -> bool:
    """Whether `predicate` may be true for a row of a file, by its folders and its table's log.

    >>> import pyarrow as pa
    >>> entry = FileEntry("a.parquet", 9, {"year": 2023}, bounds={"n": (5, 9, 0)})
    >>> may_match(entry, Call("equal", (Column("year"), Literal(2024, pa.int64()))))
    False
    >>> may_match(entry, Call("less", (Column("n"), Literal(5, pa.int64()))))
    False
    """
    for name, function, value in comparisons(predicate):
        if name in entry.partitions:
            known = entry.partitions[name]
            if not _possible(function, known, known, value):
                return False
        elif name in entry.bounds:
            low, high, nulls = entry.bounds[name]
            if entry.rows is not None and entry.rows == nulls:
                return False  # a comparison with null is never true
            # Floats: a NaN is greater than any number but in no statistics, so they exclude nothing.
            if low is None or high is None or isinstance(low, float):
                continue
            if not _possible(function, low, high, value):
                return False
    return True


def scan_files(source: FileSource, predicate: Expression | None = None) -> list[FileEntry]:
    """Find the files of a source, but for those in which `predicate` can be true of no row.

    Raises:
        SourceError: see `umbel.catalog.files.resolve`.
    """
    if isinstance(source, IcebergSource):
        from umbel.catalog.iceberg import iceberg_files

        files = iceberg_files(source, predicate)
    else:
        files = resolve(source)
    return [entry for entry in files if may_match(entry, predicate)]


def row_groups(
    metadata: Any, predicate: Expression | None, partitions: Mapping[str, Any]
) -> list[int]:
    """List the row groups for which `predicate` may be true.

    Only conjunctions of comparisons of a column with a constant are looked at; whatever else
    stands in a predicate may be true anywhere.

    Args:
        metadata: a `pyarrow.parquet.FileMetaData`.
        predicate: what rows must fulfil; None for all.
        partitions: values of the columns that the file's folders name.
    """
    everything = list(range(metadata.num_row_groups))
    tests = list(comparisons(predicate))
    if any(
        not _possible(function, partitions[name], partitions[name], value)
        for name, function, value in tests
        if name in partitions
    ):
        return []
    tests = [test for test in tests if test[0] not in partitions]
    if not tests:
        return everything
    positions = {
        metadata.schema.column(i).path: i
        for i in range(metadata.num_columns)
        if "." not in metadata.schema.column(i).path
    }
    return [
        index
        for index in everything
        if all(_group_possible(metadata.row_group(index), positions, test) for test in tests)
    ]


def comparisons(predicate: Expression | None) -> Iterable[Test]:
    """Yield (column, comparison, constant) for each that must hold where the predicate is true.

    >>> import pyarrow as pa
    >>> more = Call("less", (Literal(3, pa.int64()), Column("a")))
    >>> list(comparisons(more))
    [('a', 'greater', 3)]
    """
    match predicate:
        case Call("and", parts):
            for part in parts:
                yield from comparisons(part)
        case Call(name, (Column(column), Literal(value=value))) if name in _MIRRORED:
            yield column, name, value
        case Call(name, (Literal(value=value), Column(column))) if name in _MIRRORED:
            yield column, _MIRRORED[name], value


def _group_possible(group: Any, positions: Mapping[str, int], test: tuple[str, str, Any]) -> bool:
    name, function, value = test
    if name not in positions:
        return True
    known = group.column(positions[name]).statistics
    # Floats: a NaN is greater than any number but in no statistics, so they exclude nothing.
    if known is None or not known.has_min_max or isinstance(known.min, float):
        return True
    return _possible(function, known.min, known.max, value)


def _possible(function: str, low: Any, high: Any, value: Any) -> bool:
    if low is None or value is None:  # a comparison with null is never true
        return False
    if value != value:  # NaN is greater than any number, for the plan but not for Python
        return True
    try:
        match function:
            case "equal":
                return bool(low <= value <= high)
            case "less":
                return bool(low < value)
            case "less_equal":
                return bool(low <= value)
            case "greater":
                return bool(high > value)
        return bool(high >= value)
    except TypeError:  # of types that Python does not compare, such as a date with a timestamp
        return True


__all__: Sequence[str] = ["Test", "comparisons", "may_match", "row_groups", "scan_files"]
