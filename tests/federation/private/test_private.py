"""Differentially private answers: noise of the right size, bounded individuals, budgets that hold."""

from __future__ import annotations

import itertools
import math
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from tests.federation.private.conftest import ROOMS, Private, policy, visits
from umbel import col
from umbel.federation import local
from umbel.federation.disclosure import DisclosureControl, Ledger
from umbel.federation.disclosure.budget import fits, spent
from umbel.federation.disclosure.mechanism import Laplace
from umbel.federation.errors import PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.noise import METADATA, combined, read, together
from umbel.federation.policy.reading import read_policy
from umbel.plan.errors import UmbelError

pytest.importorskip("opendp")

N = ub.len().alias("n")
COST = col("cost")
#: Noise so small that what it is added to shows: what is clipped, and what is counted.
EXACT = {"epsilon = 1.0": "epsilon = 100.0"}


def test_noise_is_discrete_laplace_of_the_stated_scale() -> None:
    """Against the exact probabilities; 20,000 draws, six standard deviations of a frequency."""
    noise = Laplace(sensitivity=3, epsilon=2.0)
    drawn = noise.add([10] * 20_000)
    assert noise.scale == pytest.approx(1.5)
    q = math.exp(-1 / 1.5)
    for value in range(-4, 5):
        p = (1 - q) / (1 + q) * q ** abs(value)
        found = sum(d - 10 == value for d in drawn)
        assert abs(found - 20_000 * p) < 6 * math.sqrt(20_000 * p * (1 - p))


def test_how_near_the_truth_is_told_is_just_so() -> None:
    """The half width is the least number that 95 % do not exceed: summed from the probabilities."""
    for scale, epsilon in ((1, 1.0), (7, 0.3), (100, 5.0)):
        noise = Laplace(scale, epsilon)
        q = math.exp(-1 / noise.scale)
        inside = [0.0]
        for t in range(noise.half_width() + 1):
            inside.append(inside[-1] + (1 if t == 0 else 2) * (1 - q) / (1 + q) * q**t)
        assert inside[-1] >= 0.95 > inside[-2]
        least = noise.threshold(1e-3) - 1
        assert q**least / (1 + q) <= 1e-3 < q ** (least - 1) / (1 + q)


def test_the_noise_of_several_sites_together() -> None:
    """Of three sites: what is told covers 95 % of sums, and is no more than adding it up."""
    scales = [2.0, 5.0, 5.0]
    bound = together(scales)
    sums = zip(*(Laplace(1, 1 / s).add([0] * 4_000) for s in scales), strict=True)
    assert sum(abs(sum(one)) <= bound for one in sums) >= 0.95 * 4_000
    assert bound < sum(s * math.log(3 / 0.05) for s in scales)


def test_groups_of_nobody_have_noise_as_all_others(tmp_path: Path) -> None:
    """The groups are those of the policy, whoever is in the table; so is what they are called."""
    rows = visits(sex=["f"] * 500 + ["m"] * 300 + ["other"] * 9 + [None] * 3)
    asked = Private(rows, tmp_path)
    answer = asked.ask(asked.visits.group_by("sex", "room").agg(N))
    groups = list(itertools.product(["f", "m", "x"], range(ROOMS)))
    assert [(row["sex"], row["room"]) for row in answer] == groups
    found = dict(zip(groups, (row["n"] for row in answer), strict=True))
    # Everybody is in room 0. Noise of scale 1 is above 40 with probability exp(-40); it is 0 with
    # probability 0.46, so that the frequency of that in 898 groups of nobody is known to 0.1.
    assert abs(found.pop(("f", 0)) - 500) < 40
    assert abs(found.pop(("m", 0)) - 300) < 40
    q = math.exp(-1)
    assert sum(n == 0 for n in found.values()) / len(found) == pytest.approx(
        (1 - q) / (1 + q), abs=0.1
    )
    empty = Private(visits(sex=["f"]).slice(0, 0), tmp_path)
    assert [row["sex"] for row in empty.ask(empty.visits.group_by("sex").agg(N))] == [*"fmx"]
    found, outcome = empty.asked(empty.visits.filter(col("ward") == 77).select(N))
    assert found.num_rows == 1
    assert outcome.withheld is False


