"""Follows the columns of protected tables through a plan, and holds them against their clauses.

For each output column it is known of which columns of which tables it is made, through every
operator and function. What picks rows is a use of columns too: a filter, the keys of a join or of a
group, the condition of an aggregate. An expression that may fail is one as well: whether a query
fails would tell of a single row whether a division, a cast or an overflow strikes it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.federation.policy.clauses import ALL, Clause, Form
from umbel.plan import operators as ops
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Cast,
    Column,
    Expression,
    Literal,
    columns_of,
)
from umbel.plan.safety import Range, examine
from umbel.plan.sources import RelationSource
from umbel.plan.types import is_integer
from umbel.platforms.refusal import expressions_of

if TYPE_CHECKING:
    from umbel.federation.rules import Analysis, Rule

#: A column of a table.
Base = tuple[str, str]
Bases = frozenset[Base]

#: The words of a policy for aggregates, and what they stand for.
FUNCTIONS: dict[str, frozenset[str]] = {
    "count": frozenset({"count", "len"}),
    "mean": frozenset({"mean"}),
    "n_unique": frozenset({"n_unique"}),
    "std": frozenset({"std_population", "std_sample"}),
    "sum": frozenset({"sum"}),
    "var": frozenset({"var_population", "var_sample"}),
}
#: Integers of a table are taken to lie within, so that no arithmetic on them overflows. A greater
#: one can be found out by making it overflow; it would have to be greater than any amount of money.
_INTEGERS: Range = (-(2**36), 2**36)
#: What is summed lies within: then no sum of few rows overflows.
_SUMMED = 2**56
_LINEAR = frozenset({"add", "subtract", "multiply", "divide", "negate"})
#: Aggregates of one individual's rows whose value is as plain as the rows' values are.
_PLAIN_ALONE = frozenset({"sum", "mean", "min", "max", "count", "len", "first", "last"})
_NONE: Bases = frozenset()
#: Operators about which something is kept; a session may live for long.
MOST_KEPT = 50_000


@dataclass(frozen=True)
class Flow:
    """Of what an operator's columns are made.

    Attributes:
        reads: of which columns of tables each column is made.
        plain: columns that are those of a table as they are, but for the unit.
        bounds: of columns of integers.
        whole: the rows are all those of one published table.
        denied: the first use below that a clause does not allow.
    """

    reads: Mapping[str, Bases] = field(default_factory=dict)
    plain: frozenset[str] = frozenset()
    bounds: Mapping[str, Range] = field(default_factory=dict)
    whole: bool = False
    denied: Denial | None = None

    def of(self, names: Iterable[str]) -> Bases:
        """Of which columns of tables some columns are made."""
        return frozenset().union(*(self.reads.get(name, _NONE) for name in names))


@dataclass(frozen=True)
class Denial:
    """A use of a table's column that its clause does not allow.

    Attributes:
        operator: that uses it.
        table: the table.
        why: what is wrong.
    """

    operator: ops.Operator
    table: str
    why: str


def find_below_first(
    operator: ops.Operator,
    site: str,
    known: Container[str],
    find: Callable[[ops.Operator], object],
) -> None:
    """Find out about an operator after all below it, so that no plan is too deep.

    Not about all that is below: of a hundred sites each looks at its own.
    """
    waiting = [operator]
    while waiting:
        last = waiting[-1]
        ahead = [c for c in last.inputs if site in c.places and c.digest not in known]
        if ahead and last.digest not in known:
            waiting += ahead
        else:
            find(waiting.pop())


class _NotAllowedError(Exception):
    """Carries a denial up to the operator."""

    def __init__(self, table: str, why: str) -> None:
        super().__init__(why)
        self.table = table
        self.why = why


class Flows:
    """Finds the flows of operators under one choice of clauses; each operator's once."""

    def __init__(self, site: str, rules: Mapping[str, Rule], analysis: Analysis) -> None:
        """Prepare.

        Args:
            site: whose tables are protected.
            rules: of its tables.
            analysis: says which aggregates take individuals together.
        """
        self._site = site
        self._rules = rules
        self._analysis = analysis
        self._flows: dict[str, Flow] = {}

    def flow(self, operator: ops.Operator) -> Flow:
        """Find out about an operator."""
        if len(self._flows) > MOST_KEPT:
            self._flows.clear()
        find_below_first(operator, self._site, self._flows, self._find)
        return self._find(operator)

    def overflows(self, aggregate: ops.Aggregate, call: AggregateCall) -> bool:
        """Whether a sum of a few rows may have no place in its type."""
        return _overflows(call, self.flow(aggregate.input), aggregate.input.schema)

    def denied(self, operator: ops.Operator) -> Denial | None:
        """Say which use of a column stands against letting an operator's output go."""
        found = self.flow(operator)
        if found.denied is not None or not found.reads:
            return found.denied
        for name in operator.schema.names:
            for table, column in sorted(found.reads.get(name, _NONE)):
                clause = self._clause(table)
                if clause is None or clause.form is not Form.ROWS:
                    continue
                if not _permits(clause.columns, column):
                    return Denial(operator, table, f"gives column {column!r} of it")
        return None

    def _find(self, operator: ops.Operator) -> Flow:
        if self._site not in operator.places:
            return Flow()
        known = self._flows.get(operator.digest)
        if known is None:
            below = [self._find(child) for child in operator.inputs]
            known = next((Flow(denied=f.denied) for f in below if f.denied is not None), None)
            if known is None and below and not any(flow.reads for flow in below):
                known = Flow()  # nothing in it is of a table any more
            if known is None:
                try:
                    known = self._flow(operator, below)
                except _NotAllowedError as denial:
                    known = Flow(denied=Denial(operator, denial.table, denial.why))
            self._flows[operator.digest] = known
        return known

    def _flow(self, operator: ops.Operator, below: Sequence[Flow]) -> Flow:
        match operator:
            case ops.Scan(source=RelationSource(platform=self._site, relation=(*_, table))):
                return self._scanned(operator, table)
            case ops.Project(columns=columns):
                return self._projected(operator, columns, below[0])
            case ops.Filter(predicate=predicate):
                self._picks(below[0], operator.input.schema, predicate)
                return _part(below[0])
            case ops.Join():
                return self._joined(operator, below[0], below[1])
            case ops.Aggregate():
                return self._aggregated(operator, below[0])
            case ops.Sort(keys=keys):
                for key in keys:
                    self._safe(below[0], operator.input.schema, key.expression)
                    self._orders(below[0].of(columns_of(key.expression)))
                return below[0]
            case ops.Summing(design=design):
                return self._learned(frozenset({*design.columns, design.label}), below[0])
            case ops.Predict(design=design):
                made = below[0].of(design.columns)
                reads = {n: below[0].reads.get(n, made) for n in operator.schema.names}
                return Flow(reads, below[0].plain, below[0].bounds)
            case ops.Rows():
                return below[0]
            case ops.Limit():
                return _part(below[0])
            case ops.Union() | ops.Intersect() | ops.Except():
                return self._set(operator, below)
            case ops.Distinct():
                self._orders(below[0].of(operator.schema.names))
                return _part(below[0])
        return self._other(operator, below)

    # --- operators --------------------------------------------------------------------------------

    def _scanned(self, scan: ops.Scan, table: str) -> Flow:
        names = scan.schema.names
        schema = scan.source.schema
        bounds = {n: _INTEGERS for n in schema.names if is_integer(schema.field(n).type)}
        whole = Flow(
            {name: frozenset({(table, name)}) for name in schema.names},
            frozenset(schema.names),
            bounds,
            whole=True,
        )
        if scan.predicate is None:
            return _of_names(whole, names)
        self._picks(whole, schema, scan.predicate)
        return _part(_of_names(whole, names))

    def _projected(
        self, project: ops.Project, columns: Sequence[tuple[str, Expression]], below: Flow
    ) -> Flow:
        schema = project.input.schema
        reads, plain, bounds = {}, set(), {}
        for name, expression in columns:
            reads[name] = below.of(columns_of(expression))
            found = self._safe(below, schema, expression)
            if found is not None:
                bounds[name] = found
            if _is_plain(expression, below):
                plain.add(name)
        return Flow(reads, frozenset(plain), bounds, below.whole)

    def _joined(self, join: ops.Join, left: Flow, right: Flow) -> Flow:
        for mine, other in join.on:
            for bases, partner in ((left.of([mine]), right), (right.of([other]), left)):
                self._joins(bases, partner)
        names = join.schema.names
        count = len(join.left.schema.names)
        reads = dict(left.reads)
        bounds = dict(left.bounds)
        plain = left.plain
        if join.how not in ("semi", "anti"):
            # What a row gets from its partner tells of the columns by which it was found.
            of_left = self._telling(left.of(mine for mine, _ in join.on))
            of_right = self._telling(right.of(other for _, other in join.on))
            reads = {name: left.reads.get(name, _NONE) | of_right for name in names[:count]}
            reads |= {name: right.reads.get(name, _NONE) | of_left for name in names[count:]}
            bounds |= right.bounds
            plain |= right.plain
        if join.residual is not None:
            both = pa.schema([*join.left.schema, *join.right.schema])
            together = Flow({**left.reads, **right.reads}, bounds={**left.bounds, **right.bounds})
            self._picks(together, both, join.residual)
        return Flow(reads, plain, bounds)

    def _aggregated(self, aggregate: ops.Aggregate, below: Flow) -> Flow:
        schema = aggregate.input.schema
        raw = {who.table for who in self._analysis.state(aggregate.input).raw}
        gate = bool(raw) and not self._analysis.state(aggregate).raw
        reads, plain, bounds = {}, set(), {}
        for name, key in aggregate.keys:
            reads[name] = below.of(columns_of(key))
            found = self._safe(below, schema, key)
            if found is not None:
                bounds[name] = found
            if _is_plain(key, below):
                plain.add(name)
            if gate:
                self._groups(reads[name])
            self._orders(reads[name])
        for name, call in aggregate.aggregates:
            reads[name] = below.of(columns_of(call))
            for argument in call.arguments:
                self._safe(below, schema, argument)
            if not gate and _overflows(call, below, schema):
                for table, column in self._guarded(reads[name]):
                    raise _NotAllowedError(
                        table, f"computes {call} of {column!r}, which may overflow and tell of it"
                    )
            if gate:
                self._takes(call, below)
            elif (
                call.where is None
                and call.function in _PLAIN_ALONE
                and all(_is_plain(argument, below) for argument in call.arguments)
            ):
                plain.add(name)
            if call.where is not None:
                self._picks(below, schema, call.where)
            found = examine(call, schema, below.bounds).bounds
            if found is not None:
                bounds[name] = found
        if gate:  # what comes out is aggregates of these tables, which were just judged
            reads = {
                name: left
                for name, bases in reads.items()
                if (left := frozenset(base for base in bases if base[0] not in raw))
            }
        return Flow(reads, frozenset(plain), bounds)

    def _set(self, operator: ops.Operator, below: Sequence[Flow]) -> Flow:
        names = operator.schema.names
        reads: dict[str, Bases] = {}
        for position, name in enumerate(names):
            reads[name] = frozenset().union(
                *(
                    flow.reads.get(child.schema.names[position], _NONE)
                    for flow, child in zip(below, operator.inputs, strict=True)
                )
            )
        if not (isinstance(operator, ops.Union) and not operator.distinct):
            for flow, child in zip(below, operator.inputs, strict=True):
                self._orders(flow.of(child.schema.names))
        bounds = {
            name: _INTEGERS
            for position, name in enumerate(names)
            if is_integer(operator.schema.field(position).type)
            and all(
                flow.bounds.get(child.schema.names[position]) == _INTEGERS
                for flow, child in zip(below, operator.inputs, strict=True)
            )
        }
        plain = frozenset(
            name
            for position, name in enumerate(names)
            if all(
                child.schema.names[position] in flow.plain or not flow.reads
                for flow, child in zip(below, operator.inputs, strict=True)
            )
        )
        return Flow(reads, plain, bounds)

    def _other(self, operator: ops.Operator, below: Sequence[Flow]) -> Flow:
        """An operator of which nothing is known: each new column is made of everything."""
        everything: Bases = frozenset().union(
            *(bases for flow in below for bases in flow.reads.values())
        )
        for expression, schema in expressions_of(operator):
            for flow in below:
                self._safe(flow, schema, expression)
        kept = below[0] if len(below) == 1 else Flow()
        reads = {name: kept.reads.get(name, everything) for name in operator.schema.names}
        return Flow(reads, kept.plain & frozenset(reads))

    def _learned(self, columns: frozenset[str], below: Flow) -> Flow:
        """What a model is trained on: the columns of a clause, as they are."""
        for name in sorted(columns):
            for table, column in sorted(below.reads.get(name, _NONE)):
                clause = self._clause(table)
                if clause is None or clause.form is Form.ROWS:
                    continue
                if not _permits(clause.columns, column):
                    raise _NotAllowedError(table, f"learns from {column!r}")
                if name not in below.plain and not _permits(clause.conditions, column):
                    raise _NotAllowedError(
                        table, f"learns from {name!r}, which may pick rows by {column!r}"
                    )
        return Flow()

    # --- clauses ----------------------------------------------------------------------------------

    def _clause(self, table: str) -> Clause | None:
        rule = self._rules.get(table)
        return None if rule is None else rule.clause

    def _guarded(self, bases: Bases) -> Iterable[tuple[str, str]]:
        """Columns that may not leave as they are."""
        for table, column in sorted(bases):
            rule, clause = self._rules.get(table), self._clause(table)
            if (
                rule is None
                or rule.form is not Form.ROWS
                or (clause is not None and not _permits(clause.columns, column))
            ):
                yield table, column

    def _safe(self, below: Flow, schema: pa.Schema, expression: Expression) -> Range | None:
        """The bounds of an expression; it must not fail for a row that may not leave."""
        found = examine(expression, schema, below.bounds)
        if not found.safe:
            for table, column in self._guarded(below.of(columns_of(expression))):
                raise _NotAllowedError(
                    table,
                    f"computes {expression} of {column!r}, which may fail for a single row and "
                    "tell of it by that; try_cast does not, nor does arithmetic with small numbers",
                )
        return found.bounds

    def _picks(self, below: Flow, schema: pa.Schema, predicate: Expression) -> None:
        self._safe(below, schema, predicate)
        self._conditions(below.of(columns_of(predicate)), "picks rows by")

    def _conditions(self, bases: Bases, what: str) -> None:
        for table, column in sorted(bases):
            clause = self._clause(table)
            if clause is None or _permits(clause.conditions, column):
                continue
            if clause.form is Form.ROWS and _permits(clause.columns, column):
                continue
            raise _NotAllowedError(table, f"{what} {column!r}")

    def _orders(self, bases: Bases) -> None:
        """An order or a group of rows that leave tells of what they were ordered by."""
        rows = frozenset(
            base
            for base in bases
            if (clause := self._clause(base[0])) is not None and clause.form is Form.ROWS
        )
        self._conditions(rows, "orders or groups rows by")

    def _joins(self, bases: Bases, partner: Flow) -> None:
        for table, column in sorted(self._telling(bases)):  # individuals are judged apart
            clause = self._clause(table)
            if clause is None or _permits(clause.conditions, column):
                continue
            if clause.form is Form.ROWS and _permits(clause.columns, column):
                continue
            if not _permits(clause.joins, column):
                raise _NotAllowedError(table, f"joins by {column!r}")
            if not partner.whole:
                raise _NotAllowedError(
                    table,
                    f"joins by {column!r} with something else than all rows of a published table, "
                    "which picks rows",
                )

    def _telling(self, bases: Bases) -> Bases:
        """Columns of keys of which a partner's columns tell; who somebody is, is judged apart."""
        return frozenset(
            (table, column)
            for table, column in bases
            if (rule := self._rules.get(table)) is None
            or rule.form is Form.ROWS
            or rule.individual != column
        )

    def _groups(self, bases: Bases) -> None:
        for table, column in sorted(bases):
            clause = self._clause(table)
            if clause is None or clause.form is Form.ROWS or _permits(clause.dimensions, column):
                continue
            raise _NotAllowedError(table, f"groups by {column!r}")

    def _takes(self, call: AggregateCall, below: Flow) -> None:
        """Hold an aggregate over individuals against the clauses of its tables."""
        for table in {table for bases in below.reads.values() for table, _ in bases}:
            clause = self._clause(table)
            if clause is None or clause.form is Form.ROWS:
                continue
            asked = next((word for word, names in FUNCTIONS.items() if call.function in names), "")
            if call.distinct and asked == "count":
                asked = "n_unique"
            if asked == "n_unique" and self._counts_people(call, below):
                asked = "count"
            if asked not in clause.functions and clause.functions != ALL:
                raise _NotAllowedError(table, f"computes {call.function}")
        for argument in call.arguments:
            used = below.of(columns_of(argument))
            for table, column in sorted(used):
                clause, rule = self._clause(table), self._rules.get(table)
                if clause is None or clause.form is Form.ROWS:
                    continue
                if rule is not None and column == rule.individual:
                    continue  # judged apart: individuals may be counted, and nothing else
                if not _permits(clause.columns, column):
                    raise _NotAllowedError(table, f"computes {call.function} of {column!r}")
                if not _is_plain(argument, below) and not _permits(clause.conditions, column):
                    raise _NotAllowedError(
                        table,
                        f"computes {call.function} of something that is made of {column!r} in "
                        "other ways than by another unit, and so may pick rows by it",
                    )

    def _counts_people(self, call: AggregateCall, below: Flow) -> bool:
        used = below.of(columns_of(call))
        rules = self._rules
        return all(t in rules and rules[t].individual == c for t, c in used)


