"""The one header by which a trace goes from process to process: W3C Trace Context, version 00.

Read strictly: what is not of this form exactly counts as nothing said. The headers `tracestate` and
`baggage` hold text that anybody may have chosen, so they do not travel.
"""

from __future__ import annotations

import re

#: Characters of one.
LENGTH = 55
# Ids of zeros alone are none.
_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")


def checked_traceparent(text: str | None) -> str:
    """Give a traceparent back if it is one, else nothing.

    >>> checked_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    >>> checked_traceparent("00-" + "0" * 32 + "-00f067aa0ba902b7-01")
    ''
    """
    if text is None or len(text) != LENGTH or _FORM.fullmatch(text) is None:
        return ""
    return text


def parts(text: str) -> tuple[int, int, int]:
    """Give trace, span and flags of a traceparent that was checked."""
    _, trace, span, flags = text.split("-")
    return int(trace, 16), int(span, 16), int(flags, 16)


def written(trace: int, span: int, flags: int) -> str:
    """Write a traceparent.

    >>> written(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0xF067AA0BA902B7, 1)
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    """
    return f"00-{trace:032x}-{span:016x}-{flags & 1:02x}"
