"""Durable runs at the command line: kept, resumed, listed, shown, cancelled and pruned."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.api.durable import Keeping, open_store
from umbel.api.session import CONFIG
from umbel.catalog.address import Address
from umbel.cli.results import print_laid, show_result
from umbel.cli.script import execute
from umbel.cli.sessions import CommandSession, session_kind, sessions_are
from umbel.cli.settings import Settings
from umbel.plan.errors import PlanError

if TYPE_CHECKING:
    from umbel.executor.runs import RunStore, ScriptRun, StoredRun

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


# --- running --------------------------------------------------------------------------------------


def keep_script(
    file: Path, arguments: Sequence[str], settings: Settings, place: str | None
) -> None:
    """Run a script, and keep what it asks for."""
    from umbel.executor.runs import begin_script

    store = open_store(place)
    script = begin_script(store, file, arguments, _about(settings))
    _tell(script.id)
    _run_script(script, file, arguments, settings)


def keeping_plans(
    settings: Settings, place: str | None, attached: Sequence[str], form: str | None
) -> Settings:
    """Give settings by which the sessions of a command keep their runs."""
    about = {**_about(settings), "attach": list(_without_secrets(attached)), "form": form}
    return replace(settings, keeping=Keeping(open_store(place), about=about, told=_tell))


def resume_run(run_id: str, settings: Settings, place: str | None, attached: Sequence[str]) -> None:
    """Go on with a run: of a plan, whose result is shown, or of a script, which is run again.

    Args:
        run_id: the run.
        settings: how it is shown; where it runs is as it was.
        place: where it is kept.
        attached: databases by name, as `name=url`, those whose URLs hold secrets.
    """
    from umbel.executor.runs import resume_script

    store = open_store(place)
    stored = store.run(run_id)
    if stored.script:
        raise PlanError(
            f"run {run_id} was asked for by a script",
            hint=f"run the script again: umbel run --resume {stored.script}",
        )
    options = stored.options
    settings = replace(settings, on=tuple(options.get("on", ())))
    _return_to(options, run_id)
    if stored.kind == "script":
        script = resume_script(store, stored)
        _run_script(script, Path(options["file"]), options["arguments"], settings)
        return
    session = session_kind(settings)()
    session.configure()
    _attach(session, options.get("attach", []), attached)
    result = session.resume(run_id, durable=store)
    if settings.record:
        print(result.run, file=sys.stderr, flush=True)
    show_result(result, options.get("form") or "table")


def _run_script(
    script: ScriptRun, file: Path, arguments: Sequence[str], settings: Settings
) -> None:
    settings.platforms()  # a wrong --on is an error before the script does anything
    settings = replace(settings, keeping=Keeping(script.owned.store, script))
    with _kept(script), sessions_are(session_kind(settings)):
        execute(file, arguments)


@contextmanager
def _kept(script: ScriptRun) -> Iterator[None]:
    """Hold a script's run while the script runs; Ctrl-C it when somebody cancels it."""
    from umbel.executor.runs import keeping

    start = time.perf_counter()
    ended: SystemExit | None = None
    with keeping(script.owned, _interrupt):
        try:
            yield
        except SystemExit as exit_:
            if exit_.code not in (None, 0):
                raise
            ended = exit_
        script.finish(time.perf_counter() - start)
    if ended is not None:
        raise ended


def _interrupt() -> None:
    """Do as Ctrl-C does: the script may be in a function of its own that waits."""
    main = threading.main_thread().ident
    if main is not None:
        signal.pthread_kill(main, signal.SIGINT)


def _about(settings: Settings) -> dict[str, Any]:
    """What whoever resumes a run needs to know of the command."""
    config = os.environ.get(CONFIG)
    return {
        "folder": str(Path.cwd()),
        "on": list(settings.on),
        "config": None if config is None else str(Path(config).absolute()),
    }


def _return_to(options: Mapping[str, Any], run_id: str) -> None:
    """Go to the folder that a run was begun in, and by the configuration of then."""
    folder = Path(options.get("folder", "."))
    if not folder.is_dir():
        raise PlanError(
            f"run {run_id} was begun in {folder}, which is not there",
            hint="bring the folder back, with what the run reads",
        )
    os.chdir(folder)
    if options.get("config"):
        os.environ[CONFIG] = options["config"]


def _without_secrets(attached: Sequence[str]) -> Iterator[str]:
    """Give `name=url` as it may be kept; of those with secrets the name alone."""
    for text in attached:
        name, _, url = text.partition("=")
        secrets = Address.of(url).secrets.values() if "://" in url else ()
        hidden = any(not secret.reference for secret in secrets)
        plain = url if "://" in url else str(Path(url).absolute())
        yield name if hidden else f"{name}={plain}"


def _attach(session: CommandSession, kept: Sequence[str], given: Sequence[str]) -> None:
    from umbel.cli.sql import attach_and_register

    names = {text.partition("=")[0] for text in given}
    for text in kept:
        if text.partition("=")[0] in names:
            continue
        if "=" not in text:
            raise PlanError(
                f"the run needs {text!r}, whose URL held a secret, and secrets are not kept",
                hint=f"attach it again: --attach {text}=URL",
            )
        attach_and_register(session, [], [text])
    attach_and_register(session, [], given)


