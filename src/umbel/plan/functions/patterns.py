"""Rows of the catalogue: SQL's LIKE, and regular expressions. All patterns are constants.

`regex` says what a regular expression may hold and means; it is the same on every engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa

from umbel.plan.errors import PlanError
from umbel.plan.functions.regex import parse_regex, parse_replacement
from umbel.plan.functions.row import Function, Kind, Nulls
from umbel.plan.functions.signatures import checked, signature
from umbel.plan.types import BOOL, INT64, STRING

#: Parts of a LIKE pattern that are no text: any one character, any characters.
ONE, ANY = 1, 2


@lru_cache(maxsize=1024)
def parse_like(pattern: str, escape: str | None = None) -> tuple[str | int, ...]:
    """Split a LIKE pattern into texts, `ONE` and `ANY`.

    Raises:
        PlanError: the escape is not one character, or escapes nothing special.

    >>> parse_like("a!%%_", "!")
    ('a%', 2, 1)
    """
    if escape is not None and len(escape) != 1:
        raise PlanError(f"the escape of LIKE must be one character, not {escape!r}")
    parts: list[str | int] = []
    characters = iter(pattern)
    for following in characters:
        character = following
        if following == escape:
            character = next(characters, "")
            if character not in ("%", "_", escape):
                raise PlanError(
                    f"LIKE pattern {pattern!r}: the escape {escape!r} must stand before "
                    f"%, _ or itself"
                )
        elif character in "%_":
            parts.append(ONE if character == "_" else ANY)
            continue
        if parts and isinstance(parts[-1], str):
            parts[-1] += character
        else:
            parts.append(character)
    return tuple(parts)


@lru_cache(maxsize=1024)
def _like_regex(pattern: str, escape: str | None, fold: bool) -> re.Pattern[str]:
    spelled = {ONE: ".", ANY: ".*"}
    return re.compile(
        "".join(
            spelled[part] if isinstance(part, int) else re.escape(part.lower() if fold else part)
            for part in parse_like(pattern, escape)
        ),
        re.DOTALL,
    )


def _like(text: str, pattern: str, escape: str | None = None) -> bool:
    return _like_regex(pattern, escape, False).fullmatch(text) is not None


def _ilike(text: str, pattern: str, escape: str | None = None) -> bool:
    return _like_regex(pattern, escape, True).fullmatch(text.lower()) is not None


def _check_like(values: Sequence[Any]) -> None:
    parse_like(*values[1:])


def _check_regex(values: Sequence[Any]) -> None:
    parse_regex(values[1])


def _check_group(values: Sequence[Any]) -> None:
    regex, group = parse_regex(values[1]), values[2] if len(values) > 2 else 0
    if not 0 <= group <= min(regex.groups, 9):
        raise PlanError(
            f"regular expression {values[1]!r} has {regex.groups} groups, so that there is no "
            f"group {group}" + (" (at most 9 count)" if group > 9 else "")
        )


def _check_repeated(values: Sequence[Any]) -> None:
    if parse_regex(values[1]).may_be_empty:
        raise PlanError(
            f"regular expression {values[1]!r} matches the empty text",
            hint="engines disagree on where empty matches lie: use + for *, or make it longer",
        )


def _check_every(values: Sequence[Any]) -> None:
    _check_repeated(values)
    _check_group(values)


def _check_replace(values: Sequence[Any]) -> None:
    parse_replacement(values[2], parse_regex(values[1]))


def _check_replace_all(values: Sequence[Any]) -> None:
    _check_repeated(values)
    _check_replace(values)


def _matches(text: str, pattern: str) -> bool:
    return parse_regex(pattern).compiled.search(text) is not None


def _extract(text: str, pattern: str, group: int = 0) -> str | None:
    match = parse_regex(pattern).compiled.search(text)
    return None if match is None else match[group] or ""


def _extract_all(text: str, pattern: str, group: int = 0) -> list[str]:
    return [match[group] or "" for match in parse_regex(pattern).compiled.finditer(text)]


def _count(text: str, pattern: str) -> int:
    return sum(1 for _ in parse_regex(pattern).compiled.finditer(text))


def _replace(text: str, pattern: str, replacement: str, count: int = 1) -> str:
    regex = parse_regex(pattern)
    parts = parse_replacement(replacement, regex)

    def expand(match: re.Match[str]) -> str:
        return "".join(part if isinstance(part, str) else match[part] or "" for part in parts)

    return regex.compiled.sub(expand, text, count=count)


def _replace_all(text: str, pattern: str, replacement: str) -> str:
    return _replace(text, pattern, replacement, 0)


def _row(
    name: str,
    families: tuple[str, ...],
    returns: pa.DataType,
    semantics: str,
    reference: Callable[..., Any],
    check: Callable[[Sequence[Any]], None],
    examples: tuple[tuple[tuple[Any, ...], Any], ...],
    *,
    least: int | None = None,
    nulls: Nulls = Nulls.STRICT,
) -> Function:
    result = signature(name, *families, returns=returns)
    constant = tuple(range(1, len(families)))
    return Function(
        name=name,
        kind=Kind.SCALAR,
        arity=(len(families) if least is None else least, len(families)),
        result=result,
        semantics=semantics,
        reference=reference,
        nulls=nulls,
        constant=constant,
        examples=examples,
        resolve=checked(name, result, check, *constant),
    )


ROWS: tuple[Function, ...] = (
    _row("like", ("string", "string", "string"), BOOL,
         "SQL's LIKE over the whole text: % is any characters (newlines too), _ is one "
         "character. There is no escape unless a third argument names one.",
         _like, _check_like,
         ((("a\nbc", "a%c"), True), (("né", "n_"), True), (("a%", "a!%", "!"), True)), least=2),
    _row("ilike", ("string", "string", "string"), BOOL,
         "As like, on the text and the texts of the pattern in lower case (see lower).",
         _ilike, _check_like, ((("ÀBC", "àb%"), True), (("abc", "B%"), False)), least=2),
    _row("regexp_matches", ("string", "string"), BOOL,
         "Whether a regular expression matches somewhere in the text.",
         _matches, _check_regex, ((("ab12", r"\d+"), True), (("é", r"^\w"), False))),
    _row("regexp_extract", ("string", "string", "integer"), STRING,
         "The first match, or a group of it (the empty text if the group took no part); null "
         "without a match.",
         _extract, _check_group,
         ((("ab12", r"\d"), "1"), (("k=v", "(.)=(.)", 2), "v"), (("b", "(a)?b", 1), ""),
          (("x", "y"), None)), least=2, nulls=Nulls.PARTIAL),
    _row("regexp_extract_all", ("string", "string", "integer"), pa.list_(STRING),
         "All matches from left to right, or a group of each (the empty text if it took no "
         "part). The pattern must not match the empty text.",
         _extract_all, _check_every,
         ((("a1b22", r"\d+"), ["1", "22"]), (("a1b2", r"([a-z])\d", 1), ["a", "b"]),
          (("x", "y"), [])), least=2),
    _row("regexp_replace", ("string", "string", "string"), STRING,
         "Replace the first match. \\1 to \\9 in the replacement stand for groups, \\0 for the "
         "match, \\\\ for a backslash.",
         _replace, _check_replace,
         ((("a1b2", r"\d", "-"), "a-b2"), (("k=v", "(.)=(.)", r"\2=\1"), "v=k"))),
    _row("regexp_replace_all", ("string", "string", "string"), STRING,
         "Replace all matches, as regexp_replace does one. The pattern must not match the "
         "empty text.",
         _replace_all, _check_replace_all, ((("a1b2", r"\d", r"<\0>"), "a<1>b<2>"),)),
    _row("regexp_count", ("string", "string"), INT64,
         "How many matches there are. The pattern must not match the empty text.",
         _count, _check_repeated, ((("banana", "an"), 2), (("x", "y"), 0))),
)  # fmt: skip
