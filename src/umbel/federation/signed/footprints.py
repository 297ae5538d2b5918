"""What a plan does with a site's tables, and whether a stage does no more than the signed question.

A coordinator's planner moves filters, drops columns, begins aggregates in parts and cuts a question
into stages. What it never does is to read other columns, to pick other rows of a table, to group by
something else, or to compute other aggregates. So both are written in columns of the site's tables,
and compared: which rows each scan picks, keys, aggregates, constants and models.

What is not compared: limits and orders, kinds of joins, and what comes in with a stage. Under these
the site's own rules hold, as for every stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.optimizer.facts import Facts
from umbel.optimizer.partials import split
from umbel.optimizer.rewrite import rewrite
from umbel.optimizer.rewrite.simplify import conjuncts
from umbel.plan import operators as ops
from umbel.plan.expressions import (
    AggregateCall,
    Column,
    Expression,
    Literal,
    substitute,
    walk,
)
from umbel.plan.operators.base import table_digest
from umbel.plan.sources import RelationSource, dotted

#: Stands for a column of which it is not known of which others it is made.
_OPAQUE = Column("~")


@dataclass
class Footprint:
    """What a plan does with the tables of one site; expressions in columns "table.column".

    Attributes:
        picks: for each scan its table, and the conditions that its rows meet.
        columns: that are read for whatever.
        keys: by which is grouped or joined, or of which different values are taken.
        calls: aggregates.
        constants: in conditions other than those of `picks`.
        models: operators that learn, predict, run code or look at several rows, with all they say.
    """

    picks: set[tuple[str, frozenset[str]]] = field(default_factory=set)
    columns: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    constants: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Made:
    """What an operator's columns are made of; and the table of which it is nothing but rows."""

    columns: Mapping[str, Expression] = field(default_factory=dict)
    table: str = ""
    conditions: frozenset[str] = frozenset()


