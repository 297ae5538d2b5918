"""Durable runs of a session: which store they are kept in, and what they are run with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError
from umbel.plan.operators import Operator
from umbel.plan.sinks import IcebergSink, Sink

if TYPE_CHECKING:
    from umbel.api.session import Durable, Session
    from umbel.executor import Result
    from umbel.executor.runs import RunStore, ScriptRun

_STORES: dict[str, RunStore] = {}


@dataclass
class Keeping:
    """How a session's durable runs are kept; the command line says more than a script does.

    Attributes:
        store: where.
        script: the script's run that they belong to.
        about: what else whoever resumes them needs to know.
        told: called with the id of each.
    """

    store: RunStore
    script: ScriptRun | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    told: Callable[[str], None] = lambda run_id: None


def open_store(durable: Durable = True) -> RunStore:
    """Open the store that `Session.durable` names; once in this process.

    Raises:
        PlanError: SQLAlchemy is missing.
        StoreError: the store cannot be used.
    """
    try:
        from umbel.executor.runs import RunStore
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("sqlalchemy"):
            raise
        raise PlanError(
            "durable runs need SQLAlchemy, which comes with umbel",
            hint="pip install sqlalchemy",
        ) from None
    if isinstance(durable, RunStore):
        return durable
    if isinstance(durable, Keeping):
        return durable.store
    place = None if isinstance(durable, bool) or durable is None else os.fspath(durable)
    key = place or os.environ.get("UMBEL_RUNS", "")
    if "://" not in key:
        key = str(Path(key).absolute()) if key else ""
    if key not in _STORES:
        _STORES[key] = RunStore(place)
    return _STORES[key]


def run_durable(session: Session, plan: Operator, durable: Durable, **options: Any) -> Result:
    """Run a plan in a session, and keep the run."""
    from umbel.executor import runs

    keeping = durable if isinstance(durable, Keeping) else Keeping(open_store(durable))
    return runs.run_durable(
        plan,
        store=keeping.store,
        measured=lambda plan: session.facts(plan).rows,
        about={"folder": str(Path.cwd()), **keeping.about},
        script=keeping.script,
        told=keeping.told,
        **options,
    )


def resume(session: Session, run_id: str, durable: Durable, **options: Any) -> Result:
    """Go on with a run in a session."""
    from umbel.executor import runs

    def bound(sink: Sink) -> Sink:
        """Give a table of an Iceberg catalogue the catalogue that is attached here."""
        if not isinstance(sink, IcebergSink):
            return sink
        found = session.catalog.sink((sink.catalog, *sink.table), sink.mode)
        return replace(sink, data=found.data) if isinstance(found, IcebergSink) else sink

    store = open_store(durable)
    return runs.resume(store, run_id, platforms=session.platforms(), sink=bound, **options)


__all__ = ["Keeping", "open_store", "resume", "run_durable"]
