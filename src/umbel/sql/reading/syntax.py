"""Text to sqlglot's syntax trees, and a reader of their nodes that leaves nothing out.

A node of sqlglot keeps what was written in a dictionary of arguments, and new releases add keys.
Whoever lowers a node reads its arguments through `Syntax`; what nobody read is an error, so that
no part of a statement is ever silently ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlglot
from sqlglot import expressions as exp
from sqlglot.errors import ParseError, TokenError
from sqlglot.tokenizer_core import Token, TokenType

from umbel.plan.errors import UnknownNameError
from umbel.sql.reading.errors import SqlError, start_of

#: The dialect in which SQL is read unless another is asked for.
DEFAULT_DIALECT = "duckdb"

#: A statement longer than this is refused: reading takes time and memory for every token.
LONGEST = 1_000_000


class Syntax:
    """One node of a syntax tree, which remembers what of it was read."""

    __slots__ = ("_left", "node")

    def __init__(self, node: exp.Expr) -> None:
        self.node = node
        self._left = {
            key
            for key, value in node.args.items()
            if value is not None and value is not False and value != [] and value != ""
        }

    def __getitem__(self, key: str) -> Any:
        """Read an argument; None if it was not written."""
        self._left.discard(key)
        return self.node.args.get(key)

    def many(self, key: str) -> list[Any]:
        """Read an argument that is a list."""
        return self[key] or []

    def finish(self) -> None:
        """Raise `Unread` if some argument that was written has not been read."""
        if self._left:
            raise UnreadError(self.node, sorted(self._left))


class UnreadError(Exception):
    """A part of a node that nothing has read."""

    def __init__(self, node: exp.Expr, keys: list[str]) -> None:
        super().__init__(f"{type(node).__name__}: {', '.join(keys)}")
        self.node = node
        self.keys = keys


@contextmanager
def reading(node: exp.Expr) -> Iterator[Syntax]:
    """Read a node inside a `with` block, at whose end all of it must have been read."""
    syntax = Syntax(node)
    yield syntax
    syntax.finish()


def parse(text: str, dialect: str = DEFAULT_DIALECT) -> exp.Expr:
    """Read one statement.

    Raises:
        SqlError: the text is not one statement of the dialect.

    >>> type(parse("select 1")).__name__
    'Select'
    >>> parse("select a b c from t")
    Traceback (most recent call last):
    umbel.sql.reading.errors.SqlError: invalid expression or unexpected token 'c' at line 1, ...
      | select a b c from t
      |            ^
      ...
    """
    check_dialect(dialect)
    if len(text) > LONGEST:
        raise SqlError(f"the statement has {len(text)} characters; the most is {LONGEST}")
    try:
        statements = [tree for tree in _parse(text, dialect) if tree is not None]
    except ParseError as error:
        raise _syntax_error(text, error, dialect) from None
    except TokenError as error:
        raise SqlError(
            f"the text cannot be split into words: {str(error).splitlines()[0]}",
            hint="a quote or a comment that is not closed is the usual reason",
        ) from None
    except RecursionError:
        raise SqlError("the statement is nested too deeply", hint="use WITH") from None
    statements = [tree for tree in statements if not isinstance(tree, exp.Semicolon)]
    if not statements:
        raise SqlError("there is no statement in the text", hint="write a SELECT")
    if len(statements) > 1:
        raise SqlError(
            f"the text has {len(statements)} statements",
            hint="give one at a time; WITH names the steps of one statement",
            text=text,
            start=start_of(statements[1]),
        )
    tree: exp.Expr = statements[0]
    if isinstance(tree, exp.Command):
        word = str(tree.this).upper()
        raise SqlError(
            f"{word} is not supported",
            hint="a statement is a query, CREATE TABLE AS, INSERT INTO, or COPY (query) TO 'file'",
        )
    return tree


def _parse(text: str, dialect: str) -> list[exp.Expr | None]:
    """Parse, with the parameters `?` numbered in the order of the text.

    sqlglot's nodes of `?` do not know their place; those of `$1` know their number.
    """
    if "?" not in text:
        return sqlglot.parse(text, read=dialect)
    known = sqlglot.Dialect.get_or_raise(dialect)
    tokens: list[Token] = []
    count = 0
    for token in known.tokenize(text):
        if token.token_type is not TokenType.PLACEHOLDER:
            tokens.append(token)
            continue
        count += 1
        place = (token.line, token.col, token.start, token.end)
        tokens.append(Token(TokenType.PARAMETER, "$", *place))
        tokens.append(Token(TokenType.NUMBER, str(count), *place))
    return known.parser().parse(tokens, text)


def check_dialect(dialect: str) -> None:
    """Raise `UnknownNameError` unless sqlglot reads the dialect."""
    known = sorted(name.value for name in sqlglot.Dialects if name.value)
    if dialect not in known:
        raise UnknownNameError("SQL dialect", dialect, known)


def _syntax_error(text: str, error: ParseError, dialect: str) -> SqlError:
    first = error.errors[0] if error.errors else {}
    what = str(first.get("description") or "syntax error").split(" but got <Token", 1)[0]
    what = what.replace(
        "Invalid expression / Unexpected token", "invalid expression or unexpected token"
    )
    word = str(first.get("highlight") or "")
    line, column = first.get("line"), first.get("col")
    if not line or column is None:
        return SqlError(what, hint=_dialect_hint(dialect))
    # sqlglot says where the token ends.
    lines = text.split("\n")
    ends = sum(len(row) + 1 for row in lines[: line - 1]) + column
    start = max(0, min(ends - max(1, len(word)), len(text)))
    shown = f"{what[:1].lower()}{what[1:]}" + (f" {word!r}" if word else "")
    return SqlError(shown, hint=_dialect_hint(dialect), text=text, start=start)


def _dialect_hint(dialect: str) -> str:
    return f"the text is read as {dialect} SQL; another dialect is asked for by dialect=..."
