"""Random pipelines over random data give what plain Python gives, lifted or not.

A pipeline is a list of steps; each knows how to extend a Dataset and what it means for a list. The
values are hostile: integers that overflow, NaN, infinities, empty and non-ASCII texts.
"""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import umbel as ub
from umbel.executor import run


@dataclass(frozen=True)
class Step:
    """A step, and the kind of elements that it gives (None: the same)."""

    name: str
    extend: Callable[[ub.Dataset], ub.Dataset]
    model: Callable[[list[Any]], Iterable[Any]]
    kind: str | None = None

    def __repr__(self) -> str:
        return self.name


def mapped(name: str, function: Callable[[Any], Any], kind: str | None = None) -> Step:
    return Step(name, lambda d: d.map(function), lambda xs: map(function, xs), kind)


def kept(name: str, function: Callable[[Any], Any]) -> Step:
    return Step(name, lambda d: d.filter(function), lambda xs: filter(function, xs))


def flat(name: str, function: Callable[[Any], Iterable[Any]], kind: str | None = None) -> Step:
    return Step(
        name,
        lambda d: d.flat_map(function),
        lambda xs: itertools.chain.from_iterable(map(function, xs)),
        kind,
    )


def grouped(pairs: list[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


def reduced(name: str, function: Callable[[Any, Any], Any]) -> Step:
    return Step(
        name,
        lambda d: d.reduce_by_key(function),
        lambda xs: [(k, functools.reduce(function, vs)) for k, vs in grouped(xs).items()],
    )


def joined(pairs: list[tuple[Any, Any]]) -> list[tuple[Any, tuple[Any, Any]]]:
    return [(k, (v, w)) for k, v in pairs for other, w in pairs if k == other]


ANY = [
    Step("union", lambda d: d.union(d), lambda xs: xs + xs),
]
COMPARABLE = [
    Step("distinct", lambda d: d.distinct(), lambda xs: list(dict.fromkeys(xs))),
    Step("intersect", lambda d: d.intersect(d.union(d)), lambda xs: list(dict.fromkeys(xs))),
    Step("sort_by", lambda d: d.sort_by(), sorted),
    Step("sort_by descending", lambda d: d.sort_by(descending=True), sorted),
]
STEPS: dict[str, list[Step]] = {
    "int": [
        *ANY,
        *COMPARABLE,
        mapped("x + 1", lambda x: x + 1),
        mapped("x * 3", lambda x: x * 3),
        mapped("-x", lambda x: -x),
        mapped("abs", abs),
        mapped("x // 7", lambda x: x // 7),
        mapped("x % -5", lambda x: x % -5),
        mapped("100 // x", lambda x: 100 // x),
        mapped("x / 4", lambda x: x / 4, "float"),
        mapped("float", float, "float"),
        mapped("str", str, "str"),
        mapped("(x % 3, x)", lambda x: (x % 3, x), "pair"),
        mapped("branch", lambda x: x if x > 0 else -x),
        kept("x > 3", lambda x: x > 3),
        kept("x", lambda x: x),
        kept("even and not 0", lambda x: x % 2 == 0 and x != 0),
        flat("[x, x]", lambda x: [x, x]),
    ],
    "float": [
        *ANY,
        mapped("x * 2", lambda x: x * 2),
        mapped("x / 3", lambda x: x / 3),
        mapped("-x", lambda x: -x),
        mapped("int", int, "int"),
        mapped("str", str, "str"),
        kept("x > 0.5", lambda x: x > 0.5),
        kept("x == x", lambda x: x == x),
    ],
    "str": [
        *ANY,
        *COMPARABLE,
        mapped("upper", str.upper),
        mapped("lower", str.lower),
        mapped("strip", str.strip),
        mapped("len", len, "int"),
        mapped("x + !", lambda x: x + "!"),
        mapped("x[0]", lambda x: x[0]),
        mapped("int", int, "int"),
        mapped("replace", lambda x: x.replace("a", "é")),
        mapped("(x.lower(), 1)", lambda x: (x.lower(), 1), "pair"),
        kept("a in x", lambda x: "a" in x),
        kept("x", lambda x: x),
        flat("split", str.split),
        flat("split(',')", lambda x: x.split(",")),
    ],
    "pair": [
        *ANY,
        *COMPARABLE,
        reduced("+ by key", lambda a, b: a + b),
        reduced("max by key", max),
        mapped("(k, v + 1)", lambda p: (p[0], p[1] + 1)),
        mapped("p[1]", lambda p: p[1], "int"),
        kept("v > 0", lambda p: p[1] > 0),
        Step(
            "group_by_key",
            lambda d: d.group_by_key().map(lambda p: (p[0], len(p[1]))),
            lambda xs: [(k, len(vs)) for k, vs in grouped(xs).items()],
        ),
        Step(
            "reduce_by",
            lambda d: d.reduce_by(lambda p: p[0], lambda a, b: (a[0], a[1] + b[1])),
            lambda xs: [(k, sum(vs)) for k, vs in grouped(xs).items()],
        ),
        Step(
            "join",
            lambda d: d.join(d).map(lambda p: (p[0], p[1][0] - p[1][1])),
            lambda xs: [(k, v - w) for k, (v, w) in joined(xs)],
        ),
        Step(
            "co_group",
            lambda d: d.co_group(d).map(lambda p: (p[0], len(p[1][0]) + len(p[1][1]))),
            lambda xs: [(k, 2 * len(vs)) for k, vs in grouped(xs).items()],
        ),
    ],
}

INTEGERS = st.integers(-9, 9) | st.sampled_from([2**62, -(2**62), 2**63 - 1, -(2**63)])
TEXTS = st.sampled_from(
    ["", "a", "A b", " a,b ,c", "é", "e\u0301", "ß", "İ", "\u2003x\x1cy", "12", " 7 ", "-0", "𝔘 a"]
)
VALUES = {
    "int": INTEGERS,
    "float": st.sampled_from(
        [0.0, -0.0, 1.5, -2.5, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"), 1e16]
    ),
    "str": TEXTS,
    "pair": st.tuples(TEXTS, INTEGERS),
}


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[list[Any], list[Step]]:
    kind = draw(st.sampled_from(sorted(VALUES)))
    items = draw(st.lists(VALUES[kind], max_size=8))
    if items and draw(st.integers(0, 5)) == 0:
        items.append(None)
    steps: list[Step] = []
    for _ in range(draw(st.integers(1, 5))):
        step = draw(st.sampled_from(STEPS[kind]))
        steps.append(step)
        kind = step.kind or kind
    return items, steps


def exact(value: Any) -> Any:
    """A form of a value that is equal only for equal values of equal types."""
    if isinstance(value, tuple | list):
        return (type(value).__name__, *map(exact, value))
    return (type(value).__name__, repr(value))


@pytest.fixture(scope="module")
def session() -> ub.Session:
    return ub.connect(progress=False)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(pipelines())
def test_a_pipeline_gives_what_plain_python_gives(
    session: ub.Session, pipeline: tuple[list[Any], list[Step]]
):
    items, steps = pipeline
    modelled = list(items)
    expected: list[Any] | None = modelled
    for step in steps:
        try:
            expected = modelled = list(step.model(modelled))
        except Exception:  # noqa: BLE001 - whatever the function raises for its values
            expected = None
            break
    dataset = session.from_items(items)
    for step in steps:
        dataset = step.extend(dataset)
    for lifting in (True, False):
        if expected is None:
            with pytest.raises(ub.RunError):
                run(dataset.plan, platforms=session.platforms(), progress=False, lifting=lifting)
            continue
        result = run(dataset.plan, platforms=session.platforms(), progress=False, lifting=lifting)
        assert type(result.elements) is list
        assert Counter(map(exact, result.elements)) == Counter(map(exact, expected))
        if steps[-1].name.startswith("sort_by"):
            descending = steps[-1].name.endswith("descending")
            assert result.elements == sorted(expected, reverse=descending)


def test_a_filter_does_not_hide_what_raised_before_it(session: ub.Session):
    pairs = session.from_items([5, 0]).map(lambda x: (100 // x, x)).filter(lambda p: p[1] > 0)
    with pytest.raises(ub.FunctionError, match="ZeroDivisionError"):
        run(pairs.plan, platforms=session.platforms(), progress=False, lifting=True)
