"""What the log says of tasks, and that the coordinator countersigns it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from tests.federation.harness import compute, federation, settles, task
from umbel.api.dataframe import DataFrame
from umbel.cli.main import run_command
from umbel.executor import Cancellation
from umbel.federation import Form, Rule, Site
from umbel.federation.audit import AuditLog, Head, Record, audit_folder, verify
from umbel.federation.audit.log import RECORDS
from umbel.federation.audit.records import records
from umbel.federation.errors import LimitError, PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.tasks import Limits, Requester, Task
from umbel.plan import operators as ops
from umbel.plan.sources import RelationSource


class Asked:
    """A site with a log, asked without a coordinator."""

    def __init__(self, folder: Path) -> None:
        self.log = AuditLog(folder, "north")
        self.site = Site("north", ub.connect())
        rows = self.site.session.from_dict({"id": list(range(20)), "g": ["a", "b"] * 10})
        self.site.publish("t", rows, Rule(Form.AGGREGATES, 3, "id"))
        many = self.site.session.from_dict({"n": list(range(200_000))})
        self.site.publish("open", many, Rule(Form.ROWS))
        self.left: list[tuple[pa.Table, int]] = []

    def table(self, name: str) -> DataFrame:
        source = RelationSource(self.site.tables[name].schema, "north", (name,))
        return DataFrame(ops.Scan(source=source), self.site.session)

    def ask(self, plan: ops.Operator, **limits: Any) -> None:
        who = Requester("ann", ("analyst",), "a study")
        task = Task("r", 0, "north", plan, (), who, Limits(**limits))

        def deliver(piece: pa.Table) -> None:
            self.left.append((piece, len(self.told())))

        SiteExecution(self.site, self.log)(task, {}, Cancellation(), deliver)

    def told(self) -> list[Record]:
        return list(records(self.log.path))[1:]


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    made = Asked(tmp_path)
    yield made
    made.log.close()


def test_what_is_let_out_is_written_before_it_leaves(
    asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = asked.table("t").group_by("g").agg(ub.len().alias("n")).plan
    asked.ask(plan)
    allowed, released = asked.told()
    assert (allowed.kind, released.kind) == ("allowed", "released")
    expected = {
        "user": "ann", "roles": ["analyst"], "purpose": "a study", "tables": ["t"], "to": [],
        "plan": plan.digest, "form": "aggregates", "run": "r", "stage": 0,
    }  # fmt: skip
    assert {name: allowed.fields[name] for name in expected} == expected
    assert run_command(("audit", "show", str(asked.log.path.parent), "--user", "ann")) == 0
    shown = capsys.readouterr().out
    assert "of ann for 'a study': t" in shown
    assert "aggregates over at least 3 individuals, by t" in shown
    assert "2 rows" in shown
    assert "Aggregate (" in allowed.fields["question"]
    [(piece, written)] = asked.left
    assert written == 2  # both records were there when it left
    assert released.fields["task"] == allowed.fields["task"]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, piece.schema) as writer:
        writer.write_table(piece)
    left = (released.fields[name] for name in ("rows", "bytes", "sha256"))
    assert tuple(left) == (2, piece.nbytes, hashlib.sha256(sink.getvalue()).hexdigest())


def test_what_leaves_in_pieces_was_allowed_before_the_first(asked: Asked) -> None:
    asked.ask(asked.table("open").plan)
    assert [r.kind for r in asked.told()] == ["allowed", "released"]
    assert [written for _, written in asked.left] == [1] * (len(asked.left) - 1) + [2]
    assert asked.told()[1].fields["rows"] == sum(len(piece) for piece, _ in asked.left) == 200_000


def test_refusals_and_failures_are_written_without_data(asked: Asked) -> None:
    with pytest.raises(PolicyError):
        asked.ask(asked.table("t").plan)
    with pytest.raises(LimitError):
        asked.ask(asked.table("open").plan, rows=100_000)
    refused, allowed, failed = asked.told()
    assert (refused.kind, refused.fields["failure"]) == ("refused", "policy_denied")
    assert "gives rows of it" in refused.fields["why"]
    assert (allowed.kind, failed.kind) == ("allowed", "failed")
    assert failed.fields["rows"] <= 100_000


def test_nothing_leaves_that_cannot_be_written(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails when the release is to be written: the last piece stays, and all after."""
    plan = asked.table("t").group_by("g").agg(ub.len().alias("n")).plan
    calls: list[int] = []
    real = os.fdatasync

    def fails(file: int) -> None:
        calls.append(file)
        if len(calls) == 2:
            raise OSError(5, "the disk fails")
        real(file)

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(Exception, match=r"the disk fails|could not be written"):
        asked.ask(plan)
    with pytest.raises(Exception, match="could not be written"):
        asked.ask(plan)
    assert asked.left == []


def test_the_coordinator_countersigns_and_notices_a_cut(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with federation(poll_seconds=0.2) as wire:
        folder = wire.join("a")
        log = AuditLog(audit_folder(folder), "a")

        def execute(of: Task, *rest: Any) -> Any:
            log.append("released", {"task": of.id})
            return compute(of, *rest)

        agent = wire.agent("a", execute, audit=log)
        root = wire.authority.root
        for stage in range(3):
            wire.run(task("r", stage, 10))
            # What was committed is known to the coordinator; its signature comes with the answer.
            kept = wire.store.members.site("a")
            assert kept is not None
            assert (kept.audit_seq, kept.audit_digest) == (log.head.seq, log.head.digest)
        log.append("note", {})
        settles(lambda: verify(log.path.parent, root).anchored == log.head.seq, 30)
        kept = wire.store.members.site("a")
        assert kept is not None
        agent.stop()
        log.close()
        # Somebody cuts the log and the anchors, and starts the site again.
        lines = log.path.read_bytes().splitlines(keepends=True)
        log.path.write_bytes(b"".join(lines[:2]))
        (log.path.parent / "anchors.log").unlink()
        assert verify(log.path.parent, root).good
        assert not verify(log.path.parent, root, [Head(kept.audit_seq or 0, "")]).good
        log = AuditLog(audit_folder(folder), "a")
        with caplog.at_level("ERROR"):
            wire.agent("a", execute, audit=log)
            settles(
                lambda: (
                    {r.name for r in caplog.records if "audit log" in r.getMessage()}
                    >= {"umbel.federation.wire.endpoint", "umbel.federation.wire.witness"}
                ),
                30,
            )
        assert verify(log.path.parent, root).anchors == 0
        log.close()


def test_a_site_writes_where_its_key_lies(tmp_path: Path) -> None:
    assert audit_folder(tmp_path) / RECORDS == tmp_path / "audit" / "records.log"
