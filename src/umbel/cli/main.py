"""The entry point of the command: from arguments to an exit code.

Whatever happens, the process ends with a code of `umbel.cli.help.EXIT_CODES`, results are on standard output, and
everything else is on standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from umbel.cli.help import BROKEN_PIPE, INTERRUPTED, TERMINATED
from umbel.cli.report import report_error, report_exception
from umbel.plan.errors import UmbelError


class Terminated(KeyboardInterrupt):
    """SIGTERM; runs are cancelled as they are by Ctrl-C, so that nothing is left behind."""


def main() -> None:
    """Run the command line of this process, and end it with the exit code."""
    try:
        code = run_command(sys.argv[1:])
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code == INTERRUPTED:
        # An engine that heard of Ctrl-C too may pass it on late, while Python ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def run_command(arguments: Sequence[str]) -> int:
    """Run a command line; give its exit code.

    Args:
        arguments: what stands behind `umbel`.
    """
    terminated = False

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer has no reader; without this Python complains at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = BROKEN_PIPE
    except KeyboardInterrupt:
        print("cancelled", file=sys.stderr)
        code = INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, before)
    return TERMINATED if terminated and code == INTERRUPTED else code


def _run(arguments: Sequence[str]) -> int:
    import typer

    from umbel.cli.app import build

    command = build()
    full = "--traceback" in arguments[:1]
    try:
        with command.make_context("umbel", list(arguments)) as context:
            command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except typer.TyperException as wrong:  # of the command line itself
        print(_usage(wrong), file=sys.stderr)
        return wrong.exit_code
    except UmbelError as error:
        report_error(error, full=full)
        return error.exit_code
    except SystemExit as ended:  # by a script
        return _code(ended)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
        report_exception(error, full=full)
        return 1
    return 0


def _usage(wrong: Exception) -> str:
    """What is wrong with a command line, and where help is."""
    context = getattr(wrong, "ctx", None)
    path = context.command_path if context is not None else "umbel"
    message = getattr(wrong, "format_message", wrong.__str__)()
    return f"error: {message}\n  {path} --help shows how it is used"


def _code(ended: SystemExit) -> int:
    """The exit code that a script asked for, as Python itself would give it."""
    if ended.code is None:
        return 0
    if isinstance(ended.code, int):
        return ended.code
    print(ended.code, file=sys.stderr)
    return 1
