"""Streams of pieces between the operators of a stage.

Work that turns one piece into one piece (a map, a filter, a projection) is not a generator of its
own: it is appended to the stream's steps, and one loop runs them all. So a chain of a hundred
such operators is one frame deep, and costs per element what its functions cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.operators import Element, Operator
from umbel.platforms.python.elements import to_elements, to_rows
from umbel.platforms.python.loops import LONGEST_LOOP, Calling, Loop, calling, inline
from umbel.platforms.python.run import Meter, Piece, Run

if TYPE_CHECKING:
    from umbel.platforms.python.spill import Collection

#: Turns one piece into one piece.
Step = Callable[[Piece], Piece]

#: Seconds after which a loop into a collection stops to see how large that has become.
_UNSEEN_SECONDS = 0.2


class Stream:
    """An operator's output on its way: a source of pieces, and steps that each still goes through.

    Attributes:
        schema, element: those of the operator whose output this is.
        as_rows: pieces hold rows; otherwise elements.
        columns: gives the same rows as one table, for who wants columns; None if there is none.

    A source may be `whole`: it gives lists of any length, which are nobody else's. They are cut
    into pieces for the next operator, and kept as they are where all of them are kept.
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
        whole: bool = False,
    ) -> None:
        self.run = run
        self.schema = schema
        self.element = element
        self.as_rows = as_rows
        self._source = source
        self.columns: Callable[[], pa.Table] | None = None
        self._steps = steps
        self._whole = whole

    @classmethod
    def of(
        cls,
        run: Run,
        operator: Operator,
        pieces: Iterable[Piece],
        *,
        as_rows: bool,
        whole: bool = False,
    ) -> Stream:
        """Start a stream with what an operator yields."""
        source = run.metered(operator, pieces)
        schema, element = operator.schema, operator.element
        return cls(run, source, schema, element, as_rows=as_rows, whole=whole)

    def _going_on(
        self,
        steps: tuple[_Work, ...],
        schema: pa.Schema,
        element: Element,
        *,
        as_rows: bool,
    ) -> Stream:
        """The stream of the same source with other steps."""
        return Stream(
            self.run,
            self._source,
            schema,
            element,
            as_rows=as_rows,
            steps=steps,
            whole=self._whole,
        )

    def through(self, operator: Operator, step: Step, *, as_rows: bool) -> Stream:
        """Append an operator's step; its input must be in the form that the step takes."""
        steps = (*self._steps, _Work(step, (self.run.meter(operator),)))
        return self._going_on(steps, operator.schema, operator.element, as_rows=as_rows)

    def calling(self, call: Calling) -> Stream:
        """Append a call of a function for every element; neighbours become one loop."""
        operator = call.operator
        steps = (*self._steps, _Work(None, (self.run.meter(operator),), (call,)))
        return self._going_on(steps, operator.schema, operator.element, as_rows=False)

    def _converted(self, step: Step | None, *, as_rows: bool) -> Stream:
        steps = self._steps if step is None else (*self._steps, _Work(step, ()))
        return self._going_on(steps, self.schema, self.element, as_rows=as_rows)

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

    def parted(self, reader: Operator) -> tuple[Iterable[Piece], tuple[Calling, ...]]:
        """Part the calls at the end, for a loop of the reader that goes on with what they give.

        Only those that give something for every element, which so need not be counted apart.
        """
        first = len(self._steps)
        while first and self._steps[first - 1].maps and len(self._steps) - first < LONGEST_LOOP:
            first -= 1
        works = self._steps[first:]
        calls = tuple(call for work in works for call in work.calls)
        if calls:
            self.run.meter(reader).timed = False
        return self._counted(first, [meter for work in works for meter in work.meters]), calls

    def _counted(self, first: int, meters: list[Meter]) -> Iterable[Piece]:
        """Give what comes out of the first steps, counted for those that follow too."""
        source = self._going_on(
            self._steps[:first], self.schema, self.element, as_rows=self.as_rows
        )
        if not meters:
            return source
        for meter in meters:
            meter.timed = False

        def pieces() -> Iterator[Piece]:
            for piece in source:
                for meter in meters:
                    meter.rows += len(piece)
                yield piece

        return pieces()

    def into(self, kept: Collection) -> Collection:
        """Append all elements to a collection; give it.

        Calls at the end run in one loop that makes long lists, which need not be copied.
        """
        if self._whole and not self._steps:
            for made in self._source:
                kept.take(made)
            return kept
        joined = _joined(self._steps)
        if not joined or not joined[-1].calls or not inline(joined[-1].calls):
            return kept.fill(self)
        last = joined[-1]
        _, _, before, after = last.ready()
        meter = last.meters[0]
        loop = Loop(last.calls)
        first = len(self._steps) - len(last.calls)
        source = iter(self._counted(first, []))
        ended = False

        def some() -> Iterator[Piece]:
            nonlocal ended
            room, end = kept.room(), perf_counter() + _UNSEEN_SECONDS
            for piece in source:
                for early in before:
                    early.rows += len(piece)
                yield piece
                room -= len(piece)
                if room <= 0 or perf_counter() > end:
                    return
            ended = True

        while not ended:
            previous = self.run.switch(meter)
            try:
                made = loop(some())
            finally:
                self.run.switch(previous)
            for late in after:
                late.rows += len(made)
            kept.take(made)
        return kept

    def _pieces(self) -> Iterable[Piece]:
        """What the source gives, none too long."""
        return chain.from_iterable(map(self.run.cut, self._source)) if self._whole else self._source

    def __iter__(self) -> Iterator[Piece]:
        if not self._steps:
            yield from self._pieces()
            return
        run, switch = self.run, self.run.switch
        works = [work.ready() for work in _joined(self._steps)]
        for arrived in self._pieces():
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

    @property
    def maps(self) -> bool:
        """Whether this gives one element for each, by calls."""
        return bool(self.calls) and not any(call.selects for call in self.calls)

    def joins(self, following: _Work) -> bool:
        """Whether one loop can do this and what follows, and still count each one's elements."""
        return (
            bool(self.calls and following.calls)
            and len(self.calls) < LONGEST_LOOP
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
