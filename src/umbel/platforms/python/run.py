"""What one run of a stage keeps: the clock, the meters, the memory budget and the piece size.

Elements travel between operators in lists of at most `Run.size` elements, called pieces. Work
that is done per piece (counting, timing, looking for a cancellation, estimating memory) costs
nearly nothing per element.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any

from umbel.dataclass import dataclass
from umbel.plan.operators import Operator
from umbel.platforms.base import RunContext

#: Pieces start small, so that a slow function meets a cancellation soon, and grow up to here.
FIRST_PIECE, LARGEST_PIECE = 64, 8192
#: A piece should take about this long from its source to the root; seconds.
PIECE_SECONDS = 0.05

Piece = list[Any]


@dataclass(eq=False)
class Meter:
    """Rows that an operator gave, and seconds spent in it alone.

    Operators that run in one loop are not timed apart.
    """

    operator: Operator | None
    rows: int = 0
    seconds: float = 0.0
    timed: bool = True


class Run:
    """One run of a stage.

    Attributes:
        budget: bytes that one blocking operator should keep in memory before it spills.
        size: the number of elements that sources put into a piece now.
        wanted: for sorts (by the operator's `id`) whose first rows are all that is read of them,
            how many.
    """

    def __init__(self, context: RunContext, blocking: int = 1) -> None:
        self.context = context
        self.budget = max(1, context.memory_limit // max(1, blocking))
        self.size = FIRST_PIECE
        # Of elements of 1 KB, the largest piece takes an eighth of the budget.
        self._largest = min(LARGEST_PIECE, max(FIRST_PIECE, self.budget >> 13))
        self._idle = Meter(None)
        self._current = self._idle
        self._since = perf_counter()
        self._meters: dict[int, Meter] = {}
        self._files = 0
        self.wanted: dict[int, int] = {}

    def meter(self, operator: Operator) -> Meter:
        """Give the operator's meter, one per operator and run."""
        return self._meters.setdefault(id(operator), Meter(operator))

    def switch(self, meter: Meter) -> Meter:
        """Charge the time since the last switch to whom it belongs, then start charging `meter`."""
        now = perf_counter()
        previous = self._current
        previous.seconds += now - self._since
        self._current, self._since = meter, now
        return previous

    def metered(self, operator: Operator, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Pass pieces on; count their elements, time their making, and heed a cancellation."""
        meter = self.meter(operator)
        iterator = iter(pieces)
        while True:
            self.context.check_cancelled()
            previous = self.switch(meter)
            try:
                piece = next(iterator, None)
            finally:
                self.switch(previous)
            if piece is None:
                return
            meter.rows += len(piece)
            self.context.progress(operator, meter.rows)
            if piece:
                yield piece

    def report(self) -> None:
        """Hand all measurements to the executor."""
        self.switch(self._idle)
        for meter in self._meters.values():
            if meter.operator is not None:
                seconds = meter.seconds if meter.timed else None
                self.context.measure(meter.operator, meter.rows, seconds)

    def cut(self, elements: Piece) -> Iterator[Piece]:
        """Cut a list into pieces of the size that suits what is done with them."""
        start, count = 0, len(elements)
        while start < count:
            # A short list need not be copied: nobody changes a piece.
            whole = start == 0 and count <= self.size
            piece = elements if whole else elements[start : start + self.size]
            start += len(piece)
            began = perf_counter()
            yield piece
            self._adapt(len(piece), perf_counter() - began)

    def _adapt(self, count: int, seconds: float) -> None:
        if seconds < PIECE_SECONDS / 4:
            if count >= self.size:
                factor = 8 if seconds < PIECE_SECONDS / 32 else 2
                self.size = min(self._largest, self.size * factor)
        elif seconds > PIECE_SECONDS * 2:
            self.size = max(1, int(count * PIECE_SECONDS / seconds))

    def pieces(self, collection: Any) -> Iterator[Piece]:
        """Read a collection of the channel "python" in pieces."""
        if isinstance(collection, list):
            yield from self.cut(collection)
            return
        batches = getattr(collection, "batches", None)
        if batches is not None:
            for batch in batches():
                yield from self.cut(batch)
            return
        iterator = iter(collection)
        while batch := _take(iterator, self._largest):
            yield from self.cut(batch)

    def new_file(self) -> Path:
        """Name a file in the run's scratch folder that is not there yet."""
        self._files += 1
        return self.context.scratch / f"python-{id(self):x}-{self._files}.spill"


def _take(iterator: Iterator[Any], count: int) -> Piece:
    return list(islice(iterator, count))