def test_an_individual_counts_in_few_groups_with_few_rows_and_within_bounds(tmp_path: Path) -> None:
    """With next to no noise: one who has 1,000 rows in three groups, beside 30 with one each."""
    ids = [0] * 1_000 + list(range(1, 31))
    sexes = ["f", "m"] * 500 + ["x"] * 30
    costs = [1e9] * 1_000 + [50.0] * 30
    rows = visits(id=ids, sex=sexes, cost=costs)
    few = {"epsilon = 1.0": "epsilon = 100.0\nrows = 2\ngroups = 1"}
    asked = Private(rows, tmp_path, few)
    question = asked.visits.group_by("sex").agg(N, COST.sum().alias("s"), COST.mean().alias("m"))
    f, m, x = asked.ask(question)
    assert sorted([f["n"], m["n"]]) == [0, 2]
    assert sorted([f["s"], m["s"]]) == pytest.approx([0, 200], abs=60)
    assert (x["n"], x["s"]) == (30, pytest.approx(1_500, abs=60))
    assert x["m"] == pytest.approx(50, abs=5)
    both = Private(rows, tmp_path, {"epsilon = 1.0": "epsilon = 100.0\nrows = 2\ngroups = 2"})
    assert [row["n"] for row in both.ask(both.visits.group_by("sex").agg(N))][:2] == [2, 2]
    alone = Private(rows, tmp_path, EXACT)
    people = alone.visits.select(col("id").n_unique().alias("n"))
    assert alone.ask(people) == [{"n": 31}]
    # Whoever has more rows than count, counts with the mean of them.
    mixed = visits(id=[1] * 4, cost=[10.0, 20.0, 30.0, 40.0])
    one = Private(mixed, tmp_path, EXACT)
    [row] = one.ask(one.visits.select(COST.sum().alias("s")))
    assert row["s"] == pytest.approx(25, abs=20)


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), -float("inf"), 1e308, None])
def test_no_value_of_one_individual_spoils_a_sum(tmp_path: Path, wild: float | None) -> None:
    rows = visits(cost=[50.0] * 200 + [wild] * 3)
    asked = Private(rows, tmp_path, EXACT)
    question = asked.visits.select(COST.sum().alias("s"), COST.mean().alias("m"), N)
    [row] = asked.ask(question)
    # At most three individuals more, with 0 to 100 each; noise of scale 4 for the sum.
    assert 10_000 - 60 < row["s"] < 10_300 + 60
    assert row["m"] == pytest.approx(50, abs=2)
    assert row["n"] == 203


def test_two_neighbouring_tables_are_told_apart_no_better_than_epsilon_allows(
    tmp_path: Path,
) -> None:
    """A difference of one individual in each of many rooms, counted: each is a game of its own.

    Any test of which table it is errs: for every event P(with) <= e^eps P(without), here with eps
    1/2. The event is the one that the Laplace mechanism gives away most by: n >= what it is with.
    """
    half = {"epsilon = 1.0": "epsilon = 0.5"}
    counts = []
    for size in (5, 4):
        asked = Private(visits(room=[*range(ROOMS)] * size), tmp_path, half)
        found = [row["n"] for row in asked.ask(asked.visits.group_by("room").agg(N))]
        counts.append(sum(n >= 5 for n in found) / ROOMS)
    # P(with) = 1 / (1 + q) = 0.62, P(without) = q / (1 + q) = 0.38, for q = exp(-1/2); the standard
    # deviation of a frequency is 0.028, so that six of them are far from telling them apart wholly.
    q = math.exp(-0.5)
    for frequency, p in zip(counts, (1 / (1 + q), q / (1 + q)), strict=True):
        assert abs(frequency - p) < 6 * math.sqrt(p * (1 - p) / ROOMS)


def test_a_budget_is_spent_once_and_for_all(tmp_path: Path) -> None:
    budget = {"per_user = 1e9": "per_user = 3.0", "per_table = 1e9": "per_table = 4.0"}
    rows = visits(sex=["f"] * 100)
    asked = Private(rows, tmp_path, budget)
    question = asked.visits.select(N)
    first, outcome = asked.asked(question, run="same")
    for _ in range(5):  # the same task again: the same answer, and nothing spent
        assert asked.asked(question, run="same")[0] == first
    asked.ledger.close()
    again = Private(rows, tmp_path, budget)  # the site was started anew
    assert again.asked(question, run="same")[0] == first
    [noise] = read(outcome.noise)
    assert (noise.epsilon, noise.delta, noise.left) == (1.0, 0.0, 2.0)
    again.ask(question)
    again.ask(question)
    with pytest.raises(PolicyError, match="'ann' has spent epsilon 3 of the 3 that may be spent"):
        again.ask(question)
    again.ask(question, user="bob")
    with pytest.raises(PolicyError, match="all users together have spent epsilon 4 of the 4"):
        again.ask(question, user="bob")
    assert again.asked(question, run="same")[0] == first


