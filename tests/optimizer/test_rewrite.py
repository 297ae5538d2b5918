"""Rewrite rules: plans as text, before and after."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from textwrap import dedent

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umbel.optimizer.facts import Facts
from umbel.optimizer.rewrite import RULES, RuleError, rewrite
from umbel.optimizer.rewrite.aggregate_early import aggregate_early
from umbel.optimizer.rewrite.prune_columns import prune_columns
from umbel.optimizer.rewrite.push_filters import push_filters
from umbel.optimizer.rewrite.share import share
from umbel.optimizer.rewrite.simplify import simplify
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Cast,
    Column,
    Expression,
    Literal,
    SortKey,
    WindowCall,
)
from umbel.plan.operators import (
    Aggregate,
    Distinct,
    Explode,
    Filter,
    Join,
    Limit,
    Operator,
    Project,
    Scan,
    Sort,
    Union,
    Values,
    Window,
    topological,
)
from umbel.plan.sources import ParquetSource, TextSource
from umbel.plan.text import plan_to_text
from umbel.plan.types import BOOL, INT64, STRING

A, B, C = Column("a"), Column("b"), Column("c")
TRUE = Literal(True, BOOL)


def scan(path: str = "t", *names: str) -> Scan:
    fields = [(name, INT64) for name in names or ("a", "b", "c")]
    return Scan(source=ParquetSource(schema=pa.schema(fields), paths=(path,)))


def more(column: Expression, value: int) -> Call:
    return Call("greater", (column, Literal(value, INT64)))


def columns(*names: str) -> tuple[tuple[str, Expression], ...]:
    return tuple((name, Column(name)) for name in names)


def check(after: Operator, expected: str) -> None:
    assert plan_to_text(after) == dedent(expected).strip()


class TestSimplify:
    def test_projections_merge(self) -> None:
        inner = Project(input=scan(), columns=(("x", Call("abs", (A,))), ("y", B)))
        outer = Project(input=inner, columns=(("z", Call("negate", (Column("x"),))), ("w", B_OF_Y)))
        check(
            simplify(outer),
            """
            Project: z = negate(abs(a)), w = b
              Scan: parquet t
            """,
        )

    def test_no_work_is_done_twice(self) -> None:
        inner = Project(input=scan(), columns=(("x", Call("abs", (A,))),))
        outer = Project(input=inner, columns=(("y", Column("x")), ("z", Column("x"))))
        assert simplify(outer) == outer

    def test_filters_merge_unless_the_later_may_fail(self) -> None:
        first = Filter(input=scan(), predicate=more(A, 1))
        check(
            simplify(Filter(input=first, predicate=more(B, 2))),
            """
            Filter: and(greater(a, 1), greater(b, 2))
              Scan: parquet t
            """,
        )
        text = Call("equal", (Cast(A, pa.int8()), Literal(1, pa.int8())))
        risky = Filter(input=first, predicate=text)
        assert simplify(risky) == risky

    def test_limits_merge(self) -> None:
        inner = Limit(input=scan(), count=10, offset=5)
        check(
            simplify(Limit(input=inner, count=20, offset=3)),
            """
            Limit: 7 from 8
              Scan: parquet t
            """,
        )

    def test_pinned_operators_stay(self) -> None:
        inner = Filter(input=scan(), predicate=TRUE, pin="duckdb")
        assert simplify(inner) == inner

    def test_booleans(self) -> None:
        predicate = Call("and", (TRUE, Call("not", (Call("not", (more(A, 1),)),)), more(A, 1)))
        check(
            simplify(Filter(input=scan(), predicate=predicate)),
            """
            Filter: greater(a, 1)
              Scan: parquet t
            """,
        )

    def test_sums_of_constants_are_computed_unless_they_fail(self) -> None:
        digits = pa.decimal128(2, 2)
        six, one = (Literal(Decimal(text), digits) for text in ("0.06", "0.01"))
        large = Literal(2**63 - 1, INT64)
        fails = Call("greater", (A, Call("add", (large, large))))
        exact = Call("less", (Call("subtract", (six, one)), A))
        float_ = Call("less", (Call("add", (Literal(0.1, pa.float64()),) * 2), A))
        check(
            simplify(Filter(input=scan(), predicate=Call("and", (exact, float_, fails)))),
            """
            Filter: and(less(Decimal('0.05'), a), less(add(0.1, 0.1), a), greater(a, add(9223372036854775807, 9223372036854775807)))
              Scan: parquet t
            """,
        )

    def test_a_sum_of_ones_counts_the_rows_of_a_group(self) -> None:
        ones = Project(input=scan(), columns=(("a", A), ("n", Literal(1, INT64))))
        calls = (
            ("rows", AggregateCall("sum", (Column("n"),))),
            ("twos", AggregateCall("sum", (Literal(2, INT64),))),
            ("some", AggregateCall("sum", (Column("n"),), where=more(A, 0))),
            ("once", AggregateCall("sum", (Column("n"),), distinct=True)),
        )
        after = simplify(Aggregate(input=ones, keys=columns("a"), aggregates=calls))
        assert isinstance(after, Aggregate)
        assert after.aggregates == (("rows", AggregateCall("len")), *calls[1:])
        whole = Aggregate(input=ones, aggregates=calls[:1])
        assert simplify(whole) == whole  # without a row it is null, and their number is zero

    def test_unions_flatten(self) -> None:
        inner = Union(members=(scan("1"), scan("2")))
        check(
            simplify(Union(members=(inner, scan("3")))),
            """
            Union: all
              Scan: parquet 1
              Scan: parquet 2
              Scan: parquet 3
            """,
        )


B_OF_Y = Column("y")


class TestPushFilters:
    def test_into_the_source_through_everything(self) -> None:
        plan: Operator = Project(input=scan(), columns=(("x", A), ("y", Call("sign", (B,)))))
        plan = Sort(input=plan, keys=(SortKey(Column("x")),))
        plan = Distinct(input=plan)
        plan = Filter(input=plan, predicate=more(Column("x"), 1))
        check(
            push_filters(plan),
            """
            Distinct
              Sort: x
                Project: x = a, y = sign(b)
                  Scan: parquet t; where greater(a, 1)
            """,
        )

    def test_not_through_a_limit(self) -> None:
        plan = Filter(input=Limit(input=scan(), count=3), predicate=more(A, 1))
        assert push_filters(plan) == plan

    def test_computed_columns_are_not_computed_twice(self) -> None:
        inner = Project(input=scan(), columns=(("x", Call("abs", (A,))),))
        plan = Filter(input=inner, predicate=more(Column("x"), 1))
        assert push_filters(plan) == plan

    @pytest.mark.parametrize(
        ("how", "left", "right", "above"),
        [
            ("inner", True, True, False),
            ("left", True, False, True),
            ("right", False, True, True),
            ("full", False, False, True),
        ],
    )
    def test_into_the_sides_of_a_join(self, how: str, left: bool, right: bool, above: bool) -> None:
        join = Join(left=scan("l", "a"), right=scan("r", "b"), how=how, on=(("a", "b"),))  # type: ignore[arg-type]
        predicate = Call("and", (more(A, 1), more(B, 2)))
        text = plan_to_text(push_filters(Filter(input=join, predicate=predicate)))
        assert ("parquet l; where greater(a, 1)" in text) is left
        assert ("parquet r; where greater(b, 2)" in text) is right
        assert text.startswith("Filter") is above

    def test_into_a_semi_join(self) -> None:
        join = Join(left=scan("l", "a"), right=scan("r", "b"), how="semi", on=(("a", "b"),))
        text = plan_to_text(push_filters(Filter(input=join, predicate=more(A, 1))))
        assert "parquet l; where greater(a, 1)" in text

    def test_not_through_what_may_fail_for_rows_that_the_filter_drops(self) -> None:
        negative = Project(input=scan(), columns=(("x", A), ("y", Call("negate", (B,)))))
        total = Aggregate(
            input=scan(), keys=(("x", A),), aggregates=(("y", AggregateCall("sum", (B,))),)
        )
        first = Sort(input=scan(), keys=(SortKey(Call("negate", (A,))),))
        whole = Filter(input=scan(), predicate=more(Call("negate", (A,)), 0))
        for plan, name in ((negative, "x"), (total, "x"), (first, "a"), (whole, "a")):
            above = Filter(input=plan, predicate=more(Column(name), 1))
            assert push_filters(above) is above

    def test_a_filter_with_a_condition_that_may_fail_stays_whole(self) -> None:
        below = Sort(input=scan(), keys=(SortKey(A),))
        both = Call("and", (more(A, 1), more(Call("negate", (B,)), 0)))
        plan = Filter(input=below, predicate=both)
        assert push_filters(plan) is plan

    def test_through_sums_that_are_known_to_fit(self) -> None:
        numbers = Values(table=pa.table({"a": [1, 2], "b": [-5, 7]}))
        plan: Operator = Sort(input=numbers, keys=(SortKey(A),))
        plan = Project(input=plan, columns=(("x", A), ("y", Call("add", (A, B)))))
        plan = Filter(input=plan, predicate=more(Column("x"), 1))
        check(
            push_filters(plan),
            """
            Project: x = a, y = add(a, b)
              Sort: a
                Filter: greater(a, 1)
                  Values: 2 rows
            """,
        )

    def test_below_an_aggregate_only_keys(self) -> None:
        total = Aggregate(
            input=scan(), keys=(("k", A),), aggregates=(("s", AggregateCall("max", (B,))),)
        )
        predicate = Call("and", (more(Column("k"), 1), more(Column("s"), 2)))
        check(
            push_filters(Filter(input=total, predicate=predicate)),
            """
            Filter: greater(s, 2)
              Aggregate: by k = a; s = max(b)
                Scan: parquet t; where greater(a, 1)
            """,
        )

    def test_a_constant_condition_stays_above_a_global_aggregate(self) -> None:
        total = Aggregate(input=scan(), aggregates=(("s", AggregateCall("sum", (B,))),))
        plan = Filter(input=total, predicate=Call("equal", (Literal(1, INT64), Literal(2, INT64))))
        assert push_filters(plan) == plan

    def test_below_a_window_only_its_partitions(self) -> None:
        windowed = Window(
            input=scan(),
            columns=(("n", WindowCall("row_number", partition_by=(A,), order_by=(SortKey(B),))),),
        )
        predicate = Call("and", (more(A, 1), more(B, 2)))
        check(
            push_filters(Filter(input=windowed, predicate=predicate)),
            """
            Filter: greater(b, 2)
              Window: n = row_number() over (partition by a order by b)
                Scan: parquet t; where greater(a, 1)
            """,
        )

    def test_into_the_members_of_a_union(self) -> None:
        plan = Filter(input=Union(members=(scan("1"), scan("2"))), predicate=more(A, 1))
        check(
            push_filters(plan),
            """
            Union: all
              Scan: parquet 1; where greater(a, 1)
              Scan: parquet 2; where greater(a, 1)
            """,
        )

    def test_not_into_what_others_read(self) -> None:
        shared = Distinct(input=scan())
        plan = Union(members=(Filter(input=shared, predicate=more(A, 1)), shared))
        assert push_filters(plan) == plan

    def test_what_may_fail_stays(self) -> None:
        join = Join(left=scan("l", "a"), right=scan("r", "b"), on=(("a", "b"),))
        risky = Call("equal", (Call("add", (A, A)), Literal(1, INT64)))
        plan = Filter(input=join, predicate=risky)
        assert push_filters(plan) == plan


class TestPruneColumns:
    def test_down_to_the_source(self) -> None:
        plan = Project(input=Filter(input=scan(), predicate=more(B, 1)), columns=columns("a"))
        check(
            prune_columns(plan),
            """
            Project: a
              Filter: greater(b, 1)
                Scan: parquet t; columns a, b
            """,
        )

    def test_through_a_join(self) -> None:
        join = Join(left=scan("l", "a", "x"), right=scan("r", "b", "y"), on=(("a", "b"),))
        check(
            prune_columns(Project(input=join, columns=columns("y"))),
            """
            Project: y
              Join: inner on a = b
                Scan: parquet l; columns a
                Scan: parquet r
            """,
        )

    def test_members_of_a_union_agree(self) -> None:
        members = (Filter(input=scan("1"), predicate=more(B, 1)), scan("2"))
        check(
            prune_columns(Project(input=Union(members=members), columns=columns("a"))),
            """
            Project: a
              Union: all
                Project: a
                  Filter: greater(b, 1)
                    Scan: parquet 1; columns a, b
                Scan: parquet 2; columns a
            """,
        )

    def test_a_distinct_union_keeps_its_columns(self) -> None:
        union = Union(members=(scan("1"), scan("2")), distinct=True)
        plan = Project(input=union, columns=columns("a"))
        assert prune_columns(plan) == plan

    def test_unused_aggregates_and_windows_go(self) -> None:
        total = Aggregate(
            input=scan(),
            keys=(("k", A),),
            aggregates=(("s", AggregateCall("sum", (B,))), ("t", AggregateCall("sum", (C,)))),
        )
        check(
            prune_columns(Project(input=total, columns=columns("k", "s"))),
            """
            Project: k, s
              Aggregate: by k = a; s = sum(b)
                Scan: parquet t; columns a, b
            """,
        )

    def test_counting_rows_needs_one_column(self) -> None:
        total = Aggregate(input=scan(), aggregates=(("n", AggregateCall("len")),))
        check(
            prune_columns(total),
            """
            Aggregate: n = len()
              Scan: parquet t; columns a
            """,
        )

    def test_an_exploded_column_stays(self) -> None:
        source = ParquetSource(
            schema=pa.schema([("a", INT64), ("l", pa.list_(STRING))]), paths=("t",)
        )
        plan = Project(input=Explode(input=Scan(source=source), column="l"), columns=columns("a"))
        assert prune_columns(plan) == plan


class TestAggregateEarly:
    def words(self, path: str, text: str) -> Operator:
        Path(path).write_text(text)
        source = TextSource(
            schema=pa.schema([pa.field("value", STRING, nullable=False)]), paths=(path,)
        )
        split = Project(
            input=Scan(source=source), columns=(("word", Call("split_whitespace", (VALUE,))),)
        )
        return Explode(input=split, column="word")

    def count(self, words: Operator, *calls: AggregateCall) -> Aggregate:
        return Aggregate(
            input=words,
            keys=(("k", Call("lower", (WORD,))),),
            aggregates=tuple((f"n{i}", call) for i, call in enumerate(calls)),
        )

    def test_words_that_come_again_are_grouped_first(self, tmp_path: Path) -> None:
        words = self.words(str(tmp_path / "t.txt"), "to be or not to be\n" * 50)
        plan = self.count(words, AggregateCall("len"), AggregateCall("min", (WORD,)))
        text = plan_to_text(aggregate_early(plan))
        assert text.startswith(
            dedent(
                """
                Aggregate: by k = key 0; n0 = sum(partial 0), n1 = min(partial 1)
                  Project: key 0 = lower(word), partial 0, partial 1
                    Aggregate: by word; partial 0 = len(), partial 1 = min(word)
                      Explode: word
                """
            ).strip()
        )

    def test_counts_of_words_split_at_spaces_first(self, tmp_path: Path) -> None:
        words = self.words(str(tmp_path / "t.txt"), "to be or not to be\n" * 50)
        text = plan_to_text(aggregate_early(self.count(words, AggregateCall("len"))))
        assert text.startswith(
            dedent(
                """
                Aggregate: by k = key 0; n0 = sum(partial 0)
                  Project: key 0 = lower(word), partial 0
                    Explode: word
                      Project: word = split_whitespace(word), partial 0
                        Aggregate: by word; partial 0 = len()
                          Explode: word
                            Project: word = split(value, ' ')
                """
            ).strip()
        )

    def test_not_where_words_are_all_different(self, tmp_path: Path) -> None:
        words = self.words(str(tmp_path / "t.txt"), " ".join(map(str, range(500))))
        plan = self.count(words, AggregateCall("len"))
        assert aggregate_early(plan) is plan

    @pytest.mark.parametrize(
        "call",
        [
            AggregateCall("sum", (Call("length", (Column("word"),)),)),  # parts may overflow
            AggregateCall("mean", (Call("length", (Column("word"),)),)),
            AggregateCall("count", (Column("word"),), distinct=True),
            AggregateCall("first", (Column("word"),), order_by=(SortKey(Column("word")),)),
        ],
    )
    def test_not_where_groups_do_not_join(self, tmp_path: Path, call: AggregateCall) -> None:
        words = self.words(str(tmp_path / "t.txt"), "to be or not to be\n" * 50)
        plan = self.count(words, call)
        assert aggregate_early(plan) is plan


VALUE, WORD = Column("value"), Column("word")


def test_equal_parts_are_shared_but_not_sources() -> None:
    def part() -> Operator:
        return Distinct(input=scan())

    shared = share(Union(members=(part(), part())))
    assert shared.inputs[0] is shared.inputs[1]
    apart = share(Union(members=(scan(), scan())))
    assert apart.inputs[0] is not apart.inputs[1]


def test_a_rule_that_changes_the_schema_is_named() -> None:
    def lose_a_column(root: Operator, facts: Facts) -> Operator:
        return Project(input=root, columns=columns("a"))

    with pytest.raises(RuleError, match="lose_a_column changed the schema"):
        rewrite(scan(), rules=(lose_a_column,))


def test_the_observer_hears_of_every_rule() -> None:
    heard: list[str] = []
    rewrite(scan(), observer=lambda rule, _: heard.append(rule))
    assert heard == [rule.__name__ for rule in RULES]


def test_a_condition_on_moved_dates_goes_to_the_source_whose_footer_bounds_them(
    tmp_path: Path,
) -> None:
    dates = pa.table({"d": pa.array([10_000, 12_000], pa.date32()), "k": [1, 2]})
    pq.write_table(dates, tmp_path / "dates.parquet")
    facts, other = Facts(), Values(table=pa.table({"j": [1, 2]}))
    source = ParquetSource(schema=dates.schema, paths=(str(tmp_path / "dates.parquet"),))
    moved = Call("date_add", (Literal("day", STRING), Column("d"), Literal(5, INT64)))
    later = Call("greater", (moved, Literal(date(2000, 1, 1), pa.date32())))
    joined = Join(left=Scan(source=source), right=other, on=(("k", "j"),))
    pushed = push_filters(Filter(input=joined, predicate=later), facts)
    assert isinstance(pushed, Join)
    assert isinstance(pushed.left, Scan)
    assert pushed.left.predicate == later


def test_a_pinned_filter_moves_among_its_own() -> None:
    left, right = scan("t", "a").pinned("polars"), scan("u", "b").pinned("duckdb")
    joined = Join(left=left, right=right, on=(("a", "b"),), pin="polars")
    both = Call("and", (more(Column("a"), 1), more(Column("b"), 2)))
    pushed = push_filters(Filter(input=joined, predicate=both, pin="polars"))
    assert isinstance(pushed, Join)
    # What is asked of the other engine's rows is asked where the filter was pinned.
    assert isinstance(pushed.left, Scan)
    assert pushed.left.predicate is not None
    assert isinstance(pushed.right, Filter)
    assert pushed.right.pin == "polars"
    assert pushed.right.input.pin == "duckdb"


def test_columns_that_are_dropped_are_dropped_where_their_neighbours_are_pinned() -> None:
    two = [scan("t", "a", "x").pinned("polars"), scan("u", "b", "y").pinned("polars")]
    inner = Join(left=two[0], right=two[1], on=(("a", "b"),), pin="polars")
    outer = Join(left=inner, right=scan("v", "c").pinned("polars"), on=(("x", "c"),), pin="polars")
    pruned = prune_columns(Project(input=outer, columns=columns("y"), pin="polars"))
    assert {operator.pin for operator in topological(pruned)} == {"polars"}
    assert any(isinstance(op, Project) for op in topological(pruned)[:-1])


def test_a_cast_of_a_constant_is_computed_unless_it_fails():
    """A text that is cast in a filter would be parsed for every row."""
    table = Values(table=pa.table({"a": pa.array([1], pa.decimal128(15, 2))}))

    def kept(text: str) -> Expression:
        number = Cast(Literal(text, pa.string()), pa.decimal128(15, 2))
        found = simplify(Filter(input=table, predicate=Call("less", (Column("a"), number))))
        assert isinstance(found, Filter)
        return found.predicate.children[1]

    assert kept("0.05") == Literal(Decimal("0.05"), pa.decimal128(15, 2))
    assert isinstance(kept("no number"), Cast)
