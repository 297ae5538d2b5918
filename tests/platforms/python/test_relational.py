"""Relational operators with nulls, NaN, signed zeros and clashing types."""

from __future__ import annotations

import datetime
import random
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.platforms.python.helpers import NAN, Context, objects, relation, rows, run
from umbel.plan.errors import EvaluationError
from umbel.plan.expressions import Case, Cast, Column, Literal, SortKey
from umbel.plan.operators import (
    Aggregate,
    Distinct,
    Except,
    Explode,
    Filter,
    Intersect,
    Limit,
    Project,
    Sample,
    Sort,
    Union,
)

BOOL, INT, FLOAT, TEXT = pa.bool_(), pa.int64(), pa.float64(), pa.string()


def column(*values, dtype=FLOAT, name="x"):
    return relation({name: dtype}, *[(value,) for value in values])


def same(left, right):
    return list(map(repr, left)) == list(map(repr, right))


def test_project_picks_renames_and_computes():
    table = relation({"a": INT, "b": TEXT}, (1, "x"), (None, None))
    plan = Project(
        input=table,
        columns=(("t", Column("b")), ("c", Literal(7, INT)), ("d", Cast(Column("a"), TEXT))),
    )
    assert rows(plan) == [("x", 7, "1"), (None, 7, None)]
    assert rows(Project(input=table, columns=(("b", Column("b")),))) == [("x",), (None,)]


def test_filter_drops_false_and_null():
    table = relation({"x": BOOL, "n": INT}, (True, 1), (False, 2), (None, 3))
    assert rows(Filter(input=table, predicate=Column("x"))) == [(True, 1)]


def test_case_does_not_evaluate_what_an_earlier_branch_took():
    fails = Cast(Column("t"), INT)  # "x" is no number
    guarded = Case(((Column("ok"), Literal(0, INT)),), fails)
    table = relation({"ok": BOOL, "t": TEXT}, (True, "x"), (None, "5"), (False, "6"))
    assert rows(Project(input=table, columns=(("v", guarded),))) == [(0,), (5,), (6,)]
    with pytest.raises(EvaluationError, match=r"Project.*'x'.*\n.*in the row \(True, 'x'\)"):
        run(Project(input=table, columns=(("v", fails),)))


def test_case_gives_the_common_type_of_its_branches():
    mixed = Case(((Column("ok"), Literal(1, INT)),), Literal(0.5, FLOAT))
    table = relation({"ok": BOOL}, (True,), (False,))
    assert same(rows(Project(input=table, columns=(("v", mixed),))), [(1.0,), (0.5,)])


