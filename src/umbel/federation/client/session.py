"""A session with a coordinator: the same FedPy and SQL, over the tables of a federation."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from umbel.api.catalog import Catalog, TableName
from umbel.api.dataframe import DataFrame
from umbel.api.located import here
from umbel.api.session import Session
from umbel.catalog.address import Secret
from umbel.executor import Cancellation, Listener, Result
from umbel.executor.record import StageRecord
from umbel.federation.client.catalog import RemoteCatalog, RemoteTables
from umbel.federation.client.connection import Connection
from umbel.federation.client.cutting import Asked, Cut, as_relation, cut, is_remote, with_answers
from umbel.federation.client.origins import Lines
from umbel.federation.client.records import (
    RemoteExplanation,
    RemoteRun,
    stages_from,
)
from umbel.federation.client.watching import watched
from umbel.federation.errors import FederationError
from umbel.federation.protocol import ARROW_STREAM, HORIZONTAL, MISSING
from umbel.federation.stream import read_rows, write_table
from umbel.plan.codec import plan_to_json
from umbel.plan.encoder import schema_to_json
from umbel.plan.errors import (
    CancelledError,
    EvaluationError,
    FunctionError,
    PlanError,
    UmbelError,
    UnknownNameError,
)
from umbel.plan.operators import Element, Functional, Operator, Scan, topological
from umbel.plan.sources import MemorySource, RelationSource, split_name

if TYPE_CHECKING:
    from umbel.optimizer import Budget

log = logging.getLogger("umbel.client")


class RemoteSession(Session):
    """Makes DataFrames and Datasets of a federation's tables, and runs them.

    What reads only data of this process runs here, as in an embedded session. Of other plans the
    coordinator runs as much as it can; Python functions and the writing of files stay here.

    Attributes:
        connection: to the coordinator.
        user: who the coordinator says that we are.
        roles: what we may do.
        federation: its name.
        purpose: what answers are for, in your words; sites may go by it.
        on_missing_site: what a run does about a site that is away: "wait" for it, "fail", or
            "skip" it; then `last_run.missing` names it.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        purpose: str = "",
        on_missing_site: str = "fail",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if on_missing_site not in MISSING:
            raise UnknownNameError("way with a missing site", on_missing_site, MISSING)
        self.connection = connection
        self.purpose = purpose
        self.on_missing_site = on_missing_site
        known = connection.get("/v1/whoami")
        self.registered.update(self._federated(known["tables"]))
        self.user: str = known["user"]
        self.roles: tuple[str, ...] = tuple(known["roles"])
        self.federation: str = known["federation"]
        self._namespaces: list[str] = known["namespaces"]
        self._remote_platforms = frozenset(known["platforms"])
        self._remote: RemoteCatalog | None = None

    @property
    def catalog(self) -> Catalog:
        """The federation's tables, and what is attached to this session."""
        return self._tables()

    def _tables(self) -> RemoteCatalog:
        if self._remote is None:
            first: list[list[str]] = [self._namespaces]

            def ask() -> list[str]:
                return first.pop() if first else self._ask_names()

            self._remote = RemoteCatalog(self.platforms(), self.connection, ask)
        return self._remote

    def _ask_names(self) -> list[str]:
        known = self.connection.get("/v1/whoami")
        self._remote_platforms = frozenset(known["platforms"])
        for name, frame in self._federated(known["tables"]).items():
            self.registered.setdefault(name, frame)
        names: list[str] = known["namespaces"]
        return names

    def _federated(self, names: Iterable[str]) -> dict[str, DataFrame]:
        return {name: FederatedFrame(name, self) for name in names}

    def horizontal(self, name: str) -> RelationSource:
        """Find a table that has parts at several sites.

        Raises:
            UnknownNameError: there is none.
            PlanError: its parts have different columns; says which.
        """
        return RemoteTables(HORIZONTAL, self.connection).source([name])

    def table(self, name: TableName, **options: Any) -> DataFrame:
        """A DataFrame of a table of the federation, or of what is attached to this session.

        Args:
            name: "patients" for the rows of all sites that have such a table, "north.patients"
                for those of one.
            options: what the kind of namespace offers.

        Raises:
            UnknownNameError: there is no such table; says which there are.
            PlanError: its parts at the sites have different columns; says which.
        """
        parts = split_name(name) if isinstance(name, str) else tuple(name)
        if len(parts) != 1:
            return super().table(name, **options)
        for option in options:
            raise PlanError(f"a table of several sites has no option {option!r}")
        return DataFrame(Scan(source=self.horizontal(parts[0]), origin=here()), self)

    def platform_name(self, name: str) -> str:
        """Give a platform's name back if a frame can be pinned to it: the coordinator's, or here.

        Raises:
            UnknownNameError: there is no such platform.
        """
        return name if name in self._remote_platforms else super().platform_name(name)

    def sites(self) -> list[dict[str, Any]]:
        """What the coordinator knows of each site."""
        found: list[dict[str, Any]] = self.connection.get("/v1/sites")
        return found

    def explain(self, plan: Operator, budget: Budget | None = None) -> Any:
        """Say how a plan would run, what it is estimated to cost, and what lost against it.

        Args:
            plan: what to explain; of it nothing runs at the coordinator. What is read here and
                sent along is read.
            budget: bounds on the estimates; None for those of the session.
        """
        if not is_remote(plan, self._is_remote):
            return super().explain(plan, budget)
        lines = Lines(plan)
        parts = self._cut(_lifted(plan))
        found = []
        for asked in parts.asked.values():
            body = self._body(asked, budget or self.budget)
            try:
                found.append(self.connection.post("/v1/explain", body))
            except UmbelError as error:
                raise lines.restored(error) from None
        here = [o for o in topological(parts.here) if not _stands_for(o, parts)]
        return RemoteExplanation(tuple(found), " > ".join(o.name for o in here))

    def run(
        self,
        plan: Operator,
        budget: Budget | None = None,
        *,
        cancellation: Cancellation | None = None,
        deliver: Callable[[pa.Table], None] | None = None,
        listener: Listener | None = None,
        **options: Any,
    ) -> Result:
        """Run a plan; give its data and the record of the run.

        Args:
            plan: what to run.
            budget: bounds on this run; None for those of the session.
            cancellation: lets another thread stop this run alone.
            deliver: takes the rows of a relational plan in pieces while it runs; the result then
                holds none.
            listener: told of every event of this run; None for the session's.
            options: those of a run that stays here.
        """
        if not is_remote(plan, self._is_remote):
            return super().run(
                plan, budget, cancellation=cancellation, deliver=deliver, listener=listener,
                **options,
            )  # fmt: skip
        cancellation = cancellation or Cancellation()
        self._running.add(cancellation)
        lines = Lines(plan)
        delivered = _Delivered(deliver)
        run = _RemoteCall(self, budget or self.budget, cancellation, listener or self.listener)
        try:
            lifted = _lifted(plan)
            try:
                result = run(self._cut(lifted), delivered)
            except EvaluationError as error:
                # The expressions are equal to the functions unless they fail; then the functions
                # themselves decide, here.
                if lifted is plan or delivered.rows or isinstance(error, FunctionError):
                    raise
                result = run(self._cut(plan), delivered)
                result.run.unlifted = error.message
        except KeyboardInterrupt:
            cancellation.cancel()
            raise CancelledError("the run was cancelled by an interrupt") from None
        except UmbelError as error:
            raise lines.restored(error) from None
        finally:
            self._running.discard(cancellation)
        self.last_run = result.run
        return result

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _is_remote(self, name: str) -> bool:
        return name == HORIZONTAL or self._tables().is_remote(name)

    def _cut(self, plan: Operator) -> Cut:
        return cut(plan, self._is_remote, lambda name: name in self._remote_platforms)

    def _run_here(self, plan: Operator, **options: Any) -> Result:
        return super().run(plan, **options)

    def _body(self, asked: Asked, budget: Budget | None) -> dict[str, Any]:
        """Send what a question needs, and give the body that asks it."""
        uploads = {}
        for token, part in asked.sent.items():
            table = _own_table(part)
            if table is None:
                table = self._run_here(as_relation(part)).data.cast(part.schema)
            uploads[token] = self._upload(table)
        body: dict[str, Any] = {
            "plan": plan_to_json(asked.plan),
            "uploads": uploads,
            "purpose": self.purpose,
            "missing": self.on_missing_site,
        }
        if budget is not None:
            body["budget"] = {"seconds": budget.seconds, "dollars": budget.dollars}
        return body

    def _upload(self, table: pa.Table) -> str:
        parts = list(write_table(table))
        digest = hashlib.sha256(b"".join(parts)).hexdigest()
        path = f"/v1/uploads/{digest}"
        if not self.connection.there(path):
            schema = json.dumps(schema_to_json(table.schema))
            headers = {"umbel-schema": schema, "content-type": ARROW_STREAM}
            self.connection.put(path, parts, headers)
        return digest

    def __repr__(self) -> str:
        return f"Session of federation {self.federation!r} at {self.connection.url}, as {self.user}"


