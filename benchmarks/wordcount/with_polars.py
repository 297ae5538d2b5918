"""WordCount as a Polars user writes it for speed: words are separated by single spaces."""

import sys

import polars as pl

from benchmarks.wordcount.check import finish

counts = (
    pl.scan_csv(
        sys.argv[1],
        separator="\x01",
        quote_char=None,
        has_header=False,
        new_columns=["line"],
        schema={"line": pl.String},
    )
    .select(pl.col("line").str.split(" ").explode().str.to_lowercase().alias("word"))
    .group_by("word")
    .len()
    .collect(engine="streaming")
)
finish(counts.rows())
