"""Secure aggregation in `fit`: the sum alone, with sites that fall silent and a coordinator that lies."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from tests.federation.harness import Context
from tests.federation.harness import federation as wire
from tests.learning.sites import LOGISTIC
from umbel.federation import Form, Rule, Site
from umbel.federation.errors import PolicyError, SiteError
from umbel.federation.execution import SiteExecution
from umbel.federation.planning import DirectDispatcher, FederatedSession
from umbel.federation.policy.clauses import ALL, Clause, Recipients, Updates
from umbel.federation.standing import Change
from umbel.federation.tasks import Outcome, Requester, Task
from umbel.federation.wire import WireDispatcher
from umbel.learning.secure.errors import SecureAggregationError
from umbel.learning.secure.fixed_point import Wide
from umbel.learning.secure.packing import keys_from_bytes, pack, unpack
from umbel.learning.secure.vectors import Vectors
from umbel.plan.errors import CancelledError
from umbel.plan.models import Masking
from umbel.plan.operators import Contribute
from umbel.plan.operators.learning import MESSAGE

NAMES = ("a", "b", "c", "d", "e")
RULE = Rule(Form.AGGREGATES, 5, "id", updates=20)
STEPS = ub.learn.Settings(learning_rate=0.5, epochs=2, batch_size=16)
BY_STEPS: dict[str, Any] = {"strategy": "fedavg", "settings": STEPS, "rounds": 2, "seed": 3}


def rows_of(number: int) -> pa.Table:
    draw = np.random.default_rng(number)
    x = draw.normal(number / 4, 1, 60 + 10 * number)
    y = draw.random(len(x)) < 1 / (1 + np.exp(-x))
    return pa.table({"id": np.arange(len(x)), "x": x, "y": y})


#: Changes a task before it gets to its site; may raise.
Lie = Callable[[Task, Contribute], Task]


class Meddling(DirectDispatcher):
    """Brings tasks and answers, sees all of them, and may lie."""

    def __init__(self, sites: Any) -> None:
        super().__init__(sites)
        self.lie: Lie | None = None
        self.seen: list[tuple[str, str, bytes]] = []
        self.away = ""
        self.slow = ""

    def run(self, task: Task, inputs: Any, context: Any, deliver: Any) -> Outcome:
        plan = task.plan
        if task.site == self.away:
            raise SiteError("the line is dead", site=task.site, retryable=True)
        if task.site == self.slow:
            stopped = threading.Event()
            context.on_cancel(stopped.set)
            assert stopped.wait(60)
            raise CancelledError("the run was cancelled")
        step = ""
        if isinstance(plan, Contribute) and plan.masking is not None:
            step = plan.masking.step
            if self.lie is not None:
                task = self.lie(task, plan)

        def kept(data: pa.Table) -> None:
            if "sums" in data.schema.names:
                self.seen += [(task.site, step, row["sums"]) for row in data.to_pylist()]
            deliver(data)

        return super().run(task, inputs, context, kept)

    def stand(self, task: Task) -> MeddledLine:
        return MeddledLine(super().stand(task), self, task)


class MeddledLine:
    """A line of a question that stands, whose rounds are meddled with as tasks are."""

    def __init__(self, line: Any, meddling: Meddling, task: Task) -> None:
        self._line, self._meddling, self._task = line, meddling, task
        self._asked: dict[int, Change] = {}
        self.close = line.close

    def ask(self, number: int, change: Change) -> None:
        self._asked[number] = change

    def drop(self, number: int) -> None:
        self._asked.pop(number, None)

    def answer(self, number: int, cancellation: Any, until: Any = None) -> Any:
        meddling, site = self._meddling, self._task.site
        if site == meddling.away:
            raise SiteError("the line is dead", site=site, retryable=True)
        if site == meddling.slow:
            return None
        assert isinstance(self._task.plan, Contribute)
        plan, step = self._asked[number].into(self._task.plan), ""
        assert isinstance(plan, Contribute)
        if plan.masking is not None:
            step = plan.masking.step
            if meddling.lie is not None:
                told = meddling.lie(replace(self._task, plan=plan), plan).plan
                assert isinstance(told, Contribute)
                plan = told
        self._line.ask(number, Change.of(plan))
        answer = self._line.answer(number, cancellation, until)
        meddling.seen.append((site, step, bytes(answer.sums)))
        return answer


class Sites:
    def __init__(self, names: tuple[str, ...] = NAMES, rule: Rule = RULE) -> None:
        self.sites = {}
        for name in names:
            site = Site(name, ub.connect())
            rows = rows_of(NAMES.index(name))
            site.publish("t", site.session.from_arrow(rows), rule)
            self.sites[name] = site
        self.meddling = Meddling({n: SiteExecution(s) for n, s in self.sites.items()})
        manifests = [site.manifest() for site in self.sites.values()]
        self.session = FederatedSession(manifests, self.meddling, Requester("ann"))

    def fit(self, **options: Any) -> ub.learn.Model:
        base: dict[str, Any] = {"features": ["x"], "label": "y", "model": LOGISTIC}
        made: ub.learn.Model = ub.learn.fit(
            self.session.table("t"), **{**base, "classes": [False, True], **options}
        )
        return made


@pytest.fixture(scope="module")
def federated() -> Sites:
    return Sites()


@pytest.fixture
def five(federated: Sites) -> Sites:
    federated.meddling.lie = None
    federated.meddling.away = federated.meddling.slow = ""
    federated.meddling.seen.clear()
    return federated


def changed(task: Task, plan: Contribute, **changes: Any) -> Task:
    return replace(task, plan=replace(plan, **changes))


def said(message: bytes) -> pa.Table:
    return pa.Table.from_arrays([pa.array([message], pa.binary())], schema=MESSAGE)


def heard(plan: Contribute) -> dict[str, bytes]:
    assert plan.message is not None
    return unpack(plan.message.column(0)[0].as_py())


# --- the sum, and nothing else ---------------------------------------------------------------------


def test_the_sum_is_the_plain_one_within_the_stated_error(five: Sites) -> None:
    """Each number is rounded to a multiple of 2^-48 at each of five sites: 5/2 of it in the sum.

    Of exact solvers the sums count, which Newton's steps turn into coefficients: 1e-9 leaves those
    room; by steps it is the mean of weighted updates, over more than 60 rows.
    """
    secure = ub.learn.Secure()
    assert np.abs(five.fit().state - five.fit(privacy=secure).state).max() < 1e-9
    plain, masked = five.fit(**BY_STEPS), five.fit(privacy=secure, **BY_STEPS)
    assert np.abs(plain.state - masked.state).max() < 1e-13
    losses = [m.history.collect().group_by("round").aggregate([("loss", "max")]) for m in
              (plain, masked)]  # fmt: skip
    assert losses[0]["loss_max"].to_pylist() == pytest.approx(losses[1]["loss_max"].to_pylist())
    assert masked.trained_on == plain.trained_on == sum(60 + 10 * i for i in range(5))


def test_with_a_bound_each_number_takes_32_bits(five: Sites) -> None:
    """Off by sites * bound * rows / 2^31 over all rows at most, in each round."""
    secure = ub.learn.Secure(bound=1.0, rows=100)
    plain, masked = five.fit(**BY_STEPS), five.fit(privacy=secure, **BY_STEPS)
    vectors = [sums for _, step, sums in five.meddling.seen if step == "mask"]
    assert {len(vector) for vector in vectors} == {4 * (2 + 3 * Wide.places)}
    allowed = 5 * 1.0 * 100 / 2**31 / plain.trained_on
    # The second round begins where the first ended: its own steps may double what is off.
    assert 0 < np.abs(plain.state - masked.state).max() < 3 * allowed


def test_nobody_sees_what_one_site_gives(five: Sites) -> None:
    model = five.fit(privacy=ub.learn.Secure(), **BY_STEPS)
    assert {row["part"] for row in model.history.collect().to_pylist()} == {"the sum"}
    seen = [sums for _, step, sums in five.meddling.seen if step == "mask"]
    assert len(seen) == 2 * len(NAMES)
    for vector in seen:
        # Under a mask each of 32 bits is as often set as not: of 5 numbers of 4 places, 640 bits.
        bits = np.unpackbits(np.frombuffer(vector, np.uint8))
        assert abs(bits.mean() - 0.5) < 0.1
    five.meddling.seen.clear()
    five.fit(**BY_STEPS)
    flat = np.frombuffer(five.meddling.seen[0][2])  # as it is, it can be read
    assert np.isfinite(flat).all()
    assert np.abs(flat[:2]).max() < 10


def test_evaluation_is_masked_too(five: Sites) -> None:
    model = five.fit()
    plain = model.evaluate(five.session.table("t"))
    masked = model.evaluate(five.session.table("t"), privacy=ub.learn.Secure())
    assert masked["accuracy"] == plain["accuracy"]
    assert masked.rows == plain.rows


# --- sites that fall silent ------------------------------------------------------------------------


def silent(who: str, step: str) -> Lie:
    """A site that is away from a step on."""
    order = ("keys", "share", "mask", "confirm", "open")

    def lie(task: Task, plan: Contribute) -> Task:
        assert plan.masking is not None
        if task.site == who and order.index(plan.masking.step) >= order.index(step):
            raise SiteError("the line is dead", site=who, retryable=True)
        return task

    return lie


@pytest.mark.parametrize("step", ["keys", "share", "mask", "confirm", "open"])
def test_a_site_that_falls_silent_is_in_the_sum_if_its_vector_came(five: Sites, step: str) -> None:
    options = {**BY_STEPS, "rounds": 1}
    five.meddling.lie = silent("c", step)
    masked = five.fit(privacy=ub.learn.Secure(), **options)
    without = [] if step in ("confirm", "open") else ["c"]
    assert np.abs(five.fit(without=without, **options).state - masked.state).max() < 1e-13
    away = {row["part"]: row["excluded"] for row in masked.history.collect().to_pylist()}
    assert "the line is dead" in away["c"]


def test_a_quorum_goes_on_without_those_that_are_away_or_slow(five: Sites) -> None:
    options = {**BY_STEPS, "rounds": 1}
    five.meddling.away = "c"
    with pytest.raises(ub.RunError, match="4 of 5 parts have answered, and a round takes 5"):
        five.fit(**options)
    found = five.fit(patience=ub.learn.Patience(quorum=4), **options)
    five.meddling.away, five.meddling.slow = "", "c"
    patience = ub.learn.Patience(quorum=4, deadline=0.1)
    late = five.fit(patience=patience, **options)
    five.meddling.slow = ""
    others = five.fit(without=["c"], **options)
    assert found.state.tobytes() == late.state.tobytes() == others.state.tobytes()
    (noted,) = [r for r in late.history.collect().to_pylist() if r["part"] == "c"]
    assert noted["excluded"] == "it has not answered within 0.1 s"


def test_of_three_sites_one_that_falls_silent_makes_the_others_begin_anew() -> None:
    """Each has two neighbours, more than half of whom are both: no mask can be taken off."""
    three = Sites(("a", "b", "c"))
    options = {**BY_STEPS, "rounds": 1}
    three.meddling.lie = silent("c", "mask")
    masked = three.fit(privacy=ub.learn.Secure(), **options)
    assert np.abs(three.fit(without=["c"], **options).state - masked.state).max() < 1e-13


def test_exact_training_goes_on_without_a_site_to_the_model_of_the_others(five: Sites) -> None:
    five.meddling.lie = silent("c", "mask")
    masked = five.fit(privacy=ub.learn.Secure())
    assert np.abs(five.fit(without=["c"]).state - masked.state).max() < 1e-9


def test_too_few_sites_are_a_clear_error(five: Sites) -> None:
    five.meddling.lie = silent("c", "mask")
    with pytest.raises(SecureAggregationError, match="4 of 5 sites are left, and it takes 5") as e:
        five.fit(privacy=ub.learn.Secure(fewest=5), **BY_STEPS)
    assert "c: the line is dead" in str(e.value)
    with pytest.raises(ub.PlanError, match="takes 6 sites or more, and the rows lie at 5"):
        five.fit(privacy=ub.learn.Secure(fewest=6))
    with pytest.raises(ub.PlanError, match="between sites, and rows lie here"):
        ub.learn.fit(ub.connect().from_arrow(rows_of(1)), features=["x"], label="y",
                     model=LOGISTIC, privacy=ub.learn.Secure())  # fmt: skip


def test_what_needs_each_update_cannot_be_masked(five: Sites) -> None:
    with pytest.raises(SecureAggregationError, match="has to see each update"):
        five.fit(privacy=ub.learn.Secure(), strategy="median")


# --- a coordinator that lies -----------------------------------------------------------------------


def lied(five: Sites, lie: Lie, fewest: int = 5) -> str:
    """Train with a lie; give what the sites said of it."""
    five.meddling.lie = lie
    with pytest.raises(SecureAggregationError) as caught:
        five.fit(privacy=ub.learn.Secure(fewest=fewest), **{**BY_STEPS, "rounds": 1})
    return str(caught.value)


def at(step: str, who: str, change: Callable[[Task, Contribute], Task]) -> Lie:
    def lie(task: Task, plan: Contribute) -> Task:
        assert plan.masking is not None
        return change(task, plan) if plan.masking.step == step and task.site == who else task

    return lie


def test_different_lists_of_survivors_open_nothing(five: Sites) -> None:
    """Some hear that `e` survived, others that it did not: both its secrets would be opened."""
    shorter = pack(dict.fromkeys("abcd", b""))

    def lie(task: Task, plan: Contribute) -> Task:
        assert plan.masking is not None
        if plan.masking.step == "confirm" and task.site in "ab":
            return changed(task, plan, message=said(shorter))
        return task

    assert "have signed the same list of survivors" in lied(five, lie, fewest=3)
    assert not [1 for _, step, _ in five.meddling.seen if step == "open"]


def test_different_rosters_for_different_sites_end_in_nothing(five: Sites) -> None:
    """`a` hears of four sites: its masks are of another round than those of the others."""

    def lie(task: Task, plan: Contribute) -> Task:
        roster = heard(plan)
        roster.pop("e")
        return changed(task, plan, message=said(pack(roster)))

    assert "has no sum" in lied(five, at("share", "a", lie))
    assert not [1 for _, step, _ in five.meddling.seen if step == "open"]


def test_keys_of_the_coordinators_own_are_refused(five: Sites) -> None:
    def lie(task: Task, plan: Contribute) -> Task:
        roster = heard(plan)
        own = keys_from_bytes(roster["b"])
        forged = {"site": b"b", "channel": b"1" * 32, "mask": b"2" * 32, "promise": own.promise,
                  "signature": own.signature, "credential": own.credential}  # fmt: skip
        return changed(task, plan, message=said(pack({**roster, "b": pack(forged)})))

    assert "The keys of 'b' are not signed by it" in lied(five, at("share", "a", lie))


def test_another_state_for_the_others_is_refused(five: Sites) -> None:
    """Where all but one answer with what is known anyway, the sum would be that one's update."""

    def lie(task: Task, plan: Contribute) -> Task:
        chosen = pa.Table.from_arrays([pa.array([50.0, 50.0])], schema=plan.state.schema)
        return changed(task, plan, state=chosen)

    assert "Sites were asked for different things" in lied(five, at("mask", "a", lie))


