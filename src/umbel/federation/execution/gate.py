"""Counts the individuals behind every value that leaves, in the real result.

An aggregate that takes individuals together gets hidden columns: how many different individuals
each group has, and how many of them each aggregate's argument comes from. They are carried up to it
from the scans of protected tables. Groups with too few are left out, and the hidden columns too.
What stands above such an aggregate is computed of what was let through, so it needs no counting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pyarrow as pa

from umbel.api.memory import memory_source
from umbel.federation.errors import FederationError
from umbel.federation.execution.populations import arguments_of, population_of
from umbel.federation.execution.private import clipped_parts
from umbel.federation.execution.updates import check_update
from umbel.federation.noise import METADATA, Noise, read
from umbel.federation.policy.private import Asked, asked_of
from umbel.federation.policy.verdict import INDIVIDUAL, ROWS, VALUE, Cells
from umbel.federation.rules import Analysis, Form, Who
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Call, Cast, Column, Expression, Literal
from umbel.plan.sources import RelationSource
from umbel.plan.types import INT64, is_numeric
from umbel.plan.typing import infer_type

#: Aggregates of numbers in which a zero does not show: one alone of another value would.
_ZERO_HIDES = frozenset(
    {"mean", "std_population", "std_sample", "sum", "var_population", "var_sample"}
)


#: Takes the sum of any number of integers.
_WIDE = pa.decimal128(38, 0)


class Gate:
    """Turns a plan of a task into one whose protected parts are counted; runs those."""

    def __init__(
        self,
        analysis: Analysis,
        run: Callable[[ops.Operator], pa.Table],
        disclose: Callable[[Cells], pa.Table],
        update: Callable[[pa.Table, ops.Summing], pa.Table],
    ) -> None:
        """Prepare.

        Args:
            analysis: the site's rules.
            run: gives the rows of a plan over the site's tables.
            disclose: gives those of an aggregate's cells that may leave.
            update: gives an update of a model as it may leave.
        """
        self._analysis = analysis
        self._run = run
        self._disclose = disclose
        self._update = update
        self._open: dict[int, ops.Operator] = {}
        self._private = 0
        self.withheld = False
        self.noise: list[Noise] = []

    def run(self, plan: ops.Operator) -> ops.Operator:
        """The plan of a task over what was let through; see `opened`."""
        self._private = sum(map(self._is_private, ops.topological(plan)))
        return self.opened(plan)

    def opened(self, operator: ops.Operator) -> ops.Operator:
        """The operator over what was let through, if its output may leave; see `Analysis`."""
        if id(operator) not in self._open:
            made: ops.Operator
            if isinstance(operator, ops.Aggregate) and self._is_private(operator):
                made = self._noisy(operator)
            elif isinstance(operator, ops.Aggregate) and self._analysis.is_gate(operator):
                made = self._counted(operator)
            elif isinstance(operator, ops.Summing) and self._analysis.is_gate(operator):
                made = self._summed(operator)
            elif self._analysis.state(operator).raw:
                raise FederationError(f"{operator.name} gives rows that may not leave")
            else:
                made = operator.with_inputs(tuple(map(self.opened, operator.inputs)))
            self._open[id(operator)] = made
        return self._open[id(operator)]

    def _is_private(self, operator: ops.Operator) -> bool:
        if not (isinstance(operator, ops.Aggregate) and self._analysis.is_gate(operator)):
            return False
        raw = self._analysis.state(operator.input).raw
        return any(who.rule.form is Form.PRIVATE for who in raw)

    def _noisy(self, aggregate: ops.Aggregate) -> ops.Operator:
        """An aggregate with noise: of it nothing is counted, and nothing left out."""
        asked = asked_of(aggregate, self._analysis.site, self._analysis.rules)
        (who,) = self._analysis.state(aggregate.input).raw
        if not isinstance(asked, Asked):
            raise FederationError(asked)  # the rules have refused it before
        parts = clipped_parts(aggregate, self._carried(aggregate.input), _hidden(0), asked)
        cells = Cells(
            aggregate.schema.empty_table(),
            tuple(name for name, _ in aggregate.keys),
            {},
            (who.rule.grant(who.table),),
            {name: call.function for name, call in aggregate.aggregates},
            lambda: self._run(parts),
            private=asked,
            part=aggregate.digest,
            of=self._private,
        )
        kept = self._disclose(cells)
        self.noise += read((kept.schema.metadata or {}).get(METADATA, b"").decode())
        source = memory_source(kept.replace_schema_metadata(None).cast(aggregate.schema))
        return ops.Scan(source=replace(source, schema=aggregate.schema))

    def _counted(self, aggregate: ops.Aggregate) -> ops.Operator:
        raw = self._analysis.state(aggregate.input).raw
        used = {
            name: _contributes(call, aggregate.input.schema) for name, call in aggregate.aggregates
        }
        conditions = list(dict.fromkeys([None, *used.values()]))
        calls = [
            (_counting(number, position), _people(position, who, condition))
            for number, condition in enumerate(conditions)
            for position, who in enumerate(raw)
        ]
        whole = replace(
            aggregate,
            input=self._carried(aggregate.input),
            aggregates=(*self._roomy(aggregate), *calls),
            form=ops.Element.ROW,
        )
        table = self._run(whole)
        behind = {
            name: tuple(
                table.column(_counting(conditions.index(condition), position)).combine_chunks()
                for position in range(len(raw))
            )
            for name, condition in {"": None, **used}.items()
        }
        cells = Cells(
            table.select(aggregate.schema.names),
            tuple(name for name, _ in aggregate.keys),
            behind,
            tuple(who.rule.grant(who.table) for who in raw),
            {name: call.function for name, call in aggregate.aggregates},
            lambda: self._run(self._alone(aggregate, used, len(raw))),
            population_of(aggregate),
            arguments_of(aggregate),
        )
        kept = self._disclose(cells)
        self.withheld |= kept.num_rows < table.num_rows
        source = memory_source(kept.select(aggregate.schema.names).cast(aggregate.schema))
        return ops.Scan(source=replace(source, schema=aggregate.schema))

    def _summed(self, operator: ops.Summing) -> ops.Operator:
        """Sums of a model, if enough individuals are behind all that is in them."""
        whole = self.guarded(operator)
        kept = self.let_through(operator, self._run(whole))
        return ops.Scan(source=replace(memory_source(kept), schema=operator.schema))

    def guarded(self, operator: ops.Summing) -> ops.Summing:
        """The operator with counts of what its sums are made of, if these have to be known.

        Its input is what is let through, with the individuals of each row.
        """
        if not self._analysis.is_gate(operator):
            return replace(operator, input=self.opened(operator.input))
        raw = self._analysis.state(operator.input).raw
        least = max(who.rule.min_individuals for who in raw)
        return replace(
            operator,
            input=self._carried(operator.input),
            individuals=tuple(_hidden(i) for i, who in enumerate(raw) if who.rule.individual),
            guarded=True,
            least=max(least, operator.least),
        )

    def let_through(self, operator: ops.Summing, table: pa.Table) -> pa.Table:
        """What of an operator's guarded output may leave.

        Raises:
            PolicyError: nothing may: too few individuals are behind it.
        """
        if not self._analysis.is_gate(operator):
            return table
        raw = self._analysis.state(operator.input).raw
        (counts,) = table.drop_columns(operator.schema.names).to_pylist()
        for position, who in enumerate(raw):
            distinct = counts.get(f"umbel count {_hidden(position)}")
            check_update(who, counts, distinct, len(operator.design.names))
        return self._update(table.select(operator.schema.names).cast(operator.schema), operator)

    def _alone(
        self, aggregate: ops.Aggregate, used: Mapping[str, Expression | None], individuals: int
    ) -> ops.Operator:
        """What each individual has in each group; see `Cells.contributions`."""
        parts: list[tuple[str, AggregateCall]] = [(ROWS, AggregateCall("len"))]
        for name, call in aggregate.aggregates:
            parts.append((f"{ROWS} {name}", AggregateCall("len", where=used[name])))
            if call.function in _ZERO_HIDES:
                total = AggregateCall("sum", call.arguments, where=call.where)
                parts.append((f"{VALUE}{name}", total))
        people = tuple((f"{INDIVIDUAL}{i}", Column(_hidden(i))) for i in range(individuals))
        return replace(
            aggregate,
            input=self._carried(aggregate.input),
            keys=(*aggregate.keys, *people),
            aggregates=tuple(parts),
            form=ops.Element.ROW,
        )

    def _roomy(self, aggregate: ops.Aggregate) -> tuple[tuple[str, AggregateCall], ...]:
        """The aggregates, with room for sums that may overflow: a failure would tell of few rows.

        What does not fit in the end fails after groups of too few have been left out.
        """
        return tuple(
            (name, replace(call, arguments=(Cast(call.arguments[0], _WIDE),)))
            if self._analysis.overflows(aggregate, call)
            else (name, call)
            for name, call in aggregate.aggregates
        )

    def _carried(self, operator: ops.Operator) -> ops.Operator:
        """The operator with a column more for each of the individuals that its rows are about."""
        state = self._analysis.state(operator)
        if not state.raw:
            return self.opened(operator)
        hidden = tuple((_hidden(i), Column(_hidden(i))) for i in range(len(state.raw)))
        match operator:
            case ops.Scan(source=RelationSource()):
                return _scanned(operator, state.raw[0])
            case ops.Project(columns=columns):
                return replace(
                    operator,
                    input=self._carried(operator.input),
                    columns=(*columns, *hidden),
                    form=ops.Element.ROW,
                )
            case ops.Rows():
                return self._carried(operator.input)
            case ops.Filter() | ops.Sort() | ops.Explode() | ops.Distinct() | ops.Predict():
                return operator.with_inputs((self._carried(operator.input),))
            case ops.Aggregate(keys=keys):
                return replace(
                    operator,
                    input=self._carried(operator.input),
                    keys=(*keys, *hidden),
                    form=ops.Element.ROW,
                )
            case ops.Join():
                return self._carried_join(operator)
            case ops.Union(members=members):
                return self._carried_union(operator, members, state.raw)
        raise FederationError(f"{operator.name} cannot be counted")

    def _carried_join(self, join: ops.Join) -> ops.Operator:
        left, right = self._carried(join.left), self._carried(join.right)
        if join.how in ("semi", "anti"):
            return replace(join, left=left, right=self._inside(join.right))
        shift = len(self._analysis.state(join.left).raw)
        there = len(self._analysis.state(join.right).raw)
        moved = tuple((_hidden(i + shift), Column(_hidden(i))) for i in range(there))
        plain = tuple((name, Column(name)) for name in join.right.schema.names)
        right = ops.Project(input=right, columns=(*plain, *moved))
        names = (*join.schema.names, *(_hidden(i) for i in range(shift + there)))
        joined = replace(join, left=left, right=right)
        return ops.Project(input=joined, columns=tuple((n, Column(n)) for n in names))

    def _inside(self, operator: ops.Operator) -> ops.Operator:
        """An operator whose rows stay inside, only that those below which leave are counted."""
        if not self._analysis.state(operator).raw:
            return self.opened(operator)
        return operator.with_inputs(tuple(map(self._inside, operator.inputs)))

    def _carried_union(
        self, union: ops.Union, members: tuple[ops.Operator, ...], raw: tuple[Who, ...]
    ) -> ops.Operator:
        carried = [self._carried(member) for member in members]
        types: list[pa.DataType] = []
        for member, made in zip(members, carried, strict=True):
            own = len(self._analysis.state(member).raw)
            types += [made.schema.field(_hidden(i)).type for i in range(own)]
        new, start = [], 0
        for member, made in zip(members, carried, strict=True):
            own = len(self._analysis.state(member).raw)
            columns: list[tuple[str, Expression]] = [(n, Column(n)) for n in member.schema.names]
            for position in range(len(raw)):
                mine = start <= position < start + own
                value: Expression = Literal(None, types[position])
                if mine:
                    value = Column(_hidden(position - start))
                columns.append((_hidden(position), value))
            new.append(ops.Project(input=made, columns=tuple(columns)))
            start += own
        return replace(union, members=tuple(new))


def _counting(condition: int, position: int) -> str:
    return f"umbel count {condition} {position}"


def _people(position: int, who: Who, condition: Expression | None) -> AggregateCall:
    """How many individuals there are for whom a condition holds in some row."""
    distinct = bool(who.rule.individual)
    return AggregateCall("count", (Column(_hidden(position)),), distinct, condition)


def _hidden(position: int) -> str:
    return f"umbel individual {position}"


def _scanned(scan: ops.Scan, who: Who) -> ops.Operator:
    """The scan with its individuals; without a column for them each row counts as one.

    Rows of which it is not known whom they are about are nobody's, and cannot be counted: they are
    left out, so that their values are in nothing.
    """
    individual = who.rule.individual
    names = tuple(scan.schema.names)
    read: ops.Operator = scan
    if individual:
        if individual not in names:
            read = replace(scan, columns=(*names, individual))
        read = ops.Filter(input=read, predicate=Call("is_not_null", (Column(individual),)))
    value: Expression = Column(individual) if individual else Literal(1, INT64)
    plain = tuple((name, Column(name)) for name in names)
    return ops.Project(input=read, columns=(*plain, (_hidden(0), value)))


def _contributes(call: AggregateCall, schema: pa.Schema) -> Expression | None:
    """The condition for a row to change an aggregate's value; None if every row does."""
    parts = [] if call.where is None else [call.where]
    for argument in call.arguments[:1]:
        dtype = infer_type(argument, schema)
        if call.function in _ZERO_HIDES and is_numeric(dtype):
            zero = Literal(pa.scalar(0).cast(dtype).as_py(), dtype)
            parts.append(Call("not_equal", (argument, zero)))
        else:
            parts.append(Call("is_not_null", (argument,)))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else Call("and", tuple(parts))


__all__ = ["Gate"]
