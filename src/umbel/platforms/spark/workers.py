"""What Spark's Python workers run: a part of a plan, on the platform that is the reference.

Elements that are Python objects travel through Spark in rows of (bucket, side, size, items):
`items` is a pickled list of elements, `size` how many they are; all elements with equal keys lie
in rows of one `bucket`; `side` tells the two inputs of a join apart.
"""

from __future__ import annotations

import datetime
import os
import pickle
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.catalog.commits import Commit
from umbel.dataclass import dataclass
from umbel.plan.errors import UmbelError
from umbel.plan.operators import Operator
from umbel.platforms.base import ARROW, PYTHON, Platform, Stage
from umbel.platforms.spark.arrow import from_physical, physical_schema, to_physical
from umbel.platforms.spark.errors import marked

#: Elements in a row, and rows in a batch.
_ITEMS, _ROWS = 2048, 64
#: Bytes that a worker keeps of what it works on before it spills.
_MEMORY = 256 << 20

PICKLED = pa.schema(
    [
        pa.field("bucket", pa.int32()),
        pa.field("side", pa.int8()),
        pa.field("size", pa.int64()),
        pa.field("items", pa.binary()),
    ]
)

#: Gives the key by which an element is put in a bucket.
KeyOf = Callable[[Any], Any]


@dataclass(frozen=True)
class Job:
    """A part of a plan for workers.

    Attributes:
        platform: runs it.
        root: the part; its leaves are placeholders.
        inputs: for each placeholder that Spark feeds, in the order of their sides, its label and
            schema; the schema is None where elements come pickled.
        constants: the elements of the other placeholders, which every worker gets whole.
        schema: of the output; None where elements leave pickled.
        key: tells by what elements are put into buckets.
        buckets: how many buckets there are.
        side: what the output's rows are marked with.
        numbered: elements leave as pairs with a number that no other has.
        whole: the part is run once over all that a worker gets, instead of batch by batch.
    """

    platform: Platform
    root: Operator
    inputs: tuple[tuple[str, pa.Schema | None], ...]
    constants: Mapping[str, list[Any]] = field(default_factory=dict)
    schema: pa.Schema | None = None
    key: KeyOf | None = None
    buckets: int = 1
    side: int = 0
    numbered: bool = False
    whole: bool = False

    @property
    def stage(self) -> Stage:
        """The part as the platform takes it."""
        forms = {label: PYTHON if schema is None else ARROW for label, schema in self.inputs}
        forms |= dict.fromkeys(self.constants, PYTHON)
        return Stage(self.root, forms, PYTHON if self.schema is None else ARROW)


class WorkerContext:
    """The services of a run inside a worker; Spark itself cancels and restarts workers."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.memory_limit = _MEMORY
        self.profile = False
        self.run_id = ""
        self.commit: Commit | None = None

    def check_cancelled(self) -> None:
        """Spark ends the worker."""

    def on_cancel(self, interrupt: Callable[[], None]) -> None:
        """Spark ends the worker."""

    def measure(self, operator: Operator, rows: int, seconds: float | None = None) -> None:
        """Only what leaves Spark is counted."""

    def progress(self, operator: Operator, rows: int) -> None:
        """Only what leaves Spark is counted."""


def worker(pickled: bytes, paths: tuple[str, ...]) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Make the function that Spark runs over a partition's batches.

    Args:
        pickled: a `Job`; unpickled in the worker, after it knows where modules are.
        paths: where this process finds modules.
    """

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        import sys

        sys.path.extend(path for path in paths if path not in sys.path)
        from umbel.platforms.spark.workers import run_job

        return run_job(pickled, batches)

    return run


