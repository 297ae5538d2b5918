"""Strings and patterns: every function on every engine, on hostile texts."""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings

from tests.conformance.functions import embedded
from tests.conformance.functions.check import Raises, call, check, check_examples, constant
from tests.conformance.functions.values import STRINGS, tables
from umbel.plan.errors import PlanError, TypeClashError
from umbel.plan.expressions import Call, Literal
from umbel.plan.functions import CATALOGUE, patterns, strings
from umbel.plan.functions.characters import (
    NOT_LOWERED_ALIKE,
    NOT_RAISED_ALIKE,
    OTHER_ASCII_WHITESPACE,
    WHITESPACE,
)
from umbel.plan.functions.regex import parse_regex
from umbel.plan.typing import infer_type

TEXTS = (
    *STRINGS,
    "ΑΣ. ΣΑΣ'Σ Σ",
    "ß ŉ ǰ ΐ ΰ և ﬃ ﬗ",
    "ǅ ǆ Ǆ",
    "\u0345\u0301a",
    "ſK\u212a\u2126",
    "\u13a0\uab70\u1c90\u10d0",
    "\U00010400\U00010428\U0001e900",
    "a\tb\nc\vd\fe\rf\x1cg\x1dh\x1ei\x1fj k",
    "a\x85b\xa0c\u1680d\u2000e\u200af\u2028g\u2029h\u202fi\u205fj\u3000k",
    "\u180e\u200b\ufeffx\ufeff",
    " lead", "trail ", "two  spaces", "   ",
    "tab\tonly",
    "they're bill's x1a o'NEILL-smith",
    "banana", "anan", "Banana\nbanana", "k=v;k2=v2", "$1 \\1 ${x} $$",
    "a%b_c\\d", "a!%", "100%", "%", "_", "\\",
    "+7", "-7", "-", "+", "--1",
    "\u0301start", "a\u0301\u0302b", "\U0001f600\U0001f44d\U0001f3fd",
    ",", ",,", "a,", ",a", "aaa", "aaaa",
)  # fmt: skip
COLUMN = pa.array([*TEXTS, None], pa.string())
SMALL = (-(2**63), -(2**31) - 1, -5, -2, -1, 0, 1, 2, 3, 7, 2**31, 2**62, 2**63 - 1, None)
COUNTS = (-(2**63), -3, -1, 0, 1, 2, 9, None)


def text(value: str | None) -> Literal:
    """A constant text."""
    return constant(value, pa.string())


def crossed(texts: Any, **columns: Any) -> dict[str, pa.Array]:
    """Every text beside every combination of the other columns' values."""
    rows: list[tuple[Any, ...]] = [(value,) for value in texts]
    for values in columns.values():
        rows = [(*row, value) for row in rows for value in values]
    names = ("x", *columns)
    types = [
        pa.string() if all(isinstance(v, str | None) for v in column) else pa.int64()
        for column in zip(*rows, strict=True)
    ]
    return {
        name: pa.array(list(column), dtype)
        for name, column, dtype in zip(names, zip(*rows, strict=True), types, strict=True)
    }


@pytest.mark.parametrize("row", [*strings.ROWS, *patterns.ROWS], ids=lambda row: row.name)
def test_the_reference_gives_the_examples(row: Any) -> None:
    check_examples(row.name)


UNARY = [
    row.name for row in strings.ROWS if row.arity[0] == 1 and row.name not in ("chr", "concat")
]


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_text(name: str) -> None:
    check(call(name, "x"), {"x": COLUMN})


@pytest.mark.parametrize("name", ["lower", "upper", "strip", "split_whitespace", "reverse"])
@settings(max_examples=40, deadline=None)
@given(columns=tables({"x": pa.string()}))
def test_any_text(name: str, columns: dict[str, pa.Array]) -> None:
    check(call(name, "x"), columns)


