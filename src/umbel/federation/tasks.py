"""Tasks: what a coordinator asks of a site, what the site answers, and the two seams between them.

A task is one stage of a run: a plan over tables that the site publishes and over Arrow tables that
come in. It travels as JSON, read back strictly: by closed lists of names, within limits, with its
identity recomputed. Nothing in it is code. A site's answer is rows, delivered beside it, and an
`Outcome`; or a `Failure`, whose text is made here and holds nothing of the site's data.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, field
from typing import Literal, Protocol, TypeAlias

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from umbel.dataclass import dataclass
from umbel.executor.context import Cancellation
from umbel.federation.errors import FederationError
from umbel.federation.failures import Failure, FailureCode
from umbel.federation.identity.names import check_name, readable
from umbel.federation.messages import read_message
from umbel.federation.noise import LONGEST
from umbel.federation.signed.statements import LARGEST_STATEMENT, Signed
from umbel.plan.codec import plan_from_json, plan_to_json
from umbel.plan.errors import PlanError, PlanFormatError
from umbel.plan.limits import Limits as PlanLimits
from umbel.plan.operators import Operator, Placeholder, topological
from umbel.plan.operators.base import table_digest
from umbel.platforms.base import RunContext

#: The version of the format of tasks, outcomes and failures.
VERSION = 1

#: What a site takes as a plan: far more than people write, far less than would keep it busy.
PLAN_LIMITS = PlanLimits(
    text=16 * 2**20, nodes=2_000, depth=200, expressions=50_000, table=4 * 2**20
)
#: Characters of a message about a task that is not its plan.
_LONGEST_TEXT = 100_000
_LONGEST_NOTE = 500
_MOST_INPUTS = 1_000
#: Sites to which one output may go.
_MOST_READERS = 200
#: Characters of what goes with a sealed output; see `umbel.federation.wire.sealing`.
LARGEST_ENVELOPE = 100_000

#: A message as it travels.
_Text: TypeAlias = str | bytes
#: Names that go into file names and tickets.
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks, as the coordinator knows them.

    Attributes:
        name: of the user.
        roles: what the user may do.
        purpose: what the answer is for, in the user's word; empty if not said.
        signed: what the user has signed, for sites that do not take the coordinator's word.
    """

    name: str
    roles: tuple[str, ...] = ()
    purpose: str = ""
    signed: Signed | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may take at most.

    Attributes:
        seconds: elapsed time at the site; None for no bound but the site's own.
        rows: of its output.
        bytes: of its output, in memory.
    """

    seconds: float | None = None
    rows: int = 1_000_000_000
    bytes: int = 2**36


@dataclass(frozen=True, slots=True)
class Input:
    """A table that comes in with a task.

    Attributes:
        label: the placeholder in the plan for which it stands.
        digest: identifies its content, or the envelope that goes with it, for the task's identity.
        site: the site that has sealed it to this one; empty if it comes from the coordinator.
    """

    label: str
    digest: str
    site: str = ""

    @classmethod
    def of(cls, label: str, data: pa.Table | Sealed) -> Input:
        """Describe a table."""
        if isinstance(data, Sealed):
            return cls(label, data.digest, data.site)
        return cls(label, table_digest(data))

    @property
    def identity(self) -> str:
        """Identifies it among the inputs of a task."""
        return f"{self.label}={self.digest}" + (f"@{self.site}" if self.site else "")


@dataclass(frozen=True, eq=False)
class Sealed:
    """Stands for an output that only the sites can read to which it is sealed.

    Attributes:
        task: whose output it is.
        site: who made it.
        to: who can read it.
        rows: how many there are.
        nbytes: of them, in memory at the site that made them.
        envelope: what goes with its segments; empty if it never leaves this process.
        content: the rows, of sites in this process.
        direct: the site has brought it straight to those who read it.
    """

    task: str
    site: str
    to: tuple[str, ...]
    rows: int
    nbytes: int
    envelope: str = ""
    content: pa.Table | None = field(default=None, repr=False)
    direct: bool = False

    def __len__(self) -> int:
        return self.rows

    @property
    def digest(self) -> str:
        """Identifies it, for those who read it."""
        if self.content is not None:
            return table_digest(self.content)
        return envelope_digest(self.envelope)


def envelope_digest(envelope: str) -> str:
    """Identify the envelope of a sealed output."""
    return hashlib.sha256(envelope.encode()).hexdigest()


#: What a task reads, and what it gives: rows, or what stands for them.
Data: TypeAlias = "pa.Table | Sealed"


@dataclass(frozen=True)
class Task:
    """One stage of a run, to be run by a site.

    Attributes:
        run: the run's name.
        stage: the stage's number in it.
        site: who is to run it.
        plan: what to run.
        inputs: the tables that come in, one for each label of a placeholder.
        requester: on whose behalf.
        limits: what it may take.
        to: the sites to which its output is sealed; none: the coordinator gets it as it is.
        stands: it is asked again and again, with other numbers in its plan; see
            `umbel.federation.standing`.

    >>> from umbel.plan.operators import Values
    >>> task = Task("r-1", 0, "north", Values(table=pa.table({"a": [1]})), (), Requester("ann"))
    >>> Task.from_json(task.to_json()) == task
    True
    """

    run: str
    stage: int
    site: str
    plan: Operator
    inputs: tuple[Input, ...]
    requester: Requester
    limits: Limits = field(default_factory=Limits)
    to: tuple[str, ...] = ()
    stands: bool = False

    def __post_init__(self) -> None:
        check_name(self.site)
        _check(_WORD.fullmatch(self.run), "run", self.run)
        _check(0 <= self.stage < 1_000_000, "stage", str(self.stage))
        for given in self.inputs:
            _check(_WORD.fullmatch(given.label), "label of an input", given.label)
            _check(_DIGEST.fullmatch(given.digest), "digest of an input", given.digest)
            if given.site:
                check_name(given.site)
        for reader in self.to:
            check_name(reader)
        ordered = list(self.to) == sorted(set(self.to)) and len(self.to) <= _MOST_READERS
        _check(ordered, "list of sites", ", ".join(self.to))
        labels = [given.label for given in self.inputs]
        wanted = {op.label for op in topological(self.plan) if isinstance(op, Placeholder)}
        if len(set(labels)) != len(labels) or set(labels) != wanted:
            raise FederationError(
                "the inputs of a task are not those of its plan",
                hint=f"given: {sorted(labels)}; in the plan: {sorted(wanted)}",
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its inputs."""
        return tuple(given.label for given in self.inputs)

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows that it gives."""
        return self.plan.schema

    @property
    def id(self) -> str:
        """Identifies the work: the same work, over the same inputs, has the same."""
        parts = [self.run, str(self.stage), self.site, self.plan.digest]
        parts += [given.identity for given in self.inputs]
        parts += [f"to {site}" for site in self.to]
        parts += ["stands"] if self.stands else []
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def to_json(self) -> str:
        """Write it.

        Raises:
            PlanFormatError: the plan is too large.
        """
        return json.dumps(
            {
                "umbel_task": VERSION,
                "id": self.id,
                "run": self.run,
                "stage": self.stage,
                "site": self.site,
                "plan": plan_to_json(self.plan, limits=PLAN_LIMITS),
                "inputs": [
                    {"label": i.label, "digest": i.digest, "site": i.site} for i in self.inputs
                ],
                "requester": {
                    "name": self.requester.name,
                    "roles": list(self.requester.roles),
                    "purpose": self.requester.purpose,
                    # Sites of before know nothing of signatures.
                    **_signed_to_json(self.requester.signed),
                },
                "limits": {
                    "seconds": self.limits.seconds,
                    "rows": self.limits.rows,
                    "bytes": self.limits.bytes,
                },
                "to": list(self.to),
                # Sites of before know nothing of questions that stand.
                **({"stands": True} if self.stands else {}),
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: _Text) -> Task:
        """Read one that `to_json` wrote.

        Raises:
            FederationError: it is none, is too large, or is not what its id says.
        """
        read = read_message(_TaskModel, "task", text, _LONGEST_TEXT + 4 * PLAN_LIMITS.text)
        try:
            plan = plan_from_json(read.plan, limits=PLAN_LIMITS)
        except PlanFormatError as error:
            raise FederationError(f"the plan of a task: {error.message}", hint=error.hint) from None
        except PlanError as error:
            raise FederationError(
                f"the plan of a task means nothing: {error.message}", hint=error.hint
            ) from None
        task = cls(
            read.run,
            read.stage,
            read.site,
            plan,
            tuple(Input(given.label, given.digest, given.site) for given in read.inputs),
            _requester(read.requester),
            Limits(read.limits.seconds, read.limits.rows, read.limits.bytes),
            tuple(read.to),
            read.stands,
        )
        if task.id != read.id:
            raise FederationError("a task is not the one that its id names")
        return task


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a site says of work that it did; the rows travel beside it.

    Attributes:
        rows: how many it delivered.
        bytes: of them, in memory.
        seconds: elapsed time at the site.
        text: what the site's engines ran, for people to read.
        withheld: whether some cells were left out because too few individuals are behind them.
        envelope: what goes with the rows if they are sealed to other sites.
        direct: the site has brought them straight to those sites.
        note: what else there is to say of how it went, for people.
        noise: what noise the rows have, and what they cost; see `umbel.federation.noise`.
    """

    rows: int
    bytes: int
    seconds: float
    text: str = ""
    withheld: bool = False
    envelope: str = ""
    direct: bool = False
    note: str = ""
    noise: str = ""

    def to_json(self) -> str:
        """Write it."""
        return json.dumps(
            {
                "umbel_outcome": VERSION,
                "rows": self.rows,
                "bytes": self.bytes,
                "seconds": self.seconds,
                "text": self.text[:_LONGEST_TEXT],
                "withheld": self.withheld,
                "envelope": self.envelope,
                "direct": self.direct,
                "note": self.note[:_LONGEST_NOTE],
                # Coordinators of before know nothing of noise.
                **({"noise": self.noise} if self.noise else {}),
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: _Text) -> Outcome:
        """Read one that `to_json` wrote.

        Raises:
            FederationError: it is none.
        """
        # A character may take six when it is written: \\u0000.
        most = 6 * (_LONGEST_TEXT + LONGEST) + 2 * LARGEST_ENVELOPE + 1_000
        read = read_message(_OutcomeModel, "outcome", text, most)
        return cls(
            read.rows,
            read.bytes,
            read.seconds,
            readable(read.text),
            read.withheld,
            read.envelope,
            read.direct,
            readable(read.note),
            read.noise,
        )


class Dispatcher(Protocol):
    """The coordinator's side: takes a task to its site and brings the rows back."""

    def run(
        self,
        task: Task,
        inputs: Mapping[str, Data],
        context: RunContext,
        deliver: Callable[[Data], None],
    ) -> Outcome:
        """Have a task run; return when its site has committed.

        Args:
            task: the work.
            inputs: a table for each of the task's labels.
            context: the run's services: cancelling, scratch space.
            deliver: takes the rows, in the task's schema, once they are verified. It may wait. Of
                a task whose output is sealed it takes what stands for that.

        Raises:
            SiteError: the site could not do it, or is away.
            PolicyError: the site's rules do not allow it.
            CancelledError: the run was cancelled.
        """


class Execute(Protocol):
    """The site's side: runs a task on the site's own engines, under the site's own rules."""

    def __call__(
        self,
        task: Task,
        inputs: Mapping[str, pa.Table],
        cancellation: Cancellation,
        deliver: Callable[[pa.Table], None],
    ) -> Outcome:
        """Run a task.

        Args:
            task: the work.
            inputs: a table for each of the task's labels, checked by whoever received them.
            cancellation: stops it.
            deliver: takes the rows that may leave, in the task's schema. It may wait.

        Raises:
            Exception: whatever went wrong; `Failure.of` says what of it may be told outside.
        """


_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class _SignedModel(BaseModel):
    model_config = _STRICT
    statement: str = Field(max_length=LARGEST_STATEMENT)
    key: str = Field(max_length=100)
    signature: str = Field(max_length=200)
    plan: str


class _RequesterModel(BaseModel):
    model_config = _STRICT
    name: str = Field(max_length=200)
    roles: list[str] = Field(max_length=20)
    purpose: str = Field(max_length=500)
    signed: _SignedModel | None = None


class _LimitsModel(BaseModel):
    model_config = _STRICT
    seconds: float | None = Field(gt=0, le=10**7)
    rows: int = Field(ge=0, lt=2**63)
    bytes: int = Field(ge=0, lt=2**63)


class _InputModel(BaseModel):
    model_config = _STRICT
    label: str = Field(max_length=128)
    digest: str = Field(max_length=64)
    site: str = Field(default="", max_length=63)


class _TaskModel(BaseModel):
    model_config = _STRICT
    umbel_task: Literal[1]
    id: str = Field(max_length=64)
    run: str = Field(max_length=128)
    stage: int
    site: str = Field(max_length=63)
    plan: str
    inputs: list[_InputModel] = Field(max_length=_MOST_INPUTS)
    requester: _RequesterModel
    limits: _LimitsModel
    to: list[str] = Field(default=[], max_length=_MOST_READERS)
    stands: bool = False


class _OutcomeModel(BaseModel):
    model_config = _STRICT
    umbel_outcome: Literal[1]
    rows: int = Field(ge=0, lt=2**63)
    bytes: int = Field(ge=0, lt=2**63)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    text: str = Field(max_length=_LONGEST_TEXT)
    withheld: bool
    envelope: str = Field(default="", max_length=LARGEST_ENVELOPE)
    direct: bool = False
    note: str = Field(default="", max_length=_LONGEST_NOTE)
    noise: str = Field(default="", max_length=LONGEST)


def _signed_to_json(signed: Signed | None) -> dict[str, object]:
    return {} if signed is None else {"signed": asdict(signed)}


def _requester(read: _RequesterModel) -> Requester:
    signed = None if read.signed is None else Signed(**read.signed.model_dump())
    return Requester(read.name, tuple(read.roles), read.purpose, signed)


def _check(holds: object, what: str, value: str) -> None:
    if not holds:
        raise FederationError(f"{value[:80]!r} is no {what}")


__all__ = [
    "LARGEST_ENVELOPE",
    "Data",
    "Dispatcher",
    "Execute",
    "Failure",
    "FailureCode",
    "Input",
    "Limits",
    "Outcome",
    "Requester",
    "Sealed",
    "Task",
    "envelope_digest",
]
