"""Commands that ask a coordinator: SQL, runs, and scripts under the command's options."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from umbel.cli.main import run_command
from umbel.federation.access import Role
from umbel.federation.coordinator import Coordinator, CoordinatorSettings, Server, create

AGES = [1, 2, 3, 4]


@dataclass
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Coordinator, str]]:
    folder = tmp_path_factory.mktemp("served")
    with sqlite3.connect(folder / "ref.db") as database:
        database.execute("create table people (age integer not null)")
        database.executemany("insert into people values (?)", [(age,) for age in AGES])
    database.close()
    create(folder / "c", "one", ["localhost"], listen="127.0.0.1:0", sites="127.0.0.1:0")
    file = folder / "c" / "coordinator.toml"
    file.write_text(f'{file.read_text()}\n[catalog.ref]\nurl = "sqlite://{folder}/ref.db"\n')
    coordinator = Coordinator.open(CoordinatorSettings.read(file))
    with Server(coordinator) as server:
        yield coordinator, f"https://localhost:{server.port}"
    coordinator.close()


@pytest.fixture
def here(
    served: tuple[Coordinator, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Done]:
    """Run commands in this process, as ann."""
    monkeypatch.chdir(tmp_path)
    for name, roles in {"ANN": [Role.ANALYST], "OP": [Role.OPERATOR]}.items():
        word = served[0].new_token(name.lower(), roles)[1].encode()
        monkeypatch.setenv(name, word)
    monkeypatch.setenv("UMBEL_TOKEN", served[0].new_token("ann", [Role.ANALYST])[1].encode())

    def run(*arguments: str) -> Done:
        code = run_command(arguments)
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return run


def test_sql_is_asked_of_a_coordinator_and_its_runs_are_seen_and_forgotten(
    here: Callable[..., Done], served: tuple[Coordinator, str], tmp_path: Path
) -> None:
    at = ("--coordinator", served[1])
    asked = here("sql", "select sum(age) as s from ref.people", *at, "--token", "env:ANN",
                 "--format", "csv", "--explain", "--record")  # fmt: skip
    assert (asked.code, asked.out) == (0, f"s\n{sum(AGES)}\n"), asked.err
    assert "stage 0 on ref" in asked.err  # the explanation
    assert "rows: estimate" in asked.err  # the record
    (tmp_path / "q.sql").write_text("select count(*) as n from ref.people")
    ran = here("run", "q.sql", *at, "--format", "csv")
    assert ran.out == f"n\n{len(AGES)}\n", ran.err
    assert "on ref" in here("explain", "q.sql", *at).out

    listed = here("runs", "list", *at)
    assert len(re.findall(r"^\d{8}-[0-9a-f]{16}  finished  ann ", listed.out, re.MULTILINE)) == 2
    known = json.loads(here("runs", "list", *at, "--json").out)
    name = known[0]["id"]
    shown = here("runs", "show", name, *at)
    assert f"run {name} of ann: " in shown.out
    assert re.search(r"^0 +ref +.*finished +\S+ +\S+ +1 ", shown.out, re.MULTILINE), shown.out
    told = json.loads(here("runs", "show", name, *at, "--json").out)
    assert [stage["platform"] for stage in told["stages"]] == ["ref"]

    again = here("runs", "resume", name, *at)
    assert (again.code, "fetched" in again.err) == (2, True)
    over = here("runs", "cancel", name, *at)
    assert over.out == f"run {name} is finished already\n"
    for wrong in (("show", "20261122-0badcafe"), ("cancel", "20261122-0badcafe")):
        assert here("runs", *wrong, *at).code == 2
    assert here("runs", "list", *at, "--token", "env:OP").out.count(" ann ") == 2
    pruned = here("runs", "prune", "--older-than", "0", *at)
    assert (pruned.code, pruned.err) == (0, "2 runs forgotten\n")
    assert json.loads(here("runs", "list", *at, "--json").out) == []


def test_a_run_whose_rows_wait_is_fetched(
    here: Callable[..., Done], served: tuple[Coordinator, str]
) -> None:
    import umbel as ub
    from tests.federation.harness import settles
    from umbel.executor.run_ids import new_id
    from umbel.plan.codec import plan_to_json

    name = new_id(16)
    with ub.connect(served[1], progress=False) as session:  # type: ignore[attr-defined]
        plan = plan_to_json(session.table("ref.people").plan)
        session.connection.post("/v1/runs", {"id": name, "plan": plan})
        settles(lambda: session.runs.show(name)["state"] == "finished", 30)
    at = ("--coordinator", served[1])
    assert f"umbel runs resume {name}" in here("runs", "show", name, *at).out
    fetched = here("runs", "resume", name, *at, "--record")
    assert fetched.code == 0, fetched.err
    assert re.findall(r"^ *(\d+)$", fetched.out, re.MULTILINE) == [str(age) for age in AGES]
    assert "rows: estimate" in fetched.err


def test_a_scripts_session_goes_by_the_commands_options(
    here: Callable[..., Done], served: tuple[Coordinator, str], tmp_path: Path
) -> None:
    (tmp_path / "script.py").write_text(
        "import umbel as ub\n"
        f"with ub.connect('{served[1]}', progress=False) as session:\n"
        "    print(session.table('ref.people').count())\n"
        "    print(session.from_items([1, 2]).count())\n"
    )
    ran = here("run", "--explain", "--record", "script.py")
    assert (ran.code, ran.out) == (0, f"{len(AGES)}\n2\n"), ran.err
    assert ran.err.count("rows: estimate") == 2
    assert "stage 0 on ref" in ran.err
    assert "stage 0 on ref" in here("explain", "script.py").out
    assert "stage 0 on ref" in here("explain", "--all", "script.py").out
    bounded = here("run", "--budget-seconds", "0.000000001", "script.py")
    assert (bounded.code != 0, "budget" in bounded.err) == (True, True)
    pinned = here("run", "--on", "duckdb", "script.py")
    assert (pinned.code, "--on duckdb chooses among" in pinned.err) == (2, True)
    kept = here("run", "--durable", "--store", "kept", "script.py")
    assert (kept.code, "the coordinator keeps what it runs" in kept.err) == (2, True)


def test_options_that_go_with_nothing_are_refused(here: Callable[..., Done]) -> None:
    url = "https://localhost:1"
    (Path("script.py")).write_text("")
    for wrong, word in {
        ("sql", "select 1", "--token", "env:ANN"): "--token is for a coordinator",
        ("runs", "list", "--token", "env:ANN"): "--token is for a coordinator",
        ("runs", "list", "--coordinator", url, "--store", "x"): "give one of them",
        ("run", "--coordinator", url, "script.py"): "names its coordinator itself",
        ("run", "--resume", "20261122-0badcafe", "--coordinator", url): "umbel runs resume",
        ("runs", "resume", "20261122-0badcafe", "--coordinator", url, "--attach", "a=b"): (
            "--attach is for runs of this machine"
        ),
        ("runs", "list", "--coordinator", url): "cannot be reached",
    }.items():
        done = here(*wrong)
        assert done.code != 0
        assert word in re.sub(r"[│\s]+", " ", done.err), (wrong, done.err)


def test_an_error_of_a_command_names_no_line_of_a_script(here: Callable[..., Done]) -> None:
    done = here("sql", "select 1", "--coordinator", "https://localhost:1")
    assert "cannot be reached" in done.err
    assert ".py:" not in done.err
