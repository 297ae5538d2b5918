"""Asks a coordinator the questions of a plan, and does here what belongs here."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.executor import Cancellation, Listener, Result, Run
from umbel.executor.run_ids import new_id
from umbel.federation.client.cutting import Asked, Cut, with_answers
from umbel.federation.client.patience import Patience
from umbel.federation.client.records import MissingSitesWarning, RemoteRun, stages_from
from umbel.federation.client.watching import watched
from umbel.federation.errors import CoordinatorError, FederationError, UnreachedError
from umbel.federation.protocol import HEARTBEAT, RUN_DIGITS
from umbel.federation.stream import BrokenRowsError, Ended, RowReader
from umbel.federation.work_trace import asking
from umbel.plan.decoder import schema_from_json
from umbel.plan.errors import CancelledError
from umbel.plan.limits import Limits
from umbel.plan.operators import Element, Functional, Operator, Scan, topological
from umbel.plan.sources import MemorySource

if TYPE_CHECKING:
    from umbel.federation.client.session import RemoteSession
    from umbel.optimizer import Budget

log = logging.getLogger("umbel.client")

#: How often rows are read that are not what their end says.
_MOST_ANEW = 3


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
        told: list[Told] = []
        for token, asked in parts.asked.items():
            answers[token], heard = self._ask(asked, delivered if whole else Delivered(None))
            told.append(heard)
        if not whole:
            result = self._session.run_here(
                with_answers(parts.here, answers),
                cancellation=self._cancellation,
                deliver=delivered if delivered.deliver is not None else None,
                listener=self._listener,
            )
            return _result(result.data, told, began, result.run)
        (data,) = answers.values()
        return _result(data, told, began)

    def resume(self, run_id: str) -> Result:
        """Go on with a run of the coordinator's; give its rows and its record."""
        began = time.perf_counter()
        patience = Patience(self._session.patience, self._cancellation, run_id)
        found = patience.ask(lambda: self._session.runs.resume(run_id))
        schema = schema_from_json(found["schema"], "$.schema", Limits())
        data, told = self._fetch(run_id, schema, Delivered(None), patience)
        return _result(data, [told], began)

    def _ask(self, asked: Asked, delivered: Delivered) -> tuple[pa.Table, Told]:
        """Ask the coordinator one question; give its rows and what is to be told of them."""
        self._cancellation.check()
        # The name is ours, so that the run can be cancelled also if no answer comes, and is begun
        # once however often we ask.
        run_id = new_id(RUN_DIGITS)
        patience = Patience(self._session.patience, self._cancellation, run_id)
        tables = self._session.tables_of(asked)

        plan, signed = self._session.signed(asked, run_id)

        def begin() -> None:
            # What was sent before may be gone with the coordinator that had it.
            body = {**self._session.body_of(asked, tables, self._budget, plan), **signed}
            self._session.connection.post("/v1/runs", {**body, "id": run_id}, headers)

        with self._stoppable(run_id), asking() as headers:
            patience.ask(begin)
            return self._fetch(run_id, asked.plan.schema, delivered, patience)

    @contextmanager
    def _stoppable(self, run_id: str) -> Iterator[None]:
        """Stop a run at the coordinator if it is cancelled here, or nobody wants its rows."""

        def stop() -> None:
            self._session.runs.cancel(run_id)

        self._cancellation.register(stop)
        try:
            yield
        except FederationError as error:
            if self._cancellation.cancelled:
                raise CancelledError("the run was cancelled") from None
            if not isinstance(error, CoordinatorError):
                self._let_go(stop)
            raise
        except CancelledError:
            raise
        except BaseException:
            if not self._cancellation.cancelled:
                self._let_go(stop)
            raise
        finally:
            self._cancellation.unregister(stop)

    def _fetch(
        self, run_id: str, schema: pa.Schema, delivered: Delivered, patience: Patience
    ) -> tuple[pa.Table, Told]:
        """Read the rows of a run, however often the line breaks or the coordinator is restarted."""
        session, path = self._session, f"/v1/runs/{run_id}"
        rows: list[pa.Table] = []
        direct = delivered.deliver is not None
        # Rows that are handed on cannot be taken back: so they are read when all are there.
        again = None if direct else rows.clear
        reader = RowReader(schema, delivered if direct else rows.append, again=again)
        anew = _MOST_ANEW
        ended: Ended | None = None
        with watched(session.connection, f"{path}/events", session.progress, self._listener):
            while ended is None:
                try:
                    ended = self._read(reader, f"{path}/result", patience, whole=direct)
                except UnreachedError as error:
                    patience.wait(error)
                except BrokenRowsError:
                    anew -= 1
                    if not anew or direct:
                        raise
                    reader.reset()
        try:
            session.connection.delete(f"{path}/result")
        except FederationError as error:  # it drops them by itself after a while
            log.info("the coordinator keeps the rows of run %s: %s", run_id, error.message)
        table = pa.concat_tables(rows) if rows else schema.empty_table()
        return table, Told(run_id, ended.more)

    def _read(self, reader: RowReader, path: str, patience: Patience, *, whole: bool) -> Ended:
        """Read on where the last body broke off.

        Raises:
            UnreachedError: this one breaks off, too.
        """
        query: dict[str, Any] = {"from": reader.position, "of": reader.of}
        if whole:
            query["whole"] = 1
        before, began = reader.position, time.monotonic()
        try:
            with self._session.connection.stream(path, **query) as chunks:
                ended = reader.read(chunks)
        finally:
            # A line that brings nothing, and breaks at once, is as good as none.
            if reader.position != before or time.monotonic() - began > HEARTBEAT:
                patience.heard()
        if ended is None:
            raise UnreachedError(
                f"the coordinator at {self._session.connection.url} broke off after "
                f"{reader.position:,} bytes of the answer",
                hint="ask again",
            )
        return ended

    def _let_go(self, stop: Callable[[], None]) -> None:
        """Stop a run whose answer is of no use any more, if the coordinator can be reached."""
        try:
            stop()
        except FederationError as error:
            log.warning("a run goes on at the coordinator (%s)", type(error).__name__)


