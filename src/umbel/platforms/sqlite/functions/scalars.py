"""Forms on SQLite of scalar functions.

SQLite gives a float where an integer overflows: each operation looks at the kind of its result.
Texts are compared byte by byte, as blobs where a function of texts would stop at a NUL character.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Call as PlanCall
from umbel.plan.expressions import Expression, walk
from umbel.plan.functions.comparison import compared_type
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import common_type, is_float, is_integer
from umbel.platforms.sqlite.casts import cast, refuse_cast
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

Call: TypeAlias = "TypedCall[exp.Expr]"
Refusal: TypeAlias = Callable[[Sequence[Expression], Sequence[pa.DataType]], "str | None"]

#: Operations inside one another, each of which is written twice or more.
_DEEPEST = 3
_NO_NAN = "SQLite makes null of NaN, which such an operation on floats can give"


def binary(operator: type[exp.Binary], left: exp.Expr, right: exp.Expr) -> exp.Expr:
    """Apply an operator; the operands and the result are in parentheses."""
    return exp.Paren(this=operator(this=exp.Paren(this=left), expression=exp.Paren(this=right)))


def fail() -> exp.Expr:
    """Fail the run: the least integer has no absolute value."""
    least = exp.Paren(this=exp.maybe_parse("-9223372036854775807 - 1"))
    return exp.Abs(this=least)


def _integer(node: exp.Expr) -> exp.Expr:
    """Fail where an integer result became a float."""
    kind = function("typeof", node.copy())
    over = exp.EQ(this=kind, expression=exp.Literal.string("real"))
    return exp.Case(ifs=[exp.If(this=over, true=fail())], default=node)


def _refuse_comparison(name: str, first: int = 0) -> Refusal:
    def refuse(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
        for other in types[1:]:
            target = compared_type(name, types[first], other)
            for dtype in (types[first], other):
                reason = refuse_cast(dtype, target)
                if reason is not None:
                    return reason
        return None

    return refuse


def pair(call: Call, first: int, second: int) -> tuple[exp.Expr, exp.Expr]:
    """Bring two arguments to the type in which they are compared."""
    types = call.types[first], call.types[second]
    target = compared_type(call.row.name, *types)
    left, right = call.arguments[first].copy(), call.arguments[second].copy()
    return cast(left, types[0], target), cast(right, types[1], target)


def _comparison(name: str, operator: str) -> Form[exp.Expr]:
    return Form(
        lambda call: binary(getattr(exp, operator), *pair(call, 0, 1)), _refuse_comparison(name)
    )


def _between(call: Call) -> exp.Expr:
    low = binary(exp.GTE, *pair(call, 0, 1))
    return binary(exp.And, low, binary(exp.LTE, *pair(call, 0, 2)))


def _is_in(call: Call) -> exp.Expr:
    equal = [binary(exp.EQ, *pair(call, 0, i)) for i in range(1, len(call.arguments))]
    return reduce(lambda left, right: binary(exp.Or, left, right), equal)


def _joined(operator: str) -> Form[exp.Expr]:
    return Form(
        lambda call: reduce(
            lambda left, right: binary(getattr(exp, operator), left, right), call.arguments
        )
    )


def _refuse_arithmetic(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    for dtype in types:
        if is_float(dtype):
            return _NO_NAN
        if not is_integer(dtype):
            return "SQLite has it for integers only"
    inner = sum(isinstance(node, PlanCall) for root in nodes for node in walk(root))
    return "it stands over too many others" if inner > _DEEPEST else None


def _checked(operator: str) -> Form[exp.Expr]:
    return Form(
        lambda call: _integer(binary(getattr(exp, operator), *call.arguments)), _refuse_arithmetic
    )


def _negate(call: Call) -> exp.Expr:
    return _integer(binary(exp.Sub, exp.Literal.number(0), call.arguments[0]))


def _differ(call: Call) -> exp.Expr:
    """Whether a division has a rest, and its operands have different signs."""
    left, right = call.arguments
    zero = exp.Literal.number(0)
    rest = binary(exp.NEQ, binary(exp.Mod, left.copy(), right.copy()), zero)
    signs = binary(
        exp.NEQ,
        binary(exp.LT, left.copy(), zero.copy()),
        binary(exp.LT, right.copy(), zero.copy()),
    )
    return binary(exp.And, rest, signs)


def _quotient(call: Call) -> exp.Expr:
    """Divide integers; sqlglot would make the quotient a float."""
    left, right = call.arguments
    node = exp.Div(this=exp.Paren(this=left.copy()), expression=exp.Paren(this=right.copy()))
    node.set("typed", True)
    return _integer(exp.Paren(this=node))


def _floor_divide(call: Call) -> exp.Expr:
    return binary(exp.Sub, _quotient(call), _differ(call))


def _modulo(call: Call) -> exp.Expr:
    left, right = call.arguments
    rest = binary(exp.Mod, left.copy(), right.copy())
    moved = exp.Case(
        ifs=[exp.If(this=_differ(call), true=right.copy())], default=exp.Literal.number(0)
    )
    return binary(exp.Add, rest, moved)


def _coalesce(call: Call) -> exp.Expr:
    given = zip(call.arguments, call.types, strict=True)
    return function("coalesce", *(cast(node, dtype, call.dtype) for node, dtype in given))


def _refuse_common(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if len(types) < 2:
        return "SQLite wants two arguments"
    target = reduce(common_type, types)
    return next(filter(None, (refuse_cast(dtype, target) for dtype in types)), None)


def _null_if(call: Call) -> exp.Expr:
    same = binary(exp.EQ, *pair(call, 0, 1))
    return exp.Case(ifs=[exp.If(this=same, true=exp.Null())], default=call.arguments[0])


def _blob(node: exp.Expr) -> exp.Expr:
    return exp.Cast(this=node.copy(), to=exp.DataType.build("BLOB", dialect="sqlite"))


def _bytes(node: exp.Expr) -> exp.Expr:
    return function("length", _blob(node))


def _found(operator: str, bound: int) -> Form[exp.Expr]:
    """Compare the place, from 1, at which one text stands in another; 0 if it does not."""

    def build(call: Call) -> exp.Expr:
        text, part = call.arguments
        place = function("instr", _blob(text), _blob(part))
        return binary(getattr(exp, operator), place, exp.Literal.number(bound))

    return Form(build, _texts)


def _texts(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    return None if all(dtype == pa.string() for dtype in types) else "SQLite has it for text only"


def _is_null(call: Call, *, negated: bool = False) -> exp.Expr:
    node: exp.Expr = exp.Paren(
        this=exp.Is(this=exp.Paren(this=call.arguments[0]), expression=exp.Null())
    )
    return exp.Paren(this=exp.Not(this=node)) if negated else node


_CASE = Absent("SQLite knows upper and lower case of ASCII alone")
_REGEX = Absent("SQLite has no regular expressions")
_LENGTH = Absent("SQLite ends a text at its first NUL character there")
_TIME = Absent("SQLite keeps no times, and dates as text")
_ZERO = Absent("SQLite gives null where IEEE arithmetic gives infinity or NaN")

FORMS: dict[str, Form[Any] | Absent] = {
    "equal": _comparison("equal", "EQ"),
    "not_equal": _comparison("not_equal", "NEQ"),
    "less": _comparison("less", "LT"),
    "less_equal": _comparison("less_equal", "LTE"),
    "greater": _comparison("greater", "GT"),
    "greater_equal": _comparison("greater_equal", "GTE"),
    "is_distinct_from": _comparison("is_distinct_from", "NullSafeNEQ"),
    "is_not_distinct_from": _comparison("is_not_distinct_from", "NullSafeEQ"),
    "between": Form(_between, _refuse_comparison("between")),
    "is_in": Form(_is_in, _refuse_comparison("is_in")),
    "and": _joined("And"),
    "or": _joined("Or"),
    "not": Form(lambda call: exp.Paren(this=exp.Not(this=exp.Paren(this=call.arguments[0])))),
    "xor": Form(lambda call: binary(exp.NEQ, *call.arguments)),
    "is_null": Form(_is_null),
    "is_not_null": Form(lambda call: _is_null(call, negated=True)),
    "coalesce": Form(_coalesce, _refuse_common),
    "null_if": Form(_null_if, _refuse_comparison("null_if")),
    "add": _checked("Add"),
    "subtract": _checked("Sub"),
    "multiply": _checked("Mul"),
    "negate": Form(_negate, _refuse_arithmetic),
    "truncate_divide": Form(_quotient, _refuse_arithmetic),
    "remainder": Form(lambda call: binary(exp.Mod, *call.arguments), _refuse_arithmetic),
    "floor_divide": Form(_floor_divide, _refuse_arithmetic),
    "modulo": Form(_modulo, _refuse_arithmetic),
    "byte_length": Form(lambda call: _bytes(call.arguments[0]), _texts),
    "starts_with": _found("EQ", 1),
    "contains": _found("GT", 0),
    **dict.fromkeys(("lower", "upper", "title", "capitalize", "initcap", "ilike"), _CASE),
    **dict.fromkeys(
        ("regexp_matches", "regexp_replace", "regexp_replace_all", "regexp_extract"), _REGEX
    ),
    **dict.fromkeys(("length", "substring", "left", "right", "replace_all"), _LENGTH),
    **dict.fromkeys(("year", "month", "day", "hour", "date_trunc", "strftime"), _TIME),
    **dict.fromkeys(("divide", "sqrt", "ln", "log", "log10", "log2", "power", "exp"), _ZERO),
}