@pytest.mark.parametrize(
    ("name", "method"),
    [("lower", str.lower), ("upper", str.upper), ("capitalize", str.capitalize),
     ("strip", str.strip), ("title", str.title), ("reverse", lambda s: s[::-1])],
)  # fmt: skip
def test_every_character_inside_a_word(name: str, method: Any) -> None:
    """Each code point alone, and all of them as part of longer texts, on each engine."""
    # Ideographs, Hangul and private use have no case; a sample of them is enough.
    without_case = (*range(0x3400, 0xA000), *range(0xAC00, 0xD7A4), *range(0xE000, 0xF900))
    skipped = {c for c in without_case if c % 97} | set(range(0xD800, 0xE000))
    characters = [chr(c) for c in range(0x20000) if c not in skipped]
    characters += [chr(c) for c in range(0x20000, sys.maxunicode + 1, 97)]
    texts = [f"a{c}B {c}" for c in characters]
    assert method("aΣB Σ") == CATALOGUE[name].reference("aΣB Σ")
    check(call(name, "x"), {"x": pa.array(texts)})


def test_white_space_is_what_python_takes_for_it() -> None:
    every = (chr(c) for c in range(sys.maxunicode + 1))
    assert "".join(c for c in every if c.isspace()) == WHITESPACE
    assert "".join(c for c in WHITESPACE if c.isascii() and c != " ") == OTHER_ASCII_WHITESPACE


def test_every_white_space_splits_words() -> None:
    texts = [f"a{c}b{c}{c} c{c}" for c in WHITESPACE] + [f"a{chr(c)}b" for c in range(0x3100)]
    values = check(call("split_whitespace", "x"), {"x": pa.array(texts)})
    assert values[: len(WHITESPACE)] == [["a", "b", "c"]] * len(WHITESPACE)


@pytest.mark.parametrize(
    ("pattern", "name"), [(NOT_LOWERED_ALIKE, "lower"), (NOT_RAISED_ALIKE, "upper")]
)
def test_ascii_never_takes_the_slow_path(pattern: str, name: str) -> None:
    ascii_only = "".join(map(chr, range(128)))
    regex = parse_regex(pattern).compiled
    assert regex.search(ascii_only) is None, name
    assert regex.search("ü") is None
    assert regex.search("\u1c89") is not None  # new in Unicode 16


@pytest.mark.parametrize("name", ["strip", "strip_start", "strip_end"])
@pytest.mark.parametrize("characters", ["", "a", "an", " \t", "é\u0301", "\\", "]^-", "%_", "日\0"])
def test_strip_of_characters(name: str, characters: str) -> None:
    extra = [f"{characters}{inner}{characters[::-1]}" for inner in ("", "x", " a ")]
    check(call(name, "x", text(characters)), {"x": pa.array([*TEXTS, *extra, None])})


SEPARATORS = [",", " ", "an", "aa", "\u0301", "\0", "\\", "%", "b c", ".", "🇩"]


@pytest.mark.parametrize("separator", SEPARATORS)
def test_split(separator: str) -> None:
    check(call("split", "x", text(separator)), {"x": COLUMN})
    check(call("split_part", "x", text(separator), "n"), crossed([*TEXTS, None], n=SMALL))
    check(call("split_part", "x", text(separator), constant(2)), {"x": COLUMN})


@pytest.mark.parametrize("name", ["left", "right", "slice", "substring"])
def test_parts_by_position(name: str) -> None:
    columns = crossed([*TEXTS[:40], None], n=SMALL)
    check(call(name, "x", "n"), columns)
    for n in SMALL[:-1]:
        check(call(name, "x", constant(n, pa.int64())), {"x": COLUMN})
    check(call(name, "x", constant(None, pa.int64())), {"x": COLUMN})


@pytest.mark.parametrize("name", ["slice", "substring"])
def test_parts_by_two_positions(name: str) -> None:
    some = ["", "a", "hello", "ae\u0301b", "日本語", None]
    check(call(name, "x", "m", "n"), crossed(some, m=SMALL, n=SMALL))
    for m in (-2, 0, 1, 2):
        check(call(name, "x", constant(m), "n"), crossed(some, n=SMALL))
        for n in (-2, 0, 1, 3, 2**62):
            check(call(name, "x", constant(m), constant(n)), {"x": pa.array(some)})
    narrow = {"x": pa.array(some), "m": pa.array([1, 2, 3, -1, 1, 1], pa.int8())}
    check(call(name, "x", "m", "m"), narrow)


@pytest.mark.parametrize("name", ["repeat", "pad_start", "pad_end", "zfill"])
def test_lengthening(name: str) -> None:
    check(call(name, "x", "n"), crossed([*TEXTS, None], n=COUNTS))
    for n in COUNTS:
        check(call(name, "x", constant(n, pa.int64())), {"x": COLUMN})


