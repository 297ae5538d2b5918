"""Wrong arguments: every public function says so when it is called, and names the argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import umbel as ub
from umbel.api import dataframe, functions
from umbel.plan.errors import PlanError, TypeClashError, UmbelError, UnknownNameError

JUNK: tuple[Any, ...] = (
    3.5,
    "zz",
    None,
    object(),
    [1],
    -1,
    b"q",
    {"a": 1},
    (1, 2),
    ub.col("b"),
    len,
)

SESSION = ub.connect()
FRAME = SESSION.from_items([("x", 1), ("y", 2)]).to_frame(["a", "b"])
NUMBERS = SESSION.from_items([1, 2, 3])
SUBJECTS = {
    "DataFrame": FRAME,
    "Dataset": NUMBERS,
    "Dataset of pairs": SESSION.from_items([("a", 1)]),
    "GroupBy": FRAME.group_by("a"),
    "Expr": ub.col("b"),
    "Expr.str": ub.col("a").str,
    "Expr.dt": ub.col("a").dt,
    "Expr.list": ub.col("a").list,
    "functions": functions,
}
#: They run something, or call what they are given.
RUN = {"collect", "execute", "explain", "pipe", "policy", "show", "take", "do_while", "repeat"}


def methods(subject: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in dir(subject):
        if name.startswith(("_", "write", "to_")) or name in RUN:
            continue
        member = getattr(subject, name)
        home = getattr(member, "__module__", None) or ""
        if inspect.isroutine(member) and home.startswith("umbel.api"):
            yield name, member


def calls(method: Callable[..., Any]) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Each parameter in turn is given each junk, the others that are needed something of use."""
    parameters = inspect.signature(method).parameters.values()
    needed = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    for junk in JUNK:
        for wrong in range(len(needed)):
            yield [junk if i == wrong else _good(p.name) for i, p in enumerate(needed)], {}
        for parameter in parameters:
            if parameter.default is not parameter.empty:
                yield [_good(p.name) for p in needed], {parameter.name: junk}
            elif parameter.kind is parameter.VAR_POSITIONAL:
                yield [*(_good(p.name) for p in needed), junk], {}


def _good(name: str) -> Any:
    return {
        "other": FRAME,
        "function": lambda x: x,
        "predicate": bool,
        "key": lambda x: x,
        "n": 2,
        "count": 2,
        "mapping": {"b": "c"},
    }.get(name, "b")


@pytest.mark.parametrize("kind", SUBJECTS)
def test_nothing_fails_inside(kind: str) -> None:
    strange = []
    tried = 0
    for name, method in methods(SUBJECTS[kind]):
        for args, kwargs in calls(method):
            tried += 1
            try:
                method(*args, **kwargs)
            except UmbelError:
                continue
            except Exception as error:  # noqa: BLE001 - whatever it is, it is not meant
                strange.append(f"{name}(*{args}, **{kwargs}): {type(error).__name__}: {error}")
    assert tried > 10
    assert not strange, "\n".join(strange)


def test_the_argument_is_named() -> None:
    with pytest.raises(TypeClashError) as caught:
        FRAME.sample(0.1)  # type: ignore[arg-type]
    assert "sample() takes int or None as n, not 0.1 (float)" in str(caught.value)
    assert __file__ in str(caught.value)
    with pytest.raises(TypeClashError, match=r"sort\(\) takes bool or a sequence of bool as desc"):
        FRAME.sort("a", descending=[1])  # type: ignore[list-item]


def test_scalars_of_numpy_are_taken_for_what_they_are() -> None:
    frame = FRAME.limit(np.int64(1))  # type: ignore[arg-type]
    assert frame.count() == 1
    assert ub.plan_from_json(frame.to_json()) == frame.plan
    assert FRAME.sample(fraction=np.float64(0.5)).count() == 1


def test_a_budget_is_a_budget() -> None:
    with pytest.raises(TypeClashError, match="a budget is not 10"):
        FRAME.execute(budget=10)  # type: ignore[arg-type]
    with pytest.raises(TypeClashError, match="a budget is not 10"):
        ub.connect(budget=10)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="takes columns or expressions, not 3"):
        FRAME.with_row_index(order_by=3)


def test_columns_are_not_items_or_attributes() -> None:
    with pytest.raises(PlanError, match=r"umbel.col\('b'\) is the column") as caught:
        FRAME["b"]  # type: ignore[index]
    assert "select('b')" in str(caught.value)
    with pytest.raises(AttributeError, match=r"no attribute 'b': umbel.col\('b'\) is the column"):
        _ = FRAME.b  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no attribute 'heads'"):
        _ = FRAME.heads  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"\.rows\(\)\.map\(\.\.\.\) calls Python functions"):
        _ = FRAME.map  # type: ignore[attr-defined]
    assert all(hasattr(ub.Dataset, name) for name in dataframe._OF_ROWS)
    with pytest.raises(PlanError, match=r"\.to_dicts\(\)"):
        FRAME[0]  # type: ignore[index]


def test_how_to_write_is_one_of_some_words() -> None:
    with pytest.raises(UnknownNameError, match="unknown exists 'maybe' in csv"):
        FRAME.write_csv("never.csv", exists="maybe")  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="unknown compression 'zst' in parquet") as caught:
        FRAME.write_parquet("never.parquet", compression="zst")  # type: ignore[arg-type]
    assert "did you mean 'zstd'" in str(caught.value)
