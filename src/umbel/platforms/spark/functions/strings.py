"""Forms on Spark of the catalogue's theme strings. Spark counts code points, as the plan does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression, Literal
from umbel.plan.functions.characters import WHITESPACE
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import STRING
from umbel.platforms.spark.functions.case import cased
from umbel.platforms.spark.functions.patterns import java_literal
from umbel.platforms.spark.functions.snippets import (
    FAR,
    Call,
    fail,
    native,
    simple,
    snippet,
    text,
    whole,
)
from umbel.platforms.spark.types import convert, literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_WORDS = "[" + "".join(f"\\x{{{ord(character):x}}}" for character in WHITESPACE) + "]+"


def _strip(where: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        characters = call.constant(1) if len(call.nodes) > 1 else WHITESPACE
        if not characters:
            return call.arguments[0]
        return snippet(f"trim({where} c FROM x)", x=call.arguments[0], c=text(characters))

    return Form(build)


def _split(call: Call) -> exp.Expr:
    pattern = text(java_literal(call.constant(1)))
    return function("split", call.arguments[0], pattern, literal(-1, pa.int32()))


def _split_whitespace(call: Call) -> exp.Expr:
    parts = function("split", call.arguments[0], text(_WORDS), literal(-1, pa.int32()))
    return snippet("filter(parts, w -> w <> '')", parts=parts)


def _split_part(call: Call) -> exp.Expr:
    # Spark has no part 0.
    return snippet(
        "CASE WHEN n = 0 THEN CASE WHEN x IS NOT NULL THEN '' END ELSE part END",
        n=whole(call, 2),
        x=call.arguments[0],
        part=function(
            "split_part",
            *call.arguments[:2],
            snippet("CASE WHEN n = 0 THEN 1 ELSE n END", n=whole(call, 2)),
        ),
    )


def _texts(call: Call, start: int = 0) -> list[exp.Expr]:
    return [
        literal(None, STRING) if pa.types.is_null(dtype) else argument
        for argument, dtype in zip(call.arguments[start:], call.types[start:], strict=True)
    ]


def _concat(call: Call) -> exp.Expr:
    return function("concat", *_texts(call))


def _concat_ws(call: Call) -> exp.Expr:
    return function("concat_ws", call.arguments[0], *_texts(call, 1))


def _substring(call: Call) -> exp.Expr:
    if len(call.nodes) == 2:
        return function("substring", call.arguments[0], whole(call, 1, least=1))
    # As decimals, in which no sum overflows.
    start, length = (convert(node, "DECIMAL(20, 0)") for node in call.arguments[1:])
    return snippet(
        """CASE WHEN n < 0 OR s + n <= 1 THEN CASE WHEN x IS NOT NULL AND s IS NOT NULL THEN '' END
            WHEN s < 1 AND n IS NOT NULL THEN left(x, CAST(least(s + n - 1, far) AS INT))
            WHEN n IS NOT NULL AND s IS NOT NULL
            THEN substring(x, CAST(least(s, far) AS INT), CAST(least(n, far) AS INT)) END""",
        x=call.arguments[0],
        s=start,
        n=length,
        far=literal(FAR, pa.int64()),
    )


def slice_bounds(call: Call, length: exp.Expr) -> tuple[exp.Expr, exp.Expr]:
    """Turn Python's bounds of a slice, the arguments from the second, into numbers from 0."""

    def resolved(position: int) -> exp.Expr:
        return snippet(
            """CASE WHEN n >= 0 THEN n WHEN size + n > 0 THEN size + n
                WHEN n IS NOT NULL AND size IS NOT NULL THEN 0 END""",
            n=whole(call, position),
            size=length,
        )

    return resolved(1), resolved(2) if len(call.nodes) > 2 else length


