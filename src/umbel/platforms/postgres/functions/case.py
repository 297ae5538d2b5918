"""Lower and upper case as Python has them, written for PostgreSQL from Python's own tables.

Texts of ASCII, by far the most, go to PostgreSQL's function under the collation "C". In others each
character is replaced by `translate`; the few that become several characters, and the sigma that
depends on where it stands in its word, are replaced before.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

from umbel.lazy import LazyModule
from umbel.platforms.postgres.functions.calls import text
from umbel.platforms.postgres.snippets import once

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_SIGMA = "Σ"
_ASCII = "octet_length(x) = char_length(x)"


def lower(value: exp.Expr) -> exp.Expr:
    """Write a text in lower case."""
    single, spelled, several = _mapping("lower")
    (dotted,) = several.items()  # the capital I with a dot, the only one
    return once(
        f"""CASE WHEN {_ASCII} THEN lower(x COLLATE "C") ELSE translate(replace(
        CASE WHEN strpos(x, '{_SIGMA}') > 0 THEN regexp_replace(x, sigma, 'ς', 'g') ELSE x END,
        '{dotted[0]}', '{dotted[1]}'), single, spelled) END""",
        x=value,
        sigma=text(_final_sigma()),
        single=text(single),
        spelled=text(spelled),
    )


def upper(value: exp.Expr) -> exp.Expr:
    """Write a text in upper case."""
    single, spelled, several = _mapping("upper")
    return once(
        f"""CASE WHEN {_ASCII} THEN upper(x COLLATE "C")
        WHEN x ~ odd THEN translate((SELECT string_agg(coalesce(many, one), '' ORDER BY place)
            FROM UNNEST(string_to_array(x, NULL)) WITH ORDINALITY AS u(one, place)
            LEFT JOIN UNNEST(string_to_array(odds, ','), string_to_array(evens, ','))
            AS k(few, many) ON few = one), single, spelled)
        ELSE translate(x, single, spelled) END""",
        x=value,
        odd=text(f"[{''.join(several)}]"),
        odds=text(",".join(several)),
        evens=text(",".join(several.values())),
        single=text(single),
        spelled=text(spelled),
    )


@cache
def _mapping(name: str) -> tuple[str, str, dict[str, str]]:
    """Characters that change, what single characters they become, and those that become more."""
    source, target, longer = [], [], {}
    for code in range(1, sys.maxunicode + 1):
        character = chr(code)
        changed = getattr(character, name)()
        if changed == character or 0xD800 <= code <= 0xDFFF:
            continue
        if len(changed) > 1:
            longer[character] = changed
        else:
            source.append(character)
            target.append(changed)
    return "".join(source), "".join(target), longer


@cache
def _final_sigma() -> str:
    """A pattern of a capital sigma at the end of a word, by the rule of Unicode.

    It follows a cased letter and no such letter follows it, characters aside that case ignores.
    Which characters those are shows what Python makes of a sigma beside them.

    Source: The Unicode Standard, section 3.13, table 3-17, Final_Sigma.
    """
    cased, ignored = [], []
    for code in range(1, sys.maxunicode + 1):
        if 0xD800 <= code <= 0xDFFF:
            continue
        character = chr(code)
        if ("A" + character + _SIGMA).lower()[-1] == "ς" and (character + _SIGMA).lower()[
            -1
        ] != "ς":
            ignored.append(code)  # looked through to the A, and no letter itself
        elif (character + _SIGMA).lower()[-1] == "ς":
            cased.append(code)
    letters, between = _ranges(cased), _ranges(ignored)
    return f"(?<=[{letters}][{between}]*){_SIGMA}(?![{between}]*[{letters}])"


def _ranges(codes: list[int]) -> str:
    parts: list[str] = []
    start = previous = codes[0]
    for code in [*codes[1:], sys.maxunicode + 2]:
        if code != previous + 1:
            parts.append(
                _escape(start) if start == previous else f"{_escape(start)}-{_escape(previous)}"
            )
            start = code
        previous = code
    return "".join(parts)


def _escape(code: int) -> str:
    return f"\\U{code:08x}"


__all__ = ["lower", "upper"]
