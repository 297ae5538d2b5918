"""Forms on DuckDB of the catalogue's theme strings.

DuckDB maps case character by character, and counts graphemes when it reverses. Where a text holds
characters on which it differs from Python, a CASE hands that row to the catalogue's reference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Literal
from umbel.plan.functions.characters import (
    NOT_LOWERED_ALIKE,
    NOT_RAISED_ALIKE,
    OTHER_ASCII_WHITESPACE,
    OTHER_WHITESPACE_CLASS,
    WHITESPACE,
)
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import STRING
from umbel.platforms.duckdb.functions.snippets import atom, snippet
from umbel.platforms.duckdb.types import convert, literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


Call: TypeAlias = "TypedCall[exp.Expr]"

#: Positions and lengths beyond this are as good as infinite, and safe to add up.
FAR = 2**31
_ASCII = "strlen(x) = length(x)"


def text(value: str) -> exp.Expr:
    """Write a constant text."""
    return literal(value, STRING)


def native(template: str, *names: str) -> Form[exp.Expr]:
    """Make a form from SQL in which names stand for the arguments in turn."""
    return Form(lambda call: snippet(template, **dict(zip(names, call.arguments, strict=True))))


def simple(name: str) -> Form[exp.Expr]:
    """Make a form that calls a function of DuckDB with the same arguments."""
    return Form(lambda call: function(name, *call.arguments))


def fallback(call: Call) -> exp.Expr:
    """The catalogue's reference, row by row."""
    return call.fallback()


def guarded(condition: str, quick: str, *names: str) -> Form[exp.Expr]:
    """Make a form that is native where a condition holds and the reference elsewhere."""

    def build(call: Call) -> exp.Expr:
        arguments = dict(zip(names, call.arguments, strict=True))
        return snippet(
            f"CASE WHEN {condition} THEN {quick} ELSE slow END", slow=call.fallback(), **arguments
        )

    return Form(build)


def whole(call: Call, position: int, *, least: int = -FAR, most: int = FAR) -> exp.Expr:
    """An integer argument as BIGINT, as near to zero as positions in a text can need."""
    node = call.nodes[position]
    if isinstance(node, Literal) and node.value is not None:
        return literal(max(least, min(node.value, most)), pa.int64())
    # LEAST and GREATEST skip nulls.
    return snippet(
        "CASE WHEN n < least_n THEN least_n WHEN n > most_n THEN most_n ELSE n END",
        n=convert(call.arguments[position].copy(), "BIGINT"),
        least_n=literal(least, pa.int64()),
        most_n=literal(most, pa.int64()),
    )


