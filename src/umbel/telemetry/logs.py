"""Logs of a coordinator and of sites: one line for each event, as JSON or for people to read.

A log goes to people and systems that may not see the data. So it is made of what umbel itself
says: events with named fields, and messages whose text stands in umbel's code. Of exceptions it
has classes and places, never messages, for engines quote values and literals in theirs; of what
other libraries log it has the place alone.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import PurePath
from types import MappingProxyType, TracebackType
from typing import IO, Any, Literal, TypeAlias

from umbel.telemetry.instruments import active

#: All fields of events, in the order in which they are written.
FIELDS = (
    "run", "stage", "site", "user", "task", "attempt", "state", "status", "route", "role",
    "platform", "operators", "rows", "bytes", "seconds", "days", "what", "error", "number",
)  # fmt: skip
Form: TypeAlias = Literal["text", "json"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]

_about: ContextVar[Mapping[str, Any]] = ContextVar("umbel_about", default=MappingProxyType({}))
_OWN = "umbel"
_LONGEST = 1_000
#: Of an exception's chain and of each traceback in it, the last ones are told.
_MOST_LINKS, _MOST_PLACES = 5, 30


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Say what the events of a block are about; blocks add to those around them."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def say(
    log: logging.Logger,
    level: int,
    event: str,
    text: str = "",
    *,
    cause: BaseException | None = None,
    **fields: Any,
) -> None:
    """Log an event.

    Args:
        log: the logger.
        level: as `logging` has it.
        event: its name: "task.failed".
        text: more for people, in umbel's own words.
        cause: an exception; its class and the places of its traceback are told.
        fields: more about it, by names of `FIELDS`.
    """
    if not log.isEnabledFor(level):
        return
    unknown = fields.keys() - set(FIELDS)
    if unknown:
        raise KeyError(f"no field of a log: {', '.join(sorted(unknown))}")
    if cause is not None:
        fields["error"] = type(cause).__name__
    extra = {"umbel_event": event, "umbel_fields": fields, "umbel_text": text}
    # For formatters of others, where umbel is a guest.
    told = ((name, value) for name, value in fields.items() if value not in (None, ""))
    words = [event, *(f"{name}={_word(value)}" for name, value in told)]
    message = " ".join(words) + (f": {text}" if text else "")
    log.log(level, "%s", message, exc_info=cause, extra=extra, stacklevel=2)


def log_to(stream: IO[str], form: Form = "text", level: Level = "info") -> logging.Handler:
    """Send all logs of this process to a stream, and nothing else to standard error.

    Args:
        stream: where lines go.
        form: "json" or "text".
        level: the least that is told of umbel; of other libraries only warnings and errors are.

    Returns:
        The handler, which the root logger has from now on.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(form))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_OWN).setLevel(level.upper())
    logging.captureWarnings(True)
    threading.excepthook = _thread_failed
    sys.unraisablehook = _unraisable
    return handler


class LineFormatter(logging.Formatter):
    """Makes a line of a record: nothing but what umbel itself says of it."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._json = form == "json"

    def format(self, record: logging.LogRecord) -> str:
        """Make the line."""
        found = _line(record)
        if self._json:
            return json.dumps(found, ensure_ascii=True, default=str)
        at, level, event = found.pop("time"), found.pop("level"), found.pop("event")
        head = f"{at} {level:<7} {found.pop('logger')} {event}"
        text, places = found.pop("text", ""), found.pop("places", [])
        words = [f"{name}={_word(value)}" for name, value in found.items()]
        line = " ".join([head, *words]) + (f": {_printable(text)}" if text else "")
        return "\n".join([line, *(f"    {_printable(place)}" for place in places)])


def _line(record: logging.LogRecord) -> dict[str, Any]:
    """What is told of a record."""
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    found: dict[str, Any] = {
        "time": f"{when}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": "message",
    }
    fields = dict(_about.get())
    own = record.name == _OWN or record.name.startswith(f"{_OWN}.")
    if own and hasattr(record, "umbel_event"):
        found["event"] = record.umbel_event
        fields |= vars(record)["umbel_fields"]
        text = vars(record)["umbel_text"]
    elif own:
        text = _safe(record)
    else:
        found["event"] = "library"
        text = f"{PurePath(record.pathname).name}:{record.lineno}"
    found |= {name: fields[name] for name in FIELDS if fields.get(name) not in (None, "")}
    instruments = active()
    if instruments is not None and (trace := instruments.traceparent()):
        found["trace"] = trace
    if text:
        found["text"] = text[:_LONGEST]
    if record.exc_info and record.exc_info[1] is not None:
        error = record.exc_info[1]
        found.setdefault("error", type(error).__name__)
        found["places"] = _places(error)
    return found


def _safe(record: logging.LogRecord) -> str:
    """The text of a message of umbel's; of exceptions in it only their classes."""
    if not record.args:
        return str(record.msg)
    given = record.args if isinstance(record.args, tuple) else (record.args,)
    told = tuple(
        type(value).__name__ if isinstance(value, BaseException) else value for value in given
    )
    return str(record.msg) % told


def _places(error: BaseException) -> list[str]:
    """Where an exception was raised, and those that led to it: classes, files, lines, functions."""
    found: list[str] = []
    link: BaseException | None = error
    for _ in range(_MOST_LINKS):
        if link is None:
            break
        found.append(type(link).__name__)
        found.extend(_frames(link.__traceback__))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return found


def _frames(trace: TracebackType | None) -> list[str]:
    found = []
    while trace is not None:
        code = trace.tb_frame.f_code
        name = "/".join(PurePath(code.co_filename).parts[-3:])
        found.append(f"  at {name}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    return found[-_MOST_PLACES:]


def _word(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    plain = text.isprintable() and " " not in text and '"' not in text
    return text if plain else json.dumps(text)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    """Log what ended a thread; Python itself would print its message."""
    if failed.exc_value is not None and failed.exc_type is not SystemExit:
        say(logging.getLogger("umbel"), logging.ERROR, "thread.failed", cause=failed.exc_value)


def _unraisable(failed: Any) -> None:
    """Log what could not be raised; Python itself would print its message."""
    if isinstance(failed.exc_value, BaseException):
        say(logging.getLogger("umbel"), logging.ERROR, "unraisable", cause=failed.exc_value)


__all__ = ["FIELDS", "Form", "Level", "LineFormatter", "about", "log_to", "say"]
