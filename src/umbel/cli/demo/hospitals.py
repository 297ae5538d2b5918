"""The demo of a federation: three hospitals answer a question and train a model, and keep their data.

A coordinator and three sites are started as processes of their own, as an operator would start
them; only the data is made up.
"""

from __future__ import annotations

import os
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

import umbel
from umbel import col
from umbel.api.located import written_at
from umbel.api.session import Session
from umbel.cli.demo.diagnosis import measured, train
from umbel.plan.errors import PlacementError, RunError

#: Names a PostgreSQL in which a table may be made and dropped again: postgresql://user@host/db.
POSTGRES = "UMBEL_DEMO_POSTGRES"
_TABLE = "umbel_demo_patients"
_DIAGNOSES = ("asthma", "diabetes", "fracture", "hypertension", "pneumonia")
_PATIENTS = {"hospital-a": 12_000, "hospital-b": 8_000, "hospital-c": 5_000}
#: How often each hospital sees each diagnosis.
_MIXES = {
    "hospital-a": (30, 2, 30, 30, 8),
    "hospital-b": (2, 40, 8, 20, 30),
    "hospital-c": (10, 3, 60, 2, 25),
}
#: Seconds that processes have to start, and to end.
_START, _END = 40.0, 10.0

QUESTION = """\
patients = session.table("patients")              # the rows of all three, wherever they lie
answer = (
    patients.filter(col("age") >= 65)
    .group_by("diagnosis")
    .agg(umbel.len().alias("patients"), col("stay_days").mean().alias("mean_stay"))
    .sort("diagnosis")
)"""


def run_hospitals(keep: Path | None) -> None:
    """Start a federation, ask it, compare with pooled data, and stop it.

    Args:
        keep: a folder that keeps the files; None uses one that is removed again.
    """
    from umbel.federation.access import Role
    from umbel.federation.coordinator import Coordinator, CoordinatorSettings

    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(_folder(keep)))
        pooled = {site: _patients(site, count) for site, count in _PATIENTS.items()}
        _head("1. Three hospitals, each with its own data")
        sources = _write(folder, pooled, stack)
        _head("2. A coordinator, and three sites that join it")
        settings = _coordinator(folder)
        opened = Coordinator.open(settings, serving=False)
        words = {site: opened.invite(site)[1] for site in _PATIENTS}
        token = opened.new_token("ann", [Role.ANALYST])[1].encode()
        opened.close()
        serving = ["coordinator", "serve", "--config", str(settings.folder)]
        stack.enter_context(_process("coordinator", serving, folder, "sites:"))
        for site, word in words.items():
            print(f"  umbel site join --folder {folder / site} --token {word[:14]}…", flush=True)
            _join(folder, site, word, sources[site])
        for site in words:
            stack.enter_context(_process(site, ["site", "run", str(folder / site)], folder))
        session: Any = umbel.connect(
            CoordinatorSettings.read(settings.folder).url, token=token, progress=False
        )
        stack.enter_context(session)
        _wait(session)
        with written_at(None):  # there is no script whose lines could be shown
            _ask(session, pooled)
            _head("4. One model of all of them")
            train(session, pooled)
    print(f"\nAll of it took {time.monotonic() - began:.0f} s. The processes have ended", end="")
    print(f"; the files are in {keep}." if keep else ", and the files are gone.")


def _ask(session: Any, pooled: dict[str, pa.Table]) -> None:
    _head("3. One question to all of them")
    print(QUESTION)
    patients = session.table("patients")
    answer = (
        patients.filter(col("age") >= 65)
        .group_by("diagnosis")
        .agg(umbel.len().alias("patients"), col("stay_days").mean().alias("mean_stay"))
        .sort("diagnosis")
    )
    _title("the plan: what runs where, and what crosses which border")
    print(answer.explain())
    _title("the answer")
    started = time.perf_counter()
    found = answer.collect()
    spent = time.perf_counter() - started
    _show(found)
    _title("the same over pooled data, which no hospital would hand out")
    here = Session(progress=False)
    everything = here.from_arrow(pa.concat_tables(pooled.values()))
    expected = (
        everything.filter(col("age") >= 65)
        .group_by("diagnosis")
        .agg(umbel.len().alias("patients"), col("stay_days").mean().alias("mean_stay"))
        .sort("diagnosis")
        .collect()
    )
    same = found.to_pylist() == expected.to_pylist()
    rows = sum(table.num_rows for table in pooled.values())
    moved = sum(table.nbytes for table in pooled.values())
    print("the same answer" if same else "ANOTHER ANSWER: a defect")
    print(f"in {spent:.2f} s; {rows:,} rows ({moved / 1e6:.1f} MB) stayed where they are")
    _title("what the rules of the hospitals do not let out")
    print('session.table("patients").filter(col("age") >= 100).collect()')
    try:
        patients.filter(col("age") >= 100).collect()
    except PlacementError as refused:  # which a rule's refusal is
        print(f"refused: {refused.message}")
    else:
        print("IT CAME OUT: a defect")
    if not same:
        raise RunError("the federation gave another answer than the pooled data")


# --- data -----------------------------------------------------------------------------------------


def _patients(site: str, count: int) -> pa.Table:
    """Make up the patients of a hospital: the same each time."""
    dice = random.Random(site)  # noqa: S311 - data of a demo
    first = 1_000_000 * (1 + list(_PATIENTS).index(site))
    ages = [min(99, int(dice.gauss(58, 18)) % 100) for _ in range(count)]
    # Each hospital sees other diseases than the others, so none knows all of them well.
    found = dice.choices(_DIAGNOSES, _MIXES[site], k=count)
    return pa.table(
        {
            "patient_id": pa.array(range(first, first + count), pa.int64()),
            "age": pa.array(ages, pa.int64()),
            "diagnosis": found,
            "stay_days": pa.array([1 + int(dice.expovariate(0.2)) for _ in ages], pa.int64()),
            **measured(dice, found),
        }
    )


