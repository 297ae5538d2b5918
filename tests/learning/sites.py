"""Three sites in this process with rows of their own, whose answers are recorded and can be forged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

import umbel as ub
from umbel.federation import Form, Rule, Site
from umbel.federation.execution import SiteExecution
from umbel.federation.planning import DirectDispatcher, FederatedSession
from umbel.federation.tasks import Outcome, Requester

NAMES = ("north", "south", "west")
RULE = Rule(Form.AGGREGATES, 5, "id", updates=50)
LOGISTIC = ub.learn.LogisticRegression()


def people(rows: int = 900) -> pa.Table:
    """Rows that differ from site to site, so that no site's own model is that of all."""
    draw = np.random.default_rng(11)
    site = np.arange(rows) % 3
    age = draw.normal(50 + 10 * site, 8)
    ward = draw.choice(["day", "er", "icu"], rows, p=[0.5, 0.3, 0.2])
    risk = 0.06 * (age - 60) + (ward == "icu") * 1.2 - site * 0.4
    ill = draw.random(rows) < 1 / (1 + np.exp(-risk))
    return pa.table({"id": np.arange(rows), "age": age, "ward": ward, "ill": ill})


PEOPLE = people()


def at(name: str, table: pa.Table = PEOPLE) -> pa.Table:
    return table.filter(pa.array(np.asarray(table["id"]) % 3 == NAMES.index(name)))


class Recording(DirectDispatcher):
    """Keeps what sites let out, and can put something else into its place."""

    def __init__(self, sites: Mapping[str, Any], forged: Mapping[str, bytes]) -> None:
        super().__init__(sites)
        self.given: list[pa.Table] = []
        self.forged = forged

    def run(self, task: Any, inputs: Any, context: Any, deliver: Any) -> Outcome:
        def kept(data: pa.Table) -> None:
            self.given.append(data)
            if "sums" in data.schema.names and task.site in self.forged:
                at = data.schema.get_field_index("sums")
                data = data.set_column(at, data.schema.field(at), [[self.forged[task.site]]])
            deliver(data)

        return super().run(task, inputs, context, kept)

    def stand(self, task: Any) -> Any:
        return _Kept(super().stand(task), self, task)


class _Kept:
    """A line whose answers are recorded, and can be forged."""

    def __init__(self, line: Any, recording: Recording, task: Any) -> None:
        self._line, self._recording, self._task = line, recording, task
        self.ask, self.drop, self.close = line.ask, line.drop, line.close

    def answer(self, *given: Any) -> Any:
        answer = self._line.answer(*given)
        if answer is not None and answer.failure is None:
            row = answer.row(self._task.plan.part)
            schema = self._task.plan.schema
            self._recording.given.append(pa.Table.from_pylist([row], schema=schema))
            forged = self._recording.forged.get(self._task.site)
            if forged is not None:
                return replace(answer, sums=forged)
        return answer


def federation(
    tables: Mapping[str, pa.Table] | None = None,
    rule: Rule = RULE,
    forged: Mapping[str, bytes] | None = None,
) -> FederatedSession:
    sites = []
    for name, table in (tables or {name: at(name) for name in NAMES}).items():
        site = Site(name, ub.connect())
        site.publish("people", site.session.from_arrow(table), rule)
        sites.append(site)
    recording = Recording({site.name: SiteExecution(site) for site in sites}, forged or {})
    session = FederatedSession([s.manifest() for s in sites], recording, Requester("ann"))
    session.recording = recording  # type: ignore[attr-defined]
    return session
