"""SQL's columns and constants, comparisons and logic, conditions and casts."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.plan.expressions import Case, Literal
from umbel.plan.types import (
    BOOL,
    STRING,
    common_type,
    is_integer,
    is_numeric,
    is_string,
    type_name,
)
from umbel.sql.reading.binder import Binder
from umbel.sql.reading.names import Scope, name_of
from umbel.sql.reading.registry import binds
from umbel.sql.reading.syntax import Syntax, reading
from umbel.sql.reading.types import read_type
from umbel.sql.reading.values import (
    Value,
    boolean,
    call,
    cast,
    constant,
    meet,
    number,
)


@binds(exp.Column)
def _column(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    parts = [syntax[key] for key in ("catalog", "db", "table", "this")]
    names = [name_of(part) for part in parts if part is not None]
    if isinstance(parts[-1], exp.Star):
        raise PlanError("* can stand only in a SELECT list and in count(*)")
    *qualifier, name = names
    if len(names) > 1 and not scope_has(scope, qualifier):
        # `a.b` may be field b of a column a.
        field = _field_of_column(binder, syntax, scope)
        if field is not None:
            return field
    return binder.column(syntax.node, qualifier, name, scope)


def scope_has(scope: Scope | None, qualifier: list) -> bool:  # type: ignore[type-arg]
    """Whether some scope in reach has a table that the qualifier means."""
    while scope is not None:
        if scope.item(qualifier) is not None:
            return True
        scope = scope.parent
    return False


def _field_of_column(binder: Binder, syntax: Syntax, scope: Scope) -> Value | None:
    parts = [syntax.node.args.get(key) for key in ("catalog", "db", "table", "this")]
    names = [name_of(part) for part in parts if part is not None]
    for length in range(1, len(names)):
        qualifier, name, fields = names[: length - 1], names[length - 1], names[length:]
        level: Scope | None = scope
        while level is not None:
            found = level.find(qualifier, name)
            if len(found) == 1:
                only = found[0]
                value = binder.columns.value(only) if isinstance(only, str) else only
                if pa.types.is_struct(value.dtype):
                    for field in fields:
                        value = struct_field(value, field.text)
                    return value
            level = level.parent
    return None


def struct_field(value: Value, name: str) -> Value:
    """Take a field of a struct; upper and lower case count only where the field has a twin."""
    names = [field.name for field in value.dtype]
    exact = name if name in names else next((n for n in names if n.lower() == name.lower()), name)
    return call("struct_field", value, constant(exact, STRING))


@binds(exp.Dot)
def _dot(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return struct_field(binder.value(syntax["this"], scope), name_of(syntax["expression"]).text)


@binds(exp.Paren)
def _paren(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return binder.value(syntax["this"], scope)


@binds(exp.Literal)
def _literal(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    written = syntax["this"]
    if syntax["is_string"]:
        return Value(Literal(written, STRING), STRING, nullable=False, untyped=True)
    return number(written)


@binds(exp.RawString, exp.National)
def _raw(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return Value(Literal(syntax["this"], STRING), STRING, nullable=False, untyped=True)


@binds(exp.Null)
def _null(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return constant(None, pa.null())


@binds(exp.Boolean)
def _boolean(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return constant(bool(syntax["this"]), BOOL)


# Comparison and logic

_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "equal",
    exp.NEQ: "not_equal",
    exp.LT: "less",
    exp.LTE: "less_equal",
    exp.GT: "greater",
    exp.GTE: "greater_equal",
    exp.NullSafeEQ: "is_not_distinct_from",
    exp.NullSafeNEQ: "is_distinct_from",
}


@binds(*_COMPARISONS)
def _comparison(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    left, right = syntax["this"], syntax["expression"]
    function = _COMPARISONS[type(syntax.node)]
    if isinstance(right, exp.Any | exp.All):
        from umbel.sql.reading.subqueries import quantified

        return quantified(binder, left, function, right, scope)
    if isinstance(left, exp.Tuple) and isinstance(right, exp.Tuple):
        return rows_compared(binder, left, function, right, scope)
    return compare(function, binder.value(left, scope), binder.value(right, scope))


def compare(function: str, left: Value, right: Value) -> Value:
    """Compare two values in types that meet."""
    return call(function, *meet(left, right))


def rows_compared(
    binder: Binder, left: exp.Expr, function: str, right: exp.Expr, scope: Scope
) -> Value:
    """Compare rows item by item; only for equality."""
    pairs = list(zip(left.expressions, right.expressions, strict=False))
    if len(left.expressions) != len(right.expressions) or not pairs:
        raise PlanError("rows that are compared must have equally many items")
    equals = [compare("equal", binder.value(a, scope), binder.value(b, scope)) for a, b in pairs]
    both = conjoin(*equals)
    if function == "equal":
        return both
    if function == "not_equal":
        return call("not", both)
    raise PlanError("rows can be compared by = and <> only")


def conjoin(*values: Value) -> Value:
    """Join conditions by AND."""
    return values[0] if len(values) == 1 else call("and", *values)


@binds(exp.And, exp.Or)
def _and_or(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    kind = type(syntax.node)
    parts: list[Value] = []
    # Long chains nest to the left; they are read without recursion.
    stack = [syntax["expression"], syntax["this"]]
    while stack:
        node = stack.pop()
        if type(node) is kind:
            with reading(node) as inner:
                stack += [inner["expression"], inner["this"]]
        else:
            parts.append(
                boolean(binder.value(node, scope), f"an operand of {kind.__name__.upper()}")
            )
    return call("and" if kind is exp.And else "or", *parts)


@binds(exp.Not)
def _not(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return negated(boolean(binder.value(syntax["this"], scope), "the operand of NOT"))


def negated(value: Value) -> Value:
    """The opposite of a condition."""
    return call("not", value)


@binds(exp.Xor)
def _xor(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    left, right = binder.value(syntax["this"], scope), binder.value(syntax["expression"], scope)
    return call("xor", boolean(left, "an operand of XOR"), boolean(right, "an operand of XOR"))


@binds(exp.Is)
def _is(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = binder.value(syntax["this"], scope)
    what = syntax["expression"]
    if isinstance(what, exp.Null):
        return call("is_null", value)
    if isinstance(what, exp.Boolean):
        wanted = constant(bool(what.this), BOOL)
        return call("is_not_distinct_from", boolean(value, "the operand of IS"), wanted)
    raise PlanError("IS is followed by NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM")


@binds(exp.Between)
def _between(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = binder.value(syntax["this"], scope)
    low, high = binder.value(syntax["low"], scope), binder.value(syntax["high"], scope)
    if syntax["symmetric"]:
        low, high = call("least", *meet(low, high)), call("greatest", *meet(low, high))
    above = compare("greater_equal", value, low)
    below = compare("less_equal", value, high)
    return call("and", above, below)


@binds(exp.In)
def _in(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    from umbel.sql.reading.subqueries import member

    query, items = syntax["query"], syntax.many("expressions")
    unnest, field = syntax["unnest"], syntax["field"]
    operand = syntax["this"]
    if query is not None:
        found = member(binder, operand, query, scope)
    elif unnest is not None or field is not None:
        raise PlanError("IN takes a list in parentheses or a subquery")
    elif isinstance(operand, exp.Tuple):
        either = [rows_compared(binder, operand, "equal", item, scope) for item in items]
        found = either[0] if len(either) == 1 else call("or", *either)
    else:
        value = binder.value(operand, scope)
        choices = [meet(value, binder.value(item, scope)) for item in items]
        if all(v is value for v, _ in choices):
            found = call("is_in", value, *(choice for _, choice in choices))
        else:
            equal = [call("equal", *pair) for pair in choices]
            found = equal[0] if len(equal) == 1 else call("or", *equal)
    return negated(found) if syntax["negate"] else found


# Conditions and casts


@binds(exp.Case)
def _case(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    subject = None if syntax["this"] is None else binder.value(syntax["this"], scope)
    branches = []
    for node in syntax.many("ifs"):
        with reading(node) as branch:
            condition = binder.value(branch["this"], scope)
            if subject is not None:
                condition = compare("equal", subject, condition)
            branches.append((boolean(condition, "WHEN"), binder.value(branch["true"], scope)))
    default = syntax["default"]
    otherwise = None if default is None else binder.value(default, scope)
    return case(branches, otherwise)


@binds(exp.If)
def _if(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    condition = boolean(binder.value(syntax["this"], scope), "the condition of IF")
    default = syntax["false"]
    otherwise = None if default is None else binder.value(default, scope)
    return case([(condition, binder.value(syntax["true"], scope))], otherwise)


def case(branches: list[tuple[Value, Value]], otherwise: Value | None) -> Value:
    """Choose a value by conditions, in the type that all values share."""
    values = [value for _, value in branches] + ([] if otherwise is None else [otherwise])
    values = unified(values)
    last = values[-1] if otherwise is not None else None
    pairs = tuple((c.node, v.node) for (c, _), v in zip(branches, values, strict=False))
    node = Case(pairs, None if last is None else last.node)
    nullable = last is None or any(value.nullable for value in values)
    dtype = pa.null()
    for value in values:
        dtype = common_type(dtype, value.dtype)
    return Value(node, dtype, nullable)


def unified(values: list[Value]) -> list[Value]:
    """Give untyped constants the type of the others; types that do not meet are an error."""
    typed = [value for value in values if not value.untyped]
    if not typed or len(typed) == len(values):
        return [replace(value, untyped=False) for value in values]
    dtype = pa.null()
    for value in typed:
        dtype = common_type(dtype, value.dtype)
    if pa.types.is_null(dtype) or is_string(dtype):
        return [replace(value, untyped=False) for value in values]
    return [cast(value, dtype) if value.untyped else value for value in values]


@binds(exp.Coalesce)
def _coalesce(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    nodes = [syntax["this"], *syntax.many("expressions")]
    _ = syntax["is_nvl"], syntax["is_null"]  # how it was spelled
    values = unified([binder.value(node, scope) for node in nodes])
    found = call("coalesce", *values)
    return replace(found, nullable=all(value.nullable for value in values))


@binds(exp.Nullif)
def _nullif(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    left, right = binder.value(syntax["this"], scope), binder.value(syntax["expression"], scope)
    return call("null_if", *meet(left, right))


@binds(exp.Greatest, exp.Least)
def _greatest(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    nodes = [syntax["this"], *syntax.many("expressions")]
    if not syntax["ignore_nulls"] and binder.dialect not in ("duckdb", "postgres"):
        raise PlanError(f"{type(syntax.node).__name__} differs here in {binder.dialect}")
    values = unified([binder.value(node, scope) for node in nodes if node is not None])
    return call("greatest" if isinstance(syntax.node, exp.Greatest) else "least", *values)


@binds(exp.Cast, exp.TryCast)
def _cast(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    strict = isinstance(syntax.node, exp.Cast) and not isinstance(syntax.node, exp.TryCast)
    _ = syntax["safe"]  # says again that it is TRY_CAST
    dtype = read_type(syntax["to"])
    return convert(binder.value(syntax["this"], scope), dtype, strict=strict)


def convert(value: Value, dtype: pa.DataType, *, strict: bool = True) -> Value:
    """Cast as SQL does where that differs from the plan's cast: numbers round to integers."""
    source = value.dtype
    if is_integer(dtype) and (pa.types.is_decimal(source) or pa.types.is_floating(source)):
        rounding = "round" if pa.types.is_decimal(source) else "round_half_even"
        return cast(call(rounding, value), dtype, strict=strict)
    if is_string(source) and (
        is_numeric(dtype) or pa.types.is_boolean(dtype) or pa.types.is_temporal(dtype)
    ):
        if isinstance(value.node, Literal) and isinstance(value.node.value, str):
            value = constant(value.node.value.strip(), STRING)
        else:
            value = call("strip", value)
    if pa.types.is_time(dtype) and pa.types.is_timestamp(source):
        raise PlanError(f"there is no cast from {type_name(source)} to time")
    return cast(value, dtype, strict=strict)
