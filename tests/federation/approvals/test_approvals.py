"""A person's approval of questions and of results: asked once, bound to what was asked, told."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import umbel as ub
from benchmarks.people import Asked, Person, people
from tests.federation.harness import federation, settles
from umbel import col
from umbel.cli.requests import requests_commands
from umbel.executor import Cancellation
from umbel.federation.audit import AuditLog
from umbel.federation.disclosure import DisclosureControl, Ledger
from umbel.federation.disclosure.approvals import Approvals, request_name
from umbel.federation.errors import ApprovalError, FederationError, PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.policy.clauses import Approval, Clause, Duties, Form
from umbel.federation.policy.disclosing import Thresholds, undone
from umbel.federation.policy.verdict import Grant, Release
from umbel.federation.tasks import Requester, Task
from umbel.federation.wire import dispatcher

PEOPLE = people(200)
N = ub.len().alias("n")


def asking(folder: Path, kind: Approval, of: list[Person] = PEOPLE) -> Asked:
    """A site whose clause asks for an approval."""
    return Asked(of, Duties(approval=kind), Ledger(folder / "ledger.db"))


def test_a_plan_waits_until_a_person_agrees_and_only_that_plan(tmp_path: Path) -> None:
    asked = asking(tmp_path, Approval.PLAN)
    count = asked.people.select(N)
    for _ in range(3):
        with pytest.raises(ApprovalError, match="waiting for approval of site 'north' since 20"):
            asked.ask(count)
    approvals = Approvals(asked.ledger)
    [request] = approvals.all()  # filed once
    assert request.state == "waiting"
    assert "ann asks that the question may run" in request.words[0]
    assert "aggregates over at least 10 individuals, of people" in request.words[1]
    approvals.decide(request.name, approve=True)
    assert asked.ask(count).to_pylist() == [{"n": 200}]
    # Another plan and another user are other requests.
    with pytest.raises(ApprovalError):
        asked.ask(asked.people.filter(col("sex") == "f").select(N))
    with pytest.raises(ApprovalError):
        asked.ask(count, user="bob")
    assert [one.state for one in approvals.all()] == ["approved", "waiting", "waiting"]
    with pytest.raises(FederationError, match="was approved before"):
        approvals.decide(request.name, approve=False)
    with pytest.raises(FederationError, match="there is no request"):
        approvals.decide("none", approve=True)


def test_an_approval_is_of_one_policy_user_purpose_and_way(tmp_path: Path) -> None:
    """Whatever of a request changes makes another; the same is the same."""
    clause = Clause("all", Form.AGGREGATES, duties=Duties(approval=Approval.PLAN))
    one = Release(Form.AGGREGATES, (Grant("people", "id", clause),), "north", "ann")
    changed = [
        replace(one, user="bob"),
        replace(one, purpose="another"),
        replace(one, roles=("analyst",)),
        replace(one, to=("south",)),
        replace(one, policy_version=2),
        replace(one, policy_digest="f" * 64),
        replace(one, grants=(Grant("people", "id", replace(clause, name="other")),)),
    ]
    names = {request_name(release, "question", "plan") for release in (one, *changed)}
    names |= {request_name(one, "changed", "plan"), request_name(one, "question", "release")}
    assert len(names) == len(changed) + 3
    again = replace(one, task="of another run")
    assert request_name(again, "question", "plan") in names


def test_a_denial_is_told_with_its_reason(tmp_path: Path) -> None:
    asked = asking(tmp_path, Approval.PLAN)
    with pytest.raises(ApprovalError):
        asked.ask(asked.people.select(N))
    approvals = Approvals(asked.ledger)
    approvals.decide(approvals.all()[0].name, approve=False, reason="not for this study")
    with pytest.raises(PolicyError, match="denied this: not for this study") as told:
        asked.ask(asked.people.select(N))
    assert not isinstance(told.value, ApprovalError)


def test_requests_and_approvals_end(tmp_path: Path) -> None:
    asked = asking(tmp_path, Approval.PLAN)
    with pytest.raises(ApprovalError):
        asked.ask(asked.people.select(N))
    approvals = Approvals(asked.ledger)
    name = approvals.all()[0].name

    def older(days: int, column: str) -> None:
        with sqlite3.connect(tmp_path / "ledger.db") as database:
            seconds = 86_400 * days
            change = {"at": "update requests set at = at - ?", "decided":
                      "update requests set decided = decided - ?, at = at - 1e7"}  # fmt: skip
            database.execute(change[column], (seconds,))
        database.close()

    older(8, "at")
    with pytest.raises(PolicyError, match="nobody at site 'north' decided within 7 days"):
        asked.ask(asked.people.select(N))
    approvals.decide(name, approve=True)
    assert asked.ask(asked.people.select(N)).num_rows == 1
    older(8, "decided")
    with pytest.raises(ApprovalError):  # it is asked for anew
        asked.ask(asked.people.select(N))


def test_what_leaves_is_what_the_owner_has_seen(tmp_path: Path) -> None:
    asked = asking(tmp_path, Approval.RELEASE)
    by_sex = asked.people.group_by("sex").agg(N).sort("sex")
    with pytest.raises(ApprovalError):
        asked.ask(by_sex)
    approvals = Approvals(asked.ledger)
    [request] = approvals.all()
    true = [{"sex": s, "n": sum(p.sex == s for p in PEOPLE)} for s in "fm"]
    assert request.table is not None
    assert request.table.to_pylist() == true
    assert [json.loads(line) for line in request.words[-2:]] == true
    # The table changes meanwhile: what leaves is what was looked at.
    changed = asking(tmp_path, Approval.RELEASE, PEOPLE[:50])
    with pytest.raises(ApprovalError):
        changed.ask(by_sex)
    approvals.decide(request.name, approve=True)
    assert changed.ask(by_sex).to_pylist() == true


def test_nothing_of_a_denied_result_leaves(tmp_path: Path) -> None:
    asked = asking(tmp_path, Approval.RELEASE)
    with pytest.raises(ApprovalError):
        asked.ask(asked.people.select(N))
    approvals = Approvals(asked.ledger)
    approvals.decide(approvals.all()[0].name, approve=False)
    with pytest.raises(PolicyError, match="no reason was given"):
        asked.ask(asked.people.select(N))


def test_the_log_has_one_word_of_waiting_and_names_the_approval(tmp_path: Path) -> None:
    asked = asking(tmp_path, Approval.PLAN)
    log = AuditLog(tmp_path / "audit", "north")
    control = DisclosureControl(asked.ledger)
    execution = SiteExecution(asked.site, log, disclosure=control)
    task = Task("r", 0, "north", asked.people.select(N).plan, (), Requester("ann"))
    for _ in range(3):
        with pytest.raises(ApprovalError):
            execution(task, {}, Cancellation(), lambda _: None)
    [request] = control.approvals.all()
    control.approvals.decide(request.name, approve=True)
    execution(task, {}, Cancellation(), lambda _: None)
    log.close()
    text = (tmp_path / "audit" / "records.log").read_text()
    kinds = [k for k in ("waiting", "allowed", "released") if f'"{k}"' in text]
    assert kinds == ["waiting", "allowed", "released"]
    assert text.count("waiting for approval") == 1
    assert f'"approval":"{request.name}"' in text.replace(": ", ":")


def test_a_run_goes_on_when_it_is_approved_and_holds_nothing_till_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the wire, with one slot: another question is answered while the first one waits."""
    monkeypatch.setattr(dispatcher, "_ASK_AGAIN", 0.05)
    asked = asking(tmp_path, Approval.PLAN)
    approvals = Approvals(asked.ledger)
    execution = SiteExecution(asked.site, disclosure=DisclosureControl(asked.ledger))

    def of(run: str, frame: ub.DataFrame) -> Task:
        return Task(run, 0, "north", frame.plan, (), Requester("ann"))

    with federation() as there:
        there.agent("north", execution, slots=1)
        waits = there.begin(of("first", asked.people.select(N)))
        settles(lambda: len(approvals.all()) == 1, 30)
        denied = there.begin(of("second", asked.people.select(col("cost").sum().alias("s"))))
        settles(lambda: len(approvals.all()) == 2, 30)
        first, second = approvals.all()
        approvals.decide(second.name, approve=False, reason="no")
        with pytest.raises(PolicyError, match="denied this: no"):
            denied.result()
        stopped = there.begin(of("third", asked.people.select(col("age").sum().alias("s"))))
        settles(lambda: len(approvals.all()) == 3, 30)
        stopped.context.cancellation.cancel()
        with pytest.raises(Exception, match="cancelled"):
            stopped.result()
        approvals.decide(first.name, approve=True)
        assert waits.result().to_pylist() == [{"n": 200}]


