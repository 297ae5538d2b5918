"""What the optimizer and the executor ask of a platform, and what they hand to it.

A platform is one configured instance of an engine. It says which operators it can run, in which
channels it takes and gives data, and what that costs; it compiles a whole stage at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from umbel.catalog.address import Address
from umbel.catalog.commits import Commit
from umbel.catalog.namespace import Namespace
from umbel.catalog.statistics import Interval, TableStatistics
from umbel.dataclass import dataclass
from umbel.plan.errors import UmbelError
from umbel.plan.operators import (
    Element,
    Filter,
    Limit,
    Operator,
    Placeholder,
    Project,
    Rows,
    ToFrame,
    topological,
)
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import AttachedSource
from umbel.platforms.costs import CostProfile, Linear

#: Channels that several engines share. A channel is named by a string; its data is:
#: "arrow": a `pyarrow.Table` with the columns and canonical types of the operator's schema;
#: "python": a collection (has `__iter__` and `__len__`, can be iterated again) of elements, whose
#: form is the operator's `element`. Rows of `Element.ROW` are plain tuples in this channel;
#: "sealed": what stands for rows that a site gives and only other sites can read (has `__len__`
#: and `nbytes`). There are no conversions of it.
ARROW = "arrow"
PYTHON = "python"
SEALED = "sealed"


class RunContext(Protocol):
    """What a running stage may ask of the executor."""

    @property
    def scratch(self) -> Path:
        """A folder for temporary files; removed after the run."""

    @property
    def memory_limit(self) -> int:
        """Bytes that one stage should keep in memory before it spills."""

    @property
    def profile(self) -> bool:
        """Whether to measure what costs some time to measure, such as rows inside a statement."""

    @property
    def run_id(self) -> str:
        """Names the run; a durable run keeps its name when it is resumed."""

    @property
    def commit(self) -> Commit | None:
        """The token to write the stage's sink with; None unless a durable run writes one."""

    def check_cancelled(self) -> None:
        """Raise `CancelledError` if the run was cancelled. Call it between batches."""

    def on_cancel(self, interrupt: Callable[[], None]) -> None:
        """Register what stops the engine from another thread; called at most once."""

    def measure(self, operator: Operator, rows: int, seconds: float | None = None) -> None:
        """Report how many rows an operator gave, and how long it took if known."""

    def progress(self, operator: Operator, rows: int) -> None:
        """Tell how many rows an operator gave so far; cheap enough for every batch."""


@runtime_checkable
class TellsWaiting(Protocol):
    """A context that tells whoever watches the run that a stage waits for a person."""

    def waits(self, why: str) -> None:
        """Tell it, once for each time that the stage begins to wait."""


@dataclass(frozen=True)
class Stage:
    """A maximal part of a plan with one placement.

    Attributes:
        root: the operator whose output the stage gives; leaves are scans and placeholders.
        inputs: for each placeholder's label the channel in which its data comes.
        output: the channel in which the stage gives its output.
        number: counts the stages of a plan.
        readers: names of the platforms whose stages read the output.
    """

    root: Operator
    inputs: Mapping[str, str] = field(default_factory=dict)
    output: str = ARROW
    number: int = 0
    readers: tuple[str, ...] = ()

    @property
    def keeps_order(self) -> bool:
        """Whether the order counts in which another stage, which may have sorted, gave its rows.

        It does where they come out in it, and where a limit takes the first of them.
        """
        limits = (op for op in topological(self.root) if isinstance(op, Limit))
        return any(isinstance(order_of(op), Placeholder) for op in (self.root, *limits))


#: Operators that give their input's rows in its order.
_IN_ORDER = (Project, Filter, Limit, Rows, ToFrame)


def order_of(operator: Operator) -> Operator:
    """Find what gives an operator's rows their order, if anything does: a sort, or another stage.

    >>> import pyarrow as pa
    >>> from umbel.plan.operators import Limit, Placeholder
    >>> rows = Placeholder(label="rows", columns=pa.schema([("a", pa.int64())]))
    >>> order_of(Limit(input=rows, count=1)) is rows
    True
    """
    while isinstance(operator, _IN_ORDER):
        (operator,) = operator.inputs
    return operator


class CompiledStage(Protocol):
    """A stage in an engine's own terms."""

    @property
    def text(self) -> str:
        """The SQL statement, query plan or the like, for people to read."""

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> Any:
        """Run it; give the output in the stage's output channel.

        Args:
            inputs: data by placeholder label, each in the channel that the stage names.
            context: the run's services.

        Raises:
            Exception: whatever the engine raises; the executor adds which operators, line,
                engine and site it concerns.
        """


@runtime_checkable
class Streams(Protocol):
    """A compiled stage that can give the rows of its channel `arrow` a piece at a time."""

    def stream(
        self, inputs: Mapping[str, Any], context: RunContext, deliver: Callable[[pa.Table], None]
    ) -> int:
        """Run it; hand over the output while it is computed, so that it is never whole here.

        Args:
            inputs: data by placeholder label, each in the channel that the stage names.
            context: the run's services.
            deliver: takes the next rows, in the schema of the stage's root and in its order;
                raises to stop the run. It may wait for whoever reads.

        Returns:
            How many rows there were.
        """


@runtime_checkable
class Noted(Protocol):
    """A compiled stage that has something to say of its runs, for people to read."""

    @property
    def notes(self) -> Sequence[str]:
        """What there is to say, each thing once."""


@dataclass(frozen=True)
class Conversion:
    """An edge of the channel graph.

    Attributes:
        source, target: channel names.
        cost: seconds, over the rows and bytes that cross.
        convert: data of `source` to data of `target`, given the schema and form of element.
    """

    source: str
    target: str
    cost: Linear
    convert: Callable[[Any, pa.Schema, Element], Any]


