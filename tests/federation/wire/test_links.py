"""A site behind a link of its own, in a network namespace: slow, far, and cut in the middle.

Needs root, and a kernel that makes namespaces and shapes links; elsewhere it is skipped and says
why. What is cut is the wire: neither end is told, as when somebody pulls a plug.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.federation.links import Links, Shape, links, why_not
from tests.federation.real import RealFederation, settles
from umbel import col

SITE = "north"
#: Far and slow: 1.5 MB take three seconds.
SHAPE = Shape(4e6, 0.08)
ROWS = 100_000
PUBLISHED = """
[tables.numbers]
parquet = "numbers.parquet"
form = "rows"
"""


@pytest.fixture(scope="module")
def line() -> Iterator[Links]:
    reason = why_not()
    if reason:
        pytest.skip(f"no links between namespaces here: {reason}")
    with links([SITE]) as made:
        yield made


@pytest.fixture(scope="module")
def federation(line: Links, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealFederation]:
    made = RealFederation(
        tmp_path_factory.mktemp("linked"),
        {SITE: PUBLISHED},
        hosts=("localhost", *line.hosts.values()),
        inside=line.inside,
    )
    try:
        made.dials(SITE, line.dialled(SITE, made.settings.sites[1]))
        pq.write_table(numbers(), made.folder / SITE / "numbers.parquet")
        made.start(SITE)
        line.shape(SHAPE)
        yield made
    finally:
        made.close()


def numbers() -> pa.Table:
    values = np.random.default_rng(5).integers(0, 2**62, ROWS)  # nothing that compresses
    return pa.table({"id": np.arange(ROWS), "value": values})


def state(session: Any) -> str:
    time.sleep(0.5)  # to ask costs both of them more than to wait
    (found,) = session.sites()
    return str(found["state"])


def test_a_link_that_is_cut_in_the_middle_costs_no_row(
    federation: RealFederation, line: Links
) -> None:
    with federation.session(on_missing_site="wait", patience=300.0) as session:
        federation.there(session, SITE)
        before = line.carried()
        answers: list[pa.Table] = []
        asked = session.table("numbers").filter(col("id") >= 0)
        thread = threading.Thread(target=lambda: answers.append(asked.collect()))
        thread.start()
        whole = numbers().nbytes
        settles(lambda: line.carried() - before > whole / 4, "a quarter of the rows came")
        line.cut(SITE)
        settles(lambda: state(session) != "connected", "the coordinator gave the line up")
        assert not answers, "the rows came over a link that was cut"
        line.mend(SITE)
        thread.join(300)
        assert len(answers) == 1
        assert answers[0].sort_by("id").equals(numbers().cast(answers[0].schema))
        # What had come before the cut came once: what was sent is the rows, and no second time.
        assert line.carried() - before < 1.6 * whole
