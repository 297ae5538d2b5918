"""SQL text to a plan: what `session.sql` gives is built of the nodes that FedPy builds.

sqlglot only parses. What names mean, of which types expressions are, and how subqueries become
joins is decided here:

- `syntax` parses, and reads nodes so that nothing is left out; `errors` points at the text;
- `names`, `binder`, `values`, `types` resolve names and types;
- `operators`, `arithmetic`, `functions`, `temporal`, `aggregates`, `subqueries`, `parameters` bind
  expressions;
- `from_items` with `sources`, `table_functions`, `unfolding` and `rows` binds FROM; `select`,
  `grouping`, `queries`, `recursion`, `statements` bind queries to relations (`tree`);
- `unnest` with `pulling` and `domain` takes correlation out of relations, and `lower` makes
  operators of them.
"""

from umbel.sql.reading.binder import Tables
from umbel.sql.reading.errors import SqlError
from umbel.sql.reading.names import Name
from umbel.sql.reading.parameters import count_parameters
from umbel.sql.reading.statements import read_sql
from umbel.sql.reading.syntax import DEFAULT_DIALECT

__all__ = ["DEFAULT_DIALECT", "Name", "SqlError", "Tables", "count_parameters", "read_sql"]
