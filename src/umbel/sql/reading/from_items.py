"""FROM: tables, files, derived tables, VALUES and joins, as relations and the names they give."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field

from sqlglot import expressions as exp

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Expression, Literal, columns_of
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder, described
from umbel.sql.reading.connecting import connected, factored
from umbel.sql.reading.correlation import conjuncts
from umbel.sql.reading.names import Item, Name, Scope, matching, name_of
from umbel.sql.reading.operators import compare
from umbel.sql.reading.rows import values_query
from umbel.sql.reading.sources import Source, again, named_source, scanned
from umbel.sql.reading.subqueries import restricted
from umbel.sql.reading.syntax import Syntax, UnreadError, reading
from umbel.sql.reading.table_functions import bind_table_function
from umbel.sql.reading.unfolding import bind_unnest
from umbel.sql.reading.values import Value, boolean, call


@dataclass(frozen=True)
class _Comma:
    """A place in FROM, by how many relations, conditions, items and merged columns are before it."""

    relations: int = 0
    conditions: int = 0
    items: int = 0
    joined: int = 0


@dataclass
class Sources:
    """All of FROM, before WHERE.

    Attributes:
        relations: what stands between commas; explicit joins are one of them.
        conditions: what inner joins demand.
        exact: outer joins take in only what stands behind the last comma. Left joins may take in
            all, which gives the same rows, and lets ON read what stands before the comma.
        since: where what stands behind the last comma begins.
    """

    relations: list[tree.Relation] = field(default_factory=list)
    conditions: list[Expression] = field(default_factory=list)
    exact: bool = False
    since: _Comma = _Comma()


def bind_from(
    binder: Binder, first: exp.Expr | None, joins: list[exp.Join], scope: Scope
) -> Sources:
    """Bind FROM and fill the scope with its names."""
    sources = Sources()
    if first is None:
        return sources
    with reading(first) as syntax:
        node = syntax["this"]
    sources.exact = _needs_commas([node, *joins])
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


def _needs_commas(nodes: Iterable[exp.Expr]) -> bool:
    """Whether some join must not take in what stands before a comma."""
    for node in nodes:
        if isinstance(node, exp.Join):
            if node.side in ("RIGHT", "FULL") or node.method == "NATURAL":
                return True
            if _needs_commas([node.this]):
                return True
        elif isinstance(node, exp.Table) and _needs_commas(node.args.get("joins") or ()):
            return True
    return False


def _add(binder: Binder, node: exp.Expr, scope: Scope, sources: Sources) -> list[Item]:
    """Bind an item and the joins that are written inside it; put it behind a comma."""
    sources.since = _Comma(
        len(sources.relations), len(sources.conditions), len(scope.items), len(scope.joined)
    )
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
    known = len(scope.items)
    source = bind_item(binder, node, scope)
    scope.items += source.items
    conditions: list[Expression] = []
    if method == "NATURAL":
        using = _shared_names(scope, sources.since, known)
        conditions += _using(binder, using, scope, sources.since, known, side or "INNER")
    elif using:
        names = [name_of(item) for item in using]
        conditions += _using(binder, names, scope, sources.since, known, side or "INNER")
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
    left = _collapse(binder, sources, conditions, side)
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


def _collapse(binder: Binder, sources: Sources, on: list[Expression], side: str) -> tree.Relation:
    """Join what stands behind the last comma into one relation: the left side of an outer join."""
    since = sources.since if sources.exact else _Comma()
    before = {
        name for relation in sources.relations[: since.relations] for name in relation.columns
    }
    conditions = sources.conditions[since.conditions :]
    if columns_of(*on, *conditions) & before:
        raise PlanError(
            f"the ON of a join before a {side} JOIN, or its own, reads what stands before the comma",
            hint="a join binds tighter than a comma: write CROSS JOIN for the comma, or use WHERE",
        )
    left = connected(binder, sources.relations[since.relations :], conditions)
    del sources.relations[since.relations :], sources.conditions[since.conditions :]
    return left


def _shared_names(scope: Scope, since: _Comma, known: int) -> list[Name]:
    new = {name for item in scope.items[known:] for name, _ in item.columns}
    seen: list[str] = []
    for name, _ in _visible(scope, since, known):
        if name in new and name not in seen:
            seen.append(name)
    return [Name(name, quoted=True) for name in seen]


def _visible(scope: Scope, since: _Comma, known: int) -> list[tuple[str, str | Value]]:
    """The columns of a join's left side."""
    choices: list[tuple[str, str | Value]] = list(scope.joined[since.joined :])
    for item in scope.items[since.items : known]:
        choices += [(n, unique) for n, unique in item.columns if unique not in item.merged]
    return choices


