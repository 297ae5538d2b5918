"""The namespace `.str`: functions of text, named as in Polars.

Text is counted in code points. Patterns are regular expressions that RE2 and Rust's regex share:
no look-around, no back-references.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from umbel.api.located import located_methods
from umbel.api.namespace import Namespace
from umbel.api.values import TypeLike, type_of
from umbel.plan.errors import PlanError, TypeClashError
from umbel.plan.types import DATE

if TYPE_CHECKING:
    from umbel.api.expressions import Expr

_META = re.compile(r"[\\.+*?()|\[\]{}^$]")
_GROUP = re.compile(r"\\|\$\$|\$(\d)(?!\w)|\$\{(\d)\}|\$")


def escape(text: str) -> str:
    r"""Make the pattern that matches a text as it is.

    >>> escape("a.b")
    'a\\.b'
    """
    return _META.sub(r"\\\g<0>", text)


def replacement(value: str, *, literal: bool) -> str:
    r"""Write a replacement with Polars' groups `$1` or `${1}` as the catalogue has them.

    >>> replacement("<${1}> costs $$", literal=False)
    '<\\1> costs $'
    """
    if literal:
        return value.replace("\\", "\\\\")

    def group(match: re.Match[str]) -> str:
        if match[0] == "\\":
            return "\\\\"
        if match[0] == "$$":
            return "$"
        number = match[1] or match[2]
        if number is None:
            raise PlanError(
                f"the replacement {value!r} has a $ that is no group",
                hint="write $1 or ${1} for a group, and $$ for the character",
            )
        return f"\\{number}"

    return _GROUP.sub(group, value)


@located_methods
class StringMethods(Namespace):
    """Functions of text."""

    # --- case and white space -----------------------------------------------------------------

    def to_lowercase(self) -> Expr:
        """The text in lower case, as Python's `str.lower`."""
        return self._call("lower")

    def to_uppercase(self) -> Expr:
        """The text in upper case, as Python's `str.upper`."""
        return self._call("upper")

    def to_titlecase(self) -> Expr:
        """Words begin in upper case, as Python's `str.title`."""
        return self._call("title")

    def capitalize(self) -> Expr:
        """The first character in upper case, the rest in lower, as Python's `str.capitalize`."""
        return self._call("capitalize")

    def initcap(self) -> Expr:
        """Words begin in upper case, as SQL's `initcap`."""
        return self._call("initcap")

    def strip_chars(self, characters: str | None = None) -> Expr:
        """Without white space, or some characters, at both ends."""
        return self._call("strip", characters)

    def strip_chars_start(self, characters: str | None = None) -> Expr:
        """Without white space, or some characters, at the start."""
        return self._call("strip_start", characters)

    def strip_chars_end(self, characters: str | None = None) -> Expr:
        """Without white space, or some characters, at the end."""
        return self._call("strip_end", characters)

    def strip_prefix(self, prefix: str) -> Expr:
        """Without a text at the start, if it stands there."""
        return self._call("regexp_replace", f"^{escape(prefix)}", "")

    def strip_suffix(self, suffix: str) -> Expr:
        r"""Without a text at the end, if it stands there."""
        return self._call("regexp_replace", rf"{escape(suffix)}\z", "")

    # --- size and place -----------------------------------------------------------------------

    def len_chars(self) -> Expr:
        """The number of characters (code points)."""
        return self._call("length")

    def len_bytes(self) -> Expr:
        """The number of bytes in UTF-8."""
        return self._call("byte_length")

    def find(self, text: Any) -> Expr:
        """Where a text first stands, in characters from 0; null if nowhere."""
        place = self._call("position", text)
        return (place - 1).replace(-1, None)

    def position(self, text: Any) -> Expr:
        """Where a text first stands, in characters from 1, as in SQL; 0 if nowhere."""
        return self._call("position", text)

    # --- parts --------------------------------------------------------------------------------

    def slice(self, offset: int, length: int | None = None) -> Expr:
        """At most `length` characters from `offset` on, which counts from the end if negative."""
        if length is not None and length < 0:
            raise PlanError(f"a length cannot be negative, but is {length}")
        stop = None if length is None else offset + length
        # From the end, a stop that is not negative lies behind the text.
        return self._call("slice", offset, None if offset < 0 and (stop or 0) >= 0 else stop)

    def head(self, n: Any) -> Expr:
        """The first `n` characters; all but the last -n if negative."""
        return self._call("left", n)

    def tail(self, n: Any) -> Expr:
        """The last `n` characters; all but the first -n if negative."""
        return self._call("right", n)

    def substring(self, start: Any, length: Any = None) -> Expr:
        """SQL's substring: positions count from 1, and those before it hold no character."""
        return self._call("substring", start, length)

    def split(self, by: str | None = None) -> Expr:
        """The list of parts between occurrences of a text, or of words between white space."""
        return self._call("split_whitespace") if by is None else self._call("split", by)

    def split_part(self, by: str, n: Any) -> Expr:
        """Part number `n`, from 1 (or from the end, if negative), of what `split` gives."""
        return self._call("split_part", by, n)

    def reverse(self) -> Expr:
        """The characters in reverse order."""
        return self._call("reverse")

    # --- search -------------------------------------------------------------------------------

    def starts_with(self, prefix: Any) -> Expr:
        """Whether the text begins with another."""
        return self._call("starts_with", prefix)

    def ends_with(self, suffix: Any) -> Expr:
        """Whether the text ends with another."""
        return self._call("ends_with", suffix)

    def contains(self, pattern: Any, *, literal: bool = False) -> Expr:
        """Whether a pattern matches somewhere, or, if `literal`, another text stands in it."""
        return self._call("contains" if literal else "regexp_matches", pattern)

    def like(self, pattern: str, escape: str | None = None) -> Expr:
        """Whether SQL's pattern matches all of the text: `%` any text, `_` one character."""
        return self._call("like", pattern, escape)

    def ilike(self, pattern: str, escape: str | None = None) -> Expr:
        """As `like`, whatever the case."""
        return self._call("ilike", pattern, escape)

    def count_matches(self, pattern: str, *, literal: bool = False) -> Expr:
        """How often a pattern, or a text, occurs."""
        return self._call("regexp_count", escape(pattern) if literal else pattern)

    def extract(self, pattern: str, group_index: int = 1) -> Expr:
        """A group of the first match of a pattern; null without a match."""
        return self._call("regexp_extract", pattern, group_index)

    def extract_all(self, pattern: str, group_index: int = 0) -> Expr:
        """The list of all matches of a pattern, or of a group of them."""
        return self._call("regexp_extract_all", pattern, group_index)

    # --- change -------------------------------------------------------------------------------

    def replace(self, pattern: Any, value: Any, *, literal: bool = False) -> Expr:
        """Replace the first match of a pattern, or the first occurrence of a text.

        Args:
            pattern: a regular expression, or, if `literal`, a text.
            value: what stands there then; `$1` or `${1}` stands for a group of the pattern.
            literal: take pattern and value as they are; they may be expressions.
        """
        if literal:
            return self._call("replace", pattern, value)
        return self._call("regexp_replace", pattern, self._template(value))

    def replace_all(self, pattern: Any, value: Any, *, literal: bool = False) -> Expr:
        """Replace all matches; see `replace`."""
        if literal:
            return self._call("replace_all", pattern, value)
        return self._call("regexp_replace_all", pattern, self._template(value))

    def _template(self, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeClashError(
                f"the replacement of a pattern is a constant text, not {value!r}",
                hint="with literal=True it may be an expression",
            )
        return replacement(value, literal=False)

    def translate(self, old: str, new: str) -> Expr:
        """Replace each character of `old` by the one at its place in `new`, or by nothing."""
        return self._call("translate", old, new)

    def pad_start(self, length: Any, fill_char: str = " ") -> Expr:
        """Fill at the start to a length; longer texts stay whole."""
        return self._call("pad_start", length, fill_char)

    def pad_end(self, length: Any, fill_char: str = " ") -> Expr:
        """Fill at the end to a length; longer texts stay whole."""
        return self._call("pad_end", length, fill_char)

    def zfill(self, length: Any) -> Expr:
        """Fill with zeros at the start, behind a sign, to a length."""
        return self._call("zfill", length)

    def repeat(self, n: Any) -> Expr:
        """The text `n` times."""
        return self._call("repeat", n)

    def join(self, delimiter: str = "", order_by: Any = None, *, distinct: bool = False) -> Expr:
        """Aggregate texts into one, with a delimiter between them; nulls are left out."""
        return self._expression._aggregate(
            "join_strings", delimiter, order_by=order_by, distinct=distinct
        )

    # --- conversion and other measures --------------------------------------------------------

    def to_integer(self, *, strict: bool = True) -> Expr:
        """The integer that the text shows."""
        return self._expression.cast("int64", strict=strict)

    def to_decimal(self, precision: int = 38, scale: int = 10, *, strict: bool = True) -> Expr:
        """The decimal number that the text shows."""
        return self._expression.cast(f"decimal({precision},{scale})", strict=strict)

    def to_date(self, format: str | None = None, *, strict: bool = True) -> Expr:  # noqa: A002
        """The date that the text shows: in a format such as "%d.%m.%Y", or in ISO 8601."""
        if format is None:
            return self._expression.cast(DATE, strict=strict)
        return self.to_datetime(format, strict=strict).dt.date()

    def to_datetime(self, format: str | None = None, *, strict: bool = True) -> Expr:  # noqa: A002
        """The timestamp that the text shows: in a format, or in ISO 8601."""
        if format is None:
            return self._expression.cast("timestamp", strict=strict)
        return self._call("strptime" if strict else "try_strptime", format)

    def strptime(self, dtype: TypeLike, format: str | None = None, *, strict: bool = True) -> Expr:  # noqa: A002
        """The date or timestamp that the text shows in a format."""
        if type_of(dtype) == DATE:
            return self.to_date(format, strict=strict)
        stamp = self.to_datetime(format, strict=strict)
        return stamp if type_of(dtype) == type_of("timestamp") else stamp.cast(dtype)

    def is_ascii(self) -> Expr:
        """Whether all characters are ASCII."""
        return self._call("is_ascii")

    def ord(self) -> Expr:
        """The code point of the first character; null if empty."""
        return self._call("ord")

    def levenshtein(self, other: Any) -> Expr:
        """The least number of changes of a character that make one text the other."""
        return self._call("levenshtein", other)

    def md5(self) -> Expr:
        """The MD5 digest in hexadecimal digits."""
        return self._call("md5")

    def sha256(self) -> Expr:
        """The SHA-256 digest in hexadecimal digits."""
        return self._call("sha256")
