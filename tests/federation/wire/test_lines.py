"""Questions that stand, over the wire: every round is answered once, whatever breaks meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.federation.harness import ANN, Federation, compute, federation, settles
from umbel.executor import Cancellation
from umbel.federation.errors import PolicyError, SiteError
from umbel.federation.planning.standing import StandingQuestions
from umbel.federation.standing import Answer, Change, largest
from umbel.federation.tasks import Task
from umbel.federation.wire import WireDispatcher
from umbel.learning.gathering import Patience
from umbel.learning.secure.vectors import learned
from umbel.models.layout import state_table
from umbel.plan.models import Design, LinearRegression, Network, Number, Training
from umbel.plan.operators import Contribute, Values

DESIGN = Design(LinearRegression(), (Number("x"),), "y")
EMPTY = pa.table({"x": pa.array([], pa.float64()), "y": pa.array([], pa.float64())})
PLAN = Contribute(input=Values(table=EMPTY), design=DESIGN, state=state_table(np.zeros(2)))


#: What has a site give more than it may, and what is no answer.
TOO_MUCH, NO_ANSWER = -1.0, -2.0


class Doubling:
    """A site that gives back the numbers that it is asked with, times two."""

    def __init__(self) -> None:
        self.taken = self.closed = 0
        self.asked: list[float] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    __call__ = staticmethod(compute)

    def stand(self, task: Task, cancellation: Cancellation) -> Doubling:
        self.taken += 1
        if self.error is not None:
            raise self.error
        return self

    def answer(self, change: Change) -> Answer:
        state = np.frombuffer(change.buffers[0] or b"", "<f8")
        self.asked.append(float(state[0]))
        assert self.gate.wait(60)
        if state[0] == TOO_MUCH:
            return Answer(1, 0, bytes(largest(100)))
        if state[0] == NO_ANSWER:
            return Answer(-1, 0, b"")
        return Answer(len(state), 0, (2 * state).tobytes())

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def wire() -> Iterator[Federation]:
    with federation(poll_seconds=0.5, lease_seconds=2.0) as made:
        yield made


def change(*numbers: float) -> Change:
    return Change({"training": None, "masking": None}, (np.array(numbers).tobytes(), None, None))


def question(wire: Federation, *sites: str, run: str = "r") -> StandingQuestions:
    dispatcher = WireDispatcher(wire.endpoint, patience=30.0)
    tasks = [Task(run, 0, site, PLAN, (), ANN, stands=True) for site in sites]
    return StandingQuestions({task.site: dispatcher.stand(task) for task in tasks})


def ask(asked: StandingQuestions, *numbers: float, patience: Any = None) -> dict[str, list[float]]:
    names = asked._lines
    given, away = asked.change(
        dict.fromkeys(names, change(*numbers)), patience or Patience(), Cancellation()
    )
    assert patience is not None or not away, away
    return {site: np.frombuffer(one.sums, "<f8").tolist() for site, one in given.items()}


def test_rounds_are_answered_over_one_exchange_and_no_store(wire: Federation) -> None:
    sites = {name: Doubling() for name in ("a", "b")}
    for name, site in sites.items():
        wire.agent(name, site)
    asked = question(wire, "a", "b")
    for number in range(30):
        assert ask(asked, number, 1.0) == {site: [2.0 * number, 2.0] for site in sites}
    records = wire.store.tasks.of_run("r")
    assert [(one.state, one.attempts) for one in records] == [("leased", 1)] * 2
    assert all(site.taken == 1 and len(site.asked) == 30 for site in sites.values())
    asked.close()
    settles(lambda: all(site.closed for site in sites.values()))


def test_a_large_state_goes_in_parts(wire: Federation) -> None:
    """Of 16 MB; what a task brings may have 4."""
    wire.agent("a", Doubling())
    network = replace(DESIGN, algorithm=Network(hidden=(2_000, 1_000), task="number"))
    plan = replace(PLAN, design=network, training=Training(0.1))
    state = np.arange(float(learned(plan)))
    assert state.nbytes > 16_000_000
    line = WireDispatcher(wire.endpoint).stand(Task("r", 0, "a", plan, (), ANN, stands=True))
    wanted = Change({"training": None, "masking": None}, (state.data.cast("B"), None, None))
    given, _ = StandingQuestions({"a": line}).change({"a": wanted}, Patience(), Cancellation())
    assert np.array_equal(np.frombuffer(given["a"].sums), 2 * state)
    line.close()


def test_a_round_goes_on_when_the_door_is_opened_anew(wire: Federation) -> None:
    site = Doubling()
    wire.agent("a", site)
    asked = question(wire, "a")
    assert ask(asked, 1.0) == {"a": [2.0]}
    wire.endpoint.renew()
    assert ask(asked, 2.0) == {"a": [4.0]}
    assert site.taken == 1
    asked.close()


def test_a_site_that_is_started_anew_takes_the_question_again(wire: Federation) -> None:
    old, new = Doubling(), Doubling()
    agent = wire.agent("a", old)
    asked = question(wire, "a")
    for number in range(6):  # more often than a task may be begun
        old.gate.clear()
        found: list[Any] = []
        asking = threading.Thread(target=lambda: found.append(ask(asked, 5.0)))  # noqa: B023
        asking.start()
        settles(lambda: old.asked == [5.0])  # noqa: B023
        stopping = threading.Thread(target=agent.stop)
        stopping.start()
        old.gate.set()
        stopping.join()
        agent = wire.agent("a", new)
        asking.join(60)
        assert found == [{"a": [10.0]}], number
        old, new = new, Doubling()
        old.asked.clear()
    asked.close()


def test_who_is_late_is_left_out_and_takes_part_again(wire: Federation) -> None:
    quick, slow = Doubling(), Doubling()
    wire.agent("a", quick)
    wire.agent("b", slow)
    asked = question(wire, "a", "b")
    assert ask(asked, 1.0) == {"a": [2.0], "b": [2.0]}
    slow.gate.clear()
    began = time.monotonic()
    patience = Patience(quorum=1, deadline=0.2)
    assert ask(asked, 2.0, patience=patience) == {"a": [4.0]}
    assert time.monotonic() - began < 20
    slow.gate.set()
    # The late answer is to a round that is over: it is not taken for one of this.
    assert ask(asked, 3.0) == {"a": [6.0], "b": [6.0]}
    asked.close()


def test_what_is_no_answer_is_not_taken(wire: Federation) -> None:
    wire.agent("a", Doubling())
    for number, (what, told) in enumerate(
        {NO_ANSWER: "cannot be taken", TOO_MUCH: "bytes"}.items()
    ):
        asked = question(wire, "a", run=f"r{number}")
        _, away = asked.change({"a": change(what)}, Patience(), Cancellation())
        assert isinstance(away["a"], SiteError)
        assert told in str(away["a"])
        asked.close()


def test_a_site_that_does_not_allow_it_says_so(wire: Federation) -> None:
    site = Doubling()
    site.error = PolicyError("nothing leaves here", hint="ask for something else")
    wire.agent("a", site)
    asked = question(wire, "a")
    with pytest.raises(PolicyError, match="nothing leaves here"):
        ask(asked, 1.0)
    asked.close()


def test_a_site_that_takes_no_questions_says_so(wire: Federation) -> None:
    wire.agent("a")
    asked = question(wire, "a")
    _, away = asked.change({"a": change(1.0)}, Patience(), Cancellation())
    assert "takes no standing questions" in str(away["a"])
    asked.close()


def test_a_site_that_was_revoked_gives_no_more(wire: Federation) -> None:
    site = Doubling()
    wire.agent("a", site)
    dispatcher = WireDispatcher(wire.endpoint, patience=1.0)
    task = Task("r", 0, "a", PLAN, (), ANN, stands=True)
    asked = StandingQuestions({"a": dispatcher.stand(task)})
    assert ask(asked, 1.0) == {"a": [2.0]}
    wire.store.members.revoke("a")
    time.sleep(0.3)  # for so long one look at what was revoked serves
    _, away = asked.change({"a": change(2.0)}, Patience(), Cancellation())
    assert isinstance(away["a"], SiteError)
    asked.close()