def _cased(quick: str, differs: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        # Two branches: in an OR, DuckDB tries now and then whether the pattern is the quicker test.
        return snippet(
            f"""CASE WHEN {_ASCII} THEN {quick}
                WHEN NOT regexp_matches(x, differs) THEN {quick} ELSE slow END""",
            x=call.arguments[0],
            differs=text(differs),
            slow=call.fallback(),
        )

    return Form(build)


def _split_whitespace(call: Call) -> exp.Expr:
    # Checked from the cheapest; each test is one pass with memchr, cheaper than a pattern.
    others = " AND ".join(
        f"NOT contains(x, chr({ord(character)}))" for character in OTHER_ASCII_WHITESPACE
    )
    return snippet(
        f"""CASE WHEN {_ASCII} AND {others} THEN
            CASE WHEN x <> '' AND NOT starts_with(x, ' ') AND NOT ends_with(x, ' ')
                AND NOT contains(x, '  ')
            THEN string_split(x, ' ')
            ELSE list_filter(string_split(x, ' '), lambda w: w <> '') END
        ELSE list_filter(string_split(regexp_replace(x, space, ' ', 'g'), ' '), lambda w: w <> '')
        END""",
        x=call.arguments[0],
        space=text(OTHER_WHITESPACE_CLASS),
    )


def _strip(name: str, *ends: int) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        subject = call.arguments[0]
        if len(call.nodes) > 1:
            characters = call.constant(1)
            return function(name, subject, text(characters)) if characters else subject
        # DuckDB is slow with a set of characters: most texts need none, or plain spaces.
        clean = " AND ".join(f"{{0}}[{end}] BETWEEN '!' AND '~'" for end in ends)
        return snippet(
            f"""CASE WHEN {clean.format("x")} THEN x
                WHEN {clean.format(f"{name}(x)")} THEN {name}(x) ELSE {name}(x, spaces) END""",
            x=subject,
            spaces=text(WHITESPACE),
        )

    return Form(build)


def _texts(call: Call, start: int = 0) -> list[exp.Expr]:
    return [
        convert(argument, "VARCHAR") if pa.types.is_null(dtype) else argument
        for argument, dtype in zip(call.arguments[start:], call.types[start:], strict=True)
    ]


def _concat(call: Call) -> exp.Expr:
    joined, *others = map(atom, _texts(call))
    for other in others:
        joined = exp.DPipe(this=joined, expression=other, safe=True)
    return atom(joined)


def _concat_ws(call: Call) -> exp.Expr:
    return function("concat_ws", call.arguments[0], *_texts(call, 1))


def _substring(call: Call) -> exp.Expr:
    if len(call.nodes) == 2:
        return function("substring", call.arguments[0], whole(call, 1, least=1))
    start, length = call.nodes[1:]
    if isinstance(start, Literal) and isinstance(length, Literal):
        if start.value is None or length.value is None:
            return literal(None, STRING)
        first = max(start.value, 1)
        count = max(start.value + length.value - first, 0)
        bounds = [literal(min(n, FAR), pa.int64()) for n in (first, count)]
        return function("substring", call.arguments[0], *bounds)
    # In HUGEINT, where no sum overflows.
    return snippet(
        """substring(x, least(greatest(s, 1), far), CASE WHEN n IS NOT NULL AND s IS NOT NULL
            THEN CAST(least(greatest(CAST(s AS HUGEINT) + n - greatest(s, 1), 0), far) AS BIGINT)
            END)""",
        x=call.arguments[0],
        s=call.arguments[1],
        n=call.arguments[2],
        far=literal(FAR, pa.int64()),
    )


def slice_bounds(call: Call, length: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    """Turn Python's bounds of a slice, the arguments from the second, into numbers from 0."""

    def resolved(position: int) -> exp.Expr:
        node = call.nodes[position]
        bound = whole(call, position)
        if isinstance(node, Literal) and node.value is not None and node.value >= 0:
            return bound
        return snippet(
            """CASE WHEN n >= 0 THEN n WHEN size + n > 0 THEN size + n
                WHEN n IS NOT NULL AND size IS NOT NULL THEN CAST(0 AS BIGINT) END""",
            n=bound,
            size=length,
        )

    return resolved(1), resolved(2) if len(call.nodes) > 2 else length


def _slice(call: Call) -> exp.Expr:
    begin, end = slice_bounds(call, function("length", call.arguments[0].copy()))
    return snippet(
        "substring(x, b + 1, CASE WHEN e > b THEN e - b WHEN e <= b THEN 0 END)",
        x=call.arguments[0],
        b=begin,
        e=end,
    )


def _pad(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        return snippet(
            f"CASE WHEN length(x) >= w THEN x ELSE {name}(x, CAST(w AS INTEGER), fill) END",
            x=call.arguments[0],
            w=whole(call, 1, least=0, most=2**31 - 1),
            fill=call.arguments[2] if len(call.nodes) > 2 else text(" "),
        )

    return Form(build)


def _zfill(call: Call) -> exp.Expr:
    return snippet(
        """CASE WHEN length(x) >= w THEN x
            WHEN left(x, 1) IN ('+', '-')
            THEN left(x, 1) || lpad(substring(x, 2), CAST(w - 1 AS INTEGER), '0')
            ELSE lpad(x, CAST(w AS INTEGER), '0') END""",
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


FORMS: dict[str, Form[exp.Expr] | Absent] = {
    "length": simple("length"),
    "byte_length": simple("strlen"),
    "is_ascii": native(_ASCII, "x"),
    "lower": _cased("lower(x)", NOT_LOWERED_ALIKE),
    "upper": _cased("upper(x)", NOT_RAISED_ALIKE),
    "capitalize": guarded(_ASCII, "upper(left(x, 1)) || lower(substring(x, 2))", "x"),
    "title": Form(fallback),
    "initcap": Form(fallback),
    "strip": _strip("trim", 1, -1),
    "strip_start": _strip("ltrim", 1),
    "strip_end": _strip("rtrim", -1),
    "split": simple("string_split"),
    "split_whitespace": Form(_split_whitespace),
    "split_part": Form(lambda call: function("split_part", *call.arguments[:2], whole(call, 2))),
    "concat": Form(_concat),
    "concat_ws": Form(_concat_ws),
    "substring": Form(_substring),
    "slice": Form(_slice),
    "left": Form(_counted("left")),
    "right": Form(_counted("right")),
    "reverse": guarded(_ASCII, "reverse(x)", "x"),
    "repeat": Form(_counted("repeat")),
    "pad_start": _pad("lpad"),
    "pad_end": _pad("rpad"),
    "zfill": Form(_zfill),
    "replace": native(
        """CASE WHEN contains(x, old) THEN left(x, instr(x, old) - 1) || fresh
            || substring(x, instr(x, old) + length(old)) WHEN fresh IS NOT NULL
            AND old IS NOT NULL THEN x END""",
        "x",
        "old",
        "fresh",
    ),
    "replace_all": Form(_replace_all),
    "translate": simple("translate"),
    "position": simple("instr"),
    "contains": simple("contains"),
    "starts_with": simple("starts_with"),
    "ends_with": simple("ends_with"),
    "chr": guarded("n BETWEEN 1 AND 127", "chr(CAST(n AS INTEGER))", "n"),
    "ord": native("CASE WHEN x <> '' THEN CAST(unicode(x) AS BIGINT) END", "x"),
    "md5": simple("md5"),
    "sha256": simple("sha256"),
    "levenshtein": guarded(f"{_ASCII} AND strlen(y) = length(y)", "levenshtein(x, y)", "x", "y"),
}
