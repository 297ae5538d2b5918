"""Functions that stand in FROM: those that read files, and ranges of numbers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.operators import Operator, Values
from umbel.sql.reading.binder import Binder, described
from umbel.sql.reading.names import Scope
from umbel.sql.reading.syntax import reading

_FILES: dict[type[exp.Expr], str] = {
    exp.ReadCSV: "read_csv",
    exp.ReadParquet: "read_parquet",
}
_FILE_FUNCTIONS = {
    "read_csv": "read_csv", "read_csv_auto": "read_csv", "read_parquet": "read_parquet",
    "parquet_scan": "read_parquet", "read_json": "read_json", "read_ndjson": "read_json",
    "read_json_auto": "read_json", "read_ndjson_auto": "read_json", "read_ipc": "read_ipc",
    "read_arrow": "read_ipc", "read_feather": "read_ipc",
}  # fmt: skip


def bind_table_function(binder: Binder, node: exp.Expr, scope: Scope) -> tuple[Operator, str]:
    """Bind a function in FROM; give its rows, and what they are called."""
    with reading(node) as syntax:
        name = _FILES.get(type(node)) or _FILE_FUNCTIONS.get(node.name.lower())
        arguments = []
        if type(node) in _FILES:
            first = syntax["this"]
            arguments = [*([] if first is None else [first]), *syntax.many("expressions")]
        elif isinstance(node, exp.Anonymous):
            _ = syntax["this"]
            arguments = syntax.many("expressions")
            if node.name.lower() in ("range", "generate_series"):
                return _range(binder, node.name.lower(), arguments, scope), node.name.lower()
        elif isinstance(node, exp.GenerateSeries | exp.ExplodingGenerateSeries):
            arguments = [syntax[key] for key in ("start", "end", "step") if syntax[key] is not None]
            excluded = syntax.node.args.get("is_end_exclusive") and syntax["is_end_exclusive"]
            word = "range" if excluded else "generate_series"
            return _range(binder, word, arguments, scope), word
    if name is None:
        raise PlanError(
            f"{described(node)} is no table function",
            hint=f"there are: {', '.join(sorted(set(_FILE_FUNCTIONS.values())))}, range, unnest",
        )
    paths: list[str] = []
    options: dict[str, Any] = {}
    for argument in arguments:
        if isinstance(argument, exp.EQ | exp.PropertyEQ | exp.Kwarg):
            options[argument.this.name.lower()] = _plain(binder, argument.expression, scope)
        else:
            value = _plain(binder, argument, scope)
            paths += value if isinstance(value, list) else [value]
    if not paths or not all(isinstance(path, str) for path in paths):
        raise PlanError(f"{name} takes the path of a file, or a list of them")
    return binder.tables.function(name, paths, options), name


def _range(binder: Binder, name: str, nodes: list[exp.Expr], scope: Scope) -> Operator:
    bounds = [_plain(binder, node, scope) for node in nodes]
    if not all(isinstance(bound, int) for bound in bounds) or not 1 <= len(bounds) <= 3:
        raise PlanError(f"{name} takes one to three whole numbers")
    start, stop, step = [0, *bounds, 1] if len(bounds) == 1 else [*bounds, 1][:3]
    if step == 0:
        raise PlanError(f"the step of {name} cannot be 0")
    numbers = range(start, stop + (0 if name == "range" else (1 if step > 0 else -1)), step)
    if len(numbers) > 10_000_000:
        raise PlanError(f"{name} gives {len(numbers)} rows; a plan holds at most 10,000,000")
    return Values(table=pa.table({name: pa.array(numbers, pa.int64())}))


def _plain(binder: Binder, node: exp.Expr, scope: Scope) -> Any:
    """Read a constant argument as a Python value."""
    if isinstance(node, exp.Array):
        return [_plain(binder, item, scope) for item in node.expressions]
    if isinstance(node, exp.Column | exp.Var):
        return node.name
    value = binder.value(node, Scope())
    if not isinstance(value.node, Literal):
        raise PlanError("an argument of a table function must be a constant")
    return value.node.value
