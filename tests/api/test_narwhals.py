"""Code written for Narwhals gives the same on an umbel frame as on a Polars one."""

from __future__ import annotations

import datetime
import math

import polars as pl
import pytest

nw = pytest.importorskip("narwhals")

import umbel as ub  # noqa: E402

DATA = {
    "g": ["x", "y", "x", None, "y"],
    "a": [3, 1, 2, 5, 4],
    "b": [1.5, None, -2.0, 0.0, 2.5],
    "t": ["ab c", "É", "", None, "b-a"],
    "d": [datetime.datetime(2024, m, 29, 12, m, 7) for m in (1, 2, 3, 4, 12)],
    "f": [True, None, False, True, True],
    "l": [[1, 2], [], [3], None, [4]],
}
OTHER = {"g": ["x", "z", None], "w": [10, 20, 30], "a": [7, 8, 9]}


def rows(frame) -> list[tuple]:
    """The rows of a collected frame, in an order that depends on them alone."""
    table = frame.collect("pyarrow").to_native()
    columns = [[clean(v) for v in column.to_pylist()] for column in table.columns]
    return sorted(zip(*columns, strict=True), key=repr)


def clean(value):
    if isinstance(value, float):
        return "nan" if math.isnan(value) else round(value, 9) + 0.0
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


