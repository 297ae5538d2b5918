"""Small worlds of a site: tables with planted values, policies over them, and worlds beside them.

Two worlds are beside each other if a policy says that nobody may tell one from the other.
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from umbel.federation.policy.clauses import ALL, Clause, Form, Recipients
from umbel.federation.policy.rule import Rule

VISITS = pa.schema(
    [
        ("id", pa.int64()),
        ("sex", pa.string()),
        ("ward", pa.int64()),
        ("code", pa.string()),
        ("name", pa.string()),
        ("cost", pa.int64()),
        ("weight", pa.float64()),
        ("kids", pa.int32()),
        ("born", pa.date32()),
        ("consent", pa.bool_()),
    ]
)
CODES = pa.schema([("code", pa.string()), ("label", pa.string()), ("secret", pa.string())])
#: What whoever asks sends along.
GIVEN = pa.table({"given_id": [1, 3, 5], "given_code": ["a", "b", "a"], "number": [1.0, 2.0, 1e6]})
TABLES = {"visits": VISITS, "codes": CODES}

Row = dict[str, Any]


@dataclass(frozen=True)
class World:
    """The rows of a site's tables.

    Attributes:
        visits: of individuals, several of each perhaps.
        codes: of nobody.
    """

    visits: tuple[Row, ...]
    codes: tuple[Row, ...]

    def tables(self) -> dict[str, pa.Table]:
        """The tables in Arrow."""
        return {
            "visits": pa.Table.from_pylist(list(self.visits), VISITS),
            "codes": pa.Table.from_pylist(list(self.codes), CODES),
        }


@dataclass(frozen=True)
class Policy:
    """Clauses for the two tables, all of them for whoever asks."""

    visits: tuple[Clause, ...]
    codes: Clause
    individual: str = "id"

    def rules(self) -> dict[str, tuple[Rule, ...]]:
        """As a site has them."""
        visits = tuple(
            Rule(c.form, c.min_individuals, self.individual, clause=c) for c in self.visits
        )
        return {"visits": visits, "codes": (Rule(self.codes.form, clause=self.codes),)}


@dataclass(frozen=True)
class Beside:
    """Another world, and why nobody may tell it from the first.

    Attributes:
        world: the other world.
        why: what the policy says of it.
        near: sums may be rounded otherwise, so floats need not be the same bits.
    """

    world: World
    why: str
    near: bool = False
    plain: bool = field(default=False)


def canary(rng: random.Random) -> int:
    """A number that nobody comes by otherwise."""
    return rng.randrange(2**32, 2**33)


def _visit(rng: random.Random, who: int | None) -> Row:
    return {
        "id": who,
        "sex": rng.choice("fm"),
        "ward": rng.randrange(3),
        "code": rng.choice(["a", "b", "b", None]),
        "name": f"CANARY {canary(rng):x}" + " w" * rng.randrange(3),
        "cost": rng.choice([None, 0] + [canary(rng)] * 8),
        "weight": rng.choice([None, 0.0] + [rng.uniform(40, 120)] * 8),
        "kids": rng.randrange(4),
        "born": datetime.date(1950 + rng.randrange(50), 1 + rng.randrange(12), 1),
        "consent": rng.random() < 0.85,
    }


def _hidden(rng: random.Random, row: Row, names: set[str]) -> Row:
    other = _visit(rng, None)
    return {name: other[name] if name in names else value for name, value in row.items()}


def world(rng: random.Random) -> World:
    """A world of some people; of two of them only the costs differ, of two others the weights."""
    visits: list[Row] = []
    people = rng.sample(range(100), 14)
    for who in people[4:]:
        visits += [_visit(rng, who) for _ in range(rng.choice([1, 1, 2, 3]))]
    for column, pair in (("cost", people[:2]), ("weight", people[2:4])):
        row = {**_visit(rng, None), "consent": True, "cost": canary(rng), "weight": 71.5}
        for who in pair:
            value = canary(rng) if column == "cost" else rng.uniform(40, 120)
            visits.append({**row, "id": who, column: value})
    if rng.random() < 0.3:
        visits.append(_visit(rng, None))
    rng.shuffle(visits)
    codes = [{"code": c, "label": c.upper() * 2, "secret": f"CANARY {canary(rng):x}"} for c in "ab"]
    if rng.random() < 0.3:
        codes.append({"code": "a", "label": "CC", "secret": f"CANARY {canary(rng):x}"})
    return World(tuple(visits), tuple(codes))


def policy(rng: random.Random) -> Policy:
    """A policy, of which most that is asked at random allows something."""
    names = [name for name in VISITS.names if name != "id"]

    def some(chance: float) -> tuple[str, ...]:
        if rng.random() < 0.12:
            return ALL
        return tuple(name for name in names if rng.random() < chance)

    clauses = []
    for number in range(rng.choice([1, 1, 1, 2])):
        functions = rng.choice([ALL, ("count", "sum", "mean"), ("count", "sum", "mean"),
                                ("sum", "std"), ("count",), ("count", "n_unique", "mean")])  # fmt: skip
        clauses.append(
            Clause(
                f"clause {number}",
                Form.AGGREGATES,
                rng.choice([2, 3, 3, 4]),
                some(0.5),
                some(0.3),
                some(0.3),
                some(0.25),
                functions,
                rng.choice(["", "", "consent"]),
                Recipients(users=("*",)),
            )
        )
    codes = Clause("codes", Form.ROWS, columns=rng.choice([("code", "label"), ("label",), ALL]),
                   recipients=Recipients(users=("*",)))  # fmt: skip
    return Policy(tuple(clauses), codes, "id" if rng.random() < 0.9 else "")


def hidden_of(the: Policy) -> set[str]:
    """The columns of visits that no clause names for anything."""
    named = {the.individual}
    for clause in the.visits:
        for names in (clause.columns, clause.dimensions, clause.conditions, clause.joins):
            named |= set(VISITS.names) if "*" in names else set(names)
    if any(clause.where for clause in the.visits):
        named.add("consent")  # the owner's filter reads it
    return set(VISITS.names) - named


def summed_only(the: Policy, column: str) -> bool:
    """Whether all that may be known of a column are its sums over people."""
    for clause in the.visits:
        picking = (*clause.dimensions, *clause.conditions, *clause.joins)
        if column in picking or "*" in picking:
            return False
        if not set(clause.functions) <= {"count", "sum", "mean"}:
            return False
    return the.individual == "id"


def left_out(the: Policy, row: Row) -> bool:
    """Whether the owner's filters let a row be in nothing."""
    return all(clause.where for clause in the.visits) and not row["consent"]