class _Walk:
    def __init__(self, site: str, tables: Iterable[str], everywhere: str) -> None:
        self._places = (site, everywhere)
        self._tables = frozenset(tables)
        #: Whether it is a question, of which stages may do parts.
        self._asked = bool(everywhere)
        self.found = Footprint()

    def plan(self, plan: ops.Operator) -> None:
        """Walk a plan; what a question gives as rows may be grouped by on the way."""
        made: dict[int, _Made] = {}
        for operator in ops.topological(plan):
            below = [made[id(child)] for child in operator.inputs]
            known = made[id(operator)] = self._made(operator, below)
            if not isinstance(operator, ops.Filter | ops.Project | ops.Union) or (
                isinstance(operator, ops.Union) and not known.table
            ):
                self.found.picks |= {(b.table, b.conditions) for b in below if b.table}
            if isinstance(operator, ops.Loop):
                self.plan(operator.body)
                if isinstance(operator, ops.DoWhile):
                    self.plan(operator.condition)
        last = made[id(plan)]
        if last.table:
            self.found.picks.add((last.table, last.conditions))
        for name in plan.schema.names:
            expression = last.columns.get(name, _OPAQUE)
            self._reads(expression)
            if self._asked:
                self._key(expression)

    def _made(self, operator: ops.Operator, below: list[_Made]) -> _Made:
        match operator:
            case ops.Scan(source=RelationSource(platform=place, relation=(*_, table))) if (
                place in self._places and table in self._tables
            ):
                own = {n: Column(dotted((table, n))) for n in operator.source.schema.names}
                conditions: frozenset[str] = frozenset()
                if operator.predicate is not None:
                    conditions = self._conditions(operator.predicate, own)
                shown = {name: own[name] for name in operator.schema.names}
                return _Made(shown, table, conditions)
            case ops.Filter(predicate=predicate):
                if below[0].table:
                    more = self._conditions(predicate, below[0].columns)
                    return _Made(below[0].columns, below[0].table, below[0].conditions | more)
                self._constants(self._text(predicate, below[0].columns))
                return below[0]
            case ops.Project(columns=columns):
                made = {name: self._text(e, below[0].columns) for name, e in columns}
                return _Made(made, below[0].table, below[0].conditions)
            case ops.Join():
                return self._joined(operator, below)
            case ops.Aggregate():
                return self._aggregated(operator, below[0])
            case ops.Distinct():
                for name in operator.schema.names:
                    self._key(below[0].columns.get(name, _OPAQUE))
                return _Made(below[0].columns)
            case ops.Union() | ops.Intersect() | ops.Except():
                return self._gathered(operator, below)
            case ops.Sort(keys=keys):
                for key in keys:
                    self._reads(self._text(key.expression, below[0].columns))
                return _Made(below[0].columns)
            case ops.Limit() | ops.Rows() | ops.ToFrame():
                return _Made(below[0].columns if below else {})
        if below:
            self._other(operator, below)
        kept = below[0].columns if len(below) == 1 else {}
        return _Made({name: kept.get(name, _OPAQUE) for name in operator.schema.names})

    def _joined(self, join: ops.Join, below: list[_Made]) -> _Made:
        for mine, other in join.on:
            self._key(below[0].columns.get(mine, _OPAQUE))
            self._key(below[1].columns.get(other, _OPAQUE))
        count = len(join.left.schema.names)
        names = join.schema.names
        left = [below[0].columns.get(name, _OPAQUE) for name in join.left.schema.names]
        right = [below[1].columns.get(name, _OPAQUE) for name in join.right.schema.names]
        made = dict(zip(names[:count], left, strict=True))
        made |= dict(zip(names[count:], right, strict=False))
        if join.residual is not None:
            both = dict(zip(join.left.schema.names, left, strict=True))
            both |= dict(zip(join.right.schema.names, right, strict=True))
            self._constants(self._text(join.residual, both))
        return _Made(made)

    def _aggregated(self, aggregate: ops.Aggregate, below: _Made) -> _Made:
        made: dict[str, Expression] = {}
        for name, key in aggregate.keys:
            made[name] = self._text(key, below.columns)
            self._key(made[name])
        schema = aggregate.input.schema
        for name, call in aggregate.aggregates:
            self._call(call, below.columns)
            names = (f"~{number}" for number in range(1_000))
            parts = split(call, schema, lambda: next(names), exactly=False)  # noqa: B023
            if parts is not None and self._asked:
                for _, part in parts.partials:
                    self._call(part, below.columns)
            if call.distinct or call.function == "n_unique":
                for argument in call.arguments:
                    self._key(self._text(argument, below.columns))
            made[name] = _OPAQUE
        return _Made(made)

    def _call(self, call: AggregateCall, columns: Mapping[str, Expression]) -> None:
        made = self._text(call, columns)
        self._reads(made)
        if not _is_opaque(made):
            self.found.calls.add(str(made))

    def _gathered(self, operator: ops.Operator, below: list[_Made]) -> _Made:
        """Rows of several; where two have different ones of the site's columns, both are keys."""
        made: dict[str, Expression] = {}
        for position, name in enumerate(operator.schema.names):
            each = [
                one.columns.get(child.schema.names[position], _OPAQUE)
                for one, child in zip(below, operator.inputs, strict=True)
            ]
            known = [e for e in each if _read_by(e)]
            made[name] = known[0] if known else _OPAQUE
            if any(e != known[0] for e in known[1:]):
                made[name] = _OPAQUE
                for e in known:
                    self._reads(e)
        if not isinstance(operator, ops.Union) or operator.distinct:
            for expression in made.values():
                self._key(expression)
            return _Made(made)
        # Parts of other sites are not rows of a table here: what is picked of all is of each.
        rows = {(one.table, one.conditions) for one in below if one.table}
        return _Made(made, *rows.pop()) if len(rows) == 1 else _Made(made)

    def _other(self, operator: ops.Operator, below: list[_Made]) -> None:
        words = [operator.name]
        for name, value in operator.arguments():
            if isinstance(operator, ops.Window) and name == "columns":
                for _, call in value:
                    text = self._text(call, below[0].columns)
                    self._reads(text)
                    words.append(str(text))
            elif isinstance(value, pa.Table):
                words.append(f"{name}={table_digest(value)}")
            elif not isinstance(value, ops.Operator):
                words.append(f"{name}={value}")
        design = getattr(operator, "design", None)
        if design is None:
            for one in below:
                for expression in one.columns.values():
                    self._reads(expression)
        else:
            for name in (*design.columns, *design.targets):
                self._reads(below[0].columns.get(name, _OPAQUE))
        self.found.models.add("\n".join(words))

    # --- expressions ------------------------------------------------------------------------------

    def _text(self, expression: Expression, columns: Mapping[str, Expression]) -> Expression:
        known = {**dict.fromkeys(_read_by(expression), _OPAQUE), **columns}
        return substitute(expression, known)

    def _conditions(
        self, predicate: Expression, columns: Mapping[str, Expression]
    ) -> frozenset[str]:
        found = [self._text(part, columns) for part in conjuncts(predicate)]
        for part in found:
            self._reads(part)
        return frozenset(map(str, found))

    def _constants(self, predicate: Expression) -> None:
        self._reads(predicate)
        for node in walk(predicate):
            if isinstance(node, Literal):
                self.found.constants.add(str(node))

    def _key(self, expression: Expression) -> None:
        self._reads(expression)
        if not _is_opaque(expression):
            self.found.keys.add(str(expression))

    def _reads(self, expression: Expression) -> None:
        self.found.columns |= _read_by(expression)


