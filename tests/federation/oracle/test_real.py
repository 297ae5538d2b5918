"""Thousands of questions to a real site process, and every byte that leaves its namespace.

The site runs by itself, under a signed policy, with all engines, in a network namespace; what asks
it is a coordinator that cares for no policy. What it answers must be what the embedded site answers
that the oracle has judged, and nothing planted may be in what it says, or in any packet.

`make canaries` runs it, as root; `UMBEL_CANARIES` says how many questions.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.federation.harness import Context, federation
from tests.federation.links import links, why_not
from tests.federation.oracle.oracle import Left, alike, answered, judge, planted
from tests.federation.oracle.questions import Questions
from tests.federation.oracle.tap import Tap, Wire
from tests.federation.oracle.worlds import GIVEN, Policy, World, policy, world
from tests.federation.real import settles
from umbel.federation.errors import PolicyError
from umbel.federation.policy.clauses import Clause
from umbel.federation.policy.decisions import Decisions
from umbel.federation.policy.signing import new_owner, sign
from umbel.federation.policy.verdict import Release
from umbel.federation.tasks import Input, Requester, Task
from umbel.federation.wire import WireDispatcher
from umbel.plan import operators as ops
from umbel.plan.errors import UmbelError

DRAWS = int(os.environ.get("UMBEL_CANARIES", "0"))
SITE = "north"
#: Questions to one site, under one policy.
_EACH = 250


def _clause(table: str, one: Clause) -> str:
    def words(names: tuple[str, ...]) -> str:
        return "[" + ", ".join(f'"{name}"' for name in names) + "]"

    lines = [f'[tables.{table}.allow."{one.name}"]', f'form = "{one.form.value}"',
             f"columns = {words(one.columns)}", 'users = ["*"]']  # fmt: skip
    if table == "visits":
        lines += [f"individuals = {one.min_individuals}", f"dimensions = {words(one.dimensions)}",
                  f"conditions = {words(one.conditions)}", f"joins = {words(one.joins)}",
                  f"functions = {words(one.functions)}", f'where = "{one.where}"']  # fmt: skip
    return "\n".join(lines)


def written(folder: Path, here: World, the: Policy, address: str) -> None:
    """The files of a site: its settings, its policy and the owner's signature, its tables."""
    owner = new_owner(folder / "owner.key")
    settings = [
        f'[site]\nname = "{SITE}"\npolicy = "policy.toml"\nowner = "{owner}"',
        f'[agent]\ncoordinator = "{address}"\nfolder = "."\nslots = 1',
    ]
    for name, table in here.tables().items():
        pq.write_table(table, folder / f"{name}.parquet")
        settings.append(f'[tables.{name}]\nparquet = "{name}.parquet"')
    (folder / "site.toml").write_text("\n".join(settings) + "\n")
    rules = [f'version = 1\nsite = "{SITE}"', f'[tables.visits]\nindividual = "{the.individual}"']
    rules += [_clause("visits", one) for one in the.visits]
    rules.append(_clause("codes", the.codes))
    (folder / "policy.toml").write_text("\n".join(rules) + "\n")
    sign(folder / "policy.toml", folder / "owner.key")


def asked(dispatcher: WireDispatcher, number: int, plan: ops.Operator) -> Left:
    """Ask the real site."""
    labels = {op.label for op in ops.topological(plan) if isinstance(op, ops.Placeholder)}
    inputs: dict[str, Any] = dict.fromkeys(labels, GIVEN)
    task = Task(
        f"run-{number}", 0, SITE, plan, tuple(Input.of(n, t) for n, t in inputs.items()),
        Requester("ann"),
    )  # fmt: skip
    left = Left()
    parts: list[Any] = []
    try:
        dispatcher.run(task, inputs, Context(), parts.append)
    except UmbelError as error:
        left.refused, left.denied = str(error), isinstance(error, PolicyError)
    for part in parts:
        assert isinstance(part, pa.Table)
        left.rows += [tuple(row.values()) for row in part.to_pylist()]
    return left


@pytest.mark.skipif(not DRAWS, reason="make canaries")
def test_no_byte_that_leaves_a_site_has_anything_planted(tmp_path: Path) -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    counts: Counter[str] = Counter()
    carried = 0
    for number in range(max(1, DRAWS // _EACH)):
        carried += _one_site(tmp_path / str(number), number, min(DRAWS, _EACH), counts)
    print(f"\n{sum(counts.values()):,} questions to real sites: {dict(counts)}, {carried:,} bytes")
    assert counts["answered"]
    assert counts["denied"]


def generous(rng: random.Random) -> Policy:
    """A policy of which some random questions are allowed."""
    while True:
        the = policy(rng)
        decisions = Decisions(SITE, the.rules())
        plans = [Questions(rng, _guide(decisions)).question() for _ in range(8)]
        allowed = sum(isinstance(decisions.release(plan), Release) for plan in plans)
        if the.individual and allowed >= 4:
            return the


def _guide(decisions: Decisions) -> Callable[[ops.Operator], bool]:
    return lambda plan: isinstance(decisions.release(plan), Release)


def _one_site(folder: Path, number: int, draws: int, counts: Counter[str]) -> int:
    rng = random.Random(f"real {number}")
    here, the, before = world(rng), generous(rng), counts["answered"]
    folder.mkdir()
    with ExitStack() as stack:
        link = stack.enter_context(links([SITE]))
        made = stack.enter_context(federation())
        site = made.join(SITE)
        tap = Tap(made, site, link.hosts[SITE])
        stack.callback(tap.close)
        written(site, here, the, tap.address)
        wire = Wire(link._ends(SITE)[0], tap.address)
        stack.callback(wire.close)
        log = stack.enter_context((folder / "site.log").open("w"))
        process = subprocess.Popen(
            [*link.inside[SITE], sys.executable, "-m", "umbel", "site", "run", str(site)],
            stdout=log, stderr=log,
        )  # fmt: skip
        stack.callback(process.wait)
        stack.callback(process.terminate)
        settles(
            lambda: made.endpoint.presence(SITE).connected or process.poll() is not None, "joined"
        )
        dispatcher = WireDispatcher(made.endpoint)
        decisions = Decisions(SITE, the.rules())
        for question in range(draws):
            chance = random.Random(f"{number} {question}")
            plan = Questions(chance, _guide(decisions) if question % 4 else None).question()
            found, own = asked(dispatcher, question, plan), answered(here, the, plan)
            assert found.denied == own.denied, (plan, found.refused, own.refused)
            assert (found.refused is None) == (own.refused is None), (found.refused, own.refused)
            assert alike(found.rows, own.rows, near=True), (found.rows[:5], own.rows[:5])
            if not own.denied and question % 10 == 0:
                assert not judge(chance, the, here, plan).holes
            counts["denied" if own.denied else "answered" if own.rows else "nothing"] += 1
        everything = b"\0".join([*tap.heard(), bytes(wire.raw), (folder / "site.log").read_bytes()])
        for way, what in planted(here, the).items():
            assert way not in everything, f"{what} has left the site"
        assert not wire.other, wire.other[:3]
        assert tap.tables >= counts["answered"] - before  # what left was heard
        return wire.bytes
