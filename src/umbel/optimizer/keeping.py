"""Plans over sites whose rows stay there: what can be computed at the data is moved to the data.

Without it a plan may ask for rows that a site does not give. Operators above a union of parts at
several sites go into each part, and so do joins with what may come there; aggregates are begun in
each part, and completed where the parts come together. This is done because it must be, whatever it
costs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol, cast

from umbel.dataclass import dataclass
from umbel.optimizer.aggregation import Custody, counts_values, partial_aggregates
from umbel.optimizer.facts import Facts
from umbel.optimizer.partials import split
from umbel.optimizer.problem import HERE, elsewhere
from umbel.plan import operators as ops
from umbel.plan.errors import UmbelError
from umbel.plan.expressions import Column, Literal
from umbel.platforms.base import Elsewhere, Platform
from umbel.platforms.registry import Registry

#: Aggregates that are begun at the data in one plan.
_MOST = 100
#: The sides of joins into whose parts the join may go.
_SPREAD = {
    "inner": ("left", "right"),
    "cross": ("left", "right"),
    "left": ("left",),
    "right": ("right",),
    "semi": ("left",),
    "anti": ("left",),
}


class _Site(Platform, Elsewhere, Protocol):
    """A platform at another site."""


@dataclass(frozen=True)
class Kept:
    """A plan with as much as possible at the data.

    Attributes:
        root: the plan.
        what: what was moved there, for people.
    """

    root: ops.Operator
    what: tuple[str, ...]


class Keeping:
    """Knows what stays at which site of a set of platforms."""

    def __init__(self, platforms: Registry) -> None:
        self._sites: dict[str, _Site] = {
            p.name: cast("_Site", p) for p in platforms if elsewhere(p) is not None
        }
        self._custody = Custody(self._stays, self._leaves, self._apart)

    @property
    def knows_sites(self) -> bool:
        """Whether there are other sites at all."""
        return bool(self._sites)

    def withheld(self, operator: ops.Operator) -> UmbelError | None:
        """Say why an operator's rows must not come together with others; None if they may."""
        for name in operator.places:
            if name in self._sites:
                found = self._sites[name].withheld(operator)
                if found is not None:
                    return found
        return None

    def barred(self, operator: ops.Operator, site: str) -> UmbelError | None:
        """Say why what an operator gives must not go to a site, or here; None if it may."""
        for name in operator.places:
            if name in self._sites and name != site:
                found = self._sites[name].barred(operator, site)
                if found is not None:
                    return found
        return None

    def detour(self, root: ops.Operator) -> UmbelError | None:
        """Say which rows would have to go to a site to which they must not; None if none would."""
        unreadable = self.barred(root, HERE)
        if unreadable is not None:
            return unreadable
        for operator in ops.topological(root):
            for site in self._bound(operator):
                for child in operator.inputs:
                    found = None if site in child.places else self.barred(child, site)
                    if found is not None:
                        return found
        return None

    def concerns(self, root: ops.Operator) -> bool:
        """Whether a plan reads tables of other sites."""
        return bool(self._sites) and any(name in self._sites for name in root.places)

    def kept(self, root: ops.Operator, facts: Facts) -> Kept:
        """Move to the data what can be computed there, if rows would have to leave it otherwise."""
        done: list[str] = []
        if self._leaving(root):
            root = self._begun(self._spread(root), facts, done)
        root = self._begun_by_value(root, facts, done)
        return Kept(self._unshared(root), tuple(done))

    def _begun(self, root: ops.Operator, facts: Facts, done: list[str]) -> ops.Operator:
        """Begin aggregates at the data as long as there are rows that would have to leave it."""
        for _ in range(_MOST):
            for place in partial_aggregates(root, facts, self._custody):
                changed = place.apply()
                if self._gains(root, changed):
                    root = changed
                    done.append(place.what)
                    break
            else:
                break
        return root

    def _begun_by_value(self, root: ops.Operator, facts: Facts, done: list[str]) -> ops.Operator:
        """Let sites give each value once of which the different ones are counted.

        It never moves more, and no row comes here that is not needed.
        """
        for _ in range(_MOST):
            place = next(iter(partial_aggregates(root, facts, self._custody, values=True)), None)
            if place is None:
                break
            root = place.apply()
            done.append(place.what)
        return root

    def _unshared(self, root: ops.Operator) -> ops.Operator:
        """Give each reader of rows that stay its own copy: to be shared they would have to leave."""
        readers = ops.consumers(root)
        shared: dict[int, ops.Operator] = {}
        made: dict[int, ops.Operator] = {}
        for operator in ops.topological(root):
            inputs = tuple(
                self._copied(made[id(child)]) if id(child) in shared else made[id(child)]
                for child in operator.inputs
            )
            made[id(operator)] = operator.with_inputs(inputs)
            if self._bound(operator) and len(readers[id(operator)]) > 1:
                shared[id(operator)] = operator
        return made[id(root)]

    def _copied(self, operator: ops.Operator) -> ops.Operator:
        """An operator like another, with what is below as far as it stays at its site too."""
        new: dict[int, ops.Operator] = {}
        for below in ops.topological(operator):
            made = below
            if self._bound(below):
                made = replace(below.with_inputs(tuple(new[id(c)] for c in below.inputs)))
            new[id(below)] = made
        return new[id(operator)]

    def refusal(self, root: ops.Operator, kept: ops.Operator, facts: Facts) -> UmbelError | None:
        """Say which rows would have to leave their site for a plan; None if it is not for that.

        Args:
            root: the plan as it was.
            kept: the same with as much as possible at the data.
            facts: what is known of its rows.
        """
        found = self._first(kept)
        if found is None:
            return None
        for place in partial_aggregates(kept, facts, self._custody):
            # What is wrong with the aggregate itself says more than that rows stay.
            changed = self._first(place.apply())
            if changed is not None and isinstance(changed[0], ops.Aggregate):
                return changed[1]
        operator, error = found
        hint = self._unsplit(root, operator) or error.hint
        return type(error)(error.message, hint=hint)

    def _stays(self, operator: ops.Operator) -> bool:
        members = operator.inputs if isinstance(operator, ops.Union) else (operator,)
        return any(self.withheld(member) is not None for member in members)

    def _leaves(self, operator: ops.Operator) -> bool:
        """Whether rows of a site may come here as they are."""
        members = operator.inputs if isinstance(operator, ops.Union) else (operator,)
        return bool(operator.places & self._sites.keys()) and all(
            self.withheld(member) is None for member in members
        )

    def _apart(self, operator: ops.Operator, column: str) -> bool:
        """Whether a column names individuals of whom each has rows at one site only."""
        parts = self._by_site(operator) if isinstance(operator, ops.Union) else None
        return (
            parts is not None
            and len(parts) == len(operator.inputs)
            and all(column in self._sites[name].residents(part) for name, part in parts.items())
        )

    def _gains(self, before: ops.Operator, after: ops.Operator) -> bool:
        """Whether fewer operators give rows that stay to others that are elsewhere."""
        return self._exits(after) < self._exits(before)

    def _exits(self, root: ops.Operator) -> int:
        return sum(1 for _ in self._leaving(root))

    def _first(self, root: ops.Operator) -> tuple[ops.Operator, UmbelError] | None:
        return next(iter(self._leaving(root)), None)

    def _leaving(self, root: ops.Operator) -> list[tuple[ops.Operator, UmbelError]]:
        """Operators whose rows stay at a site, but that something else reads than it can run."""
        order = ops.topological(root)
        bound = {id(op): self._bound(op) for op in order}
        readers = ops.consumers(root)
        found = []
        for operator in order:
            sites = bound[id(operator)]
            above = readers[id(operator)]
            if not sites or (
                above and all(self._runs(reader, sites | bound[id(reader)]) for reader in above)
            ):
                continue
            error = self.withheld(operator)
            if error is not None:
                found.append((operator, error))
        return found

    def _runs(self, operator: ops.Operator, sites: frozenset[str]) -> bool:
        """Whether an operator can run where the rows of some sites may come together."""
        if len(sites) > 1:
            return False
        return all(self._sites[name].refuse(operator) is None for name in sites)

    def _bound(self, operator: ops.Operator) -> frozenset[str]:
        """The sites whose rows that stay are among an operator's."""
        return frozenset(
            name
            for name in operator.places
            if name in self._sites and self._sites[name].withheld(operator) is not None
        )

    def _spread(self, root: ops.Operator) -> ops.Operator:
        """Move what stands above a union whose parts stay at their sites into the parts."""
        new: dict[int, ops.Operator] = {}
        for operator in ops.topological(root):
            moved = operator.with_inputs(tuple(new[id(child)] for child in operator.inputs))
            new[id(operator)] = self._moved_in(moved)
        return new[id(root)]

    def _moved_in(self, operator: ops.Operator) -> ops.Operator:
        match operator:
            case ops.Filter() | ops.Project(form=ops.Element.ROW) | ops.Explode():
                if self._is_parted(operator.input):
                    return _into(operator.input, lambda m: operator.with_inputs((m,)))
            case ops.Distinct() if self._is_parted(operator.input):
                keys = tuple((name, Column(name)) for name in operator.schema.names)
                if keys:
                    return ops.Aggregate(input=operator.input, keys=keys, origin=operator.origin)
            case ops.Join(how=how, left=left, right=right):
                if self._is_parted(left) and self._is_parted(right):
                    return self._joined_at_home(operator)
                for side in _SPREAD.get(how, ()):
                    if side == "left" and self._is_parted(left) and not self._stays_inside(right):
                        return _into(left, lambda m: replace(operator, left=m))
                    if side == "right" and self._is_parted(right) and not self._stays_inside(left):
                        return _into(right, lambda m: replace(operator, right=m))
        return operator

    def _joined_at_home(self, join: ops.Join) -> ops.Operator:
        """Join parts with those of the same site, if rows of others cannot match."""
        left, right = self._by_site(join.left), self._by_site(join.right)
        if left is None or right is None or join.how in ("right", "full", "cross"):
            return join
        if not any(
            all(mine in self._sites[name].residents(part) for name, part in left.items())
            and all(other in self._sites[name].residents(part) for name, part in right.items())
            for mine, other in join.on
        ):
            return join
        joined = [
            replace(join, left=part, right=right[name]) if name in right else _alone(join, part)
            for name, part in left.items()
            if name in right or join.how in ("left", "anti")
        ]
        return ops.Union(members=tuple(joined)) if joined else join

    def _by_site(self, union: ops.Operator) -> dict[str, ops.Operator] | None:
        """The parts of a union by their sites; None if one has rows of several, or of none."""
        parts: dict[str, list[ops.Operator]] = {}
        for member in union.inputs:
            if len(member.places) != 1 or not member.places <= self._sites.keys():
                return None
            (name,) = member.places
            parts.setdefault(name, []).append(member)
        return {
            name: found[0] if len(found) == 1 else ops.Union(members=tuple(found))
            for name, found in parts.items()
        }

    def _is_parted(self, operator: ops.Operator) -> bool:
        """Whether rows are a union of parts, of which some stay at their sites."""
        if not isinstance(operator, ops.Union) or operator.distinct:
            return False
        if operator.element is not ops.Element.ROW or len(operator.places) < 2:
            return False
        types = operator.schema.types
        return self._stays(operator) and all(m.schema.types == types for m in operator.members)

    def _stays_inside(self, operator: ops.Operator) -> bool:
        if self._is_parted(operator):
            return True
        return self.withheld(operator) is not None

    def _unsplit(self, root: ops.Operator, operator: ops.Operator) -> str:
        """Name an aggregate above some rows that cannot be made of parts."""
        homes = operator.places
        for aggregate in ops.topological(root):
            if not isinstance(aggregate, ops.Aggregate) or not homes < aggregate.places:
                continue
            for name, call in aggregate.aggregates:
                if counts_values(call):
                    return (
                        f"column {name!r}: {call} over several sites cannot be made of what each "
                        "gives: it takes the different values themselves, some of which are in "
                        "single rows; allowed: counting them at each site, counting individuals "
                        "that are resident, and counting the groups of a query that groups by "
                        "them, without those of too few individuals"
                    )
                fresh = partial(next, iter(f"partial {i}" for i in range(10)))
                if split(call, aggregate.input.schema, fresh, exactly=False) is None:
                    return (
                        f"column {name!r}: {call} over several sites cannot be made of what each "
                        "gives; count, sum, mean, var and std can"
                    )
        return ""


def _alone(join: ops.Join, left: ops.Operator) -> ops.Operator:
    """What a left or anti join gives of rows that nothing matches."""
    if join.how == "anti":
        return left
    own = tuple((name, Column(name)) for name in left.schema.names)
    none = tuple((field.name, Literal(None, field.type)) for field in join.right.schema)
    return ops.Project(input=left, columns=(*own, *none), origin=join.origin)


def _into(union: ops.Operator, change: Callable[[ops.Operator], ops.Operator]) -> ops.Operator:
    """Change the parts of a union."""
    return union.with_inputs(tuple(change(member) for member in union.inputs))


__all__ = ["Keeping", "Kept"]
