"""Minimum conversion trees against all trees that there are."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.optimizer.fakes import conversion
from umbel.optimizer.movement import ChannelGraph, NoConversionError, minimum_conversion_tree

CHANNELS = ["a", "b", "c", "d", "e"]


def test_a_consumer_that_reads_the_root_costs_nothing() -> None:
    tree = minimum_conversion_tree(ChannelGraph([]), "a", [["a"]], cost=lambda c: 1.0)
    assert tree.seconds == 0.0
    assert tree.ends == ("a",)


def test_a_shared_prefix_is_paid_once() -> None:
    graph = ChannelGraph(
        [conversion("a", "b", 5), conversion("b", "c", 1), conversion("b", "d", 1)]
    )
    tree = minimum_conversion_tree(graph, "a", [["c"], ["d"]], cost=lambda c: c.cost(0, 0))
    assert tree.seconds == 7.0
    assert next((e.source, e.target) for e in tree.edges) == ("a", "b")
    assert tree.ends == ("c", "d")


def test_an_unreachable_consumer_is_an_error() -> None:
    graph = ChannelGraph([conversion("b", "a", 1)])
    with pytest.raises(NoConversionError, match="no way from channel 'a'"):
        minimum_conversion_tree(graph, "a", [["b"]], cost=lambda c: 1.0)


edges = st.lists(
    st.tuples(st.sampled_from(CHANNELS), st.sampled_from(CHANNELS), st.integers(1, 9)), max_size=8
)
consumer = st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=2, unique=True)


@given(edges, st.lists(consumer, min_size=1, max_size=3))
def test_no_set_of_conversions_is_cheaper(
    drawn: list[tuple[str, str, int]], consumers: list[list[str]]
) -> None:
    unique = {(a, b): cost for a, b, cost in reversed(drawn) if a != b}
    conversions = [conversion(a, b, cost) for (a, b), cost in sorted(unique.items())]

    def reachable(chosen: tuple[tuple[str, str], ...]) -> set[str]:
        known = {"a"}
        for _ in chosen:
            known |= {b for a, b in chosen if a in known}
        return known

    best = min(
        (
            sum(unique[edge] for edge in chosen)
            for size in range(len(unique) + 1)
            for chosen in itertools.combinations(sorted(unique), size)
            if all(set(c) & reachable(chosen) for c in consumers)
        ),
        default=None,
    )
    graph = ChannelGraph(conversions)
    if best is None:
        with pytest.raises(NoConversionError):
            minimum_conversion_tree(graph, "a", consumers, cost=lambda c: c.cost(0, 0))
        return
    tree = minimum_conversion_tree(graph, "a", consumers, cost=lambda c: c.cost(0, 0))
    assert tree.seconds == best
    assert sum(e.cost(0, 0) for e in tree.edges) == best
    known = {"a"}
    for edge in tree.edges:
        assert edge.source in known
        known.add(edge.target)
    for end, channels in zip(tree.ends, consumers, strict=True):
        assert end in known
        assert end in channels
