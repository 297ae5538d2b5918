"""WordCount as a DuckDB user writes it for speed: words are separated by single spaces."""

import sys

import duckdb

from benchmarks.wordcount.check import finish

counts = duckdb.execute(
    """
    SELECT lower(word) AS word, count(*) AS n
    FROM (
        SELECT unnest(string_split(line, ' ')) AS word
        FROM read_csv(?, delim = '\x01', quote = '', escape = '', header = false,
                      columns = {'line': 'VARCHAR'}, auto_detect = false)
    )
    GROUP BY 1
    """,
    [sys.argv[1]],
).fetchall()
finish(counts)
