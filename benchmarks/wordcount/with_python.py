"""WordCount in plain Python."""

import sys
from collections import Counter
from pathlib import Path

from benchmarks.wordcount.check import finish

counts: Counter[str] = Counter()
with Path(sys.argv[1]).open(encoding="utf-8") as lines:
    for line in lines:
        counts.update(map(str.lower, line.split()))
finish(list(counts.items()))