@pytest.mark.parametrize("fill", ["*", "é", "\0", "'", "😀", "\u0301"])
def test_padding_with_a_character(fill: str) -> None:
    for name in ("pad_start", "pad_end"):
        check(call(name, "x", "n", text(fill)), crossed([*TEXTS, None], n=COUNTS))


PARTS = ["", "a", "an", "\u0301", "e", "Σ", "x" * 299, ",", "\0", "\\", "%", "$1", None]


@pytest.mark.parametrize("name", ["contains", "starts_with", "ends_with", "position"])
def test_search_of_a_text(name: str) -> None:
    check(call(name, "x", "part"), crossed([*TEXTS, None], part=PARTS))
    for part in PARTS[:-1]:
        check(call(name, "x", text(part)), {"x": COLUMN})


@pytest.mark.parametrize("name", ["replace", "replace_all"])
def test_replacing_a_text(name: str) -> None:
    columns = crossed([*TEXTS[::2], None], part=PARTS, new=["", "-", "$0\\1", None])
    check(call(name, "x", "part", "new"), columns)
    for part in PARTS[:-1]:
        check(call(name, "x", text(part), text("<$0\\1>")), {"x": COLUMN})
        check(call(name, "x", text(part), "x"), {"x": COLUMN})


@pytest.mark.parametrize(
    ("source", "target"),
    [("", ""), ("ab", "xy"), ("ab", "x"), ("aa", "xy"), ("a\u0301", "é"), ("ab", "ba"),
     ("\0 ", "_"), ("abn", "😀"), ("$\\", "\\$")],
)  # fmt: skip
def test_translate(source: str, target: str) -> None:
    check(call("translate", "x", text(source), text(target)), {"x": COLUMN})


def test_concat() -> None:
    columns = crossed([*TEXTS[:20], None], y=["", "é", None])
    check(call("concat", "x"), columns)
    check(call("concat", "x", "y", text("!"), "x"), columns)
    check(call("concat", "x", constant(None)), columns)
    check(call("concat_ws", text(", "), "x", "y", constant(None)), columns)
    check(call("concat_ws", text(""), "y"), columns)


def test_characters_by_code() -> None:
    codes = [0, 1, 65, 127, 128, 233, 0x1F600, 0x10FFFF, 0xD800, 0xDFFF, 0x110000, -1, 2**40]
    values = check(call("chr", "n"), {"n": pa.array([*codes, None], pa.int64())})
    assert [isinstance(value, Raises) for value in values[8:13]] == [True] * 5


def test_levenshtein() -> None:
    some = ["", "a", "abc", "kitten", "sitting", "é", "e\u0301", "日本", None]
    check(call("levenshtein", "x", "y"), crossed(some, y=some))


LIKES = [
    "", "%", "%%", "_", "a%", "%a", "%an%", "a_c", "%a%n%", "_%", "%_", "b_n_n_", "%\n%", "100\\%",
    ".*", "[a-z]", "\\", "é%", "%\u0301%", "it's%", "a%b_c\\d", "%Σ%", "(a|b)", "^a$", "%$",
    "\\%", "日_語", "%#%",
]  # fmt: skip


@pytest.mark.parametrize("name", ["like", "ilike"])
@pytest.mark.parametrize("pattern", LIKES)
def test_like(name: str, pattern: str) -> None:
    check(call(name, "x", text(pattern)), {"x": COLUMN})


@pytest.mark.parametrize(
    ("pattern", "escape"),
    [("a!%", "!"), ("a\\%b\\_c\\\\d", "\\"), ("%!_%", "!"), ("!!%", "!"), ("%%%", "x"),
     ("1a%%", "a"), ("%A_%", "A")],
)  # fmt: skip
def test_like_with_an_escape(pattern: str, escape: str) -> None:
    for name in ("like", "ilike"):
        check(call(name, "x", text(pattern), text(escape)), {"x": COLUMN})


