"""A session with a coordinator: the same FedPy and SQL, over the tables of a federation."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from umbel.api.catalog import Catalog
from umbel.api.dataframe import DataFrame
from umbel.api.located import here
from umbel.catalog.address import Secret
from umbel.executor import Cancellation, Listener, Result
from umbel.executor.interrupts import Interrupts
from umbel.federation.client.asking import Delivered, RemoteCall, lifted, own_table, stands_for
from umbel.federation.client.catalog import RemoteCatalog, RemoteTables
from umbel.federation.client.connection import Connection
from umbel.federation.client.cutting import Asked, Cut, as_relation, cut, is_remote
from umbel.federation.client.origins import Lines
from umbel.federation.client.patience import PATIENCE, check_patience
from umbel.federation.client.records import RemoteExplanation
from umbel.federation.client.runs import RemoteRuns
from umbel.federation.errors import IdentityError
from umbel.federation.planning.catalogue import like
from umbel.federation.policy.rights import shown, tables_at
from umbel.federation.protocol import ARROW_STREAM, HORIZONTAL, MISSING
from umbel.federation.several import SessionOverSites
from umbel.federation.signed.statements import Signer, signature_of
from umbel.federation.stream import write_table
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
from umbel.plan.operators import Operator, Scan, Union, rebuild, topological, trains
from umbel.plan.sources import RelationSource

if TYPE_CHECKING:
    from umbel.api.session import Durable
    from umbel.door.server import Door
    from umbel.federation.client.standing import RemoteQuestions
    from umbel.learning.gathering import Answers
    from umbel.learning.gathering import Patience as Rounds
    from umbel.optimizer import Budget


class RemoteSession(SessionOverSites):
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
            "skip" it; then `last_run.missing` names it, and a warning does.
        patience: seconds for which the coordinator may be away while a run waits for it.
        runs: the runs that the coordinator keeps.
        signer: signs what is asked; None signs nothing.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        signer: Signer | None = None,
        purpose: str = "",
        on_missing_site: str = "fail",
        patience: float = PATIENCE,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.patience = check_patience(patience)
        self.runs = RemoteRuns(connection)
        if on_missing_site not in MISSING:
            raise UnknownNameError("way with a missing site", on_missing_site, MISSING)
        self.connection = connection
        self.signer = signer
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

    def policy_of(self, plan: Operator) -> str:
        """Say what of a plan's tables may leave their sites, and for whom."""
        wanted = tables_at(plan)
        found = {
            (site["name"], table["name"]): table["policy"]
            for site in self.sites()
            for table in site["tables"]
            if {(site["name"], table["name"]), (HORIZONTAL, table["name"])} & set(wanted)
        }
        return shown(found) if found else super().policy_of(plan)

    def rows_of_sites(self, name: str) -> Operator:
        """Give the rows of all sites that publish a table."""
        return Scan(source=self.horizontal(name), origin=here())

    def divided(self, plan: Operator) -> Operator:
        """The same rows, where a table with parts at several sites is the union of them."""

        def divide(operator: Operator) -> Operator:
            match operator:
                case Scan(source=RelationSource(platform=name, relation=(table,))) if (
                    name == HORIZONTAL
                ):
                    return self._parts(operator, table)
            return operator

        return rebuild(plan, divide)

    def _parts(self, scan: Scan, table: str) -> Operator:
        owners = sorted(
            site["name"]
            for site in self.sites()
            if any(known["name"] == table for known in site["tables"])
        )
        sources = [RemoteTables(name, self.connection).source([table]) for name in owners]
        types = {field.name: field.type for field in scan.schema}
        parts = [like(Scan(source=source, origin=scan.origin), types) for source in sources]
        return parts[0] if len(parts) == 1 else Union(members=tuple(parts), origin=scan.origin)

    def sites_of(self, plan: Operator) -> frozenset[str]:
        """The sites, and other places of the coordinator, that a plan reads tables of."""
        return frozenset(name for name in plan.places if self._is_remote(name))

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

    def status(self) -> dict[str, Any]:
        """What the coordinator says of itself: its version, and how long its certificates hold."""
        found: dict[str, Any] = self.connection.get("/v1/status")
        return found

    def explain(self, plan: Operator, budget: Budget | None = None) -> Any:
        """Say how a plan would run, what it is estimated to cost, and what lost against it.

        Args:
            plan: what to explain; of it nothing runs at the coordinator. What is read here and
                sent along is read.
            budget: bounds on the estimates; None for those of the session.
        """
        if trains(plan) or not self.asks(plan):
            return super().explain(plan, budget)
        lines = Lines(plan)
        parts = self._cut(lifted(plan))
        found = []
        for asked in parts.asked.values():
            body = self.body_of(asked, self.tables_of(asked), budget or self.budget)
            try:
                found.append(self.connection.post("/v1/explain", body))
            except UmbelError as error:
                raise lines.restored(error) from None
        here = [o for o in topological(parts.here) if not stands_for(o, parts)]
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
        if trains(plan):
            with self._asking(cancellation, plan) as cancellation:
                plan = self._with_models(plan, cancellation)
        if not self.asks(plan):
            return super().run(
                plan, budget, cancellation=cancellation, deliver=deliver, listener=listener,
                **options,
            )  # fmt: skip
        self._check_durable(plan, options.get("durable"))
        delivered = Delivered(deliver)
        with self._asking(cancellation, plan) as cancellation:
            run = RemoteCall(self, budget or self.budget, cancellation, listener or self.listener)
            as_expressions = lifted(plan)
            try:
                result = run(self._cut(as_expressions), delivered)
            except EvaluationError as error:
                # The expressions are equal to the functions unless they fail; then the functions
                # themselves decide, here.
                if as_expressions is plan or delivered.rows or isinstance(error, FunctionError):
                    raise
                result = run(self._cut(plan), delivered)
                result.run.unlifted = error.message
        self.last_run = result.run
        return result

    def resume(
        self,
        run_id: str,
        *,
        durable: Durable = None,
        cancellation: Cancellation | None = None,
    ) -> Result:
        """Go on with a run that the coordinator keeps; give its result.

        A run that goes on is waited for. One that failed or was cancelled goes on from its last
        finished stage. One that has finished gives its rows, unless they were fetched before.

        Args:
            run_id: the run's id, as `last_run.id` or `umbel runs list` tells it.
            durable: where a run of this process is kept; None for one of the coordinator.
            cancellation: lets another thread stop the run.

        Raises:
            UnknownNameError: there is no such run of yours.
            PlanError: its rows were fetched before.
        """
        if durable is not None and durable is not False:
            return super().resume(run_id, durable=durable, cancellation=cancellation)
        with self._asking(cancellation) as cancellation:
            result = RemoteCall(self, None, cancellation, self.listener).resume(run_id)
        self.last_run = result.run
        return result

    @contextmanager
    def _asking(
        self, cancellation: Cancellation | None, plan: Operator | None = None
    ) -> Iterator[Cancellation]:
        """Let `cancel` and Ctrl-C stop what is asked; errors name the lines of the script."""
        lines = Lines(plan)
        # An engine that this process used may have taken the signal for itself.
        with self._cancelled_with(cancellation) as cancellation, Interrupts():
            try:
                yield cancellation
            except KeyboardInterrupt:
                cancellation.cancel()
                raise CancelledError("the run was cancelled by an interrupt") from None
            except UmbelError as error:
                raise lines.restored(error) from None

    def _check_durable(self, plan: Operator, durable: Durable) -> None:
        """Raise if a run is to be kept here of which a part runs at the coordinator.

        What the coordinator does of it, it keeps without being asked.
        """
        durable = self.durable if durable is None else durable
        if durable is None or durable is False:
            return
        parts = self._cut(lifted(plan))
        if not stands_for(parts.here, parts) or not isinstance(durable, bool):
            raise PlanError(
                "the coordinator keeps what it runs; what is done here with its answers is not kept",
                hint="leave out durable; session.resume(id) gets the coordinator's answer again",
            )

    def serve(self, *, token: str | None = None, **options: Any) -> Door:
        """Let others' tools ask the federation in SQL; see `Session.serve`.

        They ask as the user of this session, and for its purpose: so they must show a token.

        Args:
            token: a reference to what callers must show: "env:NAME" or "file:/path".
            options: the others of `Session.serve`.

        Raises:
            PlanError: there is no token.
        """
        if token is None:
            raise PlanError(
                f"whoever reaches this door would ask the federation {self.federation!r} as "
                f"{self.user}",
                hint="give it a token that callers must show, by reference: env:NAME or file:/path",
            )
        return super().serve(token=token, **options)

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

    def asks(self, plan: Operator) -> bool:
        """Whether the coordinator is asked for any part of a plan."""
        return is_remote(plan, self._is_remote)

    def _is_remote(self, name: str) -> bool:
        return name == HORIZONTAL or self._tables().is_remote(name)

    def _cut(self, plan: Operator) -> Cut:
        return cut(plan, self._is_remote, lambda name: name in self._remote_platforms)

    def run_here(self, plan: Operator, **options: Any) -> Result:
        return super().run(plan, **options)

    def tables_of(self, asked: Asked) -> dict[str, pa.Table]:
        """Give what a question needs of this process, by the tokens under which it is read."""
        found = {}
        for token, part in asked.sent.items():
            table = own_table(part)
            if table is None:
                table = self.run_here(as_relation(part)).data.cast(part.schema)
            found[token] = table
        return found

    def body_of(
        self,
        asked: Asked,
        tables: Mapping[str, pa.Table],
        budget: Budget | None,
        plan: str = "",
    ) -> dict[str, Any]:
        """Send what a question needs, and give the body that asks it.

        Args:
            asked: the question.
            tables: what it needs of this process.
            budget: bounds on it.
            plan: its plan as text, if that is known.
        """
        body: dict[str, Any] = {
            "plan": plan or plan_to_json(asked.plan),
            "uploads": {token: self._upload(table) for token, table in tables.items()},
            "purpose": self.purpose,
            "missing": self.on_missing_site,
        }
        if budget is not None:
            body["budget"] = {"seconds": budget.seconds, "dollars": budget.dollars}
        return body

    def signed(self, asked: Asked, name: str) -> tuple[str, dict[str, Any]]:
        """Give a question's plan as text, and the part of a body that says who has signed it.

        Args:
            asked: the question.
            name: of the run, for which alone the signature holds.
        """
        plan = plan_to_json(asked.plan)
        if self.signer is None:
            return plan, {}
        return plan, {
            "signed": signature_of(self.signer.sign(self.user, self.purpose, name, [plan]))
        }

    def ask_sites(self, plans: Mapping[str, Operator], patience: Rounds) -> Answers | None:
        """Have the coordinator ask each site for what lies wholly there, without a plan.

        Args:
            plans: what to ask, by any name.
            patience: how long to wait, and for how many.
        """
        from umbel.federation.client.asking_sites import ask_sites

        return ask_sites(self, plans, patience)

    def stand(self, plans: Mapping[str, Operator]) -> RemoteQuestions | None:
        """Have sites take questions that are asked in rounds; None if some cannot.

        Args:
            plans: what to ask, by any name.
        """
        from umbel.federation.client.standing import RemoteQuestions

        return RemoteQuestions.opened(self, plans)

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


