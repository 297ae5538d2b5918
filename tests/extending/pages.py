"""Reads the how-to pages: code blocks with file names, and diffs that can be applied to a tree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "how-to"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    text = (PAGES / page).read_text(encoding="utf-8")
    return [body for name, body in _BLOCK.findall(text) if name == language]


def named_files(page: str, *languages: str) -> dict[str, str]:
    """The blocks whose first line is a comment with a file's name."""
    found = {}
    for language in languages:
        for body in blocks(page, language):
            first, _, rest = body.partition("\n")
            if match := re.fullmatch(r"# (\S+\.\w+)", first):
                found[match[1]] = rest
    return found


@dataclass(frozen=True)
class Change:
    """A part of a file, and what takes its place; a new file has no old part."""

    path: str
    old: str
    new: str


def changes(diff: str) -> list[Change]:
    """Read a diff without line numbers: the lines of each part must stand in the file once."""
    head, *parts = re.split(r"^@@$\n", diff, flags=re.MULTILINE)
    match = re.fullmatch(r"--- (\S+)\n\+\+\+ (\S+)\n", head)
    assert match is not None, f"not the head of a diff: {head}"
    found = []
    for part in parts:
        old, new = [], []
        for line in part.splitlines():
            mark, text = line[:1] or " ", line[1:]
            assert mark in " +-", f"not a line of a diff: {line!r}"
            old += [text] if mark in " -" else []
            new += [text] if mark in " +" else []
        found.append(Change(match[2], "\n".join(old), "\n".join(new)))
    return found


def apply(change: Change, tree: Path) -> None:
    """Make a change in a copy of the tree."""
    path = tree / change.path
    if not change.old:
        assert not path.exists(), f"{change.path} is there already"
        path.write_text(change.new + "\n", encoding="utf-8")
        return
    text = path.read_text(encoding="utf-8")
    assert text.count(change.old) == 1, f"{change.path} does not hold once:\n{change.old}"
    path.write_text(text.replace(change.old, change.new), encoding="utf-8")
