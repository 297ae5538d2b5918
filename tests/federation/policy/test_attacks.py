"""What a site under a policy refuses, whoever asks and however; and what it answers."""

import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from tests.federation.policy.conftest import CANARY, ask, visits
from umbel import col
from umbel.api.dataframe import DataFrame
from umbel.federation import Site
from umbel.federation.errors import PolicyError
from umbel.federation.policy.clauses import Form
from umbel.federation.policy.disclosing import Thresholds
from umbel.federation.policy.reading import read_policy
from umbel.plan.models import Design, LinearRegression, Number
from umbel.plan.operators import Contribute, Placeholder, Scan, topological
from umbel.plan.operators.learning import STATE
from umbel.plan.sources import RelationSource

Table = Callable[[str], DataFrame]


def outside(name: str, rows: pa.Table) -> DataFrame:
    """A table that whoever asks sends along."""
    return DataFrame(Placeholder(label=name, columns=rows.schema), ub.connect())


def test_what_a_clause_allows_is_answered_over_the_filtered_rows(site: Site, table: Table) -> None:
    plan = table("visits").group_by("sex").agg(ub.len().alias("n"), col("cost").sum()).sort("sex")
    found, _ = ask(site, plan.plan)
    # Rows 0 to 59 have consent; of four after each other two are of each sex.
    costs = {s: sum(i for i in range(60) if ("f" if i % 4 < 2 else "m") == s) for s in "fm"}
    assert found.to_pylist() == [{"sex": s, "n": 30, "cost": costs[s]} for s in "fm"]


def test_a_mask_is_all_that_there_is(site: Site, table: Table) -> None:
    found, _ = ask(site, table("visits").group_by("zip").agg(ub.len().alias("n")).sort("zip").plan)
    assert found.to_pylist() == [{"zip": "10", "n": 30}, {"zip": "11", "n": 30}]


def test_another_clause_for_another_purpose_with_its_own_rows(site: Site, table: Table) -> None:
    plan = table("visits").group_by("ward").agg(ub.len().alias("n")).sort("ward").plan
    found, _ = ask(site, plan, "bob", purpose="sepsis")
    women = [row for row in visits().to_pylist() if row["consent"] and row["sex"] == "f"]
    expected = [{"ward": w, "n": sum(row["ward"] == w for row in women)} for w in range(3)]
    assert found.to_pylist() == expected
    for user, purpose in (("bob", ""), ("bob", "other"), ("eve", "sepsis"), ("", "")):
        with pytest.raises(PolicyError, match="of table 'visits' nothing may leave"):
            ask(site, plan, user, purpose=purpose)
    with pytest.raises(PolicyError, match=r"by clause 'statistics'.*groups by 'ward'"):
        ask(site, plan)


_IDS = pa.table({"key": [1, 2]})
_CODES = pa.table({"key": ["a"]})


