"""Data on its way between stages: kept as long as somebody reads it, converted where it must be."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from umbel.dataclass import dataclass
from umbel.optimizer.execution_plan import ExecutionPlan, Location, PlannedStage
from umbel.optimizer.movement import ChannelGraph, minimum_conversion_tree
from umbel.plan.operators import Operator

#: Bytes of a row, for choosing among ways to convert data that is at hand.
_ROW_BYTES = 50.0


class Handover:
    """The outputs of a plan's stages, each released when its last reader took it."""

    def __init__(self, plan: ExecutionPlan, reading: Sequence[PlannedStage]) -> None:
        """Prepare.

        Args:
            plan: whose outputs are handed over.
            reading: the stages that will read some.
        """
        self._lock = threading.Lock()
        self._data: dict[Location, Any] = {}
        self._readers: dict[Location, int] = {plan.result: 1}
        for stage in reading:
            for location in stage.sources.values():
                self._readers[location] = self._readers.get(location, 0) + 1

    def put(self, stage: int, forms: Mapping[str, Any]) -> None:
        """Keep those forms of a stage's output that somebody reads, by channel."""
        with self._lock:
            for channel, data in forms.items():
                if (stage, channel) in self._readers:
                    self._data[stage, channel] = data

    def take(self, location: Location) -> Any:
        """Give data to one of its readers."""
        with self._lock:
            self._readers[location] -= 1
            if self._readers[location] == 0:
                return self._data.pop(location)
            return self._data[location]


def convert(graph: ChannelGraph, data: Any, source: str, target: str, operator: Operator) -> Any:
    """Bring data from one channel to another, the cheapest way.

    Args:
        graph: the conversions that there are.
        data: in channel `source`; has a length.
        source: the channel it is in.
        target: the channel it is wanted in.
        operator: whose output the data is.
    """
    if source == target:
        return data
    rows = len(data)
    tree = minimum_conversion_tree(
        graph, source, [[target]], cost=lambda c: c.cost(rows, rows * _ROW_BYTES)
    )
    for conversion in tree.edges:
        data = conversion.convert(data, operator.schema, operator.element)
    return data


@dataclass
class Bound:
    """What stands for a placeholder in a loop's body.

    Attributes:
        operator: whose output it is.
        forms: the data, by channel.
        lasting: it is read again in the next round, so that conversions of it are kept.
    """

    operator: Operator
    forms: dict[str, Any]
    lasting: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def read(self, graph: ChannelGraph, channel: str, *, last: bool) -> Any:
        """Give the data in a channel; if it is read for the last time, let go of it."""
        with self._lock:
            if channel not in self.forms:
                source, data = next(iter(self.forms.items()))
                converted = convert(graph, data, source, channel, self.operator)
                del data
                if self.lasting:
                    self.forms[channel] = converted
            else:
                converted = self.forms[channel]
            if last and not self.lasting:
                self.forms.clear()
            return converted


def unread(labels: Iterable[str]) -> dict[str, int]:
    """Count how often each placeholder is read.

    >>> unread(["round", "side", "round"])
    {'round': 2, 'side': 1}
    """
    counts: dict[str, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    return counts
