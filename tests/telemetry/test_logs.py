"""Logs tell what happened, to whom and where, and nothing of data, literals or secrets."""

from __future__ import annotations

import io
import json
import logging
import socket
import ssl
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import umbel as ub
from tests.federation.harness import settles
from umbel import col
from umbel.federation import Form, Rule, Site
from umbel.federation.access import ApiToken, Role
from umbel.federation.coordinator import Coordinator, Server, create
from umbel.federation.errors import IdentityError, PolicyError, SiteError
from umbel.federation.execution import SiteExecution
from umbel.federation.site import join
from umbel.federation.wire.agent import Agent, AgentConfig
from umbel.plan.errors import RunError
from umbel.telemetry.logs import FIELDS, about, log_to, say

DATUM, LITERAL = "zxdatumzx", "zxliteralzx"


@dataclass
class Logged:
    """What went to a log as JSON, and to one for people."""

    json: io.StringIO = field(default_factory=io.StringIO)
    text: io.StringIO = field(default_factory=io.StringIO)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.json.getvalue().splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """Everything of every logger at every level, as a process would log it."""
    made, root = Logged(), logging.getLogger()
    before = root.level, logging.getLogger("umbel").level
    hooks = threading.excepthook, sys.unraisablehook
    handlers = [log_to(made.json, "json", "debug"), log_to(made.text, "text", "debug")]
    root.setLevel(logging.DEBUG)
    try:
        yield made
    finally:
        for handler in handlers:
            root.removeHandler(handler)
        root.setLevel(before[0])
        logging.getLogger("umbel").setLevel(before[1])
        threading.excepthook, sys.unraisablehook = hooks
        logging.captureWarnings(False)


def published() -> Site:
    site = Site("north", ub.connect(progress=False))
    people: dict[str, Any] = {"id": [1, 2, 3], "name": [DATUM, LITERAL, DATUM]}
    rule = Rule(Form.AGGREGATES, min_individuals=2, individual="id")
    site.publish("people", site.session.from_dict(people), rule)
    site.publish("codes", site.session.from_dict({"code": [DATUM, LITERAL]}), Rule(Form.ROWS))
    return site


def test_a_federation_logs_neither_data_nor_literals_nor_secrets(
    logged: Logged, tmp_path: Path
) -> None:
    settings = create(
        tmp_path / "c", "north", ["localhost"], listen="127.0.0.1:0", sites="127.0.0.1:0"
    )
    coordinator = Coordinator.open(settings)
    with Server(coordinator) as server:
        url = f"https://localhost:{server.port}"
        _, word = coordinator.invite("north")
        joined = join(word, tmp_path / "north", url=url)
        site = published()
        agent = Agent(
            AgentConfig(joined.folder, joined.coordinator),
            SiteExecution(site),
            lambda: site.manifest().to_json(),
        )
        agent.start()
        try:
            settles(lambda: coordinator.sites.manifests(), 30)
            token = coordinator.new_token("ann", [Role.ANALYST])[1]
            ask(url, token)
            knock(url, token)
            # An error that nobody foresaw: the folder for rows is gone.
            results = settings.folder / "results"
            for file in results.iterdir():
                file.unlink()
            results.rmdir()
            with (
                ub.connect(url, token=token.encode(), progress=False) as session,  # type: ignore[attr-defined]
                pytest.raises(RunError, match="went wrong inside"),
            ):
                session.table("codes").filter(col("code") == LITERAL).collect()
            results.mkdir()
        finally:
            agent.stop()
    coordinator.close()

    secrets = (token.secret, word)
    for text in (logged.json.getvalue(), logged.text.getvalue()):
        for marked in (DATUM, LITERAL, *secrets):
            assert marked not in text
    told(logged)


def ask(url: str, token: ApiToken) -> None:
    """Ask with literals: what is answered, what fails on a value, what no rule lets out."""
    with ub.connect(url, token=token.encode(), progress=False) as session:  # type: ignore[attr-defined]
        people, codes = session.table("people"), session.table("codes")
        asked = people.filter(col("name") != LITERAL).select(n=ub.len())
        assert asked.collect().to_pylist() == [{"n": 2}]
        assert codes.filter(col("code") == LITERAL).count() == 1
        with pytest.raises(SiteError, match="no value for some row"):
            codes.select(a=col("code").cast("int64")).collect()
        with pytest.raises(PolicyError):
            people.filter(col("name") == LITERAL).collect()


