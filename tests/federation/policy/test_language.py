"""A policy file: read strictly, explained, tried, signed, and never an older one."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import umbel as ub
from tests.federation.policy.conftest import POLICY, visits
from umbel.cli.main import run_command
from umbel.federation import Site, local
from umbel.federation.disclosure.ledger import LEDGER, Ledger
from umbel.federation.errors import IdentityError, PolicyError
from umbel.federation.manifest import Manifest
from umbel.federation.policy.reading import read_policy
from umbel.federation.policy.signing import SEEN
from umbel.federation.site_config import read_site
from umbel.plan.errors import UmbelError

SITE = """
[site]
name = "north"
policy = "policy.toml"
owner = "OWNER"

[tables.visits]
parquet = "visits.parquet"

[tables.codes]
csv = "codes.csv"

[tables.maps]
csv = "maps.csv"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pq.write_table(visits(), tmp_path / "visits.parquet")
    (tmp_path / "codes.csv").write_text("code,label,secret\na,A,x\n")
    (tmp_path / "maps.csv").write_text("ward,wing\n0,east\n")
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "site.toml").write_text(SITE)
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("version = 3", "", "key version is missing"),
        ("version = 3", "version = 0", "line 2: key version"),
        ("individuals = 3", "individual = 3", "unknown key tables.visits.allow.statistics.individ"),
        ('form = "aggregates"', 'form = "aggregate"', "key tables.visits.allow.statistics.form"),
        ('"count", "sum", "mean"', '"count", "max"', "max gives the value of a single individual"),
        ('"count", "sum", "mean"', '"count", "total"', "there is no aggregate 'total'"),
        ('columns = ["cost"]', 'columns = ["id"]', "'id' says who a row is about"),
        ('users = ["ann"]', "", "the clause is for nobody"),
        ('regions = ["eu"]', 'regions = ["us"]', "there is no region 'us'"),
        ('projects = ["sepsis"]', 'projects = ["other"]', "there is no project 'other'"),
        ('columns = ["code", "label"]', "noise = 3", "noise means nothing for the form 'rows'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_key(
    folder: Path, old: str, new: str, words: str
) -> None:
    assert old in POLICY
    file = folder / "policy.toml"
    file.write_text(POLICY.replace(old, new, 1))
    with pytest.raises(UmbelError) as caught:
        read_policy(file)
    assert words in caught.value.message
    assert "policy.toml" in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('columns = ["cost"]', 'columns = ["costs"]', "unknown column 'costs'"),
        ('where = "consent"', 'where = "agreed"', "unknown column 'agreed'"),
        ('where = "consent"', 'where = "cost"', "bool"),
        ('mask = { zip = "left(zip, 2)" }', 'mask = { zip = "max(zip)" }', "no expression of one"),
        ('site = "north"', 'site = "south"', "the policy is of site 'south'"),
        ("[tables.codes.allow.all]", "[tables.cods.allow.all]", "'cods'"),
    ],
)
def test_what_does_not_fit_the_site_is_said_too(
    folder: Path, old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "policy.toml"
    file.write_text(POLICY.replace(old, new, 1))
    code = run_command(("policy", "check", str(file), "--site", str(folder)))
    shown = capsys.readouterr()
    assert code != 0
    assert words in shown.err
    assert "policy.toml, line" in shown.err


def test_commands_check_explain_and_try(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        code = run_command(("policy", *arguments))
        return code, capsys.readouterr().out

    file = str(folder / "policy.toml")
    code, text = run("check", file, "--site", str(folder))
    assert code == 0
    assert "version 3 of site north: 4 clauses on 3 tables, and fits the tables" in text
    code, text = run("explain", file)
    assert code == 0
    for line in (
        "User ann, for any purpose, may have count, sum, mean of cost, each over at least 3",
        "Groups may be made by: sex, zip, code.",
        "It goes to the coordinator, and on to: south, west.",
        "The coordinator may not read it; it goes sealed to: south.",
        "Of zip nothing is there but: left(zip, 2)",
    ):
        assert line in text
    asked = ("--site", str(folder), "--user", "ann", "--against")
    code, text = run("test", file, *asked, "select sex, sum(cost) from visits group by sex")
    assert code == 0
    assert "by clause 'statistics' of table 'visits'" in text
    code, text = run("test", file, *asked, "select ward, sum(cost) from visits group by ward")
    assert code == 12
    assert "groups by 'ward'" in text
    assert "allowed: count, sum, mean of cost, in groups by sex, zip, code" in text
    assert "clause 'sepsis' of the table is for others" in text
    # Where the site has answered before, what is left of a day and of a budget is told too.
    budget = (
        '[tables.visits.allow.private]\nform = "private"\nusers = ["eve"]\n'
        "[tables.visits.allow.private.privacy]\nepsilon = 0.5\nper_user = 2\nper_table = 9\n"
        "[tables.codes.allow.all]"
    )
    limited = POLICY.replace('regions = ["eu"]', 'regions = ["eu"]\nanswers_per_day = 5')
    Path(file).write_text(limited.replace("[tables.codes.allow.all]", budget))
    ledger = Ledger(folder / LEDGER)
    ledger.answered("ann", "visits", "a-task", 3, 100)
    with ledger.transaction():
        ledger.charge("eve", "visits", "a-task/1", (0.5, 0.0))
    ledger.close()
    _, text = run("test", file, *asked, "select sex, sum(cost) from visits group by sex")
    assert "Today 'ann' has had 1 of 5 answers." in text
    eve = ("--site", str(folder), "--user", "eve", "--against", "select count(*) from visits")
    _, text = run("test", file, *eve)
    assert "0.5 of 2 spent by the user, 0.5 of 9 by all; 1.5 is left" in text


def test_a_site_takes_signed_policies_and_no_older_ones(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy, key = folder / "policy.toml", folder / "owner.key"
    assert run_command(("policy", "keys", "--key", str(key))) == 0
    owner = capsys.readouterr().out.split('owner = "')[1].split('"')[0]
    (folder / "site.toml").write_text(SITE.replace("OWNER", owner))

    with pytest.raises(IdentityError, match="is not signed"):
        read_site(folder / "site.toml")
    assert run_command(("policy", "sign", str(policy), "--key", str(key))) == 0
    site = read_site(folder / "site.toml")
    assert site.policy_version == 3
    assert [rule.form.value for rule in site.rules["codes"]] == ["rows"]

    # Somebody changes the policy, and not the signature.
    policy.write_text(POLICY.replace("individuals = 3", "individuals = 1"))
    with pytest.raises(IdentityError, match="not as its owner has signed it"):
        read_site(folder / "site.toml")
    # The owner changes it, and forgets the version.
    assert run_command(("policy", "sign", str(policy), "--key", str(key))) == 0
    with pytest.raises(IdentityError, match="still of version 3"):
        read_site(folder / "site.toml")
    policy.write_text(POLICY.replace("version = 3", "version = 4"))
    assert run_command(("policy", "sign", str(policy), "--key", str(key))) == 0
    assert read_site(folder / "site.toml").policy_version == 4
    # Somebody puts an older one back, with its good signature.
    policy.write_text(POLICY)
    assert run_command(("policy", "sign", str(policy), "--key", str(key))) == 0
    with pytest.raises(IdentityError, match="version 3 of the policy is older than 4"):
        read_site(folder / "site.toml")
    # Nor does it help to spoil what is known of the newest.
    (folder / SEEN).write_text("{")
    with pytest.raises(IdentityError, match="not known which policy was in force"):
        read_site(folder / "site.toml")
    # Another owner's signature is none.
    other = folder / "other.key"
    assert run_command(("policy", "keys", "--key", str(other))) == 0
    assert run_command(("policy", "sign", str(policy), "--key", str(other))) == 0
    with pytest.raises(IdentityError, match="not as its owner has signed it"):
        read_site(folder / "site.toml")


def test_rules_beside_a_policy_are_an_error(folder: Path) -> None:
    text = SITE.replace('csv = "codes.csv"', 'csv = "codes.csv"\nform = "rows"')
    (folder / "site.toml").write_text(text)
    with pytest.raises(UmbelError, match="line 12: the policy says what may leave, not form"):
        read_site(folder / "site.toml")


def test_the_coordinators_copy_says_the_same(site: Site) -> None:
    manifest = site.manifest()
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert [len(table.rules) for table in manifest.tables] == [1, 1, 1, 2]


def test_planner_and_site_agree_and_say_what_may_be_asked(site: Site) -> None:
    from umbel.federation.execution import SiteExecution
    from umbel.federation.planning import DirectDispatcher, FederatedSession
    from umbel.federation.tasks import Requester

    there = DirectDispatcher({"north": SiteExecution(site)})
    session = FederatedSession([site.manifest()], there, Requester("ann"))
    visits_there = session.table("visits")
    assert visits_there.group_by("code").agg(n=ub.len()).collect().num_rows == 2
    with pytest.raises(PolicyError, match=r"groups by 'ward'") as caught:
        visits_there.group_by("ward").agg(n=ub.len()).collect()
    assert "in groups by sex, zip, code" in caught.value.hint
    with pytest.raises(PolicyError, match="nothing may go to the coordinator"):
        session.table("maps").collect()
    told = visits_there.policy()
    assert "clause statistics:" in told
    assert "sepsis" not in told
    nobody = local([site]).table("visits").policy()
    assert nobody == "north.visits:\n  nothing leaves"