def _permits(names: Sequence[str], column: str) -> bool:
    return column in names or "*" in names


def _part(flow: Flow) -> Flow:
    return Flow(flow.reads, flow.plain, flow.bounds)


def _of_names(flow: Flow, names: Sequence[str]) -> Flow:
    chosen = frozenset(names)
    return Flow(
        {name: flow.reads[name] for name in names},
        flow.plain & chosen,
        {name: bounds for name, bounds in flow.bounds.items() if name in chosen},
        flow.whole,
    )


def _overflows(call: AggregateCall, below: Flow, schema: pa.Schema) -> bool:
    if call.function != "sum":
        return False
    found = examine(call.arguments[0], schema, below.bounds)
    if not is_integer(found.dtype):
        return False
    bounds = found.bounds
    return bounds is None or not -_SUMMED <= bounds[0] <= bounds[1] <= _SUMMED


def _is_plain(expression: Expression, below: Flow) -> bool:
    """Whether a value is a table's own, or the same in another unit."""
    match expression:
        case Literal():
            return True
        case Column(name):
            return name in below.plain or not below.reads.get(name)
        case Cast(operand=operand, dtype=dtype):
            return pa.types.is_floating(dtype) and _is_plain(operand, below)
        case Call(function=function, arguments=arguments) if function in _LINEAR:
            read = [a for a in arguments if columns_of(a)]
            if len(read) > 1 or (function == "divide" and columns_of(arguments[-1])):
                return False
            return all(_is_plain(argument, below) for argument in read)
    return False


__all__ = ["FUNCTIONS", "Denial", "Flow", "Flows"]
