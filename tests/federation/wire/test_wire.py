"""Tasks over the wire: rows come whole and once, whatever is repeated, late, broken or lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.federation.harness import (
    ANN,
    SCHEMA,
    Context,
    Federation,
    compute,
    federation,
    numbers,
    settles,
    task,
)
from tests.federation.raw import Raw
from umbel.federation.errors import FederationError, PolicyError, SiteError
from umbel.federation.tasks import Failure, FailureCode, Input, Outcome, Task
from umbel.federation.wire import board, messages, segments
from umbel.federation.wire.messages import Held, Refused, RefusedError
from umbel.plan.errors import CancelledError
from umbel.plan.operators import Placeholder, Union

FAILURE = Failure(FailureCode.PERMANENT, "no").to_json()


@pytest.fixture(scope="module")
def wire() -> Iterator[Federation]:
    with pytest.MonkeyPatch.context() as patch, federation() as made:
        patch.setattr(board, "BACKOFF", (0.01,))
        made.agent("a")
        yield made


@pytest.fixture(scope="module")
def raw(wire: Federation) -> Iterator[Raw]:
    made = Raw(wire, "raw")
    yield made
    made.connection.close()


def refused(why: Refused, act: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as caught:
        act()
    assert caught.value.why is why, caught.value
    return caught.value.message


# --- As it should be.


@pytest.mark.parametrize("rows", [0, 1, 1000, 700_000])
def test_rows_come_as_the_site_computed_them(wire: Federation, rows: int) -> None:
    work = task("r-rows", rows, rows)
    assert wire.run(work).equals(numbers(work))
    # Nothing stays at the site.
    settles(lambda: not list((wire.folder / "site-a" / "spool").iterdir()))
    # Asked for again, as by a run that was resumed, the answer is there without the site.
    assert wire.run(work, patience=0.0).equals(numbers(work))
    record = wire.store.tasks.get(work.id)
    assert record is not None
    assert (record.state, record.attempts) == ("done", 1)
    wire.endpoint.forget("r-rows")
    assert not (wire.folder / "results" / work.id).exists()


def test_nothing_waits_in_turns(wire: Federation) -> None:
    """With a polling sleep on the way no task of thirty would be as quick as the quickest is."""
    times = []
    for stage in range(30):
        began = time.perf_counter()
        wire.run(task("r-quick", stage, 1))
        times.append(time.perf_counter() - began)
    assert min(times) < 0.2


def test_inputs_come_to_the_site_as_they_were(wire: Federation) -> None:
    given = pa.table({"id": [1, 2, 3], "value": [0.5, float("nan"), None]}, schema=SCHEMA)
    empty = SCHEMA.empty_table()

    def echo(of: Task, inputs: Any, cancellation: Any, deliver: Any) -> Outcome:
        assert inputs["none"].equals(empty)
        deliver(inputs["some"])
        return Outcome(3, 3, 0.0)

    wire.agent("echo", echo)
    some, none = (Placeholder(label=label, columns=SCHEMA) for label in ("some", "none"))
    plan = Union(members=(some, none))
    named = (Input.of("some", given), Input.of("none", empty))
    work = Task("r-in", 0, "echo", plan, named, ANN)
    assert str(wire.run(work, {"some": given, "none": empty}).to_pylist()) == str(given.to_pylist())


# --- What is repeated, late, reordered or forged.


def test_a_commit_counts_once_and_a_later_one_changes_nothing(wire: Federation, raw: Raw) -> None:
    work = task("r-dup", 0, 3, site="raw")
    running = wire.begin(work)
    lease = raw.lease()
    answers: list[bool] = []

    def commit() -> None:
        # Of two at once, one may hear that the other is being recorded.
        with contextlib.suppress(RefusedError):
            answers.append(raw.commit(lease, numbers(work)).duplicate)

    threads = [threading.Thread(target=commit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert running.result().equals(numbers(work))
    assert answers.count(False) == 1
    assert raw.commit(lease, numbers(task("r-dup", 5, 9))).duplicate
    assert wire.run(work).equals(numbers(work))
    assert raw.poll(Held(task=work.id, token=lease.token)).release == [work.id]


def test_a_lease_that_was_given_anew_fences_the_older(wire: Federation, raw: Raw) -> None:
    work = task("r-fence", 0, 3, site="raw")
    running = wire.begin(work)
    old = raw.lease()
    # The answer was lost: the next poll holds nothing, so the work is given anew.
    new = raw.lease()
    assert (old.task, old.attempt, new.attempt) == (new.task, 1, 2)
    for late in (
        lambda: raw.commit(old, numbers(work)),
        lambda: raw.ask(messages.Have, task=old.task, token=old.token),
        lambda: raw.ask(messages.Fail, task=old.task, token=old.token, failure=FAILURE),
        lambda: raw.ask(
            messages.Put, b"x", task=old.task, token=old.token, digest="0" * 32, bytes=1, offset=0
        ),
    ):
        assert "given anew" in refused(Refused.LOST, late)
    # Who holds it still, by a lease that holds no more, goes on under a new one.
    again = raw.lease(Held(task=new.task, token=old.token))
    assert not again.envelope
    assert again.attempt == 2
    refused(Refused.LOST, lambda: raw.commit(new, numbers(work)))
    raw.commit(again, numbers(work))
    assert running.result().equals(numbers(work))


def test_parts_that_come_twice_or_too_early_change_nothing(wire: Federation, raw: Raw) -> None:
    work = task("r-parts", 0, 40_000, site="raw")
    running = wire.begin(work)
    lease = raw.lease()
    (segment,) = segments.seal(numbers(work))
    content, entry = segment.content.to_pybytes(), segment.entry()
    size = len(content) // 3

    def put(start: int, end: int, **other: Any) -> int:
        fields = {"digest": entry.digest, "bytes": entry.bytes, "offset": start, **other}
        stored = raw.ask(
            messages.Put, content[start:end], task=lease.task, token=lease.token, **fields
        )
        return int(stored.next)

    assert put(size, 2 * size) == 0  # too early
    assert put(0, size) == size
    assert put(0, size) == size  # again
    assert put(2 * size, len(content)) == size  # too early
    assert "beyond its segment" in refused(
        Refused.PROTOCOL, lambda: put(size, 3 * size, bytes=2 * size)
    )
    assert "two sizes" in refused(
        Refused.PROTOCOL, lambda: put(size, 2 * size, bytes=len(content) - 1)
    )
    assert put(size, 2 * size) == 2 * size
    assert raw.ask(messages.Have, task=lease.task, token=lease.token).digests == []
    assert put(2 * size, len(content)) == len(content)
    assert put(0, size) == len(content)  # there is nothing to do any more
    assert raw.ask(messages.Have, task=lease.task, token=lease.token).digests == [entry.digest]
    # Bytes that are not what their digest says leave nothing behind.
    assert "digest" in refused(Refused.PROTOCOL, lambda: put(0, 100, digest="ab" * 16, bytes=100))
    # A manifest that names what is not here is refused, and the lease stays.
    (sealed,) = segments.seal(numbers(work).slice(1))
    other = sealed.entry()
    message = refused(
        Refused.PROTOCOL,
        lambda: raw.ask(
            messages.Commit,
            task=lease.task,
            token=lease.token,
            segments=[entry, other],
            outcome=Outcome(1, 1, 0.1).to_json(),
        ),
    )
    assert message == "1 of 2 segments are not here"
    raw.commit(lease, numbers(work), inline=False)
    assert running.result().equals(numbers(work))


def test_what_nobody_knows_any_more_is_forgotten(raw: Raw, wire: Federation) -> None:
    """A site must not keep for ever what belongs to a run that was forgotten, or to another site."""
    other = task("r-unknown", 0, 1, site="a")
    wire.run(other)
    unknown = ["ab" * 32, other.id]
    held = [Held(task=one, token="0" * 32) for one in unknown]
    assert raw.poll(*held).release == sorted(unknown)


def test_an_old_poll_takes_nothing(raw: Raw) -> None:
    raw.poll(wait=0.0)
    raw.number -= 1
    assert "older" in refused(Refused.PROTOCOL, lambda: raw.poll(wait=0.0))
    raw.number += 1


@pytest.mark.parametrize(
    ("table", "rows", "limits", "word"),
    [
        (numbers(task("r", 0, 3)).drop_columns("id"), None, {}, "1 columns came"),
        (numbers(task("r", 0, 3)), 2, {}, "another number of rows"),
        (numbers(task("r", 0, 3)), None, {"bytes": 10}, "more than"),
    ],
)
def test_rows_that_cannot_be_taken_fail_the_run_and_name_the_site(
    wire: Federation, raw: Raw, table: pa.Table, rows: int | None, limits: Any, word: str
) -> None:
    work = task(f"r-bad-{len(word)}", 0, 3, site="raw", **limits)
    running = wire.begin(work)
    raw.commit(raw.lease(), table, rows)
    with pytest.raises(SiteError, match="site 'raw' sent what cannot be taken") as caught:
        running.result()
    assert word in caught.value.message
    # It is not kept as if it were the answer.
    again = wire.begin(work)
    lease = raw.lease()
    if not limits:
        raw.commit(lease, numbers(work))
        assert again.result().equals(numbers(work))
    again.context.cancellation.cancel()


def test_more_rows_than_asked_for_are_refused_at_the_commit(wire: Federation, raw: Raw) -> None:
    running = wire.begin(task("r-most", 0, 3, site="raw", rows=2))
    lease = raw.lease()
    message = refused(Refused.PROTOCOL, lambda: raw.commit(lease, numbers(task("r", 0, 3))))
    assert message == "the result has 3 rows; 2 may come"
    raw.commit(lease, numbers(task("r", 0, 2)))
    assert running.result().num_rows == 2


def test_messages_that_cannot_be_are_refused_before_anything_else(raw: Raw) -> None:
    client = raw.connection._connected()
    from pyarrow import flight

    def send(action: str, body: bytes) -> messages.Refusal:
        (result,) = list(client.do_action(flight.Action(action, body)))
        return messages.Refusal.model_validate_json(result.body.to_pybytes())

    header = b'{"session":"%s","task":"%s","token":"%s"}'
    good = b"0" * 32
    for action, body, word in (
        ("have", b"", "no header"),
        ("have", b"\0\0\xff\xff{}", "cut"),
        ("have", _packed(b"\x80"), "Have"),
        ("have", _packed(header % (good, b"../../etc/passwd", good)), "task"),
        ("have", _packed(header % (good, b"%2e%2e%2f" * 8, good)), "task"),
        ("have", _packed(header % (good, b"A" * 64, good)), "task"),
        ("have", _packed(header % (good, b"a" * 64, good)) + b"more", "may"),
        ("have", _packed(header[:-1] % (good, b"a" * 64, good) + b',"x":1}'), "x"),
        ("put", _packed(b"{}") + bytes(messages.LARGEST_BODY + 1), "may"),
        ("challenge", _packed(b'{"protocol":99}'), "version 99"),
        ("challenge", _packed(b'{"protocol":0}'), "version 0"),
        ("pickle", _packed(b"\x80\x04."), "no such action"),
    ):
        refusal = send(action, body)
        assert refusal.refused is Refused.PROTOCOL
        assert word in refusal.message
    for call in (
        lambda: list(client.list_flights()),
        lambda: client.do_get(flight.Ticket(b"x")).read_all(),
        lambda: client.do_put(flight.FlightDescriptor.for_path("x"), SCHEMA)[0].close(),
    ):
        with pytest.raises(pa.ArrowNotImplementedError):
            call()


def _packed(header: bytes) -> bytes:
    return len(header).to_bytes(4, "big") + header


# --- Failures, and the end of patience.


def test_failures_at_the_site_are_told_by_kind_and_hold_no_data(wire: Federation) -> None:
    raised: list[Exception] = []

    def fail(*_: Any) -> Outcome:
        raise raised[0]

    wire.agent("fails", fail)
    for number, (error, kind, word) in enumerate(
        (
            (PolicyError("the rule 'nothing' of table 't'"), PolicyError, "rule 'nothing'"),
            (ValueError("Ann Smith, HIV"), SiteError, r"the work failed \(ValueError\)"),
        )
    ):
        raised[:] = [error]
        with pytest.raises(kind, match=word) as caught:
            wire.run(task("r-fails", number, 1, site="fails"))
        assert "Ann" not in str(caught.value)


def test_what_may_pass_is_tried_again(wire: Federation) -> None:
    tries: list[int] = []

    def second(of: Task, *rest: Any) -> Outcome:
        tries.append(1)
        if len(tries) == 1:
            raise OSError(28, "No space left on device")
        return compute(of, *rest)

    wire.agent("second", second)
    work = task("r-again", 0, 5, site="second")
    assert wire.run(work).equals(numbers(work))
    assert len(tries) == 2


def test_a_spool_that_is_full_is_told_and_empties(wire: Federation) -> None:
    agent = wire.agent("small", spool_bytes=100_000)
    with pytest.raises(SiteError, match="the site's disk is full"):
        wire.begin(task("r-spool", 0, 100_000, site="small")).result()
    work = task("r-spool", 1, 1000, site="small")
    assert wire.run(work).equals(numbers(work))
    settles(lambda: agent._spool._used == 0)


def test_a_site_that_is_away_is_waited_for_no_longer_than_one_says(wire: Federation) -> None:
    with pytest.raises(SiteError, match="site 'nowhere' is away") as caught:
        wire.run(task("r-away", 0, 1, site="nowhere"), patience=0.1)
    assert caught.value.retryable
    assert not wire.endpoint.presence("nowhere").connected
    assert wire.endpoint.presence("a").connected


def test_cancelling_reaches_the_site_at_once(wire: Federation) -> None:
    begun, ended = threading.Event(), threading.Event()

    def endless(of: Task, inputs: Any, cancellation: Any, deliver: Any) -> Outcome:
        cancellation.register(ended.set)
        begun.set()
        ended.wait(20)
        cancellation.check()
        raise AssertionError("it was not cancelled")

    wire.agent("endless", endless)
    running = wire.begin(task("r-cancel", 0, 1, site="endless"))
    assert begun.wait(10)
    running.context.cancellation.cancel()
    with pytest.raises(CancelledError):
        running.result()
    assert ended.wait(5)
    # And a deadline does, by the site's own clock.
    begun.clear()
    ended.clear()
    with pytest.raises(SiteError, match=r"took longer than the 0\.2 s"):
        wire.begin(task("r-cancel", 1, 1, site="endless", seconds=0.2)).result()


def test_a_coordinator_whose_quota_is_used_up_makes_sites_wait(tmp_path: Path) -> None:
    with federation(quota=20_000) as made:
        made.agent("a")
        first, second = task("r-1", 0, 20_000), task("r-2", 0, 100_000)
        running = made.begin(second)
        with pytest.raises(AssertionError, match="does not end"):
            running.result(0.7)
        made.endpoint.arrivals._quota = 10 << 20
        assert running.result().equals(numbers(second))
        assert made.run(first).equals(numbers(first))


def test_a_result_that_is_damaged_on_the_coordinators_disk_is_made_anew(wire: Federation) -> None:
    work = task("r-damage", 0, 100_000)
    wire.run(work)
    (file,) = (wire.folder / "results" / work.id).iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    wire.endpoint.arrivals._verified.clear()  # as after a restart
    assert wire.run(work).equals(numbers(work))
    file.unlink()
    assert wire.run(work).equals(numbers(work))


def test_manifests_are_kept_and_a_bad_one_is_refused(wire: Federation) -> None:
    heard: list[tuple[str, str]] = []

    def on_manifest(site: str, manifest: str) -> None:
        heard.append((site, manifest))
        if "bad" in manifest:
            raise FederationError("this is no manifest")

    wire.endpoint.on_manifest = on_manifest
    wire.agent("publishes", manifest=lambda: '{"tables": []}')
    wire.run(task("r-manifest", 0, 1, site="publishes"))
    assert heard == [("publishes", '{"tables": []}')]
    record = wire.store.members.site("publishes")
    assert record is not None
    assert record.manifest == '{"tables": []}'
    assert record.round_trip is not None
    raw = Raw(wire, "badly")
    assert "no manifest" in refused(
        Refused.PROTOCOL, lambda: raw.ask(messages.Publish, b'{"bad": 1}')
    )
    wire.endpoint.on_manifest = None


def test_many_tasks_at_once_over_several_sites(wire: Federation) -> None:
    sites = [f"many-{number}" for number in range(4)]
    for site in sites:
        wire.agent(site)
    works = [task("r-many", n, 50 * n, site=sites[n % 4]) for n in range(40)]
    for running, work in [(wire.begin(work), work) for work in works]:
        assert running.result().equals(numbers(work))
    assert {record.attempts for record in wire.store.tasks.of_run("r-many")} == {1}


def test_a_context_that_was_cancelled_before_gives_no_task_away(wire: Federation) -> None:
    context = Context()
    context.cancellation.cancel()
    with pytest.raises(CancelledError):
        wire.run(task("r-before", 0, 1, site="nowhere"), context=context)
