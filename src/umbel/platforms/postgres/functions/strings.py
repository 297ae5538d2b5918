"""Forms on PostgreSQL of the catalogue's theme strings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression, Literal
from umbel.plan.functions.characters import WHITESPACE
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import STRING
from umbel.platforms.postgres.functions import case
from umbel.platforms.postgres.functions.calls import (
    FAR,
    Call,
    native,
    position,
    simple,
    text,
)
from umbel.platforms.postgres.snippets import once, snippet
from umbel.platforms.postgres.types import convert, literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_NO_TITLE = "PostgreSQL has no title case of all letters"


def _strip(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        characters = call.constant(1) if len(call.nodes) > 1 else WHITESPACE
        subject = call.arguments[0]
        if characters is None:
            return literal(None, STRING)
        return function(name, subject, text(characters)) if characters else subject

    return Form(build)


def _maybe_nul(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    """Say that a character may be NUL, which would fail where other engines give it."""
    if isinstance(nodes[0], Literal) and nodes[0].value != 0:
        return None
    return "PostgreSQL has no NUL character, which chr(0) is"


def _split(call: Call) -> exp.Expr:
    return once(
        "CASE WHEN x = '' THEN ARRAY[''] ELSE string_to_array(x, s) END",
        x=call.arguments[0],
        s=call.arguments[1],
    )


def _split_whitespace(call: Call) -> exp.Expr:
    trimmed = function("btrim", call.arguments[0], text(WHITESPACE))
    white = "[" + "".join(f"\\u{ord(character):04x}" for character in WHITESPACE) + "]+"
    return once(
        "CASE WHEN x = '' THEN CAST(ARRAY[] AS TEXT[]) ELSE regexp_split_to_array(x, w) END",
        x=trimmed,
        w=text(white),
    )


def _split_part(call: Call) -> exp.Expr:
    return once(
        "CASE WHEN n = 0 THEN CASE WHEN NOT x IS NULL THEN '' END ELSE split_part(x, s, n) END",
        x=call.arguments[0],
        s=call.arguments[1],
        n=position(call, 2),
    )


def _texts(call: Call, start: int = 0) -> list[exp.Expr]:
    return [
        convert(argument, "TEXT") if pa.types.is_null(dtype) else argument
        for argument, dtype in zip(call.arguments[start:], call.types[start:], strict=True)
    ]


def _concat(call: Call) -> exp.Expr:
    joined, *others = _texts(call)
    for other in others:
        joined = snippet("x || y", x=joined, y=other)
    return joined


def _substring(call: Call) -> exp.Expr:
    if len(call.nodes) == 2:
        start = position(call, 1)
        return snippet("substr(x, CASE WHEN n < 1 THEN 1 ELSE n END)", x=call.arguments[0], n=start)
    # A start far before the text and a length that reaches it from there: their sum is looked at
    # only where it cannot overflow, and both are cut to what an INTEGER holds only then.
    return once(
        f"""substr(x, p, CAST(CASE WHEN n < 1 THEN 0
        WHEN s > 0 THEN CASE WHEN n > {FAR} THEN {FAR} ELSE n END
        WHEN s + n < 1 THEN 0
        WHEN s + n > {FAR} THEN {FAR}
        ELSE s + n - 1 END AS INTEGER))""",
        x=call.arguments[0],
        p=position(call, 1, least=1),
        s=convert(call.arguments[1], "BIGINT"),
        n=convert(call.arguments[2], "BIGINT"),
    )


def slice_bounds(call: Call, length: str) -> tuple[exp.Expr, exp.Expr]:
    """Turn Python's bounds of a slice, the arguments from the second, into numbers from 0."""

    def resolved(index: int) -> exp.Expr:
        return once(
            f"CASE WHEN n >= 0 THEN n ELSE greatest({length} + n, 0) + 0 * n END",
            n=position(call, index),
            x=call.arguments[0],
        )

    if len(call.nodes) > 2:
        return resolved(1), resolved(2)
    return resolved(1), snippet(length, x=call.arguments[0])


