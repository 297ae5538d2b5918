"""Statements give the answers that DuckDB gives for the same text, on every engine."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import umbel as ub
from tests.sql.oracle import assert_same_answer
from umbel.plan import operators as ops
from umbel.plan.errors import PlacementError

_TEXT = (Path(__file__).parent / "golden.sql").read_text()
BLOCKS = [block.strip() for block in _TEXT.split("\n\n")[1:] if block.strip()]


def tables() -> dict[str, pa.Table]:
    """Small tables with nulls, NaN, duplicates, empty text and no rows."""
    t = pa.table(
        {
            "i": pa.array([1, 1, 2, 2, 3, None, 5], pa.int64()),
            "j": pa.array([1, 2, 2, None, 3, 1, 1], pa.int32()),
            "x": pa.array([1.5, float("nan"), -2.25, None, 10.0, 1.5, 0.0], pa.float64()),
            "y": pa.array([None, 1, 2, 3, None, 5, 6], pa.int64()),
            "s": pa.array(["abc", "a%c", "", None, " b ", "bca", "abc"]),
            "d": pa.array([18262, 18293, 18321, None, 18628, 18627, 18400], pa.date32()),
            "ts": pa.array(
                [
                    1_577_880_000_000_000,
                    0,
                    1_582_934_400_000_001,
                    None,
                    1,
                    1_609_459_199_000_000,
                    5,
                ],
                pa.timestamp("us"),
            ),
            "m": pa.array(["1.50", "2.25", "-3.75", None, "0.00", "1.50", "9.99"]).cast(
                pa.decimal128(9, 2)
            ),
            "b": pa.array([True, False, None, True, False, True, None]),
        }
    )
    u = pa.table(
        {
            "i": pa.array([1, 2, 2, 4, None], pa.int64()),
            "v": pa.array([10, 20, 20, 40, 50], pa.int64()),
        }
    )
    e = pa.table({"i": pa.array([], pa.int64()), "s": pa.array([], pa.string())})
    return {"t": t, "u": u, "e": e}


@pytest.fixture(scope="module")
def session() -> ub.Session:
    made = ub.connect(progress=False)
    for name, table in tables().items():
        made.register(name, table)
    return made


@pytest.fixture(scope="module")
def oracle() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for name, table in tables().items():
        connection.register(name, table)
    return connection


@pytest.mark.parametrize("engine", ["python", "polars", "duckdb"])
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_statement_gives_the_answer_of_duckdb(
    session: ub.Session, oracle: duckdb.DuckDBPyConnection, block: str, engine: str
) -> None:
    ordered = block.startswith("-- ordered")
    text = block.removeprefix("-- ordered").strip()
    frame = session.sql(text)
    plan = ops.rebuild(frame.plan, lambda op: op if isinstance(op, ops.Loop) else op.pinned(engine))
    try:
        actual = ub.DataFrame(plan, session).collect()
    except PlacementError as error:
        # An engine may refuse what it cannot do exactly; then the others must have it.
        pytest.skip(f"{engine} refuses: {error.message}")
    assert_same_answer(actual, oracle.execute(text), ordered=ordered, context=text)
