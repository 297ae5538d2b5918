"""Decides under which clauses an output may leave: for each of its tables one, for the whole plan.

Several clauses of a table may apply to somebody. A question leaves if there is a choice of one
clause for each table under which it may; among several choices it is the first in the order of the
file. So no question mixes what two clauses of a table allow.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from umbel.federation.errors import PolicyError
from umbel.federation.policy.clauses import Form
from umbel.federation.policy.verdict import Release
from umbel.federation.rules import Analysis, Refusal, Rule, Tables
from umbel.plan import operators as ops

#: Choices of clauses that are tried for one output.
_MOST_CHOICES = 256
#: Outputs of which the decision is kept; a session may live for long.
_MOST_KEPT = 50_000


def applicable(
    rules: Mapping[str, Sequence[Rule]], user: str, roles: Collection[str] = (), purpose: str = ""
) -> dict[str, tuple[Rule, ...]]:
    """The rules that there are for somebody; of a table without any, one that lets nothing out.

    >>> rules = {"people": (Rule(Form.AGGREGATES, 5, to=("ann",)),)}
    >>> [rule.words for rule in applicable(rules, "bob")["people"]]
    ['nothing']
    """
    found = {}
    for table, several in rules.items():
        mine = tuple(rule for rule in several if rule.admits(user, roles, purpose))
        first = several[0] if several else Rule()
        closed = replace(first, form=Form.NOTHING, clause=None, sites=())
        found[table] = mine or (closed,)
    return found


class Decisions:
    """Decides on outputs of plans over the tables of one site, for one user.

    >>> import pyarrow as pa
    >>> from umbel.plan.sources import RelationSource
    >>> source = RelationSource(pa.schema([("id", pa.int64())]), "north", ("people",))
    >>> people = ops.Scan(source=source)
    >>> decisions = Decisions("north", {"people": (Rule(Form.AGGREGATES, 5, "id"),)})
    >>> decisions.release(people).why
    'gives rows of it'
    """

    def __init__(self, site: str, rules: Mapping[str, Sequence[Rule]]) -> None:
        """Prepare.

        Args:
            site: whose tables are protected.
            rules: of its tables those that apply, in order; other tables let nothing out.
        """
        self.site = site
        self._rules = rules
        self._analyses: dict[tuple[tuple[str, int], ...], Analysis] = {}
        self._decided: dict[str, tuple[Release | Refusal, Analysis]] = {}
        self._free: set[str] = set()
        self._tables = Tables(site)
        self._chosen: dict[frozenset[str], list[Analysis]] = {}

    def release(self, operator: ops.Operator) -> Release | Refusal:
        """Decide whether an operator's output may leave the site, to any place at all."""
        return self.decide(operator)[0]

    def decide(
        self, operator: ops.Operator, to: Sequence[str] | None = None
    ) -> tuple[Release | Refusal, Analysis]:
        """Decide, and give what was found out about the plan under the clauses chosen.

        Args:
            operator: gives the output.
            to: where it goes: sites, or "" for the coordinator; None for any place.
        """
        key = operator.digest if to is None else f"{operator.digest} {' '.join(to)}"
        known = self._decided.get(key)
        if known is None:
            if len(self._decided) > _MOST_KEPT:
                self._decided.clear()
                self._free.clear()
            known = self._as_below(operator) if to is None else None
            known = self._decided[key] = known or self._decide(operator, to)
        return known

    def _as_below(self, operator: ops.Operator) -> tuple[Release | Refusal, Analysis] | None:
        """The verdict on what an operator is made of, if that is free and all that is protected."""
        below = [child for child in operator.inputs if self.site in child.places]
        if len(below) != 1:
            return None
        digest = below[0].digest
        known = self._decided.get(digest)
        if known is None or not isinstance(known[0], Release):
            return None
        # What is made of what is free is free: it is found out once for each answer.
        if digest not in self._free:
            if not known[1].is_free(below[0]):
                return None
            self._free.add(digest)
        self._free.add(operator.digest)
        return known

    def barred(self, operator: ops.Operator, site: str) -> PolicyError | None:
        """Say why an operator's output may not go to a site, or the coordinator (""); else None.

        What the site's tables are made into by others counts too, in whatever form.
        """
        if site == self.site:
            return None
        tables = sorted(self._tables.of(operator))
        if all(
            rule.coordinator if site == "" else rule.goes_to(site)
            for table in tables
            for rule in self._rules.get(table, (Rule(),))
        ):
            return None
        choices = self._choices(operator)
        released = [a for a in choices if isinstance(a.release(operator), Release)]
        errors = [analysis.barred(operator, site) for analysis in released or choices]
        return None if None in errors else errors[0]

    def residents(self, operator: ops.Operator) -> frozenset[str]:
        """The columns that name individuals of whom no other site has rows."""
        return self.decide(operator)[1].residents(operator)

    def _decide(
        self, operator: ops.Operator, to: Sequence[str] | None
    ) -> tuple[Release | Refusal, Analysis]:
        nearest: tuple[Refusal, Analysis] | None = None
        for analysis in self._choices(operator):
            verdict = analysis.release(operator)
            if isinstance(verdict, Release):
                errors = [analysis.barred(operator, site) for site in to or ()]
                error = next((error for error in errors if error is not None), None)
                if error is None:
                    return verdict, analysis
                verdict = _going(operator, analysis, error)
            # The clause that stood in the way last comes nearest to what was asked for.
            if nearest is None or verdict.depth > nearest[0].depth:
                nearest = (verdict, analysis)
        if nearest is None:
            raise PolicyError(f"site {self.site!r} has no rule for this question")
        return nearest

    def _choices(self, operator: ops.Operator) -> Sequence[Analysis]:
        read = self._tables.of(operator)
        if read not in self._chosen:
            tables = sorted(table for table in read if table in self._rules)
            numbers = [range(len(self._rules[table])) for table in tables]
            count = math.prod(len(several) for several in numbers)
            if count > _MOST_CHOICES:
                raise PolicyError(
                    f"site {self.site!r} has {count:,} choices of clauses for one question",
                    hint="ask of fewer tables at once",
                )
            self._chosen[read] = [
                self._analysis(tuple(zip(tables, choice, strict=True)))
                for choice in itertools.product(*numbers)
            ]
        return self._chosen[read]

    def _analysis(self, choice: tuple[tuple[str, int], ...]) -> Analysis:
        # A table with one clause needs no choosing; so most questions share one analysis.
        key = tuple((table, n) for table, n in choice if len(self._rules[table]) > 1)
        if key not in self._analyses:
            chosen = {table: several[0] for table, several in self._rules.items()}
            chosen |= {table: self._rules[table][n] for table, n in key}
            self._analyses[key] = Analysis(self.site, chosen, self._tables)
        return self._analyses[key]


def _going(operator: ops.Operator, analysis: Analysis, error: PolicyError) -> Refusal:
    """Why an output that may leave may not go there."""
    table = min(analysis.tables.of(operator), default="")
    rule = analysis.rules.get(table, Rule())
    why = f"would go where it may not: {error.message}"
    return Refusal(operator, table, rule, why, error.hint, going=True)


__all__ = ["Decisions", "applicable"]
