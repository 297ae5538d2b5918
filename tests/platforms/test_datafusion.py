"""What is particular to DataFusion: its files, its NaNs, its memory, its end."""

from __future__ import annotations

import contextlib
import gc
import math
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import datafusion
import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from tests.conformance.compare import assert_same_rows
from tests.conformance.engines import Context, check, memory, names, platform, refusal, run
from umbel.catalog.files import resolve
from umbel.plan.errors import CancelledError, EvaluationError, SourceError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Cast,
    Column,
    Frame,
    Literal,
    SortKey,
    WindowCall,
)
from umbel.plan.operators import (
    Aggregate,
    Distinct,
    Filter,
    Join,
    Limit,
    Operator,
    Placeholder,
    Project,
    Scan,
    Sort,
    Union,
    Window,
)
from umbel.plan.sources import CsvSource, ParquetSource
from umbel.platforms.base import Stage
from umbel.platforms.datafusion import stage
from umbel.platforms.datafusion.session import Session

NAN = math.nan


def signed_nan() -> float:
    """The NaN that x86 processors make of 0/0: with a sign."""
    return float(np.array([0xFFF8000000000000], dtype=np.uint64).view(np.float64)[0])


def scan(path: Path, schema: pa.Schema) -> Scan:
    return Scan(source=ParquetSource(schema=schema, paths=(str(path),)))


def count() -> tuple[tuple[str, AggregateCall], ...]:
    return (("n", AggregateCall("len")),)


def greater(column: str, value: float) -> Call:
    return Call("greater", (Column(column), Literal(value, pa.float64())))


def test_a_nan_with_a_sign_is_a_nan_as_any_other():
    rows = memory(f=pa.array([1.0, signed_nan(), NAN, -0.0, 0.0, None]), k=[1, 2, 3, 4, 5, 6])
    check("datafusion", Distinct(input=Project(input=rows, columns=names("f"))),
          [(1.0,), (NAN,), (0.0,), (None,)])  # fmt: skip
    keys = (SortKey(Column("f")), SortKey(Column("k"), descending=True))
    ordered = Project(input=Sort(input=rows, keys=keys), columns=names("k"))
    check("datafusion", ordered, [(5,), (4,), (1,), (3,), (2,), (6,)], ordered=True)
    check("datafusion", Project(input=Filter(input=rows, predicate=greater("f", 5.0)),
                                columns=names("k")), [(2,), (3,)])  # fmt: skip
    pairs = Join(left=rows, right=memory(g=[signed_nan()]), on=(("f", "g"),))
    check("datafusion", Project(input=pairs, columns=names("k")), [(2,), (3,)])
    rank = WindowCall("rank", order_by=(SortKey(Column("f")),))
    ranked = Window(input=rows, columns=(("r", rank),))
    check("datafusion", Project(input=ranked, columns=names("k", "r")),
          [(1, 3), (2, 4), (3, 4), (4, 1), (5, 1), (6, 6)])  # fmt: skip


@pytest.mark.parametrize(
    ("values", "least", "greatest"),
    [
        ([math.inf, NAN], math.inf, NAN),
        ([-math.inf, None], -math.inf, -math.inf),
        ([math.inf, math.inf], math.inf, math.inf),
        ([NAN, signed_nan()], NAN, NAN),
        ([1.5, NAN, -math.inf], -math.inf, NAN),
        ([None, None], None, None),
    ],
)
def test_the_least_and_the_greatest_float_of_a_group(values, least, greatest):
    rows = memory(g=[1] * len(values), f=pa.array(values, pa.float64()))
    calls = (
        ("a", AggregateCall("min", (Column("f"),))),
        ("b", AggregateCall("max", (Column("f"),))),
    )
    for keys in ((), names("g")):
        plan = Aggregate(input=rows, keys=keys, aggregates=calls)
        expected = (1, least, greatest) if keys else (least, greatest)
        check("datafusion", plan, [expected])


def test_statistics_of_parquet_files_hide_no_nan(tmp_path: Path):
    path = tmp_path / "a.parquet"
    table = pa.table({"f": [1.0, 2.0, NAN]})
    parquet.write_table(table, path)
    rows = scan(path, table.schema)
    check("datafusion", Filter(input=rows, predicate=greater("f", 100.0)), [(NAN,)])
    call = (("m", AggregateCall("max", (Column("f"),))),)
    check("datafusion", Aggregate(input=rows, aggregates=call), [(NAN,)])