def test_another_round_for_some_sites_is_refused(five: Sites) -> None:
    def lie(task: Task, plan: Contribute) -> Task:
        assert plan.masking is not None
        return changed(task, plan, masking=replace(plan.masking, question="another"))

    assert "agreed on with other settings" in lied(five, at("share", "a", lie))


def test_a_site_answers_a_step_once_and_the_same_again(five: Sites) -> None:
    """The answer to the same message is the same; to another one there is none."""
    kept: dict[str, list[bytes]] = {}

    def again(task: Task, plan: Contribute) -> Task:
        assert plan.masking is not None
        if task.site == "a" and plan.masking.step in ("share", "mask", "open"):
            five.meddling.lie = None
            parts: list[pa.Table] = []
            for _ in range(2):
                parts.clear()
                DirectDispatcher.run(five.meddling, task, {}, Context(), parts.append)
                kept.setdefault(plan.masking.step, []).append(parts[0]["sums"][0].as_py())
            other = changed(task, plan, message=said(b""))
            with pytest.raises(SiteError, match="a second time, with another message"):
                DirectDispatcher.run(five.meddling, other, {}, Context(), parts.append)
            five.meddling.lie = again
        return task

    five.meddling.lie = again
    five.fit(privacy=ub.learn.Secure(), **{**BY_STEPS, "rounds": 1})
    assert all(one == other for one, other in kept.values())
    assert set(kept) == {"share", "mask", "open"}


