"""Window functions, and aggregates over partitions and frames, on every engine."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from tests.conformance.compare import assert_same_rows, same_value
from tests.conformance.functions.embedded import polars_frame
from tests.conformance.functions.groups import (
    check_window,
    label,
    reference_window,
    runners,
)
from umbel.plan.errors import EvaluationError, PlanError, TypeClashError
from umbel.plan.expressions import Column, Frame, Literal, SortKey, WindowCall
from umbel.plan.functions import CATALOGUE, Function, Kind
from umbel.plan.typing import infer
from umbel.platforms.polars.windows import compile_window, refuse_window

WINDOWS = CATALOGUE.of_kind(Kind.WINDOW)
AGGREGATES = [row for row in CATALOGUE.of_kind(Kind.AGGREGATE) if row.name != "any_value"]
NAN, INF = float("nan"), float("inf")
EVERYWHERE = {"polars": True, "polars streaming": True, "duckdb": True}
ONLY_DUCKDB = {"polars": False, "polars streaming": False, "duckdb": True}
X, G, K, ID = Column("x"), Column("g"), Column("k"), Column("id")

MORE: dict[str, tuple[Any, ...]] = {
    "ntile": (Literal(3, pa.int64()),),
    "quantile": (Literal(0.35, pa.float64()),),
    "quantile_discrete": (Literal(0.35, pa.float64()),),
    "nth": (Literal(2, pa.int64()),),
    "join_strings": (Literal("-", pa.string()),),
    **dict.fromkeys(
        ("min_by", "max_by", "covariance_sample", "covariance_population", "correlation"),
        (Column("y"),),
    ),
}

VALUES: dict[str, pa.Array] = {
    "int64": pa.array([5, None, 2**61, -3, 2**61, -(2**61), 0, 7, None, 9, 1, 4]),
    "float64": pa.array([1.5, None, 2.5, -0.0, 8.0, 4.0, 0.25, 7.0, None, 9.0, 1.0, 4.0]),
    "nan": pa.array([1.5, None, NAN, -0.0, INF, 4.0, 0.25, 7.0, None, NAN, NAN, 4.0]),
    "decimal": pa.array(
        [None if v is None else Decimal(v) / 4 for v in (5, None, 2, 3, 7, 9, 1, 1, None, 3, 2, 8)],
        pa.decimal128(15, 2),
    ),
    "string": pa.array(["b", None, "a", "é", "", "z", "c", "d", None, "e", "f", "g"]),
    "bool": pa.array([True, None, False, True, True, False, False, True, None, True, True, False]),
    "timestamp": pa.array(
        [
            None if d is None else datetime(2024, 1, d)
            for d in (5, None, 2, 3, 7, 9, 1, 1, None, 3, 2, 8)
        ],
        pa.timestamp("us"),
    ),
    "int8": pa.array([100, None, 100, 100, -128, -128, 1, 2, None, 3, 4, 5], pa.int8()),
}


def table_of(values: pa.Array) -> pa.Table:
    """Three partitions (one of them null, one a single row); `k` orders with ties and nulls."""
    count = len(values)
    return pa.table(
        {
            "id": pa.array([7, 1, 9, 3, 11, 5, 0, 8, 2, 10, 4, 6]),
            "g": pa.array([1.0, 1.0, 0.0, 1.0, NAN, 1.0, -0.0, 1.0, None, 1.0, None, 1.0]),
            "k": pa.array([2.0, 1.0, 1.0, NAN, 1.0, None, 1.0, 2.0, None, NAN, -0.0, 0.0]),
            "x": values,
            "y": pa.array([index * index % 11 + 0.37 * index for index in range(count)]),
        }
    )


TOTAL = (SortKey(K, descending=True), SortKey(ID))
WITH_PEERS = (SortKey(K, nulls_first=True),)


def arguments_of(row: Function) -> tuple[Any, ...]:
    more = MORE.get(row.name, ())
    return more if row.name == "ntile" else (X, *more) if row.arity[0] else ()


def takes(row: Function, values: pa.Array) -> bool:
    try:
        infer(WindowCall(row.name, arguments_of(row)), table_of(values).schema)
    except TypeClashError:
        return False
    return True


CASES = [(row, name) for row in AGGREGATES for name, values in VALUES.items() if takes(row, values)]


# --- window functions -------------------------------------------------------------------------


@pytest.mark.parametrize("partition", [(), (G,), (G, Column("y"))], ids=len)
@pytest.mark.parametrize("row", WINDOWS, ids=lambda row: row.name)
def test_window_functions(row: Function, partition: tuple[Column, ...]) -> None:
    for name, values in VALUES.items():
        table = table_of(values)
        for descending in (False, True):
            for nulls_first in (False, True):
                key = SortKey(K, descending=descending, nulls_first=nulls_first)
                order = (key, SortKey(ID, descending=not descending))
                call = WindowCall(row.name, arguments_of(row), partition, order)
                assert check_window(call, table) == EVERYWHERE, name
                assert check_window(call, table.slice(0, 0)) == EVERYWHERE
        if X not in arguments_of(row):
            break  # it does not look at the values


@pytest.mark.parametrize("function", ["rank", "dense_rank", "percent_rank", "cume_dist"])
@pytest.mark.parametrize("order", [(), WITH_PEERS, (SortKey(K, descending=True), SortKey(G))])
@pytest.mark.parametrize("partition", [(), (G,)], ids=len)
def test_ranks_of_peers(function: str, order: Any, partition: Any) -> None:
    table = table_of(VALUES["int64"])
    assert check_window(WindowCall(function, (), partition, order), table) == EVERYWHERE


def test_ranks_worked_out_by_hand() -> None:
    # In order: -0.0 and 0.0 are peers, then 1.0, then two NaNs, then null.
    table = pa.table({"id": range(6), "k": [NAN, 0.0, None, 1.0, -0.0, NAN]})
    expected = {
        "rank": [4, 1, 6, 3, 1, 4],
        "dense_rank": [3, 1, 4, 2, 1, 3],
        "percent_rank": [0.6, 0.0, 1.0, 0.4, 0.0, 0.6],
        "cume_dist": [5 / 6, 2 / 6, 1.0, 3 / 6, 2 / 6, 5 / 6],
    }
    for function, values in expected.items():
        call = WindowCall(function, order_by=(SortKey(K),))
        assert check_window(call, table) == EVERYWHERE
        assert [v for _, v in reference_window(call, table.to_pylist(), table.schema)] == values


@pytest.mark.parametrize("buckets", [1, 2, 3, 4, 5, 7, 100])
def test_buckets(buckets: int) -> None:
    for rows in (1, 4, 5, 12):
        table = table_of(VALUES["int64"]).slice(0, rows)
        call = WindowCall("ntile", (Literal(buckets, pa.int64()),), order_by=(SortKey(ID),))
        assert check_window(call, table) == EVERYWHERE


@pytest.mark.parametrize("offset", [0, 1, 3, -1, 100, -100])
@pytest.mark.parametrize("function", ["lag", "lead"])
@pytest.mark.parametrize(
    "default",
    [None, Literal(None, pa.null()), Literal(7, pa.int8()), Literal(0.5, pa.float64())],
    ids=str,
)
def test_neighbours(function: str, offset: int, default: Literal | None) -> None:
    more = () if default is None else (default,)
    for values in ("int64", "int8", "nan", "decimal"):
        table = table_of(VALUES[values])
        call = WindowCall(function, (X, Literal(offset, pa.int64()), *more), (G,), TOTAL)
        assert check_window(call, table) == EVERYWHERE, values


def test_a_default_of_another_type_widens_the_result() -> None:
    schema = pa.schema([("x", pa.int64())])
    call = WindowCall("lag", (X, Literal(1, pa.int64()), Literal(0.5, pa.float64())))
    assert infer(call, schema).type == pa.float64()


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("ntile", (Literal(0, pa.int64()),)),
        ("ntile", (Literal(None, pa.int64()),)),
        ("lag", (X, Literal(None, pa.int64()))),
    ],
    ids=str,
)
def test_constants_out_of_range_fail(function: str, arguments: Any) -> None:
    table = table_of(VALUES["int64"])
    call = WindowCall(function, arguments, order_by=TOTAL)
    with pytest.raises(EvaluationError):
        reference_window(call, table.to_pylist(), table.schema)
    assert all(run(call, table) == "refused" for run in runners().values())


@pytest.mark.parametrize("row", WINDOWS, ids=lambda row: row.name)
def test_examples(row: Function) -> None:
    for arguments, expected in row.examples:
        first, *constants = arguments
        rows = [(value, *constants) for value in first]
        actual = row.reference(rows, range(len(rows)))
        assert all(map(same_value, actual, expected))


# --- aggregates over windows ------------------------------------------------------------------


@pytest.mark.parametrize(("row", "values"), CASES, ids=label)
def test_whole_partitions(row: Function, values: str) -> None:
    table = table_of(VALUES[values])
    frame = Frame("rows", None, None) if row.ordered else None
    order = TOTAL if row.ordered else ()
    for partition in ((), (G,)):
        call = WindowCall(row.name, arguments_of(row), partition, order, frame)
        assert check_window(call, table) == EVERYWHERE
        assert check_window(call, table.slice(0, 0)) == EVERYWHERE


FRAMES = [
    Frame("rows", None, 0),
    Frame("rows", 0, None),
    Frame("rows", None, -1),
    Frame("rows", 1, None),
    Frame("rows", None, 2),
    Frame("rows", -2, None),
    Frame("rows", -2, 0),
    Frame("rows", -1, 1),
    Frame("rows", 1, 2),
    Frame("rows", -3, -2),
    Frame("rows", 0, 0),
    Frame("rows", 100, 200),
    Frame("rows", -(10**12), 10**12),
]


def runs_on_polars(row: Function, values: str, frame: Frame) -> bool:
    """What Polars is known to run over a frame with a border, from the reasons it gives."""
    bounded = frame.start is not None and frame.end is not None
    name = row.name
    if name in ("count", "len", "first", "last", "nth", "first_non_null", "last_non_null"):
        return True
    if name in ("sum", "mean"):
        return not (bounded and values in ("float64", "nan"))
    if name in ("any", "all", "min", "max"):
        return not bounded and values != "string"
    return False


#: Aggregates that only DuckDB runs over frames do so in one way for all types.
FRAMED = [
    case
    for case in CASES
    if any(runs_on_polars(case[0], "int8", frame) for frame in FRAMES)
    or case[1] in ("nan", "string")
]


@pytest.mark.parametrize("frame", FRAMES, ids=str)
@pytest.mark.parametrize(("row", "values"), FRAMED, ids=label)
def test_frames_of_rows(row: Function, values: str, frame: Frame) -> None:
    table = table_of(VALUES[values])
    call = WindowCall(row.name, arguments_of(row), (G,), TOTAL, frame)
    expected = EVERYWHERE if runs_on_polars(row, values, frame) else ONLY_DUCKDB
    assert check_window(call, table) == expected


@pytest.mark.parametrize("frame", [None, Frame("range", 0, None), Frame("range", 0, 0)], ids=str)
@pytest.mark.parametrize(("row", "values"), FRAMED, ids=label)
def test_frames_of_peers(row: Function, values: str, frame: Frame | None) -> None:
    # Functions that see an order of peers would take them in any order.
    order = TOTAL if row.ordered or row.name.endswith("_by") else WITH_PEERS
    table = table_of(VALUES[values])
    for partition in ((), (G,)):
        call = WindowCall(row.name, arguments_of(row), partition, order, frame)
        known = runs_on_polars(row, values, frame or Frame("range", None, 0))
        assert check_window(call, table) == (EVERYWHERE if known else ONLY_DUCKDB)


def test_running_sums_worked_out_by_hand() -> None:
    # k = 1, 1, 2: the default frame takes both peers at once, a frame of rows does not.
    table = pa.table({"id": [0, 1, 2], "k": [1, 1, 2], "x": [10, 20, 40]})
    order = (SortKey(K),)
    peers = WindowCall("sum", (X,), order_by=order)
    rows = WindowCall("sum", (X,), order_by=(*order, SortKey(ID)), frame=Frame("rows", None, 0))
    for call, expected in ((peers, [30, 30, 70]), (rows, [10, 30, 70])):
        assert check_window(call, table) == EVERYWHERE
        assert [v for _, v in reference_window(call, table.to_pylist(), table.schema)] == expected


def test_running_sums_overflow_only_where_a_frame_does() -> None:
    # The sum of all rows leaves int64, that of no two neighbours does.
    table = pa.table({"id": range(4), "x": [2**62, 2**62 - 1, 2**62, 2**62 - 1]})
    call = WindowCall("sum", (X,), order_by=(SortKey(ID),), frame=Frame("rows", -1, 0))
    assert check_window(call, table) == EVERYWHERE
    whole = WindowCall("sum", (X,), order_by=(SortKey(ID),))
    with pytest.raises(EvaluationError):
        reference_window(whole, table.to_pylist(), table.schema)
    for run in runners().values():
        with pytest.raises(Exception, match=r"conversion from|out of range|ConversionException"):
            run(whole, table)


def test_constants_stand_for_every_row() -> None:
    table = table_of(VALUES["int64"])
    seven = Literal(7, pa.int64())
    for function in ("sum", "count", "first", "lag"):
        for partition in ((), (G,), (seven,)):
            call = WindowCall(function, (seven,), partition, TOTAL)
            assert check_window(call, table) == EVERYWHERE


def test_several_windows_in_one_query() -> None:
    """Polars shares work between windows over the same partition; orders must not mix."""
    table = table_of(VALUES["int64"])
    calls = {
        f"{function}{number}": WindowCall(function, arguments, (G,), order)
        for function, arguments in (("row_number", ()), ("lag", (X,)), ("count", (X,)))
        for number, order in enumerate(
            [TOTAL, (SortKey(ID),), (SortKey(ID, descending=True),), (SortKey(K), SortKey(ID))]
        )
    }
    lazy = polars_frame(table).lazy()
    for engine in ("in-memory", "streaming"):
        result = lazy.with_columns(
            [compile_window(call, table.schema).alias(name) for name, call in calls.items()]
        ).collect(engine=engine)
        for name, call in calls.items():
            expected = reference_window(call, table.to_pylist(), table.schema)
            actual = result.select("id", pl.col(name)).sort("id").rows()
            assert_same_rows(actual, expected, ordered=True, context=f"{engine}: {name}")


def test_refusals_name_the_function_and_the_reason() -> None:
    table = table_of(VALUES["float64"])
    call = WindowCall("sum", (X,), order_by=TOTAL, frame=Frame("rows", -2, 0))
    reason = "Polars has no exact sum of floats over a sliding frame"
    assert refuse_window(call, table.schema) == reason
    call = WindowCall("median", (X,), order_by=TOTAL)
    assert refuse_window(call, table.schema) == "Polars has no running median"


def test_window_functions_take_no_frame() -> None:
    schema = table_of(VALUES["int64"]).schema
    call = WindowCall("rank", order_by=TOTAL, frame=Frame("rows", None, 0))
    with pytest.raises(PlanError, match="takes no frame"):
        infer(call, schema)
