"""A site under a policy of its own: visits with planted values, codes, and a table of nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from umbel.api.dataframe import DataFrame
from umbel.executor import Cancellation
from umbel.federation import Site
from umbel.federation.execution import SiteExecution
from umbel.federation.policy.reading import read_policy
from umbel.federation.tasks import Input, Outcome, Requester, Task
from umbel.plan.operators import Operator, Scan
from umbel.plan.sources import RelationSource

LEAST = 3
#: Stands in rows only; nothing of it may leave.
CANARY = "CANARY-91c2"

POLICY = """
version = 3
site = "north"

[projects.sepsis]
users = ["bob"]
purposes = ["sepsis"]

[regions]
eu = ["south", "west"]

[tables.visits]
individual = "id"
where = "consent"
mask = { zip = "left(zip, 2)" }

[tables.visits.allow.statistics]
form = "aggregates"
individuals = 3
functions = ["count", "sum", "mean"]
columns = ["cost"]
dimensions = ["sex", "zip", "code"]
conditions = ["sex"]
joins = ["code", "ward"]
users = ["ann"]
regions = ["eu"]

[tables.visits.allow.sepsis]
form = "aggregates"
individuals = 5
functions = ["count", "std"]
columns = ["*"]
dimensions = ["*"]
conditions = ["*"]
where = "sex = 'f'"
projects = ["sepsis"]
purposes = ["sepsis"]

[tables.codes.allow.all]
form = "rows"
columns = ["code", "label"]
users = ["*"]
sites = ["south"]

[tables.maps.allow.neighbours]
form = "rows"
columns = ["*"]
users = ["*"]
sites = ["south"]
coordinator = false
"""


def visits() -> pa.Table:
    rows = [
        {
            "id": i // 2,
            "name": f"{CANARY} {i}",
            "sex": "f" if i % 4 < 2 else "m",
            "zip": f"{10 + i // 30}{i:03d}",
            "ward": i % 3,
            "code": "ab"[i % 2],
            "cost": i,
            "consent": i < 60,
        }
        for i in range(80)
    ]
    return pa.Table.from_pylist(rows)


@pytest.fixture(scope="session")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "policy.toml"
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="session")
def site(policy_file: Path) -> Site:
    made = Site("north", ub.connect())
    made.publish("visits", made.session.from_arrow(visits()))
    codes = {"code": ["a", "b"], "label": ["A", "B"], "secret": [f"{CANARY} a", f"{CANARY} b"]}
    made.publish("codes", made.session.from_dict(codes))
    wards: dict[str, list[object]] = {"ward": [0, 1, 2], "wing": ["east", "west", "east"]}
    made.publish("maps", made.session.from_dict(wards))
    made.publish("nothing", made.session.from_dict({"x": [1]}))
    made.under(read_policy(policy_file))
    return made


@pytest.fixture(scope="session")
def table(site: Site) -> Callable[[str], DataFrame]:
    manifest = {one.name: one for one in site.manifest().tables}
    session = ub.connect()

    def make(name: str) -> DataFrame:
        return DataFrame(
            Scan(source=RelationSource(manifest[name].schema, "north", (name,))), session
        )

    return make


def ask(
    site: Site,
    plan: Operator,
    user: str = "ann",
    *,
    purpose: str = "",
    to: tuple[str, ...] = (),
    inputs: dict[str, pa.Table] | None = None,
    **more: Any,
) -> tuple[pa.Table, Outcome]:
    """Give a site a task, as a coordinator would that does not care for policies."""
    given = inputs or {}
    parts: list[pa.Table] = []
    task = Task(
        run="r",
        stage=0,
        site="north",
        plan=plan,
        inputs=tuple(Input.of(label, data) for label, data in given.items()),
        requester=Requester(user, more.pop("roles", ()), purpose),
        to=to,
    )
    outcome = SiteExecution(site, **more)(task, given, Cancellation(), parts.append)
    return (pa.concat_tables(parts) if parts else plan.schema.empty_table()), outcome
