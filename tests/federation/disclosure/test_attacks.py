"""Attacks that thresholds alone do not stop, and that each rule which claims to does stop."""

from __future__ import annotations

from pathlib import Path

import pytest

import umbel as ub
from benchmarks.people import LEAST, Asked, Person, attack, people, targets
from umbel import col
from umbel.api.dataframe import DataFrame
from umbel.federation.disclosure import Ledger
from umbel.federation.errors import PolicyError
from umbel.federation.policy.clauses import Duties, Project, Recipients

PEOPLE = people()
#: Some who are positive and some who are not: guessing "negative" is right for half of them.
VICTIMS = [p for p in targets(PEOPLE) if p.positive][:4] + [
    p for p in targets(PEOPLE) if not p.positive
][:4]


def test_differences_tell_of_everybody_where_there_are_only_thresholds() -> None:
    """What makes the rest of these tests worth something: the attack works."""
    assert attack(Asked(PEOPLE, Duties()), VICTIMS) == (8, 8)


def test_overlap_control_answers_no_difference_of_few() -> None:
    assert attack(Asked(PEOPLE, Duties(overlap=LEAST)), VICTIMS) == (0, 0)


def test_noise_of_cell_keys_hides_who_is_in_a_difference() -> None:
    asked = Asked(PEOPLE, Duties(noise=6))
    asked.ledger.secret = "a secret"  # so that the noise is the same in every run of the test
    answered, right = attack(asked, VICTIMS)
    assert answered == 8
    # The same set has the same noise, so that negative people are found: known, and documented.
    assert right < 8
    answered, right = attack(Asked(PEOPLE, Duties(rounding=10)), VICTIMS)
    assert (answered, right) == (8, 4)  # none of those who are positive


@pytest.mark.parametrize("user", ["ann", "bob"])
def test_the_ledger_is_of_each_user(user: str) -> None:
    asked = Asked(PEOPLE, Duties(overlap=LEAST))
    victim = VICTIMS[0]
    assert asked.positives(col("sex") == victim.sex, user="ann") is not None
    described = (col("age") == victim.age) & (col("zip") == victim.zip)
    second = asked.positives(col("sex") == victim.sex, ~described, user=user)
    assert (second is None) is (user == "ann")  # two who work together are not stopped


def test_users_of_a_project_that_counts_as_one_do_not_collude() -> None:
    """Each asks one half of a difference; those of another project, and others, still can."""
    victim = VICTIMS[0]
    described = (col("age") == victim.age) & (col("zip") == victim.zip)
    team = Project("sepsis", users=("ann", "bob"), roles=("nurse",), together=True)
    said: list[object] = []
    for second in ("eve", "bob"):
        asked = Asked(
            PEOPLE,
            Duties(overlap=LEAST, answers_per_day=3),
            None,
            Recipients(("eve",), (), (team,)),
        )
        assert asked.positives(col("sex") == victim.sex, user="ann") is not None
        said.append(asked.positives(col("sex") == victim.sex, ~described, user=second))
    assert said[0] is not None  # eve has an account of her own
    assert said[1] is None
    asked = Asked(PEOPLE, Duties(answers_per_day=2), None, Recipients(("eve",), (), (team,)))
    everybody = asked.people.select(ub.len().alias("n"))
    assert asked.one(everybody, user="bob") == len(PEOPLE)
    assert asked.one(everybody, user="ann") == len(PEOPLE)
    with pytest.raises(PolicyError, match="'bob' may have 2 answers in a day, and has had 2"):
        asked.ask(everybody, user="bob")  # of the two one was ann's
    assert asked.one(everybody, user="eve") == len(PEOPLE)


def test_the_ledger_outlives_the_process_and_counts_retries_once(tmp_path: Path) -> None:
    duties = Duties(overlap=LEAST, answers_per_day=3)
    asked = Asked(PEOPLE, duties, Ledger(tmp_path / "ledger.db"))
    victim = VICTIMS[0]
    frame = asked.people.filter(col("sex") == victim.sex).select(ub.len().alias("n"))
    first = asked.one(frame, run="same")
    for _ in range(4):  # the same task again
        assert asked.one(frame, run="same") == first == sum(p.sex == victim.sex for p in PEOPLE)
    asked.ledger.close()
    again = Asked(PEOPLE, duties, Ledger(tmp_path / "ledger.db"))
    near = again.people.filter(
        (col("sex") == victim.sex) & ~((col("age") == victim.age) & (col("zip") == victim.zip))
    )
    assert again.one(near.select(ub.len().alias("n")), run="near") is None
    assert again.one(frame, run="another") == first  # the same question is no difference
    with pytest.raises(PolicyError, match="may have 3 answers in a day, and has had 3"):
        again.ask(frame, run="one-too-many")
    assert again.one(frame, run="of-another", user="bob") == first


def _tracker(asked: Asked, victim: Person) -> int | None:
    """The general tracker of Denning, Denning and Schwartz (ACM TODS 4(1), 1979).

    A question about one person is padded with half of all people, and with the other half.
    """
    described = (col("age") == victim.age) & (col("zip") == victim.zip)
    described &= col("sex") == victim.sex
    half = col("cost") < 500
    parts = [
        asked.positives(condition)
        for condition in (described | half, described | ~half, half, ~half)
    ]
    if any(part is None for part in parts):
        return None
    with_half, with_rest, one_half, rest = parts
    return int(with_half + with_rest - one_half - rest)


