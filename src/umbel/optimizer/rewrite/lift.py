"""Replace Python functions by equal expressions, so that any engine can run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import singledispatch
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.optimizer.facts import Facts
from umbel.optimizer.lifting import NotLiftable, trace
from umbel.optimizer.lifting.elements import (
    columns_of_result,
    is_plain_key,
    paths_of,
    symbols_of,
)
from umbel.optimizer.lifting.reductions import aggregates_of
from umbel.optimizer.lifting.symbols import Symbol
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Call, Column, Expression, Literal, SortKey
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import Element
from umbel.plan.types import STRING, is_list, is_object


@dataclass(frozen=True)
class Lifted:
    """An operator after lifting.

    Attributes:
        operator: the new form, or the old one over new inputs.
        nonnull: columns, and items of tuples in them, that are never null, beyond what the schema
            says; see `symbols_of`.
        original: the operator over inputs that were not lifted.
    """

    operator: ops.Operator
    nonnull: frozenset[str]
    original: ops.Operator

    @property
    def typed(self) -> bool:
        """Whether elements have Arrow types."""
        return not any(is_object(field.type) for field in self.operator.schema)


def lift(root: ops.Operator, facts: Facts | None = None) -> ops.Operator:
    """Give a plan whose Python functions became expressions where the two are equal.

    Lifting never changes an answer, nor which inputs raise: an expression is equal to the
    function, or fails where the function might not; then the executor runs the function.

    >>> import pyarrow as pa
    >>> values = ops.Values(
    ...     table=pa.table(
    ...         {"value": [1, 2]}, schema=pa.schema([pa.field("value", pa.int64(), False)])
    ...     ),
    ...     form=Element.VALUE,
    ... )
    >>> plan = ops.Map(input=values, function=PythonFunction.of(lambda x: x + 1))
    >>> lift(plan).describe()
    'value = add(value, 1)'
    """
    return _lifted(root, {}).operator


def _lifted(root: ops.Operator, bound: Mapping[str, Lifted]) -> Lifted:
    """Lift a plan; `bound` says by label what stands in place of placeholders."""
    done: dict[int, Lifted] = {}
    for operator in ops.topological(root):
        inputs = [done[id(child)] for child in operator.inputs]
        try:
            if isinstance(operator, ops.Placeholder) and operator.label in bound:
                done[id(operator)] = bound[operator.label]
            else:
                done[id(operator)] = _lift(operator, inputs)
        except NotLiftable:
            done[id(operator)] = _kept(operator, inputs)
    return done[id(root)]


def _kept(operator: ops.Operator, inputs: list[Lifted]) -> Lifted:
    """Keep an operator, over lifted inputs if it reads any form of element."""
    new = operator.with_inputs(tuple(below.operator for below in inputs))
    return Lifted(new, frozenset(), operator)


def _kept_loop(operator: ops.Loop, inputs: list[Lifted]) -> Lifted:
    """Keep a loop over lifted inputs where its body's placeholders still describe them."""
    below = tuple(
        lifted.operator if _same_form(lifted.operator, old) else lifted.original
        for lifted, old in zip(inputs, operator.inputs, strict=True)
    )
    return Lifted(operator.with_inputs(below), frozenset(), operator)


def _same_form(left: ops.Operator, right: ops.Operator) -> bool:
    same_types = left.schema.names == right.schema.names and left.schema.types == right.schema.types
    return same_types and left.element is right.element


@singledispatch
def _lift(operator: ops.Operator, inputs: list[Lifted]) -> Lifted:
    """Operators without a rule of their own: relational ones, and those that stay Python."""
    return _kept(operator, inputs)


@_lift.register
def _loop(operator: ops.Loop, inputs: list[Lifted]) -> Lifted:
    """Lift a body over the types of what the first round reads, if it gives the same types.

    What holds for the first round then holds for all. Where a round may give None, the next one
    must reckon with that.
    """
    if inputs[0].typed:
        for nonnull in (_never_null(inputs[0]), frozenset[str]()):
            lifted = _typed_loop(operator, inputs, nonnull)
            if lifted is not None:
                return lifted
    return _kept_loop(operator, inputs)