CASES = {
    "select": lambda df, o: df.select("a", nw.col("b") * 2, c=nw.col("a") - 1),
    "several columns": lambda df, o: df.select(nw.col("a", "b") + 1),
    "all": lambda df, o: df.select(nw.all()).drop("l"),
    "exclude": lambda df, o: df.select(nw.exclude("l", "d")),
    "nth": lambda df, o: df.select(nw.nth(1, 2)),
    "selectors": lambda df, o: df.select(nw.selectors.numeric() * 2, nw.selectors.string()),
    "arithmetic": lambda df, o: df.select(
        x=nw.col("a") / 2, y=nw.col("a") // 2, z=-nw.col("a") % 3, p=nw.col("a") ** 2, r=10 - nw.col("a")
    ),
    "comparison": lambda df, o: df.select(
        x=nw.col("a") > 2, y=nw.col("b") <= 1.5, z=nw.col("g") == "x", n=~nw.col("f")
    ),
    "logic": lambda df, o: df.select(x=nw.col("f") & (nw.col("a") > 2), y=nw.col("f") | (nw.col("a") > 2)),
    "nulls": lambda df, o: df.select(
        x=nw.col("b").is_null(), y=nw.col("b").fill_null(9.0), z=nw.coalesce("b", "a")
    ),
    "membership": lambda df, o: df.select(
        x=nw.col("a").is_in([1, 5]), y=nw.col("a").is_between(2, 4, closed="left")
    ),
    "clip": lambda df, o: df.select(nw.col("a").clip(2, 4), y=nw.col("b").clip(lower_bound=0)),
    "mathematics": lambda df, o: df.select(
        x=nw.col("b").abs(), y=nw.col("b").round(), s=nw.col("a").sqrt(), e=nw.col("b").exp(),
        l=nw.col("a").log(2), f=(nw.col("b") * 1.3).floor(), c=(nw.col("b") * 1.3).ceil(),
    ),
    "cast": lambda df, o: df.select(nw.col("a").cast(nw.Float32), t=nw.col("a").cast(nw.String)),
    "literal": lambda df, o: df.select("a", one=nw.lit(1), s=nw.lit("x")),
    "when": lambda df, o: df.select(
        x=nw.when(nw.col("a") > 2).then(nw.lit(1)).otherwise(nw.lit(0)),
        y=nw.when(nw.col("f")).then("a"),
    ),
    "names": lambda df, o: df.select(
        nw.col("a", "b").name.suffix("_x"), nw.col("a").name.prefix("p_"), nw.col("g").name.to_uppercase()
    ),
    "with_columns": lambda df, o: df.with_columns(b=nw.col("b") + 1, n=nw.col("a") * 2).drop("l"),
    "broadcast": lambda df, o: df.with_columns(share=nw.col("a") / nw.col("a").sum()).select("share"),
    "filter": lambda df, o: df.filter(nw.col("a") > 1, nw.col("g") == "x").drop("l"),
    "filter by aggregate": lambda df, o: df.filter(nw.col("a") > nw.col("a").mean()).select("a"),
    "rename": lambda df, o: df.rename({"a": "z"}).select("z"),
    "drop": lambda df, o: df.drop("l", "d", "t"),
    "drop nulls": lambda df, o: df.drop_nulls(["b"]).select("a"),
    "unique": lambda df, o: df.select("g").unique(),
    "unique first": lambda df, o: df.select("g", "a").unique("g", keep="first", order_by="a"),
    "unique none": lambda df, o: df.select("g", "a").unique("g", keep="none"),
    "head of sorted": lambda df, o: df.sort("a", descending=True).head(2).select("a"),
    "sort with nulls": lambda df, o: df.sort("b", nulls_last=True).head(3).select("a"),
    "top_k": lambda df, o: df.top_k(2, by="a").select("a"),
    "row index": lambda df, o: df.with_row_index("i", order_by="a").select("i", "a"),
    "explode": lambda df, o: df.select("a", "l").explode("l"),
    "unpivot": lambda df, o: df.select("g", "a", "b").unpivot(["a", "b"], index="g"),
    "aggregates": lambda df, o: df.select(
        s=nw.col("a").sum(), m=nw.col("b").mean(), lo=nw.col("b").min(), hi=nw.col("b").max(),
        n=nw.col("b").count(), u=nw.col("g").n_unique(), sd=nw.col("a").std(), v=nw.col("a").var(ddof=0),
        md=nw.col("a").median(), q=nw.col("a").quantile(0.25, "linear"), z=nw.col("b").null_count(),
        any=nw.col("f").any(), all=nw.col("f").all(), len=nw.len(),
    ),
    "aggregates of nothing": lambda df, o: df.filter(nw.col("a") > 99).select(
        s=nw.col("a").sum(), m=nw.col("b").mean(), any=nw.col("f").any(), all=nw.col("f").all(), n=nw.len()
    ),
    "group by": lambda df, o: df.group_by("g").agg(
        nw.col("a").sum(), m=nw.col("b").mean(), n=nw.len(), k=nw.col("a").max() - nw.col("a").min()
    ),
    "group by dropping null keys": lambda df, o: df.group_by("g", drop_null_keys=True).agg(nw.len()),
    "group by expression": lambda df, o: df.group_by(nw.col("a") % 2).agg(n=nw.len()),
    "group by all": lambda df, o: df.select("g", "a", "b").group_by("g").agg(nw.all().max()),
    "filtered aggregate": lambda df, o: df.group_by("g").agg(x=nw.col("a").filter(nw.col("a") > 1).sum()),
    "over": lambda df, o: df.select("a", s=nw.col("a").sum().over("g"), n=nw.len().over("g")),
    "ordered over": lambda df, o: df.select(
        "a",
        c=nw.col("a").cum_sum().over("g", order_by="a"),
        p=nw.col("a").shift(1).over(order_by="a"),
        d=nw.col("a").diff().over(order_by="a"),
        f=nw.col("b").fill_null(strategy="forward").over(order_by="a"),
        r=nw.col("a").rolling_mean(2).over(order_by="a"),
        first=nw.col("a").first().over("g", order_by="d"),
    ),
    "rank": lambda df, o: df.select(
        "a", r=nw.col("b").rank("average"), m=nw.col("b").rank("min", descending=True),
        p=nw.col("a").rank("dense").over("g"),
    ),
    "is unique": lambda df, o: df.select("a", u=nw.col("g").is_unique(), d=nw.col("g").is_duplicated()),
    "strings": lambda df, o: df.select(
        u=nw.col("t").str.to_uppercase(), l=nw.col("t").str.to_lowercase(), n=nw.col("t").str.len_chars(),
        s=nw.col("t").str.slice(1, 2), h=nw.col("t").str.tail(2), c=nw.col("t").str.contains("[ab]-?"),
        w=nw.col("t").str.starts_with("a"), e=nw.col("t").str.ends_with("c"),
        r=nw.col("t").str.replace_all("[ab]", "<$0>"), x=nw.col("t").str.replace("b", "", literal=True),
        z=nw.col("t").str.zfill(5), p=nw.col("t").str.pad_start(6, "*"),
        y=nw.col("t").str.strip_chars("ab"),
    ),
    "concat_str": lambda df, o: df.select(
        x=nw.concat_str("g", "t", separator="-"),
        y=nw.concat_str("g", "t", separator="-", ignore_nulls=True),
    ),
    "dates": lambda df, o: df.select(
        y=nw.col("d").dt.year(), m=nw.col("d").dt.month(), d=nw.col("d").dt.day(), h=nw.col("d").dt.hour(),
        i=nw.col("d").dt.minute(), s=nw.col("d").dt.second(), w=nw.col("d").dt.weekday(),
        o=nw.col("d").dt.ordinal_day(), date=nw.col("d").dt.date(), t=nw.col("d").dt.truncate("1mo"),
        b=nw.col("d").dt.offset_by("2mo"), f=nw.col("d").dt.to_string("%Y/%m"), e=nw.col("d").dt.timestamp("ms"),
    ),
    "durations": lambda df, o: df.select(
        m=(nw.col("d") - datetime.datetime(2024, 1, 1)).dt.total_minutes(),
        s=(datetime.datetime(2024, 1, 1) - nw.col("d")).dt.total_seconds(),
    ),
    "lists": lambda df, o: df.filter(nw.col("l").list.len() > 0).select(
        n=nw.col("l").list.len(), c=nw.col("l").list.contains(2), g=nw.col("l").list.get(0)
    ),
    "horizontal": lambda df, o: df.select(
        s=nw.sum_horizontal("a", "b"), x=nw.max_horizontal("a", "b"), n=nw.min_horizontal("a", "b"),
        m=nw.mean_horizontal("a", "b"), y=nw.any_horizontal(nw.col("f"), nw.col("a") > 3, ignore_nulls=True),
        z=nw.all_horizontal(nw.col("f"), nw.col("a") > 3, ignore_nulls=False),
    ),
    "inner join": lambda df, o: df.drop("l").join(o, on="g"),
    "left join": lambda df, o: df.drop("l").join(o, on="g", how="left", suffix="_o"),
    "full join": lambda df, o: df.select("g", "b").join(o, on="g", how="full"),
    "semi join": lambda df, o: df.select("g", "a").join(o, on="g", how="semi"),
    "anti join": lambda df, o: df.select("g", "a").join(o, on="g", how="anti"),
    "cross join": lambda df, o: df.select("b").join(o, how="cross"),
    "join on different names": lambda df, o: df.select("g", "a").join(o, left_on="a", right_on="w", how="left"),
    "concat": lambda df, o: nw.concat([df.select("g", "a"), o.select("g", "a")]),
}  # fmt: skip


