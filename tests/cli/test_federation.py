"""The processes of a federation as commands: on real processes, with real certificates."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import postgres_server
from tests.cli.conftest import Run
from umbel.cli.main import run_command

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.mark.slow
def test_three_hospitals_answer_together(umbel: Run, environment: dict[str, str]) -> None:
    """A coordinator and sites over PostgreSQL, Parquet and SQLite, each a process of its own."""
    with postgres_server.server().fresh() as url:
        environment["UMBEL_DEMO_POSTGRES"] = url
        done = umbel("demo", "hospitals")
        left = postgres_server.server().execute(
            "select count(*) from pg_tables where tablename = 'umbel_demo_patients'",
            database=url.split("/")[3].split("?")[0],
        )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = done.stdout
    assert re.search(r"hospital-a: +12,000 patients in a table of PostgreSQL", shown)
    for site in ("hospital-a", "hospital-b", "hospital-c"):
        assert f"{site} is connected, and publishes patients (aggregates)" in shown
        assert f"{site} → here: aggregates over at least 10 individuals" in shown
    assert "the same answer" in shown
    assert "a defect" not in shown
    share = {
        name: float(s) for name, s in re.findall(r"^  (\S.*?) +([0-9.]+)%$", shown, re.MULTILINE)
    }
    assert list(share) == [
        *(f"{site} alone" for site in ("hospital-a", "hospital-b", "hospital-c")),
        "all three, secure aggregation",
        "and with noise for epsilon 1",
        "pooled data",
    ]
    assert share["all three, secure aggregation"] == share["pooled data"]
    assert share["and with noise for epsilon 1"] > share["hospital-a alone"]
    assert all(share[name] < share["pooled data"] - 2 for name in list(share)[:3])
    assert "refused: of table 'patients' aggregates" in shown
    seconds = re.search(r"All of it took (\d+) s", shown)
    assert seconds is not None
    assert left == [(0,)]
    assert list(Path(environment["TMPDIR"]).glob("umbel-demo-*")) == []


@dataclass
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Run commands in this process, which is much quicker, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        code = run_command(arguments)
        shown = capsys.readouterr()
        return Done(code, shown.out, shown.err)

    return run


def test_a_coordinator_is_made_and_looked_after(
    here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = here("coordinator", "init", "c", "--federation", "north", "--host", "localhost")
    assert made.code == 0, made.err
    operator = re.search(r"umbel-api-[0-9a-f-]+", made.out)
    assert operator is not None
    checked = here("config", "check", "c/coordinator.toml")
    assert (checked.code, "fine, a coordinator's" in checked.out) == (0, True)
    again = here("coordinator", "init", "c")
    assert (again.code, "is there already" in again.err) == (10, True)
    token = here("coordinator", "token", "ann", "--role", "boss", "--config", "c")
    assert (token.code, "there are: viewer" in token.err) == (16, True)
    token = here("coordinator", "token", "ann", "--config", "c")
    assert re.fullmatch(r"umbel-api-[0-9a-f-]+\n", token.out)
    shut = here("coordinator", "revoke", "--token", token.out.split("-")[2], "--config", "c")
    assert shut.code == 0
    revoked = here("coordinator", "revoke", "nobody", "--config", "c")
    assert (revoked.code, "unknown site 'nobody'" in revoked.err) == (2, True)
    monkeypatch.setenv("UMBEL_TOKEN", operator[0])
    sites = here("sites", "https://localhost:1", "--json")
    assert (sites.code, "cannot be reached" in sites.err) == (15, True)
    assert operator[0] not in sites.err
    invited = here("coordinator", "invite", "ward", "--config", "c")
    monkeypatch.setenv("INVITATION", invited.out.split()[-1])
    joined = here("site", "join", "https://localhost:1", "--token", "env:INVITATION")
    assert (joined.code, "cannot be reached" in joined.err) == (15, True)
    doctor = here("site", "doctor", "c")
    assert (doctor.code, doctor.out.startswith("NO  configuration")) == (1, True)
    nothing = here("demo", "clinics")
    assert (nothing.code, "there is: hospitals" in nothing.err) == (2, True)


def test_what_is_deployed_are_commands_that_there_are(here: Callable[..., Done]) -> None:
    for file in ("umbel-coordinator.service", "umbel-site.service", "Containerfile"):
        text = (DEPLOY / file).read_text(encoding="utf-8").replace("\\\n#", "")
        for command in set(re.findall(r"umbel (coordinator|site) (init|serve|join|run)\b", text)):
            done = here(*command, "--help")
            assert done.code == 0, command
            assert f"umbel {' '.join(command)}" in done.out.partition("Examples:")[2]
            options = set(re.findall(r"--[a-z]+", done.out))
            for line in text.splitlines():
                _, found, behind = line.partition(" ".join(command))
                if found:
                    assert set(re.findall(r"--[a-z]+", behind)) <= options, line
