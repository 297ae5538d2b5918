"""How errors look: one block on standard error that says what is wrong, what to do, and where.

```
error: unknown column 'prise'
  did you mean 'price'? There are: part, price
  at pipeline.py:12
    orders.select("prise")
```
"""

from __future__ import annotations

import linecache
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import TextIO

import typer

from umbel.plan.errors import CancelledError, UmbelError
from umbel.plan.origin import Origin

#: Where umbel's own files are, and those of Python's library; no user wrote them.
_NOT_WRITTEN = (str(Path(__file__).resolve().parents[1]), str(Path(traceback.__file__).parent))
_RED, _DIM, _PLAIN = "\x1b[1;31m", "\x1b[2m", "\x1b[0m"


def report_error(error: UmbelError, *, full: bool = False, file: TextIO | None = None) -> None:
    """Print an error of umbel's.

    Args:
        error: what was raised.
        full: print Python's traceback before it.
        file: where to; standard error by default.
    """
    file = file or sys.stderr
    if full:
        traceback.print_exception(error, file=file)
    if isinstance(error, CancelledError):
        print("cancelled", file=file)
        return
    head, dim, plain = (_RED, _DIM, _PLAIN) if _has_colours(file) else ("", "", "")
    first, *more = error.message.splitlines() or [type(error).__name__]
    print(f"{head}error:{plain} {first}", file=file)
    for line in [*more, *error.hint.splitlines()]:
        print(f"  {line.strip()}" if line.strip() else "", file=file)
    origin = origin_of(error)
    if origin is None:
        return
    print(f"{dim}  at {shown(origin)}", file=file)
    source = linecache.getline(origin.file, origin.line).strip()
    print(f"    {source}{plain}" if source else plain, file=file)


def report_exception(error: BaseException, *, full: bool = False) -> None:
    """Print Python's traceback of any other exception; of a script only the script's part.

    A script's exception is shown as Python would show it, without the frames of the command that
    runs the script.
    """
    if not full:
        error.__traceback__ = _below_the_command(error.__traceback__)
    traceback.print_exception(error, file=sys.stderr)


def origin_of(error: UmbelError) -> Origin | None:
    """The line of the user's script that an error comes from, if there is one."""
    known = vars(error).get("origin")
    if isinstance(known, Origin):
        return known
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        file = frame.f_code.co_filename
        if (
            not file.startswith(_NOT_WRITTEN)
            and not file.startswith("<")
            and "site-packages" not in file
        ):
            found = Origin(file, line)
    return None if found is None or _is_entry_point(found) else found


def shown(origin: Origin) -> str:
    """A line of a script, relative to the current folder where it is below it.

    >>> shown(Origin("/no/such/folder/script.py", 3))
    '/no/such/folder/script.py:3'
    """
    path = Path(origin.file)
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"{path}:{origin.line}"


def _is_entry_point(origin: Origin) -> bool:
    """Whether a line is that of the installed `umbel` command, or of `python -m umbel`."""
    return Path(origin.file).name in ("umbel", "umbel.exe", "umbel-script.py", "runpy.py")


def _below_the_command(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without its first frames, which are those of the command and of Typer."""
    own = (str(Path(__file__).parent), str(Path(typer.__file__).parent))
    below = trace
    while below is not None and (
        below.tb_frame.f_code.co_filename.startswith(own) or _is_entry_point(_origin(below))
    ):
        below = below.tb_next
    return below if below is not None else trace


def _origin(trace: TracebackType) -> Origin:
    return Origin(trace.tb_frame.f_code.co_filename, trace.tb_lineno)


def _has_colours(file: TextIO) -> bool:
    import os

    return file.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
