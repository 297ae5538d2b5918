"""A site as a platform: it runs relational stages over its tables, and lets out what its rules say.

The site plans a stage again over its own engines, so it can run whatever relational there is. It
is given only stages with a table of its own in them: it is no machine for others' work.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.catalog.namespace import TableEntry, unknown_table
from umbel.catalog.statistics import Interval, TableStatistics
from umbel.federation.errors import SiteError
from umbel.federation.manifest import Manifest, TableManifest
from umbel.federation.noise import NOISY
from umbel.federation.policy.decisions import Decisions, applicable
from umbel.federation.policy.rights import rights
from umbel.federation.policy.verdict import Release
from umbel.federation.rules import Refusal
from umbel.federation.standing import Line, TakesLines
from umbel.federation.tasks import (
    Data,
    Dispatcher,
    Input,
    Limits,
    Outcome,
    Requester,
    Sealed,
    Task,
)
from umbel.optimizer.problem import HERE
from umbel.plan import operators as ops
from umbel.plan.errors import PlanError, RunError, UmbelError
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import Operator, is_signed
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import AttachedSource, RelationSource, dotted
from umbel.plan.types import type_width
from umbel.platforms.base import ARROW, SEALED, CompiledStage, Conversion, RunContext, Stage
from umbel.platforms.costs import CostProfile, Linear
from umbel.platforms.refusal import LEARNING, RELATIONAL, refuse_class, refuse_frame, refuse_source

#: Operators that a site runs only where all their inputs are its own.
_OF_ONE_PLACE = (ops.Union, ops.Intersect, ops.Except)
#: What is reckoned of the rows of a table of which a site does not tell.
_UNKNOWN = Interval(1, 1e9, 0.1)
#: What a run says of a site whose answer lacks something.
LEFT_OUT = "left out groups that too few individuals are behind"
#: Operators of which it is kept whether they run here; a session may live for long.
_MOST_KEPT = 50_000


class SitePlatform:
    """One site, for one user; a platform, and a namespace of tables."""

    engine = "site"
    #: The site plans a stage again, and cuts it where operators must be complete.
    evaluates_as_written = True

    def __init__(
        self,
        manifest: Manifest,
        dispatcher: Dispatcher,
        requester: Requester,
        limits: Limits | None = None,
    ) -> None:
        """Prepare.

        Args:
            manifest: what the site says of itself.
            dispatcher: takes tasks there.
            requester: on whose behalf.
            limits: what each task may take.
        """
        self.name = self.site = manifest.site
        self.manifest = manifest
        self.tables_by_name = {table.name: table for table in manifest.tables}
        self._dispatcher = dispatcher
        self._requester = requester
        self._limits = limits or Limits()
        rules = {table.name: table.rules for table in manifest.tables}
        self._rules = applicable(rules, requester.name, requester.roles, requester.purpose)
        self._decisions = Decisions(self.name, self._rules)
        self._costs: CostProfile | None = None
        self._able: dict[str, str | None] = {}
        self._lock = threading.Lock()

    # --- platform -------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """The version of umbel there."""
        return self.manifest.version

    @property
    def costs(self) -> CostProfile:
        """What is reckoned of a site's work, and of the link."""
        if self._costs is None:
            link = self.manifest.link
            line = Linear(fixed=link.latency, per_byte=1 / link.bandwidth)
            crossing = {ARROW: line, SEALED: line}
            shipped = CostProfile.load(Path(__file__).with_name("costs.toml"))
            self._costs = replace(shipped, read=crossing, write=crossing)
        return self._costs

    @property
    def dollars_per_gb(self) -> float:
        """What 10⁹ bytes cost that leave the site."""
        return self.manifest.link.dollars_per_gb

    @property
    def reads(self) -> Sequence[str]:
        """Arrow tables, which are sent there, and what other sites have sealed."""
        return (ARROW, SEALED)

    @property
    def writes(self) -> Sequence[str]:
        """Sealed wherever only sites read it; else Arrow tables."""
        return (SEALED, ARROW)

    @property
    def conversions(self) -> Sequence[Conversion]:
        """None of its own: sending is a part of a stage."""
        return ()

    def refuse(self, operator: Operator) -> str | None:
        """Say why the site does not run an operator; None if it does."""
        if self.name not in operator.places:
            return f"nothing of it lies in {self.name!r}"
        if len(self._able) > _MOST_KEPT:
            self._able.clear()
        if operator.digest not in self._able:
            for below in operator.below:
                self._refused(below)
        return self._refused(operator)

    def _refused(self, operator: Operator) -> str | None:
        if self.name not in operator.places:
            return f"nothing of it lies in {self.name!r}"
        if operator.digest not in self._able:
            self._able[operator.digest] = self._refuse(operator)
        return self._able[operator.digest]

    def _refuse(self, operator: Operator) -> str | None:
        if is_signed(operator):
            return self._refuse_code(operator.function, operator.input)
        if type(operator) not in (*RELATIONAL, *LEARNING):
            return refuse_class(operator)
        reason = refuse_source(operator, self.name, (RelationSource,))
        if reason is not None:
            return reason
        if isinstance(operator, ops.Scan):
            return None
        if isinstance(operator, ops.ToFrame) and not _of_code(operator):
            reason = refuse_frame(operator)
            if reason is not None:
                return reason
        own = [self._refused(child) is None for child in operator.inputs]
        if isinstance(operator, _OF_ONE_PLACE):
            return None if own and all(own) else f"not all of its inputs lie in {self.name!r}"
        return None if any(own) else "it runs none of its inputs"

    def _refuse_code(self, function: PythonFunction, below: Operator) -> str | None:
        """Say why the site does not run signed code over an operator's output."""
        if self._refused(below) is not None:
            return "it runs none of its inputs"
        if function.signed is not None and function.signed.key in self.manifest.signers:
            return None
        if not self.manifest.signers:
            return f"the policy of {self.name!r} lets no code run"
        return f"the policy of {self.name!r} does not trust who has signed {function.name!r}"

    @property
    def routes(self) -> Collection[str]:
        """The sites to which it brings straight what is sealed to them."""
        return self.manifest.routes

    def withheld(self, operator: Operator) -> UmbelError | None:
        """Say why an operator's output may not leave the site; None if it may."""
        verdict = self._verdict(operator)
        return verdict.error(self.name) if isinstance(verdict, Refusal) else None

    def barred(self, operator: Operator, site: str) -> UmbelError | None:
        """Say why an operator's output may not go to another site, or here; None if it may."""
        with self._lock:
            return self._decisions.barred(operator, "" if site == HERE else site)

    def released(self, operator: Operator) -> str:
        """Say in which form an operator's output leaves."""
        verdict = self._verdict(operator)
        return verdict.words if isinstance(verdict, Release) else "nothing"

    def policy_lines(self, table: str) -> list[str]:
        """Say what of a table may leave for the user of this session."""
        return rights(self._rules.get(table, ()))

    def residents(self, operator: Operator) -> frozenset[str]:
        """Name the columns by whose values no other site has any rows."""
        with self._lock:
            return self._decisions.residents(operator)

    def _verdict(self, operator: Operator) -> Release | Refusal:
        with self._lock:
            return self._decisions.release(operator)

    def started(self) -> bool:
        """A site is up, or the run says that it is not."""
        return True

    def compile(self, stage: Stage) -> CompiledStage:
        """Make the task of a stage."""
        return self.compile_signed(stage, None)

    def compile_signed(self, stage: Stage, text: str | None) -> SiteStage:
        """Make the task of a stage of which the plan was signed as a text; None: the question's."""
        requester = self._requester
        if text is not None and requester.signed is not None:
            requester = replace(requester, signed=replace(requester.signed, plan=text))
        return SiteStage(stage, self.name, self._dispatcher, requester, self._limits)

    def stand(self, plan: Operator, run: str) -> Line | None:
        """Have the site take a question that is asked again and again; None if none can be."""
        if not isinstance(self._dispatcher, TakesLines):
            return None
        task = Task(run, 0, self.name, plan, (), self._requester, self._limits, stands=True)
        return self._dispatcher.stand(task)

    # --- namespace ------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """What it is, for people."""
        return f"site {self.name}"

    def tables(self) -> Sequence[TableEntry]:
        """List what the site publishes."""
        return [
            TableEntry(self.name, (name,), "table", self.tables_by_name[name].rows)
            for name in sorted(self.tables_by_name)
        ]

    def source(self, table: Sequence[str], **options: Any) -> RelationSource:
        """Find a table."""
        for option in options:
            raise PlanError(f"a table of a site has no option {option!r}")
        if len(table) != 1 or table[0] not in self.tables_by_name:
            raise unknown_table(self.name, table, self.tables())
        return source_of(self.name, self.tables_by_name[table[0]])

    def statistics(self, source: AttachedSource) -> TableStatistics:
        """Give what the site tells of a table."""
        width = sum(type_width(field.type) for field in source.schema)
        known = None
        if isinstance(source, RelationSource) and source.relation[0] in self.tables_by_name:
            known = self.tables_by_name[source.relation[0]].rows
        if known is None:
            return TableStatistics(_UNKNOWN, 0, width)
        return TableStatistics(Interval(known / 1.5, known * 1.5, 0.95), known * int(width), width)

    def check_sink(self, sink: RelationSink, schema: pa.Schema) -> None:
        """Nothing is written at a site by others."""
        raise RunError(
            f"{dotted((self.name, *sink.relation))}: nothing is written at a site by others"
        )

    def close(self) -> None:
        """Nothing is held between runs."""


