"""What is done with a result before it leaves: the seam, and the least of it, thresholds.

Who keeps budgets, logs of questions or approvals does more; see `Disclosure`. `Thresholds` does
nothing else than leave out the groups of too few individuals, and so takes no release with other
duties: what nobody does must not be promised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from umbel.federation.errors import PolicyError
from umbel.federation.policy.clauses import Approval, Clause, Duties, Form, Updates
from umbel.federation.policy.verdict import Cells, Release
from umbel.plan import operators as ops


class Disclosure(Protocol):
    """Decides on releases beyond their form, and on the cells of their results."""

    def admit(self, release: Release, question: str) -> None:
        """Take on a release before anything runs: charge budgets, ask for approval.

        Args:
            release: what is to leave, and under which clauses.
            question: the digest of the plan; the same question has the same.

        Raises:
            PolicyError: it may not leave, or not now.
        """

    def disclose(self, cells: Cells, release: Release) -> pa.Table:
        """Give the cells that may leave: some of the rows of `cells.table`, or changed ones."""

    def update(self, table: pa.Table, operator: ops.Summing, release: Release) -> pa.Table:
        """Give an update of a model as it may leave: the row of `Summing`, or a changed one.

        Raises:
            PolicyError: it may not leave, or not today.
        """

    def looked_at(self, release: Release, question: str) -> pa.Table | None:
        """Give the result that a person has approved, if such a one has to; None if none is there.

        Raises:
            PolicyError: it was denied, or waits.
        """

    def look_at(self, release: Release, question: str, result: pa.Table) -> None:
        """Ask a person about a result; see `looked_at`."""

    def left(self, release: Release, rows: int, nbytes: int) -> None:
        """Note what left; called before the last of it goes.

        Raises:
            PolicyError: it is more than may leave.
        """


class Thresholds:
    """Leaves out groups of which too few individuals are in, or in some aggregate of it."""

    def admit(self, release: Release, question: str) -> None:
        """Refuse what asks for more than thresholds."""
        for grant in release.grants:
            duties = grant.clause.duties
            private = grant.clause.form is Form.PRIVATE
            updates = grant.clause.updates or Updates()
            more = (updates.clip, updates.noise, updates.rounds) != (None, 0.0, None)
            if private or more or duties != Duties() or undone(grant.clause):
                raise PolicyError(
                    f"clause {grant.clause.name!r} of table {grant.table!r} asks for duties that "
                    f"site {release.site!r} has nothing to do with",
                    hint="the site has to keep a ledger: a folder for it",
                )

    def disclose(self, cells: Cells, release: Release) -> pa.Table:
        """Give the groups of enough individuals."""
        return cells.table.filter(enough(cells))

    def update(self, table: pa.Table, operator: ops.Summing, release: Release) -> pa.Table:
        """Give it as it is: clauses that ask for more are refused before."""
        return table

    def looked_at(self, release: Release, question: str) -> pa.Table | None:
        """No person is asked; see `admit`."""

    def look_at(self, release: Release, question: str, result: pa.Table) -> None:
        """No person is asked; see `admit`."""

    def left(self, release: Release, rows: int, nbytes: int) -> None:
        """Keep nothing."""


def undone(clause: Clause) -> str:
    """Say what a clause asks for that no site does yet, so that it lets nothing out; else empty.

    >>> undone(Clause("all", Form.AGGREGATES, 3))
    ''
    >>> undone(Clause("models", Form.UPDATES, 20, updates=Updates(rounds=10, secure=True)))
    ''
    >>> undone(Clause("models", Form.UPDATES, 20, duties=Duties(overlap=5)))
    'duties on groups, which updates have not'
    """
    if clause.form is Form.UPDATES and clause.duties.approval is Approval.RELEASE:
        return "looking at updates, which tell a person nothing"
    of_groups = replace(
        clause.duties,
        answers_per_day=None,
        rows_per_day=None,
        bytes_per_day=None,
        approval=Approval.NONE,
        approval_days=7,
    )
    if clause.form in (Form.ROWS, Form.UPDATES) and of_groups != Duties():
        return f"duties on groups, which {clause.form.value} have not"
    return ""


def enough(cells: Cells) -> pa.BooleanArray:
    """Which groups have enough individuals, for themselves and for each of their aggregates.

    A group whose rows are made of several tables needs enough of each that it has any of.

    >>> from umbel.federation.policy.clauses import Clause
    >>> from umbel.federation.policy.verdict import Grant
    >>> grant = Grant("people", "id", Clause("all", Form.AGGREGATES, 3))
    >>> table = pa.table({"g": ["a", "b"], "n": [2, 3]})
    >>> counts = (pa.array([2, 3]),)
    >>> enough(Cells(table, ("g",), {"": counts, "n": counts}, (grant,))).to_pylist()
    [False, True]
    """
    good = pa.array([True] * cells.table.num_rows, pa.bool_())
    for counts in cells.behind.values():
        some = pa.array([False] * cells.table.num_rows, pa.bool_())
        for found, grant in zip(counts, cells.individuals, strict=True):
            many = pc.greater_equal(found, grant.clause.min_individuals)
            good = pc.and_(good, pc.or_(many, pc.equal(found, 0)))
            some = pc.or_(some, many)
        good = pc.and_(good, some)
    return good


__all__ = ["Disclosure", "Thresholds", "enough", "undone"]
