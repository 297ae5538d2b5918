"""What of a site's tables may leave it, and whether the output of a plan may.

A site says of each table in which form its content may leave: as rows, as aggregates over at least
k individuals, or not at all, which is the default. `release` decides for a plan over the site's
tables and over what comes in from outside. The coordinator's planner and the site itself decide by
the same code; the site trusts only its own decision, and then counts in the real result.

An output may leave if all content of protected tables in it went through aggregates, each over
individuals that nobody picked one by one: an aggregate of a closed list of functions, whose keys,
conditions and arguments do not read who an individual is. What is computed from such aggregates
is as free as they are. Inside of a site everything may be computed.

What this does not stop: the difference of two answers over nearly the same individuals. Whoever
may ask freely learns from it what one alone would not tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from umbel.federation.errors import PolicyError
from umbel.federation.policy.clauses import Form
from umbel.federation.policy.flow import MOST_KEPT, Flows, find_below_first
from umbel.federation.policy.individuals import (
    ALLOWED,
    Refusal,
    State,
    Who,
    joined,
    not_allowed,
    predicted,
    projected,
    refused,
    repeated,
    strictest,
    summed,
    united,
)
from umbel.federation.policy.private import asked_of
from umbel.federation.policy.rule import Rule
from umbel.federation.policy.verdict import Release
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Column, columns_of
from umbel.plan.sources import RelationSource


class Analysis:
    """Finds the states of operators, under the rules of one site; each operator's once."""

    def __init__(self, site: str, rules: Mapping[str, Rule], tables: Tables | None = None) -> None:
        """Prepare.

        Args:
            site: whose tables are protected; what lies elsewhere came out of there already.
            rules: of the site's tables, by name; the others let nothing out.
            tables: finds those that outputs are made of; None for one of its own.
        """
        self.site = site
        self.tables = tables or Tables(site)
        self.rules = rules
        self._states: dict[str, State] = {}
        self._releases: dict[tuple[str, frozenset[str]], Release] = {}
        self._flows = Flows(site, rules, self)

    def state(self, operator: ops.Operator) -> State:
        """Find out about an operator."""
        known = self._states.get(operator.digest)
        if known is not None:
            return known
        if len(self._states) > MOST_KEPT:
            self._states.clear()
        find_below_first(operator, self.site, self._states, self._find)
        return self._find(operator)

    def release(self, operator: ops.Operator) -> Release | Refusal:
        """Decide whether an operator's output may leave the site."""
        found = self.state(operator)
        if found.refusal is not None:
            return found.refusal
        if found.raw:
            who = strictest(found.raw)
            return Refusal(operator, who.table, who.rule, "gives rows of it")
        denied = self._flows.denied(operator)
        if denied is not None:
            rule = self.rules.get(denied.table, Rule())
            return Refusal(denied.operator, denied.table, rule, denied.why)
        form = Form.AGGREGATES if found.gated else Form.ROWS
        if any(who.rule.form is Form.PRIVATE for who in found.gated):
            form = Form.PRIVATE
        if found.updates:
            form = Form.UPDATES
        return self._released(form, self.tables.of(operator))

    def _released(self, form: Form, tables: frozenset[str]) -> Release:
        """The verdict for what is made of some tables; many outputs of a plan share one."""
        known = self._releases.get((form.value, tables))
        if known is None:
            updates = form is Form.UPDATES
            grants = tuple(
                self.rules.get(table, Rule()).grant(table, updates=updates)
                for table in sorted(tables)
            )
            known = self._releases[form.value, tables] = Release(form, grants, self.site)
        return known

    def barred(self, operator: ops.Operator, site: str) -> PolicyError | None:
        """Say why an operator's output, which may leave, may not go to another site.

        Args:
            operator: gives it.
            site: where it would go; "" for the coordinator.

        The rules of all tables count that it is made of, in whatever form they are in it.
        """
        for table in self.tables.of(operator):
            rule = self.rules.get(table, Rule())
            if site == "" and not rule.coordinator:
                return PolicyError(
                    f"of table {table!r} of site {self.site!r} nothing may go to the coordinator",
                    hint=f"it may go to: {', '.join(rule.sites) or 'no other site'}",
                )
            if site not in ("", self.site) and not rule.goes_to(site):
                return PolicyError(
                    f"of table {table!r} of site {self.site!r} nothing may go to site {site!r}",
                    hint=f"it may go to: {', '.join(rule.sites) or 'no other site'}",
                )
        return None

    def residents(self, operator: ops.Operator) -> frozenset[str]:
        """The columns that name individuals of whom no other site has rows."""
        found = self.state(operator)
        if found.refusal is not None or not all(who.rule.resident for who in found.raw):
            return frozenset()
        return frozenset(found.keys)

    def is_free(self, operator: ops.Operator) -> bool:
        """Whether whatever is computed of an operator's output may leave as it may."""
        return not self.state(operator).raw and self._flows.is_free(operator)

    def is_gate(self, operator: ops.Operator) -> bool:
        """Whether this aggregate takes individuals together, so that its cells have to be counted."""
        if not isinstance(operator, ops.Aggregate | ops.Summing):
            return False
        return bool(self.state(operator.input).raw) and not self.state(operator).raw

    def overflows(self, aggregate: ops.Aggregate, call: AggregateCall) -> bool:
        """Whether a sum of a few rows may have no place in its type, and so may fail and tell."""
        return self._flows.overflows(aggregate, call)

    def _find(self, operator: ops.Operator) -> State:
        if self.site not in operator.places:
            return _NOBODY
        known = self._states.get(operator.digest)
        if known is None:
            known = self._state(operator)
            self._states[operator.digest] = known
        return known

    def _state(self, operator: ops.Operator) -> State:
        below = [self._find(child) for child in operator.inputs]
        known = [state for state in below if state is not _NOBODY]
        if below and not any(state.raw for state in known) and len(known) < 2:
            return known[0] if known else _NOBODY  # as free, or as little, as what it is made of
        gated = tuple(dict.fromkeys(who for state in below for who in state.gated))
        refusal = next((state.refusal for state in below if state.refusal is not None), None)
        if refusal is not None:
            return State(refusal=refusal)
        match operator:
            case ops.Scan(source=RelationSource(platform=self.site, relation=(*_, table))):
                found = self._scanned(operator, table)
            case ops.Aggregate():
                found = self._aggregated(operator, below[0])
            case ops.Summing():
                found = summed(operator, below[0])
            case ops.Predict() if below[0].raw:
                found = predicted(operator, below[0])
            case ops.Join():
                found = joined(operator, below[0], below[1])
            case ops.Union() if any(state.raw for state in below) and not operator.distinct:
                found = united(operator, below)
            case _ if not any(state.raw for state in below):
                found = State()
            case ops.Project(columns=columns):
                found = projected(columns, below[0])
            case ops.Filter(predicate=predicate):
                found = below[0]
                if columns_of(predicate) & found.marked:
                    found = refused(operator, found.raw, "picks rows by who they are about")
            case ops.Explode():
                found = repeated(operator, below[0])
            case ops.Sort() | ops.Rows():
                found = below[0]
            case ops.Distinct() if below[0].names_all(operator.schema.names):
                found = below[0]
            case _:
                raw = tuple(who for state in below for who in state.raw)
                found = refused(operator, raw, "works on single rows of it")
        updates = found.updates or any(state.updates for state in below)
        gated = tuple(dict.fromkeys((*gated, *found.gated)))
        if found.updates == updates and found.gated == gated:
            return found
        return replace(found, gated=gated, updates=updates)

    def _scanned(self, scan: ops.Scan, table: str) -> State:
        rule = self.rules.get(table, Rule())
        if rule.form is Form.ROWS:
            return State()
        if rule.form is Form.NOTHING:
            return refused(scan, (Who(table, rule),), "reads it")
        who = rule.individual
        if who and scan.predicate is not None and who in columns_of(scan.predicate):
            return refused(scan, (Who(table, rule),), "picks rows by who they are about")
        if who not in scan.schema.names:
            return State((Who(table, rule),))
        return State((Who(table, rule),), frozenset({who}), {who: frozenset({0})})

    def _aggregated(self, operator: ops.Aggregate, below: State) -> State:
        if not below.raw:
            return State()
        bare = {name: e.name for name, e in operator.keys if isinstance(e, Column)}
        if below.names_all(bare.values()):  # one row for each individual, or more
            marked = {name for name, e in operator.keys if columns_of(e) & below.marked}
            marked |= {name for name, c in operator.aggregates if columns_of(c) & below.marked}
            keys = {n: below.keys[old] for n, old in bare.items() if old in below.keys}
            return State(below.raw, frozenset(marked), keys)
        closed = next((who for who in below.raw if who.rule.form is Form.UPDATES), None)
        if closed is not None:
            return refused(operator, (closed,), "gives aggregates of it")
        private = next((who for who in below.raw if who.rule.form is Form.PRIVATE), None)
        if private is not None:
            asked = asked_of(operator, self.site, self.rules)
            if isinstance(asked, str):
                return refused(operator, (private,), asked)
        for name, expression in operator.keys:
            if columns_of(expression) & below.marked:
                why = f"groups by {name!r}, which tells who a row is about"
                return refused(operator, below.raw, why)
        for name, call in operator.aggregates:
            why = not_allowed(call, below)
            if why:
                return refused(operator, below.raw, f"column {name!r}: {why}")
        return State(gated=below.raw)


