"""Plans to SQL: one statement for a whole plan, for any SQL engine.

Operators are poured into one SELECT (`umbel.sql.block`) as long as that keeps their meaning, and
go into a subquery where it does not. An operator with several consumers becomes a common table
expression, so that it is computed once. Names are always quoted, and columns carry the alias of
their FROM item, so that no output name can hide an input's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.lazy import LazyModule
from umbel.plan.expressions import Call, Column, Expression, Literal, columns_of, walk
from umbel.plan.operators import (
    Aggregate,
    Count,
    Distinct,
    Except,
    Explode,
    Filter,
    Intersect,
    Join,
    Limit,
    Operator,
    Placeholder,
    Project,
    Rows,
    Scan,
    Sort,
    ToFrame,
    Union,
    Values,
    Window,
    consumers,
    topological,
)
from umbel.plan.sources import MemorySource, ParquetFiles, RelationSource
from umbel.plan.types import common_type, is_float
from umbel.sql.block import Block, conjunction, named_columns
from umbel.sql.expressions import (
    Dialect,
    Keying,
    Scope,
    SemiJoining,
    SortingColumns,
    Unnesting,
    column,
    compile_expression,
    key_of,
    order,
)
from umbel.sql.nodes import copied

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


#: Functions that take no longer to compute again than their result takes to be kept and read.
_COMPARING = frozenset(
    {"and", "or", "not", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
    | {"between", "is_in", "is_null", "is_not_null"}
)


class Sources(Protocol):
    """Where an engine finds the rows of the leaves of a plan."""

    def relation(self, leaf: Scan | Values | Placeholder) -> exp.Expr:
        """Give a FROM item without alias: a table, a table function or a subquery.

        For a scan it has all columns of the source; the statement takes what it needs.
        """


def compile_plan(root: Operator, dialect: Dialect, sources: Sources) -> exp.Select:
    """Write a plan as one statement, whose rows are in order if the plan sorts at its end."""
    shared, query = compile_parts(root, dialect, sources)
    for name, part in shared:
        query = query.with_(
            exp.to_identifier(name, quoted=True), as_=part, materialized=True, copy=False
        )
    return query


def compile_parts(
    root: Operator, dialect: Dialect, sources: Sources
) -> tuple[list[tuple[str, exp.Select]], exp.Select]:
    """Write a plan as statements: those with several readers by name, and the one of the root.

    For engines that would compute a common table expression again for each reader.
    """
    compiler = _Compiler(dialect, sources, root)
    query = compiler.block(root).select()
    return compiler.shared, query


@dataclass(frozen=True)
class _HiddenKey:
    """A sort key that a subquery hands out as a column of its own."""

    name: str
    descending: bool
    nulls_first: bool


class _Compiler:
    """The state of one translation: aliases given, and shared operators written so far."""

    def __init__(self, dialect: Dialect, sources: Sources, root: Operator) -> None:
        self.dialect = dialect
        self.sources = sources
        self.shared: list[tuple[str, exp.Select]] = []
        self._aliases = 0
        self._names: dict[int, tuple[str, list[_HiddenKey]]] = {}
        readers = consumers(root)
        for operator in topological(root):
            if len(readers[id(operator)]) > 1 and not _is_read_again(operator):
                name = f"shared_{len(self.shared)}"
                block = self._write(operator)
                hidden = _hide_order(block)
                self.shared.append((name, block.select()))
                self._names[id(operator)] = name, hidden

    def block(self, operator: Operator) -> Block:
        """Translate an operator, or refer to it if it is shared and written already."""
        if id(operator) not in self._names:
            return self._write(operator)
        name, hidden = self._names[id(operator)]
        table = exp.Table(this=exp.to_identifier(name, quoted=True))
        return _ordered(self._over(table, operator.schema), hidden)

    def _write(self, operator: Operator) -> Block:
        match operator:
            case Scan():
                return self._scan(operator)
            case Values() | Placeholder():
                return self._over(self.sources.relation(operator), operator.schema)
            case Rows():
                return self.block(operator.input)
            case ToFrame():
                return _renamed(self.block(operator.input), operator.schema)
            case Project():
                return self._project(operator)
            case Filter():
                return self._filter(operator)
            case Join():
                return self._join(operator)
            case Aggregate():
                return self._aggregate(operator)
            case Count():
                return self._count(operator)
            case Window():
                return self._window(operator)
            case Sort():
                return self._sort(operator)
            case Limit():
                return self._limit(operator)
            case Distinct():
                return self._distinct(self.block(operator.input))
            case Union() | Intersect() | Except():
                return self._set_operation(operator)
            case Explode():
                return self._explode(operator)
        raise TypeError(f"no SQL for {operator.name}")

    # Building blocks

    def _alias(self) -> str:
        self._aliases += 1
        return f"t{self._aliases - 1}"

    def _over(self, relation: exp.Expr, schema: pa.Schema) -> Block:
        """Start a block over a FROM item."""
        alias = self._alias()
        return Block(_aliased(relation, alias), schema, named_columns(schema.names, alias))

    def _nest(self, block: Block, *, ordered: bool = False) -> Block:
        """Start a new block over another one as a subquery.

        With `ordered` the inner order is the outer one's too: its keys travel as hidden columns,
        because SQL does not promise that a subquery's order is kept.
        """
        schema = block.schema
        hidden = _hide_order(block) if ordered else []
        if not block.limited:
            block.order = []
        return _ordered(self._over(exp.Subquery(this=block.select()), schema), hidden)

    # Operators

    def _scan(self, scan: Scan) -> Block:
        block = self._over(self.sources.relation(scan), scan.source.schema)
        if scan.predicate is not None:
            block.where.append(compile_expression(scan.predicate, block.scope, self.dialect))
        block.columns = {name: block.columns[name] for name in scan.schema.names}
        block.schema = scan.schema
        return block

    def _project(self, project: Project) -> Block:
        block = self.block(project.input)
        expressions = [expression for _, expression in project.columns]
        if block.distinct or not block.inlines(*expressions) or _loses_group(block, project):
            block = self._nest(block, ordered=True)
        block.columns = {
            name: compile_expression(expression, block.scope, self.dialect)
            for name, expression in project.columns
        }
        block.schema = project.schema
        return block

    def _filter(self, operator: Filter) -> Block:
        block = self.block(operator.input)
        grouped = block.keys is not None and not (block.windowed or block.distinct or block.limited)
        fits = block.per_row or grouped
        if not fits or not block.inlines(operator.predicate):
            block = self._nest(block, ordered=True)
        condition = compile_expression(operator.predicate, block.scope, self.dialect)
        (block.where if block.keys is None else block.having).append(condition)
        return block

    def _aggregate(self, aggregate: Aggregate) -> Block:
        block = self.block(aggregate.input)
        keys = [key for _, key in aggregate.keys]
        calls = [call for _, call in aggregate.aggregates]
        if any(not columns_of(key) for key in keys):
            # GROUP BY takes a constant for a column's number, so it must be a column.
            block = self._constant_keys(block, aggregate)
            keys = [Column(f"umbel_key_{i}") for i in range(len(keys))]
        named = columns_of(*keys)
        constant = any(block.columns[name].find(exp.Column) is None for name in named)
        if constant or not block.per_row or not block.inlines(*keys, *calls):
            block = self._nest(block)
        scope = block.scope
        built = [
            self._normal_zero(compile_expression(key, scope, self.dialect), field.type)
            for key, field in zip(keys, aggregate.schema, strict=False)
        ]
        values = [compile_expression(call, scope, self.dialect) for call in calls]
        names = aggregate.schema.names
        block.columns = dict(zip(names, [*map(copied, built), *values], strict=True))
        block.schema, block.keys, block.order = aggregate.schema, built, []
        return block

    def _constant_keys(self, block: Block, aggregate: Aggregate) -> Block:
        if block.distinct or not block.per_row:
            block = self._nest(block)
        schema = block.schema
        for number, (_, key) in enumerate(aggregate.keys):
            block.columns[f"umbel_key_{number}"] = compile_expression(
                key, Scope(schema, block.columns), self.dialect
            )
            key_type = aggregate.schema.field(number).type
            block.schema = block.schema.append(pa.field(f"umbel_key_{number}", key_type))
        return self._nest(block)

    def _count(self, count: Count) -> Block:
        block = self.block(count.input)
        if not block.per_row:
            block = self._nest(block)
        block.columns = {"value": exp.Count(this=exp.Star())}
        block.schema, block.keys, block.order = count.schema, [], []
        return block

    def _window(self, window: Window) -> Block:
        block = self.block(window.input)
        calls = [call for _, call in window.columns]
        keys = [
            *(k.expression for c in calls for k in c.order_by),
            *(k for c in calls for k in c.partition_by),
        ]
        if not block.per_row or not block.inlines(*calls) or not self._sortable(block, keys):
            block = self._nest(block)
        scope = block.scope
        columns = {name: compile_expression(e, scope, self.dialect) for name, e in window.columns}
        block.columns = {**block.columns, **columns}
        block.schema, block.windowed, block.order = window.schema, True, []
        return block

    def _sortable(self, block: Block, keys: Sequence[Expression]) -> bool:
        """Whether an engine that sorts by columns only finds columns there."""
        return not isinstance(self.dialect, SortingColumns) or all(
            isinstance(block.columns[name], exp.Column) for name in columns_of(*keys)
        )

    def _sort(self, sort: Sort) -> Block:
        block = self.block(sort.input)
        # An aggregate named again in ORDER BY is not computed again.
        fits = block.keys is not None or block.inlines(*(key.expression for key in sort.keys))
        keys = [key.expression for key in sort.keys]
        if block.distinct or block.limited or not (fits and self._sortable(block, keys)):
            block = self._nest(block)
        terms = order(sort.keys, block.scope, self.dialect)
        # A constant orders nothing, and ORDER BY would take it for a column's number.
        kinds = (exp.Column, exp.AggFunc, exp.Window, exp.Anonymous)
        block.order = [term for term in terms if term.find(*kinds) is not None]
        return block

    def _limit(self, limit: Limit) -> Block:
        block = self.block(limit.input)
        if block.limited:
            block = self._nest(block, ordered=True)
        block.count, block.offset = limit.count, limit.offset
        return block

    def _distinct(self, block: Block) -> Block:
        if block.limited:
            block = self._nest(block)
        if not block.distinct:
            block.order = []
            block.columns = {
                name: self._normal_zero(node, block.schema.field(name).type)
                for name, node in block.columns.items()
            }
            block.distinct = True
        return block

    def _set_operation(self, operator: Union | Intersect | Except) -> Block:
        distinct = not isinstance(operator, Union) or operator.distinct
        members = [
            self._member(member, operator.schema, distinct=distinct) for member in operator.inputs
        ]
        query: exp.Expr = members[0]
        for member in members[1:]:
            match operator:
                case Union():
                    query = exp.Union(this=query, expression=member, distinct=distinct)
                case Intersect():
                    query = exp.Intersect(this=query, expression=member, distinct=True)
                case _:
                    query = exp.Except(this=query, expression=member, distinct=True)
        block = self._over(exp.Subquery(this=query), operator.schema)
        if len(members) == 1 and distinct:
            return self._distinct(block)
        if distinct:
            block.columns = {
                name: self._normal_zero(node, block.schema.field(name).type)
                for name, node in block.columns.items()
            }
        return block

    def _member(self, operator: Operator, schema: pa.Schema, *, distinct: bool) -> exp.Select:
        """Write one side of a set operation, in the types that all sides share."""
        block = self.block(operator)
        if block.limited or block.distinct:
            block = self._nest(block)
        block.order = []
        block.columns = {
            field.name: self._cast(block.columns[field.name], field.type, wanted.type)
            for field, wanted in zip(operator.schema, schema, strict=True)
        }
        if distinct:
            block.columns = {
                field.name: key_of(self.dialect, block.columns[field.name], wanted.type)
                for field, wanted in zip(operator.schema, schema, strict=True)
            }
        return block.select()

    def _cast(self, node: exp.Expr, source: pa.DataType, target: pa.DataType) -> exp.Expr:
        return node if source == target else self.dialect.cast(node, source, target, strict=True)

    def _normal_zero(self, node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
        """Turn -0.0 into 0.0, which it equals, so that a group of both shows one for sure."""
        if isinstance(self.dialect, Keying):
            return self.dialect.key(node, dtype)
        if not is_float(dtype):
            return node
        zero = self.dialect.literal(0.0, dtype)
        is_zero = exp.EQ(this=copied(node), expression=copied(zero))
        return exp.Case().when(is_zero, zero, copy=False).else_(node, copy=False)

    def _join(self, join: Join) -> Block:
        left, right = self.block(join.left), self.block(join.right)
        keeps_where = join.how in ("inner", "left", "semi", "anti", "cross")
        if not (left.bare or (keeps_where and left.per_row and left.names_only)):
            left = self._nest(left)
        if not right.bare or right.joins:
            right = self._nest(right)
        scope = Scope(join.pair_schema, {**left.columns, **right.columns})
        conditions = [self._key(join, pair, scope) for pair in join.on]
        if join.residual is not None:
            conditions.append(compile_expression(join.residual, scope, self.dialect))
        left.order = []
        if join.how in ("semi", "anti") and isinstance(self.dialect, SemiJoining):
            on = conjunction(conditions) if conditions else exp.true()
            kind = join.how.upper()
            left.joins.append(exp.Join(this=right.source, kind=kind, on=on))
        elif join.how in ("semi", "anti"):
            found: exp.Expr = exp.Exists(
                this=exp.Select(expressions=[exp.Literal.number(1)])
                .from_(right.source, copy=False)
                .where(conjunction(conditions), copy=False)
            )
            left.where.append(found if join.how == "semi" else exp.Not(this=found))
        else:
            condition = conjunction(conditions) if conditions else None
            left.joins.append(_join_clause(join.how, right.source, condition))
            left.columns = {**left.columns, **right.columns}
        left.schema = join.schema
        return left

    def _key(self, join: Join, pair: tuple[str, str], scope: Scope) -> exp.Expr:
        types = [scope.schema.field(name).type for name in pair]
        target = common_type(*types)
        left, right = (
            key_of(self.dialect, self._cast(scope.column(name), source, target), target)
            for name, source in zip(pair, types, strict=True)
        )
        return exp.EQ(this=left, expression=right)

    def _explode(self, explode: Explode) -> Block:
        block = self.block(explode.input)
        if not block.per_row or not isinstance(block.columns[explode.column], exp.Column):
            block = self._nest(block)
        if isinstance(self.dialect, Unnesting):
            return self._explode_in_select(explode, block, self.dialect)
        alias, item = self._alias(), explode.column
        unnest = exp.Unnest(
            expressions=[block.columns[item]],
            alias=exp.TableAlias(
                this=exp.to_identifier(alias, quoted=True),
                columns=[exp.to_identifier(item, quoted=True)],
            ),
        )
        if explode.outer:
            block.joins.append(exp.Join(this=unnest, side="LEFT", on=exp.true()))
        else:
            block.joins.append(exp.Join(this=unnest, kind="CROSS"))
        block.columns = {**block.columns, item: column(item, alias)}
        block.schema, block.order = explode.schema, []
        return block

    def _explode_in_select(self, explode: Explode, block: Block, dialect: Unnesting) -> Block:
        dtype = explode.input.schema.field(explode.column).type
        node = block.columns[explode.column]
        block.columns = {
            **block.columns, explode.column: dialect.items(node, dtype, outer=explode.outer)
        }  # fmt: skip
        block.schema, block.order = explode.schema, []
        return self._nest(block)


def _is_read_again(operator: Operator) -> bool:
    """Whether each reader had better read an operator's rows from their source anew.

    Then its own filters and columns reach the source, and nothing is kept. So it is with leaves,
    and with simple filters and choices of columns of what engines read by columns from near by.
    """
    return not operator.inputs or _is_simple(operator)


def _is_simple(operator: Operator) -> bool:
    match operator:
        case Scan(source=ParquetFiles(paths=paths)):
            return not any("://" in path for path in paths)
        case Scan(source=source):
            return isinstance(source, MemorySource | RelationSource)
        case Filter(predicate=predicate):
            return _is_simple(operator.input) and all(
                isinstance(node, Column | Literal)
                or (isinstance(node, Call) and node.function in _COMPARING)
                for node in walk(predicate)
            )
        case Project(columns=columns):
            only = all(isinstance(expression, Column) for _, expression in columns)
            return only and _is_simple(operator.input)
    return False


def _hide_order(block: Block) -> list[_HiddenKey]:
    """Add a block's sort keys to its columns, so that what stands above can sort by them."""
    hidden = []
    for number, term in enumerate(block.order):
        name = f"umbel_order_{number}"
        block.columns[name] = copied(term.this)
        flags = bool(term.args.get("desc")), bool(term.args.get("nulls_first"))
        hidden.append(_HiddenKey(name, *flags))
    return hidden


