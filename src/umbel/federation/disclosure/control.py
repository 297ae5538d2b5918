"""Does what a policy's duties say of a result, before it leaves.

In this order: too few individuals, sums that a few make up, what too little tells apart from what
was answered before, complementary suppression; then noise and rounding of what is left. What is
shown is in the ledger, on the disk, before it leaves.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pyarrow as pa

from umbel.federation.disclosure.approvals import Approvals
from umbel.federation.disclosure.cells import complement, keys_of, undominated
from umbel.federation.disclosure.individuals import Population, populations, united
from umbel.federation.disclosure.ledger import Ledger
from umbel.federation.disclosure.noise import cell_key, noise_of, rounded
from umbel.federation.disclosure.private_control import PrivateAnswers
from umbel.federation.disclosure.updates import conditioned, count_round
from umbel.federation.errors import PolicyError
from umbel.federation.policy.clauses import Approval, Duties, Form
from umbel.federation.policy.disclosing import enough, undone
from umbel.federation.policy.verdict import Cells, Grant, Release
from umbel.plan import operators as ops

_COUNTS = ("count", "len", "n_unique")
_MEASURED = ("sum", "mean")


def party(release: Release, grant: Grant) -> str:
    """On whose account something leaves: the user's, or their project's if it counts as one.

    Whoever belongs to such a project is on its account, whatever purpose they name.
    """
    for project in grant.clause.recipients.projects:
        if project.together and project.has(release.user, release.roles):
            return f"project:{project.name}"
    return release.user


class DisclosureControl:
    """Does the duties of a site's policy; `umbel.federation.policy.disclosing.Disclosure`."""

    def __init__(self, ledger: Ledger | None = None) -> None:
        """Prepare; without a ledger one is kept in memory, as long as this process lives."""
        self.ledger = ledger or Ledger(None)
        self.approvals = Approvals(self.ledger)
        self._private = PrivateAnswers(self.ledger)

    def admit(self, release: Release, question: str) -> None:
        """Count the question, and refuse one too many; see `Disclosure`."""
        if release.approval is Approval.PLAN:
            self.approvals.check(release, question, "plan")
        for grant in release.grants:
            missing = undone(grant.clause)
            if missing:
                raise PolicyError(
                    f"clause {grant.clause.name!r} of table {grant.table!r} asks for {missing}, "
                    f"which site {release.site!r} does not do yet: nothing leaves under it"
                )
            if grant.clause.form is Form.PRIVATE:
                self._private.admit(release, grant, party(release, grant))
            if _counted(grant.clause.duties):
                self._within(release, grant, 0, 0)
                self.ledger.answered(party(release, grant), grant.table, release.task, 0, 0)

    def looked_at(self, release: Release, question: str) -> pa.Table | None:
        """Give the result that a person has approved; see `Disclosure`."""
        if release.approval is not Approval.RELEASE:
            return None
        return self.approvals.answer(release, question)

    def look_at(self, release: Release, question: str, result: pa.Table) -> None:
        """Ask a person about a result; see `Disclosure`."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, result.schema) as writer:
            writer.write_table(result)
        self.approvals.check(release, question, "release", sink.getvalue().to_pybytes())

    def left(self, release: Release, rows: int, nbytes: int) -> None:
        """Count what leaves, and refuse what is too much; see `Disclosure`."""
        for grant in release.grants:
            if _counted(grant.clause.duties):
                self._within(release, grant, rows, nbytes)
                self.ledger.answered(party(release, grant), grant.table, release.task, rows, nbytes)

    def _within(self, release: Release, grant: Grant, rows: int, nbytes: int) -> None:
        duties = grant.clause.duties
        used = self.ledger.usage(party(release, grant), grant.table, release.task)
        for limit, had, more, what in (
            (duties.answers_per_day, used.answers, 1, "answers"),
            (duties.rows_per_day, used.rows, max(rows, 1), "rows"),
            (duties.bytes_per_day, used.bytes, max(nbytes, 1), "bytes"),
        ):
            if limit is not None and had + more > limit:
                raise PolicyError(
                    f"of table {grant.table!r} {release.user!r} may have {limit:,} {what} in a "
                    f"day, and has had {had:,}",
                    hint="ask for less, or tomorrow",
                )

    def update(self, table: pa.Table, operator: ops.Summing, release: Release) -> pa.Table:
        """Count a round, and give an update as it may leave; see `Disclosure`."""
        for grant in release.grants:
            if grant.clause.form is Form.UPDATES:
                count_round(self.ledger, party(release, grant), grant, operator)
                table = conditioned(table, operator, grant, self.ledger.secret)
        return table

    def disclose(self, cells: Cells, release: Release) -> pa.Table:
        """Give the cells that may leave, changed as duties say; see `Disclosure`."""
        if cells.private is not None:
            return self._private.answer(cells, release, party(release, cells.individuals[0]))
        shown: list[bool] = enough(cells).to_pylist()
        if not any(_needs_parts(grant.clause.duties) for grant in cells.individuals):
            return self._finished(cells, shown, [])
        for grant in cells.individuals:
            if not grant.individual:
                raise PolicyError(
                    f"the rule of table {grant.table!r} asks for more than can be counted",
                    hint="the site has to name the column of the individual in the table's rule",
                )
        if cells.contributions is None:
            raise PolicyError("the parts of individuals in this result cannot be told apart")
        parts = cells.contributions()
        sets: list[list[list[Population]]] = []
        for position, grant in enumerate(cells.individuals):
            duties = grant.clause.duties
            if duties.dominance is not None or duties.p_percent:
                good = undominated(cells, parts, position, duties.dominance, duties.p_percent)
                shown = [a and b for a, b in zip(shown, good, strict=True)]
            sets.append(populations(cells, parts, position, self.ledger.secret))
        return self._kept(cells, shown, sets, release)

    def _kept(
        self,
        cells: Cells,
        shown: list[bool],
        sets: list[list[list[Population]]],
        release: Release,
    ) -> pa.Table:
        """Take out what differs too little from what was shown, and keep what is."""
        before = sum(shown)
        part = f"{release.task}/{_part(cells)}"
        with self.ledger.transaction():
            for position, grant in enumerate(cells.individuals):
                if grant.clause.duties.overlap:
                    near = _Near(self.ledger, party(release, grant), grant, part)
                    own = sets[position]
                    shown = [s and near.apart(one) for s, one in zip(shown, own, strict=True)]
            shown = self._complemented(cells, shown, sets)
            for position, grant in enumerate(cells.individuals):
                if grant.clause.duties.overlap:
                    near = _Near(self.ledger, party(release, grant), grant, part)
                    shown = near.together(cells.population, sets[position], shown)
            for position, grant in enumerate(cells.individuals):
                if grant.clause.duties.overlap:
                    kept = [
                        one for s, o in zip(shown, sets[position], strict=True) if s for one in o
                    ]
                    whole = united(cells.population, kept)
                    self.ledger.show(party(release, grant), grant.table, part, [*kept, *whole])
        if before and not any(shown):
            least = max(g.clause.duties.overlap for g in cells.individuals)
            raise PolicyError(
                f"this answer and one that {release.user!r} has had differ by fewer than {least} "
                "individuals, or are about the same ones in another way",
                hint="ask the same question again, or one about clearly more or fewer individuals",
            )
        return self._finished(cells, shown, sets[0])

    @staticmethod
    def _complemented(
        cells: Cells, shown: list[bool], sets: list[list[list[Population]]]
    ) -> list[bool]:
        """Do complementary suppression, if a clause asks for it."""
        for position, grant in enumerate(cells.individuals):
            if grant.clause.duties.complementary and cells.keys:
                sizes = [max(len(one) for one in own) for own in sets[position]]
                least = grant.clause.min_individuals
                shown = complement(keys_of(cells.table, cells.keys), sizes, shown, least)
        return shown

    def _finished(self, cells: Cells, shown: list[bool], sets: list[list[Population]]) -> pa.Table:
        """The cells that are shown, with noise and rounded."""
        table = cells.table.filter(pa.array(shown, pa.bool_()))
        noise = max((g.clause.duties.noise for g in cells.individuals), default=0)
        base = max((g.clause.duties.rounding for g in cells.individuals), default=0)
        if not noise and base < 2:
            return table
        kept = [own for s, own in zip(shown, sets, strict=True) if s] if sets else []
        for name, function in cells.functions.items():
            if function not in _COUNTS and function not in _MEASURED:
                raise PolicyError(
                    f"column {name!r}: no noise is defined for {function}",
                    hint=f"ask for {', '.join((*_COUNTS, *_MEASURED))}",
                )
            table = _changed(table, name, function, kept, noise, base)
        return table


def _changed(
    table: pa.Table,
    name: str,
    function: str,
    sets: list[list[Population]],
    noise: int,
    base: int,
) -> pa.Table:
    """One aggregate's values with noise; counts are rounded, too.

    A sum gets as much noise as if so many individuals of the mean size had come or gone; a mean as
    much as that changes it.
    """
    column = table.column(name)
    values = column.to_pylist()
    for row, value in enumerate(values):
        if value is None:
            continue
        change = 0
        size = 1
        if noise:
            largest = max(sets[row], key=len)
            size = max(1, len(largest))
            change = noise_of(cell_key(largest.members.to_pylist()), noise, name)
        if function in _COUNTS:
            values[row] = rounded(max(0, value + change), base)
        else:
            values[row] = value + type(value)(float(value) * change / size)
    made = pa.chunked_array([pa.array(values, column.type)], column.type)
    return table.set_column(table.schema.get_field_index(name), table.schema.field(name), made)


class _Near:
    """What one user was shown of one table, beside what is to be shown now."""

    def __init__(self, ledger: Ledger, user: str, grant: Grant, task: str) -> None:
        self._ledger = ledger
        self._user = user
        self._table = grant.table
        self._least = grant.clause.duties.overlap
        self._task = task

    def apart(self, sets: list[Population]) -> bool:
        """Whether a cell may be shown: it is far from all else, or the same question again."""
        for number, one in enumerate(sets):
            if self._close(one):
                return False
            for other in sets[:number]:
                near = one.difference(other.members) < self._least
                if near and not one.beside(other):
                    return False
        return True

    def together(self, source: str, sets: list[list[Population]], shown: list[bool]) -> list[bool]:
        """Leave the smallest cells out, until all that are shown are far from what was shown."""
        keep = list(shown)
        while sum(keep) > 0:
            kept = [one for k, own in zip(keep, sets, strict=True) if k for one in own]
            if not any(map(self._close, united(source, kept))):
                break
            sizes = [(max(map(len, own)), n) for n, own in enumerate(sets) if keep[n]]
            keep[min(sizes)[1]] = False
        return keep

    def _close(self, one: Population) -> bool:
        """Whether something near was shown; of the same rows only what is not just the same."""
        near = self._ledger.near(self._user, self._table, self._task, one, self._least)
        for source, cell, argument, members in near:
            other = replace(one, source=source, cell=cell, argument=argument, members=members)
            difference = one.difference(members)
            again = difference == 0 and one.same_question(other)
            if difference < self._least and not again and not one.beside(other):
                return True
        return False


def _part(cells: Cells) -> str:
    """Tell the aggregates of one plan apart: each is compared with the others, not with itself."""
    asked = (
        cells.population,
        cells.keys,
        *sorted(cells.arguments.items()),
        *cells.functions.items(),
    )
    return hashlib.sha256(repr(asked).encode()).hexdigest()


def _needs_parts(duties: Duties) -> bool:
    return bool(
        duties.dominance or duties.p_percent or duties.overlap or duties.noise
        or duties.complementary
    )  # fmt: skip


def _counted(duties: Duties) -> bool:
    limits = (duties.answers_per_day, duties.rows_per_day, duties.bytes_per_day)
    return any(limit is not None for limit in limits)


__all__ = ["DisclosureControl", "party"]
