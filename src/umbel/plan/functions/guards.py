"""Guards: functions that give their argument back, or fail the run.

A lifted Python function may use them where its relational form is only equal on some inputs: a
guard that fails makes the executor run the Python function instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from umbel.plan.errors import EvaluationError
from umbel.plan.functions.row import Function, Kind, Nulls, refuse


def _require(value: Any, condition: bool | None) -> Any:
    if condition is not True:
        raise EvaluationError(f"a guard failed for {value!r}")
    return value


def _require_type(types: Sequence[pa.DataType]) -> pa.DataType:
    if not (pa.types.is_boolean(types[1]) or pa.types.is_null(types[1])):
        raise refuse("require", types, "any value and a boolean")
    return types[0]


ROWS: tuple[Function, ...] = (
    Function(
        name="require",
        kind=Kind.SCALAR,
        arity=(2, 2),
        result=_require_type,
        semantics="The first argument if the second is true; otherwise the run fails.",
        reference=_require,
        nulls=Nulls.CALLED,
        examples=(((1, True), 1), ((None, True), None)),
    ),
)
