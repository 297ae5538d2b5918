r"""Regular expressions that mean the same to every engine.

A pattern is written in Python's syntax, without what only backtracking engines can do. It is
parsed by Python's own parser and written out again in a form that Python, RE2 and Rust read
alike: classes such as `\d` are ASCII, `$` is the very end, `.` is any character but a newline,
`(?i)` folds ASCII letters. Patterns are constants, so all this happens when the plan is built.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError

#: RE2 takes no more repetitions.
_MAX_REPEAT = 1000

_CATEGORIES = {
    sre.CATEGORY_DIGIT: "0-9",
    sre.CATEGORY_WORD: "0-9A-Za-z_",
    sre.CATEGORY_SPACE: "\\x09-\\x0d\\x20",
}
_NEGATED = {
    sre.CATEGORY_NOT_DIGIT: sre.CATEGORY_DIGIT,
    sre.CATEGORY_NOT_WORD: sre.CATEGORY_WORD,
    sre.CATEGORY_NOT_SPACE: sre.CATEGORY_SPACE,
}


@dataclass(frozen=True)
class Regex:
    """A checked pattern in the spelling of each engine.

    Attributes:
        source: as the user wrote it.
        python, rust, re2: the same pattern for Python's re, for Rust's regex and for RE2.
        groups: how many capturing groups it has.
        may_be_empty: it can match the empty text.
    """

    source: str
    python: str
    rust: str
    re2: str
    groups: int
    may_be_empty: bool

    @property
    def compiled(self) -> re.Pattern[str]:
        """The pattern for Python; the standard library keeps compiled patterns."""
        return re.compile(self.python, re.ASCII)


@lru_cache(maxsize=1024)
def parse_regex(pattern: str) -> Regex:
    r"""Check a pattern and write it for every engine.

    Raises:
        PlanError: the pattern is malformed, or not in the subset that all engines share.

    >>> parse_regex(r"^\d+$").re2
    '\\A[0-9]+\\z'
    >>> parse_regex("a(?=b)")
    Traceback (most recent call last):
    umbel.plan.errors.PlanError: regular expression 'a(?=b)': look-around is not supported
      engines agree on Python's syntax without look-around, backreferences and atomic groups
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = _parser.parse(pattern, re.ASCII)
            re.compile(pattern, re.ASCII)
    except (re.error, Warning, ValueError, OverflowError, RecursionError) as error:
        raise _refuse(pattern, str(error)) from None
    flags = tree.state.flags
    writer = _Writer(pattern)
    text = writer.sequence(tree, flags)
    return Regex(
        source=pattern,
        python=text.replace("\0END", "\\Z").replace("\0WORD", "\\b"),
        rust=text.replace("\0END", "\\z").replace("\0WORD", "(?-u:\\b)"),
        re2=text.replace("\0END", "\\z").replace("\0WORD", "\\b"),
        groups=tree.state.groups - 1,
        may_be_empty=tree.getwidth()[0] == 0,
    )


def _refuse(pattern: str, why: str) -> PlanError:
    return PlanError(
        f"regular expression {pattern!r}: {why}",
        hint="engines agree on Python's syntax without look-around, backreferences "
        "and atomic groups",
    )


