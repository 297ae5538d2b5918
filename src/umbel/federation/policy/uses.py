"""Holds what a plan does with the columns of protected tables against the clauses on these.

A use is a filter, the keys of a join or of a group, the argument of an aggregate, or anything that
is computed. What fails, or takes long, for single rows tells of them: so nothing is computed of a
column that is for no such use, even if nobody reads what comes of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.federation.policy.clauses import ALL, Clause, Form
from umbel.federation.policy.plain import OWN, WORDS, Unit, overflows, unit_of
from umbel.federation.policy.rule import Rule
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Cast, Column, Expression, Literal, columns_of
from umbel.plan.safety import Range, examine

#: A column of a table.
Base = tuple[str, str]
Bases = frozenset[Base]
NONE: Bases = frozenset()
#: Stands for a column: how many rows an individual has. Only "*" permits a use of it.
ROWS_OF_ONE = "its number of rows"


@dataclass(frozen=True)
class Denial:
    """A use of a table's column that its clause does not allow.

    Attributes:
        operator: that uses it.
        table: the table.
        why: what is wrong.
    """

    operator: ops.Operator
    table: str
    why: str


@dataclass(frozen=True)
class Flow:
    """Of what an operator's columns are made.

    Attributes:
        reads: of which columns of tables each column is made.
        plain: columns that are those of a table as they are, but for the unit.
        bounds: of columns of integers.
        whole: columns of one published table as they are, if the rows are all those of it.
        denied: the first use below that a clause does not allow.
    """

    reads: Mapping[str, Bases] = field(default_factory=dict)
    plain: Mapping[str, Unit] = field(default_factory=dict)
    bounds: Mapping[str, Range] = field(default_factory=dict)
    whole: frozenset[str] = frozenset()
    denied: Denial | None = None

    def of(self, names: Iterable[str]) -> Bases:
        """Of which columns of tables some columns are made."""
        return frozenset().union(*(self.reads.get(name, NONE) for name in names))

    def made_of(self, expression: Expression) -> Bases:
        """Of which columns of tables an expression is made."""
        if isinstance(expression, Column):
            return self.reads.get(expression.name, NONE)
        return self.of(columns_of(expression))

    def unit(self, expression: Expression, schema: pa.Schema) -> Unit | None:
        """In which unit an expression is a table's own value; see `unit_of`."""
        if isinstance(expression, Column):
            known = self.plain.get(expression.name)
            return OWN if known is None and not self.reads.get(expression.name) else known
        foreign = {n for n in columns_of(expression) if not self.reads.get(n)}
        return unit_of(expression, schema, self.plain, foreign)


class NotAllowedError(Exception):
    """Carries a denial up to the operator."""

    def __init__(self, table: str, why: str) -> None:
        super().__init__(why)
        self.table = table
        self.why = why


