"""Forms written as DuckDB's SQL: names in the text stand for the arguments."""

from __future__ import annotations

from functools import partial

from umbel.sql.snippets import atom
from umbel.sql.snippets import snippet as snippet_of

snippet = partial(snippet_of, "duckdb")

__all__ = ["atom", "snippet"]
