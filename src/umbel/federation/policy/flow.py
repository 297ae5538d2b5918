"""Follows the columns of protected tables through a plan, and holds them against their clauses.

For each output column it is known of which columns of which tables it is made, through every
operator and function. What picks or repeats rows is a use of columns too: a filter, the keys of a
join or of a group, the list that is exploded, the condition of an aggregate. An expression that may
fail is one as well: whether a query fails would tell of a single row whether a division, a cast or
an overflow strikes it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.federation.policy.clauses import Form
from umbel.federation.policy.plain import INTEGERS, OWN, PLAIN_ALONE, Unit, overflows
from umbel.federation.policy.rule import Rule
from umbel.federation.policy.uses import (
    NONE,
    ROWS_OF_ONE,
    Bases,
    Denial,
    Flow,
    NotAllowedError,
    Uses,
    permits,
)
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Column, Expression, columns_of
from umbel.plan.safety import Range, examine
from umbel.plan.sources import RelationSource
from umbel.plan.types import is_integer
from umbel.platforms.refusal import expressions_of

if TYPE_CHECKING:
    from umbel.federation.rules import Analysis

#: Operators about which something is kept; a session may live for long.
MOST_KEPT = 50_000


def find_below_first(
    operator: ops.Operator,
    site: str,
    known: Container[str],
    find: Callable[[ops.Operator], object],
) -> None:
    """Find out about an operator after all below it, so that no plan is too deep.

    Not about all that is below: of a hundred sites each looks at its own.
    """
    if all(c.digest in known or site not in c.places for c in operator.inputs):
        find(operator)
        return
    waiting = [operator]
    while waiting:
        last = waiting[-1]
        ahead = [c for c in last.inputs if site in c.places and c.digest not in known]
        if ahead and last.digest not in known:
            waiting += ahead
        else:
            find(waiting.pop())


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
        self._uses = Uses(rules)
        self._analysis = analysis
        self._flows: dict[str, Flow] = {}

    def flow(self, operator: ops.Operator) -> Flow:
        """Find out about an operator."""
        known = self._flows.get(operator.digest)
        if known is not None:
            return known
        if len(self._flows) > MOST_KEPT:
            self._flows.clear()
        find_below_first(operator, self._site, self._flows, self._find)
        return self._find(operator)

    def is_free(self, operator: ops.Operator) -> bool:
        """Whether no column of a table is in an operator's output, in any way that counts."""
        found = self.flow(operator)
        return found.denied is None and not any(found.reads.values())

    def overflows(self, aggregate: ops.Aggregate, call: AggregateCall) -> bool:
        """Whether a sum of a few rows may have no place in its type."""
        return overflows(call, aggregate.input.schema, self.flow(aggregate.input).bounds)

    def denied(self, operator: ops.Operator) -> Denial | None:
        """Say which use of a column stands against letting an operator's output go."""
        found = self.flow(operator)
        if found.denied is not None or not found.reads:
            return found.denied
        for name in operator.schema.names:
            for table, column in sorted(found.reads.get(name, NONE)):
                clause = self._uses.clause(table)
                if clause is None or clause.form is not Form.ROWS:
                    continue
                if not permits(clause.columns, column):
                    return Denial(operator, table, f"gives column {column!r} of it")
        return None

    def _find(self, operator: ops.Operator) -> Flow:
        if self._site not in operator.places:
            return _NOTHING
        known = self._flows.get(operator.digest)
        if known is None:
            known = self._made(operator)
            self._flows[operator.digest] = known
        return known

    def _made(self, operator: ops.Operator) -> Flow:
        below = [self._find(child) for child in operator.inputs]
        for flow in below:
            if flow.denied is not None:
                return flow
        if below and not any(
            flow is not _NOTHING and (flow.reads or self._analysis.state(child).raw)
            for flow, child in zip(below, operator.inputs, strict=True)
        ):
            return _NOTHING  # nothing in it is of a table any more
        try:
            return self._flow(operator, below)
        except NotAllowedError as denial:
            return Flow(denied=Denial(operator, denial.table, denial.why))

    def _flow(self, operator: ops.Operator, below: Sequence[Flow]) -> Flow:
        match operator:
            case ops.Scan(source=RelationSource(platform=self._site, relation=(*_, table))):
                return self._scanned(operator, table)
            case ops.Project(columns=columns):
                return self._projected(operator, columns, below[0])
            case ops.Filter(predicate=predicate):
                self._uses.picks(below[0], operator.input.schema, predicate)
                return _part(below[0])
            case ops.Join():
                return self._joined(operator, below[0], below[1])
            case ops.Aggregate():
                return self._aggregated(operator, below[0])
            case ops.Sort(keys=keys):
                for key in keys:
                    self._uses.orders(below[0].made_of(key.expression))
                    self._uses.computed(below[0], operator.input.schema, key.expression)
                return below[0]
            case ops.Explode(column=column):
                self._uses.conditions(below[0].of([column]), "repeats rows by")
                plain = {n: unit for n, unit in below[0].plain.items() if n != column}
                bounds = {n: known for n, known in below[0].bounds.items() if n != column}
                return Flow(below[0].reads, plain, bounds)
            case ops.Summing(design=design):
                self._uses.learns({*design.columns, *design.targets}, below[0])
                return Flow()
            case ops.Predict(design=design):
                self._uses.conditions(below[0].of(design.columns), "predicts from")
                made = below[0].of(design.columns)
                reads = {n: below[0].reads.get(n, made) for n in operator.schema.names}
                return Flow(reads, below[0].plain, below[0].bounds)
            case ops.Rows():
                return below[0]
            case ops.Map() | ops.FlatMap() | ops.FilterRows() | ops.MapPartitions():
                return self._coded(operator, below)
            case ops.Limit():
                return _part(below[0])
            case ops.Union() | ops.Intersect() | ops.Except():
                return self._set(operator, below)
            case ops.Distinct():
                everything = below[0].of(operator.schema.names)
                self._uses.orders(everything)
                self._uses.gathered(everything)
                return _part(below[0])
        return self._other(operator, below)

    # --- operators --------------------------------------------------------------------------------

    def _scanned(self, scan: ops.Scan, table: str) -> Flow:
        names = scan.schema.names
        schema = scan.source.schema
        whole = Flow(
            {name: frozenset({(table, name)}) for name in schema.names},
            dict.fromkeys(schema.names, OWN),
            {n: INTEGERS for n in schema.names if is_integer(schema.field(n).type)},
            frozenset(schema.names),
        )
        if scan.predicate is None:
            return whole if len(names) == len(schema.names) else _of_names(whole, names)
        self._uses.picks(whole, schema, scan.predicate)
        return _part(_of_names(whole, names))

    def _projected(
        self, project: ops.Project, columns: Sequence[tuple[str, Expression]], below: Flow
    ) -> Flow:
        schema = project.input.schema
        reads, plain, bounds, whole = {}, {}, {}, set()
        for name, expression in columns:
            reads[name] = below.made_of(expression)
            found = self._uses.computed(below, schema, expression)
            if found is not None:
                bounds[name] = found
            unit = below.unit(expression, schema)
            if unit is not None:
                plain[name] = unit
            if isinstance(expression, Column) and expression.name in below.whole:
                whole.add(name)
        return Flow(reads, plain, bounds, frozenset(whole))

    def _joined(self, join: ops.Join, left: Flow, right: Flow) -> Flow:
        uses = self._uses
        for mine, other in join.on:
            uses.joins(left.of([mine]), right, other)
            uses.joins(right.of([other]), left, mine)
        names = join.schema.names
        count = len(join.left.schema.names)
        reads = dict(left.reads)
        bounds = dict(left.bounds)
        plain = dict(left.plain)
        if join.how not in ("semi", "anti"):
            # What a row gets from its partner tells of the columns by which it was found.
            of_left = uses.telling(left.of(mine for mine, _ in join.on))
            of_right = uses.telling(right.of(other for _, other in join.on))
            reads = {name: left.reads.get(name, NONE) | of_right for name in names[:count]}
            reads |= {name: right.reads.get(name, NONE) | of_left for name in names[count:]}
            bounds |= right.bounds
            plain |= right.plain
        if join.residual is not None:
            both = pa.schema([*join.left.schema, *join.right.schema])
            together = Flow({**left.reads, **right.reads}, bounds={**left.bounds, **right.bounds})
            uses.picks(together, both, join.residual)
        return Flow(reads, plain, bounds)

    def _aggregated(self, aggregate: ops.Aggregate, below: Flow) -> Flow:
        uses, schema = self._uses, aggregate.input.schema
        raw = frozenset(who.table for who in self._analysis.state(aggregate.input).raw)
        gate = bool(raw) and not self._analysis.state(aggregate).raw
        reads: dict[str, Bases] = {}
        plain: dict[str, Unit] = {}
        bounds: dict[str, Range] = {}
        for name, key in aggregate.keys:
            reads[name] = below.made_of(key)
            if gate:
                uses.groups(reads[name])
            elif raw:
                uses.gathered(reads[name])
            uses.orders(reads[name])
            found = uses.computed(below, schema, key)
            if found is not None:
                bounds[name] = found
            unit = below.unit(key, schema)
            if unit is not None:
                plain[name] = unit
        for name, call in aggregate.aggregates:
            reads[name] = below.of(columns_of(call))
            if call.where is not None:
                uses.picks(below, schema, call.where)
            for argument in call.arguments:
                uses.computed(below, schema, argument)
            if gate:
                uses.takes(call, below, schema, raw)
            if raw and not gate:
                uses.gathers(below, call)
                if raw.isdisjoint(table for table, _ in reads[name]):
                    reads[name] |= {(table, ROWS_OF_ONE) for table in raw}
            if not gate or (call.arguments and not _is_whole(call, schema, below)):
                uses.overflows(call, below, schema)
            unit = _unit_alone(call, below, schema)
            if unit is not None and not gate:
                plain[name] = unit
            known = examine(call, schema, below.bounds).bounds
            if known is not None:
                bounds[name] = known
        if gate:  # what comes out is aggregates of these tables, which were just judged
            reads = {
                name: left
                for name, bases in reads.items()
                if (left := frozenset(base for base in bases if base[0] not in raw))
            }
        return Flow(reads, plain, bounds)

    def _set(self, operator: ops.Operator, below: Sequence[Flow]) -> Flow:
        names = operator.schema.names
        reads: dict[str, Bases] = {}
        for position, name in enumerate(names):
            reads[name] = frozenset().union(
                *(
                    flow.reads.get(child.schema.names[position], NONE)
                    for flow, child in zip(below, operator.inputs, strict=True)
                )
            )
        if not (isinstance(operator, ops.Union) and not operator.distinct):
            for flow, child in zip(below, operator.inputs, strict=True):
                self._uses.orders(flow.of(child.schema.names))
        bounds = {
            name: INTEGERS
            for position, name in enumerate(names)
            if is_integer(operator.schema.field(position).type)
            and all(
                flow.bounds.get(child.schema.names[position]) == INTEGERS
                for flow, child in zip(below, operator.inputs, strict=True)
            )
        }
        plain: dict[str, Unit] = {}
        for position, name in enumerate(names):
            units = [
                OWN if not flow.reads else flow.plain.get(child.schema.names[position])
                for flow, child in zip(below, operator.inputs, strict=True)
            ]
            known = [unit for unit in units if unit is not None]
            if len(known) == len(units):  # the one with the most added says what is rounded away
                plain[name] = max(known, key=lambda unit: abs(unit.added / unit.factor))
        return Flow(reads, plain, bounds)

    def _other(self, operator: ops.Operator, below: Sequence[Flow]) -> Flow:
        """An operator of which nothing is known: each new column is made of everything."""
        everything: Bases = frozenset().union(
            *(bases for flow in below for bases in flow.reads.values())
        )
        for expression, schema in expressions_of(operator):
            for flow in below:
                self._uses.computed(flow, schema, expression)
        kept = below[0] if len(below) == 1 else Flow()
        reads = {name: kept.reads.get(name, everything) for name in operator.schema.names}
        return Flow(reads, {name: unit for name, unit in kept.plain.items() if name in reads})

    def _coded(self, operator: ops.Operator, below: Sequence[Flow]) -> Flow:
        """What code makes is made of all that it reads, and it may pick rows by all of that."""
        everything: Bases = frozenset().union(
            *(bases for flow in below for bases in flow.reads.values())
        )
        self._uses.coded(everything)
        return Flow(dict.fromkeys(operator.schema.names, everything))


