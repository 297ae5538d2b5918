"""Forms on PostgreSQL of the catalogue's theme patterns.

PostgreSQL's regular expressions take the longest of several matches, the catalogue's the first
that Python would find. Whether there is a match is the same; what it is may differ, so that only
the test is claimed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.patterns import ANY, ONE, parse_like
from umbel.plan.functions.regex import parse_regex
from umbel.platforms.postgres.functions import case
from umbel.platforms.postgres.functions.calls import Call, text
from umbel.platforms.postgres.snippets import snippet

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_LONGEST = "PostgreSQL takes the longest of several matches, not the first"


def advanced(pattern: str) -> str:
    r"""Write a checked pattern as PostgreSQL's advanced regular expression.

    >>> advanced(r"^a.\d$")
    '(?:\\Aa[^\\u000a][0-9]\\Z)'
    """
    written = parse_regex(pattern).re2
    parts = _TOKEN.findall(written)
    return "(?:" + "".join(_SPELLED.get(part, part) for part in map(_token, parts)) + ")"


#: What a checked pattern is made of, as far as PostgreSQL spells it differently.
_TOKEN = re.compile(r"\(\?s:\.\)|\(\?m:[$^]\)|\\x[0-9a-f]{2}|\\.|\[(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_SPELLED = {
    ".": "[^\\u000a]",
    "(?s:.)": ".",
    "(?m:^)": "(?:\\A|(?<=\\u000a))",
    "(?m:$)": "(?:\\Z|(?=\\u000a))",
    "\\z": "\\Z",
    "\\b": "(?:(?<![0-9A-Za-z_])(?=[0-9A-Za-z_])|(?<=[0-9A-Za-z_])(?![0-9A-Za-z_]))",
}


def _token(part: str) -> str:
    return re.sub(r"\\x([0-9a-f]{2})", r"\\u00\1", part)


def _matches_like(subject: exp.Expr, parts: tuple[str | int, ...]) -> exp.Expr:
    spelled = {ONE: "_", ANY: "%"}
    pattern = "".join(
        spelled[part] if isinstance(part, int) else re.sub(r"([\\%_])", r"\\\1", part)
        for part in parts
    )
    return snippet('x COLLATE "C" LIKE p', x=subject, p=text(pattern))


def _like_parts(call: Call) -> tuple[str | int, ...]:
    return parse_like(call.constant(1), call.constant(2) if len(call.nodes) > 2 else None)


def _ilike(call: Call) -> exp.Expr:
    parts = tuple(part.lower() if isinstance(part, str) else part for part in _like_parts(call))
    return _matches_like(case.lower(call.arguments[0]), parts)


FORMS: dict[str, Form[Any] | Absent] = {
    "like": Form(lambda call: _matches_like(call.arguments[0], _like_parts(call))),
    "ilike": Form(_ilike),
    "regexp_matches": Form(
        lambda call: snippet(
            'x COLLATE "C" ~ p', x=call.arguments[0], p=text(advanced(call.constant(1)))
        )
    ),
    "regexp_extract": Absent(_LONGEST),
    "regexp_extract_all": Absent(_LONGEST),
    "regexp_replace": Absent(_LONGEST),
    "regexp_replace_all": Absent(_LONGEST),
    "regexp_count": Absent(_LONGEST),
}
