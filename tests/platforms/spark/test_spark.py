"""Spark itself: functions on its workers, data in and out, errors, cancelling, its own tables."""

from __future__ import annotations

import datetime
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from tests.conformance.engines import Context
from umbel import col
from umbel.plan.errors import CancelledError, EvaluationError, FunctionError, RunError
from umbel.plan.operators import Operator
from umbel.platforms.base import ARROW, PYTHON, Stage
from umbel.platforms.spark.connection import Connection
from umbel.platforms.spark.frames import SparkFrame
from umbel.platforms.spark.platform import SparkPlatform

WORDS = ["a", "b", "a", "c", "b", "a"] * 50


@pytest.fixture(scope="module")
def session(spark_url: str) -> Iterator[ub.Session]:
    made = ub.connect()
    made.catalog.attach("lab", spark_url)
    yield made
    made.catalog.detach("lab")


@pytest.fixture(scope="module")
def platform(session: ub.Session) -> SparkPlatform:
    (found,) = (p for p in session.platforms() if p.name == "lab")
    assert isinstance(found, SparkPlatform)
    return found


def run(platform: SparkPlatform, root: Operator, output: str, context: Context | None = None):
    return platform.compile(Stage(root, {}, output)).run({}, context or Context())


# --- functions on workers ------------------------------------------------------------------------


def opaque(function: Callable) -> Callable:
    """Keep a function from being lifted to an expression."""
    return lambda *arguments: [function(*arguments)][len("")]


def test_word_count(session):
    counted = (
        session.from_items(WORDS)
        .map(opaque(lambda w: (w, 1)))
        .on("lab")
        .reduce_by_key(opaque(lambda a, b: a + b))
        .on("lab")
    )
    assert dict(counted.collect()) == Counter(WORDS)


def test_every_operator_by_key(session):
    items = session.from_items(list(range(40)))
    pairs = items.map(opaque(lambda x: (x % 4, x))).on("lab")
    others = items.map(opaque(lambda x: (x % 6, str(x)))).on("lab")
    grouped = {k: sorted(v) for k, v in pairs.group_by_key().on("lab").collect()}
    assert grouped == {k: list(range(k, 40, 4)) for k in range(4)}
    by_last = {k: sorted(v) for k, v in items.group_by(lambda x: x % 10).on("lab").collect()}
    assert by_last == {k: [k, k + 10, k + 20, k + 30] for k in range(10)}
    # The sum of elements has another key than they: keys count before anything is combined.
    sums = items.reduce_by(lambda x: x % 7, lambda a, b: a + b).on("lab").collect()
    assert sorted(sums) == sorted(sum(range(k, 40, 7)) for k in range(7))
    joined = pairs.join(others).on("lab").collect()
    assert sorted(joined) == sorted(
        (x % 4, (x, str(y))) for x in range(40) for y in range(40) if x % 4 == y % 6
    )
    together = {
        k: (sorted(a), sorted(b, key=int))
        for k, (a, b) in pairs.co_group(others).on("lab").collect()
    }
    assert together == {
        k: (list(range(k, 40, 4)) if k < 4 else [], list(map(str, range(k, 40, 6))))
        for k in range(6)
    }


def test_keys_that_python_calls_equal_meet(session):
    mixed = [(1, "int"), (1.0, "float"), (True, "bool"), (Decimal(1), "decimal"), ("1", "text")]
    grouped = session.from_items(mixed).group_by_key().on("lab").collect()
    assert sorted(sorted(values) for _, values in grouped) == [
        ["bool", "decimal", "float", "int"],
        ["text"],
    ]


def test_names_with_dots_reach_python(session):
    frame = session.from_dict({"a.b": [1, 2], "x * 0.5": [3, 4]})
    found = frame.rows().map(opaque(lambda row: row[0] + row[1])).on("lab").collect()
    assert sorted(found) == [4, 6]


