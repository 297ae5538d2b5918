"""Session: where data comes from, and what runs the plans."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.api.dataframe import DataFrame
from umbel.api.dataset import Dataset
from umbel.api.handle import check_budget
from umbel.api.located import here, located, located_methods
from umbel.api.reading import Reading
from umbel.plan.errors import PlanError
from umbel.plan.operators import Element, Operator, Scan, trains
from umbel.plan.sources import Source
from umbel.platforms.base import Elsewhere

if TYPE_CHECKING:
    from umbel.api.catalog import Catalog, TableName
    from umbel.api.durable import Keeping
    from umbel.api.sql import Readings
    from umbel.catalog.address import Secret
    from umbel.door.server import Door
    from umbel.executor import Cancellation, Listener, Result, Run
    from umbel.executor.measurements import Facts, Measurements
    from umbel.executor.preparations import Preparations
    from umbel.executor.runs import RunStore
    from umbel.federation.client import RemoteSession
    from umbel.learning.registry import Registry as Models
    from umbel.optimizer import Budget, Explanation
    from umbel.platforms.costs import Price
    from umbel.platforms.registry import Registry

#: The variable that names a configuration, and the file that is read if it names none.
CONFIG, CONFIG_FILE = "UMBEL_CONFIG", "umbel.toml"

#: Whether runs are kept, and where: the usual place, a folder, a database's URL, an open store.
Durable: TypeAlias = "bool | str | os.PathLike[str] | RunStore | Keeping | None"


@located_methods
class Session(Reading):
    """Makes DataFrames and Datasets from sources, and runs them.

    Attributes:
        budget: bounds every run's estimated seconds and dollars; None for no bound.
        progress: show a line for each stage of a run; None does so in a terminal only.
        memory_limit: bytes that a stage of a run may use before it spills to the disk; None takes
            a part of the machine's memory.
        memory_budget: bytes that this process may hold while a run is under way; beyond them the
            run is stopped. None takes four fifths of the machine's memory.
        listener: told of every event of a run (`umbel.executor.events`); None for nobody.
        profile: have engines measure also what costs a few percent of the time, such as the rows
            inside of an SQL statement.
        durable: where runs are kept, so that another process can go on with them after this one
            died: True for the usual place, a folder, or the URL of a database; None or False keeps
            none. `docs/how-to/resume-runs.md` says more.
        last_run: the record of the last run; None before the first.
        registered: the frames that SQL knows by name; `register` adds one.
    """

    def __init__(
        self,
        *,
        budget: Budget | None = None,
        progress: bool | None = None,
        memory_limit: int | None = None,
        memory_budget: int | None = None,
        listener: Listener | None = None,
        profile: bool = False,
        platforms: Registry | None = None,
        prices: Mapping[str, Price] | None = None,
        durable: Durable = None,
    ) -> None:
        check_budget(budget)
        self.budget = budget
        self._prices = dict(prices or {})
        self.progress = progress
        self.memory_limit = memory_limit
        self.memory_budget = memory_budget
        self.listener = listener
        self.profile = profile
        self.durable = durable
        self.last_run: Run | None = None
        self._platforms = platforms
        self._catalog: Catalog | None = None
        self.registered: dict[str, DataFrame] = {}
        self._running: set[Cancellation] = set()
        self._measurements: Measurements | None = None
        self._preparations: Preparations | None = None
        self._readings: Readings | None = None

    def platforms(self) -> Registry:
        """The platforms that can run something here, and those that are missing.

        >>> import umbel as ub
        >>> "python" in ub.connect().platforms()
        True
        """
        if self._platforms is None:
            from umbel.platforms.registry import Registry

            self._platforms = Registry.discover()
        while self._prices:  # only now, so that a session is made without looking for engines
            name = next(iter(self._prices))
            self._platforms.set_price(name, self._prices.pop(name))
        return self._platforms

    @property
    def catalog(self) -> Catalog:
        """What is attached to this session: databases, lakehouses and folders, with their tables.

        >>> import umbel as ub
        >>> len(ub.connect().catalog)
        0
        """
        if self._catalog is None:
            from umbel.api.catalog import Catalog

            self._catalog = Catalog(self.platforms())
        return self._catalog

    @property
    def models(self) -> Models:
        """The models that are kept, in the folder of UMBEL_MODELS or the user's own.

        They run in this session when they are taken out: `session.models.load("risk")`. It needs
        the extra `learn`.
        """
        from umbel.learning.registry import Registry as Models

        return Models(session=self)

    def configure(self, path: str | os.PathLike[str] | None = None) -> None:
        """Attach what a TOML file names; see `connect`.

        Raises:
            SourceError: the file cannot be read, or is no TOML.
            PlanError: an entry is wrong; names the line and the key, and what exists.
        """
        if path is None and CONFIG not in os.environ and not os.path.exists(CONFIG_FILE):  # noqa: PTH110
            return  # by far the most often, and the module has more imports
        from umbel.api.config import find_config, read_config

        found = find_config(path)
        if found is not None:
            read_config(found).attach_to(self)

    def divided(self, plan: Operator) -> Operator:
        """The same rows, where a table that lies in several places is the union of its parts."""
        return plan

    def sites_of(self, plan: Operator) -> frozenset[str]:
        """The sites that a plan reads tables of; what lies on this machine is of none."""
        sites = {p.name for p in self.platforms() if isinstance(p, Elsewhere)}
        return plan.places & sites

    def run(
        self,
        plan: Operator,
        budget: Budget | None = None,
        *,
        cancellation: Cancellation | None = None,
        deliver: Callable[[pa.Table], None] | None = None,
        durable: Durable = None,
        listener: Listener | None = None,
    ) -> Result:
        """Run a plan; give its data and the record of the run.

        Args:
            plan: what to run.
            budget: bounds on this run; None for those of the session.
            cancellation: lets another thread stop this run alone.
            deliver: takes the rows of a relational plan in pieces while it runs; the result then
                holds none.
            durable: keep the run, so that another process can go on with it; see `Session.durable`.
                None for what the session says.
            listener: told of every event of this run; None for the session's.
        """
        from umbel.executor import run

        durable = self.durable if durable is None else durable
        with self._cancelled_with(cancellation) as cancellation:
            plan = self._with_models(plan, cancellation)
            facts = self.facts(plan)
            options: dict[str, Any] = {
                "platforms": self.platforms(),
                "budget": budget or self.budget,
                "cancellation": cancellation,
                "deliver": deliver,
                **self._options(),
            }
            if listener is not None:
                options["listener"] = listener
            if durable is None or durable is False:
                preparing = self._prepared().over(facts)
                result = run(plan, measured=facts.rows, preparing=preparing, **options)
            else:
                from umbel.api.durable import run_durable

                result = run_durable(self, plan, durable, **options)
        self.last_run = result.run
        self._measured().remember(result.run, facts)
        return result

    def resume(
        self,
        run_id: str,
        *,
        durable: Durable = None,
        cancellation: Cancellation | None = None,
    ) -> Result:
        """Go on with a durable run where it stopped; give its result.

        What has finished is taken over; a run that has finished gives its result again. Whatever
        the plan reads and writes must be attached to this session as it was to the other.

        Args:
            run_id: the run's id, as `last_run.id` or `umbel runs list` tells it.
            durable: where the run is kept; None for what the session says, or the usual place.
            cancellation: lets another thread stop the run.

        Raises:
            UnknownNameError: there is no such run.
            RunError: another process runs it, or what it has read is not what it was.
        """
        from umbel.api.durable import resume

        with self._cancelled_with(cancellation) as cancellation:
            result = resume(
                self,
                run_id,
                self.durable if durable is None else durable,
                cancellation=cancellation,
                **self._options(),
            )
        self.last_run = result.run
        return result

    def _options(self) -> dict[str, Any]:
        """How each run goes."""
        return {
            "progress": self.progress,
            "memory_limit": self.memory_limit,
            "memory_budget": self.memory_budget,
            "listener": self.listener,
            "profile": self.profile,
        }

    def _with_models(self, plan: Operator, cancellation: Cancellation) -> Operator:
        """Train the models of a plan, and give the plan that applies them."""
        if not trains(plan):
            return plan
        from umbel.learning.lowering import trained

        return trained(plan, self, cancellation)

    @contextmanager
    def _cancelled_with(self, cancellation: Cancellation | None) -> Iterator[Cancellation]:
        """Let `cancel` stop what runs inside the block."""
        from umbel.executor import Cancellation

        cancellation = cancellation or Cancellation()
        self._running.add(cancellation)
        try:
            yield cancellation
        finally:
            self._running.discard(cancellation)

    def missing(self, name: str) -> PlanError | None:
        """Say why a table that somebody may expect under a name of one part cannot be had."""
        return None

    def explain(self, plan: Operator, budget: Budget | None = None) -> Explanation:
        """Say how a plan would run, what it is estimated to cost, and what lost against it.

        Args:
            plan: what to explain; none of it runs.
            budget: bounds on the estimates; None for those of the session.
        """
        from umbel.optimizer import explain

        if trains(plan):
            from umbel.learning.explaining import explained

            return explained(plan, self, lambda rest: self.explain(rest, budget))  # type: ignore[return-value]
        measured = self.facts(plan).rows
        budget = budget or self.budget
        return explain(plan, self.platforms(), budget=budget, measured=measured)

    def platform_name(self, name: str) -> str:
        """Give a platform's name back if a frame can be pinned to it, as `on` does.

        Raises:
            UnknownNameError: there is no such platform.
            PlacementError: its engine is not installed.
        """
        return self.platforms()[name].name

    def facts(self, plan: Operator) -> Facts:
        """Rows that earlier runs of this session counted, if the plan's sources are unchanged."""
        return self._measured().facts(plan)

    def _measured(self) -> Measurements:
        if self._measurements is None:
            from umbel.executor.measurements import Measurements

            self._measurements = Measurements()
        return self._measurements

    def _prepared(self) -> Preparations:
        if self._preparations is None:
            from umbel.executor.preparations import Preparations

            self._preparations = Preparations()
        return self._preparations

    def cancel(self) -> None:
        """Stop what this session is running, from another thread; the runs raise `CancelledError`.

        In the thread that runs, Ctrl-C does the same.
        """
        for cancellation in list(self._running):
            cancellation.cancel()

    # --- data of this process -----------------------------------------------------------------

    def from_plan(self, plan: Operator) -> DataFrame | Dataset:
        """A handle on a plan, such as `ub.plan_from_json` reads."""
        kind = DataFrame if plan.element is Element.ROW else Dataset
        return kind(plan, self)

    # --- attached databases and lakehouses ------------------------------------------------------

    def policy_of(self, plan: Operator) -> str:
        """Say what of a plan's tables may leave their sites, in plain words."""
        return "no table of it lies at a site of others"

    def table(self, name: TableName, **options: Any) -> DataFrame:
        """A DataFrame of a table of what is attached to the session.

        Args:
            name: such as "warehouse.orders" or "warehouse.public.orders"; parts with odd
                characters stand in double quotes, or give the parts as a list.
            options: what the kind of namespace offers, such as a version.

        Raises:
            UnknownNameError: there is no such table; says which there are.
            SourceError: the database or store cannot be reached, or does not let us in.
        """
        return self._frame(self.catalog.source(name, **options))

    def query(self, name: str, text: str, **options: Any) -> DataFrame:
        """A DataFrame of your own query, which an attached database runs as it is written.

        Args:
            name: what the database is attached as.
            text: one statement in its own dialect, that gives rows.
            options: what the kind of namespace offers.
        """
        return self._frame(self.catalog.query(name, text, **options))

    # --- SQL ----------------------------------------------------------------------------------

    def register(self, name: str, frame: DataFrame | Any) -> None:
        """Give a frame a name that SQL knows in this session; a name that is taken is replaced.

        Args:
            name: one part; it may hold any characters, odd ones stand in quotes in SQL.
            frame: a DataFrame, or whatever `from_arrow` takes.

        >>> import umbel as ub
        >>> session = ub.connect()
        >>> session.register("t", session.from_dict({"a": [1, 2, 3]}))
        >>> session.sql("select sum(a) as total from t").collect().to_pydict()
        {'total': [6]}
        """
        from umbel.api.sql import check_registered

        if isinstance(frame, Dataset):
            check_registered(name, frame.plan)
        made = frame if isinstance(frame, DataFrame) else self.from_arrow(frame)
        check_registered(name, made.plan)
        self.registered[name] = made

    def sql(
        self, text: str, *, dialect: str = "duckdb", parameters: Sequence[Any] = ()
    ) -> DataFrame:
        """A DataFrame of what an SQL statement gives; nothing runs before it is collected.

        Args:
            text: a query; or `COPY (query) TO 'file'`, `CREATE TABLE ... AS` or `INSERT INTO`,
                which write when the frame is collected, and give what was written.
            dialect: in which the text is written: "duckdb", "postgres" or another of sqlglot's.
            parameters: values for each `?` of the text in order, or for `$1`, `$2`; they become
                constants of the plan and never text.

        Raises:
            SqlError: the text has no meaning; says where and what to do.

        >>> import umbel as ub
        >>> ub.connect().sql("select ? || '!' as said", parameters=["it's"]).collect().to_pydict()
        {'said': ["it's!"]}
        """
        from umbel.api.sql import Readings, SessionTables
        from umbel.api.values import literal

        if self._readings is None:
            self._readings = Readings()
        values = [literal(value) for value in parameters]
        plan = self._readings.read(text, SessionTables(self), dialect, here(), values)
        return DataFrame(plan, self)

    def serve(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 31337,
        token: str | None = None,
        certificate: str | os.PathLike[str] | None = None,
        key: str | os.PathLike[str] | None = None,
        allow_writes: bool = False,
        allow_files: bool = False,
        statements: int = 8,
        timeout: float | None = 3600.0,
        dialect: str = "duckdb",
    ) -> Door:
        """Let others' tools ask this session in SQL, by Arrow Flight SQL, while this process lives.

        Args:
            host: where to listen; other addresses than this machine's own need a certificate and
                a token.
            port: where to listen; 0 takes a free one.
            token: a reference to what callers must show: "env:NAME" or "file:/path".
            certificate: a file in PEM form, for TLS.
            key: the certificate's key, likewise.
            allow_writes: let CREATE TABLE AS, INSERT and COPY in.
            allow_files: let statements name files of this machine and of the web.
            statements: how many may run at the same time; others wait.
            timeout: seconds that a statement may take; None for no bound.
            dialect: in which statements are written.

        Returns:
            The door, which listens already; it has `url` and `close()`, and works in `with`.

        Raises:
            PlanError: the door would be open to strangers.
            SourceError: the port is taken.
        """
        from umbel.catalog.address import Secret

        try:
            from umbel.api.serving import serve
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("google"):
                raise
            raise PlanError(
                "serving SQL needs protobuf", hint="pip install 'umbel[serve]'"
            ) from None
        from umbel.door.backend import Settings

        settings = Settings(
            host=host,
            port=port,
            token=None if token is None else Secret.of("token", token),
            certificate=None if certificate is None else os.fspath(certificate),
            key=None if key is None else os.fspath(key),
            allow_writes=allow_writes,
            allow_files=allow_files,
            statements=statements,
            timeout=timeout,
        )
        return serve(self, settings, dialect)

    def _frame(self, source: Source) -> DataFrame:
        return DataFrame(Scan(source=source, origin=here()), self)

    def _dataset(self, source: Source) -> Dataset:
        return Dataset(Scan(source=source, origin=here()), self)

    def __repr__(self) -> str:
        return "Session of embedded umbel"


