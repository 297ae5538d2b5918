"""Bounded memory: collections, sorts and partitions that go to disk when they grow too large.

Spilled values are pickled (protocol 5). That is safe and exact here: the files lie in the run's
own scratch folder, are written and read by this process only, and hold Python objects of any
type, for which no other format exists. Values that cannot be pickled stay in memory.
"""

from __future__ import annotations

import heapq
import pickle
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from umbel.platforms.python.memory import size_of_piece
from umbel.platforms.python.run import Piece, Run

#: What pickle raises for values that it cannot take.
UNPICKLABLE = (pickle.PicklingError, TypeError, AttributeError, RecursionError, NotImplementedError)

#: Elements of a collection for which one estimate of their size stands.
_ESTIMATE_EVERY = 16_384

#: Elements that are pickled together; of every file that is merged so many are in memory.
_PIECE_ON_DISK = 1024
#: A loop may make as many elements unseen as fit even if they are so much larger than before.
_SURPRISE = 8

#: Partitions into which one pass over too large data divides it.
FANOUT = 16
#: Data that this many passes could not divide have too few keys to be divided.
DEEPEST = 6
#: Sorted runs on disk, and with it files open at once, before they are merged into one.
MOST_RUNS = 64


def dump(piece: Piece) -> bytes | None:
    """Pickle a piece; None if one of its elements cannot be pickled."""
    try:
        return pickle.dumps(piece, protocol=5)
    except UNPICKLABLE:
        return None


def _parts(elements: Piece) -> Iterator[Piece]:
    for start in range(0, len(elements), _PIECE_ON_DISK):
        yield elements[start : start + _PIECE_ON_DISK]


class SpillFile:
    """A file of pieces: written once from the start to the end, then read any number of times."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._stream: BinaryIO | None = None

    def write(self, data: bytes, rows: int) -> None:
        """Append a dumped piece of `rows` elements."""
        if self._stream is None:
            # Open as long as the file is written to; `read` and `remove` close it.
            self._stream = self.path.open("ab")
        self._stream.write(len(data).to_bytes(8, "little"))
        self._stream.write(data)
        self.rows += rows

    def read(self) -> Iterator[Piece]:
        """Yield the pieces in the order in which they were written."""
        self.close()
        if not self.rows:
            return
        with self.path.open("rb") as stream:
            while header := stream.read(8):
                # Written by this process moments ago, see the module's docstring.
                yield pickle.loads(stream.read(int.from_bytes(header, "little")))  # noqa: S301

    def close(self) -> None:
        """Close the file for writing."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def remove(self) -> None:
        """Delete the file; its content is not needed any more."""
        self.close()
        self.path.unlink(missing_ok=True)