def test_the_owner_decides_at_the_command_line(tmp_path: Path) -> None:
    asked = asking(tmp_path, Approval.RELEASE)
    with pytest.raises(ApprovalError):
        asked.ask(asked.people.select(N))
    name = Approvals(asked.ledger).all()[0].name

    def call(*words: str) -> str:
        found = CliRunner().invoke(requests_commands(), [*words, "--site", str(tmp_path)])
        assert found.exit_code == 0, found.output
        return found.output

    assert f"{name}  waiting  ann asks that its result may leave" in call("list")
    assert '{"n": 200}' in call("show", name)
    assert json.loads(call("list", "--json"))["request"] == name
    assert "denied" in call("deny", name, "--reason", "later")
    assert "state: denied: later" in call("show", name)


def test_who_cannot_ask_a_person_lets_nothing_out() -> None:
    clause = Clause("all", Form.AGGREGATES, duties=Duties(approval=Approval.PLAN))
    release = Release(Form.AGGREGATES, (Grant("people", "id", clause),), "north", "ann")
    with pytest.raises(PolicyError, match="nothing to do with"):
        Thresholds().admit(release, "question")
    models = replace(clause, form=Form.UPDATES)
    assert undone(models) == ""  # of a training, before its first round
    looked = replace(models, duties=Duties(approval=Approval.RELEASE))
    assert "looking at updates" in undone(looked)
    assert undone(replace(clause, form=Form.ROWS)) == ""