def test_whole_collections(session):
    items = session.from_items([3, 1, 2, 3, 1])
    odd = items.map(opaque(lambda x: {"n": x}["n"])).on("lab")
    assert odd.reduce(opaque(lambda a, b: a + b)).on("lab").collect() == [10]
    assert odd.sort_by(opaque(lambda x: -x)).on("lab").collect() == [3, 3, 2, 1, 1]
    assert sorted(odd.distinct().on("lab").collect()) == [1, 2, 3]
    assert sorted(odd.union(items).on("lab").collect()) == [1, 1, 1, 1, 2, 2, 3, 3, 3, 3]
    numbered = odd.zip_with_id().on("lab").collect()
    assert sorted(x for _, x in numbered) == [1, 1, 2, 3, 3]
    assert len({i for i, _ in numbered}) == 5
    crossed = odd.cartesian(session.from_items(["x", "y"])).on("lab").collect()
    assert Counter(crossed) == Counter((n, t) for n in [3, 1, 2, 3, 1] for t in "xy")
    parts = odd.map_partitions(opaque(lambda part: [sum(part)])).on("lab").collect()
    assert sum(parts) == 10


def test_broadcast_lists_reach_the_function(session):
    known = session.from_items([2, 3])
    kept = session.from_items([1, 2, 3, 4]).filter(
        lambda x, known: [x in known][0], broadcast={"known": known}
    )
    assert sorted(kept.on("lab").collect()) == [2, 3]


