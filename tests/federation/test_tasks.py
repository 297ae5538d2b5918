"""Tasks, outcomes and failures as JSON: what is written is read, and nothing else is."""

import errno
import json
import sqlite3

import pyarrow as pa
import pytest

from umbel.federation.errors import FederationError, LimitError, PolicyError, SiteError
from umbel.federation.tasks import Failure, FailureCode, Input, Limits, Outcome, Requester, Task
from umbel.plan.errors import CancelledError, EvaluationError, PlanError, RunError, SourceError
from umbel.plan.expressions import Call, Column, Literal
from umbel.plan.operators import Filter, Join, Placeholder, Scan
from umbel.plan.sources import RelationSource
from umbel.plan.types import INT64

COLUMNS = pa.schema([("id", pa.int64()), ("age", pa.int64())])
TABLE = pa.table({"wanted": [1, 2]})


def task(**changes: object) -> Task:
    patients = Scan(source=RelationSource(schema=COLUMNS, platform="north", relation=("patients",)))
    old = Filter(input=patients, predicate=Call("greater", (Column("age"), Literal(60, INT64))))
    wanted = Placeholder(label="stage_0_collected", columns=TABLE.schema)
    plan = Join(left=old, right=wanted, on=(("id", "wanted"),), how="semi")
    given: dict[str, object] = {
        "run": "r-1",
        "stage": 3,
        "site": "north",
        "plan": plan,
        "inputs": (Input.of("stage_0_collected", TABLE),),
        "requester": Requester("ann@example.org", ("analyst",), "audit"),
        "limits": Limits(seconds=5.5, rows=10, bytes=1000),
    }
    return Task(**(given | changes))  # type: ignore[arg-type]


def test_a_task_is_read_as_it_was_written() -> None:
    read = Task.from_json(task().to_json())
    assert read == task()
    assert read.id == task().id
    assert read.schema == COLUMNS
    assert read.labels == ("stage_0_collected",)


def test_the_same_work_has_the_same_id_and_other_work_another() -> None:
    same = task(
        inputs=(Input.of("stage_0_collected", pa.concat_tables([TABLE[:1], TABLE[1:]])),),
        requester=Requester("bob"),
        limits=Limits(),
    )
    assert same.id == task().id
    others = [
        task(run="r-2"),
        task(stage=4),
        task(site="south"),
        task(inputs=(Input.of("stage_0_collected", pa.table({"wanted": [1, 3]})),)),
        task(plan=Placeholder(label="stage_0_collected", columns=TABLE.schema)),
    ]
    assert len({task().id, *(other.id for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"run": "../../etc/passwd"}, "no run"),
        ({"run": "a/b"}, "no run"),
        ({"site": "north/../south"}, "no name of a site"),
        ({"stage": -1}, "no stage"),
        ({"stage": "3"}, "stage"),
        ({"id": "0" * 64}, "not the one that its id names"),
        ({"umbel_task": 2}, "umbel_task"),
        ({"code": "import os"}, "code"),
        ({"inputs": []}, "not those of its plan"),
        ({"inputs": [{"label": "x", "digest": "../x"}]}, "no digest"),
        ({"limits": {"seconds": 0.0, "rows": 1, "bytes": 1}}, "limits.seconds"),
        ({"limits": {"seconds": None, "rows": -1, "bytes": 1}}, "limits.rows"),
        ({"plan": "{}"}, "not a plan"),
        ({"plan": "[" * 5000}, "nested"),
        ({"plan": '{"umbel": 1, "nodes": [{"op": "Pickle"}], "root": 0}'}, "Pickle"),
        ({"requester": {"name": "x" * 201, "roles": [], "purpose": ""}}, "requester.name"),
    ],
)
def test_what_is_not_a_task_is_refused(change: dict[str, object], word: str) -> None:
    document = json.loads(task().to_json()) | change
    with pytest.raises((FederationError, PlanError), match=word):
        Task.from_json(json.dumps(document))


@pytest.mark.parametrize(
    "text",
    [
        b"\x80\x04\x95.",  # a pickle
        "null",
        "[]",
        '{"umbel_task": 1, "umbel_task": 1}',
        '{"umbel_outcome": 1, "rows": NaN, "bytes": 0, "seconds": 0, "text": ""}',
        "{" * 10_000,
        " " * 10**8,
    ],
    ids=["pickle", "null", "list", "twice", "nan", "deep", "large"],
)
@pytest.mark.parametrize("message", [Task, Outcome, Failure])
def test_what_is_no_message_is_refused(message: type[Task], text: str | bytes) -> None:
    with pytest.raises(FederationError, match="not the message of"):
        message.from_json(text)


def test_an_outcome_is_read_as_it_was_written() -> None:
    outcome = Outcome(3, 240, 0.25, 'SELECT "a" FROM t\n', withheld=True)
    assert Outcome.from_json(outcome.to_json()) == outcome
    long = Outcome(0, 0, 0.0, "\0" * 200_000)
    assert len(Outcome.from_json(long.to_json()).text) == 100_000


def test_what_a_site_says_is_shown_as_text() -> None:
    """Words of a hostile site: no terminal obeys them, and no line of a log is made of them."""
    said = "\x1b]0;owned\x07\x1b[2Jall is well\r\u202e"
    shown = "\ufffd]0;owned\ufffd\ufffd[2Jall is well\ufffd\ufffd"
    failure = Failure.from_json(Failure(FailureCode.PERMANENT, said, said).to_json())
    assert (failure.message, failure.hint) == (shown, shown)
    outcome = Outcome.from_json(Outcome(1, 8, 0.1, said, note=said).to_json())
    assert (outcome.text, outcome.note) == (shown, shown)


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code", "raised"),
    [
        (PolicyError("no rows leave", hint="aggregates do"), "policy_denied", PolicyError),
        (CancelledError("stop"), "cancelled", CancelledError),
        (PlanError("unknown column 'x'"), "permanent", SiteError),
        (EvaluationError("cannot cast 'SECRET' to int64"), "permanent", SiteError),
        (RunError("engine said: 'SECRET' is no date"), "permanent", SiteError),
        (ValueError("SECRET"), "permanent", SiteError),
        (LimitError("too many rows"), "resource", SiteError),
        (MemoryError("SECRET"), "resource", SiteError),
        (OSError(errno.ENOSPC, "SECRET"), "resource", SiteError),
        (_caused(RunError("SECRET"), MemoryError("SECRET")), "resource", SiteError),
        (_caused(RunError("SECRET"), OSError(errno.EDQUOT, "SECRET")), "resource", SiteError),
        (sqlite3.OperationalError("database or disk is full"), "resource", SiteError),
        (SourceError("SECRET.parquet is damaged"), "permanent", SiteError),
        (ConnectionResetError("SECRET"), "retryable", SiteError),
    ],
)
def test_a_failure_tells_its_kind_and_no_data(
    error: BaseException, code: str, raised: type[Exception]
) -> None:
    failure = Failure.of(error)
    assert failure.code is FailureCode(code)
    assert "SECRET" not in failure.to_json()
    assert Failure.from_json(failure.to_json()) == failure
    found = failure.error("north")
    assert isinstance(found, raised)
    assert "north" in str(found)
    assert isinstance(found, SiteError) is (raised is SiteError)
    if isinstance(found, SiteError):
        assert (found.site, found.retryable) == ("north", code == "retryable")