@located
def connect(
    url: str | None = None,
    *,
    token: str | Secret | None = None,
    ca: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    purpose: str = "",
    on_missing_site: str = "fail",
    patience: float = 120.0,
    config: str | os.PathLike[str] | None = None,
    budget: Budget | None = None,
    progress: bool | None = None,
    memory_limit: int | None = None,
    memory_budget: int | None = None,
    listener: Listener | None = None,
    profile: bool = False,
    prices: Mapping[str, Price] | None = None,
    durable: Durable = None,
) -> Session:
    """Begin a session: embedded, with the engines that are installed here, or over a federation.

    Args:
        url: a coordinator, as "https://host:port"; None for an embedded session.
        token: what the coordinator knows you by: the word, or where it is ("env:NAME" or
            "file:/path"); None takes the variable UMBEL_TOKEN, or the login that `umbel login`
            has kept.
        ca: a file with the federation's root certificate; None trusts the fingerprint that
            stands in the token.
        key: the file with the key by which sites of a federation know you, and with which all that
            you ask is signed; None takes the variable UMBEL_KEY, if there is one.
        purpose: what answers of a federation are for, in your words; sites may go by it.
        on_missing_site: what runs do about a site that is away: "wait" for it, "fail", or "skip"
            it.
        patience: seconds for which a coordinator may be away while a run waits for its answer.
        config: a TOML file that names what is attached; None reads the one that the variable
            UMBEL_CONFIG names, or umbel.toml in the working folder, if there is one.
        budget: bounds every run's estimated seconds and dollars.
        progress: show a line for each stage of a run; None does so in a terminal only.
        memory_limit: bytes that a stage of a run may use before it spills to the disk; None takes
            a part of the machine's memory.
        memory_budget: bytes that this process may hold while a run is under way; beyond them the
            run is stopped. None takes four fifths of the machine's memory.
        listener: told of every event of a run.
        profile: have engines measure also what costs a few percent of the time, such as the rows
            inside of an SQL statement.
        prices: what platforms cost, by name; the engines of this machine cost nothing otherwise.
        durable: keep every run, so that another process can go on with it; True for the usual
            place, a folder, or the URL of a database.
    """
    options: dict[str, Any] = {
        "budget": budget,
        "progress": progress,
        "memory_limit": memory_limit,
        "memory_budget": memory_budget,
        "listener": listener,
        "profile": profile,
        "prices": prices,
        "durable": durable,
    }
    session: Session
    if url is None:
        if token is not None or ca is not None or key is not None or purpose:
            raise PlanError(
                "token, ca, key and purpose are for a coordinator",
                hint="umbel.connect('https://umbel.example.org:8443', token='env:UMBEL_TOKEN')",
            )
        session = session_class(**options)
    else:
        try:
            from umbel.federation.client import connect_to
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("umbel"):
                raise
            raise PlanError(
                f"a federation needs {error.name}", hint="pip install 'umbel[federation]'"
            ) from None
        session = connect_to(
            url,
            token=token,
            ca=ca,
            key=key,
            purpose=purpose,
            on_missing_site=on_missing_site,
            patience=patience,
            kind=None if remote_class is None else remote_class(),
            **options,
        )
    session.configure(config)
    return session


#: What `connect` makes. The command line puts a class of its own here, to explain and bound runs.
session_class: type[Session] = Session
#: Gives what `connect` makes for a coordinator; None for the usual class.
remote_class: Callable[[], type[RemoteSession]] | None = None