def test_noise_against_another_clip_than_that_of_rows_is_refused(five: Sites) -> None:
    """The noise of a small clip on sums of a large one would hide nobody."""

    def lie(task: Task, plan: Contribute) -> Task:
        assert plan.masking is not None
        return changed(task, plan, masking=replace(plan.masking, clip=0.01))

    private = ub.learn.Private(
        noise=1.0,
        budget=ub.learn.Budget(8.0, 1e-3),
        population=400,
        clip=ub.learn.FixedClip(1.0),
        of="rows",
    )
    five.meddling.lie = lie
    with pytest.raises(SecureAggregationError, match="The noise is measured against another clip"):
        five.fit(privacy=ub.learn.Secure(fewest=5), strategy=private, rounds=1)


def test_few_neighbours_are_refused(five: Sites) -> None:
    """With two neighbours of the coordinator's choice a site would be unmasked by those two."""

    def lie(task: Task, plan: Contribute) -> Task:
        assert plan.masking is not None
        return changed(task, plan, masking=replace(plan.masking, degree=2))

    assert "is to mask with 2 others; it takes 4" in lied(five, lie)


# --- rules -----------------------------------------------------------------------------------------


def clause(**conditions: Any) -> Rule:
    made = Clause(
        "models", Form.UPDATES, 20, *(ALL,) * 5, recipients=Recipients(("*",)),
        updates=Updates(**conditions),
    )  # fmt: skip
    return Rule(Form.UPDATES, 20, "id", updates=20, clause=made)


