"""What happened to a run, as typed events, and the run's state as the fold of them.

The events are all that a store needs to keep; whatever else is said of a run follows from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, field, fields
from typing import Any, ClassVar

from umbel.dataclass import dataclass
from umbel.executor.runs.seals import Seal

#: The states of a run. What is running may also have died; its lease tells.
RUNNING, FINISHED, FAILED, CANCELLED = "running", "finished", "failed", "cancelled"


@dataclass(frozen=True)
class RunEvent:
    """Something happened to a run."""

    kind: ClassVar[str] = ""


@dataclass(frozen=True)
class Begun(RunEvent):
    """A process began or resumed the run; `owner` names it for people."""

    owner: str
    kind: ClassVar[str] = "begun"


@dataclass(frozen=True)
class SourcesSeen(RunEvent):
    """The states of sources that the run goes by, by their keys; null where that is unknown."""

    versions: Mapping[str, str | None]
    kind: ClassVar[str] = "sources"


@dataclass(frozen=True)
class StageKept(RunEvent):
    """A stage finished, and its output is kept.

    Attributes:
        digest: of its work.
        index, platform, operators: the stage in the plan that ran.
        seconds: that it took; `keeping` more to keep its output.
        rows, bytes: of the output; null where unknown.
        file, sha256: the sealed output, in the run's folder; empty for what is not kept because
            running the stage again costs less.
        form: how the rows lie in the file: "arrow", or "values" for Python objects.
        sources: what was read for it, by the keys of the sources.
    """

    digest: str
    index: int
    platform: str
    operators: str
    seconds: float
    keeping: float = 0.0
    rows: int | None = None
    bytes: int | None = None
    file: str = ""
    sha256: str = ""
    form: str = ""
    sources: tuple[str, ...] = ()
    kind: ClassVar[str] = "stage"

    @property
    def seal(self) -> Seal | None:
        """The sealed output, if there is one."""
        if not self.file or self.bytes is None:
            return None
        return Seal(self.file, self.sha256, self.bytes, self.form)


@dataclass(frozen=True)
class WriteIntended(RunEvent):
    """A sink's rows are staged, and are about to be put in place."""

    token: str
    facts: Mapping[str, Any]
    kind: ClassVar[str] = "intended"


@dataclass(frozen=True)
class WriteUndone(RunEvent):
    """What was intended is not put in place."""

    token: str
    kind: ClassVar[str] = "undone"


@dataclass(frozen=True)
class WriteDone(RunEvent):
    """A sink holds the run's rows."""

    token: str
    rows: int
    sink: str = ""
    seconds: float = 0.0
    kind: ClassVar[str] = "written"


@dataclass(frozen=True)
class Finished(RunEvent):
    """The run gave its result.

    Attributes:
        seconds: that the last try took.
        stage: the digest of the stage that gave the result; empty if a sink did.
        element: the form of the result's elements.
    """

    seconds: float
    stage: str = ""
    element: str = "row"
    kind: ClassVar[str] = "finished"


@dataclass(frozen=True)
class Failed(RunEvent):
    """The run failed; it can be resumed."""

    error: str
    hint: str = ""
    kind: ClassVar[str] = "failed"


@dataclass(frozen=True)
class Cancelled(RunEvent):
    """The run was cancelled; it can be resumed."""

    kind: ClassVar[str] = "cancelled"


@dataclass(frozen=True)
class Noted(RunEvent):
    """What whoever hosts the run has to say of a try, in JSON values; the next note replaces it."""

    facts: Mapping[str, Any]
    kind: ClassVar[str] = "noted"


EVENTS: dict[str, type[RunEvent]] = {
    event.kind: event
    for event in (
        Begun,
        SourcesSeen,
        StageKept,
        WriteIntended,
        WriteUndone,
        WriteDone,
        Finished,
        Failed,
        Cancelled,
        Noted,
    )
}


def event_to_json(event: RunEvent) -> str:
    """Write an event's fields.

    >>> event_to_json(Finished(1.5))
    '{"seconds": 1.5, "stage": "", "element": "row"}'
    """
    return json.dumps(asdict(event), allow_nan=False)


def event_from_json(kind: str, text: str) -> RunEvent:
    """Read an event; fields that later versions add are passed over.

    >>> event_from_json("finished", '{"seconds": 1.5, "more": 1}')
    Finished(seconds=1.5, stage='', element='row')
    """
    cls = EVENTS[kind]
    known = {item.name for item in fields(cls)}
    values = {name: value for name, value in json.loads(text).items() if name in known}
    return cls(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})


@dataclass
class History:
    """What is known of a run.

    Attributes:
        state: one of the states.
        stages: what was kept of finished stages, by digest.
        intended: what is to be put in place, by the sink's token.
        written: the sinks that hold their rows, by token.
        versions: the states of the sources that it goes by.
        error, hint: why it failed.
        tries: how often it was begun.
        seconds: of the try that finished.
        result: how it finished; None if it has not.
        noted: what its host said last.
    """

    state: str = RUNNING
    stages: dict[str, StageKept] = field(default_factory=dict)
    intended: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    written: dict[str, WriteDone] = field(default_factory=dict)
    versions: dict[str, str | None] = field(default_factory=dict)
    error: str = ""
    hint: str = ""
    tries: int = 0
    seconds: float | None = None
    result: Finished | None = None
    noted: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[RunEvent]) -> History:
        """Fold events.

        >>> History.of([Begun("a"), Failed("no space"), Begun("a"), Finished(0.5)]).state
        'finished'
        """
        history = cls()
        for event in events:
            history.add(event)
        return history

    def add(self, event: RunEvent) -> None:
        """Take one more event in."""
        match event:
            case Begun():
                self.state, self.error, self.hint = RUNNING, "", ""
                self.tries += 1
            case SourcesSeen():
                self.versions.update(event.versions)
            case StageKept():
                self.stages[event.digest] = event
            case WriteIntended():
                self.intended[event.token] = event.facts
            case WriteUndone():
                self.intended.pop(event.token, None)
            case WriteDone():
                self.intended.pop(event.token, None)
                self.written[event.token] = event
            case Finished():
                self.state, self.seconds, self.result = FINISHED, event.seconds, event
            case Failed():
                self.state, self.error, self.hint = FAILED, event.error, event.hint
            case Cancelled():
                self.state = CANCELLED
            case Noted():
                self.noted = event.facts


__all__ = [
    "CANCELLED",
    "EVENTS",
    "FAILED",
    "FINISHED",
    "RUNNING",
    "Begun",
    "Cancelled",
    "Failed",
    "Finished",
    "History",
    "Noted",
    "RunEvent",
    "SourcesSeen",
    "StageKept",
    "WriteDone",
    "WriteIntended",
    "WriteUndone",
    "event_from_json",
    "event_to_json",
]
