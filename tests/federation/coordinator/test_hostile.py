"""What a coordinator refuses to take in, and what a client does not believe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import RedirectResponse

import umbel as ub
from tests.federation.coordinator.conftest import Running
from umbel.federation.access import Role
from umbel.federation.client import RemoteSession
from umbel.federation.coordinator import app, run_routes
from umbel.federation.coordinator.spool import Spool
from umbel.federation.coordinator.tables import SessionTables
from umbel.federation.errors import CoordinatorError, FederationError
from umbel.federation.protocol import DATA, END, FrameReader, error_from_json, error_to_json, frame
from umbel.federation.stream import Counter, read_rows, write_rows, write_table
from umbel.plan import errors, sources
from umbel.plan.codec import plan_to_json
from umbel.plan.encoder import schema_to_json
from umbel.plan.expressions import Call, Column, Literal
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import Filter, Limit, Map, Operator, Repeat, Scan, Write
from umbel.plan.sinks import ParquetSink, RelationSink
from umbel.plan.sources import (
    CsvSource,
    DeltaSource,
    IcebergSource,
    IpcSource,
    JsonLinesSource,
    MemorySource,
    ParquetSource,
    QuerySource,
    RelationSource,
    Source,
    TextSource,
)
from umbel.plan.types import INT64

ID = pa.schema([pa.field("id", pa.int64(), nullable=False)])
PEOPLE = pa.schema(
    [pa.field("id", pa.int64()), pa.field("age", pa.int64()), pa.field("name", pa.string())]
)
people = Scan(source=RelationSource(schema=PEOPLE, platform="ref", relation=("people",)))


def post(running: Running, plan: str | Operator, **more: Any) -> tuple[int, dict[str, Any]]:
    text = plan if isinstance(plan, str) else plan_to_json(plan)
    with running.http() as client:
        answer = client.post("/v1/explain", json={"plan": text, **more})
    return answer.status_code, answer.json().get("error", {})


def connected(running: Running) -> RemoteSession:
    session: Any = ub.connect(running.url, token=running.token(), progress=False)
    assert isinstance(session, RemoteSession)
    return session


def scan(source: Source) -> Operator:
    return Scan(source=source)


def _loop_over_a_file() -> Operator:
    body = Limit(input=scan(CsvSource(ID, ("/etc/passwd",))), count=1)
    first = Limit(input=Scan(source=people.source, columns=("id",)), count=1)
    return Repeat(initial=first, body=body, labels=("x",), times=2)


REFUSED: dict[str, tuple[Callable[[], Operator], str]] = {
    "a file": (lambda: scan(CsvSource(ID, ("/etc/passwd",))), "csv sources"),
    "lines": (lambda: scan(TextSource(ID, ("/etc/passwd",))), "text sources"),
    "the web": (lambda: scan(ParquetSource(ID, ("http://169.254.169.254/x",))), "parquet sources"),
    "a store": (lambda: scan(DeltaSource(ID, ("s3://other/bucket",))), "delta sources"),
    "a catalogue": (lambda: scan(IcebergSource(ID, ("http://[fd00::1]/x",))), "iceberg sources"),
    "lines of JSON": (lambda: scan(JsonLinesSource(ID, ("file:///etc/passwd",))), "json sources"),
    "Arrow": (lambda: scan(IpcSource(ID, ("gs://other/x",))), "ipc sources"),
    "a statement": (lambda: scan(QuerySource(ID, "ref", "select 1")), "query sources"),
    "a file in a loop": (_loop_over_a_file, "csv sources"),
    "a function": (
        lambda: Map(input=people, function=PythonFunction.of(lambda row: row)),
        "Python code is not run",
    ),
    "a file to write": (
        lambda: Write(input=people, sink=ParquetSink("/tmp/x")),
        "nothing is written",
    ),
    "a table to write": (
        lambda: Write(input=people, sink=RelationSink("ref", ("mine",))),
        "nothing is written",
    ),
}


def test_every_kind_of_source_is_tried() -> None:
    kinds = {kind.kind for kind in vars(sources).values() if isinstance(kind, type)
             and issubclass(kind, Source) and kind.kind}  # fmt: skip
    tried = {words.partition(" sources")[0] for _, words in REFUSED.values() if " sources" in words}
    assert kinds - tried == {"memory", "relation"}


@pytest.mark.parametrize("what", REFUSED)
def test_a_plan_may_only_name_tables_and_bring_rows(running: Running, what: str) -> None:
    make, words = REFUSED[what]
    status, error = post(running, make())
    assert (status, error["class"]) == (403, "AccessError")
    assert words in error["message"]


def test_names_and_rows_are_checked(running: Running) -> None:
    def relation(schema: pa.Schema, *name: str) -> Operator:
        return scan(RelationSource(schema, name[0], name[1:]))

    wrong = {
        "unknown": relation(PEOPLE, "ref", "nobody"),
        "namespace": relation(PEOPLE, "raf", "people"),
        "have changed": relation(ID, "ref", "people"),
        "were not sent": scan(MemorySource(ID, "t")),
        "unknown platform": Limit(input=people, count=1, pin="hospital-z"),
        "unknown table 'ref.people\"; drop table people; --": relation(
            PEOPLE, "ref", 'people"; drop table people; --'
        ),
    }
    for words, plan in wrong.items():
        status, error = post(running, plan)
        assert status == 422, words
        assert words.split("'")[0].strip() in error["message"]
    assert post(running, people)[0] == 200
    # Filters and columns inside of a scan, which a client's own plans never have, change nothing.
    old = Call("greater", (Column("age"), Literal(88, INT64)))
    inside = Scan(source=people.source, columns=("id",), predicate=old)
    assert post(running, inside)[0] == 200


def test_what_is_no_plan_is_refused(running: Running) -> None:
    status, error = post(running, '{"umbel": 99}')
    assert (status, error["class"]) == (422, "PlanFormatError")
    deep: Operator = people
    for number in range(450):
        deep = Filter(
            input=deep, predicate=Call("greater", (Column("age"), Literal(number, INT64)))
        )
    with pytest.raises(errors.PlanFormatError):
        post(running, deep)
    status, error = post(running, '{"umbel": 1, "nodes": ' + "[" * 5000)
    assert (status, error["class"]) == (422, "PlanFormatError")
    status, error = post(running, " " * 150_000)
    assert (status, error["class"]) == (422, "PlanFormatError")
    status, error = post(running, " " * 250_000)
    assert (status, error["message"]) == (400, "the request has more than 200,000 bytes")
    with running.http() as client:
        for body in (b"", b"[]", b"\x80\x04pickle", b'{"plan": 1}', b'{"plan": "", "x": 1}'):
            answer = client.post("/v1/explain", content=body)
            assert (answer.status_code, answer.json()["error"]["class"]) == (422, "PlanError")
        traversal = client.post("/v1/runs", json={"id": "../" * 10, "plan": "{}"})
        assert traversal.status_code == 422


# --- rows that come in ----------------------------------------------------------------------------


def put(running: Running, body: bytes, schema: Any, name: str | None = None) -> Any:
    digest = hashlib.sha256(body).hexdigest() if name is None else name
    headers = {"umbel-schema": json.dumps(schema)}
    with running.http() as client:
        return client.put(f"/v1/uploads/{digest}", content=body, headers=headers)


def test_uploads_are_checked_and_are_their_users(running: Running) -> None:
    table = pa.table({"id": [1, 2, 3]}, schema=ID)
    body = b"".join(write_table(table))
    schema = schema_to_json(ID)
    assert put(running, body, schema).json() == {"rows": 3}
    digest = hashlib.sha256(body).hexdigest()
    mine = scan(MemorySource(ID, "t"))
    assert post(running, mine, uploads={"t": digest})[0] == 200
    with running.http(user="zoe") as other:
        assert other.get(f"/v1/uploads/{digest}").status_code == 404
        plan = plan_to_json(mine)
        answer = other.post("/v1/explain", json={"plan": plan, "uploads": {"t": digest}})
        assert "was sent" in answer.json()["error"]["message"]
    other_schema = schema_to_json(pa.schema([("id", pa.string())]))
    objects = [{"name": "value", "type": "object"}]
    assert put(running, body, other_schema).status_code == 400
    assert put(running, body, objects).status_code in (400, 422)
    assert put(running, body, "nonsense").status_code == 422
    assert put(running, body, schema, name="0" * 64).status_code == 400
    assert put(running, body, schema, name="..%2F..%2Fetc").status_code in (404, 422)


def test_uploads_are_bounded_before_they_are_decoded(running: Running) -> None:
    zeros = pa.table({"id": pa.array([0] * 200_000)}, schema=ID)  # 1.6 MB, a few kB compressed
    bomb = b"".join(write_table(zeros))
    assert len(bomb) < 100_000
    answer = put(running, bomb, schema_to_json(ID))
    assert answer.status_code == 400
    assert "more than 1,000,000 bytes" in answer.text
    large = bytes(1_000_001)
    assert put(running, large, schema_to_json(ID)).status_code == 400


@given(st.data())
def test_a_body_that_was_changed_anywhere_is_refused(data: st.DataObject) -> None:
    table = pa.table({"id": list(range(50)), "s": [f"text {i}" for i in range(50)]})
    body = bytearray(b"".join(write_table(table)))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    rows: list[pa.Table] = []
    with pytest.raises(errors.UmbelError):
        read_rows([bytes(body)], table.schema, rows.append, limit=10**6)


@given(st.integers(0, 10_000))
def test_a_body_that_was_cut_is_refused(length: int) -> None:
    table = pa.table({"id": list(range(500))})
    pieces = b"".join(write_rows(table.slice(0, 250), Counter()))
    body = b"".join(write_table(table))
    cut = body[: length % len(body)]
    for stream in (cut, pieces):
        with pytest.raises(CoordinatorError, match="not a whole result"):
            read_rows([stream], table.schema, lambda rows: None)


def test_an_end_that_says_something_else_is_refused() -> None:
    table = pa.table({"id": [1, 2]})
    counter = Counter()
    body = b"".join(write_rows(table, counter))
    said = counter.to_json()
    for key in said:
        wrong = {**said, key: 0}
        with pytest.raises(CoordinatorError, match="not a whole result"):
            read_rows(
                [body, frame(END, json.dumps(wrong).encode())], table.schema, lambda rows: None
            )
    for content in (b"", b"0" * 20, b"-1".zfill(20), b"9" * 20 + b"x"):
        with pytest.raises(FederationError):
            read_rows([frame(DATA, content)], table.schema, lambda rows: None)


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_refused(content: bytes) -> None:
    try:
        frames = list(FrameReader().feed(content))
    except ValueError:
        return
    assert b"".join(frame(*one) for one in frames) == content[: sum(len(c) + 5 for _, c in frames)]


# --- what a client does not believe ---------------------------------------------------------------


def test_a_result_without_its_end_is_no_result(
    remote: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_routes._rows

    async def cut(*of: Any, **more: Any) -> Any:
        async for piece in whole(*of, **more):
            at = piece.rfind(frame(END)[:1] + b"\0\0")
            if at >= 0:
                yield piece[:at]
                return  # the body ends as if all were there
            yield piece

    monkeypatch.setattr(run_routes, "_rows", cut)
    monkeypatch.setattr(remote, "patience", 0.3)
    with pytest.raises(CoordinatorError, match="broke off after"):
        remote.table("ref.people").collect()


def test_a_coordinator_cannot_name_a_table_of_the_clients(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a question for its table would read one of the client's own, and send the rows there."""
    described = SessionTables.described

    def lying(self: SessionTables, name: tuple[str, ...]) -> dict[str, Any]:
        return {**described(self, name), "name": ["mine", "salaries"]}

    monkeypatch.setattr(SessionTables, "described", lying)
    with (
        connected(running) as session,
        pytest.raises(CoordinatorError, match=r"asked for ref\.people, .* described another"),
    ):
        session.table("ref.people")


