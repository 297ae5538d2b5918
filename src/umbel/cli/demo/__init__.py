"""The demo: two scripts over real data, planned and run across engines, with the reasons.

Scripts and data are put into a folder, and the scripts run there as `umbel run` would run them.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.api.session import Session
from umbel.cli.demo import data
from umbel.cli.script import execute
from umbel.cli.sessions import sessions_are
from umbel.plan.errors import PlacementError, SourceError
from umbel.plan.operators import Operator, rebuild
from umbel.platforms.base import Platform

if TYPE_CHECKING:
    from umbel.executor import Result
    from umbel.optimizer import Budget

_SCRIPTS = Path(__file__).parent / "scripts"


class DemoSession(Session):
    """Says how a plan will run before it runs it, and what was measured after."""

    last: tuple[Operator, Result] | None = None

    def run(self, plan: Operator, budget: Budget | None = None, **options: Any) -> Result:
        """Explain a plan, and run it."""
        from umbel.optimizer import explain

        _title("how it will run, and why")
        print(explain(plan, self.platforms(), budget=budget), flush=True)
        result = super().run(plan, budget, **options)
        type(self).last = plan, result
        _title("the result")
        return result


def run_demo(keep: Path | None) -> None:
    """Run both scripts.

    Args:
        keep: a folder that keeps the files; None uses one that is removed again.

    Raises:
        SourceError: the folder cannot be made.
    """
    with _folder(keep) as name:
        folder = Path(name)
        _count_words(folder)
        if data.has_flights():
            _query_flights(folder)
        else:
            print(
                "The second part needs 336,776 flights: pip install 'umbel[demo]'", file=sys.stderr
            )
    if keep is not None:
        print(f"\nThe files are in {keep}. To see more: umbel explain {keep}/wordcount.py")


def _folder(keep: Path | None) -> AbstractContextManager[str]:
    if keep is None:
        return tempfile.TemporaryDirectory(prefix="umbel-demo-")
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(
            f"cannot make the folder {keep}: {error.strerror}", hint="choose another --keep"
        ) from None
    return nullcontext(str(keep))


def _count_words(folder: Path) -> None:
    characters = data.write_text(folder)
    _head(f"1. WordCount over {characters:,} characters of Python's own manual")
    plan, result = _run(folder, "wordcount.py")
    _compare(_lifted(plan), result.data)


def _query_flights(folder: Path) -> None:
    rows = data.write_flights(folder)
    _head("2. A query over four files of four formats, with a Python function in it")
    for name, count in rows.items():
        print(f"  {name:<16} {count:>8,} rows")
    print()
    plan, result = _run(folder, "flights.py")
    _compare(plan, result.data)


def _run(folder: Path, name: str) -> tuple[Operator, Result]:
    """Show a script and run it; give its plan and what that gave."""
    script = folder / name
    shutil.copyfile(_SCRIPTS / name, script)
    _code(script.read_text(encoding="utf-8"))
    with sessions_are(DemoSession):
        execute(script, [])
    assert DemoSession.last is not None  # noqa: S101 - each script runs one plan
    plan, result = DemoSession.last
    _title("what was estimated, and what was measured")
    print(result.run)
    return plan, result


def _compare(plan: Operator, expected: Any) -> None:
    """Run a plan on each engine, and compare with the result.

    What an engine can run is pinned to it; the rest, such as Python functions, is left to Python.
    """
    from umbel.executor import run
    from umbel.platforms.registry import Registry

    _title("the same plan on each engine")
    registry = Registry.discover()
    for platform in registry:
        started = time.perf_counter()
        try:
            result = run(
                _pinned(plan, platform),
                platforms=registry.only(*dict.fromkeys([platform.name, "python"])),
                progress=False,
            )
        except PlacementError as error:
            print(f"  {platform.name:<8} impossible: {error.message}")
            continue
        spent = time.perf_counter() - started
        same = result.data == expected
        verdict = "the same answer" if same else "ANOTHER ANSWER: a defect"
        used = [name for name in result.run.plan.platforms if name != platform.name]
        helped = f", with {' and '.join(used)} for the rest" if used else ""
        print(f"  {platform.name:<8} {verdict}, in {spent:.2f} s{helped}", flush=True)


def _lifted(plan: Operator) -> Operator:
    """The plan with expressions in place of its Python functions, as every engine can run it."""
    from umbel.optimizer.rewrite.lift import lift

    return lift(plan)


def _pinned(plan: Operator, platform: Platform) -> Operator:
    return rebuild(plan, lambda op: op.pinned(platform.name) if platform.refuse(op) is None else op)


def _head(text: str) -> None:
    print(f"\n{text}\n{'=' * len(text)}\n")


def _title(text: str) -> None:
    print(f"\n--- {text} ---\n")


def _code(source: str) -> None:
    """Show a script, in colours where the terminal has them."""
    if not sys.stdout.isatty():
        print(source.rstrip())
        return
    from rich.console import Console
    from rich.syntax import Syntax

    Console().print(Syntax(source.rstrip(), "python", background_color="default"))
