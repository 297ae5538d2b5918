"""Forms on Spark of the catalogue's theme patterns, in Java's spelling of regular expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.patterns import ANY, ONE, parse_like
from umbel.plan.functions.regex import parse_regex, parse_replacement
from umbel.platforms.spark.functions.case import cased
from umbel.platforms.spark.functions.snippets import Call, snippet, text, typed
from umbel.platforms.spark.types import literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Java knows more line ends than the newline, and more letters of words than ASCII's.
_WORD = "0-9A-Za-z_"
_SPELLING = (
    ("(?s:.)", "\0ANY"),
    (".", "[^\\n]"),
    ("(?m:^)", "(?<![^\\n])"),
    ("(?m:$)", "(?![^\\n])"),
    ("\\b", f"(?:(?<=[{_WORD}])(?![{_WORD}])|(?<![{_WORD}])(?=[{_WORD}]))"),
    ("\0ANY", "(?s:.)"),
)


def java_regex(pattern: str) -> str:
    r"""Write a pattern of the plan's dialect for Java.

    >>> java_regex(r"^a.\b")
    '\\Aa[^\\n](?:(?<=[0-9A-Za-z_])(?![0-9A-Za-z_])|(?<![0-9A-Za-z_])(?=[0-9A-Za-z_]))'
    """
    # Dots, anchors and backslashes that mean themselves are written as \x2e and the like there.
    written = parse_regex(pattern).re2
    for general, java in _SPELLING:
        written = written.replace(general, java)
    return written


def java_literal(value: str) -> str:
    r"""Write a pattern that matches a text and nothing else.

    >>> java_literal("a.b")
    'a\\x{2e}b'
    """
    return "".join(c if c.isalnum() else f"\\x{{{ord(c):x}}}" for c in value)


def _regex(call: Call) -> exp.Expr:
    return text(java_regex(call.constant(1)))


def _group(call: Call) -> exp.Expr:
    return literal(int(call.constant(2)) if len(call.nodes) > 2 else 0, pa.int32())


def _matches_like(subject: exp.Expr, parts: tuple[str | int, ...]) -> exp.Expr:
    spelled = {ONE: "_", ANY: "%"}
    pattern = "".join(spelled[p] if isinstance(p, int) else _escape(p) for p in parts)
    return snippet("x LIKE p ESCAPE '!'", x=subject, p=text(pattern))


def _escape(part: str) -> str:
    return part.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _like_parts(call: Call) -> tuple[str | int, ...]:
    return parse_like(call.constant(1), call.constant(2) if len(call.nodes) > 2 else None)


def _like(call: Call) -> exp.Expr:
    return _matches_like(call.arguments[0], _like_parts(call))


def _ilike(call: Call) -> exp.Expr:
    parts = tuple(part.lower() if isinstance(part, str) else part for part in _like_parts(call))
    return _matches_like(cased("lower", call.arguments[0]), parts)


def _replacement(call: Call, shift: int = 0) -> str:
    """The replacement as Java writes it; a digit after a group's number is no part of it."""
    written = ""
    for part in parse_replacement(call.constant(2), parse_regex(call.constant(1))):
        if isinstance(part, int):
            written += f"${part + shift}"
        else:
            escaped = part.replace("\\", "\\\\").replace("$", "\\$")
            written += "\\" * (written[-1:].isdigit() and escaped[:1].isdigit()) + escaped
    return written


def _replace(call: Call) -> exp.Expr:
    """Spark only replaces all matches: match the text before the first one too."""
    pattern = rf"\A((?s:.*?))({java_regex(call.constant(1))})"
    fresh = "$1" + _first(_replacement(call, 2))
    return function("regexp_replace", call.arguments[0], text(pattern), text(fresh))


def _first(replacement: str) -> str:
    return "\\" + replacement if replacement[:1].isdigit() else replacement


def _replace_all(call: Call) -> exp.Expr:
    fresh = text(_replacement(call))
    return function("regexp_replace", call.arguments[0], _regex(call), fresh)


def _matches(call: Call) -> exp.Expr:
    return snippet("x RLIKE p", x=call.arguments[0], p=_regex(call))


def _extract(call: Call) -> exp.Expr:
    subject, regex = call.arguments[0], _regex(call)
    found = function("regexp_extract", subject.copy(), regex.copy(), _group(call))
    return snippet("CASE WHEN x RLIKE p THEN found END", x=subject, p=regex, found=found)


def _extract_all(call: Call) -> exp.Expr:
    return function("regexp_extract_all", call.arguments[0], _regex(call), _group(call))


def _count(call: Call) -> exp.Expr:
    return typed(call, function("regexp_count", call.arguments[0], _regex(call)))


FORMS: dict[str, Form[exp.Expr] | Absent] = {
    "like": Form(_like),
    "ilike": Form(_ilike),
    "regexp_matches": Form(_matches),
    "regexp_extract": Form(_extract),
    "regexp_extract_all": Form(_extract_all),
    "regexp_replace": Form(_replace),
    "regexp_replace_all": Form(_replace_all),
    "regexp_count": Form(_count),
}