def test_a_clause_can_ask_for_secure_aggregation() -> None:
    sites = Sites(("a", "b", "c"), clause(secure=True))
    model = sites.fit(privacy=ub.learn.Secure(), **BY_STEPS)
    assert model.trained_on == 60 + 70 + 80
    with pytest.raises(PolicyError, match="what one site has learned, and not only the sum") as e:
        sites.fit(**BY_STEPS)
    assert "privacy=umbel.learn.Secure()" in str(e.value)
    with pytest.raises(PolicyError, match="what one site has learned"):
        model.evaluate(sites.session.table("t"))
    assert model.evaluate(sites.session.table("t"), privacy=ub.learn.Secure()).rows == 210


def test_a_masked_update_is_of_as_many_individuals_as_a_plain_one() -> None:
    sites = Sites(("a", "b", "c"), replace(RULE, updates=61))
    with pytest.raises(PolicyError, match="over at least 61 different id may leave"):
        sites.fit(privacy=ub.learn.Secure(), **BY_STEPS)


# --- differential privacy under masks, and an attack -----------------------------------------------


def masking(**changes: Any) -> Masking:
    return Masking("r", 1, "mask", 2, 4, 3, "q", **changes)


def test_noise_of_all_sites_together_is_what_is_accounted_for() -> None:
    """Four sites, each with half of the noise: its deviation of 20,000 numbers is known to 0.5 %."""
    vectors = Vectors(masking(clip=2.0, noise=0.75 / 2, within=0.5), 20_000)
    total = np.zeros(vectors.length, np.uint32)
    for _ in range(4):
        total += vectors.of_update(np.zeros(20_000), 100, 0, 1.0)
    read = vectors.read(total)
    assert read.total.std() == pytest.approx(0.75 * 2.0, rel=0.025)
    assert abs(read.within - 4 * 0.5) < 6  # six deviations of noise of 1
    assert (read.rows, read.loss) == (0.0, None)


