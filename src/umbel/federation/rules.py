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

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from umbel.federation.errors import FederationError, PolicyError
from umbel.federation.policy.clauses import ALL, Clause, Form, Recipients
from umbel.federation.policy.flow import MOST_KEPT, Flows, find_below_first
from umbel.federation.policy.verdict import Grant, Release
from umbel.federation.policy.words import allowed_by
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Column, columns_of
from umbel.plan.sources import RelationSource


@dataclass(frozen=True)
class Rule:
    """What of one table may leave its site.

    Attributes:
        form: in which form.
        min_individuals: how many different individuals must be behind each value of an aggregate.
        individual: the column that says which individual a row is about; empty if each row is
            about another one.
        to: the users who may have it, by name; "*" for every one that the coordinator knows.
        resident: no other site has rows about an individual of this table, so that joins by
            individuals stay inside of each site.
        sites: the other sites to which what leaves may go on, by name; "*" for every one, none for
            none: then only the coordinator and the users have it.
        updates: how many different individuals must be behind what training and evaluating models
            lets out: sums over rows; 0 lets out none.
        clause: of a policy, that says more: which columns may be used for what, to whom it goes,
            and what has to be done; None for a rule that says no more than this.

    >>> Rule(Form.AGGREGATES, 10, "patient_id").words
    'aggregates over at least 10 different patient_id'
    """

    form: Form = Form.NOTHING
    min_individuals: int = 10
    individual: str = ""
    to: tuple[str, ...] = ("*",)
    resident: bool = False
    sites: tuple[str, ...] = ("*",)
    updates: int = 0
    clause: Clause | None = None

    def __post_init__(self) -> None:
        if self.updates < 0:
            raise FederationError(
                f"updates over at least {self.updates} individuals are no rule",
                hint="updates is the least number of individuals, or 0 for none",
            )
        if self.min_individuals < 1:
            raise FederationError(
                f"aggregates over at least {self.min_individuals} individuals are no rule",
                hint="min_individuals is 1 or more",
            )
        if self.resident and not self.individual:
            raise FederationError(
                "individuals that are resident have no column",
                hint="name it: individual",
            )

    @property
    def words(self) -> str:
        """What may leave, for people."""
        if self.form in (Form.AGGREGATES, Form.PRIVATE):
            who = f"different {self.individual}" if self.individual else "rows"
            return f"{_FORMS[self.form]} over at least {self.min_individuals} {who}"
        return str(self.form.value)

    @property
    def update_words(self) -> str:
        """What of models may leave, for people."""
        who = f"different {self.individual}" if self.individual else "rows"
        return f"updates of models over at least {self.updates} {who}" if self.updates else "none"

    @property
    def algorithms(self) -> tuple[str, ...]:
        """The kinds of models that may be trained; "*" for every one."""
        conditions = None if self.clause is None else self.clause.updates
        return ("*",) if conditions is None else conditions.algorithms

    @property
    def coordinator(self) -> bool:
        """Whether the coordinator may read what leaves."""
        return self.clause is None or self.clause.recipients.coordinator

    def grant(self, table: str, *, updates: bool = False) -> Grant:
        """What the rule grants of a table, of updates or else."""
        learned = updates and self.form is not Form.ROWS
        clause = self.clause or Clause(
            "",
            Form.UPDATES if learned else self.form,
            self.updates if learned else self.min_individuals,
            *(ALL,) * 5,
            recipients=Recipients(self.to, sites=self.sites),
        )
        return Grant(table, self.individual, clause)

    def admits(self, user: str, roles: Collection[str] = (), purpose: str = "") -> bool:
        """Whether a user may have what leaves."""
        if self.clause is not None:
            today = datetime.now(UTC).date()
            return self.clause.recipients.admits(user, roles, purpose, today)
        return "*" in self.to or user in self.to

    def goes_to(self, site: str) -> bool:
        """Whether what leaves may go on to another site."""
        return "*" in self.sites or site in self.sites


_FORMS = {Form.AGGREGATES: "aggregates", Form.PRIVATE: "differentially private answers"}

#: Aggregates that tell of all individuals together, not of one of them.
ALLOWED = frozenset(
    {
        "count",
        "len",
        "mean",
        "n_unique",
        "std_population",
        "std_sample",
        "sum",
        "var_population",
        "var_sample",
    }
)
_SHOWN = "count, sum, mean, var and std"


@dataclass(frozen=True)
class Who:
    """Whose rows these are: the individuals of one scan of a protected table."""

    table: str
    rule: Rule


@dataclass(frozen=True)
class Refusal:
    """Why an output may not leave.

    Attributes:
        operator: the operator that stands in the way, for people.
        table: the table whose rule it is.
        rule: what of the table may leave.
        why: what is wrong with the operator.
        hint: what would be allowed.
        depth: how many operators are below the one that stands in the way.
    """

    operator: str
    table: str
    rule: Rule
    why: str
    hint: str = ""
    depth: int = 0

    def error(self, site: str) -> PolicyError:
        """The error that a user sees."""
        clause = self.rule.clause
        by = f", by clause {clause.name!r} of its policy" if clause is not None else ""
        return PolicyError(
            f"of table {self.table!r} {self.rule.words} may leave site {site!r}{by}: "
            f"{self.operator} {self.why}",
            hint=self.hint or _allowed(self.rule),
        )


