"""Asks a coordinator the questions of a plan, and does here what belongs here."""

from __future__ import annotations

import logging
import secrets
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.executor import Cancellation, Listener, Result
from umbel.executor.record import StageRecord
from umbel.federation.client.cutting import Asked, Cut, with_answers
from umbel.federation.client.records import RemoteRun, stages_from
from umbel.federation.client.watching import watched
from umbel.federation.errors import FederationError
from umbel.federation.stream import read_rows
from umbel.federation.work_trace import asking
from umbel.plan.errors import CancelledError
from umbel.plan.operators import Element, Functional, Operator, Scan, topological
from umbel.plan.sources import MemorySource

if TYPE_CHECKING:
    from umbel.federation.client.session import RemoteSession
    from umbel.optimizer import Budget

log = logging.getLogger("umbel.client")


class Delivered:
    """Hands rows on, and counts them: what was handed on cannot be taken back."""

    def __init__(self, deliver: Callable[[pa.Table], None] | None) -> None:
        self.deliver = deliver
        self.rows = 0

    def __call__(self, table: pa.Table) -> None:
        if self.deliver is not None and table.num_rows:
            self.rows += table.num_rows
            self.deliver(table)


class RemoteCall:
    """Runs the parts of a plan where they belong."""

    def __init__(
        self,
        session: RemoteSession,
        budget: Budget | None,
        cancellation: Cancellation,
        listener: Listener | None,
    ) -> None:
        self._session = session
        self._budget = budget
        self._cancellation = cancellation
        self._listener = listener

    def __call__(self, parts: Cut, delivered: Delivered) -> Result:
        """Run it; give its data and the record of all that was run."""
        began = time.perf_counter()
        whole = _is_answer(parts.here, parts)
        answers: dict[str, pa.Table] = {}
        records: list[dict[str, Any]] = []
        missing: list[str] = []
        for token, asked in parts.asked.items():
            rows: list[pa.Table] = []
            direct = whole and delivered.deliver is not None
            record = self._ask(asked, delivered if direct else rows.append)
            schema = asked.plan.schema
            answers[token] = pa.concat_tables(rows) if rows else schema.empty_table()
            records.append(record)
            missing += record.get("missing", [])
        stages = [stage for record in records for stage in stages_from(record)]
        planning = sum(record.get("planning_seconds", 0.0) for record in records)
        if whole:
            (data,) = answers.values()
        else:
            result = self._session.run_here(
                with_answers(parts.here, answers),
                cancellation=self._cancellation,
                deliver=delivered if delivered.deliver is not None else None,
                listener=self._listener,
            )
            data = result.data
            stages += result.run.stages
            planning += result.run.planning_seconds
        _warn(stages)
        seconds = time.perf_counter() - began - planning
        return Result(data, RemoteRun(stages, seconds, planning, tuple(dict.fromkeys(missing))))

    def _ask(self, asked: Asked, deliver: Callable[[pa.Table], None]) -> dict[str, Any]:
        """Ask the coordinator one question; give the record of its run."""
        connection = self._session.connection
        self._cancellation.check()
        body = self._session.body_of(asked, self._budget)
        # The name is ours, so that the run can be cancelled also if no answer comes.
        body["id"] = secrets.token_hex(16)
        path = f"/v1/runs/{body['id']}"

        def stop() -> None:
            connection.post(f"{path}/cancel")

        self._cancellation.register(stop)
        over = False
        try:
            with asking() as headers:
                connection.post("/v1/runs", body, headers)
                with (
                    watched(connection, f"{path}/events", self._session.progress, self._listener),
                    connection.stream(f"{path}/result") as chunks,
                ):
                    ended = read_rows(chunks, asked.plan.schema, deliver)
            over = True
        except FederationError:
            if self._cancellation.cancelled:
                raise CancelledError("the run was cancelled") from None
            raise
        finally:
            self._cancellation.unregister(stop)
            if not over and not self._cancellation.cancelled:
                self._let_go(stop)
        connection.delete(f"{path}/result")
        record = ended.more.get("record")
        found = record if isinstance(record, dict) else {}
        return {**found, "missing": ended.more.get("missing", [])}

    def _let_go(self, stop: Callable[[], None]) -> None:
        """Stop a run whose answer is of no use any more, if the coordinator can be reached."""
        try:
            stop()
        except FederationError as error:
            log.warning("a run goes on at the coordinator: %s", error.message)


def _warn(stages: Iterable[StageRecord]) -> None:
    """Warn of what sites left out of an answer."""
    notes = [note for stage in stages for note in stage.notes]
    if notes:
        from umbel.federation.planning import WithheldWarning

        warnings.warn("; ".join(dict.fromkeys(notes)), WithheldWarning, stacklevel=5)


def lifted(plan: Operator) -> Operator:
    """The plan with expressions in place of its Python functions, where the two are equal."""
    if not any(isinstance(operator, Functional) for operator in topological(plan)):
        return plan
    from umbel.optimizer.rewrite.lift import lift

    return lift(plan)


def _is_answer(here: Operator, parts: Cut) -> bool:
    """Whether what runs here is nothing but the coordinator's answer, as rows."""
    return stands_for(here, parts) and here.element is Element.ROW


def stands_for(operator: Operator, parts: Cut) -> bool:
    """Whether an operator only stands for what the coordinator answers."""
    match operator:
        case Scan(source=MemorySource(token=token)):
            return token in parts.asked
    return False


def own_table(operator: Operator) -> pa.Table | None:
    """The table that an operator gives, if it is one of this process."""
    match operator:
        case Scan(source=MemorySource(data=pa.Table() as table), columns=None, predicate=None):
            return table
    return None


__all__ = ["Delivered", "RemoteCall", "lifted", "own_table", "stands_for"]
