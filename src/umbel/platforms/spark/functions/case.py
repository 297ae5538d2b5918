"""Upper and lower case on Spark as Python maps them.

Both map by Unicode's full tables, in context. Spark's tables may be newer than those of the Python
that the catalogue's reference runs on, so characters that got a case later are left as they are.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from umbel.lazy import LazyModule
from umbel.platforms.spark.functions.snippets import snippet, text
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Blocks of scripts with case that still grow.
_GROWING = (
    (0x1C80, 0x1C8F), (0x2C00, 0x2C5F), (0xA720, 0xA7FF), (0xAB30, 0xAB6F), (0x10570, 0x105BF),
    (0x10D40, 0x10D8F), (0x16E40, 0x16EDF), (0x1DF00, 0x1DFFF),
)  # fmt: skip
#: Letters that got an upper case long after themselves, in Unicode 16 and 17.
_LATE = (0x019B, 0x0264, 0xA7D3, 0xA7D5)


@cache
def _newer(name: str) -> str:
    """A class of the characters that have no case here, but may have one in Spark."""
    codes = [c for first, last in _GROWING for c in range(first, last + 1)]
    unknown = [c for c in codes if unicodedata.category(chr(c)) == "Cn"]
    late = [c for c in _LATE if getattr(chr(c), name)() == chr(c)]
    return "".join(f"\\x{{{code:x}}}" for code in (*late, *unknown))


def cased(name: str, node: exp.Expr) -> exp.Expr:
    """Map a text to `lower` or `upper` case."""
    newer = _newer(name)
    return snippet(
        f"""CASE WHEN x RLIKE some THEN array_join(transform(parts,
            s -> CASE WHEN s RLIKE first THEN s ELSE {name}(s) END), '')
            ELSE {name}(x) END""",
        x=node,
        some=text(f"[{newer}]"),
        first=text(f"\\A[{newer}]"),
        parts=function(
            "regexp_extract_all",
            node.copy(),
            text(f"[{newer}]+|[^{newer}]+"),
            exp.Literal.number(0),
        ),
    )
