"""Forms on DataFusion of the catalogue's theme strings.

DataFusion maps case as Rust does, whose Unicode is newer than Python's. Where a text holds
characters on which they may differ, a CASE hands that row to the catalogue's reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Literal
from umbel.plan.functions.characters import (
    NOT_LOWERED_ALIKE,
    NOT_RAISED_ALIKE,
    WHITESPACE,
)
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import STRING
from umbel.platforms.datafusion.functions.calls import (
    FAR,
    Call,
    big,
    fallback,
    guarded,
    native,
    simple,
    text,
    whole,
)
from umbel.platforms.datafusion.operators import snippet
from umbel.platforms.datafusion.types import convert, literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_ASCII = "octet_length(x) = character_length(x)"


def _cased(quick: str, differs: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        return snippet(
            f"""CASE WHEN {_ASCII} THEN {quick}
                WHEN NOT regexp_like(x, differs) THEN {quick} ELSE slow END""",
            x=call.arguments[0],
            differs=text(differs),
            slow=call.fallback(),
        )

    return Form(build)


def _strip(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        characters = call.constant(1) if len(call.nodes) > 1 else WHITESPACE
        subject = call.arguments[0]
        if characters is None:
            return literal(None, STRING)
        return function(name, subject, text(characters)) if characters else subject

    return Form(build)


def _split(call: Call) -> exp.Expr:
    return snippet(
        "CASE WHEN x = '' THEN make_array('') ELSE string_to_array(x, s) END",
        x=call.arguments[0],
        s=call.arguments[1],
    )


def _split_part(call: Call) -> exp.Expr:
    # From the end DataFusion looks for the separator backwards, which finds others in "aaa".
    return snippet(
        "CASE WHEN n > 0 THEN split_part(x, s, n) ELSE slow END",
        x=call.arguments[0],
        s=call.arguments[1],
        n=whole(call, 2),
        slow=call.fallback(),
    )


def texts(call: Call, start: int = 0) -> list[exp.Expr]:
    """The arguments from one on, null or not, as texts."""
    return [
        convert(argument, STRING) if pa.types.is_null(dtype) else argument
        for argument, dtype in zip(call.arguments[start:], call.types[start:], strict=True)
    ]


def _concat(call: Call) -> exp.Expr:
    joined, *others = texts(call)
    for other in others:
        joined = snippet("x || y", x=joined, y=other)
    return joined


def _substring(call: Call) -> exp.Expr:
    if len(call.nodes) == 2:
        return function("substr", call.arguments[0], whole(call, 1, least=1))
    start, length = call.nodes[1:]
    if not (isinstance(start, Literal) and isinstance(length, Literal)):
        return call.fallback()
    if start.value is None or length.value is None:
        return literal(None, STRING)
    first = max(start.value, 1)
    count = max(start.value + length.value - first, 0)
    bounds = [literal(min(n, FAR), pa.int64()) for n in (first, count)]
    return function("substr", call.arguments[0], *bounds)


def _slice(call: Call) -> exp.Expr:
    bounds = [
        int(node.value)
        for node in call.nodes[1:]
        if isinstance(node, Literal) and node.value is not None and 0 <= node.value < FAR
    ]
    if len(bounds) < len(call.nodes) - 1:
        return call.fallback()
    first, *rest = bounds
    start = literal(first + 1, pa.int64())
    counts = [literal(max(end - first, 0), pa.int64()) for end in rest]
    return function("substr", call.arguments[0], start, *counts)


def _pad(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        return snippet(
            f"CASE WHEN character_length(x) >= w THEN x ELSE {name}(x, w, f) END",
            x=call.arguments[0],
            w=whole(call, 1, least=0, most=2**31 - 1),
            f=call.arguments[2] if len(call.nodes) > 2 else text(" "),
        )

    return Form(build)


def _zfill(call: Call) -> exp.Expr:
    return snippet(
        """CASE WHEN character_length(x) >= w THEN x
            WHEN left(x, 1) IN ('+', '-') THEN left(x, 1) || lpad(substr(x, 2), w - 1, '0')
            ELSE lpad(x, w, '0') END""",
        x=call.arguments[0],
        w=whole(call, 1, least=0, most=2**31 - 1),
    )


def _replace_all(call: Call) -> exp.Expr:
    quick = function("replace", *[argument.copy() for argument in call.arguments])
    if isinstance(call.nodes[1], Literal):
        return call.fallback() if call.constant(1) == "" else quick
    return snippet(
        "CASE WHEN old = '' THEN slow ELSE quick END",
        old=call.arguments[1],
        slow=call.fallback(),
        quick=quick,
    )


def _counted(name: str) -> Callable[[Call], exp.Expr]:
    return lambda call: function(name, call.arguments[0], whole(call, 1))


def _repeat(call: Call) -> exp.Expr:
    return function("repeat", call.arguments[0], whole(call, 1, least=0))


FORMS: dict[str, Form[Any] | Absent] = {
    "length": big("character_length(x)", "x"),
    "byte_length": big("octet_length(x)", "x"),
    "is_ascii": native(_ASCII, "x"),
    "lower": _cased("lower(x)", NOT_LOWERED_ALIKE),
    "upper": _cased("upper(x)", NOT_RAISED_ALIKE),
    "capitalize": guarded(_ASCII, "upper(left(x, 1)) || lower(substr(x, 2))", "x"),
    "title": Form(fallback),
    "initcap": Form(fallback),
    "strip": _strip("btrim"),
    "strip_start": _strip("ltrim"),
    "strip_end": _strip("rtrim"),
    "split": Form(_split),
    "split_whitespace": Form(fallback),
    "split_part": Form(_split_part),
    "concat": Form(_concat),
    "concat_ws": Form(lambda call: function("concat_ws", call.arguments[0], *texts(call, 1))),
    "substring": Form(_substring),
    "slice": Form(_slice),
    "left": Form(_counted("left")),
    "right": Form(_counted("right")),
    "reverse": simple("reverse"),
    "repeat": Form(_repeat),
    "pad_start": _pad("lpad"),
    "pad_end": _pad("rpad"),
    "zfill": Form(_zfill),
    "replace": Form(fallback),
    "replace_all": Form(_replace_all),
    "translate": guarded(f"{_ASCII}", "translate(x, y, z)", "x", "y", "z"),
    "position": big("strpos(x, y)", "x", "y"),
    "contains": native("strpos(x, y) > 0", "x", "y"),
    "starts_with": simple("starts_with"),
    "ends_with": simple("ends_with"),
    "chr": guarded("n BETWEEN 1 AND 127", "chr(n)", "n"),
    "ord": native("CASE WHEN x <> '' THEN arrow_cast(ascii(x), 'Int64') END", "x"),
    "md5": native("arrow_cast(md5(x), 'Utf8')", "x"),
    "sha256": native("arrow_cast(encode(sha256(x), 'hex'), 'Utf8')", "x"),
    "levenshtein": guarded(
        f"{_ASCII} AND octet_length(y) = character_length(y)",
        "arrow_cast(levenshtein(x, y), 'Int64')",
        "x",
        "y",
    ),
}