@pytest.mark.parametrize("to", ["http://169.254.169.254/latest", "file:///etc/passwd", "/v1/hello"])
def test_a_client_follows_nobody_elsewhere(
    running: Running, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """With the next request its token would go along."""
    with connected(running) as session:
        elsewhere = RedirectResponse(to, 307)
        monkeypatch.setattr(app, "JSONResponse", lambda *of: elsewhere)
        with pytest.raises(CoordinatorError, match="not as a coordinator does"):
            session.sites()


def test_a_byte_that_changed_on_the_coordinators_disk_is_found(
    remote: RemoteSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Spool.read

    def changed(self: Spool, start: int, most: int) -> bytes:
        found = bytearray(read(self, start, most))
        found[len(found) // 2] ^= 1
        return bytes(found)

    monkeypatch.setattr(Spool, "read", changed)
    with pytest.raises(errors.UmbelError):
        remote.table("ref.people").collect()


def test_an_unexpected_error_is_told_by_a_number(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: SessionTables, namespace: str | None = None) -> Iterator[None]:
        raise ZeroDivisionError("secret of the inside")

    monkeypatch.setattr(SessionTables, "listed", fail)
    with running.http() as client:
        answer = client.get("/v1/tables")
    assert answer.status_code == 500
    assert "secret of the inside" not in answer.text
    number = answer.json()["error"]["message"].rpartition(" ")[2].rstrip(")")
    assert number in caplog.text


def test_results_have_a_quota_and_are_dropped(running: Running, remote: RemoteSession) -> None:
    quota = running.coordinator.runs._quota
    used = quota.used  # of runs that others of these tests did not fetch
    remote.table("ref.people").collect()
    assert quota.used == used
    before, quota.limit = quota.limit, used + 100
    try:
        with pytest.raises(errors.UmbelError, match=r"at most .* bytes of results"):
            remote.table("ref.people").collect()
    finally:
        quota.limit = before
    assert quota.used == used


# --- errors on their way --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in vars(errors).values() if isinstance(k, type)])
def test_errors_keep_their_class(kind: Any) -> None:
    if not issubclass(kind, errors.UmbelError):
        return
    if kind is errors.UnknownNameError:
        made: errors.UmbelError = kind("column", "a", ["b"])
    else:
        made = kind("what", hint="do")
    back = error_from_json(json.loads(json.dumps(error_to_json(made))))
    assert type(back) is kind
    assert (back.message, back.hint, str(back)) == (made.message, made.hint, str(made))


_LEAF = st.none() | st.integers() | st.text(max_size=5)
_ERROR_KEYS = ("class", "message", "hint", "origin", "name", "known")


@given(st.dictionaries(st.sampled_from(_ERROR_KEYS), _LEAF | st.lists(_LEAF, max_size=2)) | _LEAF)
def test_any_json_is_an_error_that_can_be_raised(data: Any) -> None:
    assert isinstance(error_from_json(data), errors.UmbelError)


def test_nothing_of_other_exceptions_travels() -> None:
    told = error_to_json(ValueError("row 7 of patients"))
    assert "patients" not in json.dumps(told)


def test_viewers_cannot_send(running: Running) -> None:
    with running.http(Role.VIEWER) as client:
        assert client.put(f"/v1/uploads/{'0' * 64}", content=b"x").status_code == 403
