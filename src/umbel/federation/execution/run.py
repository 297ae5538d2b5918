"""Runs a task: checked under the site's rules, bound to its tables, counted, and made anew."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa

from umbel.executor import Cancellation, Result, run
from umbel.executor.record import Run
from umbel.federation.audit import Account, AuditLog
from umbel.federation.audit.account import question_of
from umbel.federation.disclosure import DisclosureControl
from umbel.federation.disclosure.approvals import request_name
from umbel.federation.errors import FederationError, LimitError, PolicyError
from umbel.federation.execution.binding import Binding
from umbel.federation.execution.clean import cleaned
from umbel.federation.execution.coded import Coded, codes_of, verify
from umbel.federation.execution.gate import Gate
from umbel.federation.execution.masked import Masked
from umbel.federation.execution.outlet import Outlet
from umbel.federation.execution.pseudonyms import Pseudonyms
from umbel.federation.execution.standing import Admission, StandingQuestion
from umbel.federation.noise import written
from umbel.federation.policy.clauses import Approval
from umbel.federation.policy.decisions import Decisions, applicable
from umbel.federation.policy.disclosing import Disclosure
from umbel.federation.policy.verdict import Release
from umbel.federation.publishing import Site
from umbel.federation.rules import Analysis, Form, Refusal
from umbel.federation.signed.people import SignedQuestions
from umbel.federation.standing import Held
from umbel.federation.tasks import Limits, Outcome, Task
from umbel.learning.secure.identities import identity_here
from umbel.learning.secure.messages import Identity
from umbel.plan import operators as ops
from umbel.plan.errors import CancelledError, UnknownNameError
from umbel.plan.sources import RelationSource
from umbel.platforms.refusal import LEARNING, RELATIONAL


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
        question = _question(task)
        verdict, analysis, answered = self._decided(task, question)
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
        if site.people and task.requester.signed is not None:
            facts["signed_by"] = task.requester.signed.key
        account.allowed(facts)
        outlet = Outlet(
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
                    memory_budget=site.session.memory_budget,
                    deliver=out,
                )

            binding = Binding(
                site.tables,
                analysis,
                self._pseudonyms,
                verdict.purpose,
                lambda plan: engines(plan, None).data,
            )

            def rows_of(plan: ops.Operator, out: Callable[[pa.Table], None] | None) -> pa.Table:
                bound = binding.over(coded.opened(plan), inputs)
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

    def _decided(self, task: Task, question: str) -> tuple[Release, Analysis, Callable[[], None]]:
        """Decide on a task by the rules of now; gives also what to do before the answer leaves.

        Raises:
            PolicyError: they do not allow it.
            FederationError: it is for another site, or asks for what is not there.
        """
        site, asks, answered = self._site, task.requester, _nothing
        if task.site != site.name:
            raise FederationError(f"site {site.name!r} got a task of site {task.site!r}")
        self._check(task.plan)
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
        return verdict, analysis, answered

    def stand(self, task: Task, cancellation: Cancellation) -> Held:
        """Take a standing question; see `umbel.federation.standing.Stand`.

        Raises:
            PolicyError: the site's rules do not allow it.
            FederationError: the task is for another site, or is no question that can stand.
        """
        account = Account(self._audit, task)
        try:
            return self._stood(task, cancellation, account)
        except BaseException as error:
            account.failed(error)
            raise

    def _stood(self, task: Task, cancellation: Cancellation, account: Account) -> Held:
        plan = task.plan
        if not isinstance(plan, ops.Summing) or task.inputs or task.to:
            raise FederationError(f"{plan.name} is no question that can stand")
        if self._site.people:
            # Whoever could change a state on its way could ask for what nobody has signed.
            raise FederationError("people sign each question here, so that none can stand")
        question = _question(task)
        verdict, analysis, _ = self._decided(task, question)
        if verdict.approval is Approval.RELEASE:
            raise FederationError("a person looks at each answer, so the question cannot stand")
        if verdict.form is Form.UPDATES:  # an approval is of a training, not of each round
            question = _training(task)
        if verdict.approval is Approval.PLAN:
            self._disclosure.admit(verdict, question)
        codes = sorted(codes_of(plan))
        account.allowed({**verdict.facts(), **({"code": codes} if codes else {}), "stands": True})
        site = self._site

        def engines(below: ops.Operator) -> pa.Table:
            return run(
                below,
                platforms=site.session.platforms(),
                progress=False,
                cancellation=cancellation,
                memory_limit=site.session.memory_limit,
                memory_budget=site.session.memory_budget,
            ).data

        binding = Binding(site.tables, analysis, self._pseudonyms, verdict.purpose, engines)

        def rows_of(below: ops.Operator) -> pa.Table:
            return engines(binding.over(coded.opened(below), {}))

        coded = Coded(site.code, rows_of, cancellation)
        admission = Admission(
            verdict,
            question,
            self._disclosure,
            lambda: self._decided(task, _question(task))[0],
            lambda number: Account(self._audit, task, number),
        )
        gate = Gate(
            analysis,
            rows_of,
            lambda cells: self._disclosure.disclose(cells, admission.verdict),
            lambda table, operator: self._disclosure.update(table, operator, admission.verdict),
        )
        guarded = gate.guarded(plan)
        if verdict.form is Form.ROWS:
            self._check_reads(plan, analysis)
        return StandingQuestion(
            task,
            guarded,
            rows_of(guarded.input),
            gate,
            self._masked,
            admission,
        )

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
            training = replace(operator.training, seed=0, earlier=0)
            operator = replace(operator, training=training, correction=None)
        return operator

    return hashlib.sha256(ops.rebuild(task.plan, first).digest.encode()).hexdigest()


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


def _text(done: Run) -> str:
    """What ran where, for people: no paths and no values."""
    lines = []
    for stage in done.stages:
        operators = " > ".join(operator.name for operator in stage.operators)
        lines.append(f"{stage.platform}: {operators}")
    return "\n".join(lines)


__all__ = ["SiteExecution"]