@pytest.mark.parametrize(
    "name", ["a b.parquet", "x[1].parquet", "st*r.parquet", "100%25.parquet", "é#"]
)
def test_names_of_files_are_no_patterns(tmp_path: Path, name: str):
    table = pa.table({"a": [name]})
    parquet.write_table(table, tmp_path / name)
    parquet.write_table(pa.table({"a": ["another"]}), tmp_path / "star.parquet")
    parquet.write_table(pa.table({"a": ["another"]}), tmp_path / "x1.parquet")
    source = ParquetSource(
        schema=table.schema, paths=(str(tmp_path / name).replace("[", "[[]").replace("*", "[*]"),)
    )
    assert [entry.path for entry in resolve(source)] == [str(tmp_path / name)]
    check("datafusion", Scan(source=source), [(name,)])


def test_a_text_that_is_no_number_fails_though_its_row_is_filtered_out(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\nx,3\n")
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    rows = Scan(source=CsvSource(schema=schema, paths=(str(path),)))
    keep = Call("equal", (Column("b"), Literal(2, pa.int64())))
    with pytest.raises(SourceError, match="'x'"):
        run("datafusion", Filter(input=rows, predicate=keep))


def test_what_several_operators_read_is_computed_once():
    some = Limit(input=memory(a=list(range(50_000))), count=7)
    twice = Union(members=(some, some))
    result = run("datafusion", Aggregate(input=twice, keys=names("a"), aggregates=count()))
    assert sorted(result.column("n").to_pylist()) == [2] * 7


def test_rows_that_another_stage_sorted_stay_in_order():
    columns = pa.schema([("a", pa.int64())])
    rows = Placeholder(label="p", columns=columns)
    chunks = [pa.array(range(start, start + 8000), pa.int64()) for start in range(0, 80_000, 8000)]
    data = pa.table({"a": pa.chunked_array(chunks)})
    even = Call("equal", (Call("remainder", (Column("a"), Literal(2, pa.int64()))),
                          Literal(0, pa.int64())))  # fmt: skip
    plan = Limit(input=Filter(input=rows, predicate=even), count=20_000, offset=3)
    compiled = platform("datafusion").compile(Stage(plan, {"p": "arrow"}))
    assert compiled.run({"p": data}, Context()).column("a").to_pylist() == list(range(6, 40_006, 2))


def test_keys_that_call_python_functions_are_sorted_by():
    rows = memory(a=[3, 1, 2, 2], s=["c", "a", "b", "é"])
    negative = SortKey(Call("negate", (Column("a"),)))
    text = SortKey(Call("upper", (Column("s"),)), descending=True)
    check("datafusion", Sort(input=rows, keys=(negative, text)),
          [(3, "c"), (2, "é"), (2, "b"), (1, "a")], ordered=True)  # fmt: skip
    rank = WindowCall("row_number", order_by=(negative, text))
    ranked = Window(input=rows, columns=(("r", rank),))
    check("datafusion", ranked, [(3, "c", 1), (2, "é", 2), (2, "b", 3), (1, "a", 4)])


def test_a_constant_that_fails_waits_for_its_branch():
    text = Cast(Literal("x", pa.string()), pa.int64())
    one = Literal(1, pa.int64())
    divided = Call("truncate_divide", (Literal(-(2**63), pa.int64()), Literal(-1, pa.int64())))
    rows = memory(a=[1, 2])
    for failing in (text, divided):
        chosen = Call("coalesce", (Column("a"), failing))
        check("datafusion", Project(input=rows, columns=(("c", chosen),)), [(1,), (2,)])
        total = Call("bitwise_and", (one, failing))
        with pytest.raises((EvaluationError, OverflowError)):
            run("datafusion", Project(input=rows, columns=(("c", total),)))


def test_a_join_that_does_not_fit_sorts_and_spills(tmp_path: Path):
    size = 400_000
    left = memory(a=pa.array(range(size), pa.int64()), s=pa.array(["x" * 40] * size))
    right = memory(b=pa.array(range(size), pa.int64()), t=pa.array(["y" * 40] * size))
    plan = Aggregate(
        input=Project(
            input=Join(left=left, right=right, on=(("a", "b"),)), columns=names("s", "t")
        ),
        aggregates=(("n", AggregateCall("count", (Call("concat", (Column("s"), Column("t"))),))),),
    )
    context = Context(memory_limit=24 << 20)
    context.scratch = tmp_path
    result = platform("datafusion").compile(Stage(plan)).run({}, context)
    assert result.to_pylist() == [{"n": size}]


def test_python_functions_stop_when_the_run_is_cancelled():
    texts = memory(s=["They're Bill's friends from the UK"] * 400_000)
    titled = Project(input=texts, columns=(("t", Call("title", (Column("s"),))),))
    plan = Aggregate(input=titled, aggregates=(("m", AggregateCall("max", (Column("t"),))),))
    context = Context()
    cancelled: list[float] = []

    def cancel() -> None:
        while context.interrupt is None:  # it has not begun yet
            time.sleep(0.01)
        time.sleep(0.2)
        cancelled.append(time.monotonic())
        context.interrupt()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(CancelledError):
        platform("datafusion").compile(Stage(plan)).run({}, context)
    canceller.join()
    assert time.monotonic() - cancelled[0] < 2


def test_an_error_of_a_python_function_is_raised_as_it_was():
    rows = memory(n=[65, -1])
    with pytest.raises(EvaluationError, match="no character has the code point -1"):
        run("datafusion", Project(input=rows, columns=(("c", Call("chr", (Column("n"),))),)))


@pytest.mark.parametrize("number", [65, -1])
def test_nothing_of_a_run_is_kept(number: int, monkeypatch: pytest.MonkeyPatch):
    made = []

    def session(*args: Any, **options: Any) -> Session:
        found = Session(*args, **options)
        made.append(weakref.ref(found))
        return found

    monkeypatch.setattr(stage, "Session", session)
    character = (("c", Call("chr", (Column("n"),))),)
    plan = Project(input=memory(n=[number]), columns=character)
    with contextlib.suppress(EvaluationError):
        run("datafusion", plan)
    assert len(made) == 1
    until = time.monotonic() + 30
    while made[0]() is not None and time.monotonic() < until:
        gc.collect()  # DataFusion's own threads let go of what failed a moment later
        datafusion.lit(1)  # what they let go of without Python's lock goes with the next call
        time.sleep(0.01)
    assert made[0]() is None


def test_what_is_refused_says_why():
    floats = memory(l=pa.array([[NAN]], pa.list_(pa.float64())), f=[1.5], g=[1])
    frame = WindowCall("sum", (Column("f"),), order_by=(SortKey(Column("g")),), frame=_sliding())
    plans: dict[str, Operator] = {
        "NaNs inside lists": Distinct(input=Project(input=floats, columns=names("l"))),
        "a NaN stays in": Window(input=floats, columns=(("w", frame),)),
        "no product": Aggregate(
            input=floats, aggregates=(("p", AggregateCall("product", (Column("f"),))),)
        ),
    }
    for reason, plan in plans.items():
        assert reason in (refusal("datafusion", plan) or "")


def _sliding() -> Frame:
    return Frame("rows", -1, 0)


def test_opposite_orders_of_windows_change_nothing():
    # Over rows in the opposite order DataFusion turns a running frame round: it takes rows out.
    table = memory(g=[1, 2, 3], f=[1.5, 4.0, NAN], b=[True, False, True], n=[2, 3, 4])
    up, down = (SortKey(Column("g")),), (SortKey(Column("g"), descending=True),)
    ran = []
    for function, column in (
        ("mean", "f"),
        ("sum", "f"),
        ("any", "b"),
        ("max", "f"),
        ("mean", "n"),
    ):
        calls = (
            ("last", WindowCall("sum", (Column("n"),), order_by=down)),
            ("first", WindowCall(function, (Column(column),), order_by=up)),
        )
        plan = Window(input=table, columns=calls)
        if refusal("datafusion", plan) is None:
            ran.append(function)
            assert_same_rows(run("datafusion", plan), run("python", plan))
    assert ran == ["max", "mean"]


def test_rows_of_many_files_and_folders(tmp_path: Path):
    for year in (2023, 2024):
        folder = tmp_path / f"year={year}"
        folder.mkdir()
        for part in range(3):
            parquet.write_table(pa.table({"a": [part]}), folder / f"{part}.parquet")
    schema = pa.schema([("a", pa.int64()), ("year", pa.int32())])
    source = ParquetSource(
        schema=schema, paths=(str(tmp_path / "**/*.parquet"),), partitions=("year",)
    )
    expected = [(part, year) for year in (2023, 2024) for part in range(3)]
    assert_same_rows(run("datafusion", Scan(source=source)), expected, context="folders")


@pytest.mark.parametrize("how", ["left", "right", "full"])
def test_a_join_whose_condition_may_fail_is_refused(how: Any) -> None:
    """DataFusion evaluates it on rows that have no partner, where the plan has no value of it."""
    total = Call("add", (Column("b"), Literal(2**63 - 1, pa.int64())))
    above = Call("less", (Literal(0, pa.int64()), total))
    never = Call("equal", (Column("a"), Literal(None, pa.int64())))
    left, right = memory(a=pa.array([], pa.int64())), memory(b=[None, 1])
    plan = Join(left=left, right=right, how=how, residual=Call("and", (never, above)))
    assert "condition" in (refusal("datafusion", plan) or "")
    # Nobody else fails on it, for there is no pair.
    unmatched = [(None, None), (None, 1)] if how in ("right", "full") else []
    check("python", plan, unmatched)
    sure = Join(left=left, right=right, how=how, residual=Call("less", (Column("a"), Column("b"))))
    assert refusal("datafusion", sure) is None
    check("datafusion", sure, unmatched)