def _typed_loop(operator: ops.Loop, inputs: list[Lifted], nonnull: frozenset[str]) -> Lifted | None:
    bound = {
        label: _bound(label, below, nonnull if i == 0 else _never_null(below))
        for i, (label, below) in enumerate(zip(operator.labels, inputs, strict=True))
    }
    state = bound[operator.labels[0]]
    body = _lifted(operator.body, bound)
    plans = [body.operator]
    if isinstance(operator, ops.DoWhile):
        plans.append(_lifted(operator.condition, bound).operator)
    placeholders = {id(new.operator) for new in bound.values()}
    stale = any(
        isinstance(part, ops.Placeholder) and id(part) not in placeholders
        for plan in plans
        for part in ops.topological(plan)
    )
    if stale or not _same_form(body.operator, state.operator) or not nonnull <= _never_null(body):
        return None
    initial, *invariants = (below.operator for below in inputs)
    new = replace(operator, initial=initial, invariants=tuple(invariants), body=body.operator)
    if isinstance(new, ops.DoWhile):
        new = replace(new, condition=plans[1])
    return Lifted(new, nonnull, operator)


def _never_null(below: Lifted) -> frozenset[str]:
    return below.nonnull | {f.name for f in below.operator.schema if not f.nullable}


def _bound(label: str, below: Lifted, nonnull: frozenset[str]) -> Lifted:
    """What stands for a loop's input in its body: of the types that it has after lifting."""
    columns = pa.schema(
        [field.with_nullable(field.name not in nonnull) for field in below.operator.schema]
    )
    placeholder = ops.Placeholder(
        label=label,
        columns=columns,
        form=below.operator.element,
        origin=below.operator.origin,
    )
    objects = ops.Map(input=placeholder, function=PythonFunction.of(_itself))
    was_objects = any(is_object(field.type) for field in below.original.schema)
    original = objects if was_objects and below.typed else placeholder
    return Lifted(placeholder, nonnull, original)


def _itself(element: Any) -> Any:
    return element


def _code(function: PythonFunction) -> Callable[..., Any]:
    if function.code is None or function.broadcast or not function.deterministic:
        raise NotLiftable("its code is not at hand, or it has side inputs")
    return function.code


def _symbols(below: Lifted) -> Any:
    return symbols_of(below.operator, below.nonnull)


def _projected(operator: ops.Operator, below: ops.Operator, result: Any) -> Lifted:
    columns, form, nonnull = columns_of_result(result)
    project = ops.Project(
        input=below, columns=columns, form=form, origin=operator.origin, pin=operator.pin
    )
    return Lifted(project, nonnull, operator)


@_lift.register
def _map(operator: ops.Map, inputs: list[Lifted]) -> Lifted:
    result = trace(_code(operator.function), _symbols(inputs[0])).result
    return _projected(operator, inputs[0].operator, result)


@_lift.register
def _flat_map(operator: ops.FlatMap, inputs: list[Lifted]) -> Lifted:
    result = trace(_code(operator.function), _symbols(inputs[0])).result
    if not isinstance(result, Symbol) or not is_list(result.dtype):
        raise NotLiftable("it gives no list")
    project = ops.Project(
        input=inputs[0].operator,
        columns=(("value", result.value),),
        form=Element.VALUE,
        origin=operator.origin,
        pin=operator.pin,
    )
    explode = ops.Explode(input=project, column="value", origin=operator.origin, pin=operator.pin)
    return Lifted(explode, frozenset({"value"}), operator)


@_lift.register
def _filter_rows(operator: ops.FilterRows, inputs: list[Lifted]) -> Lifted:
    below = inputs[0]  # behind it come side inputs, which keep the function from being lifted
    condition = trace(_code(operator.function), _symbols(below)).symbol
    new = ops.Filter(
        input=below.operator,
        predicate=condition.truth(),
        origin=operator.origin,
        pin=operator.pin,
    )
    return Lifted(new, below.nonnull, operator)


def _pair(below: Lifted) -> tuple[Any, Any]:
    element = _symbols(below)
    if not isinstance(element, tuple) or len(element) != 2 or hasattr(element, "_fields"):
        raise NotLiftable("elements are not pairs")
    return element[0], element[1]


def _key_columns(key: Any) -> list[Expression]:
    """The expressions of a key, one per item; only keys that Python and plans compare alike."""
    items = key if isinstance(key, tuple) else (key,)
    found = []
    for item in items:
        if isinstance(item, tuple):
            raise NotLiftable("a key holds nested tuples")
        if item.nullable or not is_plain_key(item.dtype):
            raise NotLiftable(f"keys of type {item.dtype} compare otherwise in Python")
        found.append(item.expression)
    return found