def knock(url: str, token: ApiToken) -> None:
    """Knock with a forged token, and with what is no request."""
    forged = ApiToken(token.id, token.secret[::-1], token.authority)
    with pytest.raises(IdentityError):
        ub.connect(url, token=forged.encode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = url.removeprefix("https://").rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=30) as plain,
        context.wrap_socket(plain) as line,
    ):
        line.sendall(f"{LITERAL} /{token.secret}\r\n\r\n".encode())
        assert b"400" in line.recv(1000)


def told(logged: Logged) -> None:
    """Each event says which run, where, and on whose behalf."""
    started, ended = logged.events("run.started"), logged.events("run.ended")
    assert {line["user"] for line in started} == {"ann"}
    assert {line["run"] for line in started} == {line["run"] for line in ended}
    states = [line["state"] for line in ended]
    assert states.count("finished") == 2
    assert set(states) == {"finished", "failed"}
    at_site = logged.events("task.started")
    assert {(line["site"], line["user"]) for line in at_site} == {("north", "ann")}
    assert all(line["run"] and line["stage"] >= 0 and line["task"] for line in at_site)
    of_coordinator = [e for e in logged.events("task.done") if e["logger"] == "umbel.coordinator"]
    assert {line["run"] for line in of_coordinator} <= {line["run"] for line in started}
    failed = [e for e in logged.events("task.failed") if e["logger"].endswith("jobs")]
    assert failed[0]["error"] == "EvaluationError"
    assert any("execution/run.py" in place for place in failed[0]["places"])
    (unexpected,) = logged.events("unexpected")
    assert unexpected["error"] == "FileNotFoundError"
    assert unexpected["number"]
    refused = [line for line in logged.events("request") if line["status"] == 401]
    assert refused
    assert "user" not in refused[0]
    assert any("uvicorn" in line["logger"] for line in logged.events("library"))
    assert " run.started run=" in logged.text.getvalue()


def test_what_others_log_is_told_by_its_place(logged: Logged) -> None:
    """Tracebacks of uvicorn's, warnings, threads that fail, and what cannot be raised."""
    foreign = logging.getLogger("uvicorn.error")
    try:
        try:
            raise ValueError(DATUM)
        except ValueError as error:
            raise RuntimeError(LITERAL) from error
    except RuntimeError as error:
        foreign.error("Exception in ASGI application\n", exc_info=error)
        logging.getLogger("umbel.x").error("it failed: %s", error)
    foreign.warning("a text of %s", DATUM)
    foreign.warning(f"a text of {DATUM}")  # which is what some do
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(DATUM, stacklevel=1)
    thread = threading.Thread(target=int, args=(DATUM,))
    thread.start()
    thread.join()
    assert DATUM not in logged.json.getvalue() + logged.text.getvalue()
    assert LITERAL not in logged.json.getvalue() + logged.text.getvalue()
    first = logged.lines[0]
    assert first["logger"] == "uvicorn.error"
    assert first["text"].startswith("test_logs.py:")
    assert [p for p in first["places"] if not p.startswith(" ")] == ["RuntimeError", "ValueError"]
    assert logged.lines[1]["text"] == "it failed: RuntimeError"
    (failed,) = logged.events("thread.failed")
    assert failed["error"] == "ValueError"


def test_lines_are_whole_whatever_is_in_them(logged: Logged) -> None:
    log = logging.getLogger("umbel.test")
    with about(run="r-1", user="ann\nlevel=error"), about(site="north", stage=3):
        say(log, logging.INFO, "task.done", "two\nlines\x1b[31m", rows=7, seconds=0.25)
    (line,) = logged.lines
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "umbel.test",
        "event": "task.done",
        "run": "r-1",
        "stage": 3,
        "site": "north",
        "user": "ann\nlevel=error",
        "rows": 7,
        "seconds": 0.25,
        "text": "two\nlines\x1b[31m",
    }
    assert logged.json.getvalue().count("\n") == 1
    (text,) = logged.text.getvalue().splitlines()
    assert text.endswith(
        'info    umbel.test task.done run=r-1 stage=3 site=north user="ann\\nlevel=error" '
        "rows=7 seconds=0.25: two?lines?[31m"
    )
    with pytest.raises(KeyError, match="no field of a log: password"):
        say(log, logging.INFO, "x", password="hunter2")
    assert "password" not in FIELDS
