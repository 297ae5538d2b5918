"""SELECT, set operations, WITH and VALUES."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.plan.expressions import Column, Literal, SortKey, WindowCall
from umbel.plan.types import INT64, is_integer
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder, Query
from umbel.sql.reading.names import Item, Scope, matching, name_of
from umbel.sql.reading.rows import values_query
from umbel.sql.reading.select import Select
from umbel.sql.reading.syntax import Syntax, UnreadError, reading
from umbel.sql.reading.values import Value, cast

Shared = Callable[[Binder], Query]


def bind_query(
    binder: Binder, node: exp.Expr, parent: Scope | None, *, alone: bool = False
) -> Query:
    """Bind a query.

    Args:
        binder: the statement.
        node: a SELECT, a set operation, VALUES, or one of them in parentheses.
        parent: the scope around it, whose columns it may use.
        alone: it stands in FROM, where its alias is read by others.
    """
    binder.depth += 1
    try:
        if binder.depth > 200:
            raise binder.error(node, "the statement nests queries more than 200 levels deep")
        with reading(node) as syntax:
            if alone:
                for key in ("alias", "joins", "lateral"):
                    if key in node.args:
                        _ = syntax[key]
            return _with(binder, syntax, parent)
    except UnreadError as error:
        raise binder.unread(error) from None
    except PlanError as error:
        if hasattr(error, "line"):
            raise
        raise binder.error(node, error.message, hint=error.hint) from None
    finally:
        binder.depth -= 1


def _with(binder: Binder, syntax: Syntax, parent: Scope | None) -> Query:
    clause = syntax["with_"]
    if clause is None:
        return _body(binder, syntax, parent)
    level: dict[str, Shared] = {}
    binder.queries.append(level)
    try:
        with reading(clause) as with_syntax:
            recursive = bool(with_syntax["recursive"])
            for cte in with_syntax.many("expressions"):
                name, shared = _shared(binder, cte, parent, recursive)
                level[name] = shared
        return _body(binder, syntax, parent)
    finally:
        binder.queries.pop()


def _shared(
    binder: Binder, node: exp.Expr, parent: Scope | None, recursive: bool
) -> tuple[str, Shared]:
    with reading(node) as syntax:
        body, alias = syntax["this"], syntax["alias"]
        _ = syntax["materialized"]  # a hint; what is read twice is computed once here
        with reading(alias) as alias_syntax:
            name = alias_syntax["this"].name
            renamed = [item.name for item in alias_syntax.many("columns")]
    if recursive and _mentions(body, name):
        from umbel.sql.reading.recursion import bind_recursive

        query = bind_recursive(binder, body, name, renamed, parent)
    else:
        query = bind_query(binder, body, parent)
        query = _relabelled(query, renamed)
    return name, lambda binder: query


def _relabelled(query: Query, names: list[str]) -> Query:
    if not names:
        return query
    if len(names) > len(query.columns):
        raise PlanError(f"WITH names {len(names)} columns, but there are {len(query.columns)}")
    columns = [
        (names[i] if i < len(names) else old, unique)
        for i, (old, unique) in enumerate(query.columns)
    ]
    return Query(query.relation, tuple(columns))


def _mentions(body: exp.Expr, name: str) -> bool:
    return any(
        table.name.casefold() == name.casefold() and not table.args.get("db")
        for table in body.find_all(exp.Table)
    )


def _body(binder: Binder, syntax: Syntax, parent: Scope | None) -> Query:
    node = syntax.node
    if isinstance(node, exp.Subquery):
        inner = bind_query(binder, syntax["this"], parent)
        if any(node.args.get(key) for key in ("order", "limit", "offset")):
            return _arranged(binder, syntax, inner, parent)
        return inner
    if isinstance(node, exp.Select):
        return Select(binder, syntax, Scope(parent=parent)).bind()
    if isinstance(node, exp.SetOperation):
        return _arranged(binder, syntax, _set_operation(binder, syntax, parent), parent)
    if isinstance(node, exp.Values):
        query = values_query(binder, syntax, Scope(parent=parent))
        return _arranged(binder, syntax, query, parent)
    if isinstance(node, exp.Table):
        from umbel.sql.reading.from_items import bind_item

        for key in node.args:
            _ = syntax[key]
        source = bind_item(binder, node, Scope(parent=parent))
        columns = tuple(pair for item in source.items for pair in item.columns)
        return Query(source.relation, columns)
    raise PlanError(f"{type(node).__name__.upper()} is not a query", hint="write a SELECT")


def _set_operation(binder: Binder, syntax: Syntax, parent: Scope | None) -> Query:
    kinds: dict[type[exp.Expr], str] = {
        exp.Union: "union",
        exp.Intersect: "intersect",
        exp.Except: "except",
    }
    kind = kinds[type(syntax.node)]
    distinct = bool(syntax["distinct"])
    if syntax["by_name"]:
        raise PlanError("UNION BY NAME is not supported", hint="list the columns in one order")
    members = _chain(syntax) if kind == "union" else [syntax["this"], syntax["expression"]]
    queries = [bind_query(binder, member, parent) for member in members]
    first = queries[0]
    for query in queries[1:]:
        if len(query.columns) != len(first.columns):
            raise PlanError(
                f"the sides of {kind.upper()} have {len(first.columns)} and "
                f"{len(query.columns)} columns",
                hint="select as many columns on both sides",
            )
    return merged(binder, kind, queries, distinct=distinct)


def _chain(syntax: Syntax) -> list[exp.Expr]:
    """Read a chain of unions of one kind, which nests to the left, as one list."""
    members = [syntax["expression"]]
    left, distinct = syntax["this"], bool(syntax.node.args.get("distinct"))
    while isinstance(left, exp.Union) and bool(left.args.get("distinct")) == distinct:
        if any(left.args.get(key) for key in ("order", "limit", "offset", "with_", "by_name")):
            break
        with reading(left) as inner:
            members.append(inner["expression"])
            left = inner["this"]
            _ = inner["distinct"]
    members.append(left)
    return members[::-1]


def merged(binder: Binder, kind: str, queries: list[Query], *, distinct: bool) -> Query:
    """Put queries together by a set operation; columns go by position, names by the first."""
    from umbel.plan.types import common_type

    names, columns = [], []
    for position, (name, unique) in enumerate(queries[0].columns):
        fields = [binder.columns.field(query.columns[position][1]) for query in queries]
        dtype = fields[0].type
        for item in fields[1:]:
            try:
                dtype = common_type(dtype, item.type)
            except PlanError as error:
                raise PlanError(
                    f"column {position + 1} ({name}) of {kind.upper()}: {error.message}",
                    hint="cast one of them",
                ) from None
        stem = unique.split("~", 1)[0]
        made = binder.columns.new(stem, dtype, any(item.nullable for item in fields))
        names.append(made)
        columns.append((name, made))
    taken = tuple(tuple(unique for _, unique in query.columns) for query in queries)
    members = tuple(query.relation for query in queries)
    if kind != "union" and not distinct:
        members, taken, names = _numbered(binder, members, taken, names)
    relation = tree.Merge(kind, members, taken, tuple(names), distinct)  # type: ignore[arg-type]
    return Query(relation, tuple(columns))


def _numbered(
    binder: Binder,
    members: tuple[tree.Relation, ...],
    taken: tuple[tuple[str, ...], ...],
    names: list[str],
) -> tuple[tuple[tree.Relation, ...], tuple[tuple[str, ...], ...], list[str]]:
    """Number equal rows, so that INTERSECT ALL and EXCEPT ALL can do with distinct ones."""
    numbered, columns = [], []
    for member, names_here in zip(members, taken, strict=True):
        number = binder.columns.new("copy", INT64, False)
        window = WindowCall("row_number", (), tuple(map(Column, dict.fromkeys(names_here))))
        numbered.append(tree.Windows(member, ((number, window),)))
        columns.append((*names_here, number))
    return tuple(numbered), tuple(columns), [*names, binder.columns.new("copy", INT64, False)]


def _arranged(binder: Binder, syntax: Syntax, query: Query, parent: Scope | None) -> Query:
    """Order and cut a query by its output columns."""
    order, limit, offset = syntax["order"], syntax["limit"], syntax["offset"]
    relation = query.relation
    if order is not None:
        scope = Scope(parent=parent, items=[Item((), list(query.columns))])
        with reading(order) as order_syntax:
            nodes = order_syntax.many("expressions")
        keys = tuple(_output_key(binder, node, query, scope) for node in nodes)
        relation = tree.Order(relation, keys)
    relation = cut(binder, relation, limit, offset)
    return Query(relation, query.columns)


def _output_key(binder: Binder, node: exp.Expr, query: Query, scope: Scope) -> SortKey:
    with reading(node) as syntax:
        inner = syntax["this"]
        flags = bool(syntax["desc"]), bool(syntax["nulls_first"])
        unique = output_column(binder, inner, query.columns)
        key = Column(unique) if unique is not None else binder.value(inner, scope).node
        return SortKey(key, *flags)


def output_column(
    binder: Binder, node: exp.Expr, columns: tuple[tuple[str, str], ...]
) -> str | None:
    """Find the output column that a term of ORDER BY names by its number or alias."""
    if isinstance(node, exp.Literal) and not node.is_string:
        if not node.name.isdigit() or not 1 <= int(node.name) <= len(columns):
            raise binder.error(
                node, f"there is no output column {node.name}: there are {len(columns)}"
            )
        return columns[int(node.name) - 1][1]
    if isinstance(node, exp.Column) and not node.args.get("table"):
        found = matching(name_of(node.this), columns)
        if len(set(found)) > 1:
            raise binder.error(node, f"{node.name!r} is the name of several output columns")
        if found:
            return found[0]
    return None


def cut(
    binder: Binder, relation: tree.Relation, limit: exp.Expr | None, offset: exp.Expr | None
) -> tree.Relation:
    """Apply LIMIT, FETCH FIRST and OFFSET."""
    count, skip = None, 0
    if limit is not None:
        with reading(limit) as syntax:
            if isinstance(limit, exp.Fetch):
                node = syntax["count"]
                _ = syntax["direction"]
                options = syntax["limit_options"]
                if options is not None:
                    with reading(options) as option_syntax:
                        _ = option_syntax["rows"]
                count = 1 if node is None else _number(binder, node, "FETCH")
            else:
                if syntax.node.args.get("offset") is not None:
                    skip = _number(binder, syntax["offset"], "OFFSET")
                node = syntax["expression"]
                count = None if isinstance(node, exp.Null) else _number(binder, node, "LIMIT")
    if offset is not None:
        with reading(offset) as syntax:
            skip = _number(binder, syntax["expression"], "OFFSET")
    if count is None and not skip:
        return relation
    return tree.Slice(relation, count, skip)


def _number(binder: Binder, node: exp.Expr, what: str) -> int:
    value: Value = binder.value(node, Scope())
    if value.untyped:
        value = cast(value, INT64)
    if not isinstance(value.node, Literal) or not is_integer(value.dtype):
        raise binder.error(node, f"{what} takes a whole number that is a constant")
    number = value.node.value
    if number is None or number < 0:
        raise binder.error(node, f"{what} takes a number that is not negative")
    return int(number)


__all__ = ["bind_query", "cut", "merged", "output_column", "replace"]
