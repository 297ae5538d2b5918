"""`umbel calibrate`: measure what the engines cost on this machine, for all sessions to go by."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from umbel.api.config import find_config, read_config
from umbel.api.session import Session
from umbel.calibration import Extent, Outcome, calibrate
from umbel.calibration.calibrate import calibration_of, to_calibrate
from umbel.cli.results import print_laid
from umbel.plan.errors import PlanError, SourceError
from umbel.platforms.calibrated import (
    COSTS,
    calibration_path,
    this_machine,
    write_calibration,
)
from umbel.platforms.costs import Figure

#: Figures that changed by less than this factor are not shown.
_SAME = 1.25


def run_calibration(
    engines: Sequence[str],
    output: Path | None,
    config: Path | None,
    *,
    quick: bool,
    dry_run: bool,
    verbose: bool,
    progress: bool | None,
) -> None:
    """Measure, fit, show, and write the profiles.

    Args:
        engines: the platforms to measure; none means all of this machine.
        output: the file; None writes the one that sessions read.
        config: what is attached; None looks where sessions look.
        quick: measure roughly.
        dry_run: write nothing.
        verbose: show every figure that changed.
        progress: show a bar; None does so in a terminal.

    Raises:
        PlanError: sessions are told to read no file, and none is named.
        UnknownNameError: an engine does not exist.
        SourceError: the file cannot be written.
    """
    path = output or calibration_path()
    if path is None and not dry_run:
        raise PlanError(
            f"{COSTS} is empty, so that no file is read", hint=f"name one by --output or {COSTS}"
        )
    session = Session(progress=False)
    found = find_config(config)
    if found is not None:
        read_config(found).attach_to(session)
    registry = session.platforms()
    names = [name.strip() for text in engines for name in text.split(",") if name.strip()]
    to_calibrate(registry, names)  # a wrong name is an error before anything is measured
    _warn_if_busy()
    with _shown(progress) as tick:
        outcomes = calibrate(registry, names, Extent.quick() if quick else Extent(), tick)
    _show(outcomes, verbose=verbose)
    if dry_run or path is None:
        return
    known = registry.calibration.platforms
    if output is not None and not _is_read(output):
        known = {}
    try:
        write_calibration(path, calibration_of(outcomes, known))
    except OSError as error:
        raise SourceError(f"{path}: cannot be written: {error.strerror}") from None
    print(f"written to {path}", file=sys.stderr)
    if not _is_read(path):
        print(f"sessions read it if {COSTS}={path}", file=sys.stderr)


def _is_read(path: Path) -> bool:
    """Whether sessions read this file."""
    read = calibration_path()
    return read is not None and read.absolute() == path.absolute()


def _warn_if_busy() -> None:
    """Say so if others keep the machine from showing what it can do."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # not on every system
        return
    cores = this_machine().cores
    if load > 0.75 * cores:
        print(
            f"warning: the machine is busy (load {load:.1f} on {cores} cores); "
            "what is measured now will be too slow",
            file=sys.stderr,
        )


@contextmanager
def _shown(progress: bool | None) -> Iterator[Any]:
    """Show a bar of the steps on standard error."""
    if not (sys.stderr.isatty() if progress is None else progress):
        yield lambda what, steps: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("making data", total=None)

        def tick(what: str, steps: int) -> None:
            bar.update(task, advance=1, total=steps or None, description=what)

        yield tick


def _show(outcomes: Sequence[Outcome], *, verbose: bool) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("platform", no_wrap=True)
    for title in ("plans", "error before", "90 %", "error after", "90 %", "slower than before"):
        table.add_column(title, justify="right", no_wrap=True)
    for outcome in outcomes:
        table.add_row(
            outcome.platform,
            str(len(outcome.observations)),
            *(f"{error:.0%}" for error in (*outcome.error_before, *outcome.error_after)),
            f"{outcome.slower:.2g}×",
        )
    print_laid(table)
    print(
        "errors: median and 90th percentile, relative, over plans that were kept from fitting",
        file=sys.stderr,
    )
    if verbose:
        for outcome in outcomes:
            _show_figures(outcome)


def _show_figures(outcome: Outcome) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column(outcome.platform, no_wrap=True)
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    before, after = outcome.before.figures(), outcome.after.figures()
    for figure in sorted({*before, *after}):
        old, new = before.get(figure, 0.0), after.get(figure, 0.0)
        if max(old, new) > _SAME * min(old, new):
            table.add_row(_named(figure), f"{old:.3g}", f"{new:.3g}")
    print()
    print_laid(table)


def _named(figure: Figure) -> str:
    return " ".join(part for part in figure if part)


__all__ = ["run_calibration"]
