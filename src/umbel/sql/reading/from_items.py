"""FROM: tables, files, derived tables, VALUES and joins, as relations and the names they give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.plan.expressions import Expression, Literal
from umbel.plan.operators import Operator, Values
from umbel.plan.types import common_type, is_list
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder, Query, described
from umbel.sql.reading.connecting import connected, factored
from umbel.sql.reading.correlation import conjuncts
from umbel.sql.reading.names import Item, Name, Scope, matching, name_of
from umbel.sql.reading.operators import compare, unified
from umbel.sql.reading.subqueries import restricted
from umbel.sql.reading.syntax import Syntax, UnreadError, reading
from umbel.sql.reading.values import Value, boolean, call


@dataclass
class Source:
    """One item of FROM: its rows, and its names."""

    relation: tree.Relation
    items: list[Item]


@dataclass
class Sources:
    """All of FROM, before WHERE.

    Attributes:
        relations: what stands between commas; explicit joins are one of them.
        conditions: what inner joins demand.
        comma: whether a comma came before the item that was bound last.
    """

    relations: list[tree.Relation] = field(default_factory=list)
    conditions: list[Expression] = field(default_factory=list)
    comma: bool = False


def bind_from(
    binder: Binder, first: exp.Expr | None, joins: list[exp.Join], scope: Scope
) -> Sources:
    """Bind FROM and fill the scope with its names."""
    sources = Sources()
    if first is None:
        return sources
    with reading(first) as syntax:
        node = syntax["this"]
    _add(binder, node, scope, sources)
    for join in joins:
        try:
            with reading(join) as syntax:
                _join(binder, syntax, scope, sources)
        except UnreadError as error:
            raise binder.unread(error) from None
        except PlanError as error:
            if hasattr(error, "line"):
                raise
            raise binder.error(join, error.message, hint=error.hint) from None
    return sources


def _add(binder: Binder, node: exp.Expr, scope: Scope, sources: Sources) -> list[Item]:
    """Bind an item and the joins that are written inside it; put it behind a comma."""
    sources.comma = bool(sources.relations)
    source = bind_item(binder, node, scope)
    scope.items += source.items
    sources.relations.append(source.relation)
    for join in node.args.get("joins") or [] if isinstance(node, exp.Table) else []:
        with reading(join) as syntax:
            _join(binder, syntax, scope, sources)
    return source.items


def _join(binder: Binder, syntax: Syntax, scope: Scope, sources: Sources) -> None:
    kind, side = str(syntax["kind"] or "").upper(), str(syntax["side"] or "").upper()
    method, on, using = str(syntax["method"] or "").upper(), syntax["on"], syntax.many("using")
    node = syntax["this"]
    explicit = bool(kind or side or method or on is not None or using)
    if method not in ("", "NATURAL"):
        raise PlanError(f"a {method} JOIN is not supported")
    if kind == "OUTER" and side:
        kind = ""
    if kind not in ("", "INNER", "CROSS", "SEMI", "ANTI"):
        raise PlanError(f"a {kind} JOIN is not supported")
    if not explicit:
        _add(binder, node, scope, sources)
        return
    if sources.comma and (method == "NATURAL" or side in ("RIGHT", "FULL")):
        # A join binds tighter than a comma, so what stands before the comma is no part of it.
        raise PlanError(
            f"a {side or method} JOIN behind a comma is not supported",
            hint="put the join in parentheses: FROM a, (b RIGHT JOIN c ON ...)",
        )
    known = len(scope.items)
    source = bind_item(binder, node, scope)
    scope.items += source.items
    conditions: list[Expression] = []
    if method == "NATURAL":
        using = _shared_names(scope, known)
        conditions += _using(binder, using, scope, known, side or "INNER")
    elif using:
        names = [name_of(item) for item in using]
        conditions += _using(binder, names, scope, known, side or "INNER")
    if on is not None:
        value = boolean(binder.value(on, scope), "the condition of a join")
        conditions += [part for c in conjuncts(value.node) for part in factored(c)]
    elif not conditions and (side or kind in ("SEMI", "ANTI")):
        raise PlanError(f"a {side or kind} JOIN needs ON or USING")
    last = sources.relations[-1]
    if kind in ("SEMI", "ANTI"):
        how: tree.How = "semi" if kind == "SEMI" else "anti"
        sources.relations[-1] = tree.Join(how, last, source.relation, tuple(conditions))
        del scope.items[known:]
        return
    if not side:
        if source.relation.free & set(last.columns):
            # LATERAL depends on what stands before it.
            joined: tree.Relation = tree.Join("inner", last, source.relation)
            sources.relations[-1] = restricted(binder.columns, joined, conditions)
            return
        sources.relations.append(source.relation)
        sources.conditions += conditions
        return
    hows: dict[str, tree.How] = {"LEFT": "left", "RIGHT": "right", "FULL": "full"}
    if side not in hows:
        raise PlanError(f"a {side} JOIN is not supported")
    left = _collapse(binder, sources)
    _outer(binder, hows[side], left, source.relation, conditions, sources)


def _outer(
    binder: Binder,
    how: tree.How,
    left: tree.Relation,
    right: tree.Relation,
    conditions: list[Expression],
    sources: Sources,
) -> None:
    from umbel.sql.reading.subqueries import has_subquery

    if any(has_subquery(condition) for condition in conditions):
        raise PlanError(
            "a subquery in the ON of an outer join is not supported",
            hint="join a derived table: JOIN (SELECT ...) t ON ...",
        )
    constant = [c for c in conditions if isinstance(c, Literal) and c.value is True]
    real = tuple(c for c in conditions if c not in constant)
    if how in ("left", "full"):
        binder.columns.loosen(right.columns)
    if how in ("right", "full"):
        binder.columns.loosen(left.columns)
    sources.relations.append(tree.Join(how, left, right, real))


def _collapse(binder: Binder, sources: Sources) -> tree.Relation:
    """Join everything so far into one relation, which becomes the left side of an outer join.

    What stands before a comma is no part of it, but joining it in is the same for a left join.
    """
    left = connected(binder, sources.relations, sources.conditions)
    sources.relations, sources.conditions = [], []
    return left


def _shared_names(scope: Scope, known: int) -> list[Name]:
    new = {name for item in scope.items[known:] for name, _ in item.columns}
    seen: list[str] = []
    for name, _ in _visible(scope, known):
        if name in new and name not in seen:
            seen.append(name)
    return [Name(name, quoted=True) for name in seen]


def _visible(scope: Scope, known: int) -> list[tuple[str, str | Value]]:
    choices: list[tuple[str, str | Value]] = list(scope.joined)
    for item in scope.items[:known]:
        choices += [(n, unique) for n, unique in item.columns if unique not in item.merged]
    return choices


def _using(
    binder: Binder, names: list[Name], scope: Scope, known: int, side: str
) -> list[Expression]:
    """Compare the columns of both sides that have the same names, and merge them."""
    conditions = []
    for name in names:
        lefts = matching(name, _visible(scope, known))
        rights = [(item, u) for item in scope.items[known:] for u in matching(name, item.columns)]
        if len(lefts) != 1 or len(rights) != 1:
            where = "left" if len(lefts) != 1 else "right"
            count = len(lefts) if where == "left" else len(rights)
            raise PlanError(f"USING ({name}): the {where} side has {count} columns of that name")
        found = lefts[0]
        left = binder.columns.value(found) if isinstance(found, str) else found
        right_item, right_unique = rights[0]
        right = binder.columns.value(right_unique)
        conditions.append(compare("equal", left, right).node)
        if side == "FULL":
            both = call("coalesce", left, right)
        else:
            both = right if side == "RIGHT" else left
        right_item.merged.add(right_unique)
        if isinstance(found, str):
            for item in scope.items[:known]:
                item.merged |= {found} & {u for _, u in item.columns}
            spelled = next(n for item in scope.items[:known] for n, u in item.columns if u == found)
            scope.joined.append((spelled, both))
        else:
            index = next(i for i, (_, v) in enumerate(scope.joined) if v is found)
            scope.joined[index] = scope.joined[index][0], both
    return conditions


def bind_item(binder: Binder, node: exp.Expr, scope: Scope) -> Source:
    """Bind one item of FROM."""
    try:
        return _bind_item(binder, node, scope)
    except UnreadError as error:
        raise binder.unread(error) from None
    except PlanError as error:
        if hasattr(error, "line"):
            raise
        raise binder.error(node, error.message, hint=error.hint) from None


def _bind_item(binder: Binder, node: exp.Expr, scope: Scope) -> Source:
    from umbel.sql.reading.queries import bind_query

    with reading(node) as syntax:
        if isinstance(node, exp.Table):
            return _table(binder, syntax, scope)
        alias = syntax["alias"]
        if isinstance(node, exp.Subquery):
            inner = syntax["this"]
            if isinstance(inner, exp.Table):
                return _nested(binder, syntax, inner, alias, scope)
            outside = scope.parent
            query = bind_query(binder, node, outside, alone=True)
            for key in node.args:
                _ = syntax[key]
            return _source(binder, query.relation, query.columns, alias, ())
        if isinstance(node, exp.Lateral):
            return _lateral(binder, syntax, alias, scope)
        if isinstance(node, exp.Values):
            return _values(binder, syntax, alias, scope)
        if isinstance(node, exp.Unnest):
            return _unnest(binder, syntax, alias, scope)
    raise PlanError(f"{described(node)} cannot stand in FROM")


def _nested(
    binder: Binder, syntax: Syntax, inner: exp.Expr, alias: exp.Expr | None, scope: Scope
) -> Source:
    """Bind joins in parentheses."""
    inside = Scope(parent=scope.parent)
    sources = Sources()
    _add(binder, inner, inside, sources)
    for join in syntax.many("joins"):
        with reading(join) as join_syntax:
            _join(binder, join_syntax, inside, sources)
    relation = connected(binder, sources.relations, sources.conditions)
    if alias is None and not inside.joined:
        return Source(relation, inside.items)
    return _source(binder, relation, tuple(inside.visible()), alias, ())


def _table(binder: Binder, syntax: Syntax, scope: Scope) -> Source:
    parts = [syntax[key] for key in ("catalog", "db", "this")]
    alias = syntax["alias"]
    _ = syntax.many("joins")  # read by whoever reads FROM
    given = [part for part in parts if part is not None]
    if isinstance(given[-1], exp.Func):
        operator, stem = _function(binder, given[-1], scope)
        return _scanned(binder, operator, alias, (stem,))
    names: list[Name] = []
    for part in given:
        if isinstance(part, exp.Dot):
            names += [name_of(p) for p in part.flatten()]
        else:
            names.append(name_of(part))
    if len(names) == 1:
        for level in reversed(binder.queries):
            for shared in matching(names[0], list(level.items())):
                query = shared(binder)
                return _again(binder, query, alias, (names[0].text,))
    operator = binder.tables.table(names)
    return _scanned(binder, operator, alias, tuple(name.text for name in names))


def _scanned(
    binder: Binder, operator: Operator, alias: exp.Expr | None, path: tuple[str, ...]
) -> Source:
    schema = operator.schema
    unique = tuple(binder.columns.new(f.name, f.type, f.nullable) for f in schema)
    leaf = tree.Leaf(operator, unique)
    columns = tuple(zip(schema.names, unique, strict=True))
    return _source(binder, leaf, columns, alias, path)


def _again(binder: Binder, query: Query, alias: exp.Expr | None, path: tuple[str, ...]) -> Source:
    """Read a shared query once more: the same rows, under new unique names."""
    from umbel.plan.expressions import Column

    fresh: dict[str, str] = {}
    columns = []
    for name, unique in query.columns:
        if unique not in fresh:
            fresh[unique] = binder.columns.copy_of(unique)
        columns.append((name, fresh[unique]))
    items = tuple((new, Column(old)) for old, new in fresh.items())
    kept = tree.Keep(tree.Extend(query.relation, items), tuple(fresh.values()))
    return _source(binder, kept, tuple(columns), alias, path)


def _source(
    binder: Binder,
    relation: tree.Relation,
    columns: tuple[tuple[str, str], ...],
    alias: exp.Expr | None,
    path: tuple[str, ...],
) -> Source:
    named = list(columns)
    if alias is not None:
        with reading(alias) as syntax:
            name, renamed = syntax["this"], syntax.many("columns")
        if name is not None:
            path = (name.name,)
        if len(renamed) > len(named):
            raise PlanError(f"the alias names {len(renamed)} columns, but there are {len(named)}")
        for index, item in enumerate(renamed):
            named[index] = item.name, named[index][1]
    return Source(relation, [Item(path, named)])


_FILES: dict[type[exp.Expr], str] = {
    exp.ReadCSV: "read_csv",
    exp.ReadParquet: "read_parquet",
}
_FILE_FUNCTIONS = {
    "read_csv": "read_csv", "read_csv_auto": "read_csv", "read_parquet": "read_parquet",
    "parquet_scan": "read_parquet", "read_json": "read_json", "read_ndjson": "read_json",
    "read_json_auto": "read_json", "read_ndjson_auto": "read_json", "read_ipc": "read_ipc",
    "read_arrow": "read_ipc", "read_feather": "read_ipc",
}  # fmt: skip


def _function(binder: Binder, node: exp.Expr, scope: Scope) -> tuple[Operator, str]:
    with reading(node) as syntax:
        name = _FILES.get(type(node)) or _FILE_FUNCTIONS.get(node.name.lower())
        arguments = []
        if type(node) in _FILES:
            first = syntax["this"]
            arguments = [*([] if first is None else [first]), *syntax.many("expressions")]
        elif isinstance(node, exp.Anonymous):
            _ = syntax["this"]
            arguments = syntax.many("expressions")
            if node.name.lower() in ("range", "generate_series"):
                return _range(binder, node.name.lower(), arguments, scope), node.name.lower()
        elif isinstance(node, exp.GenerateSeries | exp.ExplodingGenerateSeries):
            arguments = [syntax[key] for key in ("start", "end", "step") if syntax[key] is not None]
            excluded = syntax.node.args.get("is_end_exclusive") and syntax["is_end_exclusive"]
            word = "range" if excluded else "generate_series"
            return _range(binder, word, arguments, scope), word
    if name is None:
        raise PlanError(
            f"{described(node)} is no table function",
            hint=f"there are: {', '.join(sorted(set(_FILE_FUNCTIONS.values())))}, range, unnest",
        )
    paths: list[str] = []
    options: dict[str, Any] = {}
    for argument in arguments:
        if isinstance(argument, exp.EQ | exp.PropertyEQ | exp.Kwarg):
            options[argument.this.name.lower()] = _plain(binder, argument.expression, scope)
        else:
            value = _plain(binder, argument, scope)
            paths += value if isinstance(value, list) else [value]
    if not paths or not all(isinstance(path, str) for path in paths):
        raise PlanError(f"{name} takes the path of a file, or a list of them")
    return binder.tables.function(name, paths, options), name


def _range(binder: Binder, name: str, nodes: list[exp.Expr], scope: Scope) -> Operator:
    bounds = [_plain(binder, node, scope) for node in nodes]
    if not all(isinstance(bound, int) for bound in bounds) or not 1 <= len(bounds) <= 3:
        raise PlanError(f"{name} takes one to three whole numbers")
    start, stop, step = [0, *bounds, 1] if len(bounds) == 1 else [*bounds, 1][:3]
    if step == 0:
        raise PlanError(f"the step of {name} cannot be 0")
    numbers = range(start, stop + (0 if name == "range" else (1 if step > 0 else -1)), step)
    if len(numbers) > 10_000_000:
        raise PlanError(f"{name} gives {len(numbers)} rows; a plan holds at most 10,000,000")
    return Values(table=pa.table({name: pa.array(numbers, pa.int64())}))


def _plain(binder: Binder, node: exp.Expr, scope: Scope) -> Any:
    """Read a constant argument as a Python value."""
    if isinstance(node, exp.Array):
        return [_plain(binder, item, scope) for item in node.expressions]
    if isinstance(node, exp.Column | exp.Var):
        return node.name
    value = binder.value(node, Scope())
    if not isinstance(value.node, Literal):
        raise PlanError("an argument of a table function must be a constant")
    return value.node.value


def _lateral(binder: Binder, syntax: Syntax, alias: exp.Expr | None, scope: Scope) -> Source:
    from umbel.sql.reading.queries import bind_query

    inner = syntax["this"]
    _ = syntax["cross_apply"]
    if syntax["view"] or syntax["outer"]:
        raise PlanError("LATERAL VIEW is not supported", hint="use CROSS JOIN UNNEST(...)")
    if isinstance(inner, exp.Unnest):
        with reading(inner) as unnest_syntax:
            inner_alias = unnest_syntax["alias"]
            return _unnest(binder, unnest_syntax, alias or inner_alias, scope)
    if not isinstance(inner, exp.Query):
        raise PlanError("LATERAL is followed by a subquery or unnest(...)")
    query = bind_query(binder, inner, scope, alone=True)
    return _source(binder, query.relation, query.columns, alias, ())


def _unnest(binder: Binder, syntax: Syntax, alias: exp.Expr | None, scope: Scope) -> Source:
    nodes = syntax.many("expressions")
    if syntax["offset"]:
        raise PlanError("UNNEST WITH ORDINALITY is not supported")
    if len(nodes) != 1:
        raise PlanError("UNNEST takes one list")
    value = binder.value(nodes[0], scope)
    if not is_list(value.dtype):
        raise PlanError("UNNEST takes a list")
    from umbel.sql.reading.lower import one_row

    nothing = binder.columns.new("nothing", pa.int8(), False)
    item = binder.columns.new("unnest", value.dtype.value_type)
    rows = tree.Extend(tree.Leaf(one_row(), (nothing,)), ((item, value.node),))
    relation = tree.Keep(tree.Unfold(rows, item), (item,))
    if alias is not None and alias.args.get("this") is not None and not alias.args.get("columns"):
        # In PostgreSQL and DuckDB, the alias of unnest names its only column too.
        with reading(alias) as alias_syntax:
            name = alias_syntax["this"].name
            _ = alias_syntax["columns"]
        return Source(relation, [Item((name,), [("unnest", item)])])
    return _source(binder, relation, (("unnest", item),), alias, ("unnest",))


def _values(binder: Binder, syntax: Syntax, alias: exp.Expr | None, scope: Scope) -> Source:
    query = values_query(binder, syntax, scope)
    return _source(binder, query.relation, query.columns, alias, ("valueslist",))


def values_query(binder: Binder, syntax: Syntax, scope: Scope) -> Query:
    """Bind VALUES: a constant table where all is constant, else a union of rows."""
    rows: list[list[Value]] = []
    for node in syntax.many("expressions"):
        nodes = node.expressions if isinstance(node, exp.Tuple) else [node]
        rows.append([binder.value(n, scope) for n in nodes])
    width = len(rows[0]) if rows else 0
    if any(len(row) != width for row in rows):
        raise PlanError("the rows of VALUES have different numbers of values")
    by_column = [unified(list(column)) for column in zip(*rows, strict=True)]
    types = []
    for column in by_column:
        dtype = pa.null()
        for value in column:
            dtype = common_type(dtype, value.dtype)
        types.append(dtype)
    unique = tuple(
        binder.columns.new(f"col{i}", dtype, any(v.nullable for v in column))
        for i, (dtype, column) in enumerate(zip(types, by_column, strict=True))
    )
    names = tuple((f"col{i}", u) for i, u in enumerate(unique))
    if all(isinstance(v.node, Literal) for column in by_column for v in column):
        from umbel.sql.reading.values import cast

        arrays = [
            pa.array([cast(v, dtype).node.value for v in column], dtype)  # type: ignore[attr-defined]
            for dtype, column in zip(types, by_column, strict=True)
        ]
        table = pa.Table.from_arrays(arrays, names=list(unique))
        return Query(tree.Leaf(Values(table=table), unique), names)
    from umbel.sql.reading.lower import one_row

    members, taken = [], []
    for row in zip(*by_column, strict=True):
        nothing = binder.columns.new("nothing", pa.int8(), False)
        here = tuple(binder.columns.copy_of(u) for u in unique)
        items = tuple((n, v.node) for n, v in zip(here, row, strict=True))
        base = tree.Leaf(one_row(), (nothing,))
        members.append(tree.Extend(base, items))
        taken.append(here)
    merged = tree.Merge("union", tuple(members), tuple(taken), unique, distinct=False)
    return Query(merged, names)
