"""The processes of a federation as commands: on real processes, with real certificates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import postgres_server
from tests.cli.conftest import Run

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
    assert "refused: of table 'patients' aggregates" in shown
    seconds = re.search(r"All of it took (\d+) s", shown)
    assert seconds is not None
    assert left == [(0,)]
    assert list(Path(environment["TMPDIR"]).glob("umbel-demo-*")) == []


def test_a_coordinator_is_made_and_looked_after(
    umbel: Run, folder: Path, environment: dict[str, str]
) -> None:
    made = umbel("coordinator", "init", "c", "--federation", "north", "--host", "localhost")
    assert made.returncode == 0, made.stderr
    operator = re.search(r"umbel-api-[0-9a-f-]+", made.stdout)
    assert operator is not None
    again = umbel("coordinator", "init", "c")
    assert (again.returncode, "is there already" in again.stderr) == (10, True)
    token = umbel("coordinator", "token", "ann", "--role", "boss", "--config", "c")
    assert (token.returncode, "there are: viewer" in token.stderr) == (16, True)
    revoked = umbel("coordinator", "revoke", "nobody", "--config", "c")
    assert (revoked.returncode, "unknown site 'nobody'" in revoked.stderr) == (2, True)
    environment["UMBEL_TOKEN"] = operator[0]
    sites = umbel("sites", "https://localhost:1", "--json")
    assert (sites.returncode, "cannot be reached" in sites.stderr) == (15, True)
    assert operator[0] not in sites.stderr
    invited = umbel("coordinator", "invite", "ward", "--config", "c")
    word = invited.stdout.split()[-1]
    environment["INVITATION"] = word
    joined = umbel("site", "join", "https://localhost:1", "--token", "env:INVITATION")
    assert (joined.returncode, "cannot be reached" in joined.stderr) == (15, True)
    doctor = umbel("site", "doctor", "c")
    assert (doctor.returncode, doctor.stdout.startswith("NO  configuration")) == (1, True)


def test_what_is_deployed_are_commands_that_there_are(umbel: Run) -> None:
    for file in ("umbel-coordinator.service", "umbel-site.service", "Containerfile"):
        text = (DEPLOY / file).read_text(encoding="utf-8")
        for command in set(re.findall(r"umbel (coordinator|site) (init|serve|join|run)\b", text)):
            done = umbel(*command, "--help")
            assert done.returncode == 0, command
            options = set(re.findall(r"--[a-z]+", done.stdout))
            for line in text.splitlines():
                if " ".join(command) in line:
                    behind = line.partition(" ".join(command))[2]
                    assert set(re.findall(r"--[a-z]+", behind)) <= options, line
