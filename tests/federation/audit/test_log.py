"""The audit log: whoever edits, moves, repeats or cuts records is found out, and a kill loses none."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from umbel.cli.main import run_command
from umbel.federation.audit import Anchor, Anchors, AuditLog, Head, verify
from umbel.federation.audit.anchors import ANCHORS
from umbel.federation.audit.log import RECORDS
from umbel.federation.audit.records import line_of, records
from umbel.federation.errors import FederationError
from umbel.federation.identity import Authority, Certificate
from umbel.federation.identity.keys import PrivateKey, new_key

RECORD_COUNT = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of twelve records: the first says that it began."""
    log = AuditLog(tmp_path / "audit", "north")
    for number in range(2, RECORD_COUNT + 1):
        log.append("note", {"number": number})
    log.close()
    return tmp_path / "audit"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"), "north")


@pytest.fixture(scope="module")
def coordinator(authority: Authority) -> tuple[Certificate, PrivateKey]:
    key = new_key()
    return authority.issue_server("coordinator", key.public_key(), ["localhost"]), key


def test_a_log_is_read_as_it_was_written(folder: Path) -> None:
    found = list(records(folder / RECORDS))
    assert [r.seq for r in found] == list(range(1, RECORD_COUNT + 1))
    assert (found[0].kind, found[0].fields) == ("began", {"site": "north"})
    assert [r.fields["number"] for r in found[1:]] == list(range(2, RECORD_COUNT + 1))
    report = verify(folder)
    assert (report.good, report.head) == (True, found[-1].head)
    again = AuditLog(folder, "north")
    assert again.head == found[-1].head
    with pytest.raises(FederationError, match="another process adds"):
        AuditLog(folder, "north")
    again.close()
    with pytest.raises(FederationError, match="is that of site 'north'"):
        AuditLog(folder, "south")


def _edit(rows: list[bytes]) -> list[bytes]:
    rows[4] = rows[4].replace(b'"number":5', b'"number":6')
    return rows


def _forge(rows: list[bytes]) -> list[bytes]:
    """A record that is whole in itself, in place of another."""
    before = json.loads(rows[3][65:])
    rows[4] = line_of(Head(4, rows[3][:64].decode()), before["at"], "note", {"number": 99})[0][:-1]
    return rows


def _swap(rows: list[bytes]) -> list[bytes]:
    rows[4], rows[5] = rows[5], rows[4]
    return rows


def _from_another(rows: list[bytes]) -> list[bytes]:
    head, made = Head(), []
    for number in range(1, RECORD_COUNT + 1):
        line, head = line_of(head, 0.0, "note", {"number": number, "site": "north"})
        made.append(line[:-1])
    return made


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_edit, "line 5 was changed"),
        (_forge, "record 6 does not follow from the one before it"),
        (_swap, "records 5 to 5 are missing before line 5"),
        (lambda rows: rows[:5] + rows[6:], "records 6 to 6 are missing before line 6"),
        (lambda rows: rows[1:], "records 1 to 1 are missing before line 1"),
        (lambda rows: [*rows, rows[7]], "line 13 is record 8 again"),
        (lambda rows: rows[:-2], "the end was cut off"),
        (lambda rows: rows[:1], "of which 11 are missing"),
        (_from_another, f"record {RECORD_COUNT} is not a head that is known from elsewhere"),
    ],
)
def test_whatever_is_done_to_a_log_shows(
    folder: Path, change: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    known = verify(folder).head
    path = folder / RECORDS
    changed = change(path.read_bytes().splitlines())
    path.write_bytes(b"".join(row + b"\n" for row in changed))
    report = verify(folder, heads=[known])
    assert any(said in fault for fault in report.faults), report.faults


def test_no_single_byte_can_be_changed(folder: Path) -> None:
    """Every byte counts: of each of many positions another value is a fault."""
    path, known = folder / RECORDS, verify(folder).head
    good = path.read_bytes()
    for position in random.Random(7).sample(range(len(good)), 60):
        wrong = bytearray(good)
        wrong[position] ^= 1 << position % 8
        path.write_bytes(wrong)
        assert not verify(folder, heads=[known]).good, position


def test_anchors_show_a_cut_and_cannot_be_forged(
    folder: Path, authority: Authority, coordinator: tuple[Certificate, PrivateKey], tmp_path: Path
) -> None:
    path, now = folder / RECORDS, datetime.now(UTC).timestamp()
    heads = [record.head for record in records(path)]
    anchors = Anchors(folder, "north", authority.root)
    for head in (heads[3], heads[9]):
        anchors.take(Anchor.make("north", head, now, *coordinator).to_json(), head)
    assert anchors.newest == 10
    report = verify(folder, authority.root)
    assert (report.good, report.anchored, report.anchors) == (True, 10, 2)
    site_key = new_key()
    site = authority.issue_site("north", site_key.public_key())
    other = Authority.create(tmp_path / "other", "north")
    false_key = new_key()
    false = other.issue_server("coordinator", false_key.public_key(), ["localhost"])
    late = authority.issue_server(
        "coordinator", coordinator[1].public_key(), ["localhost"], life=timedelta(seconds=1)
    )
    wrong = [
        Anchor.make("north", heads[5], now, site, site_key),  # a site may not sign
        Anchor.make("south", heads[5], now, *coordinator),
        Anchor.make("north", heads[5], now, false, false_key),
        Anchor.make("north", heads[5], now + 60, late, coordinator[1]),  # it had expired
    ]
    moved = Anchor.make("north", heads[5], now, *coordinator)
    wrong.append(Anchor("north", heads[6], now, moved.certificate, moved.signature))
    for anchor in wrong:
        with pytest.raises(FederationError):
            anchors.take(anchor.to_json(), anchor.head)
    with pytest.raises(FederationError, match="another head"):
        anchors.take(Anchor.make("north", heads[5], now, *coordinator).to_json(), heads[6])
    assert anchors.newest == 10
    # An anchor that somebody wrote into the file is no good either, and a torn one is passed over.
    with (folder / ANCHORS).open("ab") as file:
        file.write(b'{"umbel_anchor":1,"site":')
    assert verify(folder, authority.root).anchors == 2
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:8]))
    assert verify(folder).good  # the chain alone does not tell
    cut = verify(folder, authority.root)
    assert cut.faults == ["the end was cut off: it had 10 records or more, of which 2 are missing"]
    # Whoever goes on from there is found out, too.
    log = AuditLog(folder, "north")
    for number in range(5):
        log.append("note", {"number": number})
    log.close()
    assert verify(folder, authority.root).faults == [
        "record 10 is not what the coordinator has countersigned"
    ]


