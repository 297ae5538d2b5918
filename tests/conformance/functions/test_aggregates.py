"""Every aggregate of the catalogue on every engine, against the references."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from tests.conformance.compare import same_value
from tests.conformance.functions.groups import check_aggregate, fold, label, runners
from umbel.plan.errors import EvaluationError, PlanError, TypeClashError
from umbel.plan.expressions import AggregateCall, Column, Literal, SortKey
from umbel.plan.functions import CATALOGUE, Function, Kind
from umbel.plan.typing import infer

AGGREGATES = CATALOGUE.of_kind(Kind.AGGREGATE)
NAN, INF = float("nan"), float("inf")
EVERYWHERE = {"polars": True, "polars streaming": True, "duckdb": True}
K, T, W, G = Column("k"), Column("t"), Column("w"), Column("g")

#: Arguments after the first, for aggregates that take them.
MORE: dict[str, tuple[Any, ...]] = {
    "quantile": (Literal(0.35, pa.float64()),),
    "quantile_discrete": (Literal(0.35, pa.float64()),),
    "nth": (Literal(2, pa.int64()),),
    "join_strings": (Literal(", ", pa.string()),),
    "min_by": (K,),
    "max_by": (K,),
    "covariance_sample": (K,),
    "covariance_population": (K,),
    "correlation": (K,),
}

#: Values of each type; group a holds all of them, others hold one, a pair, or only nulls.
VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "int8": (pa.int8(), [127, -128, 0, 5, None, 5, 100]),
    "int32": (pa.int32(), [2**31 - 1, -(2**31), 2**31 - 1, 7, None, 0, 1]),
    "int64": (pa.int64(), [2**62, -(2**62), 1, None, 0, 7, 7]),
    "uint32": (pa.uint32(), [2**32 - 1, 2**32 - 1, 0, None, 1, 9, 9]),
    "uint64": (pa.uint64(), [2**61, 0, 1, 1, None, 3, 2]),
    "float32": (pa.float32(), [1.5, -2.25, 0.0, -0.0, None, 1e20, 3.0]),
    "float64": (pa.float64(), [1.5, -2.25, 0.0, -0.0, None, 7.0, 3.0]),
    "nan": (pa.float64(), [1.5, NAN, 0.0, -0.0, None, NAN, 3.0]),
    "infinite": (pa.float64(), [INF, 1.0, 2.0, INF, None, 7.0, 3.0]),
    "decimal": (
        pa.decimal128(15, 2),
        [
            *map(Decimal, ("9999999999999.99", "-0.01", "0.10", "0.20")),
            None,
            Decimal(5),
            Decimal(0),
        ],
    ),
    "wide decimal": (
        pa.decimal128(38, 4),
        [
            *map(Decimal, ("1234567890123456789012345678901234.5678", "-0.0001", "1", "1")),
            None,
            Decimal("0.0001"),
            Decimal(3),
        ],
    ),
    "string": (pa.string(), ["z", "é", "Z", "", None, "z", "日本"]),
    "binary": (pa.binary(), [b"\xff", b"", b"a", b"\x00", None, b"a", b"b"]),
    "bool": (pa.bool_(), [True, False, True, True, None, False, False]),
    "date": (pa.date32(), [date(2024, 2, 29), date(1969, 12, 31), None, date(1, 1, 1)] * 2),
    "timestamp": (
        pa.timestamp("us"),
        [datetime(2024, 2, 29, 1, 2, 3, 4), datetime(1969, 12, 31), None, datetime(1970, 1, 1)] * 2,
    ),
    "time": (pa.time64("us"), [time(1, 2, 3, 4), time(0), None, time(23, 59, 59, 999999)] * 2),
    "duration": (pa.duration("us"), [timedelta(1), timedelta(0, -1), None, timedelta(0)] * 2),
    "list": (pa.list_(pa.int64()), [[1, None], [], None, [1, None]] * 2),
}


def table_of(dtype: pa.DataType, values: Sequence[Any]) -> pa.Table:
    """Groups of the values: all; two; one; only nulls. `t` orders rows, `w` picks some."""
    values = list(values)[:7]
    groups = ["a"] * 7 + ["b", "b", "c", None, None]
    column = [*values, values[0], values[1], values[3], None, None]
    return pa.table(
        {
            "g": groups,
            "x": pa.array(column, dtype),
            "k": pa.array([3.0, NAN, None, -1.0, 5.0, 2.5, 0.5, 2.0, 1.0, 4.0, None, 1.0]),
            "t": pa.array([5, 3, 7, 1, 2, 6, 4, 1, 2, 1, 2, 1]),
            "w": [True, True, None, False, True, True, False, False, False, True, True, None],
        }
    )


def takes(row: Function, table: pa.Table) -> bool:
    try:
        infer(call_of(row, table), table.schema)
    except TypeClashError:
        return False
    return True


def call_of(row: Function, table: pa.Table, **options: Any) -> AggregateCall:
    """The call over column x. Functions that depend on the order of rows get a total one."""
    arguments = (Column("x"), *MORE.get(row.name, ())) if row.arity[0] else ()
    if row.ordered and "order_by" not in options:
        options["order_by"] = (SortKey(T),)
    return AggregateCall(row.name, arguments, **options)


CASES = [
    (row, name)
    for row in AGGREGATES
    for name, (dtype, values) in VALUES.items()
    if takes(row, table_of(dtype, values)) and row.name != "any_value"
]


def engines(row: Function, values: str) -> dict[str, bool]:
    """Which engines run a function of these values: all, but for one that DuckDB refuses."""
    return {**EVERYWHERE, "duckdb": (row.name, values) != ("list", "duration")}


@pytest.mark.parametrize(("row", "values"), CASES, ids=label)
def test_groups(row: Function, values: str) -> None:
    table = table_of(*VALUES[values])
    call = call_of(row, table)
    assert check_aggregate(call, table, ["g"]) == engines(row, values)
    assert check_aggregate(call, table) == engines(row, values)
    assert check_aggregate(call, table.slice(0, 0)) == engines(row, values)
    assert check_aggregate(call, table.slice(0, 0), ["g"]) == engines(row, values)


@pytest.mark.parametrize(("row", "values"), CASES, ids=label)
def test_filtered(row: Function, values: str) -> None:
    table = table_of(*VALUES[values])
    call = call_of(row, table, where=W)
    assert check_aggregate(call, table, ["g"]) == engines(row, values)
    assert check_aggregate(call, table) == engines(row, values)


@pytest.mark.parametrize(("row", "values"), [case for case in CASES if case[0].arity[0]], ids=label)
def test_distinct(row: Function, values: str) -> None:
    table = table_of(*VALUES[values])
    nested = pa.types.is_nested(table.schema.field("x").type)
    # Distinct values can be ordered only by themselves, and lists have no order.
    if row.ordered and nested:
        pytest.skip("lists have no order")
    order = (SortKey(Column("x"), descending=True, nulls_first=True),) if row.ordered else ()
    for where in (None, W):
        call = call_of(row, table, distinct=True, order_by=order, where=where)
        assert check_aggregate(call, table, ["g"]) == engines(row, values)
        assert check_aggregate(call, table) == engines(row, values)


@pytest.mark.parametrize("row", [row for row in AGGREGATES if row.ordered], ids=lambda r: r.name)
@pytest.mark.parametrize("nulls_first", [False, True])
@pytest.mark.parametrize("descending", [False, True])
def test_order(row: Function, descending: bool, nulls_first: bool) -> None:
    table = table_of(*VALUES["string"])
    keys = (
        SortKey(K, descending=descending, nulls_first=nulls_first),
        SortKey(T, descending=not descending),
    )
    for where in (None, W):
        call = call_of(row, table, order_by=keys, where=where)
        assert check_aggregate(call, table, ["g"]) == EVERYWHERE
        assert check_aggregate(call, table) == EVERYWHERE


@pytest.mark.parametrize("values", VALUES)
def test_any_value_is_one_of_the_values(values: str) -> None:
    dtype, column = VALUES[values]
    present = [value for value in column if value is not None]
    for value in present:
        table = pa.table({"g": [1, 1, 2], "x": pa.array([None, value, None], dtype)})
        call = AggregateCall("any_value", (Column("x"),))
        assert check_aggregate(call, table, ["g"]) == EVERYWHERE


@pytest.mark.parametrize("row", AGGREGATES, ids=lambda row: row.name)
def test_examples(row: Function) -> None:
    assert row.examples or not row.arity[0]
    for arguments, expected in row.examples:
        columns = {
            str(position): pa.array(values)
            for position, values in enumerate(arguments)
            if position not in row.constant
        }
        table = pa.table(columns)
        if row.name in ("sum", "mean", "product", "join_strings", "any", "all"):
            table = _typed(row, table)
        nodes = tuple(
            Literal(value, pa.scalar(value).type)
            if position in row.constant
            else Column(str(position))
            for position, value in enumerate(arguments)
        )
        table = table.append_column("t", pa.array(range(table.num_rows)))
        order = (SortKey(T),) if row.ordered else ()
        call = AggregateCall(row.name, nodes, order_by=order)
        assert same_value(fold(call, table.to_pylist(), table.schema), expected)
        if not pa.types.is_null(table.schema.field("0").type):
            assert check_aggregate(call, table) == EVERYWHERE


def _typed(row: Function, table: pa.Table) -> pa.Table:
    """A column of nothing but nulls has no type that the function takes; give it one."""
    if not pa.types.is_null(table.schema.field("0").type):
        return table
    dtype = {"join_strings": pa.string(), "any": pa.bool_(), "all": pa.bool_()}
    return table.cast(pa.schema([("0", dtype.get(row.name, pa.int64()))]))


def fails_on(call: AggregateCall, table: pa.Table) -> list[str]:
    """Which engines refuse to give a result, beside the reference, which must."""
    with pytest.raises(EvaluationError):
        fold(call, table.to_pylist(), table.schema)
    failed = []
    for engine, run in runners().items():
        for keys in ([], ["g"]):
            try:
                result = run(call, table, keys)
            except (pl.exceptions.PolarsError, duckdb.Error):
                result = "refused"
            if result == "refused":
                failed.append(f"{engine} {len(keys)}")
    return failed


EVERY_WAY = [f"{engine} {keys}" for engine in EVERYWHERE for keys in (0, 1)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**63 - 1, 1], pa.int64()),
        pa.array([-(2**63), -1], pa.int64()),
        pa.array([2**63 - 1] * 5, pa.int64()),
        pa.array([2**63], pa.uint64()),
        pa.array([2**64 - 1] * 3, pa.uint64()),
        # 2 * 5e37 has 39 digits and fits into 127 bits; the others wrap around them.
        *(pa.array([Decimal(5) * 10**37] * n, pa.decimal128(38, 0)) for n in (2, 3, 4, 7)),
        *(pa.array([Decimal(-9) * 10**35] * n, pa.decimal128(38, 2)) for n in (2, 4)),
    ],
    ids=str,
)
def test_sums_that_do_not_fit_fail(column: pa.Array) -> None:
    table = pa.table({"g": [1] * len(column), "x": column})
    assert fails_on(AggregateCall("sum", (Column("x"),)), table) == EVERY_WAY


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([2**63 - 1, 2**63 - 1, -(2**63) + 1, -(2**63) + 2]), 1),
        (pa.array([10**38 - 1, 0], pa.decimal128(38, 0)), Decimal(10**38 - 1)),
        (pa.array([Decimal("-9.99")] * 3, pa.decimal128(3, 2)), Decimal("-29.97")),
    ],
    ids=str,
)
def test_sums_at_the_limits(column: pa.Array, expected: Any) -> None:
    table = pa.table({"g": [1] * len(column), "x": column})
    call = AggregateCall("sum", (Column("x"),))
    assert fold(call, table.to_pylist(), table.schema) == expected
    for keys in ([], ["g"]):
        assert check_aggregate(call, table, keys) == EVERYWHERE


def test_means_of_integers_do_not_overflow_and_do_not_round_early() -> None:
    for column in ([2**63 - 1, 2**63 - 1], [2**62, 1, -(2**62)], [-(2**63)] * 3):
        table = pa.table({"g": [1] * len(column), "x": pa.array(column)})
        assert check_aggregate(AggregateCall("mean", (Column("x"),)), table, ["g"]) == EVERYWHERE


@pytest.mark.parametrize("fraction", [0.0, 0.07, 0.25, 0.5, 0.6, 0.9, 1.0, 0, 1, Decimal("0.3")])
@pytest.mark.parametrize("function", ["quantile", "quantile_discrete"])
@pytest.mark.parametrize("count", [1, 2, 3, 10, 100])
def test_quantiles(function: str, fraction: Any, count: int) -> None:
    # 37 is prime to all these counts, so the values are shuffled.
    values = [float(index * 37 % count) for index in range(count)]
    values[0] = -INF
    if count > 2:
        values[1:3] = [NAN, INF]
    table = pa.table({"g": [1] * count, "x": values})
    call = AggregateCall(function, (Column("x"), Literal(fraction, pa.scalar(fraction).type)))
    assert check_aggregate(call, table, ["g"]) == EVERYWHERE


@pytest.mark.parametrize(
    ("function", "argument"),
    [("quantile", -0.1), ("quantile", 1.5), ("quantile_discrete", 2.0), ("nth", 0), ("nth", -1)],
)
def test_constants_out_of_range_fail(function: str, argument: Any) -> None:
    table = pa.table({"g": [1, 1], "x": [1.0, 2.0]})
    call = AggregateCall(function, (Column("x"), Literal(argument, pa.scalar(argument).type)))
    assert fails_on(call, table) == EVERY_WAY


@pytest.mark.parametrize("function", ["sum", "count", "mean", "len", "list", "n_unique"])
@pytest.mark.parametrize("where", [None, Literal(True, pa.bool_()), Literal(False, pa.bool_())])
def test_constants_count_once_per_row(function: str, where: Literal | None) -> None:
    table = pa.table({"g": [1, 1, 2], "x": [1, 2, 3]})
    arguments = () if function == "len" else (Literal(7, pa.int64()),)
    call = AggregateCall(function, arguments, where=where)
    for keys in ([], ["g"]):
        assert check_aggregate(call, table, keys) == EVERYWHERE


def test_correlation_of_a_constant_side_is_null() -> None:
    # The mean of three times 0.1 is not 0.1 in floats, so a naive variance is not zero.
    table = pa.table({"g": [1] * 3, "x": [0.1] * 3, "k": [1.0, 2.0, 4.0]})
    for arguments in ((Column("x"), K), (K, Column("x"))):
        call = AggregateCall("correlation", arguments)
        assert fold(call, table.to_pylist(), table.schema) is None
        assert check_aggregate(call, table, ["g"]) == EVERYWHERE


def test_moments_of_numbers_far_from_zero() -> None:
    # The deviations are -1, 0, 1: the squares of the values have no digits left for them.
    table = pa.table({"g": [1] * 3, "x": [1e9 - 1, 1e9, 1e9 + 1], "k": [1e9 + 2, 1e9, 1e9 - 2]})
    rows = table.to_pylist()
    call = AggregateCall("var_sample", (Column("x"),))
    assert fold(call, rows, table.schema) == 1.0
    assert check_aggregate(call, table, ["g"]) == EVERYWHERE
    call = AggregateCall("covariance_sample", (Column("x"), K))
    assert fold(call, rows, table.schema) == -2.0
    assert check_aggregate(call, table, ["g"]) == EVERYWHERE


def test_distinct_pairs() -> None:
    table = pa.table(
        {
            "g": [1] * 6,
            "x": [1.0, 1.0, 2.0, 2.0, None, NAN],
            "k": [0.0, -0.0, 1.0, 3.0, 4.0, None],
        }
    )
    for function in ("covariance_sample", "correlation", "min_by", "max_by"):
        call = AggregateCall(function, (Column("x"), K), distinct=True)
        assert check_aggregate(call, table, ["g"]) == EVERYWHERE


def test_distinct_values_are_ordered_only_by_themselves() -> None:
    schema = pa.schema([("x", pa.string()), ("t", pa.int64())])
    call = AggregateCall("list", (Column("x"),), distinct=True, order_by=(SortKey(T),))
    with pytest.raises(PlanError, match="cannot be ordered by t"):
        infer(call, schema)


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        ("sum", pa.string()),
        ("mean", pa.date32()),
        ("max", pa.list_(pa.int64())),
        ("any", pa.int64()),
        ("bit_and", pa.float64()),
        ("n_unique", pa.list_(pa.int64())),
        ("median", pa.bool_()),
    ],
)
def test_wrong_types_are_named(function: str, dtype: pa.DataType) -> None:
    with pytest.raises(TypeClashError, match=f"function '{function}' takes"):
        infer(AggregateCall(function, (Column("x"),)), pa.schema([("x", dtype)]))