class _Writer:
    """Writes a parsed pattern; NUL starts the names of what engines spell differently."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.repeated = 1  # how often the repetitions around the current item repeat it

    def sequence(self, items: Any, flags: int) -> str:
        return "".join(self.item(kind, value, flags) for kind, value in items)

    def item(self, kind: Any, value: Any, flags: int) -> str:
        if kind is sre.LITERAL:
            return self.literal(value, flags)
        if kind is sre.NOT_LITERAL:
            return f"[^{self.members([(sre.LITERAL, value)], flags)}]"
        if kind is sre.ANY:
            return "(?s:.)" if flags & re.DOTALL else "."
        if kind is sre.IN:
            return self.character_class(value, flags)
        if kind is sre.BRANCH:
            branches = "|".join(self.sequence(branch, flags) for branch in value[1])
            return f"(?:{branches})"
        if kind is sre.SUBPATTERN:
            group, added, removed, inner = value
            text = self.sequence(inner, (flags | added) & ~removed)
            return f"(?:{text})" if group is None else f"({text})"
        if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            return self.repeat(value, flags, lazy=kind is sre.MIN_REPEAT)
        if kind is sre.AT:
            return self.anchor(value, flags)
        raise _refuse(self.pattern, f"{_FEATURES.get(kind, str(kind).lower())} is not supported")

    def literal(self, code: int, flags: int) -> str:
        members = self.members([(sre.LITERAL, code)], flags)
        return members if flags & re.IGNORECASE == 0 or len(members) == 1 else f"[{members}]"

    def character_class(self, value: Any, flags: int) -> str:
        negated = value[0][0] is sre.NEGATE
        items = value[1:] if negated else value
        if len(items) == 1 and items[0][0] is sre.CATEGORY and items[0][1] in _NEGATED:
            body = _CATEGORIES[_NEGATED[items[0][1]]]
            return f"[{'' if negated else '^'}{body}]"
        return f"[{'^' if negated else ''}{self.members(items, flags)}]"

    def members(self, items: Any, flags: int) -> str:
        parts = []
        for kind, value in items:
            if kind is sre.CATEGORY and value in _CATEGORIES:
                parts.append(_CATEGORIES[value])
            elif kind is sre.CATEGORY:
                raise _refuse(self.pattern, "a negated class inside a class is not supported")
            else:
                low, high = value if kind is sre.RANGE else (value, value)
                parts.append(self.range(low, high, flags))
        return "".join(parts)

    def range(self, low: int, high: int, flags: int) -> str:
        if 0xD800 <= low <= 0xDFFF or 0xD800 <= high <= 0xDFFF:
            raise _refuse(self.pattern, "surrogates are no characters")
        text = _escape(low) if low == high else f"{_escape(low)}-{_escape(high)}"
        if not flags & re.IGNORECASE:
            return text
        if low == high and high >= 128 and chr(low).lower() == chr(low).upper():
            return text
        if high >= 128:
            raise _refuse(self.pattern, "(?i) works on ASCII letters only")
        swapped = {chr(c).swapcase() for c in range(low, high + 1)}
        return text + "".join(sorted(c for c in swapped if not low <= ord(c) <= high))

    def repeat(self, value: Any, flags: int, *, lazy: bool) -> str:
        least, most, inner = value
        if inner.getwidth()[0] == 0:
            raise _refuse(self.pattern, "it repeats something that may be empty")
        unbounded = most is sre.MAXREPEAT
        outside = self.repeated
        self.repeated *= max(least, 1 if unbounded else most, 1)
        if self.repeated > _MAX_REPEAT:
            raise _refuse(self.pattern, f"more than {_MAX_REPEAT} repetitions")
        text = self.sequence(inner, flags)
        self.repeated = outside
        bounds = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get(
            (least, None if unbounded else most),
            f"{{{least},{'' if unbounded else most}}}",
        )
        return (
            f"(?:{text}){bounds}{'?' if lazy else ''}"
            if _compound(inner)
            else (f"{text}{bounds}{'?' if lazy else ''}")
        )

    def anchor(self, where: Any, flags: int) -> str:
        if where is sre.AT_BEGINNING:
            return "(?m:^)" if flags & re.MULTILINE else "\\A"
        if where is sre.AT_END:
            return "(?m:$)" if flags & re.MULTILINE else "\0END"
        if where is sre.AT_BEGINNING_STRING:
            return "\\A"
        if where is sre.AT_END_STRING:
            return "\0END"
        if where is sre.AT_BOUNDARY:
            return "\0WORD"
        raise _refuse(self.pattern, "\\B is not supported")


_FEATURES = {
    sre.ASSERT: "look-around",
    sre.ASSERT_NOT: "look-around",
    sre.GROUPREF: "a backreference",
    sre.GROUPREF_EXISTS: "a conditional group",
}


def _compound(items: Any) -> bool:
    """Whether a repetition must be put in a group: all but one character, class or group."""
    return len(items) != 1 or items[0][0] not in (sre.LITERAL, sre.IN, sre.ANY, sre.NOT_LITERAL)


def _escape(code: int) -> str:
    character = chr(code)
    if code >= 128 or character.isalnum():
        return character
    return f"\\x{code:02x}"


def parse_replacement(replacement: str, regex: Regex) -> list[str | int]:
    r"""Split a replacement into texts and numbers of groups.

    A backslash and a digit stand for a group (0 is the whole match), two for a backslash.

    >>> parse_replacement(r"<\1>", parse_regex("(a)"))
    ['<', 1, '>']
    """
    parts: list[str | int] = []
    position = 0
    while position < len(replacement):
        character = replacement[position]
        if character != "\\":
            end = replacement.find("\\", position)
            end = len(replacement) if end < 0 else end
            parts.append(replacement[position:end])
            position = end
            continue
        following = replacement[position + 1 : position + 2]
        if following == "\\":
            parts.append("\\")
        elif following in tuple("0123456789") and int(following) <= regex.groups:
            parts.append(int(following))
        else:
            raise PlanError(
                f"replacement {replacement!r}: '\\{following}' names no group of {regex.source!r}",
                hint="write \\0 to \\9 for groups and two backslashes for one",
            )
        position += 2
    return parts
