"""Checks a log: every record, the chain, and the heads that the coordinator has countersigned."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from pathlib import Path

from cryptography import x509

from umbel.dataclass import dataclass
from umbel.federation.audit.anchors import ANCHORS, Anchor, read_anchors
from umbel.federation.audit.log import RECORDS
from umbel.federation.audit.records import Head, Record, lines, record_of, torn
from umbel.federation.errors import FederationError, IdentityError

#: Of each kind of fault so many are told.
_MOST = 20


@dataclass
class Report:
    """What was found of a log.

    Attributes:
        head: where it stands.
        anchored: the number of the newest record that a good anchor stands for; 0 if none does.
        anchors: how many good anchors there are.
        faults: what is wrong; empty if nothing is.
        notes: what is not wrong, but to be known.
    """

    head: Head = field(default_factory=Head)
    anchored: int = 0
    anchors: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def verify(
    folder: Path, root: x509.Certificate | None = None, heads: Iterable[Head] = ()
) -> Report:
    """Check a log.

    Args:
        folder: the log's.
        root: whose certificates the coordinator's anchors are checked by; None checks none.
        heads: heads that are known from elsewhere, as from the coordinator.

    Raises:
        FederationError: there is no log, or it cannot be read.
    """
    path = folder / RECORDS
    report = Report()
    known = [(head, "a head that is known from elsewhere") for head in heads]
    if root is not None:
        good = _good_anchors(read_anchors(folder / ANCHORS), root, path, report)
        known += [(anchor.head, "what the coordinator has countersigned") for anchor in good]
        report.anchors = len(good)
        report.anchored = max((anchor.head.seq for anchor in good), default=0)
    wanted: dict[int, list[tuple[str, str]]] = {}
    for head, whose in known:
        wanted.setdefault(head.seq, []).append((head.digest, whose))
    _walk(path, wanted, report)
    last = max(wanted, default=0)
    if last > report.head.seq:
        report.faults.append(
            f"the end was cut off: it had {last:,} records or more, of which "
            f"{last - report.head.seq:,} are missing"
        )
    return report


def _walk(path: Path, wanted: dict[int, list[tuple[str, str]]], report: Report) -> None:
    head, at = Head(), 0.0
    open_tasks: dict[str, int] = {}
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(lines(stream), 1):
                if torn(line):
                    report.notes.append(f"line {number} was left unfinished by a kill")
                    break
                try:
                    record = record_of(line.rstrip(b"\n"))
                except ValueError as error:
                    _fault(report, f"line {number} was changed: {error}")
                    continue
                if record.seq != head.seq + 1 or record.before != head.digest:
                    _fault(report, _out_of_place(record, head, number))
                if record.at < at - 1.0:
                    report.notes.append(f"the clock went back before record {record.seq}")
                for digest, whose in wanted.get(record.seq, ()):
                    if digest != record.digest:
                        _fault(report, f"record {record.seq} is not {whose}")
                head, at = record.head, record.at
                _follow(record, open_tasks)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FederationError(f"cannot read {path}: {reason}") from None
    report.head = head
    for task, seq in open_tasks.items():
        report.notes.append(
            f"record {seq} let task {task[:12]} out, and no record says that it ended: "
            "some of it may have left"
        )


def _out_of_place(record: Record, head: Head, number: int) -> str:
    if record.seq <= head.seq:
        return f"line {number} is record {record.seq} again, or out of its place"
    if record.seq > head.seq + 1:
        return f"records {head.seq + 1} to {record.seq - 1} are missing before line {number}"
    return f"record {record.seq} does not follow from the one before it"


def _follow(record: Record, open_tasks: dict[str, int]) -> None:
    """Keep which tasks were let out and have not ended."""
    task = str(record.fields.get("task", ""))
    if record.kind == "allowed":
        open_tasks[task] = record.seq
    elif record.kind in ("released", "failed", "refused"):
        open_tasks.pop(task, None)


def _good_anchors(
    anchors: list[Anchor], root: x509.Certificate, path: Path, report: Report
) -> list[Anchor]:
    site, good = "", []
    try:
        with path.open("rb") as stream:
            site = str(record_of(stream.readline().rstrip(b"\n")).fields.get("site"))
    except (OSError, ValueError):
        report.notes.append("whose log it is cannot be read, so anchors are taken as they are")
    for anchor in anchors:
        try:
            anchor.check(root, site or anchor.site)
            good.append(anchor)
        except IdentityError as error:
            _fault(report, f"an anchor is no good: {error.message}")
    return good


def _fault(report: Report, text: str) -> None:
    if len(report.faults) < _MOST:
        report.faults.append(text)
    elif len(report.faults) == _MOST:
        report.faults.append("and more")


__all__ = ["Report", "verify"]
