"""umbel: write a data pipeline once; it runs on the engines that serve it best.

>>> import umbel as ub
>>> session = ub.connect()
>>> counts = (
...     session.from_items(["to be or not", "to be"])
...     .flat_map(str.split)
...     .map(lambda w: (w.lower(), 1))
...     .reduce_by_key(lambda a, b: a + b)
... )
>>> sorted(counts.collect())
[('be', 2), ('not', 1), ('or', 1), ('to', 2)]
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from types import ModuleType

    from umbel.api import functions as _functions
    from umbel.api.dataframe import DataFrame as DataFrame
    from umbel.api.dataset import Dataset as Dataset
    from umbel.api.expressions import Expr as Expr
    from umbel.api.expressions import col as col
    from umbel.api.expressions import exclude as exclude
    from umbel.api.expressions import lit as lit
    from umbel.api.expressions import when as when
    from umbel.api.functions import all_horizontal as all_horizontal
    from umbel.api.functions import any_horizontal as any_horizontal
    from umbel.api.functions import arctan2 as arctan2
    from umbel.api.functions import coalesce as coalesce
    from umbel.api.functions import concat_str as concat_str
    from umbel.api.functions import corr as corr
    from umbel.api.functions import count as count
    from umbel.api.functions import cov as cov
    from umbel.api.functions import cume_dist as cume_dist
    from umbel.api.functions import date as date
    from umbel.api.functions import datetime as datetime
    from umbel.api.functions import dense_rank as dense_rank
    from umbel.api.functions import e as e
    from umbel.api.functions import first as first
    from umbel.api.functions import from_epoch as from_epoch
    from umbel.api.functions import greatest as greatest
    from umbel.api.functions import int_ranges as int_ranges
    from umbel.api.functions import last as last
    from umbel.api.functions import least as least
    from umbel.api.functions import mean as mean
    from umbel.api.functions import median as median
    from umbel.api.functions import n_unique as n_unique
    from umbel.api.functions import ntile as ntile
    from umbel.api.functions import percent_rank as percent_rank
    from umbel.api.functions import pi as pi
    from umbel.api.functions import quantile as quantile
    from umbel.api.functions import rank as rank
    from umbel.api.functions import row_number as row_number
    from umbel.api.functions import std as std
    from umbel.api.functions import struct as struct
    from umbel.api.functions import var as var
    from umbel.api.session import Session as Session
    from umbel.api.session import connect as connect
    from umbel.executor import Result as Result
    from umbel.optimizer import Budget as Budget
    from umbel.plan.codec import plan_from_json as plan_from_json
    from umbel.plan.codec import plan_to_json as plan_to_json
    from umbel.plan.errors import CancelledError as CancelledError
    from umbel.plan.errors import EvaluationError as EvaluationError
    from umbel.plan.errors import FunctionError as FunctionError
    from umbel.plan.errors import MemoryLimitError as MemoryLimitError
    from umbel.plan.errors import PlacementError as PlacementError
    from umbel.plan.errors import PlanError as PlanError
    from umbel.plan.errors import PlanFormatError as PlanFormatError
    from umbel.plan.errors import RunError as RunError
    from umbel.plan.errors import SourceError as SourceError
    from umbel.plan.errors import TypeClashError as TypeClashError
    from umbel.plan.errors import UmbelError as UmbelError
    from umbel.plan.errors import UnknownNameError as UnknownNameError
    from umbel.platforms.costs import Price as Price

    # Imports under another name are not public to type checkers; assignments are.
    all = _functions.all_of  # noqa: A001
    any = _functions.any_of  # noqa: A001
    len = _functions.count_rows  # noqa: A001
    list = _functions.list_of  # noqa: A001
    max = _functions.max_of  # noqa: A001
    min = _functions.min_of  # noqa: A001
    sum = _functions.sum_of  # noqa: A001

#: Where each public name lives. Nothing is imported before it is used, so that `import umbel` is
#: quick and brings no engine with it.
_HOMES = {
    "umbel.api.dataframe": ["DataFrame"],
    "umbel.api.dataset": ["Dataset"],
    "umbel.api.expressions": ["Expr", "col", "exclude", "lit", "when"],
    "umbel.api.functions": [
        "all_horizontal", "all_of", "any_horizontal", "any_of", "arctan2", "coalesce", "concat_str",
        "corr", "count", "count_rows", "cov", "cume_dist", "date", "datetime", "dense_rank", "e",
        "first", "from_epoch", "greatest", "int_ranges", "last", "least", "list_of", "max_of",
        "mean", "median", "min_of", "n_unique", "ntile", "percent_rank", "pi", "quantile", "rank",
        "row_number", "std", "struct", "sum_of", "var",
    ],
    "umbel.api.session": ["Session", "connect"],
    "umbel.executor": ["Result"],
    "umbel.optimizer": ["Budget"],
    "umbel.plan.codec": ["plan_from_json", "plan_to_json"],
    "umbel.plan.errors": [
        "CancelledError", "EvaluationError", "FunctionError", "MemoryLimitError",
        "PlacementError", "PlanError", "PlanFormatError", "RunError", "SourceError",
        "TypeClashError", "UmbelError", "UnknownNameError",
    ],
    "umbel.platforms.costs": ["Price"],
}  # fmt: skip

#: Functions that are public under the name of a built-in.
_RENAMED = {
    "all_of": "all",
    "any_of": "any",
    "count_rows": "len",
    "list_of": "list",
    "max_of": "max",
    "min_of": "min",
    "sum_of": "sum",
}

#: Packages that are public as a whole.
_PACKAGES = {"federation": "umbel.federation", "learn": "umbel.learning"}

_PUBLIC = {
    _RENAMED.get(name, name): (module, name) for module, names in _HOMES.items() for name in names
}

__all__ = [
    "Budget",
    "CancelledError",
    "DataFrame",
    "Dataset",
    "EvaluationError",
    "Expr",
    "FunctionError",
    "MemoryLimitError",
    "PlacementError",
    "PlanError",
    "PlanFormatError",
    "Price",
    "Result",
    "RunError",
    "Session",
    "SourceError",
    "TypeClashError",
    "UmbelError",
    "UnknownNameError",
    "__version__",
    "all",
    "all_horizontal",
    "any",
    "any_horizontal",
    "arctan2",
    "coalesce",
    "col",
    "concat_str",
    "connect",
    "corr",
    "count",
    "cov",
    "cume_dist",
    "date",
    "datetime",
    "dense_rank",
    "e",
    "exclude",
    "first",
    "from_epoch",
    "greatest",
    "int_ranges",
    "last",
    "least",
    "len",
    "list",
    "lit",
    "max",
    "mean",
    "median",
    "min",
    "n_unique",
    "ntile",
    "percent_rank",
    "pi",
    "plan_from_json",
    "plan_to_json",
    "quantile",
    "rank",
    "row_number",
    "std",
    "struct",
    "sum",
    "var",
    "when",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name in _PACKAGES:
        return _import(_PACKAGES[name])
    try:
        module, attribute = _PUBLIC[name]
    except KeyError:
        raise AttributeError(f"module 'umbel' has no attribute {name!r}") from None
    value = getattr(_import(module), attribute)
    globals()[name] = value
    return value


def _import(module: str) -> ModuleType:
    from umbel.garbage import fewer_collections

    with fewer_collections():
        return importlib.import_module(module)


def __dir__() -> Sequence[str]:
    return __all__