def _attacks(table: Table) -> dict[str, tuple[DataFrame, str]]:
    t = table("visits")
    n = ub.len().alias("n")
    cost = col("cost")
    inside = t.with_columns(big=cost.max().over("sex"))
    return {
        "rows": (t, "gives rows"),
        "some rows": (t.select("cost"), "gives rows"),
        "sort and limit": (t.sort("cost").limit(1), "works on single rows"),
        "limit below": (t.sort("cost").limit(1).select(cost.sum()), "works on single rows"),
        "a window": (inside.select("big"), "works on single rows"),
        "distinct": (t.select("sex").distinct(), "works on single rows"),
        "intersect": (t.select("cost").intersect(t.select("cost")), "works on single rows"),
        "except": (t.select("cost").except_(t.select("cost")), "works on single rows"),
        "another column": (t.select(col("ward").sum()), "sum of 'ward'"),
        "another function": (t.select(cost.std()), "computes std"),
        "the greatest": (t.select(cost.max()), "single row"),
        "the least": (t.select(cost.min()), "single row"),
        "the middle": (t.select(cost.median()), "single row"),
        "one of them": (t.select(cost.any_value()), "single row"),
        "group by who it is": (t.group_by("id").agg(cost.sum()), "gives rows"),
        "group by a part of it": (t.group_by(k=col("id") // 2).agg(n), "may fail|who a row"),
        "group by something else": (t.group_by("ward").agg(n), "groups by 'ward'"),
        "group by a computed one": (
            t.group_by(k=ub.when(col("ward") == 1).then(1).otherwise(0)).agg(n),
            "groups by 'ward'",
        ),
        "pick one": (t.filter(col("id") == 7).select(n), "who they are about"),
        "pick by another column": (t.filter(col("cost") > 50).select(n), "picks rows by 'cost'"),
        "pick by a name": (
            t.filter(col("name").str.contains("3")).select(n),
            "picks rows by 'name'",
        ),
        "pick in the aggregate": (
            t.select(cost.filter(col("ward") == 1).sum()),
            "picks rows by 'ward'",
        ),
        "pick in the argument": (
            t.select(ub.when(col("cost") == 7).then(1).otherwise(0).sum()),
            "may pick rows",
        ),
        "pick by a power": (t.select((cost * cost).sum()), "may fail|may pick rows"),
        "pick before": (
            t.with_columns(y=ub.when(col("cost") == 7).then(1).otherwise(0)).select(col("y").sum()),
            "may pick rows",
        ),
        "keyed to one's own rows": (
            t.join(outside("ids", _IDS), left_on="id", right_on="key", how="semi").select(n),
            "who|partner|list",
        ),
        "joined by a condition of one's own": (
            t.join(outside("codes", _CODES), left_on="code", right_on="key").select(n),
            "picks rows",
        ),
        "joined by another column": (
            t.join(outside("wards", _IDS), left_on="cost", right_on="key").select(n),
            "joins by 'cost'",
        ),
        "joined with a part of a table": (
            t.join(table("codes").filter(col("code") == "a"), on="code").select(n),
            "picks rows",
        ),
        "a partner's column instead of the key": (
            t.join(table("maps"), on="ward").group_by("wing").agg(n),
            "groups by 'ward'|go",
        ),
        "joined with itself": (
            t.join(t.select(other="cost", key="code"), left_on="code", right_on="key").select(
                col("other").max()
            ),
            "single row",
        ),
        "divided by zero": (t.select((1 // (cost - 7)).sum()), "may"),
        "a cast as an oracle": (t.select(col("name").cast("int64").sum()), "may fail"),
        "overflow as an oracle": (t.select((cost * 2**40 * 2**20).sum()), "may fail"),
        "a regular expression as an oracle": (
            t.filter(col("name").str.contains("^CANARY-9.* 7$")).select(n),
            "picks rows by 'name'",
        ),
        "a regular expression that takes long": (
            t.select(col("name").str.contains("(a+)+b").cast("int64").sum()),
            "computes .* of 'name'|sum of 'name'",
        ),
        "fanned out by a join with one's own rows": (
            t.join(outside("codes", _CODES), left_on="code", right_on="key").select(cost.sum()),
            "joins by 'code'",
        ),
        "one of two groups that make a whole": (
            t.group_by(k=ub.when(col("id") == 7).then(1).otherwise(0)).agg(n),
            "who a row is about",
        ),
        "a sort that fails": (t.sort(col("name").cast("int64")).select(n), "may fail"),
        "nested": (
            t.group_by("id").agg(m=cost.max()).filter(col("m") > 50).select(n),
            "picks rows by 'cost'",
        ),
        "nothing's": (table("nothing").select(n), "nothing may leave"),
        "nothing's by a join": (
            t.join(table("nothing"), how="cross").select(n),
            "nothing may leave",
        ),
        "a hidden column of rows": (table("codes"), "gives column 'secret'"),
        "made of a hidden column": (
            table("codes").select(x=col("secret").str.to_uppercase()),
            "computes .* of 'secret'",
        ),
        "rows picked by a hidden column": (
            table("codes").filter(col("secret").str.ends_with("a")).select("code"),
            "picks rows by 'secret'",
        ),
        "rows ordered by a hidden column": (
            table("codes").sort("secret").select("code"),
            "orders or groups rows by 'secret'",
        ),
        "the greatest of a hidden column": (
            table("codes").select(col("secret").max()),
            "gives column 'secret'",
        ),
    }


def test_attacks_are_refused_before_anything_runs(
    site: Site, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So how long a refusal takes tells of the plan alone: no engine has seen a row."""

    def runs(*_: Any, **__: Any) -> None:
        raise AssertionError("something ran")

    monkeypatch.setattr("umbel.federation.execution.run.run", runs)
    given = {"ids": _IDS, "codes": _CODES, "wards": _IDS}
    for name, (frame, why) in _attacks(table).items():
        inputs = {label: data for label, data in given.items() if label in _labels(frame)}
        error = _refused(site, frame, inputs)
        assert error is not None, f"{name}: answered"
        assert re.search(why, error.message), (name, error.message)
        assert CANARY not in str(error), name


def _refused(site: Site, frame: DataFrame, inputs: dict[str, pa.Table]) -> PolicyError | None:
    try:
        ask(site, frame.plan, inputs=inputs)
    except PolicyError as error:
        return error
    return None


def _labels(frame: DataFrame) -> set[str]:
    return {op.label for op in topological(frame.plan) if isinstance(op, Placeholder)}


def test_honest_questions_beside_the_attacks(site: Site, table: Table) -> None:
    t = table("visits")
    n = ub.len().alias("n")
    asked = {
        "another unit": t.select((col("cost") * 0.01).sum()),
        "in numbers": t.select((col("cost") * 100).sum()),
        "people": t.group_by("sex").agg(col("id").n_unique()),
        "labels": t.join(table("codes").select("code", "label"), on="code")
        .group_by("label")
        .agg(n),
        "picked": t.filter(col("sex") == "f").group_by("zip").agg(col("cost").mean()),
        "of each, then of all": t.group_by("id", "sex")
        .agg(total=col("cost").sum())
        .group_by("sex")
        .agg(col("total").mean()),
        "above": t.group_by("sex").agg(n).filter(col("n") > 3).sort("n").limit(1),
        "rows": table("codes").select("code", "label").sort("code"),
    }
    for name, frame in asked.items():
        found, _ = ask(site, frame.plan)
        assert found.num_rows >= 1, name


def test_rows_may_go_to_a_site_and_not_to_the_coordinator(site: Site, table: Table) -> None:
    plan = table("maps").sort("ward").plan
    with pytest.raises(PolicyError, match="nothing may go to the coordinator"):
        ask(site, plan)
    with pytest.raises(PolicyError, match="nothing may go to site 'west'"):
        ask(site, plan, to=("south", "west"))
    found, _ = ask(site, plan, to=("south",))
    assert found.column("wing").to_pylist() == ["east", "west", "east"]
    # What is made of it is not freer than it: a count of its rows goes where they go.
    with pytest.raises(PolicyError, match="coordinator"):
        ask(site, table("maps").select(ub.len().alias("n")).plan)


def test_duties_that_nobody_does_let_nothing_out(
    site: Site, table: Table, policy_file: Any
) -> None:
    path = policy_file.with_name("duties.toml")
    text = policy_file.read_text()
    path.write_text(text.replace('functions = ["count", "sum", "mean"]', "complementary = true"))
    strict = Site("north", site.session)
    strict.publish("visits", site.session.from_arrow(visits()))
    path.write_text(path.read_text().split("[tables.codes")[0])
    strict.under(read_policy(path))
    with pytest.raises(PolicyError, match="asks for duties"):
        ask(strict, table("visits").select(ub.len().alias("n")).plan, disclosure=Thresholds())


def test_the_disclosure_gets_cells_with_the_people_behind_them(site: Site, table: Table) -> None:
    seen: list[Any] = []

    class Recording(Thresholds):
        def admit(self, release: Any, question: str) -> None:
            seen.append(release)

        def looked_at(self, release: Any, question: str) -> None:
            return None

        def disclose(self, cells: Any, release: Any) -> pa.Table:
            seen.append((cells, cells.contributions()))
            return cells.table.slice(0, 1)

        def left(self, release: Any, rows: int, nbytes: int) -> None:
            seen.append(rows)

    plan = table("visits").group_by("sex").agg(ub.len().alias("n"), col("cost").sum())
    found, outcome = ask(site, plan.plan, disclosure=Recording())
    release, (cells, parts), rows = seen
    assert (release.form, release.user, release.policy_version) == (Form.AGGREGATES, "ann", 3)
    assert [grant.clause.name for grant in release.grants] == ["statistics"]
    assert (found.num_rows, rows, outcome.withheld) == (1, 1, True)
    assert cells.keys == ("sex",)
    assert [c.to_pylist() for c in cells.behind[""]] == [[15, 15]]
    # Two visits of each person; each of one sex: rows 2i and 2i + 1.
    assert sorted(parts.column("umbel individual 0").to_pylist()) == list(range(30))
    assert parts.column("umbel rows").to_pylist() == [2] * 30
    by_person = dict(
        zip(
            parts["umbel individual 0"].to_pylist(),
            parts["umbel value cost"].to_pylist(),
            strict=True,
        )
    )
    assert by_person == {i: 4 * i + 1 for i in range(30)}


@pytest.mark.parametrize(
    ("conditions", "refused"),
    [
        ('algorithms = ["PoissonRegression"]', "trains a LinearRegression"),
        ("clip = 1.0", "updates that are clipped to 1, which sums of Contribute are not"),
        ("rounds = 10", ""),
        ('algorithms = ["LinearRegression"]', ""),
    ],
)
def test_updates_leave_only_under_conditions_that_are_kept(
    site: Site, policy_file: Any, conditions: str, refused: str
) -> None:
    path = policy_file.with_name("updates.toml")
    head, _ = policy_file.read_text().split("[tables.visits.allow.statistics]")
    path.write_text(
        f'{head}[tables.visits.allow.models]\nform = "updates"\nindividuals = 20\n'
        f'columns = ["cost", "ward"]\nusers = ["ann"]\nupdates = {{ {conditions} }}\n'
    )
    strict = Site("north", site.session)
    strict.publish("visits", site.session.from_arrow(visits()))
    strict.under(read_policy(path))
    schema = strict.manifest().tables[0].schema
    plan = Contribute(
        input=Scan(source=RelationSource(schema, "north", ("visits",))),
        design=Design(LinearRegression(), (Number("ward"),), "cost"),
        state=pa.Table.from_arrays([pa.array([0.0, 0.0])], schema=STATE),
    )
    if refused:
        with pytest.raises(PolicyError, match=refused):
            ask(strict, plan)
        with pytest.raises(PolicyError):
            ask(strict, plan, disclosure=Thresholds())
    else:
        assert ask(strict, plan)[0].num_rows == 1