def beside(rng: random.Random, the: Policy, one: World) -> Iterator[Beside]:
    """Worlds that nobody may tell from one."""
    hidden = hidden_of(the)
    if hidden:
        visits = tuple(_hidden(rng, row, hidden) for row in one.visits)
        names = ", ".join(sorted(hidden))
        yield Beside(replace(one, visits=visits), f"other values of the hidden columns {names}")
    if "*" not in the.codes.columns:
        codes = tuple(
            {**row, "secret": f"{canary(rng):x} x" * rng.randrange(3)} for row in one.codes
        )
        yield Beside(replace(one, codes=codes), "other values of the hidden column of codes")
    if any(left_out(the, row) for row in one.visits):
        visits = tuple(
            {**_visit(rng, rng.randrange(100)), "consent": False} if left_out(the, row) else row
            for row in one.visits
        )
        yield Beside(replace(one, visits=visits), "other rows that the owner's filter leaves out")
        kept = tuple(row for row in one.visits if not left_out(the, row))
        yield Beside(replace(one, visits=kept), "no rows that the owner's filter leaves out")
    if the.individual and not _names_used(the):
        there = sorted({row["id"] for row in one.visits if row["id"] is not None})
        new = dict(zip(there, rng.sample(range(200), len(there)), strict=True)) | {None: None}
        visits = tuple({**row, "id": new[row["id"]]} for row in one.visits)
        yield Beside(replace(one, visits=visits), "individuals of other names", near=True)
    for column in ("cost", "weight"):
        if summed_only(the, column):
            yield Beside(_moved(rng, one, column), f"the same sums of {column}", near=True)


def _names_used(the: Policy) -> bool:
    """Whether a clause lets rows be picked by who they are about: a "*" does."""
    return any("*" in (*c.conditions, *c.dimensions) for c in the.visits)


def _moved(rng: random.Random, one: World, column: str) -> World:
    """Somebody has less, and somebody else who is like them has as much more."""
    alike: dict[str, list[int]] = {}
    for number, row in enumerate(one.visits):
        alike.setdefault(repr({**row, "id": 0, column: 0}), []).append(number)
    first, second = next(
        pair
        for pair in alike.values()
        if len(pair) == 2 and len({one.visits[n]["id"] for n in pair}) == 2
    )
    low, high = sorted((first, second), key=lambda n: one.visits[n][column])
    amount = rng.randrange(1, 2**30) if column == "cost" else 0.25 * rng.randrange(1, 80)
    visits = list(one.visits)
    visits[low] = {**visits[low], column: visits[low][column] - amount}
    visits[high] = {**visits[high], column: visits[high][column] + amount}
    return replace(one, visits=tuple(visits))


def without(one: World, who: int) -> World:
    """The world without somebody."""
    return replace(one, visits=tuple(row for row in one.visits if row["id"] != who))