class Uses:
    """Checks uses under one choice of clauses; each method raises `NotAllowedError`."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        """Prepare.

        Args:
            rules: of the tables.
        """
        self._rules = rules

    def clause(self, table: str) -> Clause | None:
        """The clause on a table."""
        rule = self._rules.get(table)
        return None if rule is None else rule.clause

    def computed(self, below: Flow, schema: pa.Schema, expression: Expression) -> Range | None:
        """Compute something of rows that may not leave; give its bounds.

        It must not fail for a single row, and read only what a clause lets be computed with.
        """
        if isinstance(expression, Column):
            return below.bounds.get(expression.name)
        read = below.made_of(expression)
        found = examine(expression, schema, below.bounds)
        if not read:
            return found.bounds
        if not found.safe:
            for table, column in self._guarded(read):
                raise NotAllowedError(
                    table,
                    f"computes {expression} of {column!r}, which may fail for a single row and "
                    "tell of it by that; try_cast does not, nor does arithmetic with small numbers",
                )
        if not isinstance(expression, Literal):
            self._works_with(read, expression, below, schema)
        return found.bounds

    def _works_with(
        self, read: Bases, expression: Expression, below: Flow, schema: pa.Schema
    ) -> None:
        plain: bool | None = None
        for table, column in sorted(read):
            clause = self.clause(table)
            if clause is None or permits(clause.conditions, column):
                continue
            if clause.form is Form.ROWS:
                if permits(clause.columns, column):
                    continue
            elif permits(clause.dimensions, column):
                continue
            elif column == ROWS_OF_ONE or permits(clause.columns, column):
                if plain is None:
                    plain = below.unit(expression, schema) is not None
                if plain:
                    continue
                raise NotAllowedError(
                    table,
                    f"computes {expression}, which is made of {column!r} in other ways than by "
                    "another unit, and so may pick rows by it",
                )
            if self._is_individual(table, column) and _is_widened(expression):
                continue
            raise NotAllowedError(table, f"computes {expression} of {column!r}")

    def gathers(self, below: Flow, call: AggregateCall) -> None:
        """Compute an aggregate of some rows of one individual; it stays inside."""
        for argument in call.arguments:
            if not isinstance(argument, Column):
                continue  # it was looked at when it was computed
            for table, column in sorted(below.made_of(argument)):
                clause = self.clause(table)
                if clause is None or column == ROWS_OF_ONE or self._is_individual(table, column):
                    continue
                named = (*clause.columns, *clause.conditions, *clause.dimensions)
                if not permits(named, column):
                    raise NotAllowedError(table, f"computes {call.function} of {column!r}")

    def picks(self, below: Flow, schema: pa.Schema, predicate: Expression) -> None:
        """Pick rows by a predicate."""
        self.conditions(below.made_of(predicate), "picks rows by")
        self.computed(below, schema, predicate)

    def conditions(self, bases: Bases, what: str) -> None:
        """Use columns for what decides which rows there are."""
        for table, column in sorted(bases):
            clause = self.clause(table)
            if clause is None or permits(clause.conditions, column):
                continue
            if clause.form is Form.ROWS and permits(clause.columns, column):
                continue
            raise NotAllowedError(table, f"{what} {column!r}")

    def orders(self, bases: Bases) -> None:
        """An order or a group of rows that leave tells of what they were ordered by."""
        rows = frozenset(
            base
            for base in bases
            if (clause := self.clause(base[0])) is not None and clause.form is Form.ROWS
        )
        self.conditions(rows, "orders or groups rows by")

    def gathered(self, bases: Bases) -> None:
        """Group rows of one individual: how many groups there are tells of the keys."""
        for table, column in sorted(self.telling(bases)):
            clause = self.clause(table)
            if clause is None or clause.form is Form.ROWS:
                continue
            if not permits((*clause.conditions, *clause.dimensions), column):
                raise NotAllowedError(table, f"groups rows of individuals by {column!r}")

    def joins(self, bases: Bases, partner: Flow, key: str) -> None:
        """Join rows by what is made of some columns, with a partner's rows by their key."""
        for table, column in sorted(self.telling(bases)):  # individuals are judged apart
            clause = self.clause(table)
            if clause is None or permits(clause.conditions, column):
                continue
            if clause.form is Form.ROWS and permits(clause.columns, column):
                continue
            if not permits(clause.joins, column):
                raise NotAllowedError(table, f"joins by {column!r}")
            if key not in partner.whole:
                raise NotAllowedError(
                    table,
                    f"joins by {column!r} with something else than all rows of a published table, "
                    "which picks rows",
                )

    def telling(self, bases: Bases) -> Bases:
        """Columns of keys of which a partner's columns tell; who somebody is, is judged apart."""
        return frozenset(base for base in bases if not self._is_individual(*base))

    def _is_individual(self, table: str, column: str) -> bool:
        rule = self._rules.get(table)
        return rule is not None and rule.form is not Form.ROWS and rule.individual == column

    def groups(self, bases: Bases) -> None:
        """Group individuals by what is made of some columns."""
        for table, column in sorted(bases):
            clause = self.clause(table)
            if clause is None or clause.form is Form.ROWS or permits(clause.dimensions, column):
                continue
            raise NotAllowedError(table, f"groups by {column!r}")

    def overflows(self, call: AggregateCall, below: Flow, schema: pa.Schema) -> None:
        """Sum up what may have no place in its type."""
        if overflows(call, schema, below.bounds):
            for table, column in self._guarded(below.made_of(call)):
                raise NotAllowedError(
                    table, f"computes {call} of {column!r}, which may overflow and tell of it"
                )

    def takes(
        self, call: AggregateCall, below: Flow, schema: pa.Schema, raw: frozenset[str]
    ) -> None:
        """Compute an aggregate over individuals, of the rows of some tables."""
        for table in sorted(raw | {t for bases in below.reads.values() for t, _ in bases}):
            clause = self.clause(table)
            if clause is None or clause.form is Form.ROWS:
                continue
            asked = WORDS.get(call.function, "")
            if call.distinct and asked == "count":
                asked = "n_unique"
            if asked == "n_unique" and self._counts_people(call, below):
                asked = "count"
            if asked not in clause.functions and clause.functions != ALL:
                raise NotAllowedError(table, f"computes {call.function}")
        for argument in call.arguments:
            plain: bool | None = None
            for table, column in sorted(below.made_of(argument)):
                clause = self.clause(table)
                if clause is None or clause.form is Form.ROWS:
                    continue
                if self._is_individual(table, column):
                    continue  # judged apart: individuals may be counted, and nothing else
                if column != ROWS_OF_ONE and not permits(clause.columns, column):
                    raise NotAllowedError(table, f"computes {call.function} of {column!r}")
                if plain is None:
                    plain = below.unit(argument, schema) is not None
                if not plain and not permits(clause.conditions, column):
                    raise NotAllowedError(
                        table,
                        f"computes {call.function} of something that is made of {column!r} in "
                        "other ways than by another unit, and so may pick rows by it",
                    )

    def learns(self, columns: Iterable[str], below: Flow) -> None:
        """Train a model on columns: those of a clause, as they are."""
        for name in sorted(columns):
            for table, column in sorted(below.reads.get(name, NONE)):
                clause = self.clause(table)
                if clause is None or clause.form is Form.ROWS:
                    continue
                if not permits(clause.columns, column):
                    raise NotAllowedError(table, f"learns from {column!r}")
                if name not in below.plain and not permits(clause.conditions, column):
                    raise NotAllowedError(
                        table, f"learns from {name!r}, which may pick rows by {column!r}"
                    )

    def coded(self, bases: Bases) -> None:
        """Run code over columns: it may give them, pick rows by them, and fail because of them."""
        for table, column in self._guarded(bases):
            raise NotAllowedError(
                table, f"runs code over {column!r}; select the columns that it may read before"
            )

    def _guarded(self, bases: Bases) -> Iterable[Base]:
        """Columns that may not leave as they are."""
        for table, column in sorted(bases):
            rule, clause = self._rules.get(table), self.clause(table)
            if (
                rule is None
                or rule.form is not Form.ROWS
                or (clause is not None and not permits(clause.columns, column))
            ):
                yield table, column

    def _counts_people(self, call: AggregateCall, below: Flow) -> bool:
        return all(self._is_individual(*base) for base in below.made_of(call))


def permits(names: Sequence[str], column: str) -> bool:
    """Whether a list of a clause has a column."""
    return column in names or "*" in names


def _is_widened(expression: Expression) -> bool:
    """Whether something is a column in a wider type: two values are equal if they were."""
    return isinstance(expression, Cast) and isinstance(expression.operand, Column)


__all__ = ["NONE", "ROWS_OF_ONE", "Base", "Bases", "Denial", "Flow", "NotAllowedError", "Uses",
           "permits"]  # fmt: skip
