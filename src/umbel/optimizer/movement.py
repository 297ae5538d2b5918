"""Data movement: the cheapest way to hand one output to all its consumers.

Channels are nodes and conversions edges of a graph; a producer writes one channel and each
consumer reads any of a set. Sharing prefixes pays a conversion once.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence

from umbel.dataclass import dataclass
from umbel.platforms.base import Conversion


class NoConversionError(LookupError):
    """A consumer reads no channel that the producer's output can be converted to."""


@dataclass(frozen=True)
class ConversionTree:
    """A tree of conversions from one channel.

    Attributes:
        root: the channel that the producer writes.
        edges: the conversions, each after the one whose target it starts from.
        ends: for each consumer the channel that it reads.
        seconds: the sum of the conversions' costs.
    """

    root: str
    edges: tuple[Conversion, ...]
    ends: tuple[str, ...]
    seconds: float


class ChannelGraph:
    """Conversions by source channel; of several between two channels the first is kept."""

    def __init__(self, conversions: Iterable[Conversion]) -> None:
        self._from: dict[str, dict[str, Conversion]] = {}
        for conversion in conversions:
            self._from.setdefault(conversion.source, {}).setdefault(conversion.target, conversion)
        self._outgoing = {
            channel: [edges[target] for target in sorted(edges)]
            for channel, edges in self._from.items()
        }
        self.channels = sorted(
            {*self._from, *(target for edges in self._from.values() for target in edges)}
        )

    def outgoing(self, channel: str) -> Sequence[Conversion]:
        """The conversions that start at a channel, by target."""
        return self._outgoing.get(channel, ())


def minimum_conversion_tree(
    graph: ChannelGraph,
    root: str,
    consumers: Sequence[Sequence[str]],
    *,
    cost: Callable[[Conversion], float],
) -> ConversionTree:
    """Find the cheapest way to hand one output to all its consumers.

    Args:
        graph: channels as nodes, conversions as edges.
        root: the channel that the producer writes.
        consumers: for each consumer the channels that it can read.
        cost: seconds of a conversion for this output.

    Returns:
        The tree of conversions with the least total cost; shared prefixes are paid once.

    Raises:
        NoConversionError: a consumer reads no channel reachable from `root`.

    Source: Kruse et al., "Optimizing Cross-Platform Data Movement", ICDE 2019, section 4 (the
    problem); Dreyfus and Wagner, "The Steiner problem in graphs", Networks 1, 1971 (the exact
    method, on groups of targets).
    """
    if all(root in channels for channels in consumers):
        return ConversionTree(root, (), (root,) * len(consumers), 0.0)
    if len(consumers) == 1:
        return _shortest_path(graph, root, consumers[0], cost)
    # Reversed thinking: best[mask][channel] is the cheapest tree that starts at `channel` and
    # reaches all consumers in `mask`.
    nodes = sorted({root, *graph.channels, *(c for cs in consumers for c in cs)})
    full = (1 << len(consumers)) - 1
    best: dict[int, dict[str, float]] = {}
    how: dict[tuple[int, str], tuple[str, object]] = {}
    incoming: dict[str, list[Conversion]] = {}
    for node in nodes:
        for conversion in graph.outgoing(node):
            incoming.setdefault(conversion.target, []).append(conversion)
    for mask in range(1, full + 1):
        costs: dict[str, float] = {}
        members = [i for i in range(len(consumers)) if mask >> i & 1]
        for node in nodes:
            if all(node in consumers[i] for i in members):
                costs[node] = 0.0
                how[mask, node] = ("end", None)
        part = (mask - 1) & mask
        while part:
            if part > (rest := mask ^ part):
                for node in nodes:
                    total = best[part].get(node, _FAR) + best[rest].get(node, _FAR)
                    if total < costs.get(node, _FAR):
                        costs[node] = total
                        how[mask, node] = ("split", (part, rest))
            part = (part - 1) & mask
        tie = itertools.count()
        queue = [(value, next(tie), node) for node, value in sorted(costs.items())]
        heapq.heapify(queue)
        while queue:
            value, _, node = heapq.heappop(queue)
            if value > costs.get(node, _FAR):
                continue
            for conversion in incoming.get(node, ()):
                total = value + cost(conversion)
                if total < costs.get(conversion.source, _FAR):
                    costs[conversion.source] = total
                    how[mask, conversion.source] = ("edge", conversion)
                    heapq.heappush(queue, (total, next(tie), conversion.source))
        best[mask] = costs
    if root not in best[full]:
        raise NoConversionError(f"no way from channel {root!r} to {list(consumers)}")
    edges: list[Conversion] = []
    ends: dict[int, str] = {}
    todo = [(full, root)]
    while todo:
        mask, node = todo.pop()
        kind, detail = how[mask, node]
        if kind == "end":
            ends.update({i: node for i in range(len(consumers)) if mask >> i & 1})
        elif kind == "split":
            todo.extend((part, node) for part in detail)  # type: ignore[attr-defined]
        else:
            if detail not in edges:
                edges.append(detail)  # type: ignore[arg-type]
            todo.append((mask, detail.target))  # type: ignore[attr-defined]
    return ConversionTree(
        root, _ordered(root, edges), tuple(ends[i] for i in range(len(consumers))), best[full][root]
    )


def _shortest_path(
    graph: ChannelGraph, root: str, wanted: Sequence[str], cost: Callable[[Conversion], float]
) -> ConversionTree:
    """The tree for one consumer, by Dijkstra's method; most outputs have just one."""
    queue: list[tuple[float, str, tuple[Conversion, ...]]] = [(0.0, root, ())]
    done: set[str] = set()
    while queue:
        seconds, channel, path = heapq.heappop(queue)
        if channel in done:
            continue
        done.add(channel)
        if channel in wanted:
            return ConversionTree(root, path, (channel,), seconds)
        for conversion in graph.outgoing(channel):
            if conversion.target not in done:
                step = (seconds + cost(conversion), conversion.target, (*path, conversion))
                heapq.heappush(queue, step)
    raise NoConversionError(f"no way from channel {root!r} to {list(wanted)}")


_FAR = float("inf")


def _ordered(root: str, edges: list[Conversion]) -> tuple[Conversion, ...]:
    """Put each conversion after the one that makes its source."""
    known, left, ordered = {root}, list(edges), []
    while left:
        ready = next(edge for edge in left if edge.source in known)
        left.remove(ready)
        known.add(ready.target)
        ordered.append(ready)
    return tuple(ordered)
