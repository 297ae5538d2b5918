"""Paths, folders, patterns and hive partitions to files."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from umbel.catalog.files import resolve
from umbel.plan.errors import SourceError
from umbel.plan.sources import CsvSource


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def names(folder: Path, paths: list[str]) -> list[str]:
    return [str(Path(entry.path).relative_to(folder)) for entry in resolve(paths)]


def test_a_file_is_itself_with_its_size(tmp_path: Path) -> None:
    make(tmp_path, "a.csv")
    (entry,) = resolve(str(tmp_path / "a.csv"))
    assert (entry.path, entry.size, entry.partitions) == (str(tmp_path / "a.csv"), 5, {})


def test_paths_keep_their_order_and_folders_are_sorted(tmp_path: Path) -> None:
    make(tmp_path, "z.csv", "d/b.csv", "d/a.csv", "d/c/x.csv")
    found = names(tmp_path, [str(tmp_path / "z.csv"), str(tmp_path / "d")])
    assert found == ["z.csv", "d/a.csv", "d/b.csv", "d/c/x.csv"]


def test_hidden_files_of_a_folder_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "_SUCCESS", ".a.crc", "a.csv", "_temporary/b.csv", ".cache/c.csv")
    assert names(tmp_path, [str(tmp_path)]) == ["a.csv"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["a.csv", "b.csv"]),
        ("**/*.csv", ["a.csv", "b.csv", "d/c.csv", "d/e/f.csv"]),
        ("d/**", ["d/c.csv", "d/e/f.csv"]),
        ("[ab].csv", ["a.csv", "b.csv"]),
        ("?.csv", ["a.csv", "b.csv"]),
        ("*/c.csv", ["d/c.csv"]),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    make(tmp_path, "a.csv", "b.csv", "d/c.csv", "d/e/f.csv", "g.txt")
    assert names(tmp_path, [str(tmp_path / pattern)]) == expected


def test_a_path_that_exists_is_no_pattern(tmp_path: Path) -> None:
    make(tmp_path, "a[1].csv", "a1.csv")
    assert names(tmp_path, [str(tmp_path / "a[1].csv")]) == ["a[1].csv"]


def test_hive_partitions_below_a_folder(tmp_path: Path) -> None:
    make(
        tmp_path,
        "y=2023/m=1/a.csv",
        "y=2024/m=__HIVE_DEFAULT_PARTITION__/a.csv",
        "y=a%20b/m=2/b.csv",
    )
    assert [entry.partitions for entry in resolve([str(tmp_path)])] == [
        {"y": "2023", "m": "1"},
        {"y": "2024", "m": None},
        {"y": "a b", "m": "2"},
    ]


def test_folders_above_the_given_one_are_no_partitions(tmp_path: Path) -> None:
    make(tmp_path, "x=1/y=2/a.csv")
    assert resolve([str(tmp_path / "x=1")])[0].partitions == {"y": "2"}
    assert resolve([str(tmp_path / "x=1" / "y=2" / "a.csv")])[0].partitions == {}
    assert resolve([str(tmp_path / "x=1" / "*" / "*.csv")])[0].partitions == {"y": "2"}


def test_partition_values_of_a_source_have_their_columns_types(tmp_path: Path) -> None:
    make(tmp_path, "day=2024-05-01/n=07/a.csv")
    schema = pa.schema([("a", pa.string()), ("day", pa.date32()), ("n", pa.int64())])
    source = CsvSource(schema, (str(tmp_path),), ("day", "n"))
    assert resolve(source)[0].partitions == {"day": datetime.date(2024, 5, 1), "n": 7}


def test_a_partition_of_another_type_or_name_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, "n=1/a.csv", "n=x/a.csv")
    schema = pa.schema([("a", pa.string()), ("n", pa.int64())])
    with pytest.raises(SourceError, match=r"n=x/a.csv: folder n=x is no int64"):
        resolve(CsvSource(schema, (str(tmp_path),), ("n",)))
    make(tmp_path, "m/a.csv")
    with pytest.raises(SourceError, match=r"m/a.csv: the file is in no folder n="):
        resolve(CsvSource(schema, (str(tmp_path / "m"),), ("n",)))


def test_a_missing_file_names_the_closest(tmp_path: Path) -> None:
    make(tmp_path, "orders.csv", "lines.csv")
    with pytest.raises(
        SourceError, match=r"(?s)order\.csv: no such file.*did you mean orders\.csv"
    ):
        resolve(str(tmp_path / "order.csv"))
    with pytest.raises(SourceError, match=r"holds: lines\.csv, orders\.csv"):
        resolve(str(tmp_path / "zzz"))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match=f"there is no folder {tmp_path}/no. folder {tmp_path} is empty"
    ):
        resolve(str(tmp_path / "no" / "such" / "a.csv"))


def test_a_pattern_and_a_folder_without_files_are_errors(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    with pytest.raises(
        SourceError, match=r"(?s)\*\.csv: the pattern matches no file.*holds: a\.txt"
    ):
        resolve(str(tmp_path / "*.csv"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="there are no files in this folder"):
        resolve(str(tmp_path / "empty"))
    with pytest.raises(SourceError, match="its folder does not exist"):
        resolve(str(tmp_path / "none" / "*.csv"))


def test_unknown_urls_are_refused_with_a_way_out() -> None:
    with pytest.raises(SourceError, match=r"(?s)ftp://host/a: no files are read by ftp.*s3://"):
        resolve("ftp://host/a")
