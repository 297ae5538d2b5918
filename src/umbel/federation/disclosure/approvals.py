"""Asks a person at the site before a question runs, or before its result leaves.

A request is of one question (the plan's digest and those of what came with it), one version of the
policy, one user and purpose, and one set of readers: whatever of these changes needs an approval of
its own. It lies in the site's ledger, so that nothing waits in a worker: the task ends, and is
asked for again. What was approved of a result is that result; nothing is computed anew.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.federation.disclosure.ledger import DAY, Ledger
from umbel.federation.errors import ApprovalError, FederationError, PolicyError
from umbel.federation.policy.verdict import Release

WAITING, APPROVED, DENIED = "waiting", "approved", "denied"
#: Characters of a request's name, and rows of a result that the owner is shown.
_NAME, SAMPLE = 12, 20


@dataclass(frozen=True)
class Request:
    """What somebody asks the site's owner for.

    Attributes:
        name: by which it is found.
        kind: "plan" or "release".
        at: when it was asked for, in seconds since 1970.
        days: for which it waits, and for which an approval holds.
        state: waiting, approved or denied.
        decided: when.
        reason: of the one who decided.
        about: who asks for what, under which clauses, and where it would go.
        answer: of a release the result that would leave, as an Arrow stream.
    """

    name: str
    kind: str
    at: float
    days: int
    state: str
    decided: float
    reason: str
    about: dict[str, Any]
    answer: bytes | None

    @property
    def since(self) -> str:
        """When it was asked for, for people."""
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M UTC")

    @property
    def table(self) -> pa.Table | None:
        """The result that would leave."""
        return None if self.answer is None else pa.ipc.open_stream(self.answer).read_all()

    @property
    def words(self) -> list[str]:
        """What it asks for, for people."""
        about = self.about
        purpose = f"for {about['purpose']!r}" if about["purpose"] else "for a purpose not said"
        roles = f" ({', '.join(about['roles'])})" if about["roles"] else ""
        what = "its result may leave" if self.kind == "release" else "the question may run"
        to = ", ".join(about["to"]) or "the coordinator, which can read it"
        lines = [
            f"{about['user']}{roles} asks that {what}, {purpose}, since {self.since}",
            f"what would leave: {about['words']}, of {', '.join(about['tables'])}",
            f"to: {to}",
            f"by: {', '.join(about['clauses'])}, version {about['version']} of the policy",
            f"the question: {about['question']}",
            f"it waits, and an approval holds, for {self.days} days",
            f"state: {self.state}{f': {self.reason}' if self.reason else ''}",
        ]
        table = self.table
        if table is not None:
            lines.append(f"the result: {table.num_rows:,} rows; the first {SAMPLE} at most:")
            lines += [json.dumps(row, default=str) for row in table.slice(0, SAMPLE).to_pylist()]
        return lines


class Approvals:
    """The requests of one site."""

    def __init__(self, ledger: Ledger) -> None:
        """Prepare, with what the site remembers."""
        self._ledger = ledger

    def check(
        self, release: Release, question: str, kind: str, answer: bytes | None = None
    ) -> None:
        """Return if it was approved; else file a request, once, and raise.

        Raises:
            ApprovalError: it waits for a person.
            PolicyError: it was denied, or nobody has decided in time.
        """
        name, now, first = request_name(release, question, kind), time.time(), False
        with self._ledger.transaction() as database:
            found = self._find(name)
            if found is None or (found.state == APPROVED and _over(found, now)):
                days = min(g.clause.duties.approval_days for g in release.grants)
                about = json.dumps(_about(release))
                insert = "insert or replace into requests values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                given = (name, kind, now, days, WAITING, 0.0, "", about, answer)
                database.execute(insert, given)
                found, first = self._find(name), True
        if found is None:
            raise FederationError(f"request {name!r} was not kept")
        if found.state == APPROVED:
            return
        where = f"site {release.site!r}"
        if found.state == WAITING and not _over(found, now):
            raise ApprovalError(
                f"waiting for approval of {where} since {found.since}",
                hint=f"its owner decides: umbel site requests show {name}",
                first=first,
            )
        if found.state == DENIED:
            raise PolicyError(
                f"the owner of {where} denied this: {found.reason or 'no reason was given'}",
                hint=f"request {name}; another question, purpose or policy is another request",
            )
        raise PolicyError(
            f"nobody at {where} decided within {found.days} days",
            hint=f"request {name} of {found.since}; ask its owner to deny or approve it",
        )

    def answer(self, release: Release, question: str) -> pa.Table | None:
        """The result that may leave, if it was looked at and approved, or wait for that.

        Raises:
            ApprovalError: it waits for a person.
            PolicyError: it was denied, or nobody has decided in time.
        """
        found = self._find(request_name(release, question, "release"))
        if found is None or (found.state == APPROVED and _over(found, time.time())):
            return None
        self.check(release, question, "release")
        return found.table

    def decide(self, name: str, *, approve: bool, reason: str = "") -> Request:
        """Approve or deny a request that waits.

        Raises:
            FederationError: there is none of that name, or it was decided.
        """
        state = APPROVED if approve else DENIED
        update = "update requests set state = ?, decided = ?, reason = ? where name = ?"
        with self._ledger.transaction() as database:
            found = self._find(name)
            if found is None:
                known = ", ".join(one.name for one in self.all() if one.state == WAITING)
                raise FederationError(
                    f"there is no request {name!r}", hint=f"waiting: {known or 'none'}"
                )
            if found.state != WAITING:
                raise FederationError(f"request {name!r} was {found.state} before")
            # What was approved holds from now on.
            database.execute(update, (state, time.time(), reason, name))
            return replace(found, state=state, reason=reason)

    def all(self) -> list[Request]:
        """All requests, the oldest first."""
        with self._ledger.reading() as database:
            return [_request(row) for row in database.execute("select * from requests order by at")]

    def _find(self, name: str) -> Request | None:
        return next((one for one in self.all() if one.name == name), None)


def _request(row: tuple[Any, ...]) -> Request:
    name, kind, at, days, state, decided, reason, about, answer = row
    return Request(name, kind, at, days, state, decided, reason, json.loads(about), answer)


def _over(request: Request, now: float) -> bool:
    return now - max(request.at, request.decided) > request.days * DAY


def request_name(release: Release, question: str, kind: str) -> str:
    """Name the request of a question; it is another if anything of it is."""
    asked = [kind, question, release.policy_digest, release.policy_version, release.user]
    asked += [release.purpose, sorted(release.roles), list(release.to), release.facts()["clauses"]]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:_NAME]


def _about(release: Release) -> dict[str, Any]:
    return {
        "user": release.user,
        "roles": list(release.roles),
        "purpose": release.purpose,
        "to": list(release.to),
        "words": release.words,
        "tables": list(release.tables),
        "clauses": release.facts()["clauses"],
        "version": release.policy_version,
        "question": release.asks,
        "task": release.task,
    }


__all__ = ["APPROVED", "DENIED", "WAITING", "Approvals", "Request", "request_name"]
