"""Forms on Polars of the catalogue's theme strings.

Polars maps case by a newer Unicode than Python, and counts graphemes when it reverses. Where texts
hold characters on which the two may differ, Python's own methods replace Polars' result row by
row; texts without such characters, and batches of ASCII as a whole, stay native.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Literal
from umbel.plan.functions.characters import (
    NOT_LOWERED_ALIKE,
    NOT_RAISED_ALIKE,
    OTHER_WHITESPACE_CLASS,
    WHITESPACE,
)
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import STRING
from umbel.platforms.polars.fallback import each_batch, patch_rows

pc = LazyModule("pyarrow.compute")

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


Call: TypeAlias = "TypedCall[pl.Expr]"

#: Positions and lengths beyond this are as good as infinite, and safe to add up.
FAR = 2**40


def native(build: Callable[..., pl.Expr]) -> Form[pl.Expr]:
    """Make a form of a function of the arguments' expressions."""
    return Form(lambda call: build(*call.arguments))


def whole(expr: pl.Expr) -> pl.Expr:
    """An integer as int64, as near to zero as positions in a text can need."""
    return expr.cast(pl.Int64).clip(-FAR, FAR)


def fallback(call: Call) -> pl.Expr:
    """The catalogue's reference, row by row."""
    return call.fallback()


def _is_ascii(texts: pl.Series) -> bool:
    return bool((texts.str.len_bytes() == texts.str.len_chars()).all())


def _differs(pattern: str) -> Callable[[pl.Series], pl.Series]:
    return lambda texts: texts.str.contains(pattern)


def _not_ascii(texts: pl.Series) -> pl.Series:
    return texts.str.len_bytes() != texts.str.len_chars()


def _patched(
    quick: Callable[[pl.Series], pl.Series],
    differs: Callable[[pl.Series], pl.Series],
    exact: Callable[[str], str],
    *,
    ascii_alike: bool = True,
) -> Form[pl.Expr]:
    """Polars' function, and Python's for the texts that are not ASCII and may differ."""

    def run(texts: pl.Series) -> pl.Series:
        result = quick(texts)
        if _is_ascii(texts) and ascii_alike:
            return result
        return patch_rows(result, differs(texts), exact, [texts], STRING)

    return Form(lambda call: each_batch(run, call.arguments, STRING))


def _has_clusters(texts: pl.Series) -> pl.Series:
    """Whether characters may belong together; in ASCII, a line feed to a carriage return."""
    return _not_ascii(texts) | texts.str.contains("\r\n", literal=True)


def _capitalize(texts: pl.Series) -> pl.Series:
    return texts.str.head(1).str.to_uppercase() + texts.str.slice(1).str.to_lowercase()


def _has_plain_spaces_only(texts: pl.Series) -> bool:
    """Whether all bytes are printable ASCII: then the plain space is the only white space."""
    array = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
    data = array.buffers()[2]
    if data is None or data.size == 0:
        return True
    octets = pa.Array.from_buffers(pa.uint8(), data.size, [None, data])
    extremes = pc.min_max(octets).as_py()
    return bool(extremes["min"] >= 0x20 and extremes["max"] < 0x7F)


def _split_whitespace(texts: pl.Series) -> pl.Series:
    if not _has_plain_spaces_only(texts):
        texts = texts.str.replace_all(OTHER_WHITESPACE_CLASS, " ")
    words = texts.str.split(" ")
    if (words.explode().str.len_bytes() == 0).any():
        words = words.list.eval(pl.element().filter(pl.element() != ""))
    return words


def _strip(method: str) -> Form[pl.Expr]:
    def build(call: Call) -> pl.Expr:
        characters = call.constant(1) if len(call.nodes) > 1 else WHITESPACE
        text = call.arguments[0]
        stripped: pl.Expr = getattr(text.str, method)(characters)
        return stripped if characters else text

    return Form(build)


def _split_part(call: Call) -> pl.Expr:
    text, _, number = call.arguments
    number = whole(number)
    index = pl.when(number > 0).then(number - 1).otherwise(number)
    part = text.str.split(call.constant(1)).list.get(index, null_on_oob=True).fill_null("")
    return (
        pl.when(number == 0)
        .then(text.str.head(0))
        .when(text.is_not_null() & number.is_not_null())
        .then(part)
    )


def _concat(call: Call) -> pl.Expr:
    return pl.concat_str([text.cast(pl.String) for text in call.arguments])


def _concat_ws(call: Call) -> pl.Expr:
    texts = [text.cast(pl.String) for text in call.arguments[1:]]
    return pl.concat_str(texts, separator=call.constant(0), ignore_nulls=True)


def _substring(text: pl.Expr, start: pl.Expr, length: pl.Expr | None = None) -> pl.Expr:
    start_given = start.cast(pl.Int128)  # where no sum overflows
    first = whole(start.cast(pl.Int64).clip(lower_bound=1))
    if length is None:
        return text.str.slice(first - 1)
    end = start_given + length.cast(pl.Int128)
    count = whole((end - first).clip(0, FAR))
    return pl.when(length.is_not_null()).then(text.str.slice(first - 1, count))