class _Delivered:
    """Hands rows on, and counts them: what was handed on cannot be taken back."""

    def __init__(self, deliver: Callable[[pa.Table], None] | None) -> None:
        self.deliver = deliver
        self.rows = 0

    def __call__(self, table: pa.Table) -> None:
        if self.deliver is not None and table.num_rows:
            self.rows += table.num_rows
            self.deliver(table)


class _RemoteCall:
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

    def __call__(self, parts: Cut, delivered: _Delivered) -> Result:
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
            result = self._session._run_here(
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
        body = self._session._body(asked, self._budget)
        # The name is ours, so that the run can be cancelled also if no answer comes.
        body["id"] = secrets.token_hex(16)
        path = f"/v1/runs/{body['id']}"

        def stop() -> None:
            connection.post(f"{path}/cancel")

        self._cancellation.register(stop)
        over = False
        try:
            connection.post("/v1/runs", body)
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


class FederatedFrame(DataFrame):
    """A table of several sites as SQL finds it: its columns are asked for when it is named."""

    def __init__(self, name: str, session: RemoteSession) -> None:
        self._name = name
        self._remote = session
        self.session = session
        self._inputs = ()

    @property
    def plan(self) -> Operator:  # type: ignore[override]
        """The rows of all its parts."""
        return Scan(source=self._remote.horizontal(self._name))


def _warn(stages: Iterable[StageRecord]) -> None:
    """Warn of what sites left out of an answer."""
    notes = [note for stage in stages for note in stage.notes]
    if notes:
        from umbel.federation.planning import WithheldWarning

        warnings.warn("; ".join(dict.fromkeys(notes)), WithheldWarning, stacklevel=5)


def _lifted(plan: Operator) -> Operator:
    """The plan with expressions in place of its Python functions, where the two are equal."""
    if not any(isinstance(operator, Functional) for operator in topological(plan)):
        return plan
    from umbel.optimizer.rewrite.lift import lift

    return lift(plan)


def _is_answer(here: Operator, parts: Cut) -> bool:
    """Whether what runs here is nothing but the coordinator's answer, as rows."""
    return _stands_for(here, parts) and here.element is Element.ROW


def _stands_for(operator: Operator, parts: Cut) -> bool:
    match operator:
        case Scan(source=MemorySource(token=token)):
            return token in parts.asked
    return False


def _own_table(operator: Operator) -> pa.Table | None:
    match operator:
        case Scan(source=MemorySource(data=pa.Table() as table), columns=None, predicate=None):
            return table
    return None


def connect_to(
    url: str,
    *,
    token: str | Secret | None = None,
    ca: str | os.PathLike[str] | None = None,
    purpose: str = "",
    on_missing_site: str = "fail",
    **options: Any,
) -> RemoteSession:
    """Begin a session with a coordinator.

    Args:
        url: "https://host:port".
        token: the word that an operator gave you, or where it is: "env:NAME" or "file:/path";
            None takes the variable UMBEL_TOKEN.
        ca: a file with the federation's root certificate; None trusts the token's fingerprint.
        purpose: what answers are for.
        on_missing_site: what runs do about a site that is away: "wait", "fail" or "skip".
        options: those of a session that stays here.

    Raises:
        IdentityError: the token is none, or not known, or the coordinator is another.
        CoordinatorError: the coordinator cannot be reached, or is of another version.
    """
    connection = Connection.open(url, "env:UMBEL_TOKEN" if token is None else token, ca)
    try:
        return RemoteSession(
            connection, purpose=purpose, on_missing_site=on_missing_site, **options
        )
    except BaseException:
        connection.close()
        raise


__all__ = ["RemoteSession", "connect_to"]
