"""Drop columns that nobody reads, down to the sources."""

from __future__ import annotations

from dataclasses import replace

from umbel.optimizer.facts import Facts
from umbel.plan import operators as ops
from umbel.plan.expressions import Column, Expression, Literal, columns_of
from umbel.plan.safety import cannot_fail
from umbel.plan.sources import CsvSource, JsonLinesSource, Source
from umbel.plan.types import is_object, is_string, type_width


def prune_columns(root: ops.Operator, facts: Facts | None = None) -> ops.Operator:
    """Tell each operator which of its columns are read above, and drop the others.

    Columns leave at scans, projections, aggregates and windows; above a join they leave through a
    projection, so that they are not carried over a border between platforms.
    """
    order = ops.topological(root)
    needed: dict[int, set[str]] = {id(op): set() for op in order}
    needed[id(root)] = set(root.schema.names)
    reads: dict[int, list[set[str]]] = {}
    for operator in reversed(order):
        reads[id(operator)] = _reads(operator, needed[id(operator)])
        for child, names in zip(operator.inputs, reads[id(operator)], strict=True):
            needed[id(child)] |= names
    new: dict[int, ops.Operator] = {}
    for operator in order:
        inputs = tuple(
            _narrowed(operator, new[id(child)], names)
            for child, names in zip(operator.inputs, reads[id(operator)], strict=True)
        )
        pruned = _prune(operator, needed[id(operator)])
        new[id(operator)] = pruned.with_inputs(inputs)
    result = new[id(root)]
    if result.schema.names != root.schema.names:
        columns = tuple((name, Column(name)) for name in root.schema.names)
        return ops.Project(input=result, columns=columns, form=root.element)
    return result


def _reads(operator: ops.Operator, needed: set[str]) -> list[set[str]]:
    """For each input the columns that an operator reads, if `needed` are read of its own."""
    match operator:
        case ops.Project(columns=columns):
            whole = operator.form is not ops.Element.ROW
            used = [e for name, e in columns if whole or name in needed]
            used = used or [e for _, e in _kept_for_rows(operator)]
            return [_some(set(columns_of(*used)), operator.input)]
        case ops.Filter(predicate=predicate):
            return [needed | columns_of(predicate)]
        case ops.Sort(keys=keys):
            return [needed | columns_of(*(key.expression for key in keys))]
        case ops.Limit() | ops.Sample():
            return [_some(set(needed), operator.inputs[0])]
        case ops.Explode(column=column):
            return [needed | {column}]
        case ops.Aggregate():
            whole = operator.form is not ops.Element.ROW
            calls = [call for name, call in operator.aggregates if whole or name in needed]
            if not operator.keys and not calls:
                calls = [operator.aggregates[0][1]]
            grouping = [key for _, key in operator.keys]
            return [_some(set(columns_of(*grouping, *calls)), operator.input)]
        case ops.Window():
            own = {name for name, _ in operator.columns}
            windows = [call for name, call in operator.columns if name in needed]
            return [_some((needed - own) | columns_of(*windows), operator.input)]
        case ops.Join():
            wanted = set(needed) | {name for pair in operator.on for name in pair}
            if operator.residual is not None:
                wanted |= columns_of(operator.residual)
            sides = [wanted & set(side.schema.names) for side in operator.inputs]
            return [_some(names, side) for names, side in zip(sides, operator.inputs, strict=True)]
        case ops.Union(distinct=False):
            return [_some(set(needed), operator)] * len(operator.members)
        case ops.Count():
            return [_some(set(), operator.input)]
        case ops.Summing():
            return [{*operator.design.columns, *operator.design.targets, *operator.individuals}]
        case ops.Transform():
            return [set(operator.design.columns)]
    return [set(child.schema.names) for child in operator.inputs]


def _some(names: set[str], operator: ops.Operator) -> set[str]:
    """At least one column: a relation without columns has no rows to count.

    Best is one that cannot fail (a projection that has none gives a constant), that is read anyway,
    that is not parsed (a value that cannot be would fail a query that does not ask for it), and
    that is narrow.
    """
    if names or not operator.schema.names:
        return names
    fields = [field for field in operator.schema if not _may_fail(operator, field.name)]
    if not fields and isinstance(operator, ops.Project | ops.Limit | ops.Sample):
        return names
    fields = fields or list(operator.schema)
    read, source = _read_anyway(operator)
    parsed = isinstance(source, CsvSource | JsonLinesSource)
    best = min(
        [f for f in fields if f.name in read] or fields,
        key=lambda f: (parsed and not is_string(f.type), type_width(f.type), f.name),
    )
    return {best.name}