def test_a_tracker_is_stopped() -> None:
    victims = VICTIMS[:2] + VICTIMS[-2:]
    free = Asked(PEOPLE, Duties())
    assert [_tracker(free, v) for v in victims] == [v.positive for v in victims]
    kept = Asked(PEOPLE, Duties(overlap=LEAST))
    assert [_tracker(kept, v) for v in victims] == [None] * 4


def test_a_difference_inside_one_question_is_stopped() -> None:
    """Conditions inside of aggregates, and columns that are computed for one person."""
    victim = VICTIMS[0]
    described = (col("age") == victim.age) & (col("zip") == victim.zip)
    described &= col("sex") == victim.sex
    without = ub.when(described).then(0).otherwise(col("cost"))
    weighted = ub.when(described).then(col("cost") * 1_000_000).otherwise(col("cost"))
    for changed in (without, weighted):
        free = Asked(PEOPLE, Duties())
        question = [col("cost").sum().alias("a"), changed.sum().alias("b")]
        [row] = free.ask(free.people.select(*question)).to_pylist()
        factor = 1 if changed is without else -999_999
        assert row["a"] - row["b"] == factor * victim.cost
        kept = Asked(PEOPLE, Duties(overlap=LEAST))
        assert kept.one(kept.people.select(*question)) is None
        # In two questions, and made in a projection below.
        assert kept.one(kept.people.select(question[0])) == sum(p.cost for p in PEOPLE)
        assert kept.one(kept.people.select(question[1])) is None
        below = kept.people.select(b=changed)
        assert kept.one(below.select(col("b").sum().alias("b"))) is None


def test_a_difference_of_two_aggregates_in_one_plan_is_stopped() -> None:
    victim = VICTIMS[0]
    described = (col("age") == victim.age) & (col("zip") == victim.zip)

    def both(asked: Asked) -> DataFrame:
        positive = asked.people.filter((col("positive") == 1) & (col("sex") == victim.sex))
        whole = positive.select(ub.len().alias("a"))
        return whole.join(positive.filter(~described).select(ub.len().alias("b")), how="cross")

    free = Asked(PEOPLE, Duties())
    [row] = free.ask(both(free)).to_pylist()
    assert row["a"] - row["b"] == victim.positive == 1
    kept = Asked(PEOPLE, Duties(overlap=LEAST))
    assert kept.one(both(kept), run="same") is None
    assert kept.one(both(kept), run="same") is None  # nor when it is tried again


def test_a_margin_and_its_table_do_not_tell_of_what_is_left_out() -> None:
    """A group of four is left out of the table; the total less the others would be that group."""
    few = [Person(n, 40, 0, "f", 1, 10) for n in range(100)]
    few += [Person(n, 40, 1, "f", 1, 10) for n in range(100, 150)]
    few += [Person(n, 40, 2, "f", 1, 999) for n in range(150, 154)]
    for margin_first in (True, False):
        asked = Asked(few, Duties(overlap=LEAST))
        cells = asked.people.group_by("zip").agg(col("cost").sum().alias("s"))
        total = asked.people.select(col("cost").sum().alias("s"))
        if margin_first:
            assert asked.one(total) == 1500 + 4 * 999
            shown = {row["zip"] for row in asked.ask(cells).to_pylist()}
            assert shown == {0}  # the second smallest goes with the smallest
        else:
            assert {row["zip"] for row in asked.ask(cells).to_pylist()} == {0, 1}
            assert asked.one(total) is None
    asked = Asked(few, Duties(complementary=True))
    cells = asked.people.group_by("zip").agg(col("cost").sum().alias("s"))
    assert {row["zip"] for row in asked.ask(cells).to_pylist()} == {0}


def test_honest_questions_are_answered_exactly() -> None:
    asked = Asked(PEOPLE, Duties(overlap=LEAST))
    count = asked.people.group_by("sex").agg(ub.len().alias("n"))
    expected = {s: sum(p.sex == s for p in PEOPLE) for s in "fm"}
    for frame in (count, count, asked.people.group_by("sex").agg(ub.len().alias("n"))):
        assert {r["sex"]: r["n"] for r in asked.ask(frame).to_pylist()} == expected
    mean = asked.people.group_by("sex").agg(col("cost").mean().alias("m"), col("age").max())
    with pytest.raises(PolicyError, match="single row"):
        asked.ask(mean)
    mean = asked.people.group_by("sex").agg(col("cost").mean().alias("m"))
    means = {r["sex"]: r["m"] for r in asked.ask(mean).to_pylist()}
    for sex in "fm":
        own = [p.cost for p in PEOPLE if p.sex == sex]
        assert means[sex] == pytest.approx(sum(own) / len(own))
    assert asked.one(asked.people.select(ub.len().alias("n"))) == len(PEOPLE)


def test_more_than_a_day_s_rows_do_not_leave() -> None:
    asked = Asked(PEOPLE, Duties(rows_per_day=5))
    by_sex = asked.people.group_by("sex").agg(ub.len().alias("n"))
    assert asked.ask(by_sex).num_rows == 2
    with pytest.raises(PolicyError, match="may have 5 rows in a day, and has had 2"):
        asked.ask(asked.people.group_by("zip").agg(ub.len().alias("n")))
    assert asked.ask(by_sex, user="bob").num_rows == 2