def connect_to(
    url: str,
    *,
    token: str | Secret | None = None,
    ca: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    purpose: str = "",
    on_missing_site: str = "fail",
    patience: float = PATIENCE,
    kind: type[RemoteSession] | None = None,
    **options: Any,
) -> RemoteSession:
    """Begin a session with a coordinator.

    Args:
        url: "https://host:port".
        token: the word that an operator gave you, or where it is: "env:NAME" or "file:/path";
            None takes the variable UMBEL_TOKEN, or the login that `umbel login` has kept.
        ca: a file with the federation's root certificate; None trusts the token's fingerprint.
        key: the file with the key by which sites know you; None takes the variable UMBEL_KEY.
            Without one nothing is signed.
        purpose: what answers are for.
        on_missing_site: what runs do about a site that is away: "wait", "fail" or "skip".
        patience: seconds for which the coordinator may be away while a run waits for it.
        kind: of session; None for the usual one.
        options: those of a session that stays here.

    Raises:
        IdentityError: the token is none, or not known, or the login has ended, or the coordinator
            is another.
        CoordinatorError: the coordinator cannot be reached, or is of another version.
    """
    path = key or os.environ.get("UMBEL_KEY")
    signer = None if not path else Signer.read(Path(path))
    connection = None
    if token is None and not os.environ.get("UMBEL_TOKEN"):
        connection = Connection.logged_in(url)
        if connection is None:
            raise IdentityError(
                f"nobody is known here to {url}",
                hint=f"umbel login {url}, or give a token: token='env:NAME'",
            )
    if connection is None:
        connection = Connection.open(url, "env:UMBEL_TOKEN" if token is None else token, ca)
    try:
        return (kind or RemoteSession)(
            connection,
            signer=signer,
            purpose=purpose,
            on_missing_site=on_missing_site,
            patience=patience,
            **options,
        )
    except BaseException:
        connection.close()
        raise


__all__ = ["RemoteSession", "connect_to"]