def _read_by(expression: Expression) -> set[str]:
    return {n.name for n in walk(expression) if isinstance(n, Column) and n != _OPAQUE}


def _is_opaque(expression: Expression) -> bool:
    """Whether something of it is made of what is not followed: aggregates, and what came in."""
    return any(node == _OPAQUE for node in walk(expression))


def footprint(
    plan: ops.Operator, site: str, tables: Iterable[str], everywhere: str = ""
) -> Footprint:
    """What a plan does with the tables of a site.

    Args:
        plan: a question, or a stage of one.
        site: whose tables count.
        tables: their names.
        everywhere: the place that stands for all sites in a question; empty for a stage.
    """
    walking = _Walk(site, tables, everywhere)
    walking.plan(plan)
    return walking.found


def beyond(
    stage: ops.Operator, asked: ops.Operator, site: str, tables: Iterable[str], everywhere: str
) -> str:
    """Say what a stage does that was not asked for; empty if it does nothing of the kind.

    Args:
        stage: what the site is to run.
        asked: the question that was signed.
        site: the site.
        tables: that it publishes.
        everywhere: the place that stands for all sites in the question.
    """
    names = frozenset(tables)
    mine = footprint(stage, site, names)
    plain = footprint(asked, site, names, everywhere)
    moved = footprint(rewrite(asked, facts=Facts()), site, names, everywhere)
    for table, conditions in sorted(mine.picks, key=str):
        if (table, conditions) not in moved.picks:
            if table not in {name for name, _ in moved.picks}:
                return f"it reads table {table!r}"
            return f"it picks other rows of table {table!r}"
    for what, given, allowed in (
        ("reads", mine.columns, plain.columns | moved.columns),
        ("groups or joins by", mine.keys, plain.keys | moved.keys),
        ("computes", mine.calls, plain.calls | moved.calls),
        ("has conditions with", mine.constants, plain.constants | moved.constants),
        ("has a step", mine.models, plain.models | moved.models),
    ):
        more = sorted(given - allowed)
        if more:
            return f"it {what} {more[0][:200]}"
    return ""


__all__ = ["Footprint", "beyond", "footprint"]
