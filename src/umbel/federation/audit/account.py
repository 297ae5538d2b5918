"""What the log tells of one task: who asked for what, what was decided, and what left."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from umbel.federation.audit.log import AuditLog
from umbel.federation.errors import ApprovalError
from umbel.federation.failures import Failure
from umbel.federation.tasks import Task
from umbel.plan import operators as ops
from umbel.plan.sources import RelationSource

#: Characters of a question, and bytes of a release whose digest is taken: larger releases of rows
#: are known by their plan, their rows and the digest of so much of them.
_LONGEST_QUESTION = 4_000
_DIGESTED = 64 << 20


class Account:
    """Writes of one task; without a log, of none.

    Nothing is written of the data: of what leaves the log has size, form and digest.
    """

    def __init__(self, log: AuditLog | None, task: Task, round_: int | None = None) -> None:
        """Prepare.

        Args:
            log: takes it; None writes nothing.
            task: what is told of.
            round_: of a standing question that was allowed before, the round: what left in it is
                written before it leaves, and brought to the disk with that of others.
        """
        self._log = log
        self._task = task
        self._round = round_
        self._digest = hashlib.sha256()
        self._digested = self._rows = self._bytes = 0
        self._allowed = round_ is not None

    def allowed(self, verdict: Mapping[str, Any]) -> None:
        """Write that the task was allowed, before anything of it leaves.

        Args:
            verdict: the form, the clause that allows it, the version of the policy, and so on.
        """
        self._write("allowed", {**self._asked(), **verdict})
        self._allowed = True

    def failed(self, error: BaseException) -> None:
        """Write that the task was refused, or did not come to its end."""
        if isinstance(error, ApprovalError):
            if error.first:  # whoever waits asks again and again
                self._write("waiting", {**self._asked(), "why": error.message})
            return
        failure = Failure.of(error)
        why = {"failure": failure.code.value, "why": failure.message[:_LONGEST_QUESTION]}
        if not self._allowed:
            self._write("refused", {**self._asked(), **why})
        else:
            left = {"rows": self._rows, "bytes": self._bytes}
            self._write("failed", {"task": self._task.id, **why, **left})

    def leaves(self, piece: pa.Table) -> None:
        """Take note of a piece that is about to leave."""
        self._rows += piece.num_rows
        self._bytes += piece.nbytes
        if self._log is not None and self._digested <= _DIGESTED:
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, piece.schema) as writer:
                writer.write_table(piece)
            self._digest.update(sink.getvalue())
            self._digested += piece.nbytes

    def released(self, **more: Any) -> None:
        """Write what left, before the last of it does."""
        self._write(
            "released",
            {
                "task": self._task.id,
                "rows": self._rows,
                "bytes": self._bytes,
                "digest_of": min(self._bytes, self._digested),
                "sha256": self._digest.hexdigest(),
                **more,
            },
        )

    def _write(self, kind: str, fields: Mapping[str, Any]) -> None:
        if self._log is None:
            return
        if self._round is None:
            self._log.append(kind, fields)
        else:
            self._log.append(kind, {**fields, "round": self._round}, wait=False)

    def _asked(self) -> dict[str, Any]:
        task = self._task
        who = task.requester
        return {
            "task": task.id,
            "run": task.run,
            "stage": task.stage,
            "user": who.name,
            "roles": list(who.roles),
            "purpose": who.purpose,
            "tables": tables_of(task.plan),
            "to": list(task.to),
            "plan": task.plan.digest,
            "question": question_of(task.plan),
        }


def tables_of(plan: ops.Operator) -> list[str]:
    """The published tables that a plan reads."""
    found = {
        operator.source.relation[-1]
        for operator in ops.topological(plan)
        if isinstance(operator, ops.Scan) and isinstance(operator.source, RelationSource)
    }
    return sorted(found)


def question_of(plan: ops.Operator) -> str:
    """A plan for people: its operators, the ones that read first.

    >>> from umbel.plan.operators import Limit, Values
    >>> question_of(Limit(input=Values(table=pa.table({"a": [1]})), count=1))
    'Values (1 rows); Limit (1 from 0)'
    """
    parts = []
    for operator in ops.topological(plan):
        detail = operator.describe()
        parts.append(f"{operator.name} ({detail})" if detail else operator.name)
    text = "; ".join(parts)
    return text if len(text) <= _LONGEST_QUESTION else text[: _LONGEST_QUESTION - 1] + "…"


__all__ = ["Account", "question_of", "tables_of"]
