"""One run of a stage inside DataFusion: its tables, its Python functions, its memory, its end."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datafusion
import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.errors import CancelledError, EvaluationError
from umbel.platforms.base import RunContext
from umbel.platforms.datafusion.operators import FAILURE, SYNTAX
from umbel.sql.python_functions import PythonFunction, calls_of, evaluator, to_array

pc = LazyModule("pyarrow.compute")

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Functions that Arrow computes as the catalogue means them, over these types.
_KERNELS: dict[tuple[str, tuple[pa.DataType, ...]], Callable[..., pa.Array]] = {
    ("add", (pa.int64(), pa.int64())): pc.add_checked,
    ("subtract", (pa.int64(), pa.int64())): pc.subtract_checked,
    ("multiply", (pa.int64(), pa.int64())): pc.multiply_checked,
}
_SETTINGS = {
    "datafusion.sql_parser.dialect": SYNTAX,
    # The plan's limit of expressions inside expressions holds already.
    "datafusion.sql_parser.recursion_limit": "100000",
    # The plan's texts are Arrow's plain ones, and so are the arguments of Python functions.
    "datafusion.sql_parser.map_string_types_to_utf8view": "false",
    "datafusion.execution.parquet.schema_force_view_types": "false",
    "datafusion.execution.time_zone": "+00:00",
}
_NO_STATISTICS = {
    "datafusion.execution.collect_statistics": "false",
    "datafusion.execution.parquet.pruning": "false",
    "datafusion.execution.parquet.bloom_filter_on_read": "false",
}
_ONE_THREAD = {"datafusion.execution.target_partitions": "1"}
#: Joins that spill; one thread's sorts need less memory than those of several.
_SORT_MERGE = {
    "datafusion.optimizer.prefer_hash_join": "false",
    **_ONE_THREAD,
    "datafusion.execution.batch_size": "2048",
}
#: Seconds between looks at whether the run was cancelled.
_WAIT = 0.05
#: Seconds that a statement has to stop once it was. What goes on then is left behind.
_PATIENCE = 0.8
#: Of the memory of a stage, what tables may take that are kept for its statement.
_KEPT = 0.25
_BATCH_ROWS = 65_536
#: Bytes that DataFusion keeps back for merging by itself, and how many sorts must have room for it.
_MERGING, _SORTS = 10 << 20, 64


class Session:
    """A session of DataFusion for one run of one stage.

    Attributes:
        context: DataFusion's own.
        failures: what Python functions raised; DataFusion only repeats the message.
    """

    def __init__(
        self,
        run: RunContext,
        *,
        statistics: bool = True,
        spilling_joins: bool = False,
        in_order: bool = False,
    ) -> None:
        settings = {**_SETTINGS}
        settings |= {} if statistics else _NO_STATISTICS
        settings |= _SORT_MERGE if spilling_joins else {}
        settings |= _ONE_THREAD if in_order else {}
        self._threads = 1 if in_order else pa.cpu_count()
        # Each sort keeps some memory back for the merging of what it spilled.
        kept_back = min(_MERGING, run.memory_limit // _SORTS)
        settings["datafusion.execution.sort_spill_reservation_bytes"] = str(kept_back)
        runtime = datafusion.RuntimeEnvBuilder().with_disk_manager_specified(run.scratch)
        runtime = runtime.with_fair_spill_pool(run.memory_limit)
        self.context = datafusion.SessionContext(datafusion.SessionConfig(settings), runtime)
        self.failures: list[Exception] = []
        self._run = run
        self._kept = 0
        self._cancelled = threading.Event()
        self._cancel: Callable[[], object] = lambda: None

    def check(self) -> None:
        """Raise if the run was cancelled."""
        if self._cancelled.is_set():
            raise CancelledError("the run was cancelled")
        self._run.check_cancelled()

    def cancel(self) -> None:
        """Stop what runs; from any thread."""
        self._cancelled.set()
        self._cancel()

    # Tables

    def put(self, name: str, data: pa.Table) -> None:
        """Make an Arrow table known."""
        batches = data.to_batches(max_chunksize=_BATCH_ROWS)
        self._register(name, data.schema, batches)

    def _register(self, name: str, schema: pa.Schema, batches: list[pa.RecordBatch]) -> None:
        batches = [batch for batch in batches if batch.num_rows] or [
            pa.RecordBatch.from_pylist([], schema)
        ]
        threads = max(1, min(len(batches), self._threads))
        partitions = [batches[place::threads] for place in range(threads)]
        self.context.register_record_batches(name, partitions)

    def keep(self, name: str, schema: pa.Schema, rows: Iterable[pa.RecordBatch]) -> None:
        """Make a table known that is read once to fill it; a large one goes to a file."""
        most = int(self._run.memory_limit * _KEPT)
        batches: list[pa.RecordBatch] = []
        source = iter(rows)
        for batch in source:
            batches.append(batch)
            self._kept += batch.nbytes
            if self._kept > most:
                break
        else:
            self._register(name, schema, batches)
            return
        self._kept -= sum(batch.nbytes for batch in batches)
        path = Path(self._run.scratch) / f"{id(self)}-{name}.arrow"
        with pa.ipc.new_file(path, schema) as writer:
            for part in (batches, source):
                for batch in part:
                    self.check()
                    writer.write_batch(batch)
        self.context.register_arrow(name, str(path), file_extension="")

    # Functions

    def define(self, statements: Iterable[exp.Expr]) -> None:
        """Make the Python functions of statements known, and the one that fails."""
        self._define(FAILURE, _fail(self.failures), [pa.string()], pa.int64(), constant=True)
        used: dict[PythonFunction, bool] = {}
        for statement in statements:
            for node, described in calls_of(statement):
                constant = node.find(exp.Column) is None
                used[described] = used.get(described, False) or constant
        for described, constant in used.items():
            types, dtype = list(described.types), described.dtype
            self._define(described.name, self._runner(described), types, dtype, constant=constant)

    def _define(
        self,
        name: str,
        function: Callable[..., pa.Array],
        types: list[pa.DataType],
        dtype: pa.DataType,
        *,
        constant: bool,
    ) -> None:
        # A volatile function is not called when DataFusion plans, where a constant may stand in a
        # branch that is never taken.
        volatility = "volatile" if constant else "immutable"
        self.context.register_udf(datafusion.udf(function, types, dtype, volatility, name))

    def _runner(self, described: PythonFunction) -> Callable[..., pa.Array]:
        """Build the function of Arrow columns that DataFusion calls."""
        # DataFusion holds the function, and we hold DataFusion's session: a function that held us
        # would keep all of it for ever, as Python's collector does not see through DataFusion.
        known, failures = weakref.ref(self), self.failures
        evaluate = evaluator(described)
        kernel = _KERNELS.get((described.function, described.types))

        def compute(*columns: Any) -> pa.Array:
            if kernel is not None:
                try:
                    return kernel(*columns)
                except pa.ArrowInvalid:
                    # The reference says what is wrong with which value.
                    return to_array(evaluate([c.to_pylist() for c in columns]), described.dtype)
            return to_array(evaluate([c.to_pylist() for c in columns]), described.dtype)

        def run(*columns: Any) -> pa.Array:
            try:
                _check(known)
                return compute(*columns)
            except Exception as error:
                failures.append(error)
                raise

        return run

    # Running

    def rows(self, statement: str) -> pa.Table:
        """Run a statement on this thread; give its rows."""
        frame = self.context.sql(statement)
        with _loop() as loop:

            async def collect() -> list[pa.RecordBatch]:
                stream = frame.execute_stream()
                return [batch.to_pyarrow() async for batch in stream]

            task = loop.create_task(collect())
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
            try:
                self.check()
                batches = loop.run_until_complete(task)
            finally:
                self._cancel = lambda: None
        return pa.Table.from_batches(batches, batches[0].schema if batches else frame.schema())

    def finish(self, work: Callable[[], Any]) -> Any:
        """Do work on a thread of its own, which ends at once if the run is cancelled."""
        done: Future[Any] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:  # noqa: BLE001 (handed to the waiting thread)
                done.set_exception(error)

        threading.Thread(target=run, name="umbel-datafusion", daemon=True).start()
        try:
            while not wait([done], timeout=_WAIT).done:
                self.check()
        except BaseException:  # cancelled, or interrupted from outside
            self.cancel()
            wait([done], timeout=_PATIENCE)
            raise
        try:
            return done.result()
        except asyncio.CancelledError:
            self.check()
            raise
        except Exception as error:
            self.check()
            if self.failures and error is not self.failures[0]:
                raise self.failures[0] from error
            raise


def _check(known: weakref.ref[Session]) -> None:
    """Raise if a session's run was cancelled, or is over."""
    session = known()
    if session is None:
        raise CancelledError("the run is over")
    session.check()


def _fail(failures: list[Exception]) -> Callable[[Any], pa.Array]:
    """Make the function that fails with the message that it is given."""

    def fail(message: Any) -> pa.Array:
        error = EvaluationError(message[0].as_py() if len(message) else "a value is missing")
        failures.append(error)
        raise error

    return fail


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    try:
        yield loop
    finally:
        loop.close()


__all__ = ["Session"]
