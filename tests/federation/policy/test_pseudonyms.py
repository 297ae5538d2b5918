"""Pseudonyms: keyed at the site, joinable for one purpose, of no use to whoever knows the names."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.api.dataframe import DataFrame
from umbel.executor import Cancellation
from umbel.federation import Site, local
from umbel.federation.errors import PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.policy.explaining import explained
from umbel.federation.policy.reading import Policy, read_policy
from umbel.federation.site_config import PSEUDONYM_KEY, read_site
from umbel.federation.tasks import Input, Requester, Task
from umbel.plan.errors import PlanError
from umbel.plan.operators import Operator, Placeholder, Scan
from umbel.plan.sources import RelationSource

KEY = bytes(range(32))
POLICY = """
version = 1
site = "{site}"

[tables.visits]
individual = "patient"
pseudonym = ["patient"]

[tables.visits.allow.rows]
form = "rows"
columns = ["patient", "cost"]
users = ["*"]

[tables.labs]
pseudonym = ["patient"]

[tables.labs.allow.rows]
form = "rows"
columns = ["patient", "value"]
users = ["*"]
"""
VISITS = pa.table({"patient": [101, 102, None, 101], "cost": [1, 2, 3, 4], "name": list("abcd")})
LABS = pa.table({"patient": ["101", "103"], "value": [7.0, 8.0]})


def name_of(value: object, purpose: str, key: bytes = KEY) -> str:
    """RFC 2104 twice, by the standard library: the key of a purpose, and the pseudonym."""
    derived = hmac.new(key, f"umbel pseudonym 1\n{purpose}".encode(), "sha256").digest()
    return hmac.new(derived, str(value).encode(), "sha256").hexdigest()[:32]


def policy(folder: Path, text: str = POLICY, site: str = "north") -> Policy:
    path = folder / f"{site}.toml"
    path.write_text(text.replace("{site}", site))
    return read_policy(path)


def made(folder: Path, name: str = "north", key: bytes | None = KEY) -> Site:
    site = Site(name, ub.connect(progress=False))
    site.publish("visits", site.session.from_arrow(VISITS))
    site.publish("labs", site.session.from_arrow(LABS))
    site.under(policy(folder, site=name))
    site.pseudonym_key = key
    return site


def frame(site: Site, name: str) -> DataFrame:
    source = RelationSource(site.tables[name].schema, site.name, (name,))
    return DataFrame(Scan(source=source), site.session)


def ask(site: Site, plan: Operator, purpose: str = "sepsis", **given: pa.Table) -> list[Any]:
    parts: list[pa.Table] = []
    inputs = tuple(Input.of(label, table) for label, table in given.items())
    task = Task("r", 0, site.name, plan, inputs, Requester("ann", (), purpose))
    SiteExecution(site)(task, given, Cancellation(), parts.append)
    return pa.concat_tables(parts).to_pylist() if parts else []


def test_pseudonyms_are_hmacs_and_others_for_another_purpose(tmp_path: Path) -> None:
    site = made(tmp_path)
    assert site.manifest().tables[1].schema.field("patient").type == pa.string()
    visits = frame(site, "visits").select("patient", "cost").sort("cost").plan
    for purpose in ("sepsis", "billing"):
        expected = [
            None if v is None else name_of(v, purpose) for v in VISITS["patient"].to_pylist()
        ]
        assert [row["patient"] for row in ask(site, visits, purpose)] == expected
    # A column that nobody reads costs nothing, and the others are as they are.
    costs = frame(site, "visits").select("cost").sort("cost").plan
    assert [row["cost"] for row in ask(site, costs)] == [1, 2, 3, 4]


def test_tables_are_joined_by_pseudonyms_also_of_sites_that_share_a_key(tmp_path: Path) -> None:
    site = made(tmp_path)
    visits, labs = frame(site, "visits").select("patient", "cost"), frame(site, "labs")
    both = visits.join(labs, on="patient").sort("cost").select("cost", "value").plan
    assert ask(site, both) == [{"cost": 1, "value": 7.0}, {"cost": 4, "value": 7.0}]
    south = made(tmp_path, "south")
    session = local([site, south])
    mine = session.table("north.visits").select("patient", "cost")
    joined = mine.join(session.table("south.labs"), on="patient").select("cost", "value")
    assert sorted(row["cost"] for row in joined.collect().to_pylist()) == [1, 4]
    other = made(tmp_path, "west", None)  # which has a key of its own
    session = local([site, other])
    mine = session.table("north.visits").select("patient", "cost")
    assert mine.join(session.table("west.labs"), on="patient").collect().num_rows == 0


def test_names_that_somebody_knows_find_nothing(tmp_path: Path) -> None:
    site = made(tmp_path)
    visits = frame(site, "visits").select("patient", "cost")
    assert ask(site, visits.filter(col("patient") == "101").plan) == []
    tried = pa.table({"patient": [str(n) for n in range(1000)]})
    guess = DataFrame(Placeholder(label="tried", columns=tried.schema), site.session)
    assert ask(site, visits.join(guess, on="patient").plan, tried=tried) == []
    with pytest.raises(PolicyError, match="'name'"):
        ask(site, frame(site, "visits").select("name").plan)


def test_individuals_are_counted_by_their_pseudonyms(tmp_path: Path) -> None:
    text = POLICY.replace(
        'form = "rows"\ncolumns = ["patient", "cost"]',
        'form = "aggregates"\nindividuals = 2\nfunctions = ["count", "sum"]\ncolumns = ["cost"]',
    )
    site = Site("north", ub.connect(progress=False))
    site.publish("visits", site.session.from_arrow(VISITS))
    site.publish("labs", site.session.from_arrow(LABS))
    site.under(policy(tmp_path, text))
    visits = frame(site, "visits")
    # The row of nobody is in nothing.
    assert ask(site, visits.select(col("cost").sum().alias("s")).plan) == [{"s": 7}]
    assert ask(site, visits.filter(ub.lit(value=False)).select(ub.len().alias("n")).plan) == []


def test_a_site_makes_its_key_once_and_owners_may_share_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from umbel.federation.policy.signing import new_owner, sign

    (tmp_path / "visits.csv").write_text("patient,cost\n101,1\n")
    owner = new_owner(tmp_path / "owner.key")
    head = POLICY.split("[tables.labs]", maxsplit=1)[0]
    (tmp_path / "policy.toml").write_text(head.replace("{site}", "north"))
    sign(tmp_path / "policy.toml", tmp_path / "owner.key")

    def read(more: str = "") -> Site:
        (tmp_path / "site.toml").write_text(
            f'[site]\nname = "north"\npolicy = "policy.toml"\nowner = "{owner}"\n{more}\n'
            '[tables.visits]\ncsv = "visits.csv"\n'
        )
        return read_site(tmp_path / "site.toml")

    first = read().pseudonym_key
    assert first == read().pseudonym_key
    assert (tmp_path / PSEUDONYM_KEY).stat().st_mode & 0o077 == 0
    monkeypatch.setenv("SHARED", KEY.hex())
    assert read('pseudonym_key = "env:SHARED"').pseudonym_key == KEY
    monkeypatch.setenv("SHARED", "ab")
    with pytest.raises(PlanError, match="the key of pseudonyms is 32 bytes or more"):
        read('pseudonym_key = "env:SHARED"')
    with pytest.raises(PlanError, match="given by reference") as told:
        read(f'pseudonym_key = "{KEY.hex()}"')
    assert KEY.hex() not in str(told.value)


def test_what_policies_say_of_pseudonyms(tmp_path: Path) -> None:
    told = explained(policy(tmp_path))
    assert "In patient stand pseudonyms: the same for the same value" in told
    both = POLICY.replace("[tables.visits]", '[tables.visits]\nmask = { patient = "1" }')
    with pytest.raises(PlanError, match="has a mask and pseudonyms"):
        policy(tmp_path, both)
    site = Site("north", ub.connect(progress=False))
    site.publish("visits", site.session.from_dict({"patient": [0.5], "cost": [1]}))
    site.publish("labs", site.session.from_arrow(LABS))
    with pytest.raises(PlanError, match="of type double, of which there are no pseudonyms"):
        site.under(policy(tmp_path))
