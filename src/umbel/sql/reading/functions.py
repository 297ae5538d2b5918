"""SQL's scalar functions, by sqlglot's node or by name, as functions of the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import Literal
from umbel.plan.functions import CATALOGUE, Kind
from umbel.plan.types import INT64, STRING, is_integer, is_list, is_string
from umbel.sql.reading import aggregates, temporal
from umbel.sql.reading.binder import Binder
from umbel.sql.reading.names import Scope
from umbel.sql.reading.operators import struct_field
from umbel.sql.reading.registry import binds
from umbel.sql.reading.syntax import Syntax, reading
from umbel.sql.reading.values import Value, call, cast, constant, integer, text

#: Nodes whose arguments go to a function of the catalogue as they stand, in this order.
_PLAIN: dict[type[exp.Expr], tuple[str, tuple[str, ...]]] = {
    exp.Abs: ("abs", ("this",)),
    exp.Acos: ("acos", ("this",)),
    exp.Asin: ("asin", ("this",)),
    exp.Atan: ("atan", ("this",)),
    exp.Atan2: ("atan2", ("this", "expression")),
    exp.Cbrt: ("cbrt", ("this",)),
    exp.Cos: ("cos", ("this",)),
    exp.Cosh: ("cosh", ("this",)),
    exp.Degrees: ("degrees", ("this",)),
    exp.Exp: ("exp", ("this",)),
    exp.Ln: ("ln", ("this",)),
    exp.Pi: ("pi", ()),
    exp.Radians: ("radians", ("this",)),
    exp.Sign: ("sign", ("this",)),
    exp.Sin: ("sin", ("this",)),
    exp.Sinh: ("sinh", ("this",)),
    exp.Sqrt: ("sqrt", ("this",)),
    exp.Tan: ("tan", ("this",)),
    exp.Tanh: ("tanh", ("this",)),
    exp.IsNan: ("is_nan", ("this",)),
    exp.IsInf: ("is_infinite", ("this",)),
    exp.StructExtract: ("struct_field", ("this", "expression")),
    exp.ArraySize: ("list_length", ("this",)),
    exp.ArrayReverse: ("list_reverse", ("this",)),
    exp.ArrayDistinct: ("list_distinct", ("this",)),
    exp.ArraySum: ("list_sum", ("this",)),
    exp.ArrayMax: ("list_max", ("this",)),
    exp.ArrayMin: ("list_min", ("this",)),
    exp.ArrayContains: ("list_contains", ("this", "expression")),
}

#: As `_PLAIN`, for functions of text: other values are converted first.
_OF_TEXT: dict[type[exp.Expr], tuple[str, tuple[str, ...]]] = {
    exp.Upper: ("upper", ("this",)),
    exp.Lower: ("lower", ("this",)),
    exp.Length: ("length", ("this",)),
    exp.ByteLength: ("byte_length", ("this",)),
    exp.Reverse: ("reverse", ("this",)),
    exp.MD5: ("md5", ("this",)),
    exp.Ascii: ("ord", ("this",)),
    exp.Unicode: ("ord", ("this",)),
    exp.StartsWith: ("starts_with", ("this", "expression")),
    exp.EndsWith: ("ends_with", ("this", "expression")),
    exp.Contains: ("contains", ("this", "expression")),
    exp.Levenshtein: ("levenshtein", ("this", "expression")),
    exp.Translate: ("translate", ("this", "from_", "to")),
}

#: Functions of the catalogue that go by the same name, and other names that some have.
_NAMES: dict[str, str] = {
    "to_days": "", "sha256": "sha256", "md5": "md5", "strlen": "byte_length",
    "date_part": "", "datepart": "", "make_timestamp": "make_timestamp", "isfinite": "is_finite",
    "log2": "log2", "log10": "log10", "even": "", "list_sort": "list_sort",
    "array_sort": "list_sort", "list_concat": "list_concat", "list_distinct": "list_distinct",
    "list_sum": "list_sum", "list_min": "list_min", "list_max": "list_max",
    "list_reverse": "list_reverse", "list_contains": "list_contains", "list_length": "list_length",
    "ord": "ord", "bit_length": "", "epoch_us": "epoch_us", "epoch": "epoch",
    "make_date": "make_date", "regexp_count": "regexp_count", "prefix": "starts_with",
    "suffix": "ends_with", "isodow": "weekday", "trunc": "truncate", "string_split": "split",
    "str_split": "split", "octet_length": "byte_length", "to_hex": "", "ends_with": "ends_with",
    "starts_with": "starts_with", "monthname": "", "microsecond": "", "millisecond": "",
    "round_even": "round_half_even", "bitwise_not": "bitwise_not", "list_value": "make_list",
    "array_to_string": "list_join", "array_length": "list_length",
}  # fmt: skip


@binds(*_PLAIN)
def _plain(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    name, keys = _PLAIN[type(syntax.node)]
    values = [binder.value(syntax[key], scope) for key in keys]
    for key in ("nulls_excluded", "ensure_variant", "check_null"):
        if key in syntax.node.args:
            _ = syntax[key]
    return call(name, *(replace(value, untyped=False) for value in values))


@binds(*_OF_TEXT)
def _of_text(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    name, keys = _OF_TEXT[type(syntax.node)]
    values = [binder.value(syntax[key], scope) for key in keys]
    if name in ("length", "reverse", "contains") and is_list(values[0].dtype):
        return call({"contains": "list_contains"}.get(name, f"list_{name}"), *values)
    return call(name, *map(text, values))


@binds(exp.Substring)
def _substring(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = text(binder.value(syntax["this"], scope))
    start, length = syntax["start"], syntax["length"]
    first = integer(1) if start is None else binder.value(start, scope)
    if isinstance(first.node, Literal) and is_integer(first.dtype) and first.node.value is not None:
        if first.node.value < 0 and binder.dialect == "duckdb":
            # DuckDB counts a negative start from the end.
            if length is None:
                return call("right", value, integer(-first.node.value))
            raise PlanError("substring from the end takes no length here", hint="use right(...)")
    elif binder.dialect == "duckdb" and not is_integer(first.dtype):
        raise PlanError("substring takes whole numbers")
    more = [] if length is None else [cast(binder.value(length, scope), INT64)]
    return call("substring", value, cast(first, INT64), *more)


@binds(exp.Trim)
def _trim(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = text(binder.value(syntax["this"], scope))
    side = str(syntax["position"] or "BOTH").upper()
    name = {"BOTH": "strip", "LEADING": "strip_start", "TRAILING": "strip_end"}[side]
    characters = syntax["expression"]
    # SQL's trim takes spaces off, not all white space.
    marks = constant(" ", STRING) if characters is None else text(binder.value(characters, scope))
    return call(name, value, marks)


@binds(exp.Pad)
def _pad(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = text(binder.value(syntax["this"], scope))
    width = cast(binder.value(syntax["expression"], scope), INT64)
    fill = syntax["fill_pattern"]
    mark = constant(" ", STRING) if fill is None else text(binder.value(fill, scope))
    name = "pad_start" if syntax["is_left"] else "pad_end"
    # SQL's lpad cuts what is longer than the width.
    return call("left", call(name, value, width, mark), call("greatest", width, integer(0)))


@binds(exp.Left, exp.Right)
def _left(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    name = "left" if isinstance(syntax.node, exp.Left) else "right"
    value = text(binder.value(syntax["this"], scope))
    return call(name, value, binder.value(syntax["expression"], scope))


@binds(exp.Replace)
def _replace(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    values = [text(binder.value(syntax[k], scope)) for k in ("this", "expression")]
    replacement = syntax["replacement"]
    last = constant("", STRING) if replacement is None else text(binder.value(replacement, scope))
    if isinstance(values[1].node, Literal) and values[1].node.value == "":
        return values[0]
    return call("replace_all", *values, last)


@binds(exp.StrPosition)
def _position(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    values = [text(binder.value(syntax[k], scope)) for k in ("this", "substr")]
    return call("position", *values)


@binds(exp.Repeat)
def _repeat(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return call(
        "repeat",
        text(binder.value(syntax["this"], scope)),
        cast(binder.value(syntax["times"], scope), INT64),
    )


@binds(exp.Chr)
def _chr(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    (node,) = syntax.many("expressions")
    return call("chr", binder.value(node, scope))


@binds(exp.Initcap)
def _initcap(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    _ = syntax["expression"]  # the characters between words, which are the dialect's own
    return call("initcap", text(binder.value(syntax["this"], scope)))


@binds(exp.Concat)
def _concat(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    nodes = syntax.many("expressions")
    _ = syntax["safe"]
    values = [binder.value(node, scope) for node in nodes]
    if any(is_list(value.dtype) for value in values):
        return call("list_concat", *values)
    values = [text(value) for value in values]
    if syntax["coalesce"]:
        # Here concat(...) leaves out nulls, while || gives null.
        values = [call("coalesce", v, constant("", STRING)) if v.nullable else v for v in values]
    return call("concat", *values)


@binds(exp.ConcatWs)
def _concat_ws(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    _ = syntax["safe"], syntax["coalesce"]
    values = [text(binder.value(node, scope)) for node in syntax.many("expressions")]
    return call("concat_ws", *values)


@binds(exp.Split, exp.StringToArray)
def _split(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return call(
        "split",
        text(binder.value(syntax["this"], scope)),
        text(binder.value(syntax["expression"], scope)),
    )


@binds(exp.SplitPart)
def _split_part(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return call(
        "split_part",
        text(binder.value(syntax["this"], scope)),
        text(binder.value(syntax["delimiter"], scope)),
        binder.value(syntax["part_index"], scope),
    )


@binds(exp.RegexpReplace)
def _regexp_replace(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value, pattern = binder.value(syntax["this"], scope), binder.value(syntax["expression"], scope)
    replacement = syntax["replacement"]
    last = constant("", STRING) if replacement is None else binder.value(replacement, scope)
    modifiers = syntax["modifiers"]
    flags = "" if modifiers is None else str(modifiers.this)
    single = syntax["single_replace"]
    every = "g" in flags or not single
    marks = "".join(sorted({flag for flag in flags if flag in "ims"}))
    if set(flags) - set("gims"):
        raise PlanError(f"the flags {flags!r} of regexp_replace are not supported")
    if marks and isinstance(pattern.node, Literal):
        pattern = constant(f"(?{marks}){pattern.node.value}", STRING)
    return call(
        "regexp_replace_all" if every else "regexp_replace", text(value), text(pattern), text(last)
    )


@binds(exp.RegexpExtract)
def _regexp_extract(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    values = [text(binder.value(syntax[k], scope)) for k in ("this", "expression")]
    group = syntax["group"]
    _ = syntax["null_if_pos_overflow"]
    more = [] if group is None else [cast(binder.value(group, scope), INT64)]
    found = call("regexp_extract", *values, *more)
    # DuckDB gives the empty text where nothing matches; null stays null.
    return call("coalesce", found, call("left", values[0], integer(0)))


@binds(exp.Round)
def _round(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value, decimals = binder.value(syntax["this"], scope), syntax["decimals"]
    more = [] if decimals is None else [binder.value(decimals, scope)]
    return call("round", value, *more)


@binds(exp.Trunc)
def _trunc(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value, decimals = binder.value(syntax["this"], scope), syntax["decimals"]
    more = [] if decimals is None else [binder.value(decimals, scope)]
    _ = "fractions_supported" in syntax.node.args and syntax["fractions_supported"]
    return call("truncate", value, *more)


@binds(exp.Ceil, exp.Floor)
def _ceil(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    if syntax["decimals"] is not None or syntax["to"] is not None:
        raise PlanError("ceil and floor take one argument")
    name = "ceil" if isinstance(syntax.node, exp.Ceil) else "floor"
    return call(name, binder.value(syntax["this"], scope))


@binds(exp.Log)
def _log(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    first, second = binder.value(syntax["this"], scope), syntax["expression"]
    if second is None:
        return call("log10", first)
    # The base stands first in SQL.
    return call("log", binder.value(second, scope), first)


@binds(exp.Bracket)
def _bracket(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = binder.value(syntax["this"], scope)
    items = syntax.many("expressions")
    _ = syntax["offset"], syntax["safe"], syntax["returns_list_for_maps"]
    if len(items) != 1:
        raise PlanError("a list is indexed by one number")
    (item,) = items
    if isinstance(item, exp.Slice):
        with reading(item) as bounds:
            ends = [bounds["this"], bounds["expression"]]
        first = integer(1) if ends[0] is None else binder.value(ends[0], scope)
        start = call("subtract", cast(first, INT64), integer(1))
        name = "slice" if is_string(value.dtype) else "list_slice"
        more = [] if ends[1] is None else [cast(binder.value(ends[1], scope), INT64)]
        return call(name, value, start, *more)
    index = binder.value(item, scope)
    if pa.types.is_struct(value.dtype) and isinstance(index.node, Literal):
        return struct_field(value, str(index.node.value))
    # sqlglot counts from 0, whatever the dialect does.
    return call("list_get", value, index)


@binds(exp.Array)
def _array(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    _ = syntax["value_constructor"], syntax["bracket_notation"]
    values = [binder.value(node, scope) for node in syntax.many("expressions")]
    if not values:
        raise PlanError("an empty list has no type", hint="cast a list that is not empty")
    from umbel.sql.reading.operators import unified

    return call("make_list", *unified(values))


@binds(exp.Struct)
def _struct(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    arguments: list[Value] = []
    for node in syntax.many("expressions"):
        if not isinstance(node, exp.PropertyEQ):
            raise PlanError("a struct is written {'name': value, ...}")
        with reading(node) as pair:
            arguments.append(constant(pair["this"].name, STRING))
            arguments.append(replace(binder.value(pair["expression"], scope), untyped=False))
    return call("make_struct", *arguments)


@binds(exp.ArrayToString)
def _array_to_string(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    if syntax["null"] is not None:
        raise PlanError("array_to_string with a text for null is not supported")
    _ = "null_is_empty" in syntax.node.args and syntax["null_is_empty"]
    _ = "null_delim_is_null" in syntax.node.args and syntax["null_delim_is_null"]
    return call(
        "list_join",
        binder.value(syntax["this"], scope),
        text(binder.value(syntax["expression"], scope)),
    )


#: Stands before the name of a function of the catalogue; see `umbel.sql.writing`.
PREFIX = "umbel_"

Anonymous = Callable[[Binder, list[exp.Expr], Scope], Value]


def _date_part(binder: Binder, nodes: list[exp.Expr], scope: Scope) -> Value:
    word = binder.value(nodes[0], scope).node
    if not isinstance(word, Literal):
        raise PlanError("date_part takes the part as a text constant")
    return temporal.part(str(word.value), binder.value(nodes[1], scope), binder)


_SPECIAL: dict[str, Anonymous] = {"date_part": _date_part, "datepart": _date_part}


@binds(exp.Anonymous)
def _anonymous(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    name, nodes = str(syntax["this"]).lower(), syntax.many("expressions")
    if name in _SPECIAL:
        return _SPECIAL[name](binder, nodes, scope)
    if name.startswith(PREFIX):
        return _of_catalogue(binder, name.removeprefix(PREFIX), nodes, scope)
    if name in aggregates.ANONYMOUS:
        if not nodes:
            raise PlanError(f"{name} takes an argument")
        return aggregates.anonymous(binder, name, nodes, scope)
    known = _NAMES.get(name, "")
    if not known and name in CATALOGUE and CATALOGUE[name].kind is Kind.SCALAR:
        known = name
    if not known:
        raise UnknownNameError("function", name, _known_names())
    values = [replace(binder.value(node, scope), untyped=False) for node in nodes]
    return call(known, *values)


def _of_catalogue(binder: Binder, name: str, nodes: list[exp.Expr], scope: Scope) -> Value:
    """Bind a function of the catalogue by its own name, as `umbel.sql.writing` writes it."""
    row = CATALOGUE[name]
    if row.kind is Kind.AGGREGATE:
        return aggregates.of_catalogue(binder, name, nodes, scope)
    return call(name, *(replace(binder.value(node, scope), untyped=False) for node in nodes))


def _known_names() -> list[str]:
    scalar = [row.name for row in CATALOGUE.of_kind(Kind.SCALAR)]
    return sorted({*scalar, *(n for n, f in _NAMES.items() if f), *aggregates.ANONYMOUS, *_SPECIAL})