class Collection:
    """Elements of any number, in order; beyond the budget they lie on disk.

    It can be iterated again, has a length, and removes its file with itself.
    """

    def __init__(self, run: Run, budget: int | None = None) -> None:
        self._run = run
        self._budget = run.budget if budget is None else budget
        self._memory: Piece = []
        self._file: SpillFile | None = None
        self._spillable = True
        self._bytes = 0
        self._each = 0.0
        self._until_estimate = 0
        self.size = 0

    @property
    def spilled(self) -> bool:
        """Whether some of the elements lie on disk."""
        return self._file is not None

    def add(self, piece: Piece) -> None:
        """Append elements."""
        self._memory.extend(piece)
        if self._until_estimate <= 0:
            # Neighbouring pieces are alike: one estimate stands for the next few.
            self._each = size_of_piece(piece) / max(1, len(piece))
            self._until_estimate = _ESTIMATE_EVERY
        self._until_estimate -= len(piece)
        self._grow(int(self._each * len(piece)))

    def room(self) -> int:
        """Say how many elements can come before `take` must look at their size."""
        count = len(self)
        if not count:
            return _PIECE_ON_DISK
        left = max(0, self._budget - self._bytes) * count // (_SURPRISE * max(1, self.size))
        return max(_PIECE_ON_DISK, min(left, _SURPRISE * count))

    def take(self, elements: Piece) -> None:
        """Append a list of any length that nobody else holds."""
        samples = 4 * (1 + len(elements) // _ESTIMATE_EVERY)
        grown = size_of_piece(elements, samples)
        if len(elements) > len(self._memory):
            elements[:0] = self._memory
            self._memory = elements
        else:
            self._memory.extend(elements)
        self._grow(grown)

    def _grow(self, grown: int) -> None:
        self._bytes += grown
        self.size += grown
        if self._bytes > self._budget and self._spillable:
            self._spill()

    def _spill(self) -> None:
        # Dump everything before anything is written: all of it is on disk, or all in memory.
        dumps = [(dump(part), len(part)) for part in _parts(self._memory)]
        if any(data is None for data, _ in dumps):
            self._spillable = False
            return
        if self._file is None:
            self._file = SpillFile(self._run.new_file())
        for data, rows in dumps:
            if data is not None:
                self._file.write(data, rows)
        self._memory = []
        self._bytes = 0

    def fill(self, pieces: Iterable[Piece]) -> Collection:
        """Append all pieces; give the collection."""
        for piece in pieces:
            self.add(piece)
        return self

    def batches(self) -> Iterator[Piece]:
        """Yield the elements in lists."""
        if self._file is not None:
            yield from self._file.read()
        if self._memory:
            yield self._memory

    def compact(self) -> Piece | Collection:
        """Give a plain list if all elements are in memory, otherwise the collection."""
        return self if self.spilled else self._memory

    def remove(self) -> None:
        """Drop all elements."""
        self._memory = []
        if self._file is not None:
            self._file.remove()
            self._file = None

    def __len__(self) -> int:
        return len(self._memory) + (self._file.rows if self._file is not None else 0)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches():
            yield from batch

    def __del__(self) -> None:
        if self._file is not None:
            self._file.remove()


class Partitions:
    """Elements divided by the hash of a key, each part a collection that may lie on disk.

    `depth` counts the passes already made over the data, so that each divides it otherwise.
    """

    def __init__(self, run: Run, depth: int = 0, count: int = FANOUT) -> None:
        self._depth = depth
        self.parts = [Collection(run, max(1, run.budget // (2 * count))) for _ in range(count)]

    def add(self, piece: Piece, key: Callable[[Any], Any]) -> None:
        """Divide a piece's elements among the parts."""
        lists: list[Piece] = [[] for _ in self.parts]
        depth, count = self._depth, len(lists)
        for element in piece:
            lists[hash((depth, key(element))) % count].append(element)
        for part, elements in zip(self.parts, lists, strict=True):
            if elements:
                part.add(elements)

    def drain(self) -> Iterator[Collection]:
        """Yield the parts that hold anything, and drop each after its use."""
        for part in self.parts:
            if len(part):
                yield part
            part.remove()


def sort_pieces(
    run: Run,
    pieces: Iterable[Piece],
    key: Callable[[Any], Any] | None,
    *,
    descending: bool = False,
    sort: Callable[[Piece], None] | None = None,
) -> Iterator[Piece]:
    """Sort any number of elements, stably; runs beyond the budget lie on disk and are merged.

    What never lay on disk comes as one list.

    Args:
        run: the stage's run.
        pieces: the elements.
        key: what is compared; None compares the elements themselves.
        descending: the greatest key first; equal keys keep their order all the same.
        sort: sorts a list in place by that key, with errors of the caller's own.
    """
    in_place = sort or partial(list.sort, key=key, reverse=descending)
    memory: Piece = []
    files: list[SpillFile] = []
    held, spillable = 0, True
    try:
        for piece in pieces:
            memory.extend(piece)
            held += size_of_piece(piece)
            if held > run.budget and spillable:
                in_place(memory)
                file = _write(run, run.pieces(memory))
                if file is None:
                    spillable = False
                    continue
                files.append(file)
                memory, held = [], 0
                if len(files) == MOST_RUNS:
                    merged = run.pieces(_merge(files, [], key, descending))
                    files = [_replace(files, _write(run, merged))]
        in_place(memory)
        if files:
            yield from run.pieces(_merge(files, memory, key, descending))
        else:
            yield memory
    finally:
        for file in files:
            file.remove()


def _merge(
    files: list[SpillFile], memory: Piece, key: Callable[[Any], Any] | None, descending: bool
) -> Iterator[Any]:
    # Of equal keys `merge` takes the one from the earlier source first, which keeps it stable.
    sources = [chain.from_iterable(file.read()) for file in files]
    return heapq.merge(*sources, memory, key=key, reverse=descending)


def _replace(old: list[SpillFile], new: SpillFile | None) -> SpillFile:
    if new is None:
        raise RuntimeError("values that were pickled once cannot be pickled again")
    for file in old:
        file.remove()
    return new


def _write(run: Run, pieces: Iterable[Piece]) -> SpillFile | None:
    """Write pieces to a new file; None if something in them cannot be pickled."""
    file = SpillFile(run.new_file())
    for part in chain.from_iterable(map(_parts, pieces)):
        data = dump(part)
        if data is None:
            file.remove()
            return None
        file.write(data, len(part))
    file.close()
    return file