def _aggregated(
    operator: ops.Operator,
    below: Lifted,
    keys: list[Expression],
    calls: Any,
    assemble: Callable[[list[Any], Any], Any],
) -> Lifted:
    """Aggregate, then put keys and aggregates together to the element that is wanted."""
    flat: list[AggregateCall] = []

    def place(part: Any) -> Any:
        if isinstance(part, tuple):
            return tuple(map(place, part))
        flat.append(part)
        return len(flat) - 1

    shape = place(calls)
    aggregate = ops.Aggregate(
        input=below.operator,
        keys=tuple((f"key_{i}", key) for i, key in enumerate(keys)),
        aggregates=tuple((f"value_{i}", call) for i, call in enumerate(flat)),
        origin=operator.origin,
        pin=operator.pin,
    )

    def column(name: str) -> Symbol:
        return Symbol(Column(name), aggregate.schema.field(name).type)

    def values(part: Any) -> Any:
        return tuple(map(values, part)) if isinstance(part, tuple) else column(f"value_{part}")

    result = assemble([column(f"key_{i}") for i in range(len(keys))], values(shape))
    return _projected(operator, aggregate, result)


@_lift.register
def _reduce_by_key(operator: ops.ReduceByKey, inputs: list[Lifted]) -> Lifted:
    key, value = _pair(inputs[0])
    keys = _key_columns(key)
    calls = aggregates_of(_code(operator.function), value)
    if not isinstance(key, tuple) and isinstance(calls, AggregateCall):
        pairs = ops.Aggregate(
            input=inputs[0].operator,
            keys=(("item_0", keys[0]),),
            aggregates=(("item_1", calls),),
            form=Element.TUPLE,
            origin=operator.origin,
            pin=operator.pin,
        )
        return Lifted(pairs, frozenset(pairs.schema.names), operator)

    def assemble(key_columns: list[Any], values: Any) -> Any:
        return (tuple(key_columns) if isinstance(key, tuple) else key_columns[0], values)

    return _aggregated(operator, inputs[0], keys, calls, assemble)


@_lift.register
def _reduce_by(operator: ops.ReduceBy, inputs: list[Lifted]) -> Lifted:
    element = _symbols(inputs[0])
    if isinstance(element, tuple) and hasattr(element, "_fields"):
        raise NotLiftable("elements are named tuples")
    keys = _key_columns(trace(_code(operator.key), element).result)
    calls = aggregates_of(_code(operator.function), element, frozenset(keys))
    return _aggregated(operator, inputs[0], keys, calls, lambda _keys, values: values)


@_lift.register
def _reduce(operator: ops.Reduce, inputs: list[Lifted]) -> Lifted:
    element = _symbols(inputs[0])
    if isinstance(element, tuple) and hasattr(element, "_fields"):
        raise NotLiftable("elements are named tuples")
    calls = aggregates_of(_code(operator.function), element)
    lifted = _aggregated(operator, inputs[0], [], calls, lambda _keys, values: values)
    first = lifted.operator.schema.names[0]
    if isinstance(calls, tuple) and any(isinstance(part, tuple) for part in calls):
        raise NotLiftable("elements hold nested tuples")
    # Without elements there is nothing to reduce, where an aggregate gives a row of nulls.
    some = ops.Filter(
        input=lifted.operator,
        predicate=Call("is_not_null", (Column(first),)),
        origin=operator.origin,
        pin=operator.pin,
    )
    return Lifted(some, lifted.nonnull, operator)


@_lift.register
def _sort_by(operator: ops.SortBy, inputs: list[Lifted]) -> Lifted:
    below = inputs[0]
    element = _symbols(below)
    key = element if operator.key is None else trace(_code(operator.key), element).result
    keys = tuple(SortKey(e, descending=operator.descending) for e in _key_columns(key))
    new = ops.Sort(input=below.operator, keys=keys, origin=operator.origin, pin=operator.pin)
    return Lifted(new, below.nonnull, operator)