def _tell(run_id: str) -> None:
    print(f"run {run_id} is kept; to resume it: umbel run --resume {run_id}", file=sys.stderr)


# --- looking --------------------------------------------------------------------------------------


def list_runs(place: str | None, *, every: bool, as_json: bool) -> None:
    """List the runs, the latest first.

    Args:
        place: where they are kept.
        every: those too that scripts have asked for.
        as_json: for programs.
    """
    runs = [run for run in open_store(place).runs() if every or not run.script]
    if as_json:
        print(json.dumps([_row(run) for run in runs], indent=2))
        return
    from rich.table import Table

    table = Table("id", "state", "began", "ended", "what", box=None, pad_edge=False)
    for run in runs:
        ended = "" if run.state == "running" else _moment(run.updated)
        table.add_row(run.id, run.state, _moment(run.created), ended, run.title)
    print_laid(table)


def show_run(run_id: str, place: str | None, *, as_json: bool) -> None:
    """Show what is known of a run: its stages with their times, its sinks, and what happened."""
    store = open_store(place)
    run = store.run(run_id)
    if as_json:
        events = [
            {"at": timed.at, "kind": timed.event.kind, **asdict(timed.event)}
            for timed in store.events(run_id)
        ]
        print(json.dumps({**_row(run), "events": events}, indent=2))
        return
    print(f"run {run.id}: {run.title}")
    history = store.history(run_id)
    print(f"{run.state}, began {_moment(run.created)}, last change {_moment(run.updated)}")
    print(f"{history.tries} {'try' if history.tries == 1 else 'tries'}, the last by {run.owner}")
    if run.kind == "script":
        for part in store.runs_of(run_id):
            print(f"  {part.id}  {part.state:<12}{part.title}")
    if history.error:
        print(f"failed: {history.error}")
        if history.hint:
            print(f"  {history.hint}")
    _print_stages(store, run)
    for done in history.written.values():
        print(f"wrote {done.rows:,} rows to {done.sink}")
    if run.state in ("interrupted", "failed", "cancelled"):
        print(f"to resume it: umbel run --resume {run.script or run.id}")


def _print_stages(store: RunStore, run: StoredRun) -> None:
    from rich.table import Table

    from umbel.executor.runs.history import StageKept, WriteDone

    names = ("stage", "platform", "operators", "rows", "seconds", "keeping", "kept at")
    table = Table(*names, box=None, pad_edge=False)
    for timed in store.events(run.id):
        at = _moment(timed.at)
        match timed.event:
            case StageKept() as kept:
                table.add_row(
                    str(kept.index),
                    kept.platform,
                    kept.operators,
                    "" if kept.rows is None else f"{kept.rows:,}",
                    f"{kept.seconds:.3f}",
                    f"{kept.keeping:.3f}" if kept.file else "not kept",
                    at,
                )
            case WriteDone() as done:
                table.add_row(
                    "", "", f"Write {done.sink}", f"{done.rows:,}", f"{done.seconds:.3f}", "", at
                )
    if table.row_count:
        print_laid(table)


def cancel_run(run_id: str, place: str | None) -> None:
    """Stop a run, whichever process runs it."""
    store = open_store(place)
    owner = store.run(run_id).owner
    if store.cancel(run_id):
        print(f"asked {owner} to stop run {run_id}")
    else:
        print(f"run {run_id} is cancelled")


def prune_runs(
    older_than: str,
    place: str | None,
    *,
    everything: bool,
    dry_run: bool,
    url: str | None = None,
    token: str | None = None,
) -> None:
    """Forget old runs, and remove what was kept of them: of this machine, or of a coordinator."""
    seconds = seconds_of(older_than)
    if url is not None:
        from umbel.cli import coordinators

        gone = coordinators.prune_runs(url, token, seconds, everything=everything, dry_run=dry_run)
    else:
        from umbel.executor.runs import forget_begun

        found = open_store(place).prune(
            seconds=seconds, everything=everything, dry=dry_run, before=forget_begun
        )
        gone = [_row(run) for run in found]
    for run in gone:
        print(f"{run['id']}  {run['state']:<12}{run['title']}")
    count = f"{len(gone):,} {'run' if len(gone) == 1 else 'runs'}"
    print(f"{count} would be forgotten" if dry_run else f"{count} forgotten", file=sys.stderr)


def seconds_of(text: str) -> float:
    """Read a length of time.

    >>> seconds_of("7d"), seconds_of("90m"), seconds_of("0")
    (604800.0, 5400.0, 0.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", text.strip())
    if match is None:
        raise PlanError(f"not a length of time: {text!r}", hint="write 30m, 12h, 7d or 2w")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _row(run: StoredRun) -> dict[str, Any]:
    kept = ("id", "kind", "script", "state", "created", "updated", "title", "owner")
    return {name: getattr(run, name) for name in kept}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
