"""WordCount with umbel on a Spark of this machine, in the plain functions of `with_umbel`."""

import sys

import umbel as ub
from benchmarks.wordcount.check import finish

session = ub.connect()
session.catalog.attach("spark", "spark://local")
counts = (
    session.read_text(sys.argv[1])
    .flat_map(str.split)
    .on("spark")
    .map(lambda w: (w.lower(), 1))
    .on("spark")
    .reduce_by_key(lambda a, b: a + b)
    .on("spark")
)
finish(counts.collect())
session.catalog.detach("spark")