def _ordered(block: Block, hidden: list[_HiddenKey]) -> Block:
    """Order a block over a subquery by the keys that the subquery hands out."""
    block.order = [
        exp.Ordered(
            this=column(key.name, block.source.alias),
            desc=key.descending,
            nulls_first=key.nulls_first,
        )
        for key in hidden
    ]
    return block


def _loses_group(block: Block, project: Project) -> bool:
    """Whether without the aggregates that a projection drops, nothing tells that rows were grouped."""
    return block.keys == [] and not columns_of(*(e for _, e in project.columns))


def _renamed(block: Block, schema: pa.Schema) -> Block:
    """Give the columns of a block the names of a schema, by position."""
    block.columns = dict(zip(schema.names, block.columns.values(), strict=True))
    block.schema = schema
    return block


def _join_clause(how: str, relation: exp.Expr, on: exp.Expr | None) -> exp.Join:
    if on is None:
        return exp.Join(this=relation, kind="CROSS")
    if how == "inner":
        return exp.Join(this=relation, kind="INNER", on=on)
    return exp.Join(this=relation, side=how.upper(), on=on)


def _aliased(relation: exp.Expr, alias: str) -> exp.Expr:
    name = exp.TableAlias(this=exp.to_identifier(alias, quoted=True))
    if not isinstance(relation, exp.Table | exp.Subquery):
        relation = exp.Table(this=relation)
    relation.set("alias", name)
    return relation