def _slice(call: Call) -> pl.Expr:
    text, *bounds = call.arguments
    values = [
        node.value
        for node in call.nodes[1:]
        if isinstance(node, Literal) and node.value is not None and 0 <= node.value < FAR
    ]
    if len(values) == len(bounds):
        return text.str.slice(values[0], *[max(stop - values[0], 0) for stop in values[1:]])
    begin, count = slice_bounds(text.str.len_chars(), *bounds)
    known = text.is_not_null()
    for bound in bounds:
        known = known & bound.is_not_null()
    return pl.when(known).then(text.str.slice(begin, count))


def slice_bounds(
    length: pl.Expr, start: pl.Expr, stop: pl.Expr | None = None
) -> tuple[pl.Expr, pl.Expr]:
    """Turn Python's bounds of a slice into an offset and a count, both not negative."""
    size = length.cast(pl.Int64)

    def resolved(bound: pl.Expr) -> pl.Expr:
        bound = whole(bound)
        return pl.when(bound < 0).then((size + bound).clip(lower_bound=0)).otherwise(bound)

    begin = resolved(start)
    end = size if stop is None else resolved(stop)
    return begin, (end - begin).clip(lower_bound=0)


def _repeat(text: pl.Expr, count: pl.Expr) -> pl.Expr:
    times = count.cast(pl.Int64).clip(lower_bound=0)
    known = text.is_not_null() & count.is_not_null()
    return pl.when(known).then(text.repeat_by(times).list.join(""))


def _pad(method: str) -> Form[pl.Expr]:
    def build(call: Call) -> pl.Expr:
        fill = call.constant(2) if len(call.nodes) > 2 else " "
        width = whole(call.arguments[1]).clip(lower_bound=0)
        padded: pl.Expr = getattr(call.arguments[0].str, method)(width, fill)
        return padded

    return Form(build)


def _zfill(text: pl.Expr, width: pl.Expr) -> pl.Expr:
    signed = text.str.contains(r"\A[+-]")
    width = whole(width).clip(lower_bound=0)
    digits = text.str.slice(1).str.pad_start((width - 1).clip(lower_bound=0), "0")
    return pl.when(signed).then(text.str.head(1) + digits).otherwise(text.str.pad_start(width, "0"))


def _replace(call: Call, *, count: int) -> pl.Expr:
    text, old, new = call.arguments
    if not isinstance(call.nodes[1], Literal):  # Polars takes one pattern for all rows
        return call.fallback()
    if count == 1:
        return text.str.replace(old, new, literal=True, n=1)
    return text.str.replace_all(old, new, literal=True)


def _translate(call: Call) -> pl.Expr:
    source, target = call.constant(1), call.constant(2)
    table: dict[str, str] = {}
    for index, character in enumerate(source):
        table.setdefault(character, target[index] if index < len(target) else "")
    if not table:
        return call.arguments[0]
    return call.arguments[0].str.replace_many(list(table), list(table.values()))


def _position(text: pl.Expr, part: pl.Expr) -> pl.Expr:
    found = text.str.find(part, literal=True)  # in bytes
    before = text.cast(pl.Binary).bin.slice(0, found).cast(pl.String).str.len_chars()
    known = text.is_not_null() & part.is_not_null()
    return pl.when(known).then(
        pl.when(found.is_null()).then(0).otherwise(before.cast(pl.Int64) + 1)
    )


FORMS: dict[str, Form[pl.Expr] | Absent] = {
    "length": native(lambda text: text.str.len_chars().cast(pl.Int64)),
    "byte_length": native(lambda text: text.str.len_bytes().cast(pl.Int64)),
    "is_ascii": native(lambda text: text.str.len_bytes() == text.str.len_chars()),
    "lower": _patched(lambda s: s.str.to_lowercase(), _differs(NOT_LOWERED_ALIKE), str.lower),
    "upper": _patched(lambda s: s.str.to_uppercase(), _differs(NOT_RAISED_ALIKE), str.upper),
    "capitalize": _patched(_capitalize, _not_ascii, str.capitalize),
    "title": _patched(lambda s: s.str.to_titlecase(), _not_ascii, str.title),
    "initcap": Form(fallback),
    "strip": _strip("strip_chars"),
    "strip_start": _strip("strip_chars_start"),
    "strip_end": _strip("strip_chars_end"),
    "split": Form(lambda call: call.arguments[0].str.split(call.constant(1))),
    "split_whitespace": Form(
        lambda call: each_batch(_split_whitespace, call.arguments, call.dtype)
    ),
    "split_part": Form(_split_part),
    "concat": Form(_concat),
    "concat_ws": Form(_concat_ws),
    "substring": native(_substring),
    "slice": Form(_slice),
    "left": native(lambda text, n: text.str.head(whole(n))),
    "right": native(lambda text, n: text.str.tail(whole(n))),
    "reverse": _patched(
        lambda s: s.str.reverse(), _has_clusters, lambda text: text[::-1], ascii_alike=False
    ),
    "repeat": native(_repeat),
    "pad_start": _pad("pad_start"),
    "pad_end": _pad("pad_end"),
    "zfill": native(_zfill),
    "replace": Form(partial(_replace, count=1)),
    "replace_all": Form(partial(_replace, count=-1)),
    "translate": Form(_translate),
    "position": native(_position),
    "contains": native(lambda text, part: text.str.contains(part, literal=True)),
    "starts_with": native(lambda text, part: text.str.starts_with(part)),
    "ends_with": native(lambda text, part: text.str.ends_with(part)),
    "chr": Form(fallback),
    "ord": Form(fallback),
    "md5": Form(fallback),
    "sha256": Form(fallback),
    "levenshtein": Form(fallback),
}