def test_updates_are_clipped_before_the_noise() -> None:
    vectors = Vectors(masking(clip=1.0, within=1e-6), 2)
    total = np.zeros(vectors.length, np.uint32)
    for update in ([3.0, 4.0], [0.3, 0.4], [0.0, 0.0]):
        total += vectors.of_update(np.array(update), 10**6, 0, 1.0)
    read = vectors.read(total)
    assert read.total == pytest.approx([0.6 + 0.3, 0.8 + 0.4], abs=1e-12)
    assert read.within == pytest.approx(2 * 0.5 - 0.5, abs=1e-4)


def test_training_with_masks_and_noise_stops_when_the_budget_is_spent(five: Sites) -> None:
    private = ub.learn.Private(
        noise=1.0,
        budget=ub.learn.Budget(8.0, 1e-3),
        population=5,
        clip=ub.learn.FixedClip(1.0),
    )
    options = {**BY_STEPS, "strategy": private}
    model = five.fit(privacy=ub.learn.Secure(), **options)
    history = model.history.collect().to_pylist()
    assert [row["rows"] for row in history] == [0, 0]
    with pytest.raises(ub.PlanError, match="the budget holds for"):
        five.fit(privacy=ub.learn.Secure(), **{**options, "rounds": 500})


def inverted(update: np.ndarray) -> float:
    """The one example that a step of a regression was made of.

    Its slope is (p - y) times (1, x): what is learned of x over what is learned of the constant is
    x. Source: Zhu, Liu and Han, "Deep Leakage from Gradients", NeurIPS 2019; for linear models
    this is all of it.
    """
    return float(update[1] / update[0])


