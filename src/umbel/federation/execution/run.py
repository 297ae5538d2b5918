"""Runs a task: checked under the site's rules, bound to its tables, counted, and made anew."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa

from umbel.api.memory import memory_source
from umbel.executor import Cancellation, Result, run
from umbel.executor.record import Run
from umbel.federation.audit import Account, AuditLog
from umbel.federation.audit.account import question_of
from umbel.federation.disclosure import DisclosureControl
from umbel.federation.disclosure.approvals import request_name
from umbel.federation.errors import FederationError, LimitError, PolicyError
from umbel.federation.execution.clean import cleaned
from umbel.federation.execution.coded import Coded, codes_of, verify
from umbel.federation.execution.gate import Gate
from umbel.federation.execution.masked import Masked
from umbel.federation.execution.pseudonyms import Pseudonyms
from umbel.federation.noise import written
from umbel.federation.policy.applying import filtered
from umbel.federation.policy.clauses import Approval
from umbel.federation.policy.decisions import Decisions, applicable
from umbel.federation.policy.disclosing import Disclosure
from umbel.federation.publishing import PublishedTable, Site
from umbel.federation.rules import Analysis, Form, Refusal
from umbel.federation.signed.people import SignedQuestions
from umbel.federation.tasks import Limits, Outcome, Task
from umbel.learning.secure.identities import identity_here
from umbel.learning.secure.messages import Identity
from umbel.plan import operators as ops
from umbel.plan.errors import CancelledError, UnknownNameError
from umbel.plan.expressions import Column, columns_of
from umbel.plan.sources import RelationSource
from umbel.platforms.refusal import LEARNING, RELATIONAL

#: Rows that are handed on at once.
_PIECE = 2**16


class SiteExecution:
    """Runs tasks on one site; `umbel.federation.tasks.Execute`. Several may run at the same time."""

    def __init__(
        self,
        site: Site,
        audit: AuditLog | None = None,
        *,
        disclosure: Disclosure | None = None,
        identity: Callable[[], Identity] | None = None,
        signed: SignedQuestions | None = None,
    ) -> None:
        """Prepare.

        Args:
            site: what it has and publishes.
            audit: takes what is asked, decided and let out; None writes nothing.
            disclosure: decides on releases beyond their form; None remembers answers as long as
                this object lives.
            identity: gives the key by which the site signs in secure aggregation; None for one
                that the other sites of this process know.
            signed: checks questions where the policy knows people by their keys; None remembers
                them as long as this object lives.
        """
        self._site = site
        self._masked = Masked(identity or (lambda: identity_here(site.name)))
        self._audit = audit
        self._disclosure = disclosure or DisclosureControl()
        self._pseudonyms = Pseudonyms(site.pseudonym_key)
        self._signed = signed or SignedQuestions()

    def __call__(
        self,
        task: Task,
        inputs: Mapping[str, pa.Table],
        cancellation: Cancellation,
        deliver: Callable[[pa.Table], None],
    ) -> Outcome:
        """Run a task; see `Execute`.

        Raises:
            PolicyError: the site's rules do not allow it.
            FederationError: the task is for another site, or asks for what is not there.
            LimitError: it takes more than the task may.
        """
        account = Account(self._audit, task)
        try:
            return self._answer(task, inputs, cancellation, deliver, account)
        except BaseException as error:
            account.failed(error)
            raise

    def _answer(
        self,
        task: Task,
        inputs: Mapping[str, pa.Table],
        cancellation: Cancellation,
        deliver: Callable[[pa.Table], None],
        account: Account,
    ) -> Outcome:
        site, start = self._site, time.perf_counter()
        if task.site != site.name:
            raise FederationError(f"site {site.name!r} got a task of site {task.site!r}")
        self._check(task.plan)
        question = _question(task)
        asks, answered = task.requester, _nothing
        if site.people:
            asked = self._signed.check(task, site.people, site.tables, question)
            asks, answered = asked.requester, asked.answered
        mine = applicable(site.rules, asks.name, asks.roles, asks.purpose)
        verdict, analysis = Decisions(site.name, mine).decide(task.plan, task.to or ("",))
        if isinstance(verdict, Refusal):
            raise verdict.error(site.name)
        verdict = replace(
            verdict,
            user=asks.name,
            roles=asks.roles,
            purpose=asks.purpose,
            to=task.to,
            policy_version=site.policy_version,
            policy_digest=site.policy_digest,
            task=task.id,
            asks=question_of(task.plan),
        )
        if verdict.form is Form.UPDATES:  # an approval is of a training, not of each round
            question = _training(task)
        step = _step_of(task.plan)
        if step in ("", "mask"):  # in the other steps nothing leaves
            self._disclosure.admit(verdict, question)
        if verdict.form is Form.ROWS:
            self._check_reads(task.plan, analysis)
        codes = sorted(codes_of(task.plan))
        facts = {**verdict.facts(), **({"code": codes} if codes else {})}
        if verdict.approval is not Approval.NONE:
            facts["approval"] = request_name(verdict, question, verdict.approval.value)
        if site.people and asks.signed is not None:
            facts["signed_by"] = asks.signed.key
        account.allowed(facts)
        outlet = _Outlet(
            task,
            deliver,
            account,
            lambda rows, size: self._disclosure.left(verdict, rows, size),
            answered,
        )
        texts: list[str] = []
        approved = self._disclosure.looked_at(verdict, question)
        if approved is not None:
            outlet(approved)
            outlet.close(approved=True)
            return Outcome(outlet.rows, outlet.bytes, time.perf_counter() - start)
        with _within(cancellation, task.limits) as part:

            def engines(plan: ops.Operator, out: Callable[[pa.Table], None] | None) -> Result:
                return run(
                    plan,
                    platforms=site.session.platforms(),
                    progress=False,
                    cancellation=part,
                    memory_limit=site.session.memory_limit,
                    deliver=out,
                )

            def named(rows: ops.Operator, table: PublishedTable, scan: ops.Scan) -> ops.Operator:
                wanted = frozenset(rows.schema.names)
                where = analysis.rules[table.name].clause
                if scan.columns is not None and not (where is not None and where.where):
                    picked = () if scan.predicate is None else columns_of(scan.predicate)
                    wanted = frozenset([*scan.columns, *picked])
                return self._pseudonyms.put(
                    rows,
                    table.pseudonyms,
                    wanted,
                    asks.purpose,
                    lambda plan: engines(plan, None).data,
                )

            def rows_of(plan: ops.Operator, out: Callable[[pa.Table], None] | None) -> pa.Table:
                bound = self._bound(coded.opened(plan), inputs, analysis, named)
                done = engines(bound, out)
                texts.append(_text(done.run))
                return done.data

            coded = Coded(site.code, lambda plan: rows_of(plan, None), part)
            gate = Gate(
                analysis,
                lambda plan: rows_of(plan, None),
                lambda cells: self._disclosure.disclose(cells, verdict),
                lambda table, operator: self._disclosure.update(table, operator, verdict),
            )

            def plain(out: Callable[[pa.Table], None] | None = None) -> pa.Table:
                rest = gate.run(task.plan)
                known = _table_of(rest)
                if known is None:
                    return rows_of(rest, out)
                if out is not None:
                    out(known)
                return known

            if step and isinstance(task.plan, ops.Summing):
                outlet(self._masked.answer(task, task.plan, plain))
            elif verdict.approval is Approval.RELEASE:
                result = plain()
                self._disclosure.look_at(verdict, question, cleaned(result, task.schema))
                outlet(result)
            else:
                plain(outlet)
            outlet.close(withheld=gate.withheld)
        seconds = time.perf_counter() - start
        text, noise = "\n".join(texts), written(gate.noise) if gate.noise else ""
        return Outcome(outlet.rows, outlet.bytes, seconds, text, gate.withheld, noise=noise)

    def _check(self, plan: ops.Operator) -> None:
        """Raise unless a plan is made of relational operators over published tables."""
        tables = self._site.tables
        verify(plan, self._site.code, self._site.name)
        for operator in ops.topological(plan):
            if ops.is_signed(operator):
                continue
            if type(operator) not in (*RELATIONAL, *LEARNING):
                raise PolicyError(
                    f"site {self._site.name!r} does not run {operator.name} of others",
                    hint="it runs operators of relations; apply functions to what it gives",
                )
            if isinstance(operator, ops.Summing) and operator.masking and operator is not plan:
                raise PolicyError("what is masked is masked last, and not a part of anything else")
            if not isinstance(operator, ops.Scan):
                continue
            source = operator.source
            if not isinstance(source, RelationSource) or source.platform != self._site.name:
                raise PolicyError(
                    f"site {self._site.name!r} reads published tables, not {source.describe()}"
                )
            name = source.relation[0]
            if len(source.relation) != 1 or name not in tables:
                raise UnknownNameError(f"table of site {self._site.name!r}", name, tables)
            if not source.schema.equals(tables[name].schema):
                raise FederationError(
                    f"table {name!r} of site {self._site.name!r} has other columns by now",
                    hint="ask for it again",
                )

    def _check_reads(self, plan: ops.Operator, analysis: Analysis) -> None:
        """Raise if rows would leave of a table whose rule does not say so; a second look."""
        for operator in ops.topological(plan):
            if isinstance(operator, ops.Scan) and isinstance(operator.source, RelationSource):
                rule = analysis.rules[operator.source.relation[0]]
                if rule.form is not Form.ROWS:
                    raise PolicyError(
                        f"of table {operator.source.relation[0]!r} no rows leave "
                        f"site {self._site.name!r}"
                    )

    def _bound(
        self,
        plan: ops.Operator,
        inputs: Mapping[str, pa.Table],
        analysis: Analysis,
        named: Callable[[ops.Operator, PublishedTable, ops.Scan], ops.Operator],
    ) -> ops.Operator:
        """The plan over the site's own sources and over what came in."""
        known: dict[str, ops.Operator] = {}

        def bind(operator: ops.Operator) -> ops.Operator:
            if operator.pin:
                operator = replace(operator, pin="")
            match operator:
                case ops.Placeholder(label=label):
                    if label not in known:
                        known[label] = _given(operator, inputs[label])
                    return known[label]
                case ops.Scan(source=RelationSource(relation=(name,))):
                    clause = analysis.rules[name].clause
                    where = "" if clause is None else clause.where
                    table = self._site.tables[name]
                    rows = table.plan
                    if table.pseudonyms:
                        rows = named(rows, table, operator)
                    return _published(operator, filtered(rows, where))
            return operator

        return ops.rebuild(plan, bind)


