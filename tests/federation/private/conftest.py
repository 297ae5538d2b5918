"""A site whose table of visits answers with differential privacy."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa

import umbel as ub
from umbel.api.dataframe import DataFrame
from umbel.executor import Cancellation
from umbel.federation import Site
from umbel.federation.disclosure import DisclosureControl, Ledger
from umbel.federation.execution import SiteExecution
from umbel.federation.policy.reading import read_policy
from umbel.federation.tasks import Outcome, Requester, Task
from umbel.plan.operators import Scan
from umbel.plan.sources import RelationSource

POLICY = """
version = 1
site = "north"

[tables.visits]
individual = "id"

[tables.visits.allow.private]
form = "private"
columns = ["cost", "late"]
dimensions = ["*"]
conditions = ["*"]
joins = ["*"]
users = ["*"]

[tables.visits.allow.private.privacy]
epsilon = 1.0
per_user = 1e9
per_table = 1e9
bounds = { cost = [0, 100] }
domains = { sex = ["f", "m", "x"], late = [true, false], room = [ROOMS] }

[tables.codes.allow.all]
form = "rows"
columns = ["*"]
users = ["*"]
"""


def visits(**columns: list[Any]) -> pa.Table:
    """A table of visits; columns that are not given are as many nulls or zeros."""
    count = len(next(iter(columns.values())))
    plain = {"id": list(range(count)), "sex": ["f"] * count, "late": [False] * count}
    plain |= {"cost": [0.0] * count, "ward": [0] * count, "room": [0] * count}
    types = {"id": pa.int64(), "sex": pa.string(), "late": pa.bool_(), "cost": pa.float64()}
    types |= {"ward": pa.int64(), "room": pa.int64()}
    return pa.table({n: pa.array(columns.get(n, plain[n]), types[n]) for n in plain})


def policy(site: str) -> str:
    """The policy of a site."""
    rooms = ", ".join(map(str, range(ROOMS)))
    return POLICY.replace('"north"', f'"{site}"').replace("ROOMS", rooms)


#: So many groups that one answer has many draws of noise.
ROOMS = 300


class Private:
    """Asks a site whose visits answer privately."""

    def __init__(self, rows: pa.Table, folder: Path, changes: dict[str, str] | None = None) -> None:
        text = policy("north")
        for old, new in (changes or {}).items():
            assert old in text
            text = text.replace(old, new)
        (folder / "policy.toml").write_text(text)
        self.site = Site("north", ub.connect())
        self.site.publish("visits", self.site.session.from_arrow(rows))
        codes: dict[str, list[Any]] = {"code": [0, 0, 1], "label": ["a", "b", "c"]}
        self.site.publish("codes", self.site.session.from_dict(codes))
        self.site.under(read_policy(folder / "policy.toml"))
        self.ledger = Ledger(folder / "ledger.db")
        self.execution = SiteExecution(self.site, disclosure=DisclosureControl(self.ledger))
        self.visits, self.codes = self.table("visits"), self.table("codes")

    def table(self, name: str) -> DataFrame:
        """A published table, as a coordinator has it."""
        source = RelationSource(self.site.tables[name].schema, "north", (name,))
        return DataFrame(Scan(source=source), self.site.session)

    def asked(
        self, frame: DataFrame, *, user: str = "ann", run: str = ""
    ) -> tuple[pa.Table, Outcome]:
        """Ask; each question is a run of its own unless it is named."""
        task = Task(run or f"r-{uuid.uuid4()}", 0, "north", frame.plan, (), Requester(user))
        parts: list[pa.Table] = []
        outcome = self.execution(task, {}, Cancellation(), parts.append)
        return (pa.concat_tables(parts) if parts else frame.plan.schema.empty_table()), outcome

    def ask(self, frame: DataFrame, **more: Any) -> list[dict[str, Any]]:
        """The rows of an answer."""
        return self.asked(frame, **more)[0].to_pylist()
