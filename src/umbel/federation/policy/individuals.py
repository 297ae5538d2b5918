"""Whose rows an operator gives: the individuals of protected tables, followed through a plan.

An aggregate takes individuals together if nobody picked them one by one. Everything else that is
done with them leaves their rows theirs, or may not be done at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from umbel.dataclass import dataclass
from umbel.federation.errors import PolicyError
from umbel.federation.policy.clauses import Form
from umbel.federation.policy.rule import Rule
from umbel.federation.policy.words import allowed_by
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Column, columns_of

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
        operator: the operator that stands in the way.
        table: the table whose rule it is.
        rule: what of the table may leave.
        why: what is wrong with the operator.
        hint: what would be allowed.
        going: the operator's output might leave, but not go where it would.
    """

    operator: ops.Operator
    table: str
    rule: Rule
    why: str
    hint: str = ""
    going: bool = False

    @property
    def depth(self) -> int:
        """How far a plan got: the operators up to the one that stands in the way."""
        return len(ops.topological(self.operator)) + self.going

    def error(self, site: str) -> PolicyError:
        """The error that a user sees."""
        clause = self.rule.clause
        by = f", by clause {clause.name!r} of its policy" if clause is not None else ""
        return PolicyError(
            f"of table {self.table!r} {self.rule.words} may leave site {site!r}{by}: "
            f"{self.operator.name if self.going else named(self.operator)} {self.why}",
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


def not_allowed(call: AggregateCall, below: State) -> str:
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


def projected(columns: tuple[tuple[str, object], ...], below: State) -> State:
    """Columns of the rows of individuals: a name stays one only as it is."""
    marked, keys = set(), {}
    for name, expression in columns:
        if isinstance(expression, Column) and expression.name in below.keys:
            keys[name] = below.keys[expression.name]
        if columns_of(expression) & below.marked:  # type: ignore[arg-type]
            marked.add(name)
    return State(below.raw, frozenset(marked), keys)


def summed(operator: ops.Summing, below: State) -> State:
    """Sums of a model over rows: they may leave where rules let updates out."""
    if not below.raw:
        return State()
    for who in below.raw:
        if not who.rule.updates:
            return refused(
                operator,
                (who,),
                "gives updates of a model",
                "the site can let them out in the table's rule, such as: updates = 20",
            )
    kind = type(operator.design.algorithm).__name__
    for who in below.raw:
        allowed = who.rule.algorithms
        if "*" not in allowed and kind not in allowed:
            return refused(
                operator, (who,), f"trains a {kind}", f"models of the kind: {', '.join(allowed)}"
            )
        if who.rule.masked and operator.masking is None:
            return refused(
                operator,
                (who,),
                "gives what one site has learned, and not only the sum of several",
                "updates under secure aggregation: fit(..., privacy=umbel.learn.Secure())",
            )
    read = {*operator.design.columns, *operator.design.targets}
    if read & below.marked:
        name = min(read & below.marked)
        return refused(operator, below.raw, f"learns from {name!r}, which tells who a row is about")
    if operator.guarded or operator.individuals:
        return refused(operator, below.raw, "asks for counts that are the site's own")
    return State(gated=below.raw, updates=True)


def predicted(operator: ops.Predict, below: State) -> State:
    """Rows with what a model says of each: a column that is computed of others."""
    if not set(operator.design.columns) & below.marked:
        return below
    made = set(operator.schema.names) - set(operator.input.schema.names)
    return replace(below, marked=below.marked | made)


def joined(join: ops.Join, left: State, right: State) -> State:
    """Rows with their partners: by who they are about only if both sides say so themselves."""
    raw = left.raw + right.raw
    if not raw:
        return State()
    for mine, other in join.on:
        # What is computed of a name can be a single one: id * 0 + 7 joins all rows with 7's.
        if mine in left.marked or other in right.marked:
            if mine in left.keys and other in right.keys:
                continue
            return refused(join, raw, "picks rows by a list of those they are about")
    if join.residual is not None and columns_of(join.residual) & (left.marked | right.marked):
        return refused(join, raw, "picks rows by who they are about")
    if join.how in ("semi", "anti"):
        same = [other for mine, other in join.on if mine in left.keys]
        if right.raw and not (left.raw and right.names_all(same)):
            return refused(join, right.raw, "tells of each row whether it has a partner there")
        return left
    many = next((who for who in raw if not who.rule.individual), None)
    if many is not None:
        return _uncounted(join, many)
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


def united(union: ops.Union, below: list[State]) -> State:
    """The rows of several tables; the names of one's individuals are not those of another's."""
    raw = tuple(who for state in below for who in state.raw)
    marked = frozenset(name for state in below for name in state.marked)
    keys = next((state.keys for state in below if state.raw), {}) if len(raw) == 1 else {}
    whole = all(state.raw for state in below)
    return State(raw, marked, keys if whole else {})


def repeated(explode: ops.Explode, below: State) -> State:
    """Rows for the items of a list: how many there are must not tell who a row is about."""
    if explode.column in below.marked:
        return refused(explode, below.raw, "repeats rows by who they are about")
    many = next((who for who in below.raw if not who.rule.individual), None)
    return below if many is None else _uncounted(explode, many)


def _uncounted(operator: ops.Operator, who: Who) -> State:
    return refused(
        operator,
        (who,),
        "may repeat its rows, so that individuals cannot be counted",
        "the site can name the column of the individual in the table's rule",
    )


def refused(operator: ops.Operator, raw: tuple[Who, ...], why: str, hint: str = "") -> State:
    """The state of an operator that can be part of nothing that leaves."""
    who = strictest(raw)
    return State(refusal=Refusal(operator, who.table, who.rule, why, hint))


def strictest(raw: tuple[Who, ...]) -> Who:
    """Whose rule lets out the least."""
    order = {form: i for i, form in enumerate(reversed(Form))}
    return min(raw, key=lambda w: (order[w.rule.form], -w.rule.min_individuals, w.table))


def named(operator: ops.Operator) -> str:
    """An operator for people, with the place in their script."""
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
    "Refusal",
    "State",
    "Who",
    "joined",
    "named",
    "not_allowed",
    "predicted",
    "projected",
    "refused",
    "repeated",
    "strictest",
    "summed",
    "united",
]