def _may_fail(operator: ops.Operator, name: str) -> bool:
    """Whether computing a column may fail; only as far as projections are near."""
    while isinstance(operator, ops.Filter | ops.Sort | ops.Limit | ops.Sample | ops.Distinct):
        operator = operator.input
    match operator:
        case ops.Project(columns=columns):
            return not cannot_fail(dict(columns)[name], operator.input.schema)
        case ops.Aggregate(keys=keys, aggregates=aggregates):
            return not cannot_fail(dict((*keys, *aggregates))[name], operator.input.schema)
        case ops.Window(columns=columns) if name in dict(columns):
            return not cannot_fail(dict(columns)[name], operator.input.schema)
        case ops.Join() | ops.Union():
            sides = [side for side in operator.inputs if name in side.schema.names]
            return any(_may_fail(side, name) for side in sides)
    return False


def _kept_for_rows(project: ops.Project) -> tuple[tuple[str, Expression], ...]:
    """One column of a projection of which only the number of rows is of interest."""
    below = project.input.schema
    safe = [column for column in project.columns if cannot_fail(column[1], below)]
    name, expression = (safe or project.columns)[0]
    if not safe:
        expression = Literal(None, project.schema.field(name).type)
    return ((name, expression),)


def _read_anyway(operator: ops.Operator) -> tuple[frozenset[str], Source | None]:
    """The columns that are read of a scan for the sake of its own rows, and what is scanned."""
    match operator:
        case ops.Filter(predicate=predicate):
            below, source = _read_anyway(operator.input)
            return below | columns_of(predicate), source
        case ops.Sort(keys=keys):
            below, source = _read_anyway(operator.input)
            return below | columns_of(*(key.expression for key in keys)), source
        case ops.Limit() | ops.Sample():
            return _read_anyway(operator.inputs[0])
        case ops.Scan(source=source, predicate=predicate):
            return frozenset() if predicate is None else columns_of(predicate), source
    return frozenset(), None


def _prune(operator: ops.Operator, needed: set[str]) -> ops.Operator:
    match operator:
        case ops.Scan():
            if operator.element is not ops.Element.ROW:
                return operator
            kept = tuple(n for n in operator.schema.names if n in _some(needed, operator))
            if kept == tuple(operator.schema.names) or any(
                is_object(f.type) for f in operator.schema
            ):
                return operator
            return replace(operator, columns=kept)
        case ops.Project(columns=columns) if operator.form is ops.Element.ROW:
            kept_columns = tuple(c for c in columns if c[0] in needed)
            kept_columns = kept_columns or _kept_for_rows(operator)
            return operator if kept_columns == columns else replace(operator, columns=kept_columns)
        case ops.Aggregate(aggregates=aggregates) if operator.form is ops.Element.ROW:
            kept_calls = tuple(c for c in aggregates if c[0] in needed)
            if not operator.keys and not kept_calls:
                kept_calls = aggregates[:1]
            return (
                operator if kept_calls == aggregates else replace(operator, aggregates=kept_calls)
            )
        case ops.Window(columns=columns):
            kept_windows = tuple(c for c in columns if c[0] in needed)
            return operator if kept_windows == columns else replace(operator, columns=kept_windows)
    return operator


def _narrowed(reader: ops.Operator, operator: ops.Operator, names: set[str]) -> ops.Operator:
    """Drop columns that the operator below had to keep for itself.

    The members of a union must agree. Joins and aggregates end what an engine can pipeline, and
    may stand at a border between platforms.
    """
    kept = [name for name in operator.schema.names if name in names]
    if len(kept) == len(operator.schema.names) or operator.element is not ops.Element.ROW:
        return operator
    if isinstance(reader, ops.Join | ops.Aggregate):
        if not isinstance(operator, ops.Join | ops.Window | ops.Explode | ops.Filter):
            return operator
    elif not isinstance(reader, ops.Union | ops.Summing | ops.Transform):
        return operator
    columns = tuple((name, Column(name)) for name in kept)
    pin = operator.pin if operator.pin == reader.pin else ""  # what is pinned stays in one stage
    return ops.Project(input=operator, columns=columns, origin=operator.origin, pin=pin)
