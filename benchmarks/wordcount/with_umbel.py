"""WordCount with umbel, in the plain Python functions of the design's example."""

import sys

import umbel as ub
from benchmarks.wordcount.check import finish

session = ub.connect()
counts = (
    session.read_text(sys.argv[1])
    .flat_map(str.split)
    .map(lambda w: (w.lower(), 1))
    .reduce_by_key(lambda a, b: a + b)
)
finish(counts.collect())