def test_two_at_once_do_not_both_spend_the_last_of_it(tmp_path: Path) -> None:
    asked = Private(visits(sex=["f"] * 50), tmp_path, {"per_user = 1e9": "per_user = 1.0"})
    other = SiteExecution(asked.site, disclosure=DisclosureControl(Ledger(tmp_path / "ledger.db")))
    begin = threading.Barrier(2)
    results: list[object] = []

    def ask(execution: SiteExecution, run: str) -> None:
        mine = Private.__new__(Private)
        mine.execution = execution
        begin.wait(30)
        try:
            results.append(mine.ask(asked.visits.select(N), run=run))
        except PolicyError as error:
            results.append(str(error))

    threads = [
        threading.Thread(target=ask, args=(execution, f"at-once-{number}"))
        for number, execution in enumerate((asked.execution, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(isinstance(result, str) for result in results) == [False, True]
    assert spent(asked.ledger.costs("ann", "visits", ""), 0.0) == 1.0


def test_two_private_parts_of_one_question_share_its_epsilon(tmp_path: Path) -> None:
    asked = Private(visits(sex=["f"] * 50), tmp_path, {"per_user = 1e9": "per_user = 1.0"})
    women = asked.visits.filter(col("sex") == "f").select(ub.len().alias("a"))
    both = women.join(asked.visits.select(ub.len().alias("b")), how="cross")
    found, outcome = asked.asked(both)
    assert found.num_rows == 1
    assert [noise.epsilon for noise in read(outcome.noise)] == [0.5, 0.5]
    assert spent(asked.ledger.costs("ann", "visits", ""), 0.0) == 1.0


def test_costs_are_composed_as_the_literature_says() -> None:
    """Many small ones cost less than their sum, at a delta; few cost their sum."""
    assert spent([(0.5, 0.0)] * 4, 0.0) == 2.0
    assert spent([(0.25, 1e-9), (0.5, 1e-9)], 1e-6) <= 0.75
    # Kairouz, Oh and Viswanath 2017, theorem 3.4, is an upper bound of the optimum; below it, and
    # above what a thousandth of the delta would allow, lies what dp-accounting finds.
    k, eps, delta = 60, 0.1, 1e-6
    tanh = (math.exp(eps) - 1) / (math.exp(eps) + 1)
    bound = k * eps * tanh + eps * math.sqrt(2 * k * math.log(1 / delta))
    assert bound > spent([(eps, 0.0)] * k, delta) > bound / 2
    assert spent([(0.1, 1e-7)] * 100, 1e-6) == math.inf
    assert not fits([(0.1, 1e-7)] * 100, 1e-6, 1e9)


def test_groups_that_the_policy_does_not_list_need_enough_individuals(tmp_path: Path) -> None:
    """With a delta: large groups are found, one alone is not, and neither is nobody."""
    wards = [1] * 3_000 + [2] * 2_000 + [3]
    delta = {"epsilon = 1.0": "epsilon = 1.0\ndelta = 1e-2", "per_table = 1e9": "per_table = 1e3",
             "per_user = 1e9": "per_user = 1e3"}  # fmt: skip
    asked = Private(visits(ward=wards), tmp_path, delta)
    question = asked.visits.group_by("ward").agg(N).sort("ward")
    found, outcome = asked.asked(question)
    assert [row["ward"] for row in found.to_pylist()] == [1, 2]
    assert found.column("n").to_pylist() == pytest.approx([3_000, 2_000], abs=60)
    [noise] = read(outcome.noise)
    assert noise.delta == pytest.approx(1e-2 / 2 * 1.0 / 1e3)
    by_both = asked.visits.group_by("ward", "sex").agg(N).sort("ward", "sex")
    assert [(r["ward"], r["sex"]) for r in asked.ask(by_both)] == [(1, "f"), (2, "f")]


def _refused(asked: Private) -> dict[str, tuple[Any, str]]:
    t = asked.visits
    return {
        "no bounds": (t.select(col("late").cast("int64").sum()), "has no bounds"),
        "another function": (t.select(COST.var()), "var_sample"),
        "computed": (t.select((COST * 2).sum()), "has no bounds"),
        "the greatest": (t.select(COST.max()), "max"),
        "no domain": (t.group_by("ward").agg(N), "whose values the policy does not list"),
        "rows": (t.select("cost"), "gives rows"),
        "joined with itself": (
            t.join(t.select("id", other="ward"), on="id").select(N),
            "reads protected tables more than once",
        ),
        "a half of itself": (
            t.join(t.filter(COST > 3).select("id"), on="id", how="semi").select(N),
            "reads protected tables more than once",
        ),
        "by who it is": (t.filter(col("id") == 3).select(N), "who they are about"),
    }


def test_what_noise_cannot_cover_is_refused_before_anything_runs(tmp_path: Path) -> None:
    asked = Private(visits(sex=["f"] * 9), tmp_path)
    for name, (frame, why) in _refused(asked).items():
        with pytest.raises(PolicyError, match=why):
            asked.ask(frame)
        assert asked.ledger.costs(None, "visits", "") == [], name


def test_joins_with_public_rows_do_not_multiply_an_individual(tmp_path: Path) -> None:
    """Each visit to ward 0 has two labels: two rows, of which one counts in each group."""
    asked = Private(visits(ward=[0] * 60 + [1] * 40), tmp_path, EXACT)
    joined = asked.visits.join(asked.codes, left_on="ward", right_on="code")
    assert asked.ask(joined.select(N)) == [{"n": 100}]
    # Rows of nobody, which a right join leaves, are of nobody.
    right = asked.visits.filter(col("ward") == 1)
    right = right.join(asked.codes, left_on="ward", right_on="code", how="right")
    assert asked.ask(right.select(N)) == [{"n": 40}]


def test_policies_that_cannot_be_private_are_told_with_their_line(tmp_path: Path) -> None:
    for changes, why in (
        ({'individual = "id"': ""}, "the table names no column of them"),
        ({'form = "private"': 'form = "private"\noverlap = 5'}, "no duties on groups"),
        ({"cost = [0, 100]": "cost = [100, 0]"}, "are not in order"),
        ({"cost = [0, 100]": "cost = [0, inf]"}, "are not in order"),
        ({"cost = [0, 100]": "sex = [0, 1]"}, "is no number"),
        ({'"x"]': "3]"}, "has other values than its string"),
        ({'"x"]': '"f"]'}, "repeats a value"),
        ({"per_user = 1e9": "per_user = 0.5"}, "not within its budgets"),
    ):
        with pytest.raises(UmbelError, match=why):
            Private(visits(sex=["f"]), tmp_path, changes)


def test_two_sites_each_add_their_own_noise_and_the_answer_says_so(tmp_path: Path) -> None:
    sites = []
    for name in ("north", "south"):
        (tmp_path / f"{name}.toml").write_text(policy(name))
        site = Private(visits(sex=["f"] * 400, cost=[25.0] * 400), tmp_path).site
        site.name = name
        site.under(read_policy(tmp_path / f"{name}.toml"))
        sites.append(site)
    session = local(sites, user="ann", progress=False)
    table = session.table("visits")
    question = table.group_by("sex").agg(N, COST.mean().alias("m")).sort("sex")
    result = session.run(question.plan)
    f = result.table.to_pylist()[0]
    assert f["n"] == pytest.approx(800, abs=120)
    assert f["m"] == pytest.approx(25, abs=12)
    told = result.table.schema.metadata[METADATA]
    assert b'"site": "north"' in told
    assert b'"site": "south"' in told
    scale = 3.0  # three measurements: rows, rows with a cost, and their sum
    noises = [
        n for s in result.run.stages for note in s.notes for n in read(note.split(": ", 1)[1])
    ]
    assert {v.of: v.scale for v in noises[0].values}["len()"] == pytest.approx(scale)
    assert combined(noises)["len()"] == pytest.approx(together([scale, scale]))
    assert "differentially private answers of epsilon 1" in str(question.explain())
    assert "An individual counts in 1 group of an answer, with 1 row in each" in table.policy()


def test_the_answer_is_of_whole_steps_so_that_no_last_bit_tells(tmp_path: Path) -> None:
    """Sums are multiples of a power of two, whatever fractions were summed."""
    rows = visits(cost=[math.pi] * 50 + [1 / 3] * 50)
    asked = Private(rows, tmp_path)
    unit = 2.0 ** (math.ceil(math.log2(100)) - 20)
    for _ in range(5):
        [row] = asked.ask(asked.visits.select(COST.sum().alias("s")))
        assert (row["s"] / unit).is_integer()


def test_a_site_without_opendp_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Private(visits(sex=["f"] * 9), tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "opendp.prelude", None)
    with pytest.raises(Exception, match=r"has no OpenDP") as told:
        asked.ask(asked.visits.select(N))
    assert "umbel[privacy]" in str(told.value)


def test_types_of_answers_are_those_of_the_question(tmp_path: Path) -> None:
    rows = visits(cost=[1.0] * 30)
    decimals = rows.set_column(3, "cost", rows.column("cost").cast(pa.decimal128(12, 2)))
    for table in (rows, decimals, rows.set_column(3, "cost", rows.column("cost").cast("int32"))):
        asked = Private(table, tmp_path, EXACT)
        question = asked.visits.select(COST.sum().alias("s"), COST.mean().alias("m"))
        found, _ = asked.asked(question)
        assert found.schema.types == question.plan.schema.types
        assert float(found.to_pylist()[0]["s"]) == pytest.approx(30, abs=40)