class Point:
    """A class that only this module has."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    def __hash__(self) -> int:
        return hash(self.x)


def test_instances_of_a_users_class_travel(session):
    class Local(Point):
        """A class that no import finds."""

    points = session.from_items([1, 2]).map(opaque(Local)).on("lab").collect()
    assert sorted(point.x for point in points) == [1, 2]
    grouped = session.from_items([Point(1), Point(1)]).map(lambda p: (p, 1)).group_by_key()
    assert [(k.x, v) for k, v in grouped.on("lab").collect()] == [(1, [1, 1])]


def test_an_error_names_function_line_and_value(session):
    broken = session.from_items([1, 2, 0, 3]).map(lambda x: [1 // x][0])
    with pytest.raises(FunctionError) as caught:
        broken.on("lab").collect()
    assert "test_spark.py" in caught.value.message
    assert "ZeroDivisionError" in caught.value.message
    assert caught.value.hint == "the value that broke it: 0"
    assert "\n" not in caught.value.message


# --- data in and out -----------------------------------------------------------------------------

HOSTILE = pa.table(
    {
        "u8": pa.array([0, 255, None], pa.uint8()),
        "u32": pa.array([0, 2**32 - 1, None], pa.uint32()),
        "f": pa.array([float("nan"), -0.0, None], pa.float64()),
        "dec": pa.array([Decimal("9" * 28 + ".1"), None, Decimal("-0.1")], pa.decimal128(38, 1)),
        "s": pa.array(["a\0b", "", None]),
        "b": pa.array([b"\xff\x00", b"", None]),
        "day": pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), None]),
        "t": pa.array([datetime.time(23, 59, 59, 999999), None, datetime.time()], pa.time64("us")),
        "ts": pa.array([0, -1, None], pa.timestamp("ms")),
        "tz": pa.array([0, -1, None], pa.timestamp("us", "Europe/Paris")),
        "dur": pa.array([1, -1, None], pa.duration("s")),
        "none": pa.nulls(3),
        "l": pa.array([[{"x": [1, None]}], [], None], pa.list_(pa.struct([("x", pa.list_(pa.int8()))]))),
        "a `b`.c": pa.array([True, False, None]),
        "A": pa.array([1, 2, 3]),
        "a": pa.array([4, 5, 6]),
    }
)  # fmt: skip


def test_every_type_survives_a_round_trip(session):
    frame = session.from_arrow(HOSTILE)
    back = frame.filter(col("A") > 0).on("lab").collect()
    assert back.schema.types == HOSTILE.schema.types
    assert back.sort_by("A").to_pylist()[1:] == HOSTILE.to_pylist()[1:]


def test_rows_stay_in_spark_between_stages(platform):
    session = ub.connect()
    plan = session.from_arrow(pa.table({"a": list(range(100))})).filter(col("a") < 30).plan
    kept = run(platform, plan, platform.channel)
    assert isinstance(kept, SparkFrame)
    assert len(kept) == 30
    (fetch,) = (c for c in platform.conversions if c.target == ARROW)
    assert fetch.convert(kept, plan.schema, plan.element).num_rows == 30


def test_large_tables_go_by_parquet_and_come_back_whole(session, tmp_path):
    size = 200_000
    table = pa.table({"a": pa.array(range(size)), "s": pa.array([f"row {i}" for i in range(size)])})
    frame = session.from_arrow(table).filter(col("a") % 2 == 0).on("lab")
    assert frame.collect().num_rows == size // 2


def test_parquet_is_read_by_spark_itself(session, platform, tmp_path):
    pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", None, "z"]}), tmp_path / "a [1].parquet")
    frame = session.read_parquet(str(tmp_path / "a [[]1].parquet")).filter(col("a") >= 2)
    assert frame.on("lab").collect().to_pydict() == {"a": [2, 3], "b": [None, "z"]}


def test_lines_of_text(session, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\r\n\xc3\xa9\n\nlast")
    lines = session.read_text(str(tmp_path / "a.txt")).filter(opaque(lambda x: True)).on("lab")
    assert sorted(lines.collect()) == ["", "last", "one", "é"]


def test_bytes_that_are_no_text_fail(session, tmp_path):
    (tmp_path / "bad.txt").write_bytes(b"fine\n\xff\n")
    with pytest.raises(ub.UmbelError, match=r"bad\.txt|UTF"):
        session.read_text(str(tmp_path / "bad.txt")).on("lab").collect()


# --- errors, cancelling, catalogue -----------------------------------------------------------------


def test_overflow_is_said_in_a_line_with_the_users_line(session):
    frame = session.from_arrow(pa.table({"x": [2**63 - 1]})).with_columns(y=col("x") + 1)
    with pytest.raises(EvaluationError) as caught:
        frame.on("lab").collect()
    assert "test_spark.py" in caught.value.message
    assert "overflow" in caught.value.message
    assert "org.apache" not in str(caught.value)
    assert "ansi" not in str(caught.value)


def test_cancelling_stops_the_job(platform):
    session = ub.connect()
    slow = session.from_items(list(range(8))).map(opaque(lambda x: time.sleep(60)))
    context = Context()
    stage = platform.compile(Stage(slow.plan, {}, PYTHON))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            stage.run({}, context)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 60
    while context.interrupt is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert context.interrupt is not None
    started = time.monotonic()
    # The job may not have begun: interrupting again is what the executor does too.
    while thread.is_alive() and time.monotonic() < started + 50:
        context.interrupt()
        thread.join(1)
    assert not thread.is_alive()
    assert isinstance(failures[0], RunError | CancelledError)


def test_tables_and_queries_of_sparks_own_catalogue(session, platform):
    spark = platform.connection.session()
    spark.sql("CREATE OR REPLACE TEMP VIEW unseen AS SELECT 1 AS a")
    spark.sql("DROP TABLE IF EXISTS shelf")
    spark.sql(
        "CREATE TABLE shelf USING parquet AS SELECT id AS n, 'b' || id AS title FROM range(3)"
    )
    try:
        listed = [e.name for e in session.catalog.tables("lab")]
        assert "lab.default.shelf" in listed
        assert not [name for name in listed if "unseen" in name]
        rows = session.table("lab.shelf").filter(col("n") > 0).collect()
        assert rows.sort_by("n").to_pydict() == {"n": [1, 2], "title": ["b1", "b2"]}
    finally:
        spark.sql("DROP TABLE shelf")
    assert platform.query("SELECT 1.5 AS x").schema == pa.schema([("x", pa.decimal128(2, 1))])


def test_no_views_are_left_behind(session, platform):
    session.from_arrow(HOSTILE).filter(col("a") > 0).on("lab").collect()
    listed = platform.connection.session().catalog.listTables()
    assert not [t.name for t in listed if t.name.startswith("umbel_")]


def test_two_platforms_of_one_server_do_not_see_each_others_views(spark_url, platform):
    other = SparkPlatform("other", Connection(spark_url))
    try:
        platform.connection.session().sql("CREATE OR REPLACE TEMP VIEW mine AS SELECT 1 AS a")
        names = [t.name for t in other.connection.session().catalog.listTables()]
        assert "mine" not in names
    finally:
        other.close()