def _slice(call: Call) -> exp.Expr:
    begin, end = slice_bounds(call, "char_length(x)")
    return once(
        """CASE WHEN e > b THEN substr(x, b + 1, e - b)
        WHEN e <= b AND NOT x IS NULL THEN '' END""",
        x=call.arguments[0],
        b=begin,
        e=end,
    )


def _pad(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        return once(
            f"CASE WHEN char_length(x) >= w THEN x ELSE {name}(x, w, f) END",
            x=call.arguments[0],
            w=position(call, 1, least=0),
            f=call.arguments[2] if len(call.nodes) > 2 else text(" "),
        )

    return Form(build)


def _zfill(call: Call) -> exp.Expr:
    return once(
        """CASE WHEN char_length(x) >= w THEN x
        WHEN left(x, 1) IN ('+', '-') THEN left(x, 1) || lpad(substr(x, 2), w - 1, '0')
        ELSE lpad(x, w, '0') END""",
        x=call.arguments[0],
        w=position(call, 1, least=0),
    )


def _counted(name: str) -> Form[exp.Expr]:
    return Form(lambda call: function(name, call.arguments[0], position(call, 1)))


def _big(template: str, *names: str) -> Form[exp.Expr]:
    """A form whose number PostgreSQL gives as INTEGER."""
    return native(f"CAST({template} AS BIGINT)", *names)


FORMS: dict[str, Form[Any] | Absent] = {
    "length": _big("char_length(x)", "x"),
    "byte_length": _big("octet_length(x)", "x"),
    "is_ascii": native("octet_length(x) = char_length(x)", "x"),
    "lower": Form(lambda call: case.lower(call.arguments[0])),
    "upper": Form(lambda call: case.upper(call.arguments[0])),
    "capitalize": Absent(_NO_TITLE),
    "title": Absent(_NO_TITLE),
    "initcap": Absent(_NO_TITLE),
    "strip": _strip("btrim"),
    "strip_start": _strip("ltrim"),
    "strip_end": _strip("rtrim"),
    "split": Form(_split),
    "split_whitespace": Form(_split_whitespace),
    "split_part": Form(_split_part),
    "concat": Form(_concat),
    "concat_ws": Form(lambda call: function("concat_ws", call.arguments[0], *_texts(call, 1))),
    "substring": Form(_substring),
    "slice": Form(_slice),
    "left": _counted("left"),
    "right": _counted("right"),
    "reverse": simple("reverse"),
    "repeat": _counted("repeat"),
    "pad_start": _pad("lpad"),
    "pad_end": _pad("rpad"),
    "zfill": Form(_zfill),
    "replace": native(
        """CASE WHEN strpos(x, o) > 0 THEN left(x, strpos(x, o) - 1) || f
        || substr(x, strpos(x, o) + char_length(o))
        WHEN NOT f IS NULL AND NOT o IS NULL THEN x END""",
        "x",
        "o",
        "f",
    ),
    "replace_all": native(
        """CASE WHEN o <> '' THEN replace(x, o, f) WHEN o = '' AND x = '' THEN f
        WHEN o = '' THEN f || array_to_string(string_to_array(x, NULL), f) || f END""",
        "x",
        "o",
        "f",
    ),
    "translate": simple("translate"),
    "position": _big("strpos(x, y)", "x", "y"),
    "contains": native("strpos(x, y) > 0", "x", "y"),
    "starts_with": native("starts_with(x, y)", "x", "y"),
    "ends_with": native("right(x, char_length(y)) = y", "x", "y"),
    "chr": replace(native("chr(CAST(n AS INTEGER))", "n"), refuse=_maybe_nul),
    "ord": native("CAST(nullif(ascii(x), 0) AS BIGINT)", "x"),
    "md5": simple("md5"),
    "sha256": native("encode(sha256(convert_to(x, 'UTF8')), 'hex')", "x"),
    "levenshtein": Absent("PostgreSQL has it only with the extension fuzzystrmatch, of 255 bytes"),
}