#: Rows of nobody.
_NOBODY = State()


class Tables:
    """Finds the tables of a site that outputs are made of; each operator's once."""

    def __init__(self, site: str) -> None:
        self.site = site
        self._found: dict[str, frozenset[str]] = {}

    def of(self, operator: ops.Operator) -> frozenset[str]:
        """Name the tables that an operator's output is made of."""
        known = self._found.get(operator.digest)
        if known is not None:
            return known
        if len(self._found) > MOST_KEPT:
            self._found.clear()
        waiting = [operator]
        while waiting:
            last = waiting[-1]
            ahead = [
                child
                for child in last.inputs
                if self.site in child.places and child.digest not in self._found
            ]
            if ahead:
                waiting += ahead
                continue
            self._found[waiting.pop().digest] = self._here(last)
        return self._found[operator.digest]

    def _here(self, operator: ops.Operator) -> frozenset[str]:
        match operator:
            case ops.Scan(source=RelationSource(platform=self.site, relation=(*_, table))):
                return frozenset({table})
        below = [self._found[c.digest] for c in operator.inputs if self.site in c.places]
        return below[0] if len(below) == 1 else frozenset().union(*below)


__all__ = [
    "ALLOWED",
    "Analysis",
    "Form",
    "Refusal",
    "Release",
    "Rule",
    "State",
    "Tables",
    "Who",
]
