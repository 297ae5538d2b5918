"""Private answers under budgets: charged first, then made, then kept, and only then let out.

A part of a task (one private aggregate of its plan) is charged once and has one answer. Who tries
the task again, after a failure or a restart, gets that answer: nothing is drawn anew that could be
averaged.
"""

from __future__ import annotations

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.federation.disclosure.budget import Cost, fits, spent
from umbel.federation.disclosure.ledger import Ledger
from umbel.federation.disclosure.private import private_answer
from umbel.federation.errors import FederationError, PolicyError
from umbel.federation.noise import METADATA, Noise, written
from umbel.federation.policy.clauses import Privacy
from umbel.federation.policy.verdict import Cells, Grant, Release


@dataclass(frozen=True)
class Account:
    """What somebody may spend on a table, and what is left.

    Attributes:
        table: the table.
        privacy: of the clause.
        by_user: the epsilon that the user has spent.
        by_all: the epsilon that all have.
    """

    table: str
    privacy: Privacy
    by_user: float
    by_all: float

    @property
    def left(self) -> float:
        """What the user may still spend."""
        budget = self.privacy
        return max(0.0, min(budget.per_user - self.by_user, budget.per_table - self.by_all))

    @property
    def words(self) -> str:
        """For people."""
        return (
            f"{self.by_user:.4g} of {self.privacy.per_user:g} spent by the user, "
            f"{self.by_all:.4g} of {self.privacy.per_table:g} by all"
        )


def account(ledger: Ledger, owner: str, table: str, privacy: Privacy) -> Account:
    """What was spent so far."""
    costs = [ledger.costs(who, table, "", privacy.days) for who in (owner, None)]
    by_user, by_all = (spent(one, privacy.delta) for one in costs)
    return Account(table, privacy, by_user, by_all)


def cost_of(privacy: Privacy, epsilon: float, parts: int = 1) -> Cost:
    """What a part of an answer costs: its share of epsilon, and of half of delta as much."""
    share = epsilon / parts
    return share, privacy.delta / 2 * share / privacy.per_table


def privacy_of(grant: Grant) -> Privacy:
    """The budget of a private clause."""
    if grant.clause.privacy is None:
        raise FederationError(f"clause {grant.clause.name!r} has no privacy budget")
    return grant.clause.privacy


def check_budget(ledger: Ledger, owner: str, grant: Grant, part: str, cost: Cost) -> None:
    """Raise unless an answer is within the budgets of its user and its table.

    Raises:
        PolicyError: it is not; says what was spent.
    """
    privacy = privacy_of(grant)
    for who, budget, whose in (
        (owner, privacy.per_user, f"{owner!r} has"),
        (None, privacy.per_table, "all users together have"),
    ):
        before = ledger.costs(who, grant.table, part, privacy.days)
        if fits([*before, cost], privacy.delta, budget):
            continue
        had = spent(before, privacy.delta)
        days = f"in {privacy.days} days" if privacy.days else "ever"
        raise PolicyError(
            f"of table {grant.table!r} {whose} spent epsilon {had:.4g} of the {budget:g} that may "
            f"be spent {days}, and this costs {cost[0]:.4g}",
            hint="answers that you have had may be used again; the owner may grant more",
        )


class PrivateAnswers:
    """Makes private answers for one site."""

    def __init__(self, ledger: Ledger) -> None:
        """Prepare, with what the site remembers."""
        self._ledger = ledger

    def admit(self, release: Release, grant: Grant, owner: str) -> None:
        """Refuse a task that could not be paid for, before anything runs."""
        privacy = privacy_of(grant)
        if not self._ledger.is_spent_by(release.task):
            check_budget(self._ledger, owner, grant, "", cost_of(privacy, privacy.epsilon))

    def answer(self, cells: Cells, release: Release, owner: str) -> pa.Table:
        """Give the cells with noise: the ones that this part of the task had, if it had any."""
        (grant,) = cells.individuals
        privacy = privacy_of(grant)
        if cells.private is None:
            raise FederationError("cells that are not private have no noise")
        part = f"{release.task}/{cells.part}"
        kept = self._ledger.answer(part)
        if kept is None:
            cost = cost_of(privacy, privacy.epsilon, cells.of)
            with self._ledger.transaction():
                if not self._ledger.is_spent(part):
                    check_budget(self._ledger, owner, grant, part, cost)
                    self._ledger.charge(owner, grant.table, part, cost)
            table, values = private_answer(cells, cells.private, *cost, self._ledger.secret)
            left = account(self._ledger, owner, grant.table, privacy).left
            delta = 0.0 if cells.private.known else cost[1]
            noise = Noise(grant.table, cost[0], delta, left, values)
            kept = self._ledger.keep(part, _written(table, written([noise])))
        return pa.ipc.open_stream(kept).read_all()


def _written(table: pa.Table, noise: str) -> bytes:
    table = table.replace_schema_metadata({METADATA: noise.encode()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


__all__ = ["Account", "PrivateAnswers", "account", "check_budget", "cost_of"]