@pytest.mark.parametrize("tail", [b"0123", b"\0" * 700, b"0" * 64 + b' {"seq":13,"at'])
def test_a_record_that_a_kill_left_unfinished_is_removed(folder: Path, tail: bytes) -> None:
    with (folder / RECORDS).open("ab") as file:
        file.write(tail)
    assert verify(folder).notes == ["line 13 was left unfinished by a kill"]
    log = AuditLog(folder, "north")
    log.append("note", {"number": 14})
    log.close()
    found = list(records(folder / RECORDS))
    assert [r.kind for r in found[-3:]] == ["note", "recovered", "note"]
    assert found[-2].fields == {"bytes": len(tail)}
    assert verify(folder).good


def test_a_log_that_is_damaged_at_its_end_lets_nobody_add(folder: Path) -> None:
    path = folder / RECORDS
    path.write_bytes(path.read_bytes()[:-3] + b"!!\n")
    with pytest.raises(FederationError, match="is damaged"):
        AuditLog(folder, "north")


def test_threads_add_records_in_one_chain(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, "north")
    heads: list[Head] = []

    def add(thread: int) -> None:
        heads.extend(log.append("note", {"thread": thread, "n": n}) for n in range(25))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert sorted(head.seq for head in heads) == list(range(2, 202))
    found = {record.seq: record for record in records(tmp_path / RECORDS)}
    assert all(found[head.seq].digest == head.digest for head in heads)
    assert verify(tmp_path).good


_WRITER = """
import sys
from pathlib import Path
from umbel.federation.audit import AuditLog
log = AuditLog(Path(sys.argv[1]), "north")
number = 0
while True:
    number += 1
    head = log.append("note", {"number": number, "text": "x" * (number % 900)})
    print(head.seq, flush=True)
"""


def test_a_kill_loses_no_record_that_somebody_went_on_from(tmp_path: Path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    told = 0
    for line in writer.stdout:
        told = int(line)
        if told > 60:
            os.kill(writer.pid, signal.SIGKILL)
            break
    told = max([told, *(int(line) for line in writer.stdout if line.endswith("\n"))])
    writer.wait()
    writer.stdout.close()
    log = AuditLog(tmp_path, "north")
    log.close()
    assert log.head.seq >= told
    assert verify(tmp_path).good


def test_commands_show_check_and_export(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = run_command(("audit", *arguments))
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    code, out, _ = run("show", str(folder), "--last", "2")
    assert (code, [line.split()[0] for line in out.splitlines()]) == (0, ["11", "12"])
    code, out, _ = run("show", str(folder), "--kind", "began", "--json")
    assert json.loads(out)["site"] == "north"
    code, out, _ = run("verify", str(folder))
    head = out.splitlines()[-1].removeprefix("head ")
    assert (code, "12 records" in out, "no head is countersigned" in out) == (0, True, True)
    assert run("verify", str(folder), "--head", head)[0] == 0
    code, out, _ = run("verify", str(folder), "--head", f"13:{'0' * 64}")
    assert (code, "NO  the end was cut off" in out) == (1, True)
    code, out, _ = run("export", str(folder))
    assert [json.loads(line)["seq"] for line in out.splitlines()] == list(range(1, 13))
    for suffix in (".jsonl", ".csv", ".parquet"):
        assert run("export", str(folder), "--output", str(tmp_path / f"log{suffix}"))[0] == 0
        assert (tmp_path / f"log{suffix}").stat().st_size > 100
    code, _, err = run("export", str(folder), "--output", "log.xls")
    assert (code != 0, ".jsonl, .csv or .parquet" in err) == (True, True)
    code, _, err = run("verify", str(folder), "--head", "nonsense")
    assert (code != 0, "no head" in err) == (True, True)
    path = folder / RECORDS
    path.write_bytes(path.read_bytes().replace(b'"number":5', b'"number":4'))
    code, out, _ = run("verify", str(folder))
    assert (code, "NO  line 5 was changed" in out) == (1, True)
    code, _, err = run("show", str(folder))
    assert (code != 0, "line 5" in err) == (True, True)
