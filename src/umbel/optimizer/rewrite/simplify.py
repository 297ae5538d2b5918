"""Merge and drop operators and expressions that say nothing new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pyarrow as pa

from umbel.optimizer.bounds import Bounds
from umbel.optimizer.facts import Facts
from umbel.plan import operators as ops
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expression,
    Literal,
    columns_of,
    depth,
    substitute,
    transform,
    walk,
)
from umbel.plan.limits import MAX_EXPRESSION_DEPTH
from umbel.plan.safety import constant_value
from umbel.plan.types import BOOL, is_decimal, is_integer
from umbel.plan.typing import infer_type

#: How large a merged projection's expression may grow; nesting without bound grows exponentially.
_LARGEST = 200

#: Exact functions that are computed here if all their arguments are constants.
_SUMS = frozenset({"add", "subtract", "multiply", "negate"})
_NO_COLUMNS = pa.schema([])


def simplify(root: ops.Operator, facts: Facts | None = None) -> ops.Operator:
    """Merge adjacent projections, filters, limits and unions; drop those that do nothing.

    >>> import pyarrow as pa
    >>> from umbel.plan.operators import Filter, Values
    >>> values = Values(table=pa.table({"a": [True]}))
    >>> simplify(Filter(input=values, predicate=Literal(True, BOOL))) is values
    True
    """
    order, readers = ops.topological(root), ops.consumers(root)
    shared = _Shared(op for op in order if len(readers[id(op)]) > 1)
    # A projection below another is left to that one, so that a chain of them is merged once.
    absorbed = {
        id(op)
        for op in order
        if isinstance(op, ops.Project)
        and len(readers[id(op)]) == 1
        and isinstance(readers[id(op)][0], ops.Project)
    }
    bounds = (facts or Facts()).bounds
    new: dict[int, ops.Operator] = {}
    for operator in order:
        inputs = tuple(new[id(child)] for child in operator.inputs)
        moved = operator.with_inputs(inputs)
        new[id(operator)] = moved if id(operator) in absorbed else _simplify(moved, shared, bounds)
    return new[id(root)]


class _Shared:
    """Tells operators that several others read, also after they were rebuilt."""

    def __init__(self, operators: Iterable[ops.Operator]) -> None:
        self._digests = {operator.digest for operator in operators}

    def __contains__(self, operator: ops.Operator) -> bool:
        return bool(self._digests) and operator.digest in self._digests


def _simplify(operator: ops.Operator, shared: _Shared, bounds: Bounds) -> ops.Operator:
    match operator:
        case ops.Project():
            return _project(operator, shared, bounds)
        case ops.Filter():
            return _filter(operator, shared, bounds)
        case ops.Limit(input=ops.Limit() as below) if below not in shared and not (
            operator.pin or below.pin
        ):
            return _merge_limits(operator, below)
        case ops.Limit(count=None, offset=0) if not operator.pin:
            return operator.input
        case ops.Distinct(input=ops.Distinct() | ops.Intersect() | ops.Except()) if (
            not operator.pin
        ):
            return operator.input
        case ops.Union():
            return _union(operator, shared)
        case ops.Aggregate(keys=(_, *_)):
            return _count_ones(operator)
    return operator


def _count_ones(aggregate: ops.Aggregate) -> ops.Operator:
    """Count rows where ones are added up: engines do that faster, and need not read a column.

    A group has a row, so the sum is never null as it is of no rows.
    """
    below = aggregate.input
    columns = dict(below.columns) if isinstance(below, ops.Project) else {}

    def counted(call: AggregateCall) -> AggregateCall:
        match call:
            case AggregateCall("sum", (argument,), False, None, ()):
                if isinstance(argument, Column):
                    argument = columns.get(argument.name, argument)
                match argument:
                    case Literal(1, dtype) if is_integer(dtype):
                        return AggregateCall("len")
        return call

    calls = tuple((name, counted(call)) for name, call in aggregate.aggregates)
    return aggregate if calls == aggregate.aggregates else replace(aggregate, aggregates=calls)


def _merge_limits(above: ops.Limit, below: ops.Limit) -> ops.Operator:
    left = None if below.count is None else max(0, below.count - above.offset)
    counts = [count for count in (above.count, left) if count is not None]
    return replace(
        above,
        input=below.input,
        count=min(counts) if counts else None,
        offset=below.offset + above.offset,
    )


def _union(union: ops.Union, shared: _Shared) -> ops.Operator:
    if len(union.members) == 1 and not union.distinct and not union.pin:
        return union.members[0]
    members: list[ops.Operator] = []
    for member in union.members:
        flat = (
            isinstance(member, ops.Union)
            and member not in shared
            and not member.pin
            and (union.distinct or not member.distinct)
            and member.schema == union.schema
        )
        members.extend(member.inputs if flat else [member])
    if len(members) == len(union.members):
        return union
    return replace(union, members=tuple(members))


def _filter(operator: ops.Filter, shared: _Shared, bounds: Bounds) -> ops.Operator:
    predicate = fold(operator.predicate, operator.input.schema)
    if predicate == Literal(True, BOOL) and not operator.pin:
        return operator.input
    below = operator.input
    if (
        isinstance(below, ops.Filter)
        and below not in shared
        and below.pin == operator.pin
        and bounds.cannot_fail(predicate, below)
        and bounds.cannot_fail(below.predicate, below.input)
    ):
        both = Call("and", (*conjuncts(below.predicate), *conjuncts(predicate)))
        return replace(operator, input=below.input, predicate=both)
    if predicate is operator.predicate:
        return operator
    return replace(operator, predicate=predicate)


def _project(project: ops.Project, shared: _Shared, bounds: Bounds) -> ops.Operator:
    """Merge a projection with those below it, as far as no work is then done twice.

    From the lowest up, so that each step looks at one projection's own expressions only.
    """
    chain = [project]
    while (
        isinstance(below := chain[-1].input, ops.Project)
        and below not in shared
        and below.pin == project.pin
    ):
        chain.append(below)
    merged = _Merged(chain.pop(), bounds)
    while chain:
        above = chain.pop()
        if not merged.take(above):
            merged = _Merged(above, bounds, over=merged.operator())
    return merged.operator()


class _Merged:
    """Projections that were merged into one so far."""

    def __init__(
        self, project: ops.Project, bounds: Bounds, over: ops.Operator | None = None
    ) -> None:
        self._bounds = bounds
        self._base = project.input if over is None else over
        self._last = project
        schema = self._base.schema
        self._columns = tuple(
            (name, e if isinstance(e, Column) else fold(e, schema)) for name, e in project.columns
        )
        self._sizes = {name: sum(1 for _ in walk(e)) for name, e in self._columns}
        self._depths = {name: depth(e) for name, e in self._columns}

    def take(self, above: ops.Project) -> bool:
        """Merge one more projection; says whether it could.

        It could if nothing is computed twice, and nothing that can fail is made conditional, or
        left out of an element. (A column of a relation that nobody reads may be left out.)
        """
        inner = dict(self._columns)
        nodes = [(name, list(walk(e))) for name, e in above.columns]
        uses = Counter(n.name for _, found in nodes for n in found if isinstance(n, Column))
        computed = {n: e for n, e in inner.items() if not isinstance(e, Column | Literal)}
        if any(uses[name] > 1 for name in computed):
            return False
        lazy = any(_waits(n) for _, found in nodes for n in found)
        whole = self._last.form is not ops.Element.ROW
        must_not_fail = [e for n, e in computed.items() if lazy or (whole and not uses[n])]
        if not all(self._bounds.cannot_fail(e, self._base) for e in must_not_fail):
            return False
        sizes = {
            name: len(found) + sum(self._sizes[n.name] for n in found if isinstance(n, Column))
            for name, found in nodes
        }
        depths = {
            name: depth(e) + max((self._depths[c] for c in columns_of(e)), default=0)
            for name, e in above.columns
        }
        if max(sizes.values()) > _LARGEST or max(depths.values()) > MAX_EXPRESSION_DEPTH:
            return False
        self._columns = tuple((name, substitute(e, inner)) for name, e in above.columns)
        self._sizes, self._depths, self._last = sizes, depths, above
        return True

    def operator(self) -> ops.Operator:
        """The one projection, or nothing but its input if it changes nothing."""
        copies = tuple((name, Column(name)) for name in self._base.schema.names)
        if (
            copies == self._columns
            and self._base.element is self._last.element
            and not self._last.pin
        ):
            return self._base
        if self._base is self._last.input and self._columns == self._last.columns:
            return self._last
        return replace(self._last, input=self._base, columns=self._columns)


def _waits(node: Expression) -> bool:
    """Whether an expression does not evaluate all its operands for every row."""
    return isinstance(node, Case) or (isinstance(node, Call) and node.function == "coalesce")


def conjuncts(predicate: Expression) -> tuple[Expression, ...]:
    """Split a predicate into the conditions that must all be true.

    >>> [str(e) for e in conjuncts(Call("and", (Column("a"), Column("b"))))]
    ['a', 'b']
    """
    if isinstance(predicate, Call) and predicate.function == "and":
        return tuple(part for argument in predicate.arguments for part in conjuncts(argument))
    return (predicate,)


def conjunction(parts: list[Expression]) -> Expression:
    """Join conditions that must all be true; none give the literal true."""
    if not parts:
        return Literal(True, BOOL)
    return parts[0] if len(parts) == 1 else Call("and", tuple(parts))


def fold(expression: Expression, schema: pa.Schema) -> Expression:
    """Simplify booleans, casts to the type an operand has already, and sums of constants."""

    def change(node: Expression) -> Expression:
        match node:
            case Call(function, arguments) if function in _SUMS and _all_known(arguments):
                return _computed(node)
            case Cast(operand, dtype) if infer_type(operand, schema) == dtype:
                return operand
            case Cast(Literal()):
                return _computed(node)
            case Call("and", arguments):
                return joined("and", arguments)
            case Call("or", arguments):
                return joined("or", arguments)
            case Call("not", (Call("not", (inner,)),)):
                return inner
        return node

    return transform(expression, change)


def _all_known(arguments: tuple[Expression, ...]) -> bool:
    return all(isinstance(argument, Literal) for argument in arguments)


def _computed(call: Call | Cast) -> Expression:
    """The exact value of a function or cast of constants: engines and estimates do more with it.

    What has none stays: it fails where and when the plan says.
    """
    dtype = infer_type(call, _NO_COLUMNS)
    if not (is_integer(dtype) or is_decimal(dtype)):
        return call
    value = constant_value(call)
    return call if value is None else Literal(value, dtype)


def joined(name: str, arguments: Iterable[Expression]) -> Expression:
    """Join conditions by `and` or `or`; a constant decides, or says nothing.

    >>> str(joined("and", [Column("a"), Literal(True, BOOL), Column("a")]))
    'a'
    >>> str(joined("or", [Column("a"), Literal(True, BOOL)]))
    'True'
    """
    neutral = name == "and"
    flat: dict[Expression, None] = {}  # each once, in order
    for argument in arguments:
        inner = (
            argument.arguments
            if isinstance(argument, Call) and argument.function == name
            else (argument,)
        )
        flat.update(dict.fromkeys(inner))
    kept = [part for part in flat if part != Literal(neutral, BOOL)]
    if Literal(not neutral, BOOL) in kept:
        return Literal(not neutral, BOOL)
    if not kept:
        return Literal(neutral, BOOL)
    return kept[0] if len(kept) == 1 else Call(name, tuple(kept))