def run_job(pickled: bytes, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Run a job over a partition.

    Raises:
        RuntimeError: an error of umbel's own, in a form that survives Spark.
    """
    from pyspark import cloudpickle

    job: Job = cloudpickle.loads(pickled)
    try:
        with tempfile.TemporaryDirectory(prefix="umbel-worker-", dir=_scratch()) as folder:
            yield from _run(job, batches, WorkerContext(Path(folder)))
    except UmbelError as error:
        raise RuntimeError(marked(error)) from None


def _scratch() -> str | None:
    """Spark's own folder for such, which goes with it however it ends."""
    return os.environ.get("SPARK_LOCAL_DIRS", "").split(",")[0] or None


def _run(
    job: Job, batches: Iterable[pa.RecordBatch], context: WorkerContext
) -> Iterator[pa.RecordBatch]:
    number = _first_number() if job.numbered else 0
    for inputs in _whole(job, batches) if job.whole else _batchwise(job, batches):
        output = job.platform.compile(job.stage).run({**inputs, **job.constants}, context)
        if job.schema is not None:
            if output.num_rows:
                physical = to_physical(output, job.schema) if job.schema.names else _nothing(output)
                yield from physical.combine_chunks().to_batches()
            continue
        elements: Iterable[Any] = output
        if job.numbered:
            elements = list(enumerate(output, number))
            number += len(elements)
        yield from pickled_batches(elements, job)


def _batchwise(job: Job, batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    ((label, schema),) = job.inputs
    for batch in batches:
        if batch.num_rows == 0:
            continue
        if schema is None:
            yield {label: _unpickled(batch.column("items").to_pylist())}
        else:
            yield {label: from_physical(pa.Table.from_batches([batch]), schema)}


def _whole(job: Job, batches: Iterable[pa.RecordBatch]) -> Iterator[dict[str, Any]]:
    labels = [label for label, _ in job.inputs]
    schema = job.inputs[0][1]
    if schema is not None:
        physical = physical_schema(schema) if schema.names else NOTHING
        table = pa.Table.from_batches(list(batches), physical)
        if table.num_rows:
            yield {labels[0]: from_physical(table, schema)}
        return
    sides = [_Packed() for _ in labels]
    for batch in batches:
        for side, items in zip(
            batch.column("side").to_pylist(), batch.column("items").to_pylist(), strict=True
        ):
            sides[side].rows.append(items)
    if any(side.rows for side in sides):
        yield dict(zip(labels, sides, strict=True))


class _Packed:
    """Elements as they came, unpickled when they are read."""

    def __init__(self) -> None:
        self.rows: list[bytes] = []

    def batches(self) -> Iterator[list[Any]]:
        """Yield lists of elements."""
        return map(loads, self.rows)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches():
            yield from batch

    def __len__(self) -> int:
        return sum(map(len, self.batches()))


def loads(items: bytes) -> list[Any]:
    """Unpickle the elements of a row, which this user's own Spark has pickled."""
    elements: list[Any] = pickle.loads(items)  # noqa: S301
    return elements


def dumps(elements: list[Any]) -> bytes:
    """Pickle elements; those whose classes no other process can import, with their classes."""
    if "__main__" not in {type(element).__module__ for element in elements}:
        try:
            return pickle.dumps(elements, protocol=5)
        except (pickle.PicklingError, AttributeError, TypeError):
            pass  # a class inside a function, or deeper inside an element
    from pyspark import cloudpickle

    dumped: bytes = cloudpickle.dumps(elements, protocol=5)  # type: ignore[no-untyped-call]
    return dumped


def _unpickled(rows: list[bytes]) -> list[Any]:
    return [element for items in rows for element in loads(items)]


def pickled_batches(elements: Iterable[Any], job: Job | None = None) -> Iterator[pa.RecordBatch]:
    """Pack elements into batches of the form that travels through Spark."""
    rows: list[tuple[int, int, int, bytes]] = []
    side = 0 if job is None else job.side
    for bucket, part in _parts(elements, job):
        rows.append((bucket, side, len(part), dumps(part)))
        if len(rows) == _ROWS:
            yield _packed(rows)
            rows = []
    if rows:
        yield _packed(rows)


def _parts(elements: Iterable[Any], job: Job | None) -> Iterator[tuple[int, list[Any]]]:
    iterator = iter(elements)
    if job is None or job.key is None:
        while part := list(islice(iterator, _ITEMS)):
            yield 0, part
        return
    waiting: dict[int, list[Any]] = {}
    for element in iterator:
        bucket = stable_hash(job.key(element)) % job.buckets
        part = waiting.setdefault(bucket, [])
        part.append(element)
        if len(part) == _ITEMS:
            yield bucket, waiting.pop(bucket)
    yield from waiting.items()


def _packed(rows: list[tuple[int, int, int, bytes]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    arrays = [pa.array(c, f.type) for c, f in zip(columns, PICKLED, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=PICKLED)


#: The column of a relation that has none, because Spark needs one.
NOTHING = pa.schema([("umbel_nothing", pa.bool_())])


def _nothing(table: pa.Table) -> pa.Table:
    return pa.Table.from_arrays([pa.nulls(table.num_rows, pa.bool_())], schema=NOTHING)


def _first_number() -> int:
    """A number from which no other partition counts."""
    from pyspark.taskcontext import TaskContext

    task = TaskContext.get()
    return (task.partitionId() if task is not None else 0) << 40


def stable_hash(key: Any) -> int:
    """Hash a key alike in every process: equal keys, as Python compares them, have equal hashes.

    Keys of other types than Python's own all get one hash: right, though not spread.

    >>> stable_hash(1) == stable_hash(1.0) == stable_hash(True)
    True
    >>> stable_hash(("a", 1)) == stable_hash(("a", 1.0))
    True
    """
    match key:
        case str():
            return zlib.crc32(key.encode("utf-8", "surrogatepass"))
        case bytes():
            return zlib.crc32(key)
        case int() | float() | complex() | Decimal() | Fraction():
            return 0 if key != key else hash(key) & 0x7FFFFFFF
        case tuple():
            mixed = 7
            for item in key:
                mixed = (mixed * 31 + stable_hash(item)) & 0x7FFFFFFF
            return mixed
        case frozenset():
            return sum(map(stable_hash, key)) & 0x7FFFFFFF
        case datetime.datetime() if key.tzinfo is None:
            return zlib.crc32(key.replace(fold=0).isoformat().encode())
        case datetime.date() if not isinstance(key, datetime.datetime):
            return key.toordinal()
    return 0


def first_of(pair: Any) -> Any:
    """The key of a pair; what is no pair goes where the error is made."""
    try:
        key, _ = pair
    except (TypeError, ValueError):
        return None
    return key


def itself(element: Any) -> Any:
    """An element as its own key."""
    return element


def module_paths() -> tuple[str, ...]:
    """Where this process finds modules."""
    return tuple(
        str(Path(path).resolve()) for path in sys.path if path == "" or Path(path).is_dir()
    )
