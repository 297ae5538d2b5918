"""A function written for Narwhals runs on umbel, on Polars and on pandas alike."""

import narwhals as nw
import polars as pl

import umbel as ub

DATA = {
    "city": ["Turin", "Ghent", "Turin", "Lund", "Ghent"],
    "amount": [40.0, 15.5, 99.0, 7.25, 60.0],
}


@nw.narwhalify
def totals(frame):
    """Totals of the amounts above 10, by city."""
    return (
        frame.filter(nw.col("amount") > 10)
        .group_by("city")
        .agg(nw.col("amount").sum().alias("total"))
        .sort("city")
    )


def main() -> None:
    on_umbel = totals(ub.connect().from_dict(DATA))
    on_polars = totals(pl.DataFrame(DATA))
    assert on_umbel.to_dicts() == on_polars.to_dicts()
    on_umbel.show()


if __name__ == "__main__":
    main()
