"""Which expressions may be evaluated for rows that the plan did not evaluate them for.

A rule that moves an expression below a filter or a join makes engines evaluate it for more rows,
and so does an engine that evaluates all branches of a case. That is harmless only if the
expression cannot fail for any row.
"""

from __future__ import annotations

import pyarrow as pa

from umbel.plan.errors import TypeClashError
from umbel.plan.expressions import Call, Cast, Expression, walk
from umbel.plan.types import common_type, is_float, is_integer
from umbel.plan.typing import infer_type

#: Functions that can never fail, whatever their arguments.
TOTAL = frozenset(
    [
        "equal",
        "not_equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "between",
        "is_in",
        "is_distinct_from",
        "is_not_distinct_from",
        "and",
        "or",
        "not",
        "xor",
        "is_null",
        "is_not_null",
        "is_nan",
        "is_finite",
        "is_infinite",
        "coalesce",
        "null_if",
        "greatest",
        "least",
        "divide",
        "modulo",
        "remainder",
        "length",
        "byte_length",
        "lower",
        "upper",
        "strip",
        "strip_start",
        "strip_end",
        "contains",
        "starts_with",
        "ends_with",
        "like",
        "ilike",
        "regexp_matches",
        "concat",
        "substring",
        "slice",
        "left",
        "right",
        "split",
        "split_whitespace",
        "split_part",
        "replace",
        "position",
        "reverse",
        "year",
        "quarter",
        "month",
        "day",
        "weekday",
        "day_of_year",
        "hour",
        "minute",
        "second",
        "week",
        "sqrt",
        "sin",
        "cos",
        "tanh",
        "cbrt",
        "exp",
        "ln",
        "log10",
        "log2",
        "log",
        "power",
        "tan",
        "asin",
        "acos",
        "atan",
        "atan2",
        "sinh",
        "cosh",
        "degrees",
        "radians",
        "pi",
        "e",
        "sign",
        "floor",
        "ceil",
        "truncate",
        "bitwise_and",
        "bitwise_or",
        "bitwise_xor",
        "bitwise_not",
        "shift_right",
        "list_length",
        "list_get",
        "list_contains",
        "struct_field",
    ]
)


def cannot_fail(expression: Expression, schema: pa.Schema) -> bool:
    """Whether an expression has a value for every row a schema allows.

    >>> from umbel.plan.expressions import Column
    >>> cannot_fail(Column("a"), pa.schema([("a", pa.int64())]))
    True
    """
    return all(_total(node, schema) for node in walk(expression))


def _total(node: Expression, schema: pa.Schema) -> bool:
    match node:
        case Call(function):
            if function in ("add", "subtract", "multiply", "negate", "abs"):
                return is_float(infer_type(node, schema))
            return function in TOTAL
        case Cast(operand, dtype, strict):
            return not strict or _widens(infer_type(operand, schema), dtype)
    return True


def _widens(source: pa.DataType, target: pa.DataType) -> bool:
    if source == target:
        return True
    if is_integer(source) and is_float(target):
        return True
    try:
        return bool(common_type(source, target) == target) and not pa.types.is_decimal(target)
    except TypeClashError:
        return False
