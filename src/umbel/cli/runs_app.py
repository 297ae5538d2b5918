"""`umbel runs` and its commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from umbel.cli import help as texts
from umbel.cli.coordinators import CoordinatorOption, TokenOption
from umbel.cli.settings import Settings
from umbel.plan.errors import PlanError

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="PLACE",
        help="Where runs are kept: a folder, or a PostgreSQL URL. By default what UMBEL_RUNS says.",
    ),
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The run, as `list` shows it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]
DurableOption = Annotated[
    bool, typer.Option("--durable", help="Keep the run: it can be resumed if this process dies.")
]
ResumeOption = Annotated[
    str | None, typer.Option("--resume", metavar="ID", help="Go on with a run that was kept.")
]


def add_to(app: Any) -> None:
    """Add the commands."""
    runs = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    runs.command("list", help=texts.RUNS_LIST, short_help="List the runs that are kept.")(_list)
    runs.command("show", help=texts.RUNS_SHOW, short_help="Show a run and its stages.")(_show)
    runs.command("cancel", help=texts.RUNS_CANCEL, short_help="Stop a run.")(_cancel)
    runs.command("resume", help=texts.RUNS_RESUME, short_help="Go on with a run.")(_resume)
    runs.command("prune", help=texts.RUNS_PRUNE, short_help="Forget old runs.")(_prune)
    app.add_typer(runs, name="runs", help=texts.RUNS, short_help="See and steer runs.")


def _list(
    every: Annotated[
        bool, typer.Option("--all", help="Also the runs that scripts have asked for.")
    ] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
    coordinator: CoordinatorOption = None,
    token: TokenOption = None,
) -> None:
    if url := _url(coordinator, token, store):
        from umbel.cli import coordinators

        coordinators.list_runs(url, token, as_json=as_json)
        return
    from umbel.cli.runs import list_runs

    list_runs(store, every=every, as_json=as_json)


def _show(
    run_id: IdArgument,
    as_json: JsonOption = False,
    store: StoreOption = None,
    coordinator: CoordinatorOption = None,
    token: TokenOption = None,
) -> None:
    if url := _url(coordinator, token, store):
        from umbel.cli import coordinators

        coordinators.show_run(url, token, run_id, as_json=as_json)
        return
    from umbel.cli.runs import show_run

    show_run(run_id, store, as_json=as_json)


def _cancel(
    run_id: IdArgument,
    store: StoreOption = None,
    coordinator: CoordinatorOption = None,
    token: TokenOption = None,
) -> None:
    if url := _url(coordinator, token, store):
        from umbel.cli import coordinators

        coordinators.cancel_run(url, token, run_id)
        return
    from umbel.cli.runs import cancel_run

    cancel_run(run_id, store)


def _resume(
    run_id: IdArgument,
    attach: Annotated[
        list[str] | None,
        typer.Option("--attach", metavar="NAME=URL", help="A database whose URL holds a secret."),
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Show estimates beside measurements.")
    ] = False,
    store: StoreOption = None,
    coordinator: CoordinatorOption = None,
    token: TokenOption = None,
) -> None:
    if url := _url(coordinator, token, store):
        from umbel.cli import coordinators

        if attach:
            raise PlanError("--attach is for runs of this machine")
        coordinators.resume_run(run_id, Settings(record=record, coordinator=url, token=token))
        return
    from umbel.cli.runs import resume_run

    resume_run(run_id, Settings(record=record), store, attach or [])


def _prune(
    older_than: Annotated[
        str, typer.Option(metavar="TIME", help="For how long nothing has happened to them.")
    ] = "7d",
    everything: Annotated[
        bool, typer.Option("--all", help="Those too that could be resumed.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    store: StoreOption = None,
    coordinator: CoordinatorOption = None,
    token: TokenOption = None,
) -> None:
    from umbel.cli.runs import prune_runs

    url = _url(coordinator, token, store)
    prune_runs(older_than, store, everything=everything, dry_run=dry_run, url=url, token=token)


def _url(coordinator: str | None, token: str | None, store: str | None) -> str | None:
    """Give the coordinator that is meant; None for runs of this machine."""
    if coordinator is None and token is not None:
        raise PlanError("--token is for a coordinator", hint="name it: --coordinator URL")
    if coordinator is not None and store is not None:
        raise PlanError(
            "--store is for runs of this machine, --coordinator for those of a federation",
            hint="give one of them",
        )
    return coordinator


__all__ = ["DurableOption", "ResumeOption", "StoreOption", "add_to"]
