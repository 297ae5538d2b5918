"""How commands reach a coordinator, and the runs that it keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from umbel.cli.results import print_laid, show_result
from umbel.cli.settings import Settings

if TYPE_CHECKING:
    from umbel.federation.client import RemoteSession

CoordinatorOption = Annotated[
    str | None,
    typer.Option("--coordinator", metavar="URL", help="Ask this coordinator, and not here."),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="REFERENCE",
        help="Your token at the coordinator: env:NAME or file:/path; by default UMBEL_TOKEN, "
        "or your login.",
    ),
]


@contextmanager
def reached(url: str, token: str | None) -> Iterator[RemoteSession]:
    """Reach a coordinator for a while, to see and steer what it keeps."""
    from umbel.federation.client import connect_to

    with connect_to(url, token=token, progress=False) as session:
        yield session


def list_runs(url: str, token: str | None, *, as_json: bool) -> None:
    """List the runs of a coordinator, the latest first."""
    with reached(url, token) as session:
        runs = session.runs.all()
    if as_json:
        print(json.dumps(runs, indent=2))
        return
    from rich.table import Table

    table = Table("id", "state", "user", "began", "what", box=None, pad_edge=False)
    for run in runs:
        began = _moment(run["submitted"])
        table.add_row(run["id"], run["state"], run["user"], began, run["title"])
    print_laid(table)


def show_run(url: str, token: str | None, run_id: str, *, as_json: bool) -> None:
    """Show what a coordinator knows of a run: when each stage was at work, and where."""
    with reached(url, token) as session:
        run = session.runs.show(run_id)
    if as_json:
        print(json.dumps(run, indent=2))
        return
    print(f"run {run['id']} of {run['user']}: {run['title']}")
    print(f"{run['state']}, began {_moment(run['submitted'])}, {run['rows']:,} rows")
    print(f"{run['tries']} {'try' if run['tries'] == 1 else 'tries'}")
    if run["covers"]:
        print(f"covers {', '.join(run['covers'])}")
    if run["missing"]:
        print(f"lacks {', '.join(run['missing'])}, away when it began")
    if run["error"] is not None:
        print(f"{run['error']['class']}: {run['error']['message']}")
        if run["error"]["hint"]:
            print(f"  {run['error']['hint']}")
    _print_stages(run["stages"])
    if run["waiting"] or run["state"] in ("failed", "cancelled"):
        print(f"for its answer: umbel runs resume {run['id']} --coordinator {url}")


def _print_stages(stages: list[dict[str, Any]]) -> None:
    from rich.table import Table

    if not stages:
        return
    names = ("stage", "at", "operators", "state", "began", "ended", "rows", "bytes", "attempts")
    table = Table(*names, box=None, pad_edge=False)
    for stage in stages:
        counts = ["" if stage[key] is None else f"{stage[key]:,}" for key in ("rows", "bytes")]
        table.add_row(
            str(stage["stage"]),
            stage["platform"],
            " > ".join(stage["operators"]),
            stage["state"],
            _moment(stage["began"], fine=True),
            _moment(stage["ended"], fine=True),
            *counts,
            str(stage["attempts"]),
        )
    print_laid(table)


def cancel_run(url: str, token: str | None, run_id: str) -> None:
    """Stop a run at a coordinator, and at its sites."""
    with reached(url, token) as session:
        known = session.runs.show(run_id)  # a name that is mistyped is an error
        session.runs.cancel(run_id)
    over = known["state"] in ("finished", "failed", "cancelled")
    print(f"run {run_id} is {known['state']} already" if over else f"run {run_id} is cancelled")


def resume_run(run_id: str, settings: Settings) -> None:
    """Go on with a run of a coordinator, and show its answer."""
    from umbel.cli.sessions import opened

    with opened(settings) as session:
        result = session.resume(run_id)
        if settings.record:
            session.show_record(result)
    show_result(result, "table")


def prune_runs(
    url: str, token: str | None, seconds: float, *, everything: bool, dry_run: bool
) -> list[dict[str, Any]]:
    """Forget runs of a coordinator that are over; give them."""
    with reached(url, token) as session:
        return session.runs.prune(seconds=seconds, everything=everything, dry=dry_run)


def _moment(text: str | None, *, fine: bool = False) -> str:
    if text is None:
        return ""
    when = datetime.fromisoformat(text).astimezone()
    return when.strftime("%H:%M:%S.%f")[:-3] if fine else when.strftime("%Y-%m-%d %H:%M:%S")


__all__ = [
    "CoordinatorOption",
    "TokenOption",
    "cancel_run",
    "list_runs",
    "prune_runs",
    "resume_run",
    "show_run",
]