@pytest.mark.parametrize("nulls_first", [False, True])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    ("dtype", "ascending"),
    [
        (FLOAT, [-float("inf"), -1.5, 0.0, 2.0, float("inf"), NAN]),
        (INT, [-(2**63), -1, 0, 2**63 - 1]),
        (
            pa.decimal128(38, 2),
            [Decimal("-1.00"), Decimal("9" * 35 + ".98"), Decimal("9" * 36 + ".00")],
        ),
        (TEXT, ["", "A", "a", "z", "ß", "\U0001f600"]),
        (pa.binary(), [b"", b"\x00", b"\xff"]),
        (BOOL, [False, True]),
        (pa.date32(), [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
    ],
)
def test_sort_orders_every_type_with_nan_greatest(dtype, ascending, descending, nulls_first):
    values = [*ascending, None, None]
    random.Random(1).shuffle(values)
    key = SortKey(Column("x"), descending=descending, nulls_first=nulls_first)
    made = [value for (value,) in run(Sort(input=column(*values, dtype=dtype), keys=(key,)))]
    wanted = ascending[::-1] if descending else ascending
    wanted = [None, None, *wanted] if nulls_first else [*wanted, None, None]
    assert same(made, wanted)


def test_sort_by_several_keys_is_stable():
    table = relation(
        {"a": INT, "b": TEXT, "n": INT},
        (1, "x", 0),
        (2, "y", 1),
        (1, "y", 2),
        (2, "x", 3),
        (1, "x", 4),
    )
    keys = (SortKey(Column("a"), descending=True), SortKey(Column("b")))
    assert [n for _, _, n in rows(Sort(input=table, keys=keys))] == [3, 1, 0, 4, 2]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(("count", "offset"), [(0, 0), (1, 0), (7, 3), (500, 100), (5000, 0)])
def test_the_first_rows_of_a_sort_are_those_of_the_whole_sort(count, offset, descending):
    draw = random.Random(5)
    data = [(draw.choice([None, NAN, -0.0, 0.0, 1.0, 2.5, -3.0]), n) for n in range(4000)]
    table = relation({"x": FLOAT, "n": INT}, *data)
    order = Sort(input=table, keys=(SortKey(Column("x"), descending=descending),))
    whole = rows(order)
    made = rows(Limit(input=order, count=count, offset=offset))
    assert list(map(repr, made)) == list(map(repr, whole[offset : offset + count]))


def test_the_first_rows_of_a_sort_need_no_room_for_the_others():
    data = [((n * 7919) % 20_000, "x" * 50) for n in range(20_000)]
    order = Sort(input=relation({"n": INT, "t": TEXT}, *data), keys=(SortKey(Column("n")),))
    spilled, kept = Context(memory_limit=200_000), Context(memory_limit=200_000)
    assert [row[0] for row in run(order, context=spilled)] == list(range(20_000))
    assert spilled.files > 0
    first = run(Limit(input=order, count=10), context=kept)
    assert [row[0] for row in first] == list(range(10))
    assert kept.files == 0


def test_a_sort_that_others_read_too_gives_them_all_rows():
    order = Sort(input=relation({"n": INT}, (3,), (1,), (2,)), keys=(SortKey(Column("n")),))
    both = Union(members=(Limit(input=order, count=1), order))
    assert rows(both) == [(1,), (1,), (2,), (3,)]


def test_a_key_that_fails_beyond_the_first_rows_fails_the_sort():
    table = relation({"t": TEXT}, *[(str(n),) for n in range(5000)], ("x",))
    keys = (SortKey(Cast(Column("t"), INT)),)
    with pytest.raises(EvaluationError, match="'x'"):
        rows(Limit(input=Sort(input=table, keys=keys), count=2))


def test_limit_and_offset_take_a_window_of_rows():
    table = column(*range(3000), dtype=INT)
    assert run(Limit(input=table, count=2, offset=2500)) == [(2500,), (2501,)]
    assert run(Limit(input=table, count=None, offset=2998)) == [(2998,), (2999,)]
    assert run(Limit(input=table, count=0)) == []
    assert run(Limit(input=table, count=5, offset=3000)) == []


def test_distinct_holds_nan_equal_to_nan_and_the_zeros_equal():
    made = run(Distinct(input=column(NAN, 0.0, -0.0, None, -NAN, 1.0, None)))
    assert same(made, [(NAN,), (0.0,), (None,), (1.0,)])


def test_distinct_looks_into_lists_and_structs():
    dtype = pa.list_(pa.struct([("f", FLOAT)]))
    table = column([{"f": NAN}], [{"f": NAN}], [None], [], None, [None], dtype=dtype)
    assert len(run(Distinct(input=table))) == 4


def test_set_operations_unify_types_and_drop_duplicates():
    left = column(1, 2, 2, None, dtype=INT)
    right = column(2.0, None, 2.5, NAN)
    assert same(rows(Intersect(left=left, right=right)), [(2.0,), (None,)])
    assert same(rows(Except(left=left, right=right)), [(1.0,)])
    assert same(
        sorted(map(repr, rows(Union(members=(left, right), distinct=True)))),
        sorted(map(repr, [(1.0,), (2.0,), (None,), (2.5,), (NAN,)])),
    )
    assert len(rows(Union(members=(left, right)))) == 8


def test_explode_drops_nulls_and_empty_lists_unless_outer():
    table = relation({"a": INT, "x": pa.list_(INT)}, (1, [5, None]), (2, []), (3, None))
    assert rows(Explode(input=table, column="x")) == [(1, 5), (1, None)]
    assert rows(Explode(input=table, column="x", outer=True)) == [
        (1, 5), (1, None), (2, None), (3, None),
    ]  # fmt: skip


def test_sample_draws_positions_with_the_seed():
    table = column(*range(100), dtype=INT)
    wanted = sorted(random.Random(3).sample(range(100), 5))
    assert rows(Sample(input=table, count=5, seed=3)) == [(n,) for n in wanted]


def test_relational_operators_work_on_objects_too():
    renamed = Project(input=objects("a", [1]), columns=(("thing", Column("value")),))
    assert run(renamed) == [("a",), ([1],)]


def test_empty_inputs_give_empty_outputs_of_the_right_type():
    empty = relation({"a": INT, "b": TEXT})
    key = (SortKey(Column("a")),)
    grouped = Aggregate(input=empty, keys=(("a", Column("a")),))
    for plan in (Sort(input=empty, keys=key), Distinct(input=empty), grouped):
        assert rows(plan) == []
