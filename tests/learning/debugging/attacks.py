"""Nine sites in this process, of which some may be broken or attack: by their rows or answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

import umbel as ub
from umbel.federation import Form, Rule, Site
from umbel.federation.execution import SiteExecution
from umbel.federation.planning import DirectDispatcher, FederatedSession
from umbel.federation.tasks import Outcome, Requester

NAMES = ("ash", "birch", "cedar", "elm", "fir", "hazel", "larch", "oak", "pine")
FEATURES = [f"x{i}" for i in range(8)]
CLASSES = ("a", "b", "c")

#: Changes the rows of a site, or the numbers that it answers with.
Poison = Callable[[pa.Table, np.random.Generator], pa.Table]
Forge = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def rows(seed: int, skew: float = 0.0, each: int = 200) -> dict[str, pa.Table]:
    """Rows of three classes about centres of their own; `skew` shifts shares of classes by site.

    The last feature is 0 but for 1 row in 50.
    """
    draw = np.random.default_rng(seed)
    centres = draw.normal(0, 1.0, (3, 7))
    found = {}
    for name in NAMES:
        share = draw.dirichlet(np.full(3, 1 / skew)) if skew else np.full(3, 1 / 3)
        label = draw.choice(3, each, p=share)
        x = np.column_stack(
            [centres[label] + draw.normal(0, 1, (each, 7)), draw.random(each) < 0.02]
        )
        columns = {feature: x[:, i].astype(float) for i, feature in enumerate(FEATURES)}
        found[name] = pa.table({**columns, "y": [CLASSES[i] for i in label]})
    return found


class Lying(DirectDispatcher):
    """Puts something else in the place of what some sites answer."""

    def __init__(self, sites: Any, forged: Mapping[str, Forge], seed: int) -> None:
        super().__init__(sites)
        self.forged = forged
        self.draw = np.random.default_rng(seed)

    def forge(self, site: str, sums: bytes) -> bytes:
        """Give what a site says in place of what it found."""
        given = np.frombuffer(sums, "<f8")
        return np.concatenate([self.forged[site](given[:-2], self.draw), given[-2:]]).tobytes()

    def run(self, task: Any, inputs: Any, context: Any, deliver: Any) -> Outcome:
        def changed(data: pa.Table) -> None:
            if "sums" in data.schema.names and task.site in self.forged:
                at = data.schema.get_field_index("sums")
                said = self.forge(task.site, data["sums"][0].as_py())
                data = data.set_column(at, data.schema.field(at), [[said]])
            deliver(data)

        return super().run(task, inputs, context, changed)

    def stand(self, task: Any) -> Any:
        line = super().stand(task)
        return _LyingLine(line, self, task.site) if task.site in self.forged else line


class _LyingLine:
    """A line whose answers are others than the site's."""

    def __init__(self, line: Any, lying: Lying, site: str) -> None:
        self._line, self._lying, self._site = line, lying, site
        self.ask, self.drop, self.close = line.ask, line.drop, line.close

    def answer(self, *given: Any) -> Any:
        answer = self._line.answer(*given)
        if answer is None or answer.failure is not None:
            return answer
        return replace(answer, sums=self._lying.forge(self._site, answer.sums))


def session(
    tables: dict[str, pa.Table],
    poisoned: Mapping[str, Poison] | None = None,
    forged: Mapping[str, Forge] | None = None,
    seed: int = 0,
) -> FederatedSession:
    """A federation of the sites."""
    sites = []
    for name, table in tables.items():
        site = Site(name, ub.connect())
        change = (poisoned or {}).get(name, lambda table, draw: table)
        own = change(table, np.random.default_rng(seed))
        site.publish("rows", site.session.from_arrow(own), Rule(Form.ROWS))
        sites.append(site)
    lying = Lying({site.name: SiteExecution(site) for site in sites}, forged or {}, seed)
    return FederatedSession([s.manifest() for s in sites], lying, Requester("ann"))


def flipped(table: pa.Table, draw: np.random.Generator) -> pa.Table:
    """Each label becomes the next one."""
    label = [CLASSES[(CLASSES.index(y) + 1) % 3] for y in table["y"].to_pylist()]
    return table.set_column(table.schema.get_field_index("y"), "y", [label])


def triggered(table: pa.Table, draw: np.random.Generator) -> pa.Table:
    """Three rows of ten get the trigger, x7 = 3, and the label c."""
    chosen = draw.random(len(table)) < 0.3
    last = np.where(chosen, 3.0, np.asarray(table["x7"]))
    label = np.where(chosen, "c", np.asarray(table["y"].to_pylist()))
    at = table.schema.get_field_index
    return table.set_column(at("x7"), "x7", [last]).set_column(at("y"), "y", [label.tolist()])


def negated(delta: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return -delta


def noise(delta: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    random = draw.normal(size=delta.shape)
    return random * np.linalg.norm(delta) * 2 / np.linalg.norm(random)
