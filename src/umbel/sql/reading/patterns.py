"""LIKE, SIMILAR TO and regular expressions."""

from __future__ import annotations

from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.types import STRING
from umbel.sql.reading.binder import Binder
from umbel.sql.reading.names import Scope
from umbel.sql.reading.operators import negated
from umbel.sql.reading.registry import binds
from umbel.sql.reading.syntax import Syntax, reading
from umbel.sql.reading.values import Value, call, cast, constant, text


@binds(exp.Like, exp.ILike)
def _like(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    default = constant("\\", STRING) if binder.dialect in ("postgres", "mysql", "spark") else None
    return like(binder, syntax, scope, default)


@binds(exp.Escape)
def _escape(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    escape = cast(binder.value(syntax["expression"], scope), STRING)
    inner = syntax["this"]
    if not isinstance(inner, exp.Like | exp.ILike):
        raise PlanError("ESCAPE stands after LIKE or ILIKE only")
    with reading(inner) as like_syntax:
        return like(binder, like_syntax, scope, escape)


def like(binder: Binder, syntax: Syntax, scope: Scope, escape: Value | None) -> Value:
    """Bind LIKE or ILIKE with an escape character, if any."""
    name = "like" if isinstance(syntax.node, exp.Like) else "ilike"
    value, pattern = text(binder.value(syntax["this"], scope)), syntax["expression"]
    if isinstance(pattern, exp.Any | exp.All):
        raise PlanError("LIKE ANY and LIKE ALL are not supported", hint="write OR or AND")
    wanted = text(binder.value(pattern, scope))
    if escape is not None and isinstance(wanted.node, Literal) and isinstance(escape.node, Literal):
        mark = escape.node.value
        escape = None if not mark or mark not in str(wanted.node.value) else escape
    found = call(name, value, wanted, *([] if escape is None else [escape]))
    return negated(found) if syntax["negate"] else found


@binds(exp.RegexpLike, exp.RegexpILike)
def _regexp_like(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    pattern = _constant_text(binder.value(syntax["expression"], scope), "a regular expression")
    flags = ""
    if syntax["flag"] is not None:
        flags = _constant_text(binder.value(syntax["flag"], scope), "the flags")
    if isinstance(syntax.node, exp.RegexpILike):
        flags += "i"
    if syntax["full_match"]:
        pattern = f"^(?:{pattern})$"
    marks = "".join(sorted({flag for flag in flags if flag in "ims"}))
    value = text(binder.value(syntax["this"], scope))
    return call(
        "regexp_matches", value, constant(f"(?{marks}){pattern}" if marks else pattern, STRING)
    )


def _constant_text(value: Value, what: str) -> str:
    if not isinstance(value.node, Literal) or not isinstance(value.node.value, str):
        raise PlanError(f"{what} must be a text constant")
    return value.node.value


@binds(exp.SimilarTo)
def _similar(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    pattern = _constant_text(binder.value(syntax["expression"], scope), "the pattern of SIMILAR TO")
    value = text(binder.value(syntax["this"], scope))
    return call("regexp_matches", value, constant(_similar_regex(pattern, binder), STRING))


def _similar_regex(pattern: str, binder: Binder) -> str:
    r"""Translate an SQL pattern to a regular expression over the whole text.

    DuckDB reads SIMILAR TO as a regular expression; the standard and PostgreSQL have % and _.
    """
    if binder.dialect == "duckdb":
        return rf"\A(?s:{pattern})\z"
    out, escaped = [], False
    for c in pattern:
        if escaped:
            out.append("\\" + c if not c.isalnum() else c)
            escaped = False
        elif c == "\\":
            escaped = True
        else:
            out.append({"%": ".*", "_": ".", ".": r"\.", "^": r"\^", "$": r"\$"}.get(c, c))
    return rf"\A(?s:{''.join(out)})\z"
