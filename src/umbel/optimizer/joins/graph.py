"""The graph of a tree of inner joins: relations as nodes, conditions between them as edges.

Sets of relations are bits of an integer: relation 3 is `1 << 3`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from umbel.dataclass import dataclass
from umbel.optimizer.estimates import Estimate
from umbel.optimizer.matching import key_distinct
from umbel.plan.expressions import Expression
from umbel.plan.operators import Operator
from umbel.plan.origin import Origin


@dataclass(frozen=True)
class Relation:
    """One input of a tree of joins.

    Attributes:
        operator: what gives its rows; its columns have names that no other relation has.
        estimate: what is reckoned of it.
        home: the database or engine that it lies in; empty if it can be read from anywhere.
    """

    operator: Operator
    estimate: Estimate
    home: str = ""

    @property
    def rows(self) -> float:
        """Rows to reckon with; at least one, so that products say something."""
        return max(1.0, self.estimate.expected)


@dataclass(frozen=True)
class Equality:
    """Columns that must all be equal, of one relation each.

    Attributes:
        members: (relation, column), by relation.
        origin: the line that asks for it.
    """

    members: tuple[tuple[int, str], ...]
    origin: Origin | None = None

    @cached_property
    def relations(self) -> int:
        """The relations whose columns are members."""
        return union(1 << relation for relation, _ in self.members)

    def first(self, relations: int) -> str:
        """The first member that lies in some relations: all others there are equal to it."""
        return next(name for relation, name in self.members if relations >> relation & 1)


@dataclass(frozen=True)
class Condition:
    """A further condition over the columns of some relations.

    Attributes:
        predicate: must be true.
        relations: those whose columns it reads.
        selectivity: the fraction of pairs for which it is reckoned to be true.
    """

    predicate: Expression
    relations: int
    selectivity: float
    origin: Origin | None = None


class JoinGraph:
    """Relations, what must hold between them, and how many rows that leaves."""

    def __init__(
        self,
        relations: Sequence[Relation],
        equalities: Sequence[Equality],
        conditions: Sequence[Condition] = (),
    ) -> None:
        self.relations = tuple(relations)
        self.equalities = tuple(equalities)
        self.conditions = tuple(conditions)
        self.all = (1 << len(self.relations)) - 1
        self.neighbours = [0] * len(self.relations)
        for linked in (
            *(e.relations for e in self.equalities),
            *(c.relations for c in self.conditions if c.relations.bit_count() == 2),
        ):
            for relation in members(linked):
                self.neighbours[relation] |= linked & ~(1 << relation)
        self._factors = [*self._pairs(), *((c.relations, c.selectivity) for c in self.conditions)]
        self._many = [e for e in self.equalities if len(e.members) > 2]
        self._rows: dict[int, float] = {}
        self._bytes: dict[int, float] = {}

    def _pairs(self) -> Iterable[tuple[int, float]]:
        """The fraction of pairs that the equalities between two relations leave.

        Several columns together have no more different values than the relation has rows.
        """
        grouped: dict[int, list[Equality]] = {}
        for equality in self.equalities:
            if len(equality.members) == 2:
                grouped.setdefault(equality.relations, []).append(equality)
        for linked, equalities in grouped.items():
            left, right = members(linked)
            keys = [(e.first(1 << left), e.first(1 << right)) for e in equalities]
            different = key_distinct(
                self.relations[left].estimate, self.relations[right].estimate, keys
            )
            yield linked, 1 / max(1.0, different)

    def rows(self, relations: int) -> float:
        """How many rows the join of some relations is reckoned to have, in whatever order."""
        if relations not in self._rows:
            rows = 1.0
            for relation in members(relations):
                rows *= self.relations[relation].rows
            for linked, factor in self._factors:
                if linked & relations == linked:
                    rows *= factor
            for equality in self._many:
                rows *= self._share(equality, relations)
            self._rows[relations] = rows
        return self._rows[relations]

    def _share(self, equality: Equality, relations: int) -> float:
        """What columns of several relations that are equal leave: all but the scarcest restrict."""
        different = sorted(
            self.relations[relation].estimate.distinct(name)
            for relation, name in equality.members
            if relations >> relation & 1
        )
        share = 1.0
        for count in different[1:]:
            share /= max(1.0, count)
        return share

    def size(self, relations: int) -> float:
        """How many bytes the join of some relations is reckoned to have."""
        if relations not in self._bytes:
            width = sum(self.relations[r].estimate.width for r in members(relations))
            self._bytes[relations] = self.rows(relations) * width
        return self._bytes[relations]

    def around(self, relations: int) -> int:
        """The neighbours of some relations that are not among them."""
        found = 0
        for relation in members(relations):
            found |= self.neighbours[relation]
        return found & ~relations

    def components(self) -> list[int]:
        """The largest sets of relations that hang together."""
        left, found = self.all, []
        while left:
            component = left & -left
            while more := self.around(component):
                component |= more
            found.append(component)
            left &= ~component
        return found


def members(relations: int) -> list[int]:
    """The relations of a set.

    >>> members(0b1101)
    [0, 2, 3]
    """
    found = []
    while relations:
        lowest = relations & -relations
        found.append(lowest.bit_length() - 1)
        relations ^= lowest
    return found


def union(sets: Iterable[int]) -> int:
    """Unite sets of relations.

    >>> union([0b01, 0b10])
    3
    """
    found = 0
    for some in sets:
        found |= some
    return found
