"""Forms on Polars of the catalogue's theme patterns."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.patterns import ANY, ONE, parse_like
from umbel.plan.functions.regex import parse_regex, parse_replacement
from umbel.platforms.polars.functions.strings import FORMS as STRINGS
from umbel.platforms.polars.functions.strings import Call

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


def _rust(call: Call) -> str:
    return parse_regex(call.constant(1)).rust


def _like_parts(call: Call) -> tuple[str | int, ...]:
    return parse_like(call.constant(1), call.constant(2) if len(call.nodes) > 2 else None)


def _matches_like(text: pl.Expr, parts: tuple[str | int, ...]) -> pl.Expr:
    """Match a LIKE pattern, the common ones without a regular expression."""
    match parts:
        case ():
            return text == ""
        case (str(whole),):
            return text == whole
        case (2,):  # ANY
            return text.str.len_bytes() >= 0
        case (str(start), 2):
            return text.str.starts_with(start)
        case (2, str(end)):
            return text.str.ends_with(end)
        case (2, str(inside), 2):
            return text.str.contains(inside, literal=True)
    spelled = {ONE: "(?s:.)", ANY: "(?s:.)*"}
    regex = "".join(
        spelled[part] if isinstance(part, int) else "".join(map(_escape, part)) for part in parts
    )
    return text.str.contains(f"\\A(?:{regex})\\z")


def _escape(character: str) -> str:
    plain = character.isalnum() or ord(character) >= 128
    return character if plain else f"\\x{{{ord(character):x}}}"


def _like(call: Call) -> pl.Expr:
    return _matches_like(call.arguments[0], _like_parts(call))


def _ilike(call: Call) -> pl.Expr:
    lower = STRINGS["lower"]
    if isinstance(lower, Absent):
        raise TypeError(lower.reason)
    text = lower.build(replace(call, arguments=call.arguments[:1]))
    parts = tuple(part.lower() if isinstance(part, str) else part for part in _like_parts(call))
    return _matches_like(text, parts)


def _group(call: Call) -> int:
    return int(call.constant(2)) if len(call.nodes) > 2 else 0


def _extract(call: Call) -> pl.Expr:
    text, regex = call.arguments[0], _rust(call)
    found = text.str.extract(regex, _group(call)).fill_null("")
    return pl.when(text.str.contains(regex)).then(found)


def _extract_all(call: Call) -> pl.Expr:
    if _group(call):  # Polars gives whole matches only
        return call.fallback()
    return call.arguments[0].str.extract_all(_rust(call))


def _replacement(call: Call) -> str:
    parts = parse_replacement(call.constant(2), parse_regex(call.constant(1)))
    return "".join(
        part.replace("$", "$$") if isinstance(part, str) else f"${{{part}}}" for part in parts
    )


FORMS: dict[str, Form[pl.Expr] | Absent] = {
    "like": Form(_like),
    "ilike": Form(_ilike),
    "regexp_matches": Form(lambda call: call.arguments[0].str.contains(_rust(call))),
    "regexp_extract": Form(_extract),
    "regexp_extract_all": Form(_extract_all),
    "regexp_replace": Form(
        lambda call: call.arguments[0].str.replace(_rust(call), _replacement(call))
    ),
    "regexp_replace_all": Form(
        lambda call: call.arguments[0].str.replace_all(_rust(call), _replacement(call))
    ),
    "regexp_count": Form(
        lambda call: call.arguments[0].str.count_matches(_rust(call)).cast(pl.Int64)
    ),
}