#: What is made of no table.
_NOTHING = Flow()


def _part(flow: Flow) -> Flow:
    return Flow(flow.reads, flow.plain, flow.bounds)


def _of_names(flow: Flow, names: Sequence[str]) -> Flow:
    chosen = frozenset(names)
    return Flow(
        {name: flow.reads[name] for name in names},
        {name: unit for name, unit in flow.plain.items() if name in chosen},
        {name: bounds for name, bounds in flow.bounds.items() if name in chosen},
        flow.whole & chosen,
    )


def _is_whole(call: AggregateCall, schema: pa.Schema, below: Flow) -> bool:
    """Whether a sum over individuals is one of integers: the gate makes room for these."""
    return is_integer(examine(call.arguments[0], schema, below.bounds).dtype)


def _unit_alone(call: AggregateCall, below: Flow, schema: pa.Schema) -> Unit | None:
    """In which unit an aggregate of one individual's rows is the individual's own value."""
    if call.where is not None or call.function not in PLAIN_ALONE:
        return None
    units = [below.unit(argument, schema) for argument in call.arguments]
    known = [unit for unit in units if unit is not None]
    if len(known) < len(units):
        return None
    return known[0] if known else OWN


__all__ = ["MOST_KEPT", "Denial", "Flow", "Flows", "find_below_first"]
