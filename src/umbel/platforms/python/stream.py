"""Streams of pieces between the operators of a stage.

Work that turns one piece into one piece (a map, a filter, a projection) is not a generator of its
own: it is appended to the stream's steps, and one loop runs them all. So a chain of a hundred
such operators is one frame deep, and costs per element what its functions cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from umbel.plan.operators import Element, Operator
from umbel.platforms.python.elements import to_elements, to_rows
from umbel.platforms.python.loops import Calling, calling
from umbel.platforms.python.run import Meter, Piece, Run

#: Turns one piece into one piece.
Step = Callable[[Piece], Piece]

#: Calls in one loop; the compiler takes no more than twenty clauses.
_LONGEST_LOOP = 8


class Stream:
    """An operator's output on its way: a source of pieces, and steps that each still goes through.

    Attributes:
        schema, element: those of the operator whose output this is.
        as_rows: pieces hold rows; otherwise elements.
    """

    def __init__(
        self,
        run: Run,
        source: Iterable[Piece],
        schema: pa.Schema,
        element: Element,
        *,
        as_rows: bool,
        steps: tuple[_Work, ...] = (),
    ) -> None:
        self.run = run
        self.schema = schema
        self.element = element
        self.as_rows = as_rows
        self._source = source
        self._steps = steps

    @classmethod
    def of(cls, run: Run, operator: Operator, pieces: Iterable[Piece], *, as_rows: bool) -> Stream:
        """Start a stream with what an operator yields."""
        source = run.metered(operator, pieces)
        return cls(run, source, operator.schema, operator.element, as_rows=as_rows)

    def through(self, operator: Operator, step: Step, *, as_rows: bool) -> Stream:
        """Append an operator's step; its input must be in the form that the step takes."""
        return Stream(
            self.run,
            self._source,
            operator.schema,
            operator.element,
            as_rows=as_rows,
            steps=(*self._steps, _Work(step, (self.run.meter(operator),))),
        )

    def calling(self, call: Calling) -> Stream:
        """Append a call of a function for every element; neighbours become one loop."""
        operator = call.operator
        return Stream(
            self.run,
            self._source,
            operator.schema,
            operator.element,
            as_rows=False,
            steps=(*self._steps, _Work(None, (self.run.meter(operator),), (call,))),
        )

    def _converted(self, step: Step | None, *, as_rows: bool) -> Stream:
        steps = self._steps if step is None else (*self._steps, _Work(step, ()))
        return Stream(
            self.run, self._source, self.schema, self.element, as_rows=as_rows, steps=steps
        )

    def rows(self) -> Stream:
        """The same stream with pieces of rows."""
        if self.as_rows:
            return self
        return self._converted(to_rows(self.schema, self.element), as_rows=True)

    def elements(self) -> Stream:
        """The same stream with pieces of elements."""
        if not self.as_rows:
            return self
        return self._converted(to_elements(self.schema, self.element), as_rows=False)

    def __iter__(self) -> Iterator[Piece]:
        if not self._steps:
            yield from self._source
            return
        run, switch = self.run, self.run.switch
        works = [work.ready() for work in _joined(self._steps)]
        for arrived in self._source:
            piece = arrived
            for step, meter, before, after in works:
                if meter is None:
                    piece = step(piece)
                    continue
                for early in before:
                    early.rows += len(piece)
                previous = switch(meter)
                try:
                    piece = step(piece)
                finally:
                    switch(previous)
                for late in after:
                    late.rows += len(piece)
                if not piece:
                    break
                run.context.check_cancelled()
            if piece:
                yield piece


@dataclass(frozen=True, eq=False)
class _Work:
    """What is done to each piece: a step, or calls that make one; and whose work it is."""

    step: Step | None
    meters: tuple[Meter, ...]
    calls: tuple[Calling, ...] = ()

    def joins(self, following: _Work) -> bool:
        """Whether one loop can do this and what follows, and still count each one's elements."""
        return (
            bool(self.calls and following.calls)
            and len(self.calls) < _LONGEST_LOOP
            and not (following.calls[0].selects and any(call.selects for call in self.calls))
        )

    def ready(self) -> tuple[Step, Meter | None, tuple[Meter, ...], tuple[Meter, ...]]:
        """Give the step, whom to charge, and who counts what goes in and what comes out."""
        if not self.calls:
            return self.step or _same, (self.meters[0] if self.meters else None), (), self.meters
        before = next((i for i, call in enumerate(self.calls) if call.selects), 0)
        if len(self.meters) > 1:
            for meter in self.meters:
                meter.timed = False
        return calling(self.calls), self.meters[0], self.meters[:before], self.meters[before:]


def _same(piece: Piece) -> Piece:
    return piece


def _joined(works: Iterable[_Work]) -> list[_Work]:
    """Join neighbouring calls as far as one loop can do them."""
    joined: list[_Work] = []
    for work in works:
        if joined and joined[-1].joins(work):
            last = joined.pop()
            joined.append(_Work(None, last.meters + work.meters, last.calls + work.calls))
        else:
            joined.append(work)
    return joined