def _slice(call: Call) -> exp.Expr:
    begin, end = slice_bounds(call, function("length", call.arguments[0].copy()))
    return snippet(
        """CASE WHEN e > b THEN substring(x, b + 1, e - b)
            WHEN e <= b AND x IS NOT NULL THEN '' END""",
        x=call.arguments[0],
        b=begin,
        e=end,
    )


def _end(template: str) -> Form[exp.Expr]:
    """Left and right; a negative number leaves out so many at the other end."""
    return Form(lambda call: snippet(template, x=call.arguments[0], n=whole(call, 1)))


def _pad(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        return snippet(
            f"CASE WHEN length(x) >= w THEN x ELSE {name}(x, w, fill) END",
            x=call.arguments[0],
            w=whole(call, 1, least=0),
            fill=call.arguments[2] if len(call.nodes) > 2 else text(" "),
        )

    return Form(build)


def _zfill(call: Call) -> exp.Expr:
    return snippet(
        """CASE WHEN length(x) >= w THEN x
            WHEN left(x, 1) IN ('+', '-')
            THEN left(x, 1) || lpad(substring(x, 2), w - 1, '0')
            ELSE lpad(x, w, '0') END""",
        x=call.arguments[0],
        w=whole(call, 1, least=0),
    )


def _replace_all(call: Call) -> exp.Expr:
    return function("replace", *call.arguments)


def _refuse_empty(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    old = nodes[1]
    if isinstance(old, Literal) and old.value != "":
        return None
    return "Spark replaces nothing where an empty text stands"


def _translate(call: Call) -> exp.Expr:
    return function("translate", *call.arguments)


def _repeat(call: Call) -> exp.Expr:
    return function("repeat", call.arguments[0], whole(call, 1, least=0))


def _chr(call: Call) -> exp.Expr:
    return snippet(
        """CASE WHEN n BETWEEN 0 AND 55295 OR n BETWEEN 57344 AND 1114111
            THEN decode(unhex(lpad(hex(n), 8, '0')), 'UTF-32')
            WHEN n IS NOT NULL THEN e END""",
        n=snippet("CAST(n AS BIGINT)", n=call.arguments[0]),
        e=fail("not the number of a character"),
    )


_IN_CONTEXT = Absent("Spark maps the case of some characters otherwise where words begin")

FORMS: dict[str, Form[exp.Expr] | Absent] = {
    "length": simple("length"),
    "byte_length": simple("octet_length"),
    "is_ascii": native("octet_length(x) = length(x)", "x"),
    "lower": Form(lambda call: cased("lower", call.arguments[0])),
    "upper": Form(lambda call: cased("upper", call.arguments[0])),
    "capitalize": _IN_CONTEXT,
    "title": _IN_CONTEXT,
    "initcap": _IN_CONTEXT,
    "strip": _strip("BOTH"),
    "strip_start": _strip("LEADING"),
    "strip_end": _strip("TRAILING"),
    "split": Form(_split),
    "split_whitespace": Form(_split_whitespace),
    "split_part": Form(_split_part),
    "concat": Form(_concat),
    "concat_ws": Form(_concat_ws),
    "substring": Form(_substring),
    "slice": Form(_slice),
    "left": _end("CASE WHEN n >= 0 THEN left(x, n) ELSE left(x, length(x) + n) END"),
    "right": _end("CASE WHEN n >= 0 THEN right(x, n) ELSE right(x, length(x) + n) END"),
    "reverse": simple("reverse"),
    "repeat": Form(_repeat),
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
    "replace_all": Form(_replace_all, _refuse_empty),
    "translate": Form(_translate),
    "position": native("instr(x, y)", "x", "y"),
    "contains": simple("contains"),
    "starts_with": simple("startswith"),
    "ends_with": simple("endswith"),
    "chr": Form(_chr),
    "ord": native("CASE WHEN x <> '' THEN ascii(x) END", "x"),
    "md5": native("md5(CAST(x AS BINARY))", "x"),
    "sha256": native("sha2(CAST(x AS BINARY), 256)", "x"),
    "levenshtein": simple("levenshtein"),
}