def test_inverting_the_update_of_one_example_works_on_plain_updates_alone() -> None:
    secret = 1.2345
    sites = Sites(("a", "b", "c"), Rule(Form.ROWS))
    one = pa.table({"id": [1], "x": [secret], "y": [True]})
    for name, site in sites.sites.items():
        rows = one if name == "c" else rows_of(0)
        site.publish("alone", site.session.from_arrow(rows), Rule(Form.ROWS))
    manifests = [site.manifest() for site in sites.sites.values()]
    session = FederatedSession(manifests, sites.meddling, Requester("ann"))
    options: dict[str, Any] = {"features": ["x"], "label": "y", "model": LOGISTIC,
                               "classes": [False, True], "strategy": "fedavg", "rounds": 1}  # fmt: skip

    def seen() -> list[bytes]:
        found = [sums for site, step, sums in sites.meddling.seen if site == "c" and
                 step in ("", "mask")]  # fmt: skip
        sites.meddling.seen.clear()
        return found

    ub.learn.fit(session.table("alone"), **options)
    (plain,) = seen()
    assert inverted(np.frombuffer(plain)) == pytest.approx(secret)
    ub.learn.fit(session.table("alone"), privacy=ub.learn.Secure(), **options)
    (masked,) = seen()
    head = Wide(3).decode(np.frombuffer(masked, "<u4").astype(np.uint32))
    assert abs(inverted(head) - secret) > 1e-3
    # Even if all others are in league with the coordinator, and take off their masks: the noise.
    update = np.frombuffer(plain)[:2]
    vectors = Vectors(masking(clip=1.0, noise=1.0), 2)
    left = [vectors.read(vectors.of_update(update, 1, 0, 0.7)).total for _ in range(200)]
    near = np.mean([abs(inverted(one) - secret) < 0.1 for one in left])
    assert near < 0.2


# --- over the wire ---------------------------------------------------------------------------------


def test_sites_behind_the_wire_sign_with_their_certificates() -> None:
    plain = Sites(("a", "b", "c"))
    with wire() as there:
        agents: dict[str, Any] = {}
        for name, site in plain.sites.items():
            signer = functools.partial(lambda name: agents[name].signer, name)
            agents[name] = there.agent(name, SiteExecution(site, identity=signer), slots=2)
        manifests = [site.manifest() for site in plain.sites.values()]
        session = FederatedSession(manifests, WireDispatcher(there.endpoint), Requester("ann"))
        model = ub.learn.fit(session.table("t"), features=["x"], label="y", model=LOGISTIC,
                             classes=[False, True], privacy=ub.learn.Secure(),
                             **{**BY_STEPS, "rounds": 1})  # fmt: skip
        assert np.abs(plain.fit(**{**BY_STEPS, "rounds": 1}).state - model.state).max() < 1e-13
        a, b = agents["a"].signer, agents["b"].signer
        signed = b.sign(b"message")
        assert a.verify("b", b"message", signed, b.credential)
        assert not a.verify("c", b"message", signed, b.credential)
        assert not a.verify("b", b"another", signed, b.credential)
        assert not a.verify("b", b"message", signed, b"no certificate")
