"""Eight of TPC-H's queries in FedPy, with the parameters and the column order of their SQL texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date

import umbel as ub
from umbel import col, lit

Tables = Mapping[str, ub.DataFrame]

PRICE = col("l_extendedprice") * (1 - col("l_discount"))


def q01(t: Tables) -> ub.DataFrame:
    """Pricing summary."""
    return (
        t["lineitem"]
        .filter(col("l_shipdate") <= date(1998, 9, 2))
        .group_by("l_returnflag", "l_linestatus")
        .agg(
            sum_qty=col("l_quantity").sum(),
            sum_base_price=col("l_extendedprice").sum(),
            sum_disc_price=PRICE.sum(),
            sum_charge=(PRICE * (1 + col("l_tax"))).sum(),
            avg_qty=col("l_quantity").mean(),
            avg_price=col("l_extendedprice").mean(),
            avg_disc=col("l_discount").mean(),
            count_order=ub.len(),
        )
        .sort("l_returnflag", "l_linestatus")
    )


def q03(t: Tables) -> ub.DataFrame:
    """Orders not yet shipped."""
    return (
        t["customer"]
        .filter(col("c_mktsegment") == "BUILDING")
        .join(t["orders"], left_on="c_custkey", right_on="o_custkey")
        .filter(col("o_orderdate") < date(1995, 3, 15))
        .join(t["lineitem"], left_on="o_orderkey", right_on="l_orderkey")
        .filter(col("l_shipdate") > date(1995, 3, 15))
        .group_by("o_orderkey", "o_orderdate", "o_shippriority")
        .agg(revenue=PRICE.sum())
        .select("o_orderkey", "revenue", "o_orderdate", "o_shippriority")
        .sort("revenue", "o_orderdate", descending=[True, False])
        .limit(10)
    )


def q04(t: Tables) -> ub.DataFrame:
    """Priorities of late orders."""
    late = t["lineitem"].filter(col("l_commitdate") < col("l_receiptdate"))
    return (
        t["orders"]
        .filter(col("o_orderdate") >= date(1993, 7, 1), col("o_orderdate") < date(1993, 10, 1))
        .join(late, left_on="o_orderkey", right_on="l_orderkey", how="semi")
        .group_by("o_orderpriority")
        .agg(order_count=ub.len())
        .sort("o_orderpriority")
    )


def q05(t: Tables) -> ub.DataFrame:
    """Volume of local suppliers."""
    return (
        t["region"]
        .filter(col("r_name") == "ASIA")
        .join(t["nation"], left_on="r_regionkey", right_on="n_regionkey")
        .join(t["customer"], left_on="n_nationkey", right_on="c_nationkey")
        .join(t["orders"], left_on="c_custkey", right_on="o_custkey")
        .filter(col("o_orderdate") >= date(1994, 1, 1), col("o_orderdate") < date(1995, 1, 1))
        .join(t["lineitem"], left_on="o_orderkey", right_on="l_orderkey")
        .join(
            t["supplier"],
            left_on=["l_suppkey", "n_nationkey"],
            right_on=["s_suppkey", "s_nationkey"],
        )
        .group_by("n_name")
        .agg(revenue=PRICE.sum())
        .sort("revenue", descending=True)
    )


def q06(t: Tables) -> ub.DataFrame:
    """Revenue change."""
    return (
        t["lineitem"]
        .filter(
            col("l_shipdate") >= date(1994, 1, 1),
            col("l_shipdate") < date(1995, 1, 1),
            col("l_discount").is_between(
                lit("0.05").cast("decimal(15,2)"), lit("0.07").cast("decimal(15,2)")
            ),
            col("l_quantity") < 24,
        )
        .select(revenue=(col("l_extendedprice") * col("l_discount")).sum())
    )


def q10(t: Tables) -> ub.DataFrame:
    """Returned items."""
    customer = ["c_custkey", "c_name", "c_acctbal", "c_phone", "n_name", "c_address", "c_comment"]
    return (
        t["customer"]
        .join(t["orders"], left_on="c_custkey", right_on="o_custkey")
        .filter(col("o_orderdate") >= date(1993, 10, 1), col("o_orderdate") < date(1994, 1, 1))
        .join(t["lineitem"], left_on="o_orderkey", right_on="l_orderkey")
        .filter(col("l_returnflag") == "R")
        .join(t["nation"], left_on="c_nationkey", right_on="n_nationkey")
        .group_by(*customer)
        .agg(revenue=PRICE.sum())
        .select("c_custkey", "c_name", "revenue", *customer[2:3], "n_name", "c_address", "c_phone",
                "c_comment")
        .sort("revenue", descending=True)
        .limit(20)
    )  # fmt: skip


def q12(t: Tables) -> ub.DataFrame:
    """Shipping modes and priorities."""
    urgent = col("o_orderpriority").is_in(["1-URGENT", "2-HIGH"])
    return (
        t["orders"]
        .join(t["lineitem"], left_on="o_orderkey", right_on="l_orderkey")
        .filter(
            col("l_shipmode").is_in(["MAIL", "SHIP"]),
            col("l_commitdate") < col("l_receiptdate"),
            col("l_shipdate") < col("l_commitdate"),
            col("l_receiptdate") >= date(1994, 1, 1),
            col("l_receiptdate") < date(1995, 1, 1),
        )
        .group_by("l_shipmode")
        .agg(
            high_line_count=ub.when(urgent).then(1).otherwise(0).sum(),
            low_line_count=ub.when(urgent).then(0).otherwise(1).sum(),
        )
        .sort("l_shipmode")
    )


def q14(t: Tables) -> ub.DataFrame:
    """Effect of promotions."""
    promoted = ub.when(col("p_type").str.starts_with("PROMO")).then(PRICE).otherwise(0)
    return (
        t["lineitem"]
        .filter(col("l_shipdate") >= date(1995, 9, 1), col("l_shipdate") < date(1995, 10, 1))
        .join(t["part"], left_on="l_partkey", right_on="p_partkey")
        .select(promo=promoted.sum(), all=PRICE.sum())
        .select(promo_revenue=100 * col("promo") / col("all"))
    )


QUERIES: dict[int, Callable[[Tables], ub.DataFrame]] = {
    1: q01, 3: q03, 4: q04, 5: q05, 6: q06, 10: q10, 12: q12, 14: q14,
}  # fmt: skip
