"""The tokens of durable runs in databases: a row beside the rows that a run wrote.

The row is written in the transaction that writes the rows, so it is there exactly if they are. The
token is the table's key: a second writing with it fails, and leaves nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.catalog.commits import COMMITS
from umbel.lazy import LazyModule

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


class CommitTable:
    """The statements for one table of tokens.

    >>> print(CommitTable("postgres", "public").find("umbel-7"))
    SELECT "rows" FROM "public"."umbel_commits" WHERE "token" = 'umbel-7'
    """

    def __init__(self, dialect: str, schema: str, catalog: str = "") -> None:
        self._dialect = dialect
        self._place = exp.table_(COMMITS, db=schema or None, catalog=catalog or None, quoted=True)

    def write(self, token: str, rows: int) -> list[str]:
        """Keep a token; the first statement makes the table if it is not there."""
        kinds = {"token": "TEXT", "rows": "BIGINT"}
        columns = [
            exp.ColumnDef(
                this=exp.to_identifier(name, quoted=True),
                kind=exp.DataType.build(kind),
                constraints=[exp.ColumnConstraint(kind=_constraint(name))],
            )
            for name, kind in kinds.items()
        ]
        made = exp.Create(
            this=exp.Schema(this=self._place.copy(), expressions=columns), kind="TABLE", exists=True
        )
        names = [exp.to_identifier(name, quoted=True) for name in kinds]
        values = exp.Values(
            expressions=[exp.Tuple(expressions=[exp.convert(token), exp.convert(rows)])]
        )
        into = exp.Schema(this=self._place.copy(), expressions=names)
        insert = exp.Insert(this=into, expression=values)
        return [made.sql(self._dialect), insert.sql(self._dialect)]

    def find(self, token: str) -> str:
        """Ask for the rows that were written with a token."""
        rows = exp.column("rows", quoted=True)
        query = exp.select(rows).from_(self._place.copy()).where(_is(token))
        return query.sql(self._dialect)

    def drop(self, token: str) -> str:
        """Forget a token."""
        return exp.Delete(this=self._place.copy(), where=exp.Where(this=_is(token))).sql(
            self._dialect
        )

    def any(self) -> str:
        """Ask for some token."""
        token = exp.column("token", quoted=True)
        return exp.select(token).from_(self._place.copy()).limit(1).sql(self._dialect)

    def remove(self) -> str:
        """Remove the table."""
        return exp.Drop(tables=[self._place.copy()], kind="TABLE").sql(self._dialect)


def _is(token: str) -> exp.Expr:
    return exp.EQ(this=exp.column("token", quoted=True), expression=exp.convert(token))


def _constraint(name: str) -> exp.Expr:
    return exp.PrimaryKeyColumnConstraint() if name == "token" else exp.NotNullColumnConstraint()


__all__ = ["CommitTable"]
