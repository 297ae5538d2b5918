"""What callers are told of errors: umbel's message, without stack traces.

pyarrow sends the stack trace of whatever is raised that is not one of Flight's own errors; so
nothing else may leave a method of the server.
"""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

from pyarrow import flight

from umbel.door.messages import MalformedError
from umbel.plan.errors import UmbelError

Method = TypeVar("Method", bound=Callable[..., Any])

log = logging.getLogger("umbel.door")

#: Bytes of a message on the wire; gRPC drops calls whose headers are longer than 8 KiB.
_LONGEST = 3000


class RefusedError(UmbelError):
    """A statement that the settings of the door keep out."""


class UnsupportedError(UmbelError):
    """A call of the protocol that the door does not answer."""


def told(error: BaseException) -> BaseException:
    """Give the error of Flight that says what another error says."""
    match error:
        case flight.FlightError():
            return error
        case RefusedError():
            return flight.FlightUnauthorizedError(shortened(str(error)))
        case UmbelError() | MalformedError():
            # Cancelled statements too: of gRPC's own CANCELLED pyarrow's client makes Ctrl-C.
            return flight.FlightServerError(shortened(str(error)))
    # Its message may hold anything, so it stays here; the number finds it in the log.
    number = secrets.token_hex(4)
    log.error("internal error %s", number, exc_info=error)
    return flight.FlightInternalError(f"internal error {number}: the server's log has more")


def tells(method: Method) -> Method:
    """Let a method of the server raise errors of Flight only."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - all are told, and those not expected logged
            failure = told(error)
        raise failure

    return call  # type: ignore[return-value]


def shortened(text: str) -> str:
    """Cut a message to what fits the wire.

    >>> len(shortened("é" * 5000)) < 510
    True
    """
    if len(quote(text)) <= _LONGEST:
        return text
    short = text[: _LONGEST // 2]
    while len(quote(short)) > _LONGEST:
        short = short[: len(short) * 9 // 10]
    return f"{short} …"


__all__ = ["RefusedError", "UnsupportedError", "log", "shortened", "tells", "told"]
