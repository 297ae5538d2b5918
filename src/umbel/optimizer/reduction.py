"""Semi-join reduction: leave out, before data moves, the rows that a join then drops.

One side of a join lies in a database, the other one elsewhere with few different keys. Then it
may be cheaper to send the keys there, and fetch only the rows that they match.

Source: Bernstein and Chiu, "Using semi-joins to solve relational queries", Journal of the ACM 28,
1981.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from umbel.dataclass import dataclass
from umbel.optimizer.cardinality import Estimator
from umbel.optimizer.homes import homes_of
from umbel.optimizer.matching import matching_share
from umbel.plan import operators as ops
from umbel.plan.expressions import Column

#: Keys that are sent at most.
_MOST_KEYS = 200_000
#: Bytes that a side must have, and the part of its rows that may be left, for it to be worth while
#: to plan again.
_LEAST_BYTES, _MOST_LEFT = 100_000, 0.5
#: Reductions that are tried at most in one plan, those that save most first.
MOST_TRIED = 3

#: The sides of each kind of join of which rows without a match are dropped.
_REDUCIBLE = {
    "inner": ("left", "right"),
    "left": ("right",),
    "right": ("left",),
    "semi": ("right",),
    "anti": ("right",),
}


@dataclass(frozen=True)
class Reduction:
    """A side of a join that may be reduced.

    Attributes:
        digest: identifies the join.
        side: "left" or "right".
        saved: bytes that need not move.
        what: describes it, for people.
    """

    digest: str
    side: str
    saved: float
    what: str = ""


def reductions(root: ops.Operator, estimator: Estimator) -> list[Reduction]:
    """Find what may be worth while to reduce, and to plan again for; the most saving first."""
    operators = ops.topological(root)
    homes = homes_of(operators) if any(isinstance(op, ops.Join) for op in operators) else {}
    if len(set(homes.values())) < 2:
        return []
    found = list(_worth_trying(operators, homes, ops.consumers(root), estimator))
    found.sort(key=lambda r: (-r.saved, r.digest, r.side))
    return found[:MOST_TRIED]


def _worth_trying(
    operators: list[ops.Operator],
    homes: dict[int, str | None],
    readers: dict[int, list[ops.Operator]],
    estimator: Estimator,
) -> Iterator[Reduction]:
    for join in operators:
        if not isinstance(join, ops.Join) or not join.on or join.pin:
            continue
        for side in _REDUCIBLE.get(join.how, ()):
            reduced, other = _sides(join, side)
            home = homes[id(reduced)]
            if not home or homes[id(other)] == home or len(readers[id(reduced)]) > 1:
                continue
            known, keys = estimator(reduced), estimator(other)
            on = join.on if side == "left" else tuple((b, a) for a, b in join.on)
            share = matching_share(known, keys, on)
            if known.size >= _LEAST_BYTES and share <= _MOST_LEFT and keys.expected <= _MOST_KEYS:
                what = f"semi join on {', '.join(name for name, _ in on)} in {home}"
                yield Reduction(join.digest, side, known.size * (1 - share), what)


def reduce_sides(root: ops.Operator, chosen: list[Reduction]) -> ops.Operator:
    """Put a semi join with the other side's keys over each side that is chosen."""
    sides = {(reduction.digest, reduction.side) for reduction in chosen}
    before = {id(op): op for op in ops.topological(root)}
    new: dict[int, ops.Operator] = {}
    for identity, operator in before.items():
        moved = operator.with_inputs(tuple(new[id(child)] for child in operator.inputs))
        if isinstance(moved, ops.Join):
            for side in ("left", "right"):
                if (operator.digest, side) in sides:
                    moved = _reduced(moved, side)
        new[identity] = moved
    return new[id(root)]


def _reduced(join: ops.Join, side: str) -> ops.Join:
    reduced, other = _sides(join, side)
    pairs = join.on if side == "left" else tuple((b, a) for a, b in join.on)
    columns = tuple(dict.fromkeys(key for _, key in pairs))
    keys = ops.Distinct(
        input=ops.Project(
            input=other,
            columns=tuple((name, Column(name)) for name in columns),
            origin=join.origin,
        ),
        origin=join.origin,
    )
    semi = ops.Join(left=reduced, right=keys, how="semi", on=pairs, origin=join.origin)
    return replace(join, left=semi) if side == "left" else replace(join, right=semi)


def _sides(join: ops.Join, side: str) -> tuple[ops.Operator, ops.Operator]:
    return (join.left, join.right) if side == "left" else (join.right, join.left)