def _of_code(frame: ops.ToFrame) -> bool:
    """Whether a relation is made of what signed code gave: then the same process makes it."""
    return is_signed(frame.input)


def source_of(site: str, table: TableManifest) -> RelationSource:
    """The source of a published table."""
    return RelationSource(table.schema, site, (table.name,))


class SiteStage:
    """A stage that a site runs; what came in goes there, and what may leave comes back."""

    def __init__(
        self,
        stage: Stage,
        site: str,
        dispatcher: Dispatcher,
        requester: Requester,
        limits: Limits,
    ) -> None:
        self._stage = stage
        self._site = site
        self._dispatcher = dispatcher
        self._requester = requester
        self._limits = limits
        self.notes: list[str] = []

    @property
    def text(self) -> str:
        """The operators that the site is asked to run."""
        return "\n".join(
            f"{op.name} {op.describe()}".rstrip() for op in ops.topological(self._stage.root)
        )

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> Data:
        """Have the site run it; give what it lets out, or what stands for that if it is sealed."""
        if self._stage.output == SEALED:
            return self._sealed(inputs, context)
        pieces: list[pa.Table] = []
        self.stream(inputs, context, pieces.append)
        schema = self._stage.root.schema
        return pa.concat_tables(pieces).combine_chunks() if pieces else schema.empty_table()

    def stream(
        self, inputs: Mapping[str, Any], context: RunContext, deliver: Callable[[pa.Table], None]
    ) -> int:
        """Have the site run it; hand over what it lets out as it comes."""
        schema = self._stage.root.schema
        task = self._task(inputs, context, ())

        def checked(table: Data) -> None:
            if (
                isinstance(table, Sealed)
                or table.schema.names != schema.names
                or table.schema.types != schema.types
            ):
                raise SiteError(
                    f"site {self._site!r} gave other columns than it was asked for",
                    site=self._site,
                )
            deliver(table.cast(schema))

        outcome = self._dispatcher.run(task, inputs, context, checked)
        self._note(outcome)
        return outcome.rows

    def _sealed(self, inputs: Mapping[str, Any], context: RunContext) -> Sealed:
        """Have the site run it, and seal the output to the sites that read it."""
        given: list[Data] = []
        task = self._task(inputs, context, self._stage.readers)
        self._note(self._dispatcher.run(task, inputs, context, given.append))
        match given:
            case [Sealed() as sealed]:
                return sealed
        raise SiteError(f"site {self._site!r} did not seal what it gave", site=self._site)

    def _task(self, inputs: Mapping[str, Data], context: RunContext, to: tuple[str, ...]) -> Task:
        return Task(
            run=context.run_id or "run",
            stage=self._stage.number,
            site=self._site,
            plan=self._stage.root,
            inputs=tuple(Input.of(label, inputs[label]) for label in sorted(inputs)),
            requester=self._requester,
            limits=self._limits,
            to=to,
        )

    def _note(self, outcome: Outcome) -> None:
        notes = [f"{self._site} {LEFT_OUT}"] if outcome.withheld else []
        if outcome.note:
            notes.append(f"{self._site} gave it {outcome.note}")
        if outcome.noise:
            notes.append(f"{self._site} {NOISY} {outcome.noise}")
        self.notes += [note for note in notes if note not in self.notes]


__all__ = ["LEFT_OUT", "SitePlatform", "SiteStage", "source_of"]