def _write(folder: Path, pooled: dict[str, pa.Table], stack: ExitStack) -> dict[str, str]:
    """Put the data where each hospital has it; give the part of each site's configuration."""
    session = Session(progress=False)
    found: dict[str, str] = {}
    for site, table in pooled.items():
        home = folder / site
        home.mkdir(parents=True, exist_ok=True)
        frame = session.from_arrow(table)
        if site == "hospital-a":
            found[site], what = _in_database(session, home, frame, stack)
        elif site == "hospital-b":
            frame.write_parquet(home / "patients.parquet")
            found[site], what = 'parquet = "patients.parquet"', "a Parquet file"
        else:
            # Here the column of the age has another name: the site's own mapping says so.
            sqlite3.connect(home / "ward.db").close()
            session.catalog.attach("c", f"sqlite://{home / 'ward.db'}")
            frame.rename({"age": "years"}).write_table("c.patients")
            session.catalog.detach("c")
            found[site] = (
                'from = "ward.patients"\n'
                + _RULE
                + (
                    '[tables.patients.columns]\nage = { from = "years" }\n'
                    f'\n[catalog.ward]\nurl = "sqlite://{home / "ward.db"}"\n'
                )
            )
            what = "a table of SQLite, in which the column age is called years"
        print(f"  {site}: {table.num_rows:>6,} patients in {what}", flush=True)
    return found


_RULE = """\
form = "aggregates"
min_individuals = 10
individual = "patient_id"
tells_size = true
updates = 100
"""


def _in_database(session: Session, home: Path, frame: Any, stack: ExitStack) -> tuple[str, str]:
    url = os.environ.get(POSTGRES, "")
    if url:
        session.catalog.attach("a", url)
        frame.write_table(f"a.public.{_TABLE}", mode="replace")
        session.catalog.detach("a")
        stack.callback(_drop, url)
        what = f"a table of PostgreSQL at {urlsplit(url).hostname or 'this machine'}"
        lines = f'from = "ward.public.{_TABLE}"\n' + _RULE
    else:
        import duckdb

        duckdb.connect(home / "ward.duckdb").close()
        url = f"duckdb://{home / 'ward.duckdb'}"
        session.catalog.attach("a", url)
        frame.write_table("a.patients")
        session.catalog.detach("a")
        what = f"a table of DuckDB (PostgreSQL, if {POSTGRES} names one)"
        lines = 'from = "ward.patients"\n' + _RULE
    return f'{lines}\n[catalog.ward]\nurl = "{url}"\n', what


def _drop(url: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {_TABLE}")


# --- processes ------------------------------------------------------------------------------------


def _coordinator(folder: Path) -> Any:
    from umbel.federation.coordinator import create

    listen, sites = (f"127.0.0.1:{port}" for port in _free_ports())
    return create(folder / "coordinator", "demo", ["localhost"], listen=listen, sites=sites)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _join(folder: Path, site: str, word: str, source: str) -> None:
    from umbel.federation.site import join

    settings = join(word, folder / site)
    rule = "" if _RULE in source else _RULE
    text = settings.file.read_text(encoding="utf-8")
    settings.file.write_text(f"{text}\n[tables.patients]\n{source}\n{rule}", encoding="utf-8")


@contextmanager
def _process(name: str, arguments: list[str], folder: Path, ready: str = "") -> Iterator[None]:
    """Run a command of umbel's until the block ends.

    Args:
        name: what its log is called.
        arguments: of the command.
        folder: where the log goes.
        ready: what it says when the block may begin; empty lets it begin at once.
    """
    print(f"  umbel {' '.join(arguments)}", flush=True)
    log = folder / f"{name}.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "umbel", *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; we tell them
        )
        try:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            if ready and not any(line.startswith(ready) for line in process.stdout):
                said = log.read_text(encoding="utf-8").strip()
                raise RunError(f"{name} did not start: {said or 'it said nothing'}")
            yield
        finally:
            process.terminate()
            try:
                process.wait(_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _wait(session: Any) -> None:
    """Wait until all sites are there."""
    end = time.monotonic() + _START
    while True:
        known = session.sites()
        if all(site["state"] == "connected" and site["tables"] for site in known):
            break
        if time.monotonic() > end:
            away = [site["name"] for site in known if site["state"] != "connected"]
            raise RunError(f"these sites did not come: {', '.join(away)}")
        time.sleep(0.1)
    session.catalog.refresh()
    for site in known:
        tables = ", ".join(f"{t['name']} ({t['form']})" for t in site["tables"])
        print(f"  {site['name']} is connected, and publishes {tables}")


# --- what is shown --------------------------------------------------------------------------------


def _folder(keep: Path | None) -> AbstractContextManager[str]:
    if keep is None:
        return tempfile.TemporaryDirectory(prefix="umbel-demo-")
    keep.mkdir(parents=True, exist_ok=True)
    return nullcontext(str(keep.absolute()))


def _show(table: pa.Table) -> None:
    print(f"{'diagnosis':<14} {'patients':>9} {'mean stay':>10}")
    for row in table.to_pylist():
        print(f"{row['diagnosis']:<14} {row['patients']:>9,} {row['mean_stay']:>10.3f}")


def _head(text: str) -> None:
    print(f"\n{text}\n{'=' * len(text)}\n", flush=True)


def _title(text: str) -> None:
    print(f"\n--- {text} ---\n", flush=True)


__all__ = ["run_hospitals"]
