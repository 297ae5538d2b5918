"""Forms on DataFusion of the catalogue's theme patterns: its engine is Rust's `regex`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.patterns import ANY, ONE, parse_like
from umbel.plan.functions.regex import parse_regex, parse_replacement
from umbel.plan.types import STRING
from umbel.platforms.datafusion.functions.calls import Call, fallback, text
from umbel.platforms.datafusion.functions.strings import FORMS as STRINGS
from umbel.platforms.datafusion.operators import snippet
from umbel.sql.expressions import function
from umbel.sql.python_functions import call_reference

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _regex(call: Call) -> exp.Expr:
    return text(parse_regex(call.constant(1)).rust)


def _native(call: Call) -> bool:
    """Whether DataFusion reads the pattern as it stands.

    It makes LIKE of patterns that are mostly plain text, and forgets that a backslash escapes there.
    """
    pattern = parse_regex(call.constant(1)).rust
    return "\\\\" not in pattern and "\\x5c" not in pattern


def _search(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        if not _native(call):
            return call.fallback()
        return function(name, call.arguments[0], _regex(call))

    return Form(build)


def _like_parts(call: Call) -> tuple[str | int, ...]:
    return parse_like(call.constant(1), call.constant(2) if len(call.nodes) > 2 else None)


def _matches_like(subject: exp.Expr, parts: tuple[str | int, ...]) -> exp.Expr:
    spelled = {ONE: "_", ANY: "%"}
    pattern = "".join(spelled[part] if isinstance(part, int) else _escape(part) for part in parts)
    return snippet("x LIKE p", x=subject, p=text(pattern))


def _escape(part: str) -> str:
    """DataFusion's LIKE takes a backslash for an escape without being told."""
    return part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


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
            part.replace("\\", "\\\\").replace("$", "$$")
            if isinstance(part, str)
            else f"${{{part}}}"
            for part in parts
        )
    )


def _replace(call: Call, *flags: exp.Expr) -> exp.Expr:
    if "\\" in call.constant(2):
        return call.fallback()  # DataFusion has its own idea of backslashes there
    return function("regexp_replace", call.arguments[0], _regex(call), _replacement(call), *flags)


FORMS: dict[str, Form[Any] | Absent] = {
    "like": Form(_like),
    "ilike": Form(_ilike),
    "regexp_matches": _search("regexp_like"),
    "regexp_extract": Form(fallback),
    "regexp_extract_all": Form(fallback),
    "regexp_replace": Form(_replace),
    "regexp_replace_all": Form(lambda call: _replace(call, text("g"))),
    "regexp_count": _search("regexp_count"),
}
