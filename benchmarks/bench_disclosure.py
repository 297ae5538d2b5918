"""What disclosure control costs honest people, and what it leaves to an attacker; what auditing costs.

A site has 2,000 people of known age, zip code and sex, one in nine of whom is positive. The attacker
asks for the number of positive ones of a sex, and for the same without one person whom age, zip and
sex describe uniquely; the difference is that person's value (federated research calls it
differencing; who guesses "negative" is right for 8 of 9). Honest people ask 150 questions, drawn
with a fixed seed: counts, sums and means by sex, zip code or decade of age, of everybody or of a
sex, a decade or some zip codes. An answer is compared with what is true of the groups of at least
ten: how many of them are shown, and how far their values are off.

The same questions in the same order go to a site under each rule, by one user, so that the ledger
sees all of them. CPU seconds are those of this process. Unfair would be questions that are all
alike, or an attacker who knows what is refused and asks around it: `tests/federation/disclosure`
has trackers and differences inside of one question.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

import umbel as ub
from benchmarks.inprocess import write_json
from benchmarks.people import LEAST, Asked, Person, attack, people, targets
from umbel import col
from umbel.federation.audit import AuditLog
from umbel.federation.errors import PolicyError
from umbel.federation.policy.clauses import Dominance, Duties, Privacy

RULES: dict[str, Duties | Privacy] = {
    "thresholds alone": Duties(),
    "dominance (1, 50 %)": Duties(dominance=Dominance(1, 50)),
    "p% (10)": Duties(p_percent=10),
    "complementary": Duties(complementary=True),
    "rounding to 5": Duties(rounding=5),
    "noise of 3": Duties(noise=3),
    "overlap of 10": Duties(overlap=LEAST),
    "private": Privacy(
        0.5,
        per_user=10.0,
        per_table=20.0,
        delta=1e-6,
        bounds={"cost": (0, 1_000)},
        domains={"sex": ("f", "m"), "zip": tuple(range(30))},
    ),
    "overlap, noise, complementary": Duties(overlap=LEAST, noise=3, complementary=True),
}


@dataclass(frozen=True)
class Question:
    """A statistic by a key, of some of the people."""

    key: str
    what: str
    sexes: str
    decades: tuple[int, ...]
    zips: tuple[int, ...]

    def truth(self, of: list[Person]) -> dict[Any, float]:
        """The values of the groups of enough people."""
        groups: dict[Any, list[Person]] = defaultdict(list)
        for one in of:
            if one.sex in self.sexes and one.age // 10 in self.decades and one.zip in self.zips:
                groups[one.age // 10 if self.key == "decade" else getattr(one, self.key)].append(
                    one
                )
        costs = {key: [p.cost for p in g] for key, g in groups.items() if len(g) >= LEAST}
        if self.what == "count":
            return {key: float(len(c)) for key, c in costs.items()}
        return {
            key: float(sum(c)) / (len(c) if self.what == "mean" else 1) for key, c in costs.items()
        }

    def ask(self, asked: Asked) -> dict[Any, float]:
        """What the site says; nothing if it refuses."""
        frame = asked.people.with_columns(decade=col("age") // 10)
        if len(self.sexes) == 1:
            frame = frame.filter(col("sex") == self.sexes)
        if len(self.decades) < 9:
            frame = frame.filter(col("decade").is_in(list(self.decades)))
        if len(self.zips) < 30:
            frame = frame.filter(col("zip").is_in(list(self.zips)))
        value = {"count": ub.len(), "sum": col("cost").sum(), "mean": col("cost").mean()}
        try:
            found = asked.ask(frame.group_by(self.key).agg(value[self.what].alias("value")))
        except PolicyError:
            return {}
        return {row[self.key]: float(row["value"]) for row in found.to_pylist()}


def questions(count: int, seed: int = 5) -> list[Question]:
    """Draw honest questions."""
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        low = draw.randrange(1, 8)
        decades = tuple(range(1, 10)) if draw.random() < 0.5 else (low, low + 1)
        zips = tuple(range(30)) if draw.random() < 0.5 else tuple(range(draw.randrange(10, 29)))
        key = draw.choice(["sex", "zip", "decade"])
        sexes = "fm" if draw.random() < 0.6 else draw.choice("fm")
        made.append(Question(key, draw.choice(["count", "sum", "mean"]), sexes, decades, zips))
    return made


def site_under(of: list[Person], rule: Duties | Privacy) -> Asked:
    """A site under a rule."""
    if isinstance(rule, Privacy):
        return Asked(of, Duties(), privacy=rule)
    return Asked(of, rule)


def utility(
    of: list[Person], rule: Duties | Privacy, asked_for: list[Question]
) -> dict[str, float]:
    """How much of the truth honest people get."""
    asked = site_under(of, rule)
    answered = cells = shown = 0
    errors: list[float] = []
    start = time.process_time()
    for question in asked_for:
        true, found = question.truth(of), question.ask(asked)
        answered += bool(found) or not true
        cells += len(true)
        shown += len(found.keys() & true.keys())
        errors += [abs(found[key] - true[key]) / abs(true[key]) for key in found if key in true]
    return {
        "answered": answered,
        "cells": cells,
        "shown": shown,
        "median_error": statistics.median(errors) if errors else 0.0,
        "largest_error": max(errors, default=0.0),
        "cpu_ms": (time.process_time() - start) * 1e3 / len(asked_for),
    }


def audit_cost(records: int) -> dict[str, float]:
    """What one record of the audit log takes, in milliseconds."""
    fields = {"task": "0" * 64, "user": "ann", "plan": "0" * 64, "question": "q" * 300}
    with tempfile.TemporaryDirectory() as folder:
        log = AuditLog(Path(folder), "north")
        times, cpu = [], time.process_time()
        for _ in range(records):
            start = time.perf_counter()
            log.append("allowed", fields)
            times.append((time.perf_counter() - start) * 1e3)
        cpu = (time.process_time() - cpu) * 1e3 / records
        log.close()
    return {"median_ms": statistics.median(times), "cpu_ms": cpu}


def main() -> None:
    """Measure, show and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=150)
    parser.add_argument("--victims", type=int, default=106)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rules", nargs="*", default=list(RULES), choices=list(RULES))
    given = parser.parse_args()
    of = people()
    # The first half of a few are positive, so that whoever guesses "negative" is not always right.
    found_by = list(targets(of))[:106]
    positive = [p for p in found_by if p.positive][: (given.victims + 1) // 2]
    victims = positive + [p for p in found_by if not p.positive][: given.victims - len(positive)]
    asked_for = questions(given.questions)
    table = Table(
        "rule", "answered", "cells shown", "error", "most", "CPU", "attack", box=box.SIMPLE
    )
    found: dict[str, Any] = {}
    for name in given.rules:
        rule = RULES[name]
        made = utility(of, rule, asked_for)
        answered, right = attack(site_under(of, rule), victims)
        found[name] = {**made, "attack_answered": answered, "attack_right": right}
        print(f"{name}: done", file=sys.stderr, flush=True)
        table.add_row(
            name,
            f"{made['answered']:.0f}/{len(asked_for)}",
            f"{made['shown']:.0f}/{made['cells']:.0f}",
            f"{made['median_error']:.1%}",
            f"{made['largest_error']:.1%}",
            f"{made['cpu_ms']:.0f} ms",
            f"{right} right of {answered} of {len(victims)}",
        )
    audit = audit_cost(300)
    negative = sum(not victim.positive for victim in victims)
    console = Console()
    console.print(table)
    console.print(f'who guesses "negative" is right for {negative} of {len(victims)}')
    console.print(
        f"a record of the audit log: {audit['median_ms']:.2f} ms in the median, of which "
        f"{audit['cpu_ms']:.2f} ms are CPU"
    )
    if given.json:
        write_json(given.json, {"rules": found, "audit": audit, "guess": negative})


if __name__ == "__main__":
    main()