@dataclass(frozen=True)
class State:
    """What is known of an operator's rows.

    Attributes:
        raw: whose rows they are; empty if they may leave.
        updates: whether updates of models are in it.
        marked: columns that say who an individual is, or are computed from such.
        keys: for such columns the positions in `raw` of the individuals that they name, each of
            whose rows have one value, or null.
        gated: protected tables whose aggregates are in it.
        refusal: the first operator below that can be part of nothing that leaves.
    """

    raw: tuple[Who, ...] = ()
    marked: frozenset[str] = frozenset()
    keys: Mapping[str, frozenset[int]] = field(default_factory=dict)
    gated: tuple[Who, ...] = ()
    refusal: Refusal | None = None
    updates: bool = False

    @property
    def all_raw(self) -> frozenset[int]:
        """The positions of all individuals."""
        return frozenset(range(len(self.raw)))

    def names_all(self, columns: Iterable[str]) -> bool:
        """Whether some columns name all individuals, so that equal values are one individual."""
        named: frozenset[int] = frozenset()
        for name in columns:
            named |= self.keys.get(name, frozenset())
        return bool(self.raw) and named == self.all_raw


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
        self._flows = Flows(site, rules, self)

    def state(self, operator: ops.Operator) -> State:
        """Find out about an operator."""
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
            who = _strictest(found.raw)
            depth = len(ops.topological(operator))
            return Refusal(_named(operator), who.table, who.rule, "gives rows of it", depth=depth)
        denied = self._flows.denied(operator)
        if denied is not None:
            rule = self.rules.get(denied.table, Rule())
            depth = len(ops.topological(denied.operator))
            return Refusal(_named(denied.operator), denied.table, rule, denied.why, depth=depth)
        tables = sorted(self.tables.of(operator))
        grants = tuple(
            self.rules.get(table, Rule()).grant(table, updates=found.updates) for table in tables
        )
        forms = {who.rule.form for who in found.gated}
        form = Form.ROWS if not forms else Form.AGGREGATES
        if Form.PRIVATE in forms:
            form = Form.PRIVATE
        if found.updates:
            form = Form.UPDATES
        return Release(form, grants, self.site)

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
            return State()
        known = self._states.get(operator.digest)
        if known is None:
            known = self._state(operator)
            self._states[operator.digest] = known
        return known

    def _state(self, operator: ops.Operator) -> State:
        below = [self._find(child) for child in operator.inputs]
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
                found = _summed(operator, below[0])
            case ops.Predict() if below[0].raw:
                found = _predicted(operator, below[0])
            case ops.Join():
                found = _joined(operator, below[0], below[1])
            case ops.Union() if any(state.raw for state in below) and not operator.distinct:
                found = _united(operator, below)
            case _ if not any(state.raw for state in below):
                found = State()
            case ops.Project(columns=columns):
                found = _projected(columns, below[0])
            case ops.Filter(predicate=predicate):
                found = below[0]
                if columns_of(predicate) & found.marked:
                    found = _refused(operator, found.raw, "picks rows by who they are about")
            case ops.Sort() | ops.Explode() | ops.Rows():
                found = below[0]
            case ops.Distinct() if below[0].names_all(operator.schema.names):
                found = below[0]
            case _:
                raw = tuple(who for state in below for who in state.raw)
                found = _refused(operator, raw, "works on single rows of it")
        updates = found.updates or any(state.updates for state in below)
        gated = tuple(dict.fromkeys((*gated, *found.gated)))
        return replace(found, gated=gated, updates=updates)

    def _scanned(self, scan: ops.Scan, table: str) -> State:
        rule = self.rules.get(table, Rule())
        if rule.form is Form.ROWS:
            return State()
        if rule.form is Form.NOTHING:
            return _refused(scan, (Who(table, rule),), "reads it")
        who = rule.individual
        if who and scan.predicate is not None and who in columns_of(scan.predicate):
            return _refused(scan, (Who(table, rule),), "picks rows by who they are about")
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
            return _refused(operator, (closed,), "gives aggregates of it")
        for name, expression in operator.keys:
            if columns_of(expression) & below.marked:
                why = f"groups by {name!r}, which tells who a row is about"
                return _refused(operator, below.raw, why)
        for name, call in operator.aggregates:
            why = _not_allowed(call, below)
            if why:
                return _refused(operator, below.raw, f"column {name!r}: {why}")
        return State(gated=below.raw)


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


def _not_allowed(call: AggregateCall, below: State) -> str:
    """Say why an aggregate may tell of a single individual; empty if it does not."""
    if call.function not in ALLOWED or call.order_by:
        return f"{call.function} may give the value of a single row"
    counts = call.function in ("count", "n_unique")
    if call.distinct and not counts:
        return f"{call.function} of distinct values may give the value of a single row"
    read = columns_of(call)
    if counts and all(isinstance(a, Column) for a in call.arguments) and call.where is None:
        return ""  # how many individuals there are
    return f"{call} reads who a row is about" if read & below.marked else ""