def _using(
    binder: Binder, names: list[Name], scope: Scope, since: _Comma, known: int, side: str
) -> list[Expression]:
    """Compare the columns of both sides that have the same names, and merge them."""
    conditions = []
    for name in names:
        lefts = matching(name, _visible(scope, since, known))
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
            return named_source(binder, query.relation, query.columns, alias, ())
        if isinstance(node, exp.Lateral):
            return _lateral(binder, syntax, alias, scope)
        if isinstance(node, exp.Values):
            return _values(binder, syntax, alias, scope)
        if isinstance(node, exp.Unnest):
            return bind_unnest(binder, syntax, alias, scope)
    raise PlanError(f"{described(node)} cannot stand in FROM")


def _nested(
    binder: Binder, syntax: Syntax, inner: exp.Expr, alias: exp.Expr | None, scope: Scope
) -> Source:
    """Bind joins in parentheses."""
    inside = Scope(parent=scope.parent)
    joins = syntax.many("joins")
    sources = Sources(exact=_needs_commas([inner, *joins]))
    _add(binder, inner, inside, sources)
    for join in joins:
        with reading(join) as join_syntax:
            _join(binder, join_syntax, inside, sources)
    relation = connected(binder, sources.relations, sources.conditions)
    if alias is None and not inside.joined:
        return Source(relation, inside.items)
    return named_source(binder, relation, tuple(inside.visible()), alias, ())


def _table(binder: Binder, syntax: Syntax, scope: Scope) -> Source:
    parts = [syntax[key] for key in ("catalog", "db", "this")]
    alias = syntax["alias"]
    _ = syntax.many("joins")  # read by whoever reads FROM
    given = [part for part in parts if part is not None]
    if isinstance(given[-1], exp.Func):
        operator, stem = bind_table_function(binder, given[-1], scope)
        return scanned(binder, operator, alias, (stem,))
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
                return again(binder, query, alias, (names[0].text,))
    operator = binder.tables.table(names)
    return scanned(binder, operator, alias, tuple(name.text for name in names))


def _lateral(binder: Binder, syntax: Syntax, alias: exp.Expr | None, scope: Scope) -> Source:
    from umbel.sql.reading.queries import bind_query

    inner = syntax["this"]
    _ = syntax["cross_apply"]
    if syntax["view"] or syntax["outer"]:
        raise PlanError("LATERAL VIEW is not supported", hint="use CROSS JOIN UNNEST(...)")
    if isinstance(inner, exp.Unnest):
        with reading(inner) as unnest_syntax:
            inner_alias = unnest_syntax["alias"]
            return bind_unnest(binder, unnest_syntax, alias or inner_alias, scope)
    if not isinstance(inner, exp.Query):
        raise PlanError("LATERAL is followed by a subquery or unnest(...)")
    query = bind_query(binder, inner, scope, alone=True)
    return named_source(binder, query.relation, query.columns, alias, ())


def _values(binder: Binder, syntax: Syntax, alias: exp.Expr | None, scope: Scope) -> Source:
    query = values_query(binder, syntax, scope)
    return named_source(binder, query.relation, query.columns, alias, ("valueslist",))
