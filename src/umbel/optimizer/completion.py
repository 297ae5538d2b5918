"""Which operators must be complete before what reads them begins.

Inside a stage an engine moves filters, skips what nobody reads, and stops when it has enough. What
cannot fail does not show that. What can fail would fail on one engine, and not on another. So a
stage ends behind an operator that may fail for some row, if what reads it could make the engine
evaluate it for other rows: then every engine evaluates it for all rows that reach it, and no more.
"""

from __future__ import annotations

from collections.abc import Mapping

from umbel.dataclass import dataclass
from umbel.optimizer.bounds import Bounds
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Call, Expression, columns_of, walk
from umbel.plan.safety import always_evaluated
from umbel.platforms.base import EvaluatesAsWritten, Platform


@dataclass(frozen=True)
class Risk:
    """What of an operator's output an engine may not have evaluated, or may evaluate too often.

    Attributes:
        columns: output columns that may fail to be computed, and so may be left uncomputed.
        rows: something that may fail decides over rows: a condition, a key.
    """

    columns: frozenset[str] = frozenset()
    rows: bool = False

    def __bool__(self) -> bool:
        return bool(self.columns) or self.rows


def to_complete(
    root: ops.Operator, platform_of: Mapping[int, Platform], bounds: Bounds
) -> set[int]:
    """Find the operators, by identity, behind which a stage must end."""
    return _Completion(root, platform_of, bounds).found


class _Completion:
    def __init__(
        self, root: ops.Operator, platform_of: Mapping[int, Platform], bounds: Bounds
    ) -> None:
        self.found: set[int] = set()
        self._bounds = bounds
        self._readers = ops.consumers(root)
        platforms = {platform.name: platform for platform in platform_of.values()}
        as_written = {n for n, p in platforms.items() if isinstance(p, EvaluatesAsWritten)}
        risks: dict[int, Risk] = {}
        for operator in ops.topological(root):
            platform = platform_of[id(operator)]
            if platform.name in as_written:
                risks[id(operator)] = Risk()
                continue
            below = []
            for child in operator.inputs:
                risk = risks[id(child)]
                if platform_of[id(child)].name != platform.name:
                    risk = Risk()  # a stage ends here anyway
                elif self._hides(operator, child, risk) or self._overreaches(operator, child):
                    self.found.add(id(child))
                    risk = Risk()
                below.append(risk)
            risks[id(operator)] = self._risk(operator, below)

    def _may_fail(self, expression: Expression, *inputs: ops.Operator) -> bool:
        return not self._bounds.cannot_fail(expression, *inputs)

    def _risk(self, operator: ops.Operator, below: list[Risk]) -> Risk:
        """What is at risk behind an operator, given what is behind its inputs."""
        columns = frozenset().union(*(risk.columns for risk in below))
        rows = any(risk.rows for risk in below)
        match operator:
            case ops.Project():
                return Risk(self._risky(operator.columns, operator.input, columns), rows)
            case ops.Aggregate():
                keys = self._risky(operator.keys, operator.input, columns)
                calls = self._risky(operator.aggregates, operator.input, columns)
                return Risk(keys | calls, rows or bool(keys))
            case ops.Window():
                return Risk(columns | self._risky(operator.columns, operator.input, columns), rows)
            case ops.Filter(predicate=predicate):
                return Risk(columns, rows or self._may_fail(predicate, operator.input))
            case ops.Sort(keys=keys):
                failing = any(self._may_fail(key.expression, operator.input) for key in keys)
                return Risk(columns, rows or failing)
            case ops.Join(residual=residual) if residual is not None:
                return Risk(columns, rows or self._may_fail(residual, *operator.inputs))
            case ops.Distinct() | ops.Union(distinct=True):
                return Risk(columns, rows or bool(columns))
            case ops.ToFrame():
                names = zip(operator.input.schema.names, operator.schema.names, strict=True)
                return Risk(frozenset(new for old, new in names if old in columns), rows)
        return Risk(columns & set(operator.schema.names), rows)

    def _risky(
        self,
        columns: tuple[tuple[str, Expression], ...],
        below: ops.Operator,
        risky: frozenset[str],
    ) -> frozenset[str]:
        return frozenset(
            name
            for name, expression in columns
            if columns_of(expression) & risky or self._may_fail(expression, below)
        )

    def _hides(self, reader: ops.Operator, child: ops.Operator, risk: Risk) -> bool:
        """Whether a reader could keep what is at risk from being evaluated for every row."""
        if not risk:
            return False
        match reader:
            case ops.Project(columns=columns):
                read = frozenset().union(*(always_evaluated(e) for _, e in columns))
                return not risk.columns <= read
            case ops.Aggregate():
                expressions = [e for _, e in (*reader.keys, *map(_counted, reader.aggregates))]
                read = frozenset().union(*map(always_evaluated, expressions))
                return not risk.columns <= read
            case ops.Filter(predicate=predicate):
                whole = risk.columns <= always_evaluated(predicate) and not _joined(predicate)
                return risk.rows or not (whole and _every_row(child))
            case ops.Sort():
                return self._feeds_limit(reader)
            case ops.Limit():
                # Without an order a limit takes any rows, and need not look at others.
                return _is_ordered(child)
            case ops.Count():
                return bool(risk.columns)
            case (
                ops.Window()
                | ops.Distinct()
                | ops.Union()
                | ops.Explode()
                | ops.Sample()
                | ops.Rows()
                | ops.ToFrame()
            ):
                return False
        return True

    def _overreaches(self, reader: ops.Operator, child: ops.Operator) -> bool:
        """Whether a filter that may fail could be tried on rows that do not reach it."""
        if not isinstance(reader, ops.Filter) or _every_row(child):
            return False
        return self._may_fail(reader.predicate, child)

    def _feeds_limit(self, operator: ops.Operator) -> bool:
        """Whether only the first rows of an order are wanted, so that others may be skipped."""
        passing = (ops.Project, ops.Filter, ops.Rows, ops.ToFrame)
        open_ = [operator]
        while open_:
            for reader in self._readers[id(open_.pop())]:
                if isinstance(reader, ops.Limit):
                    return True
                if isinstance(reader, passing):
                    open_.append(reader)
        return False


def _counted(column: tuple[str, AggregateCall]) -> tuple[str, Expression]:
    """What an aggregate evaluates for sure: counts do not look at what they count."""
    name, call = column
    return name, AggregateCall("len") if call.function in ("count", "len") else call


def _joined(predicate: Expression) -> bool:
    return any(isinstance(n, Call) and n.function in ("and", "or") for n in walk(predicate))


def _every_row(operator: ops.Operator) -> bool:
    """Whether an operator gives all rows of a source: nothing for a filter to be moved below."""
    while isinstance(operator, ops.Project | ops.Sort | ops.Rows | ops.ToFrame):
        operator = operator.input
    if isinstance(operator, ops.Scan):
        return operator.predicate is None
    return isinstance(operator, ops.Values | ops.Placeholder)


def _is_ordered(operator: ops.Operator) -> bool:
    while isinstance(operator, ops.Project | ops.Filter | ops.Rows | ops.ToFrame | ops.Limit):
        operator = operator.input
    return isinstance(operator, ops.Sort)


__all__ = ["Risk", "to_complete"]
