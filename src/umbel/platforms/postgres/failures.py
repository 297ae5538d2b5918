"""What the server and its drivers say of failures, told as umbel's errors.

Each names the platform and says what to do; the stage adds its operator and line. Secrets are
taken out of every message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from umbel.plan.errors import (
    EvaluationError,
    PlanError,
    RunError,
    SourceError,
    UmbelError,
)
from umbel.platforms.postgres.snippets import FAILURE

#: What the drivers wrap around the server's message.
_WRAPPING = re.compile(
    r"^[A-Z_ ]+: |\[libpq\] |Failed to execute (query|COPY statement): |could not begin COPY: "
    r"|Execution error \[\w+\]: |PGRES_FATAL_ERROR |\bERROR: +|\bFATAL: +"
)
_QUERY = re.compile(
    r"\n+(Query was|LINE \d+|CONTEXT|DETAIL: +The command|HINT: +No function).*", re.DOTALL
)
_STATE = re.compile(r"\. SQLSTATE: \w+$")
_ASKED = re.compile(rf'"{FAILURE}(.*)"', re.DOTALL)
_LOST = re.compile(
    r"server closed the connection|connection to server .*(was lost|not open)|no connection to the"
    r"|terminating connection|SSL connection has been closed|connection (is|was) (closed|lost)"
    r"|could not (receive|send) data|consuming input failed|lost synchronization",
    re.IGNORECASE,
)
_UNREACHED = re.compile(
    r"could not (translate|connect)|connection refused|no such file or directory|timeout expired"
    r"|failed to resolve|network is unreachable|no route to host|connection timed out"
    r"|connection failed|name or service not known",
    re.IGNORECASE,
)
#: The server's own code for a failure: its first two, or all five letters, and what to do.
_ADVICE = {
    "28": "check the user and the password, and the server's pg_hba.conf",
    "3D000": "check the name after the last slash of the URL",
    "42501": "ask the owner to GRANT it, or attach as another user",
    "53300": "the server takes no more connections: close some, or raise max_connections",
    "53": "the server ran out of something: free it, or run the step elsewhere with .on(...)",
    "55P03": "another session holds a lock: try again when it is done, or raise lock_timeout",
    "40": "another transaction was in the way: run it again",
    "57014": "raise the server's statement_timeout for this user, or ask for less",
    "42P01": "it was dropped or renamed after the plan was made: make the frame anew",
    "42703": "the table was changed after the plan was made: make the frame anew",
    "25006": "the server takes no changes: write to its primary, or pin the step elsewhere",
}


#: Drivers do not always give the code: what then tells it.
_TELLING = (
    ("password authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("statement timeout", "57014"),
    ("lock timeout", "55P03"),
    ("too many clients", "53300"),
    ("remaining connection slots", "53300"),
    ("permission denied", "42501"),
)
_NO_DATABASE = re.compile(r'database ".*" does not exist')
_NO_ROLE = re.compile(r'role ".*" (does not exist|is not permitted to log in)')


class Named(Protocol):
    """What an error is about."""

    name: str

    def scrub(self, text: str) -> str:
        """Take secrets out of a text."""


@contextmanager
def translated(server: Named, where: str = "") -> Iterator[None]:
    """Turn errors of the drivers inside the block into umbel's."""
    try:
        yield
    except UmbelError:
        raise
    except Exception as error:
        if not is_driver_error(error):
            raise
        raise explain(error, server, where) from None


def is_driver_error(error: BaseException) -> bool:
    """Whether an error comes from ADBC or psycopg."""
    return type(error).__module__.partition(".")[0] in ("adbc_driver_manager", "psycopg")


def explain(error: BaseException, server: Named, where: str = "") -> UmbelError:
    """Make the error that says what went wrong at a server, and what to do.

    Args:
        error: what a driver raised.
        server: the platform, by name.
        where: the operator or table that it happened at.
    """
    state = str(getattr(error, "sqlstate", None) or "")
    said = message(server.scrub(str(error)))
    place = f"platform {server.name!r}" + (f", {where}" if where else "")
    asked = _ASKED.search(said)
    if asked is not None:
        return EvaluationError(asked[1])
    if state[:2] == "22":
        return EvaluationError(said)
    if state in ("57P01", "57P02", "57P03") or _LOST.search(said) or state[:3] == "08P":
        return RunError(
            f"{place}: the connection was lost: {said}",
            hint="nothing was half-written; run it again when the server is up",
        )
    state = state or next((code for text, code in _TELLING if text in said), "")
    if _NO_DATABASE.search(said):
        state = state or "3D000"
    if _NO_ROLE.search(said):
        state = state or "28000"
    if _UNREACHED.search(said) and state[:2] not in ("28", "3D"):
        return SourceError(
            f"{place}: the server cannot be reached: {said}",
            hint="check that it runs, and the host and port of the URL",
        )
    if "invalid connection option" in said or "invalid integer value" in said:
        return PlanError(f"{place}: {said}", hint="see libpq's parameter key words for the options")
    hint = _ADVICE.get(state) or _ADVICE.get(state[:2], "")
    kind = SourceError if state[:2] in ("28", "3D") or state in ("42P01", "42703") else RunError
    return kind(f"{place}: {said}", hint=hint)


def message(text: str) -> str:
    r"""Take the server's own message out of what a driver says.

    >>> message(
    ...     "INVALID_DATA: [libpq] Failed to execute query: could not begin COPY: "
    ...     "ERROR:  division by zero\n\nQuery was: SELECT 1/0. SQLSTATE: 22012"
    ... )
    'division by zero'
    """
    text = _STATE.sub("", text.strip())
    text = _QUERY.sub("", text)
    return _WRAPPING.sub("", text).strip()


def sqlstate(error: Any) -> str:
    """Give the server's code of a failure; empty if it has none."""
    return str(getattr(error, "sqlstate", None) or "")


__all__ = ["explain", "is_driver_error", "message", "sqlstate", "translated"]
