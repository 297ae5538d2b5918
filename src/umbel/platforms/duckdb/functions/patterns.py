"""Forms on DuckDB of the catalogue's theme patterns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.patterns import ANY, ONE, parse_like
from umbel.plan.functions.regex import parse_regex, parse_replacement
from umbel.plan.types import STRING
from umbel.platforms.duckdb.functions.snippets import snippet
from umbel.platforms.duckdb.functions.strings import FORMS as STRINGS
from umbel.platforms.duckdb.functions.strings import Call, text
from umbel.platforms.duckdb.types import literal
from umbel.sql.expressions import function
from umbel.sql.python_functions import call_reference

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _regex(call: Call) -> exp.Expr:
    return text(parse_regex(call.constant(1)).re2)


def _group(call: Call) -> exp.Expr:
    return literal(int(call.constant(2)) if len(call.nodes) > 2 else 0, pa.int32())


def _matches_like(subject: exp.Expr, parts: tuple[str | int, ...]) -> exp.Expr:
    texts = [part for part in parts if isinstance(part, str)]
    escaped = any("%" in part or "_" in part for part in texts)
    spelled = {ONE: "_", ANY: "%"}
    pattern = "".join(
        spelled[part] if isinstance(part, int) else _escape(part) if escaped else part
        for part in parts
    )
    template = "x LIKE p ESCAPE '\\'" if escaped else "x LIKE p"
    return snippet(template, x=subject, p=text(pattern))


def _escape(part: str) -> str:
    return part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _like_parts(call: Call) -> tuple[str | int, ...]:
    return parse_like(call.constant(1), call.constant(2) if len(call.nodes) > 2 else None)


def _like(call: Call) -> exp.Expr:
    return _matches_like(call.arguments[0], _like_parts(call))


def _ilike(call: Call) -> exp.Expr:
    lower = STRINGS["lower"]
    if isinstance(lower, Absent):
        raise TypeError(lower.reason)
    slow = call_reference("lower", call.types[:1], STRING, [call.arguments[0].copy()])
    folded = lower.build(replace(call, arguments=call.arguments[:1], fallback=lambda: slow))
    parts = tuple(part.lower() if isinstance(part, str) else part for part in _like_parts(call))
    return _matches_like(folded, parts)


def _replacement(call: Call) -> exp.Expr:
    parts = parse_replacement(call.constant(2), parse_regex(call.constant(1)))
    return text(
        "".join(
            part.replace("\\", "\\\\") if isinstance(part, str) else f"\\{part}" for part in parts
        )
    )


def _extract(call: Call) -> exp.Expr:
    subject, regex = call.arguments[0], _regex(call)
    found = function("regexp_extract", subject.copy(), regex.copy(), _group(call))
    return snippet("CASE WHEN regexp_matches(x, p) THEN found END", x=subject, p=regex, found=found)


def _extract_all(call: Call) -> exp.Expr:
    found = function("regexp_extract_all", call.arguments[0], _regex(call), _group(call))
    if len(call.nodes) == 2:
        return found
    # A group that took no part is null here.
    return snippet("list_transform(found, lambda m: coalesce(m, ''))", found=found)


FORMS: dict[str, Form[exp.Expr] | Absent] = {
    "like": Form(_like),
    "ilike": Form(_ilike),
    "regexp_matches": Form(
        lambda call: function("regexp_matches", call.arguments[0], _regex(call))
    ),
    "regexp_extract": Form(_extract),
    "regexp_extract_all": Form(_extract_all),
    "regexp_replace": Form(
        lambda call: function("regexp_replace", call.arguments[0], _regex(call), _replacement(call))
    ),
    "regexp_replace_all": Form(
        lambda call: function(
            "regexp_replace", call.arguments[0], _regex(call), _replacement(call), text("g")
        )
    ),
    "regexp_count": Form(
        lambda call: function(
            "len", function("regexp_extract_all", call.arguments[0], _regex(call))
        )
    ),
}
