"""A site's side of a standing question: rows that are read once, and rounds that are each decided.

The rows are those of the moment at which the question began, so a training is over one and the same
data. The rules are those of now: they are looked at again when they change, and every second. Of
each round it is counted who is behind it, what it costs is charged, and what leaves is written
down, before it does.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.federation.audit import Account
from umbel.federation.errors import FederationError, LimitError
from umbel.federation.execution.gate import Gate
from umbel.federation.execution.masked import Masked
from umbel.federation.policy.clauses import Duties
from umbel.federation.policy.disclosing import Disclosure
from umbel.federation.policy.verdict import Release
from umbel.federation.standing import Answer, Change
from umbel.federation.tasks import Task
from umbel.models.applying import Contributions
from umbel.plan import operators as ops

#: Seconds for which a decision holds.
_HOLDS = 1.0


@dataclass
class Admission:
    """Decides on the rounds of one standing question, and writes them down.

    Attributes:
        verdict: what was decided last.
        question: identifies what is asked.
        disclosure: counts and charges.
        decide: decides anew; raises if the rules of now do not allow it.
        account: gives what is written of a round.
    """

    verdict: Release
    question: str
    disclosure: Disclosure
    decide: Callable[[], Release]
    account: Callable[[int], Account]
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._at = time.monotonic()

    def admitted(self, change: Change) -> Release:
        """Let a round begin, and give by which decision.

        What counts answers takes each state as a question of its own, and the same one that is
        asked again, because its answer was lost, as the same.

        Raises:
            PolicyError: the rules do not allow it, or what it costs is not there.
        """
        now = time.monotonic()
        if now - self._at > _HOLDS:
            self.verdict, self._at = self.decide(), now
        verdict = self.verdict
        if any(grant.clause.duties != Duties() for grant in verdict.grants):
            head, buffers = change.written()
            told = hashlib.sha256(head)
            for one in buffers:
                told.update(one)
            verdict = replace(verdict, task=f"{verdict.task}/{told.hexdigest()[:32]}")
        self.disclosure.admit(verdict, self.question)
        return verdict


class StandingQuestion:
    """One question, and the rows that it is about; `umbel.federation.standing.Held`."""

    def __init__(
        self,
        task: Task,
        guarded: ops.Summing,
        rows: pa.Table,
        gate: Gate,
        masked: Masked,
        admission: Admission,
    ) -> None:
        """Prepare.

        Args:
            task: the question.
            guarded: its plan with counts of what its sums are made of.
            rows: the input of that.
            gate: says what of it may leave.
            masked: answers the steps of secure aggregation.
            admission: decides on rounds.
        """
        if not isinstance(task.plan, ops.Summing):
            raise FederationError(f"{task.plan.name} is no question that can stand")
        self._task, self._plan, self._guarded = task, task.plan, guarded
        self._given = Contributions(guarded, rows)
        self._given.keep()
        self._gate, self._masked, self._admission = gate, masked, admission
        self._number = 0
        self._lock = threading.Lock()

    def answer(self, change: Change) -> Answer:
        """Answer for a state; see `Held`."""
        with self._lock:
            self._number += 1
            account = self._admission.account(self._number)
            try:
                return self._answered(change, account)
            except BaseException as error:
                account.failed(error)
                raise

    def _answered(self, change: Change, account: Account) -> Answer:
        start = time.perf_counter()
        plan, asked = change.into(self._guarded), change.into(self._plan)
        step = "" if plan.masking is None else plan.masking.step
        verdict = None
        if step in ("", "mask"):  # in the other steps nothing leaves
            verdict = self._admission.admitted(change)

        def plain() -> pa.Table:
            return self._gate.let_through(asked, self._given.give(plan))

        given = plain() if not step else self._masked.answer(self._task, asked, plain)
        # Made anew of plain values: nothing of what they were made of goes along.
        (row,) = given.to_pylist()
        table = pa.Table.from_pylist([{**row, "part": self._plan.part}], schema=self._task.schema)
        size = table.nbytes
        if size > self._task.limits.bytes:
            raise LimitError(
                f"the output has more than {self._task.limits.bytes:,} bytes",
                hint="ask for higher limits",
            )
        if verdict is not None:
            self._admission.disclosure.left(verdict, table.num_rows, size)
        account.leaves(table)
        account.released()
        return Answer(row["rows"], row["left_out"], row["sums"], time.perf_counter() - start)

    def close(self) -> None:
        """Let go of the rows."""
        with self._lock:
            self._given = Contributions(self._guarded, self._guarded.input.schema.empty_table())


__all__ = ["Admission", "StandingQuestion"]
