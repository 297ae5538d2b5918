"""Group by what grouping keys are computed from, before computing them.

`lower(word)` for each of ten million words, and for each of the hundred thousand different ones,
gives the same groups. So rows are first grouped by the columns that the keys read; the keys are
computed once per such group, and the groups are joined.

Words get one step more. Splitting at spaces, which engines do fastest, and then each part at any
white space, gives the same words as splitting at white space at once; so the parts are grouped
before they are looked at more closely.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from umbel.optimizer.cardinality import Estimator
from umbel.optimizer.facts import Facts
from umbel.optimizer.partials import MERGES
from umbel.plan import operators as ops
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Column,
    Expression,
    Literal,
    columns_of,
    depth,
    substitute,
    walk,
)
from umbel.plan.limits import MAX_EXPRESSION_DEPTH
from umbel.plan.types import STRING, is_float, is_integer, is_string

#: Rows per different value above which a second grouping is worth while.
_REPETITION = 4.0


def aggregate_early(root: ops.Operator, facts: Facts | None = None) -> ops.Operator:
    """Split aggregates whose keys are functions of columns with few different values."""
    if not any(isinstance(op, ops.Aggregate) for op in ops.topological(root)):
        return root
    facts = facts or Facts()
    return ops.rebuild(root, lambda op: _split(op, facts) if isinstance(op, ops.Aggregate) else op)


def _split(aggregate: ops.Aggregate, facts: Facts) -> ops.Operator:
    below = aggregate.input
    inner: dict[str, Expression] = {}
    if isinstance(below, ops.Project) and below.pin == aggregate.pin:
        inner, below = dict(below.columns), below.input
    keys = [(name, substitute(key, inner)) for name, key in aggregate.keys]
    calls = [
        (name, call)
        for name, written in aggregate.aggregates
        if isinstance(call := substitute(written, inner), AggregateCall)
    ]
    if max(depth(e) for _, e in (*keys, *calls)) > MAX_EXPRESSION_DEPTH:
        return aggregate
    read = sorted(columns_of(*(key for _, key in keys)))
    if (
        not read
        or not any(_is_costly(key, below.schema) for _, key in keys)
        or not all(facts.bounds.cannot_fail(key, below) for _, key in keys)
        or not all(facts.bounds.cannot_fail(e, below) for e in inner.values())
        or any(_is_inexact_key(below.schema.field(name).type) for name in read)
        or not all(_splits(call) for _, call in calls)
        or not _repeats(below, read, facts.estimate)
    ):
        return aggregate
    partials = tuple((f"partial {i}", call) for i, (_, call) in enumerate(calls))
    partial = _counted_at_spaces(below, read, partials, aggregate.pin) or ops.Aggregate(
        input=below,
        keys=tuple((name, Column(name)) for name in read),
        aggregates=partials,
        origin=aggregate.origin,
        pin=aggregate.pin,
    )
    computed = ops.Project(
        input=partial,
        columns=(
            *((f"key {i}", key) for i, (_, key) in enumerate(keys)),
            *((name, Column(name)) for name, _ in partials),
        ),
        origin=aggregate.origin,
        pin=aggregate.pin,
    )
    merged = tuple(
        (name, AggregateCall(_merge(call), (Column(f"partial {i}"),)))
        for i, (name, call) in enumerate(aggregate.aggregates)
    )
    return replace(
        aggregate,
        input=computed,
        keys=tuple((name, Column(f"key {i}")) for i, (name, _) in enumerate(keys)),
        aggregates=merged,
    )


def _counted_at_spaces(
    words: ops.Operator,
    read: list[str],
    partials: tuple[tuple[str, AggregateCall], ...],
    pin: str,
) -> ops.Operator | None:
    """Count the parts between spaces, then split those at white space; None if that does not fit.

    Only counts fit: each word of a part comes as often as the part.
    """
    match words:
        case ops.Explode(
            column=word,
            outer=False,
            input=ops.Project(
                columns=((name, Call("split_whitespace", (Column() as text,))),)
            ) as lines,
        ) if name == word and read == [word] and words.pin == lines.pin == pin:
            pass
        case _:
            return None
    if not all(call.where is None and _counts(call) for _, call in partials):
        return None
    space = Literal(" ", STRING)
    split = replace(lines, columns=((word, Call("split", (text, space))),), form=ops.Element.ROW)
    counted = ops.Aggregate(
        input=replace(words, input=split),
        keys=((word, Column(word)),),
        aggregates=partials,
        origin=words.origin,
        pin=pin,
    )
    parts = ops.Project(
        input=counted,
        columns=(
            (word, Call("split_whitespace", (Column(word),))),
            *((name, Column(name)) for name, _ in partials),
        ),
        origin=lines.origin,
        pin=pin,
    )
    return ops.Explode(input=parts, column=word, origin=words.origin, pin=pin)


def _counts(call: AggregateCall) -> bool:
    return call.function in ("len", "sum", "count") and all(
        isinstance(argument, Literal) for argument in call.arguments
    )


def _is_costly(key: Expression, schema: pa.Schema) -> bool:
    """Whether computing a key per row takes long against grouping: functions of text do."""
    texts = any(is_string(schema.field(name).type) for name in columns_of(key))
    return texts and any(isinstance(node, Call) for node in walk(key))


def _is_inexact_key(dtype: pa.DataType) -> bool:
    """Floats that are equal may give different keys: the sign of zero is lost in a group."""
    return is_float(dtype) or pa.types.is_nested(dtype)


def _splits(call: AggregateCall) -> bool:
    match call:
        case AggregateCall(distinct=True) | AggregateCall(order_by=(_, *_)):
            return False
        case AggregateCall("sum", (Literal(value, dtype),)):
            # A sum of parts may overflow where the whole does not, unless all have one sign.
            return is_integer(dtype) and value is not None
        case AggregateCall(function):
            return function != "sum" and function in MERGES
    return False


def _merge(call: AggregateCall) -> str:
    return MERGES[call.function]


def _repeats(below: ops.Operator, read: list[str], estimator: Estimator) -> bool:
    """Whether the columns are known to have few different values against the number of rows."""
    estimate = estimator(below)
    different = 1.0
    for name in read:
        column = estimate.columns.get(name)
        if column is None or column.distinct is None:
            return False
        different *= max(1.0, column.distinct)
    return estimate.expected > _REPETITION * different
