"""`umbel run --durable`, `--resume` and `umbel runs`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import umbel as ub
from tests.cli.conftest import Run
from umbel.cli.main import run_command
from umbel.executor.runs import RunStore
from umbel.failpoints import VARIABLE

SCRIPT = """
import sys, umbel as ub
session = ub.connect()
words = session.from_items(["a", "b", "a"])
print("counts", sorted(words.map(lambda w: [w, 1] if w else None).collect()))
session.from_dict({"n": [1, 2, 3]}).write_delta(sys.argv[1], mode="append")
print("rows", session.read_delta(sys.argv[1]).count())
"""
SAID = "counts [['a', 1], ['a', 1], ['b', 1]]\nrows 3\n"

#: Runs the command in this process; gives its exit code and what it printed.
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("UMBEL_RUNS", "kept")
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: object) -> tuple[int, str, str]:
        code = run_command([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_script_that_was_killed_goes_on_and_writes_once(
    started: Run, command: Command, folder: Path, environment: dict[str, str]
) -> None:
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    environment[VARIABLE] = "write-done"
    killed = started("run", "--durable", "--store", "kept", "script.py", "lake")
    assert killed.returncode == -9
    assert ub.connect().read_delta(folder / "lake").count() == 3  # and nobody knows of it
    store = RunStore(folder / "kept")
    [script] = [run.id for run in store.runs() if run.kind == "script"]
    assert f"run {script} is kept; to resume it: umbel run --resume {script}" in killed.stderr
    code, listed, _ = command("runs", "list", "--all", "--json")
    assert code == 0
    assert {run["id"]: run["state"] for run in json.loads(listed)} == {
        script: "interrupted",
        f"{script}.1": "finished",
        f"{script}.2": "interrupted",
    }
    code, _, error = command("runs", "resume", f"{script}.2")
    assert code == 2
    assert f"umbel run --resume {script}" in error
    os.chdir("/")  # a script is resumed in its own folder
    code, out, error = command("run", "--resume", script, "--store", folder / "kept")
    assert (code, out, error) == (0, SAID, "")
    assert Path.cwd() == folder
    assert ub.connect().read_delta("lake").count() == 3
    code, shown, _ = command("runs", "show", script)
    assert f"run {script}: script.py lake\nfinished, began " in shown
    assert "\n2 tries, the last by process " in shown
    assert shown.count("  finished  ") == 3
    code, shown, _ = command("runs", "show", f"{script}.2")
    assert "wrote 3 rows to delta" in shown
    code, _, error = command("run", "--resume", script)
    assert code == 2
    assert f"run {script} of script.py is finished" in error


def test_a_script_that_sleeps_is_cancelled_from_outside(
    command: Command, folder: Path, environment: dict[str, str]
) -> None:
    (folder / "sleep.py").write_text("import time\ntime.sleep(60)", encoding="utf-8")
    started = subprocess.Popen(
        [sys.executable, "-m", "umbel", "run", "--durable", "--store", "kept", "sleep.py"],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    with started:
        assert started.stderr is not None
        run_id = started.stderr.readline().split()[1]
        assert f"to stop run {run_id}" in command("runs", "cancel", run_id)[1]
        assert started.wait(30) == 130
        assert started.stderr.read() == "cancelled\n"
    assert RunStore("kept").run(run_id).state == "cancelled"


def test_sql_is_kept_resumed_listed_and_forgotten(command: Command, folder: Path) -> None:
    (folder / "query.sql").write_text("select n, n * 2 as m from t order by n", encoding="utf-8")
    (folder / "t.csv").write_text("n\n2\n1\n", encoding="utf-8")
    arguments = ("query.sql", "--table", "t=t.csv", "--format", "csv")
    code, out, told = command("run", "--durable", *arguments)
    assert (code, out) == (0, "n,m\n1,2\n2,4\n")
    [run] = RunStore("kept").runs()
    assert told == f"run {run.id} is kept; to resume it: umbel run --resume {run.id}\n"
    assert command("run", "--resume", run.id) == (0, out, "")
    code, listed, _ = command("runs", "list")
    assert listed.splitlines()[1].split()[:2] == [run.id, "finished"]
    code, shown, _ = command("runs", "show", run.id)
    assert "stage  platform  operators" in shown
    assert json.loads(command("runs", "show", run.id, "--json")[1])["events"][-1]["kind"] == (
        "finished"
    )
    code, _, error = command("runs", "cancel", run.id)
    assert (code, f"run {run.id} is finished already" in error) == (2, True)
    assert command("runs", "prune")[2] == "0 runs forgotten\n"
    assert command("runs", "prune", "--older-than", "0", "--dry-run")[2] == (
        "1 run would be forgotten\n"
    )
    code, gone, counted = command("runs", "prune", "--older-than", "0")
    assert gone.startswith(run.id)
    assert counted == "1 run forgotten\n"
    assert RunStore("kept").runs() == []
    assert command("run", "--resume", run.id)[0] == 2


def test_secrets_are_not_kept_and_wrong_use_is_told(command: Command, folder: Path) -> None:
    (folder / "query.sql").write_text("select 1 as one", encoding="utf-8")
    url = "postgresql://ann:hunter2@localhost:1/sales"
    command("run", "--durable", "query.sql", "--attach", f"w={url}", "--attach", "l=.")
    [run] = RunStore("kept").runs()
    assert run.options["attach"] == ["w", f"l={folder}"]
    assert b"hunter2" not in b"".join(path.read_bytes() for path in Path("kept").glob("runs.db*"))
    code, _, error = command("run", "--resume", run.id)
    assert code == 2
    assert "the run needs 'w', whose URL held a secret" in error
    code, out, _ = command("run", "--resume", run.id, "--attach", f"w={url}")
    assert (code, out.split()) == (0, ["one", "int32", "1", "1", "row"])
    for arguments, why in (
        (("--resume", run.id, "query.sql"), "--resume takes a run's id alone"),
        (("query.sql", "--store", "x"), "--store is for --durable and --resume"),
        ((), "name a FILE, or a run: --resume ID"),
        (("--resume", "../../etc"), "is no id of a run"),
        (("--resume", "20260101-00000000"), "unknown run"),
    ):
        code, _, error = command("run", *arguments)
        assert (code, why in error) == (2, True), error
    code, _, error = command("runs", "prune", "--older-than", "soon")
    assert (code, "not a length of time: 'soon'" in error) == (2, True)
