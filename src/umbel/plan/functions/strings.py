"""Rows of the catalogue: strings. Positions and lengths count Unicode code points.

What searches by pattern stands in `patterns`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from umbel.plan.errors import EvaluationError, PlanError
from umbel.plan.functions.row import Function, Kind, Nulls
from umbel.plan.functions.signatures import checked, signature
from umbel.plan.types import BOOL, INT64, STRING

_WORDS = pa.list_(STRING)


def _row(
    name: str,
    families: tuple[str, ...],
    returns: pa.DataType,
    semantics: str,
    reference: Callable[..., Any],
    examples: tuple[tuple[tuple[Any, ...], Any], ...],
    *,
    least: int | None = None,
    constant: tuple[int, ...] = (),
    check: Callable[[Sequence[Any]], None] | None = None,
    nulls: Nulls = Nulls.STRICT,
) -> Function:
    result = signature(name, *families, returns=returns)
    resolve = None
    if constant:
        resolve = checked(name, result, check or _anything, *constant)
    return Function(
        name=name,
        kind=Kind.SCALAR,
        arity=(len(families) if least is None else least, len(families)),
        result=result,
        semantics=semantics,
        reference=reference,
        nulls=nulls,
        constant=constant,
        examples=examples,
        resolve=resolve,
    )


def _anything(values: Sequence[Any]) -> None:
    """Take all constants."""


def _separator(values: Sequence[Any]) -> None:
    if values[1] == "":
        raise PlanError("cannot split by an empty separator", hint="slice takes single characters")


def _one_character(values: Sequence[Any]) -> None:
    if len(values) > 2 and len(values[2]) != 1:
        raise PlanError(f"the fill must be one character, not {values[2]!r}")


def _split_part(text: str, separator: str, index: int) -> str:
    parts = text.split(separator)
    position = index - 1 if index > 0 else index + len(parts)
    return parts[position] if index and 0 <= position < len(parts) else ""


def _substring(text: str, start: int, length: int | None = None) -> str:
    first = max(start, 1) - 1
    return text[first:] if length is None else text[first : max(start - 1 + length, first)]


def _slice(text: str, start: int, stop: int | None = None) -> str:
    return text[start:stop]


def _concat_ws(separator: str, *texts: str | None) -> str:
    return separator.join(text for text in texts if text is not None)


def _initcap(text: str) -> str:
    return re.sub(r"[^\W_]+", lambda word: word[0][0].upper() + word[0][1:].lower(), text)


def _translate(text: str, source: str, target: str) -> str:
    table: dict[int, str | None] = {}
    for index, character in enumerate(source):
        table.setdefault(ord(character), target[index] if index < len(target) else None)
    return text.translate(table)


def _chr(code: int) -> str:
    if not 0 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        raise EvaluationError(f"no character has the code point {code}")
    return chr(code)


def _levenshtein(left: str, right: str) -> int:
    previous = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        current = [i]
        for j, b in enumerate(right, 1):
            current.append(min(previous[j] + 1, current[-1] + 1, previous[j - 1] + (a != b)))
        previous = current
    return previous[-1]


ROWS: tuple[Function, ...] = (
    _row("length", ("string",), INT64, "The number of code points.", len,
         ((("né",), 2), (("",), 0))),
    _row("byte_length", ("string",), INT64, "The number of bytes in UTF-8.",
         lambda text: len(text.encode()), ((("né",), 3), (("",), 0))),
    _row("is_ascii", ("string",), BOOL, "Whether all code points are below 128.", str.isascii,
         ((("ne",), True), (("né",), False), (("",), True))),
    _row("lower", ("string",), STRING,
         "Lower case as Python's str.lower: full Unicode mapping, final sigma, no locale.",
         str.lower, ((("ÀB",), "àb"), (("ΑΣ",), "ας"), (("İ",), "i\u0307"))),
    _row("upper", ("string",), STRING,
         "Upper case as Python's str.upper: full Unicode mapping, no locale.",
         str.upper, ((("àb",), "ÀB"), (("ß",), "SS"))),
    _row("capitalize", ("string",), STRING,
         "As Python's str.capitalize: the first character in title case, the rest in lower case.",
         str.capitalize, ((("ÀB",), "Àb"), (("ßA",), "Ssa"))),
    _row("title", ("string",), STRING,
         "As Python's str.title: a letter that follows no letter in title case, others in lower.",
         str.title, ((("they're x1a",), "They'Re X1A"),)),
    _row("initcap", ("string",), STRING,
         "As SQL's initcap: the first character of each run of letters and digits in upper case, "
         "the others in lower case.",
         _initcap, ((("hELLO wORLD-x1A_b",), "Hello World-X1a_B"),)),
    _row("strip", ("string", "string"), STRING,
         "Without white space at both ends, as Python's str.strip; with a second, constant "
         "argument, without any of its characters there.",
         str.strip, (((" a\u00a0\n",), "a"), (("xaxy", "yx"), "a"), (("xa", ""), "xa")),
         least=1, constant=(1,)),
    _row("strip_start", ("string", "string"), STRING, "As strip, at the start only.",
         str.lstrip, (((" a ",), "a "), (("xax", "x"), "ax")), least=1, constant=(1,)),
    _row("strip_end", ("string", "string"), STRING, "As strip, at the end only.",
         str.rstrip, (((" a ",), " a"), (("xax", "x"), "xa")), least=1, constant=(1,)),
    _row("split", ("string", "string"), _WORDS,
         "The parts between occurrences of a constant, non-empty separator, as Python's "
         "text.split(separator): always at least one part.",
         str.split, ((("a,,b", ","), ["a", "", "b"]), (("", ","), [""])),
         constant=(1,), check=_separator),
    _row("split_whitespace", ("string",), _WORDS,
         "The words between runs of Unicode white space, as Python's text.split(): none is "
         "empty; a blank text has none.",
         str.split, (((" a\tb\u2003c ",), ["a", "b", "c"]), (("",), []), ((" ",), []))),
    _row("split_part", ("string", "string", "integer"), STRING,
         "Part number n, from 1, of the parts that split gives; from the end for negative n; "
         "the empty text where there is no such part (also for 0).",
         _split_part,
         ((("a,b", ",", 2), "b"), (("a,b", ",", -2), "a"), (("a,b", ",", 3), ""),
          (("a,b", ",", 0), "")),
         constant=(1,), check=_separator),
    Function(
        name="concat", kind=Kind.SCALAR, arity=(1, None),
        result=signature("concat", returns=STRING, rest="text"),
        semantics="The texts one after another; null if any is null.",
        reference=lambda *texts: "".join(texts),
        examples=((("a", "", "b"), "ab"), (("a", None), None)),
    ),
    Function(
        name="concat_ws", kind=Kind.SCALAR, arity=(2, None),
        result=signature("concat_ws", "string", returns=STRING, rest="text"),
        semantics="The texts that are not null, with a constant separator between them.",
        reference=_concat_ws, nulls=Nulls.NEVER, constant=(0,),
        examples=(((", ", "a", None, "b"), "a, b"), ((",", None), "")),
        resolve=checked("concat_ws", signature("concat_ws", "string", returns=STRING, rest="text"),
                        _anything, 0),
    ),
    _row("substring", ("string", "integer", "integer"), STRING,
         "As SQL's substring: the characters at positions start to start + length - 1, counted "
         "from 1; positions before 1 hold none; to the end without length; none if it is "
         "negative.",
         _substring,
         ((("hello", 2, 3), "ell"), (("hello", 0, 3), "he"), (("hello", 4), "lo"),
          (("hello", -5, 3), ""), (("hello", 2, -1), "")), least=2),
    _row("slice", ("string", "integer", "integer"), STRING,
         "Python's text[start:stop]: counted from 0, from the end where negative; to the end "
         "without stop.",
         _slice, ((("hello", 1, 3), "el"), (("hello", -3), "llo"), (("hello", 0, -1), "hell"),
                  (("hello", 3, 1), "")), least=2),
    _row("left", ("string", "integer"), STRING,
         "The first n characters; for a negative n all but the last -n.",
         lambda text, n: text[:n], ((("hello", 2), "he"), (("hello", -2), "hel"))),
    _row("right", ("string", "integer"), STRING,
         "The last n characters; for a negative n all but the first -n.",
         lambda text, n: text[-n:] if n else "",
         ((("hello", 2), "lo"), (("hello", -2), "llo"), (("hello", 0), ""))),
    _row("reverse", ("string",), STRING,
         "The code points in reverse order; combining characters do not stay with their base.",
         lambda text: text[::-1], ((("abc",), "cba"), (("ae\u0301",), "\u0301ea"))),
    _row("repeat", ("string", "integer"), STRING,
         "The text n times; the empty text for n below 1.",
         lambda text, n: text * n, ((("ab", 2), "abab"), (("ab", -1), ""))),
    _row("pad_start", ("string", "integer", "string"), STRING,
         "Fill at the start to n characters with a constant character, a space by default; "
         "longer texts stay whole. Python's str.rjust.",
         str.rjust, ((("ab", 4), "  ab"), (("ab", 3, "é"), "éab"), (("abc", 2), "abc")),
         least=2, constant=(2,), check=_one_character),
    _row("pad_end", ("string", "integer", "string"), STRING,
         "Fill at the end to n characters, else as pad_start. Python's str.ljust.",
         str.ljust, ((("ab", 4), "ab  "), (("ab", 3, "é"), "abé"), (("abc", 2), "abc")),
         least=2, constant=(2,), check=_one_character),
    _row("zfill", ("string", "integer"), STRING,
         "Fill with zeros to n characters, after a leading sign. Python's str.zfill.",
         str.zfill, ((("7", 3), "007"), (("-7", 4), "-007"), (("abcd", 2), "abcd"))),
    _row("replace", ("string", "string", "string"), STRING,
         "Replace the first occurrence of a literal text; an empty one occurs at the start.",
         lambda text, old, new: text.replace(old, new, 1),
         ((("banana", "an", "-"), "b-ana"), (("ab", "", "-"), "-ab"))),
    _row("replace_all", ("string", "string", "string"), STRING,
         "Replace every occurrence of a literal text, as Python's str.replace; an empty one "
         "occurs before each character and at the end.",
         str.replace, ((("banana", "an", "-"), "b--a"), (("ab", "", "-"), "-a-b-"))),
    _row("translate", ("string", "string", "string"), STRING,
         "Replace each character that stands in the second argument by the one at the same "
         "place in the third, or by nothing if that is shorter; both constant. The first place "
         "counts.",
         _translate, ((("abca", "ab", "x"), "xcx"), (("abc", "aa", "xy"), "xbc")),
         constant=(1, 2)),
    _row("position", ("string", "string"), INT64,
         "Where the second text first stands in the first, in characters from 1; 0 if nowhere. "
         "The empty text stands at 1.",
         lambda text, part: text.find(part) + 1,
         ((("élan", "an"), 3), (("abc", "x"), 0), (("abc", ""), 1))),
    _row("contains", ("string", "string"), BOOL, "Whether the second text stands in the first.",
         lambda text, part: part in text, ((("abc", "bc"), True), (("abc", ""), True))),
    _row("starts_with", ("string", "string"), BOOL, "Whether the first begins with the second.",
         lambda text, part: text.startswith(part), ((("abc", "ab"), True), (("a", "b"), False))),
    _row("ends_with", ("string", "string"), BOOL, "Whether the first ends with the second.",
         lambda text, part: text.endswith(part), ((("abc", "bc"), True), (("a", "b"), False))),
    _row("chr", ("integer",), STRING,
         "The character of a code point; fails for numbers that have none.",
         _chr, (((233,), "é"), ((0x1F600,), "😀"))),
    _row("ord", ("string",), INT64, "The code point of the first character; null if empty.",
         lambda text: ord(text[0]) if text else None, ((("éa",), 233), (("",), None)),
         nulls=Nulls.PARTIAL),
    _row("md5", ("string",), STRING, "The MD5 of the UTF-8 bytes, in lower-case hex digits.",
         lambda text: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
         ((("",), "d41d8cd98f00b204e9800998ecf8427e"),)),  # RFC 1321, appendix A.5
    _row("sha256", ("string",), STRING, "The SHA-256 of the UTF-8 bytes, in lower-case hex digits.",
         lambda text: hashlib.sha256(text.encode()).hexdigest(),
         # FIPS 180-2, appendix B.1
         ((("abc",), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),)),
    _row("levenshtein", ("string", "string"), INT64,
         "The least number of insertions, deletions and replacements of code points that make "
         "one text the other.",
         _levenshtein, ((("kitten", "sitting"), 3), (("é", "e"), 1), (("", "ab"), 2))),
)  # fmt: skip