def _projected(columns: tuple[tuple[str, object], ...], below: State) -> State:
    marked, keys = set(), {}
    for name, expression in columns:
        if isinstance(expression, Column) and expression.name in below.keys:
            keys[name] = below.keys[expression.name]
        if columns_of(expression) & below.marked:  # type: ignore[arg-type]
            marked.add(name)
    return State(below.raw, frozenset(marked), keys)


def _summed(operator: ops.Summing, below: State) -> State:
    """Sums of a model over rows: they may leave where rules let updates out."""
    if not below.raw:
        return State()
    for who in below.raw:
        if not who.rule.updates:
            return _refused(
                operator,
                (who,),
                "gives updates of a model",
                "the site can let them out in the table's rule, such as: updates = 20",
            )
    kind = type(operator.design.algorithm).__name__
    for who in below.raw:
        allowed = who.rule.algorithms
        if "*" not in allowed and kind not in allowed:
            return _refused(
                operator, (who,), f"trains a {kind}", f"models of the kind: {', '.join(allowed)}"
            )
    read = {*operator.design.columns, operator.design.label}
    if read & below.marked:
        name = min(read & below.marked)
        return _refused(
            operator, below.raw, f"learns from {name!r}, which tells who a row is about"
        )
    if operator.guarded or operator.individuals:
        return _refused(operator, below.raw, "asks for counts that are the site's own")
    return State(gated=below.raw, updates=True)


def _predicted(operator: ops.Predict, below: State) -> State:
    """Rows with what a model says of each: a column that is computed of others."""
    if not set(operator.design.columns) & below.marked:
        return below
    made = set(operator.schema.names) - set(operator.input.schema.names)
    return replace(below, marked=below.marked | made)


def _joined(join: ops.Join, left: State, right: State) -> State:
    raw = left.raw + right.raw
    if not raw:
        return State()
    for mine, other in join.on:
        marked = (mine in left.marked, other in right.marked)
        if any(marked) and not all(marked):
            return _refused(join, raw, "picks rows by a list of those they are about")
    if join.residual is not None and columns_of(join.residual) & (left.marked | right.marked):
        return _refused(join, raw, "picks rows by who they are about")
    if join.how in ("semi", "anti"):
        same = [other for mine, other in join.on if mine in left.keys]
        if right.raw and not (left.raw and right.names_all(same)):
            return _refused(join, right.raw, "tells of each row whether it has a partner there")
        return left
    many = next((who for who in raw if not who.rule.individual), None)
    if many is not None:
        return _refused(
            join,
            (many,),
            "may repeat its rows, so that individuals cannot be counted",
            "the site can name the column of the individual in the table's rule",
        )
    shift = len(left.raw)
    moved = {name: frozenset(i + shift for i in at) for name, at in right.keys.items()}
    keys = {**left.keys, **moved}
    for mine, other in join.on:
        both = left.keys.get(mine, frozenset()) | moved.get(other, frozenset())
        if both and join.how in ("inner", "left"):
            keys[mine] = both
        if both and join.how in ("inner", "right"):
            keys[other] = both
    return State(raw, left.marked | right.marked, keys)


def _united(union: ops.Union, below: list[State]) -> State:
    """The rows of several tables; the names of one's individuals are not those of another's."""
    raw = tuple(who for state in below for who in state.raw)
    marked = frozenset(name for state in below for name in state.marked)
    keys = next((state.keys for state in below if state.raw), {}) if len(raw) == 1 else {}
    whole = all(state.raw for state in below)
    return State(raw, marked, keys if whole else {})


def _refused(operator: ops.Operator, raw: tuple[Who, ...], why: str, hint: str = "") -> State:
    who = _strictest(raw)
    depth = len(ops.topological(operator))
    return State(refusal=Refusal(_named(operator), who.table, who.rule, why, hint, depth))


def _strictest(raw: tuple[Who, ...]) -> Who:
    order = {form: i for i, form in enumerate(reversed(Form))}
    return min(raw, key=lambda w: (order[w.rule.form], -w.rule.min_individuals, w.table))


def _named(operator: ops.Operator) -> str:
    detail = operator.describe()
    detail = detail if len(detail) <= 100 else detail[:99] + "…"
    at = f" at {operator.origin}" if operator.origin is not None else ""
    return f"{operator.name} ({detail}){at}" if detail else f"{operator.name}{at}"


def _allowed(rule: Rule) -> str:
    """What a rule lets out, as advice."""
    if rule.form is Form.NOTHING:
        return "ask the site to publish it in some form"
    if rule.clause is not None:
        return f"allowed: {allowed_by(rule.clause)}"
    if rule.form is Form.ROWS:
        return ""
    who = f" {rule.individual!r}" if rule.individual else ""
    return (
        f"allowed: {_SHOWN} of groups of at least {rule.min_individuals} individuals, by keys and "
        f"conditions that do not read{who or ' who a row is about'}"
    )


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
