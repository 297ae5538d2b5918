"""`umbel models`: the models that are kept, their versions, and which are in use."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pyarrow as pa
import typer

from umbel.cli import models_help as texts
from umbel.plan.errors import PlanError

if TYPE_CHECKING:
    from umbel.learning.registry import Registry

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The model.")]
VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="Its number, or staging or production.")
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="FOLDER",
        help="Where models are kept. By default what UMBEL_MODELS says.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


def models_commands() -> typer.Typer:
    """Build `umbel models`."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    app.command("list", help=texts.LIST, short_help="List models, or versions of one.")(_list)
    app.command("show", help=texts.SHOW, short_help="Show the card of a version.")(_show)
    app.command("compare", help=texts.COMPARE, short_help="Compare the versions.")(_compare)
    app.command("promote", help=texts.PROMOTE, short_help="Put a version to use.")(_promote)
    app.command("export", help=texts.EXPORT, short_help="Write a version as a file.")(_export)
    app.command("plot", help=texts.PLOT, short_help="Draw how the training went.")(_plot)
    app.command("diagnose", help=texts.DIAGNOSE, short_help="Say what went wrong at whom.")(
        _diagnose
    )
    app.command("delete", help=texts.DELETE, short_help="Forget a version.")(_delete)
    return app


def _list(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One model.")] = None,
    as_json: JsonOption = False,
    folder: FolderOption = None,
) -> None:
    registry = _registry(folder)
    found = [v for n in ([name] if name else registry.names()) for v in registry.versions(n)]
    keys = ("name", "version", "stages", "created", "rows", "model")
    rows = [(v.name, v.number, ", ".join(v.stages), v.created, v.rows, v.words) for v in found]
    columns = {key: [row[i] for row in rows] for i, key in enumerate(keys)}
    types = (pa.string(), pa.int64(), pa.string(), pa.string(), pa.int64(), pa.string())
    _print(pa.table(columns, pa.schema(list(zip(keys, types, strict=True)))), as_json)


def _show(
    name: NameArgument,
    version: Annotated[
        str | None, typer.Argument(metavar="[VERSION]", help="By default the last.")
    ] = None,
    folder: FolderOption = None,
) -> None:
    import umbel as ub
    from umbel.learning.cards import card

    registry = _registry(folder)
    found = registry.version(name, version)
    print(card(found, registry.load(name, ub.connect(), found.number)), end="")


def _compare(name: NameArgument, as_json: JsonOption = False, folder: FolderOption = None) -> None:
    _print(_registry(folder).compare(name), as_json)


def _promote(
    name: NameArgument,
    version: VersionArgument,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="staging or production")],
    folder: FolderOption = None,
) -> None:
    registry = _registry(folder)
    number = registry.version(name, version).number
    registry.promote(name, number, stage)
    print(f"{name} {number} is in {stage}")


def _export(
    name: NameArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where it goes.")],
    version: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="By default the last.")
    ] = None,
    folder: FolderOption = None,
) -> None:
    print(_registry(folder).export(name, file, version))


def _plot(
    name: NameArgument,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="An SVG file.")],
    version: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="By default the last.")
    ] = None,
    what: Annotated[
        str, typer.Option("--what", metavar="COLUMN", help="loss, norm, rows or left_out.")
    ] = "loss",
    parts: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="PART", help="Draw this one; may be given again."),
    ] = None,
    log: Annotated[bool, typer.Option("--log", help="Equal factors are equally high.")] = False,
    folder: FolderOption = None,
) -> None:
    import umbel as ub

    model = _registry(folder).load(name, ub.connect(), version)
    print(model.plot(what, parts=parts or None, log=log).save(output))


def _diagnose(
    journal: Annotated[
        Path, typer.Argument(metavar="JOURNAL", help="The folder that fit(journal=…) wrote.")
    ],
    rounds: Annotated[
        bool, typer.Option("--rounds", help="Show each part in each round too.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    _learning()
    from umbel.learning.debugging.diagnosis import diagnose

    found = diagnose(journal)
    if as_json:
        about = {"findings": [asdict(finding) for finding in found.findings]}
        shown = {"rounds": found.rounds.to_pylist()} if rounds else {}
        print(json.dumps({**about, **shown}, ensure_ascii=False, indent=2))
        return
    print(found)
    if rounds:
        _print(found.rounds, as_json)


def _delete(name: NameArgument, version: VersionArgument, folder: FolderOption = None) -> None:
    registry = _registry(folder)
    number = registry.version(name, version).number
    registry.delete(name, number)
    print(f"{name} {number} is deleted")


def _registry(folder: Path | None) -> Registry:
    _learning()
    from umbel.learning.registry import Registry

    return Registry(folder)


def _learning() -> None:
    """Raise `PlanError` if what models need is not installed."""
    try:
        import umbel.learning.registry  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("numpy", "safetensors"):
            raise
        raise PlanError(
            f"models need {error.name}, which is not installed", hint="pip install 'umbel[learn]'"
        ) from None


def _print(table: pa.Table, as_json: bool) -> None:
    from umbel.cli.results import print_laid, rich_table

    if not as_json:
        print_laid(rich_table(table))
        return
    for row in table.to_pylist():
        print(json.dumps(row, ensure_ascii=False))