@_lift.register
def _join_by_key(operator: ops.JoinByKey, inputs: list[Lifted]) -> Lifted:
    sides, values = [], []
    for side, below in zip(("left", "right"), inputs, strict=True):
        key, value = _pair(below)
        values.append(value)
        keys = _key_columns(key)
        renamed = ops.Project(
            input=below.operator,
            columns=(
                *((f"{side}_key_{i}", e) for i, e in enumerate(keys)),
                (f"{side}_value", columns_of_result((value,))[0][0][1]),
            ),
            origin=operator.origin,
        )
        sides.append((key, keys, renamed, _nullable(value)))
    (key, keys, left, left_nullable), (_, other_keys, right, right_nullable) = sides
    if [left.schema.field(i).type for i in range(len(keys))] != [
        right.schema.field(i).type for i in range(len(other_keys))
    ]:
        raise NotLiftable("the keys of the two sides have different types")
    if left_nullable or right_nullable:
        raise NotLiftable("values may be None")
    joined = ops.Join(
        left=left,
        right=right,
        on=tuple((f"left_key_{i}", f"right_key_{i}") for i in range(len(keys))),
        origin=operator.origin,
        pin=operator.pin,
    )

    def column(name: str) -> Symbol:
        return Symbol(Column(name), joined.schema.field(name).type)

    key_columns = tuple(column(f"left_key_{i}") for i in range(len(keys)))
    columns = (
        (
            "item_0",
            _structure(key_columns) if isinstance(key, tuple) else key_columns[0].expression,
        ),
        ("item_1", _structure((column("left_value"), column("right_value")))),
    )
    project = ops.Project(input=joined, columns=columns, form=Element.TUPLE, origin=operator.origin)
    nonnull = {"item_0", "item_1", *paths_of(key, "item_0"), *paths_of(tuple(values), "item_1")}
    return Lifted(project, frozenset(nonnull), operator)


def _nullable(value: Any) -> bool:
    return not isinstance(value, tuple) and value.nullable


def _structure(items: tuple[Symbol, ...]) -> Expression:
    parts: list[Expression] = []
    for i, item in enumerate(items):
        parts += [Literal(f"item_{i}", STRING), item.expression]
    return Call("make_struct", tuple(parts))


@_lift.register
def _to_frame(operator: ops.ToFrame, inputs: list[Lifted]) -> Lifted:
    (below,) = inputs
    if below.operator.element not in (Element.TUPLE, Element.VALUE) or not below.typed:
        raise NotLiftable("elements are not typed tuples")
    have, want = below.operator.schema, operator.columns
    if have.types != want.types:
        raise NotLiftable("columns have other types")
    for source, target in zip(have, want, strict=True):
        if source.nullable and source.name not in below.nonnull and not target.nullable:
            raise NotLiftable("a column may be null")
    columns = tuple(
        (target, Column(source)) for source, target in zip(have.names, want.names, strict=True)
    )
    project = ops.Project(
        input=below.operator, columns=columns, origin=operator.origin, pin=operator.pin
    )
    return Lifted(project, frozenset(), operator)


@_lift.register(ops.Limit)
@_lift.register(ops.Sample)
@_lift.register(ops.Filter)
@_lift.register(ops.Sort)
def _same_rows(operator: ops.Operator, inputs: list[Lifted]) -> Lifted:
    kept = _kept(operator, inputs)
    return replace(kept, nonnull=inputs[0].nonnull)


@_lift.register(ops.Distinct)
@_lift.register(ops.Union)
@_lift.register(ops.Intersect)
@_lift.register(ops.Except)
def _comparing(operator: ops.Operator, inputs: list[Lifted]) -> Lifted:
    """Operators that compare or mix elements: all members must have the same types.

    Python objects stay objects where some member does, and where Python compares otherwise.
    """
    was_objects = any(is_object(field.type) for field in operator.schema)
    new = [below.operator for below in inputs]
    if was_objects:
        first = new[0]
        same = all(
            below.typed
            and below.operator.schema.types == first.schema.types
            and below.operator.element is first.element
            for below in inputs
        )
        compares = not isinstance(operator, ops.Union) or operator.distinct
        if not same or (compares and not all(is_plain_key(t) for t in first.schema.types)):
            if any(below.operator is not below.original for below in inputs):
                return Lifted(
                    operator.with_inputs(tuple(_objects(below) for below in inputs)),
                    frozenset(),
                    operator,
                )
            return _kept(operator, inputs)
    nonnull = frozenset.intersection(*(below.nonnull for below in inputs))
    return Lifted(operator.with_inputs(tuple(new)), nonnull, operator)


def _objects(below: Lifted) -> ops.Operator:
    """The elements as Python objects: as written if they were lifted, else as they are."""
    if any(is_object(field.type) for field in below.original.schema):
        return below.original
    return below.operator
