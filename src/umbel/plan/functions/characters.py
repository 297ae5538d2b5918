"""Characters on which text functions turn: white space, and where engines map case alike."""

from __future__ import annotations

#: What Python's `str.split` and `str.strip` take for white space. Unicode has not changed the
#: list since version 6.3; a test compares it with the running Python.
WHITESPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)

#: The same without the plain space, as a regular expression of every engine.
OTHER_WHITESPACE_CLASS = (
    "[\\x09-\\x0d\\x1c-\\x1f\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
)

#: ASCII among them, without the plain space.
OTHER_ASCII_WHITESPACE = "\t\n\v\f\r\x1c\x1d\x1e\x1f"

# Scripts whose case mappings are old and the same for every Unicode version and engine in use;
# characters outside them go to Python's own str methods.
_SETTLED = (
    (0x0000, 0x018F),
    (0x0190, 0x019A),
    (0x019C, 0x023F),
    (0x0370, 0x0373),
    (0x0376, 0x0377),
    (0x0384, 0x03FF),
    (0x0400, 0x0527),
    (0x0531, 0x058F),
    (0x05D0, 0x06FF),
    (0x0900, 0x0EFF),
    (0x2000, 0x20BF),
    (0x3000, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0xFF00, 0xFFEF),
    (0x1F300, 0x1FAFF),
)
# Dotted capital I lowers to two characters, a capital sigma by where it stands in its word.
_NOT_LOWER = (0x0130, 0x03A3)
# These raise to two or three characters.
_NOT_UPPER = (0x00DF, 0x0149, 0x01F0, 0x0390, 0x03B0, 0x0587)


def _outside(exceptions: tuple[int, ...]) -> str:
    ranges: list[tuple[int, int]] = []
    for first, end in _SETTLED:
        start = first
        for exception in exceptions:
            if start <= exception <= end:
                ranges.append((start, exception - 1))
                start = exception + 1
        ranges.append((start, end))
    # Escapes, for characters that would end a class or a literal.
    body = "".join(f"{_character(start)}-{_character(end)}" for start, end in ranges)
    return f"[^{body}]"


def _character(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x80 else chr(code)


#: Matches texts with a character that some engine lowers, or raises, differently from Python.
NOT_LOWERED_ALIKE = _outside(_NOT_LOWER)
NOT_RAISED_ALIKE = _outside(_NOT_UPPER)
