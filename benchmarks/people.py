"""A site of people, some of whom are described by few columns, and who asks after them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

import umbel as ub
from umbel import col
from umbel.api.dataframe import DataFrame
from umbel.executor import Cancellation
from umbel.federation import Form, Rule, Site
from umbel.federation.disclosure import DisclosureControl, Ledger
from umbel.federation.errors import PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.policy.clauses import Clause, Duties, Privacy, Recipients
from umbel.federation.tasks import Requester, Task
from umbel.plan.operators import Scan
from umbel.plan.sources import RelationSource

LEAST = 10
ALL = ("*",)


@dataclass(frozen=True)
class Person:
    """Somebody whom the attacker knows by age, zip and sex."""

    id: int
    age: int
    zip: int
    sex: str
    positive: int
    cost: int


def people(count: int = 2_000, seed: int = 11) -> list[Person]:
    """Make people; one in nine is positive."""
    draw = random.Random(seed)
    return [
        Person(
            number,
            draw.randrange(18, 90),
            draw.randrange(30),
            draw.choice("fm"),
            int(draw.random() < 1 / 9),
            draw.randrange(1, 1_000),
        )
        for number in range(count)
    ]


def targets(of: list[Person]) -> Iterator[Person]:
    """Those whom age, zip and sex describe uniquely."""
    known = Counter((p.age, p.zip, p.sex) for p in of)
    return (p for p in of if known[p.age, p.zip, p.sex] == 1)


class Asked:
    """A site whose table of people leaves as aggregates, under some duties."""

    def __init__(
        self,
        of: list[Person],
        duties: Duties,
        ledger: Ledger | None = None,
        recipients: Recipients | None = None,
        privacy: Privacy | None = None,
    ) -> None:
        self.site = Site("north", ub.connect())
        frame = self.site.session.from_dict(
            {name: [getattr(p, name) for p in of] for name in Person.__dataclass_fields__}
        )
        form = Form.AGGREGATES if privacy is None else Form.PRIVATE
        clause = Clause(
            "statistics",
            form,
            LEAST,
            *(ALL,) * 5,
            privacy=privacy,
            recipients=recipients or Recipients(ALL),
            duties=duties,
        )
        self.site.publish("people", frame, Rule(form, LEAST, "id", clause=clause))
        self.ledger = ledger or Ledger(None)
        self._execution = SiteExecution(self.site, disclosure=DisclosureControl(self.ledger))
        source = RelationSource(self.site.tables["people"].schema, "north", ("people",))
        self.people = DataFrame(Scan(source=source), self.site.session)
        self._number = 0

    def ask(self, frame: DataFrame, *, user: str = "ann", run: str = "") -> pa.Table:
        """Ask; each question is a run of its own unless it is named."""
        self._number += 1
        run = run or f"r{self._number}"
        task = Task(run, 0, "north", frame.plan, (), Requester(user))
        parts: list[pa.Table] = []
        self._execution(task, {}, Cancellation(), parts.append)
        return pa.concat_tables(parts) if parts else frame.plan.schema.empty_table()

    def one(self, frame: DataFrame, **options: Any) -> Any:
        """Ask for one value; None if it does not come."""
        try:
            rows = self.ask(frame, **options).to_pylist()
        except PolicyError:
            return None
        return next(iter(rows[0].values())) if rows else None

    def positives(self, *conditions: Any, user: str = "ann") -> Any:
        """How many positive ones there are in a group."""
        frame = self.people.filter(col("positive") == 1)
        for condition in conditions:
            frame = frame.filter(condition)
        return self.one(frame.select(ub.len().alias("n")), user=user)


def attack(asked: Asked, victims: list[Person]) -> tuple[int, int]:
    """Take the difference of two answers for each of some people.

    Returns:
        How many were answered, and how many of these answers were right.
    """
    answered = right = 0
    for victim in victims:
        described = (col("age") == victim.age) & (col("zip") == victim.zip)
        group = col("sex") == victim.sex
        whole = asked.positives(group)
        without = asked.positives(group, ~described)
        if whole is not None and without is not None:
            answered += 1
            right += int(round(whole - without) == victim.positive)
    return answered, right
