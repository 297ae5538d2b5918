"""`umbel platforms`: what can run something here, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.api.config import find_config, read_config
from umbel.api.session import Session
from umbel.cli.results import print_laid
from umbel.plan.operators import Scan
from umbel.plan.shapes import SOURCES
from umbel.plan.sources import FileSource
from umbel.platforms.base import Engine, Platform
from umbel.platforms.registry import Registry


def show_platforms(*, as_json: bool, config: Path | None = None) -> None:
    """Print the platforms as a table, or as JSON; those that a configuration attaches too.

    Args:
        as_json: print JSON.
        config: the configuration; None looks where sessions look. Nothing is connected to.
    """
    session = Session(progress=False)
    configured = find_config(config)
    if configured is not None:
        read_config(configured).attach_to(session)
    found = describe_platforms(session.platforms())
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _show_table(found)


def describe_platforms(registry: Registry) -> list[dict[str, Any]]:
    """Describe the platforms that are here, then the engines that can be attached, or are missing.

    `takes` and `gives` are the channels in which data comes and goes between stages. Of an engine
    that is attached as often as one likes, each instance is a platform of its own; `install` says
    how to attach or install what is not here. Nothing is started or connected to find out.

    >>> found = {row["name"]: row for row in describe_platforms(Registry.discover())}
    >>> found["duckdb"]["state"]
    'here'
    """
    here = [
        {
            "name": platform.name,
            "engine": platform.engine,
            "version": platform.version,
            "state": "attached" if platform.name in registry.attached else "here",
            "install": "",
            "started": platform.started(),
            "files": list(_formats(platform)),
            "takes": list(platform.reads),
            "gives": list(platform.writes),
        }
        for platform in registry
    ]
    attachable = [
        _absent(name, "to attach", _how_to_attach(name, engine))
        for name, engine in sorted(registry.engines.items())
        if engine.make is None and name not in registry.missing and name not in registry
    ]
    missing = [_absent(name, "missing", why) for name, why in sorted(registry.missing.items())]
    return here + attachable + missing


def _absent(name: str, state: str, what_to_do: str) -> dict[str, Any]:
    return {
        "name": name,
        "engine": name,
        "version": "",
        "state": state,
        "install": what_to_do,
        "started": False,
        "files": [],
        "takes": [],
        "gives": [],
    }


def _how_to_attach(name: str, engine: Engine) -> str:
    schemes = " or ".join(f"{scheme}://" for scheme in engine.schemes)
    limits = engine.limits()
    return f"attach it by its URL ({schemes})" + (f"; {limits}" if limits else "")


def _formats(platform: Platform) -> Iterator[str]:
    """The formats of files that a platform reads."""
    for kind, source in SOURCES.items():
        if issubclass(source, FileSource):
            schema = pa.schema([("value", pa.string())])
            if platform.refuse(Scan(source=source(schema, (f"file.{kind}",)))) is None:
                yield kind


def _show_table(found: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("platform", "engine", "version", "state", "reads files", "takes", "gives"):
        table.add_column(name, no_wrap=True)
    for row in found:
        state = row["state"] + (", started" if row["started"] else "")
        table.add_row(
            row["name"],
            row["engine"],
            row["version"],
            state,
            *(", ".join(row[key]) for key in ("files", "takes", "gives")),
        )
    print_laid(table)
    for row in found:
        if row["install"]:
            print(f"{row['name']}: {row['install']}")