@pytest.fixture(scope="module")
def frames():
    session = ub.connect(progress=False)
    umbel = [session.from_polars(pl.DataFrame(data)) for data in (DATA, OTHER)]
    polars = [pl.LazyFrame(data) for data in (DATA, OTHER)]
    return [nw.from_native(f) for f in umbel], [nw.from_native(f) for f in polars]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_same_code_gives_the_same_rows(frames, case):
    umbel, polars = frames
    mine, theirs = case(*umbel), case(*polars)
    assert mine.collect_schema().names() == theirs.collect_schema().names()
    assert rows(mine) == rows(theirs)


def test_a_frame_goes_in_and_comes_out():
    frame = ub.connect().from_dict({"a": [1], "b": ["x"]})
    wrapped = nw.from_native(frame)
    assert isinstance(wrapped, nw.LazyFrame)
    assert wrapped.to_native() is frame
    assert wrapped.collect_schema() == {"a": nw.Int64(), "b": nw.String()}
    assert isinstance(wrapped.select("a").to_native(), ub.DataFrame)
    assert wrapped.collect("polars").to_native().equals(pl.DataFrame({"a": [1], "b": ["x"]}))


def test_narwhalified_functions_take_frames():
    @nw.narwhalify
    def double(df):
        return df.with_columns(nw.all() * 2)

    assert double(ub.connect().from_dict({"a": [1, 2]})).to_dicts() == [{"a": 2}, {"a": 4}]


def test_nothing_runs_before_collect():
    session = ub.connect(progress=False)
    frame = nw.from_native(session.from_dict({"a": [1, 2]}))
    lazy = frame.filter(nw.col("a") > 1).group_by("a").agg(nw.len()).sort("a")
    assert session.last_run is None
    lazy.collect()
    assert session.last_run is not None


def test_what_is_missing_is_named():
    frame = nw.from_native(ub.connect().from_dict({"a": [1]}))
    with pytest.raises(ub.PlanError, match=r"Expr\.ewm_mean is not supported"):
        frame.select(nw.col("a").ewm_mean(com=1).over(order_by="a"))
    with pytest.raises(nw.exceptions.ColumnNotFoundError, match="'a'"):
        frame.select("aa")


def test_an_error_names_the_users_line_not_that_of_narwhals():
    frame = nw.from_native(ub.connect().from_dict({"price": [1]}))
    with pytest.raises(ub.TypeClashError) as caught:
        frame.select(nw.col("price").str.to_uppercase())
    assert f"{__file__}:" in str(caught.value)