class Platform(Protocol):
    """One configured instance of an engine."""

    @property
    def name(self) -> str:
        """Unique in a session; what `.on(...)` names."""

    @property
    def engine(self) -> str:
        """The engine's name; several platforms may share it."""

    @property
    def version(self) -> str:
        """The engine's version, without importing it if that can be helped."""

    @property
    def costs(self) -> CostProfile:
        """The cost profile."""

    @property
    def reads(self) -> Sequence[str]:
        """Channels that a stage can take as input, the cheapest first."""

    @property
    def writes(self) -> Sequence[str]:
        """Channels in which a stage can give its output, the cheapest first."""

    @property
    def conversions(self) -> Sequence[Conversion]:
        """Edges of the channel graph that this platform brings."""

    def refuse(self, operator: Operator) -> str | None:
        """Say why the platform cannot run an operator over its inputs; None if it can.

        Must be cheap, must not import the engine, and must not let pass what `compile` or the
        engine then rejects for want of a feature.
        """

    def started(self) -> bool:
        """Whether the engine is up in this process, so that it costs nothing to start."""

    def compile(self, stage: Stage) -> CompiledStage:
        """Translate a stage whose operators were all let pass by `refuse`."""


@runtime_checkable
class EvaluatesAsWritten(Protocol):
    """A platform whose stages evaluate each operator for the rows that reach it, no more or less.

    The stages of all others are cut so that it makes no difference; see
    `umbel.optimizer.completion`. A platform says so by having the attribute.
    """

    evaluates_as_written: bool


@runtime_checkable
class Elsewhere(Protocol):
    """A platform at another site: its owner decides what leaves, and a link leads there.

    Its stages wait for the site and take nothing of this machine meanwhile.
    """

    @property
    def site(self) -> str:
        """The site's name."""

    @property
    def dollars_per_gb(self) -> float:
        """What 10⁹ bytes cost that leave it."""

    @property
    def routes(self) -> Collection[str]:
        """The sites to which it brings straight what is sealed to them."""

    def withheld(self, operator: Operator) -> UmbelError | None:
        """Say why an operator's output may not leave the site; None if it may.

        Args:
            operator: a plan over the site's tables, and over others, which came out of there.
        """

    def barred(self, operator: Operator, site: str) -> UmbelError | None:
        """Say why an operator's output, which may leave, may not go to another site.

        Args:
            operator: as for `withheld`.
            site: the other site's name.
        """

    def released(self, operator: Operator) -> str:
        """Say in which form an operator's output leaves, for people."""

    def residents(self, operator: Operator) -> frozenset[str]:
        """Name the columns of an operator's output by whose values no other site has any rows."""


@runtime_checkable
class TableStore(Namespace, Protocol):
    """A platform that holds tables of its own, as a database does.

    It scans the `AttachedSource`s of its name, and runs a `Write` to a `RelationSink` of its name
    as it runs other operators: its stage gives one row with the table's name and the rows written.
    """

    def statistics(self, source: AttachedSource) -> TableStatistics:
        """Say what is known of a source without reading it. Asked whenever a plan is made."""

    def check_sink(self, sink: RelationSink, schema: pa.Schema) -> None:
        """Raise if rows cannot be written there; asked before anything runs.

        Raises:
            RunError: the table exists though it must not, or takes no such rows.
        """


@runtime_checkable
class TellsVersions(Protocol):
    """A table store that can tell whether its tables may have changed."""

    def version_of(self, source: AttachedSource) -> str | None:
        """Name the state that a source is in; None if that cannot be told."""


@runtime_checkable
class CommitsOnce(TableStore, Protocol):
    """A table store that tells whether it holds what a durable run wrote.

    Its stage puts the token of `RunContext.commit` where the rows are, in one transaction with
    them. Durable runs write to no other stores.
    """

    def refuse_once(self, sink: RelationSink) -> str | None:
        """Say why it cannot be told whether a sink was written; None if it can."""

    def committed(self, sink: RelationSink, token: str) -> int | None:
        """Give the rows that were written with a token; None if none were."""

    def forget_commit(self, sink: RelationSink, token: str) -> None:
        """Drop a token that nobody will ask for any more."""


@runtime_checkable
class Estimates(Protocol):
    """A platform whose engine estimates results better than the optimizer can from outside."""

    def estimate(self, operator: Operator) -> Interval | None:
        """Reckon the rows of an operator whose whole input lies in the platform; None if unsure.

        Asked while a plan is made, so it starts no engine, takes some tenths of a second at most,
        and raises an `UmbelError` rather than wait longer.
        """


@dataclass(frozen=True)
class Engine:
    """What an entry point names, if the engine can be attached by URL.

    (An entry point may also name just a function that makes the engine's platform.)

    Attributes:
        make: makes the platform that every session has, given its name; None if there is none.
        schemes: the URL schemes that the engine takes.
        attach: makes a platform of a name at an address.
        check: raises `MissingEngineError` if the engine is not installed.
        signature: a place in a file and the bytes there by which the engine's files, whose URLs
            have the first scheme, are known; None if it has no files.
        limits: says what of an installed engine cannot be used here, and why; None if all can.
    """

    make: Callable[[str], Platform] | None = None
    schemes: Sequence[str] = ()
    attach: Callable[[str, Address], Platform] | None = None
    check: Callable[[], None] = lambda: None
    signature: tuple[int, bytes] | None = None
    limits: Callable[[], str | None] = lambda: None


class MissingEngineError(Exception):
    """An engine that is known but not installed; the message says how to install it."""