class Told:
    """What a coordinator tells of a run beside its rows.

    Attributes:
        run_id: the run's.
        record: what was measured.
        missing, covers: sites.
    """

    def __init__(self, run_id: str, more: dict[str, Any]) -> None:
        record = more.get("record")
        self.run_id = run_id
        self.record: dict[str, Any] = record if isinstance(record, dict) else {}
        self.missing = tuple(map(str, more.get("missing", ())))
        self.covers = tuple(map(str, more.get("covers", ())))


def _result(data: Any, told: list[Told], began: float, here: Run | None = None) -> Result:
    """Make a result, and warn of what the answer lacks."""
    stages = [stage for one in told for stage in stages_from(one.record)]
    planning = sum(one.record.get("planning_seconds", 0.0) for one in told)
    if here is not None:
        stages += here.stages
        planning += here.planning_seconds
    run = RemoteRun(
        stages,
        time.perf_counter() - began - planning,
        planning,
        tuple(dict.fromkeys(site for one in told for site in one.missing)),
        tuple(dict.fromkeys(site for one in told for site in one.covers)),
        tuple(one.run_id for one in told),
    )
    _warn(run)
    return Result(_with_noise(data, run), run)


def _with_noise(data: Any, run: RemoteRun) -> Any:
    """An answer with what sites said of their noise."""
    notes = [note for stage in run.stages for note in stage.notes]
    if not notes:
        return data
    from umbel.federation.noise import with_noise

    return with_noise(data, notes)


def _warn(run: RemoteRun) -> None:
    """Warn of sites that an answer does not cover, and of what others left out."""
    if run.missing:
        covered = ", ".join(run.covers) or "no site"
        warnings.warn(
            f"the answer covers {covered}, and lacks {', '.join(run.missing)}, which is away",
            MissingSitesWarning,
            stacklevel=6,
        )
    said = [stage for stage in run.stages if stage.notes]
    if not said:
        return
    from umbel.federation.planning import WithheldWarning, left_out

    notes = left_out(said)
    if notes:
        warnings.warn("; ".join(dict.fromkeys(notes)), WithheldWarning, stacklevel=6)


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
