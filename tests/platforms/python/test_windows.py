"""Window functions and aggregates over frames, against sums over slices."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.platforms.python.helpers import NAN, relation, rows
from umbel.plan.expressions import Column, Frame, Literal, SortKey, WindowCall
from umbel.plan.operators import Window

INT, FLOAT, TEXT = pa.int64(), pa.float64(), pa.string()
NUMBERS = [5, 1, 4, 1, 3]
TABLE = relation({"k": TEXT, "n": INT}, *[("a", n) for n in NUMBERS], ("b", 7), (None, 8))
BY_N = (SortKey(Column("n")),)


def window(table, *calls):
    return Window(input=table, columns=tuple((f"w{i}", c) for i, c in enumerate(calls)))


def over(function, *columns, order=BY_N, frame=None):
    arguments = tuple(Column(name) for name in columns)
    return WindowCall(function, arguments, (Column("k"),), order, frame)


def in_group_a(made):
    return sorted(row[1:] for row in made if row[0] == "a")


def test_rank_functions_number_the_rows_of_each_partition():
    made = rows(window(TABLE, over("row_number"), over("rank"), over("dense_rank")))
    assert in_group_a(made) == [
        (1, 1, 1, 1),
        (1, 2, 1, 1),
        (3, 3, 3, 2),
        (4, 4, 4, 3),
        (5, 5, 5, 4),
    ]
    assert (None, 8, 1, 1, 1) in made


def test_without_a_frame_the_peers_of_a_row_are_in_its_running_sum():
    made = in_group_a(rows(window(TABLE, over("sum", "n"), over("sum", "n", order=()))))
    assert made == [(1, 2, 14), (1, 2, 14), (3, 5, 14), (4, 9, 14), (5, 14, 14)]


@pytest.mark.parametrize(
    "frame",
    [(None, 0), (None, -1), (0, None), (-1, 1), (1, 2), (-3, -2), (None, None), (2, None)],
    ids=str,
)
@pytest.mark.parametrize("function", ["sum", "list"])
def test_row_frames_are_slices_of_the_ordered_partition(frame, function):
    start, end = frame
    values = list(range(10, 20))
    table = relation({"k": TEXT, "n": INT}, *[("a", n) for n in values])
    made = rows(window(table, over(function, "n", frame=Frame("rows", start, end))))
    for _, n, result in made:
        at = values.index(n)
        low = 0 if start is None else max(0, at + start)
        high = len(values) if end is None else max(0, at + end + 1)
        inside = values[low:high]
        assert result == ((sum(inside) if function == "sum" else inside) if inside else None)


def test_range_frames_take_the_peers_of_the_current_row():
    made = in_group_a(
        rows(
            window(
                TABLE,
                over("sum", "n", frame=Frame("range", 0, None)),
                over("len", frame=Frame("range", 0, 0)),
            )
        )
    )
    assert made == [(1, 14, 2), (1, 14, 2), (3, 12, 1), (4, 9, 1), (5, 5, 1)]


def test_lag_and_lead_fill_with_the_default_in_the_common_type():
    lag = WindowCall(
        "lag", (Column("n"), Literal(1, INT), Literal(0.5, FLOAT)), (Column("k"),), BY_N
    )
    made = in_group_a(rows(window(TABLE, lag, over("lead", "n"))))
    assert list(map(repr, made)) == [
        "(1, 0.5, 1)", "(1, 1.0, 3)", "(3, 1.0, 4)", "(4, 3.0, 5)", "(5, 4.0, None)",
    ]  # fmt: skip


def test_nan_is_a_peer_of_nan_and_a_partition_of_its_own():
    table = relation({"k": FLOAT, "n": FLOAT}, (NAN, NAN), (NAN, NAN), (NAN, 1.0), (0.0, 1.0))
    made = rows(window(table, over("rank"), over("len", order=())))
    assert sorted(map(repr, made)) == sorted(
        map(repr, [(NAN, 1.0, 1, 3), (NAN, NAN, 2, 3), (NAN, NAN, 2, 3), (0.0, 1.0, 1, 1)])
    )


def test_calls_over_different_windows_keep_the_order_of_columns():
    down = (SortKey(Column("n"), descending=True),)
    made = rows(window(TABLE, over("row_number"), over("row_number", order=down), over("sum", "n")))
    assert ("a", 5, 5, 1, 14) in made
    assert ("a", 3, 3, 3, 5) in made


def test_partitions_beyond_the_memory_limit_give_the_same_rows():
    data = [(f"key {n % 50}", n) for n in range(5000)]
    table = relation({"k": TEXT, "n": INT}, *data)
    plan = window(table, over("row_number"))
    wanted = [(key, n, n // 50 + 1) for key, n in data]
    assert sorted(rows(plan, limit=30_000)) == sorted(wanted)