REGEXES = [
    "a", "an", "a+", "(a)(n)?", "^a", "a$", r"\Aa", r"\d+", r"\D", r"\s", r"\S+", r"\w+", r"\W",
    r"\ba", r"n\b", "[a-c]+", "[^a-c]", r"[\d,]+", r"[^\s]", "(?i)ban", "(?i)[a-f]", "(?s)a.b",
    "a.c", "(?m)^b", "(?m)a$", "x{3}", "a{2,3}?", "a+?", "(?:an)+", "(an)+", "an|na|b", "é",
    "[à-ÿ]", r"\.", r"\$1", r"\\", "%", "(?P<k>k)=(v)", "日.語", r"\x61", r"[\]\-^]", "\u0301",
    "(?i:B)anana", r"^\d{4}-\d{2}-\d{2}$", "^$", "a?", r"\A\Z",
]  # fmt: skip


@pytest.mark.parametrize("pattern", REGEXES)
def test_regular_expressions(pattern: str) -> None:
    regex = parse_regex(pattern)
    column = {"x": COLUMN}
    check(call("regexp_matches", "x", text(pattern)), column)
    check(call("regexp_extract", "x", text(pattern)), column)
    replacements = ["", "<\\0>", "$1$$\\\\n"] + (["[\\1\\1]"] if regex.groups else [])
    for replacement in replacements:
        check(call("regexp_replace", "x", text(pattern), text(replacement)), column)
    for group in range(1, regex.groups + 1):
        check(call("regexp_extract", "x", text(pattern), constant(group)), column)
    if regex.may_be_empty:
        for name in ("regexp_count", "regexp_extract_all"):
            with pytest.raises(PlanError, match="matches the empty text"):
                type_of(call(name, "x", text(pattern)))
        return
    check(call("regexp_count", "x", text(pattern)), column)
    for group in range(regex.groups + 1):
        check(call("regexp_extract_all", "x", text(pattern), constant(group)), column)
    for replacement in replacements:
        check(call("regexp_replace_all", "x", text(pattern), text(replacement)), column)


def type_of(expression: Call) -> pa.DataType:
    """The type over a text and a number."""
    return infer_type(expression, pa.schema([("x", pa.string()), ("n", pa.int64())]))


@pytest.mark.parametrize(
    ("pattern", "why"),
    [("(", "unterminated"), ("a(?=b)", "look-around"), ("(?<!a)b", "look-around"),
     (r"(a)\1", "backreference"), ("(?>a)", "not supported|unknown extension"), ("a++", "not supported|multiple repeat"), ("(a)?(?(1)b|c)", "conditional"),
     (r"a\B", r"\\B"), ("[[:alpha:]]", "nested set"), ("(?i)é", "ASCII letters"),
     ("(a*)*", "may be empty"), ("a{2000}", "1000"), ("(a{100}){100}", "1000"),
     (r"[\D]x[\S1]", "negated class")],
)  # fmt: skip
def test_a_regular_expression_that_engines_do_not_share_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        type_of(call("regexp_matches", "x", text(pattern)))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (call("split", "x", text("")), "empty separator"),
        (call("split", "x", "x"), "must be a constant"),
        (call("strip", "x", constant(None, pa.string())), "must not be null"),
        (call("pad_start", "x", "n", text("ab")), "one character, not 'ab'"),
        (call("like", "x", text("a!b"), text("!")), "must stand before"),
        (call("like", "x", text("a!"), text("!")), "must stand before"),
        (call("like", "x", text("a"), text("!!")), "one character, not '!!'"),
        (call("regexp_extract", "x", text("a"), constant(1)), "no group 1"),
        (call("regexp_replace", "x", text("a"), text("\\1")), "names no group"),
        (call("regexp_replace", "x", text("a"), text("\\")), "names no group"),
        (call("lower", "n"), r"function 'lower' takes \(string\), not \(int64\)"),
        (call("left", "x", "x"), "takes"),
        (call("left", "x"), "takes 2 arguments, not 1"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_when_the_plan_is_built(expression: Call, message: str) -> None:
    with pytest.raises((PlanError, TypeClashError), match=message):
        type_of(expression)


def test_every_function_runs_on_every_engine() -> None:
    from umbel.platforms.duckdb.functions import forms as duckdb_forms
    from umbel.platforms.polars.functions import forms as polars_forms

    assert embedded.ENGINES == ("polars", "duckdb")
    for row in (*strings.ROWS, *patterns.ROWS):
        assert hasattr(polars_forms()[row.name], "build"), row.name
        assert hasattr(duckdb_forms()[row.name], "build"), row.name
