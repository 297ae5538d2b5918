"""WordCount by hand on Spark's RDDs: the classic client, Python functions on workers."""

import sys
from operator import add

from pyspark.sql import SparkSession

from benchmarks.wordcount.check import finish

spark = SparkSession.builder.master("local[*]").config("spark.ui.enabled", "false").getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
counts = (
    spark.sparkContext.textFile(sys.argv[1])
    .flatMap(str.split)
    .map(lambda w: (w.lower(), 1))
    .reduceByKey(add)
)
finish(counts.collect())
spark.stop()