def _nothing() -> None:
    """Nobody counts the answers of questions that are not signed."""


def _question(task: Task) -> str:
    """What is asked, with what comes in: a person who agrees to one does not to another."""
    parts = [task.plan.digest, *(given.identity for given in task.inputs)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _training(task: Task) -> str:
    """What is trained: a question without what another round has otherwise."""

    def first(operator: ops.Operator) -> ops.Operator:
        if not isinstance(operator, ops.Summing):
            return operator
        empty = operator.state.slice(0, 0)
        operator = replace(operator, state=empty, masking=None, message=None)
        if isinstance(operator, ops.Contribute) and operator.training is not None:
            training = replace(operator.training, seed=0)
            operator = replace(operator, training=training, correction=None)
        return operator

    return hashlib.sha256(ops.rebuild(task.plan, first).digest.encode()).hexdigest()


class _Outlet:
    """Hands rows on that leave: made anew, in pieces, and no more than the task may have.

    The last piece waits until it is written what left: so a small result leaves after the record of
    it, whole.
    """

    def __init__(
        self,
        task: Task,
        deliver: Callable[[pa.Table], None],
        account: Account,
        left: Callable[[int, int], None],
        answered: Callable[[], None],
    ) -> None:
        self._task = task
        self._answered = answered
        self._left = left
        self._deliver = deliver
        self._account = account
        self._last: pa.Table | None = None
        self.rows = self.bytes = 0

    def __call__(self, table: pa.Table) -> None:
        limits = self._task.limits
        for start in range(0, table.num_rows, _PIECE):
            piece = cleaned(table.slice(start, _PIECE), self._task.schema)
            self.rows += piece.num_rows
            self.bytes += piece.nbytes
            if self.rows > limits.rows or self.bytes > limits.bytes:
                raise LimitError(
                    f"the output has more than {limits.rows:,} rows or {limits.bytes:,} bytes",
                    hint="filter or aggregate more, or ask for higher limits",
                )
            self._left(self.rows, self.bytes)
            self._account.leaves(piece)
            if self._last is not None:
                self._deliver(self._last)
            self._last = piece

    def close(self, **more: object) -> None:
        """Write what left, and let the last piece go."""
        self._answered()
        self._account.released(**more)
        if self._last is not None:
            self._deliver(self._last)


@contextmanager
def _within(cancellation: Cancellation, limits: Limits) -> Iterator[Cancellation]:
    """Stop the work when the whole is cancelled, or its time is over."""
    late = threading.Event()
    with cancellation.part() as part:

        def stop() -> None:
            late.set()
            part.cancel()

        timer = None if limits.seconds is None else threading.Timer(limits.seconds, stop)
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            yield part
        except CancelledError:
            if late.is_set() and not cancellation.cancelled:
                raise LimitError(
                    f"the work takes more than {limits.seconds:g} s",
                    hint="ask for less, or for more time",
                ) from None
            raise
        finally:
            if timer is not None:
                timer.cancel()


def _step_of(plan: ops.Operator) -> str:
    """The step of secure aggregation that a plan asks for; empty if it asks for none."""
    if isinstance(plan, ops.Summing) and plan.masking is not None:
        return plan.masking.step
    return ""


def _table_of(plan: ops.Operator) -> pa.Table | None:
    """The rows of a plan that is nothing but a table at hand."""
    match plan:
        case ops.Scan(columns=None, predicate=None) if plan.source.kind == "memory":
            return plan.source.data  # type: ignore[attr-defined]
    return None


def _given(placeholder: ops.Placeholder, table: pa.Table) -> ops.Operator:
    """What came in, as a source."""
    wanted = placeholder.schema
    table.validate(full=True)
    if table.schema.names != wanted.names or table.schema.types != wanted.types:
        raise FederationError(f"the input {placeholder.label!r} has other columns than the plan")
    for field, column in zip(wanted, table.columns, strict=True):
        if not field.nullable and column.null_count:
            raise FederationError(
                f"column {field.name!r} of the input {placeholder.label!r} has nulls"
            )
    source = memory_source(pa.Table.from_arrays(table.columns, schema=wanted))
    return ops.Scan(source=replace(source, form=placeholder.element.value))


def _published(scan: ops.Scan, rows: ops.Operator) -> ops.Operator:
    """The published rows, filtered and cut as a scan says."""
    found = rows
    if scan.predicate is not None:
        found = ops.Filter(input=found, predicate=scan.predicate)
    if scan.columns is not None:
        found = ops.Project(input=found, columns=tuple((n, Column(n)) for n in scan.columns))
    return found


def _text(done: Run) -> str:
    """What ran where, for people: no paths and no values."""
    lines = []
    for stage in done.stages:
        operators = " > ".join(operator.name for operator in stage.operators)
        lines.append(f"{stage.platform}: {operators}")
    return "\n".join(lines)


__all__ = ["SiteExecution"]
