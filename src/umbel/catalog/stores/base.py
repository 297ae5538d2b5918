"""What every store offers, and the parts that stores share: names that match, folders with values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from umbel.dataclass import dataclass
from umbel.plan.errors import SourceError

#: How folders spell a null, by the convention of Hive.
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

#: What makes a path a pattern.
PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class FileEntry:
    """A file of a source.

    Attributes:
        path: where it is: a path of this machine, or a URL.
        size: its bytes as they are stored.
        partitions: values of the columns that its folders name, in the folders' order. Texts (None
            for null) when found from paths; values of the columns' types when found from a source.
        modified: nanoseconds of its last change; tells whether what is known of it is still true.
        rows: how many it holds, where a table's log says so; None otherwise.
        bounds: lowest value, highest value and number of nulls of columns, where a table's log
            says so; a bound that is not known is None.
        deletes: how many of them are deleted at most.
        task: how another library reads the file, if only that one can.
    """

    path: str
    size: int
    partitions: Mapping[str, Any] = field(default_factory=dict)
    modified: int = 0
    rows: int | None = None
    bounds: Mapping[str, tuple[Any, Any, int | None]] = field(default_factory=dict)
    deletes: int = 0
    task: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Child:
    """What lies directly in a folder.

    Attributes:
        name: its name there.
        is_folder: whether it is a folder itself.
    """

    name: str
    is_folder: bool


class FileStore(Protocol):
    """A place that holds files."""

    def find(self, path: str) -> Iterator[FileEntry]:
        """Find the files of a path, a folder or a pattern, in the order of their names.

        Raises:
            SourceError: there is none, or it cannot be reached; says what there is.
        """

    def children(self, path: str) -> list[Child]:
        """List what lies directly in a folder, in the order of names; hidden names too.

        Raises:
            SourceError: there is no such folder, or it cannot be reached.
        """

    def open(self, path: str) -> Any:
        """Open a file as a `pyarrow.NativeFile` that can be read at any position.

        Raises:
            SourceError: it is not there, or cannot be reached.
        """

    def explain(self, path: str, error: BaseException) -> SourceError | None:
        """Say what an error of reading means, if the store and not the file is its cause."""

    def check_target(self, path: str, exists: str) -> None:
        """Raise `RunError` if a file cannot be written there; cheap, for before a run."""

    def put(self, staged: Path, path: str, exists: str, check: Callable[[], None]) -> None:
        """Store a finished file of this machine under a path: whole, or not at all.

        Raises:
            RunError: it cannot be stored.
        """

    def filesystem(self) -> Any:
        """Give the `pyarrow.fs.FileSystem` of the store; a path in it has no scheme."""

    def engine_options(self) -> Mapping[str, str] | None:
        """Give what an engine with a reader of its own needs to reach the store.

        The names are those of the `object_store` library; values may be secrets, so they are
        handed over and kept nowhere. None: only umbel can read from the store.
        """


def partition_values(below: str) -> dict[str, str | None]:
    """Read the values that folders `name=value` give.

    >>> partition_values("year=2024/part=a%2Fb/x.csv")
    {'year': '2024', 'part': 'a/b'}
    """
    values: dict[str, str | None] = {}
    for part in below.split("/")[:-1]:
        name, equals, value = part.partition("=")
        if equals and name:
            text = unquote(value)
            values[unquote(name)] = None if text == NULL_PARTITION else text
    return values


def fixed_part(pattern: str) -> str:
    """Give the folder before a pattern's first wildcard, with its slash.

    >>> fixed_part("lake/2024/*/a.csv")
    'lake/2024/'
    """
    fixed = 0
    for part in pattern.split("/"):
        if not PATTERN.isdisjoint(part):
            break
        fixed += len(part) + 1
    return pattern[:fixed]


def pattern_of(text: str) -> re.Pattern[str]:
    r"""Translate a glob pattern: `*` and `?` stop at slashes, `**` stands for any folders.

    >>> bool(pattern_of("a/**/*.csv").fullmatch("a/b/c/x.csv"))
    True
    >>> bool(pattern_of("a/*.csv").fullmatch("a/b/x.csv"))
    False
    """
    made: list[str] = []
    parts = text.split("/")
    for place, part in enumerate(parts):
        last = place == len(parts) - 1
        if part == "**":
            made.append(r"(?:[^/.][^/]*/)*" if not last else r"(?:[^/.][^/]*/)*[^/.][^/]*")
            continue
        made.append(_part_pattern(part) + ("" if last else "/"))
    return re.compile("".join(made), re.DOTALL)


def _part_pattern(part: str) -> str:
    made = "" if part.startswith(".") or PATTERN.isdisjoint(part) else r"(?!\.)"
    place = 0
    while place < len(part):
        sign = part[place]
        place += 1
        closing = part.find("]", place + 1 + (part[place : place + 1] == "!"))
        if sign == "*":
            made += "[^/]*"
        elif sign == "?":
            made += "[^/]"
        elif sign == "[" and closing > 0:
            inside = part[place:closing]
            negated = "^" if inside.startswith("!") else ""
            inside = inside.removeprefix("!").replace("\\", r"\\").replace("^", r"\^")
            inside = inside.replace("[", r"\[").replace("]", r"\]")
            made += f"[{negated}{inside}]"
            place = closing + 1
        else:
            made += re.escape(sign)
    return made


def is_hidden(below: str) -> bool:
    """Whether a file is one that a folder does not stand for.

    >>> is_hidden("_delta_log/0.json"), is_hidden("a/b.csv")
    (True, False)
    """
    return any(part.startswith((".", "_")) for part in below.split("/"))


def listing(folder: str, names: list[str]) -> str:
    """Say what a folder holds.

    >>> listing("s3://lake", ["a.csv", "b.csv"])
    'folder s3://lake holds: a.csv, b.csv'
    """
    if not names:
        return f"folder {folder} is empty"
    more = f", … ({len(names)} in all)" if len(names) > 10 else ""
    return f"folder {folder} holds: {', '.join(names[:10])}{more}"


__all__ = [
    "NULL_PARTITION",
    "PATTERN",
    "Child",
    "FileEntry",
    "FileStore",
    "fixed_part",
    "is_hidden",
    "listing",
    "partition_values",
    "pattern_of",
]
