"""WITH RECURSIVE: a loop whose rounds read the rows that the round before has added."""

from __future__ import annotations

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan import operators as ops
from umbel.plan.errors import TypeClashError
from umbel.plan.expressions import AggregateCall, Cast, Column, Expression, Literal
from umbel.plan.invariants import Invariants
from umbel.plan.types import BOOL, common_type
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder, Query
from umbel.sql.reading.lower import plan_of
from umbel.sql.reading.names import Scope

#: The column that says whether the last round has added a row.
NEW = "umbel_new"
ROUND = "round"


def bind_recursive(
    binder: Binder, body: exp.Expr, name: str, renamed: list[str], parent: Scope | None
) -> Query:
    """Bind a common table expression that reads itself.

    With UNION ALL every round gives what the recursive side makes of the rows of the round
    before; with UNION only rows that were not there yet. It ends when a round adds no row, and
    fails after as many rounds as a loop may have.
    """
    from umbel.sql.reading.queries import bind_query

    while isinstance(body, exp.Subquery) and not body.args.get("alias"):
        body = body.this
    if not isinstance(body, exp.Union):
        raise binder.error(body, f"the recursive query {name!r} must be: start UNION [ALL] step")
    if any(body.args.get(key) for key in ("order", "limit", "offset", "with_", "by_name")):
        raise binder.error(
            body,
            f"ORDER BY, LIMIT and WITH do not stand inside the recursive query {name!r}",
            hint="write them in the query that reads it",
        )
    start = bind_query(binder, body.this, parent)
    initial = plan_of(binder, _plain(start, renamed))
    names = list(initial.schema.names)
    columns = pa.schema([f.with_nullable(True) for f in initial.schema])
    state = ops.Placeholder(label=ROUND, columns=columns.append(pa.field(NEW, BOOL)))
    last = _project(ops.Filter(input=state, predicate=Column(NEW)), names)

    def shared(binder: Binder) -> Query:
        unique = tuple(binder.columns.new(f.name, f.type) for f in columns)
        return Query(tree.Leaf(last, unique), tuple(zip(names, unique, strict=True)))

    binder.queries.append({name: shared})
    try:
        step = bind_query(binder, body.expression, parent)
    finally:
        binder.queries.pop()
    if len(step.columns) != len(names):
        raise binder.error(
            body.expression,
            f"the start of {name!r} has {len(names)} columns, the step {len(step.columns)}",
        )
    added = _typed(binder, body, plan_of(binder, _plain(step, [])), columns)
    if bool(body.args.get("distinct")):
        initial = ops.Distinct(input=initial)
        added = ops.Except(left=added, right=_project(state, names))
    both = ops.Union(members=(_marked(state, names, new=False), _marked(added, names, new=True)))
    more = ops.Aggregate(input=state, aggregates=(("more", AggregateCall("any", (Column(NEW),))),))
    condition = ops.Project(
        input=more, columns=(("value", _is_true(Column("more"))),), form=ops.Element.VALUE
    )
    invariants = Invariants()
    bound, test = invariants.bind(both, state), invariants.bind(condition, state)
    loop = ops.DoWhile(
        initial=_marked(initial, names, new=True),
        invariants=invariants.operators,
        body=bound,
        condition=test,
        labels=(ROUND, *invariants.labels),
        origin=binder.origin,
    )
    result = _project(loop, names)
    unique = tuple(binder.columns.new(f.name, f.type) for f in columns)
    return Query(tree.Leaf(result, unique), tuple(zip(names, unique, strict=True)))


def _plain(query: Query, renamed: list[str]) -> Query:
    """Give a query's columns names of which none stands twice."""
    pairs = [
        (renamed[i] if i < len(renamed) else name, unique)
        for i, (name, unique) in enumerate(query.columns)
    ]
    if len({name for name, _ in pairs}) < len(pairs):
        pairs = [(f"{name}_{i}", unique) for i, (name, unique) in enumerate(pairs)]
    return Query(query.relation, tuple(pairs))


def _project(operator: ops.Operator, names: list[str]) -> ops.Operator:
    return ops.Project(input=operator, columns=tuple((name, Column(name)) for name in names))


def _marked(operator: ops.Operator, names: list[str], *, new: bool) -> ops.Operator:
    kept: list[tuple[str, Expression]] = [(name, Column(name)) for name in names]
    return ops.Project(input=operator, columns=(*kept, (NEW, Literal(value=new, dtype=BOOL))))


def _is_true(node: Expression) -> Expression:
    from umbel.plan.expressions import Call

    return Call("coalesce", (node, Literal(value=False, dtype=BOOL)))


def _typed(binder: Binder, body: exp.Expr, step: ops.Operator, columns: pa.Schema) -> ops.Operator:
    """Give the rows of a step the names and types of the start."""
    made = []
    for wanted, have in zip(columns, step.schema, strict=True):
        node: Expression = Column(have.name)
        if have.type != wanted.type:
            try:
                common_type(have.type, wanted.type)
            except TypeClashError as error:
                raise binder.error(
                    body.expression, f"column {wanted.name!r} of the step: {error.message}"
                ) from None
            node = Cast(node, wanted.type)
        made.append((wanted.name, node))
    return ops.Project(input=step, columns=tuple(made))
