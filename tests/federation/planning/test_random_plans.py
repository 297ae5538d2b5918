"""Random questions over three sites: the answer of one place without the groups of too few."""

import warnings
from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import umbel as ub
from tests.federation.planning.conftest import CANARY, CODES, LEAST
from umbel import col
from umbel.executor import Cancellation
from umbel.federation.errors import PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.planning import DirectDispatcher, FederatedSession
from umbel.federation.protocol import HORIZONTAL
from umbel.federation.publishing import Site
from umbel.federation.signed.footprints import beyond
from umbel.federation.tasks import Outcome, Task
from umbel.plan.operators import Operator

#: Each aggregate as FedPy and as Polars say it, and which rows count for it.
_Both = tuple[Any, Any, Callable[[], pl.Expr]]
_ALL: Callable[[], pl.Expr] = lambda: pl.lit(True)  # noqa: E731
ALLOWED: dict[str, _Both] = {
    "n": (ub.len(), pl.len(), _ALL),
    "known": (col("cost").count(), pl.col("cost").count(), lambda: pl.col("cost").is_not_null()),
    "total": (col("cost").sum(), pl.col("cost").sum(), lambda: pl.col("cost") != 0),
    "mean": (col("age").mean(), pl.col("age").mean(), lambda: pl.col("age") != 0),
    "spread": (col("weight").std(), pl.col("weight").std(), lambda: pl.col("weight") != 0),
}
FORBIDDEN: dict[str, Any] = {
    "most": col("age").max(),
    "least": col("name").min(),
    "middle": col("age").median(),
    "people": col("patient_id").sum(),
    "wards": col("ward").n_unique(),
}
KEYS = {
    "sex": (col("sex"), pl.col("sex")),
    "side": (col("ward") % 2, pl.col("ward") % 2),
    "label": (col("label"), pl.col("label")),
    "decade": (col("age") // 10, pl.col("age") // 10),
}


class Listening:
    """Passes tasks on, and keeps what sites let out as it would be on the wire."""

    def __init__(self, sites: dict[str, Site]) -> None:
        self.heard: list[bytes] = []
        #: What is asked just now, and what stages did beyond it.
        self.asked: Operator | None = None
        self.beyond: list[str] = []

        def listening(execute: SiteExecution) -> Any:
            def run(task: Task, inputs: Any, cancellation: Cancellation, deliver: Any) -> Outcome:
                def heard(table: pa.Table) -> None:
                    sink = pa.BufferOutputStream()
                    with pa.ipc.new_stream(sink, table.schema) as writer:
                        writer.write_table(table)
                    self.heard.append(sink.getvalue().to_pybytes())
                    deliver(table)

                if self.asked is not None:
                    tables = sites[task.site].tables
                    more = beyond(task.plan, self.asked, task.site, tables, HORIZONTAL)
                    self.beyond += [more] if more else []
                outcome = execute(task, inputs, cancellation, heard)
                self.heard.append(outcome.to_json().encode())
                return outcome

            return run

        made = {name: listening(SiteExecution(site)) for name, site in sites.items()}
        self.session = FederatedSession(
            [site.manifest() for site in sites.values()], DirectDispatcher(made)
        )


@pytest.fixture(scope="module")
def listening(sites: dict[str, Site]) -> Listening:
    return Listening(sites)


@settings(max_examples=20, deadline=None)
@given(
    older=st.integers(10, 80),
    keys=st.sets(st.sampled_from(sorted(KEYS)), max_size=2),
    chosen=st.sets(st.sampled_from(sorted(ALLOWED)), min_size=1, max_size=3),
    forbidden=st.sampled_from([None, None, None, *sorted(FORBIDDEN)]),
    more=st.integers(0, 8),
)
def test_random_questions(
    listening: Listening,
    pooled: pl.DataFrame,
    older: int,
    keys: set[str],
    chosen: set[str],
    forbidden: str | None,
    more: int,
) -> None:
    by = sorted(keys)
    frame = listening.session.table("visits").filter(col("age") > older)
    rows = pooled.filter(pl.col("age") > older)
    if "label" in keys:
        codes = listening.session.table("codes")
        frame = frame.join(codes, left_on="sex", right_on="code")
        rows = rows.join(pl.DataFrame(pl.from_arrow(CODES)), left_on="sex", right_on="code")
    frame = frame.with_columns(**{f"key_{name}": KEYS[name][0] for name in by})
    rows = rows.with_columns(**{f"key_{name}": KEYS[name][1] for name in by})
    names = [f"key_{name}" for name in by]
    calls = [ALLOWED[name][0].alias(name) for name in sorted(chosen)]
    if forbidden is not None:
        calls.append(FORBIDDEN[forbidden].alias(forbidden))
    asked = frame.group_by(*names).agg(*calls) if names else frame.select(*calls)
    if "n" in chosen:
        asked = asked.filter(col("n") > more)

    listening.heard.clear()
    listening.asked = asked.plan
    if forbidden is not None:
        with pytest.raises(PolicyError):
            asked.collect()
        assert listening.heard == []
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pl.DataFrame(pl.from_arrow(asked.collect()))
    assert all(CANARY.encode() not in heard for heard in listening.heard)
    assert listening.beyond == [], "a stage that would be refused, were the question signed"

    # A group of a site counts if enough individuals are behind it, and behind each aggregate.
    cell = ["site", *names]
    people = [
        pl.col("patient_id").filter(ALLOWED[name][2]()).n_unique().over(cell) >= LEAST
        for name in sorted(chosen)
    ]
    kept = rows.filter(pl.all_horizontal(*people)) if rows.height else rows
    wanted = [ALLOWED[name][1].alias(name) for name in sorted(chosen)]
    expected = kept.group_by(names).agg(wanted) if names else kept.select(wanted)
    if not names and not kept.height:
        return  # all was left out: there is no group of which there could be a sum
    if "n" in chosen:
        expected = expected.filter(pl.col("n") > more)
    assert found.columns == expected.columns
    if names:
        found, expected = found.sort(names), expected.sort(names)
    assert found.height == expected.height
    for name in found.columns:
        for a, b in zip(found[name], expected[name], strict=True):
            assert a == (pytest.approx(b, rel=1e-9) if isinstance(b, float) else b), name
