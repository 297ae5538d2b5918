"""How stages are cut into statements and Python work. No Spark runs here."""

from __future__ import annotations

import datetime
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.catalog.address import Address
from umbel.plan.expressions import Call, Column
from umbel.plan.operators import Operator, Project
from umbel.platforms.base import ARROW, PYTHON, Stage
from umbel.platforms.spark.arrow import from_physical, to_physical
from umbel.platforms.spark.attach import attached
from umbel.platforms.spark.functions.patterns import java_regex
from umbel.platforms.spark.workers import stable_hash


def text_of(root: Operator, output: str = ARROW) -> str:
    return attached("lab", Address.of("sc://nowhere")).compile(Stage(root, {}, output)).text


def frame() -> ub.DataFrame:
    return ub.connect().from_arrow(pa.table({"a": [1, 2], "b": ["x", "y"], "l": [[1], None]}))


def test_a_relational_stage_is_one_statement():
    plan = frame().filter(col("a") > 1).group_by("b").agg(ub.len().alias("n")).sort("n")
    text = text_of(plan.plan)
    assert text.count("SELECT") == 1
    assert "GROUP BY" in text
    assert "ORDER BY" in text


def test_python_functions_are_fused_into_one_piece():
    items = ub.connect().from_items([1, 2]).map(str).filter(len).map(lambda x: (x, 1))
    text = text_of(items.reduce_by_key(lambda a, b: a + b).plan, PYTHON)
    pieces = text.split("\n\n")
    assert len(pieces) == 2
    assert pieces[0].count("Map") == 2
    assert "FilterRows" in pieces[0]
    assert pieces[1].startswith("Python workers: shuffle, then ReduceByKey")


def test_a_function_without_a_form_runs_in_python_with_its_projection_only():
    title = Call("title", (Column("b"),))
    kept = frame().filter(col("a") > 1).plan
    text = text_of(Project(input=kept, columns=(("t", title),)))
    assert "Python workers: Project" in text
    assert "WHERE" in text


def test_exploding_keeps_rows_without_items_only_where_asked():
    inner, outer = (text_of(frame().explode("l", outer=o).plan) for o in (False, True))
    assert "CROSS JOIN LATERAL EXPLODE(" in inner
    assert "CROSS JOIN LATERAL EXPLODE_OUTER(" in outer


def test_a_shared_limit_is_cut_off_so_that_all_readers_see_the_same_rows():
    few = frame().limit(1)
    text = text_of(few.union(few).plan)
    assert text.count("LIMIT 1") == 1


@pytest.mark.parametrize(
    ("table", "layout"),
    [
        (pa.table({"a": pa.array([1, None], pa.duration("ms"))}), pa.int64()),
        (pa.table({"a": pa.array([datetime.time(1, 2, 3, 4), None], pa.time64("us"))}), pa.int64()),
        (pa.table({"a": pa.array([2**32 - 1, None], pa.uint32())}), pa.int64()),
        (pa.table({"a": pa.array([None, None], pa.null())}), pa.bool_()),
        (
            pa.table({"a": pa.array([[1, None], None, []], pa.list_(pa.duration("s")))}),
            pa.list_(pa.int64()),
        ),
        (
            pa.table(
                {
                    "a": pa.array(
                        [{"x": None, "y": [1]}, None],
                        pa.struct([("x", pa.null()), ("y", pa.list_(pa.uint8()))]),
                    )
                }
            ),
            pa.struct([("x", pa.bool_()), ("y", pa.list_(pa.int16()))]),
        ),
    ],
    ids=lambda value: str(value.schema.field(0).type) if isinstance(value, pa.Table) else "",
)
def test_layouts_there_and_back(table, layout):
    physical = to_physical(table, table.schema)
    assert physical.schema.field("a").type == layout
    assert from_physical(physical, table.schema).equals(table)


def test_layouts_of_views_and_dictionaries():
    table = pa.table(
        {
            "v": pa.array(["x", None], pa.string_view()),
            "d": pa.array(["p", None]).dictionary_encode(),
        }
    )
    schema = pa.schema([("v", pa.string()), ("d", pa.string())])
    assert to_physical(table, schema).to_pydict() == {"v": ["x", None], "d": ["p", None]}


def test_slices_of_nested_columns_keep_their_rows():
    whole = pa.table({"a": pa.array([[1], [2, 3], None, [4]], pa.list_(pa.duration("s")))})
    part = whole.slice(1, 2)
    assert (
        from_physical(to_physical(part, part.schema), part.schema).to_pydict() == part.to_pydict()
    )


@pytest.mark.parametrize(
    "equal",
    [
        (1, 1.0, True, Decimal(1), Fraction(1), 1 + 0j),
        ((1, "a"), (1.0, "a")),
        (0.0, -0.0, 0, False),
        (float("nan"), float("nan")),
        (frozenset([1, 2]), frozenset([2.0, True])),
        (
            datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.UTC),
            datetime.datetime(
                2020, 1, 1, 13, tzinfo=datetime.timezone(datetime.timedelta(hours=1))
            ),
        ),
        (datetime.date(2020, 1, 1), datetime.date(2020, 1, 1)),
    ],
    ids=str,
)
def test_equal_keys_have_equal_hashes(equal):
    assert len({stable_hash(key) for key in equal}) == 1


def test_texts_spread_over_the_buckets():
    assert len({stable_hash(f"word {i}") % 8 for i in range(100)}) == 8


@pytest.mark.parametrize(
    ("pattern", "java"),
    [
        (".", "[^\\n]"),
        (r"\.", "\\x2e"),
        ("(?s).", "(?s:.)"),
        ("(?m)^a$", "(?<![^\\n])a(?![^\\n])"),
        (r"^\d+$", "\\A[0-9]+\\z"),
    ],
)
def test_patterns_in_javas_spelling(pattern, java):
    assert java_regex(pattern) == java
