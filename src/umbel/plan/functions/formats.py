"""Formats of dates and times that every engine writes and reads alike.

Python's own strftime leaves details to the C library, so that the reference is written here.
"""

# ruff: noqa: DTZ001 (what is read has no zone)

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any

from umbel.plan.errors import PlanError

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_WRITTEN = "YmdHMSfjybBaApI%"
# No year 0, no leap second, no 24 o'clock: what is left to check is the day of the month.
_READ = {
    "Y": "[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000",
    "m": "0[1-9]|1[0-2]",
    "d": "0[1-9]|[12][0-9]|3[01]",
    "H": "[01][0-9]|2[0-3]",
    "M": "[0-5][0-9]",
    "S": "[0-5][0-9]",
    "f": "[0-9]{6}",
    "I": "0[1-9]|1[0-2]",
    "p": "AM|PM",
    "b": "|".join(month[:3] for month in MONTHS),
    "B": "|".join(MONTHS),
}


@lru_cache(maxsize=256)
def parse_format(pattern: str) -> tuple[tuple[str, bool], ...]:
    """Split a format into (text, False) and (directive letter, True).

    >>> parse_format("%Y, 100%%")
    (('Y', True), (', 100', False), ('%', False))
    """
    parts = []
    for directive, text in re.findall(r"%(.?)|([^%]+)", pattern, re.DOTALL):
        if text:
            parts.append((text, False))
        elif directive == "%":
            parts.append(("%", False))
        elif directive and directive in _WRITTEN:
            parts.append((directive, True))
        else:
            known = " ".join(f"%{letter}" for letter in _WRITTEN)
            raise PlanError(
                f"format {pattern!r}: '%{directive}' is not one that engines agree on",
                hint=f"there are {known}",
            )
    return tuple(parts)


def check_format(values: Sequence[Any]) -> None:
    """Raise `PlanError` for a format, the second value, that cannot be written."""
    if not values[1]:
        raise PlanError("the format of a date or time is empty")
    parse_format(values[1])


def check_parsable(values: Sequence[Any]) -> None:
    """Raise `PlanError` for a format, the second value, that cannot be read back."""
    pattern = values[1]
    letters = [text for text, is_directive in parse_format(pattern) if is_directive]
    unread = [letter for letter in letters if letter not in _READ]
    if unread:
        raise PlanError(
            f"format {pattern!r}: %{unread[0]} can be written but not read",
            hint=f"there are {' '.join(f'%{letter}' for letter in _READ)}",
        )
    for what, choices in (("year", "Y"), ("month", "mbB"), ("day", "d")):
        if sum(letters.count(letter) for letter in choices) != 1:
            raise PlanError(f"format {pattern!r} must have one {what}")
    if len(set(letters)) < len(letters) or ("H" in letters and "I" in letters):
        raise PlanError(f"format {pattern!r} has something twice")
    if ("I" in letters) != ("p" in letters):
        raise PlanError(f"format {pattern!r}: %I and %p need each other")


@lru_cache(maxsize=256)
def format_regex(pattern: str) -> str:
    r"""Give the regular expression of the texts that a format reads; for every engine.

    >>> format_regex("%H:%M")
    '\\A([01][0-9]|2[0-3]):([0-5][0-9])\\z'
    """
    parts = [
        f"({_READ[text]})" if is_directive else "".join(map(_escape, text))
        for text, is_directive in parse_format(pattern)
    ]
    return "\\A" + "".join(parts) + "\\z"


def _escape(character: str) -> str:
    plain = character.isalnum() or ord(character) >= 128 or character in " -:/"
    return character if plain else f"\\x{ord(character):02x}"


def parse_time(text: str, pattern: str) -> datetime | None:
    """Read a timestamp; None if the text is not in the format.

    >>> parse_time("29.02.2024", "%d.%m.%Y")
    datetime.datetime(2024, 2, 29, 0, 0)
    """
    match = re.fullmatch(format_regex(pattern)[2:-2], text)
    if match is None:
        return None
    letters = [part for part, is_directive in parse_format(pattern) if is_directive]
    found = dict(zip(letters, match.groups(), strict=True))
    if "B" in found:
        month = MONTHS.index(found["B"]) + 1
    elif "b" in found:
        month = [name[:3] for name in MONTHS].index(found["b"]) + 1
    else:
        month = int(found["m"])
    hour = int(found.get("H", "0"))
    if "I" in found:
        hour = int(found["I"]) % 12 + (12 if found["p"] == "PM" else 0)
    minute, second, micros = (int(found.get(letter, "0")) for letter in "MSf")
    try:
        return datetime(int(found["Y"]), month, int(found["d"]), hour, minute, second, micros)
    except ValueError:
        return None


def format_time(moment: date | datetime, pattern: str) -> str:
    """Write a date or timestamp.

    >>> format_time(date(99, 1, 2), "%d %B %Y")
    '02 January 0099'
    """
    return "".join(
        _written(letter, moment) if is_directive else letter
        for letter, is_directive in parse_format(pattern)
    )


def _written(letter: str, moment: date | datetime) -> str:
    clock = moment if isinstance(moment, datetime) else datetime(1, 1, 1)
    match letter:
        case "Y":
            return f"{moment.year:04}"
        case "y":
            return f"{moment.year % 100:02}"
        case "m":
            return f"{moment.month:02}"
        case "d":
            return f"{moment.day:02}"
        case "j":
            return f"{moment.timetuple().tm_yday:03}"
        case "b":
            return MONTHS[moment.month - 1][:3]
        case "B":
            return MONTHS[moment.month - 1]
        case "a":
            return DAYS[moment.weekday()][:3]
        case "A":
            return DAYS[moment.weekday()]
        case "H":
            return f"{clock.hour:02}"
        case "I":
            return f"{(clock.hour + 11) % 12 + 1:02}"
        case "M":
            return f"{clock.minute:02}"
        case "S":
            return f"{clock.second:02}"
        case "f":
            return f"{clock.microsecond:06}"
    return "AM" if clock.hour < 12 else "PM"
