"""A stage on Spark: its pieces become DataFrames, and one job gives the output."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from umbel.plan.errors import PlanError, UmbelError
from umbel.plan.operators import Operator, Placeholder, Scan, Values, Write
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import AttachedSource, dotted
from umbel.platforms.base import ARROW, PYTHON, Platform, RunContext, Stage
from umbel.platforms.spark.connection import Connection
from umbel.platforms.spark.errors import is_lost
from umbel.platforms.spark.frames import (
    SparkFrame,
    fetch,
    fetch_elements,
    layout,
    upload,
    upload_elements,
)
from umbel.platforms.spark.pieces import (
    Cutter,
    Leaf,
    Pairs,
    Piece,
    Query,
    Together,
    Total,
    Work,
    all_pieces,
)
from umbel.platforms.spark.scans import leaf_frame
from umbel.platforms.spark.tables import Tables
from umbel.platforms.spark.workers import Job, module_paths, worker
from umbel.platforms.spark.writing import Writing


class SparkStage:
    """A stage's pieces, and how they are run."""

    def __init__(
        self,
        stage: Stage,
        connection: Connection,
        reference: Platform,
        cutter: Cutter,
        tables: Tables,
    ) -> None:
        self._stage = stage
        self._connection = connection
        self._reference = reference
        self._tables = tables
        self._sink: RelationSink | None = None
        root = stage.root
        if isinstance(root, Write):
            if not isinstance(root.sink, RelationSink):
                raise TypeError(f"not a write to Spark: {root.describe()}")
            self._sink, root = root.sink, root.input
        self._root = cutter.cut(root)

    @property
    def text(self) -> str:
        """The statements, and the operators that run in Python workers, in order."""
        pieces = [p for p in all_pieces(self._root) if not isinstance(p, Leaf)]
        texts = [piece.describe() for piece in pieces] or [self._root.describe()]
        if self._sink is not None:
            texts.append(f"Write: {self._sink.describe()}")
        return "\n\n".join(texts)

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> Any:
        """Run the stage; give an Arrow table, a list of elements, or rows kept in Spark."""
        context.check_cancelled()
        started = time.perf_counter()
        session = self._connection.session()
        tag = f"umbel-{uuid.uuid4().hex}"
        context.on_cancel(partial(_interrupt, session, tag))
        session.addTag(tag)
        before = self._connection.activate(session)
        run = _Run(self._connection, self._reference, self._stage, inputs, context, self._tables)
        try:
            frame = run.frame(self._root)
            if self._sink is None:
                output = self._output(frame)
            else:
                output = self._handed_over(run.write(self._sink, frame))
        except UmbelError:
            raise
        except Exception as error:
            context.check_cancelled()
            raise self._connection.failure(error) from error
        finally:
            session.removeTag(tag)
            run.clean()
            self._connection.activate(before)
        context.measure(self._stage.root, len(output), time.perf_counter() - started)
        return output

    def _output(self, frame: Any) -> Any:
        root, schema = self._stage.root, self._root.schema
        if self._stage.output == ARROW:
            return fetch(frame, root.schema)
        if self._stage.output == PYTHON:
            if schema is None:
                return fetch_elements(frame)
            convert = conversion(self._reference, ARROW, PYTHON)
            return convert(fetch(frame, schema), schema, root.element)
        return keep(self._connection, frame, pickled=schema is None)

    def _handed_over(self, written: pa.Table) -> Any:
        """What a write gives, in the stage's channel."""
        root = self._stage.root
        if self._stage.output == ARROW:
            return written
        if self._stage.output == PYTHON:
            return conversion(self._reference, ARROW, PYTHON)(written, root.schema, root.element)
        return keep(self._connection, upload(self._connection, written, root.schema), pickled=False)


def _interrupt(session: Any, tag: str) -> None:
    session.interruptTag(tag)


def keep(connection: Connection, frame: Any, *, pickled: bool) -> SparkFrame:
    """Compute a DataFrame once and keep its rows in the session."""
    kept = frame.localCheckpoint()
    if pickled:
        total = kept.selectExpr("coalesce(sum(size), 0L) AS n")
    else:
        total = kept.selectExpr("count(*) AS n")
    return SparkFrame(connection, kept, pickled, total.toArrow().column("n")[0].as_py())


def conversion(platform: Platform, source: str, target: str) -> Any:
    """Give the function by which a platform converts between channels."""
    for edge in platform.conversions:
        if (edge.source, edge.target) == (source, target):
            return edge.convert
    raise PlanError(f"platform {platform.name!r} does not convert {source} to {target}")


class _Run:
    """One run of a stage: the DataFrames of its pieces, and the views made for it."""

    def __init__(
        self,
        connection: Connection,
        reference: Platform,
        stage: Stage,
        inputs: Mapping[str, Any],
        context: RunContext,
        tables: Tables,
    ) -> None:
        self._tables = tables
        self._connection = connection
        self._session = connection.session()
        self._reference = reference
        self._stage = stage
        self._inputs = inputs
        self._context = context
        self._frames: dict[int, Any] = {}
        self._views: list[str] = []
        self._writing: Writing | None = None
        self._buckets = 0

    def frame(self, piece: Piece) -> Any:
        """Give the DataFrame of a piece."""
        if id(piece) not in self._frames:
            self._context.check_cancelled()
            frame = self._make(piece)
            self._frames[id(piece)] = frame.localCheckpoint() if piece.keep else frame
        return self._frames[id(piece)]

    def write(self, sink: RelationSink, frame: Any) -> pa.Table:
        """Write a DataFrame of the stage's columns to a table; give its name and the rows."""
        write = self._stage.root
        self._writing = Writing(self._session, sink, write.inputs[0].schema)
        rows = self._writing.write(frame)
        name = dotted((sink.platform, *sink.relation))
        return pa.table({"path": [name], "rows": [rows]}, schema=write.schema)

    def clean(self) -> None:
        """Forget the run's views and half-written tables; those of a dead Spark went with it."""
        self._frames.clear()
        try:
            if self._writing is not None:
                self._writing.drop()
            for view in self._views:
                self._session.catalog.dropTempView(view)
        except Exception as error:
            if not is_lost(error):
                raise

    def _make(self, piece: Piece) -> Any:
        match piece:
            case Leaf(root=Placeholder() as root):
                return self._input(root)
            case Leaf(root=Scan(source=AttachedSource() as source)):
                return self._tables.frame(source)
            case Leaf(root=Scan() | Values() as root):
                return leaf_frame(self._connection, root, self._context.check_cancelled)
            case Query():
                views = {
                    label: self._view(child)
                    for label, child in zip(piece.labels, piece.inputs, strict=True)
                }
                return self._session.sql(piece.statement(views))
            case Total():
                counted = self.frame(piece.inputs[0])
                return counted.selectExpr("coalesce(sum(size), 0L) AS value")
            case Together():
                first, *others = map(self.frame, piece.inputs)
                for other in others:
                    first = first.unionAll(other)
                return first
            case Pairs():
                return self._pairs(piece)
            case Work():
                return self._work(piece)
        raise PlanError(f"Spark has no way to run {piece.root.name}")

    def _input(self, placeholder: Placeholder) -> Any:
        data = self._inputs[placeholder.label]
        if isinstance(data, SparkFrame):
            return data.frame
        channel = self._stage.inputs.get(placeholder.label, ARROW)
        schema = placeholder.schema
        if channel == PYTHON and self._root_schema(placeholder) is None:
            return upload_elements(self._connection, data)
        if channel == PYTHON:
            convert = conversion(self._reference, PYTHON, ARROW)
            data = convert(data, schema, placeholder.element)
        return upload(self._connection, data, schema)

    def _root_schema(self, operator: Operator) -> pa.Schema | None:
        return Piece(operator).schema

    def _view(self, piece: Piece) -> str:
        name = self._connection.new_name("view")
        self.frame(piece).createOrReplaceTempView(name)
        self._views.append(name)
        return name

    # Work in Python workers

    def _work(self, work: Work) -> Any:
        constants = {label: self._collected(piece) for label, piece in work.sides.items()}
        schemas = [piece.schema for piece in work.inputs]
        inputs = list(zip(work.labels, schemas, strict=True))
        frames = [self.frame(piece) for piece in work.inputs]
        if work.keys:
            return self._by_key(work, inputs, frames, constants)
        (frame,) = frames
        if work.in_one:
            if work.before is not None:
                first = self._job(work.before, inputs, constants, None, whole=True)
                frame, inputs = self._mapped(frame, first), [(work.labels[0], None)]
            job = self._job(work.plan, inputs, constants, work.schema, whole=True)
            return self._mapped(frame.coalesce(1), job)
        job = self._job(work.plan, inputs, constants, work.schema, numbered=work.numbered)
        return self._mapped(frame, job)

    def _by_key(
        self,
        work: Work,
        inputs: Sequence[tuple[str, pa.Schema | None]],
        frames: Sequence[Any],
        constants: Mapping[str, list[Any]],
    ) -> Any:
        """Bring elements with equal keys together, and run the plan over each part."""
        moved: Any = None
        for side, ((label, schema), frame, key) in enumerate(
            zip(inputs, frames, work.keys, strict=True)
        ):
            operator = work.inputs[side].root
            plan: Operator = Placeholder(
                label=label, columns=operator.schema, form=operator.element
            )
            if work.before is not None:
                plan = work.before
            job = self._job(
                plan, [(label, schema)], constants, None,
                key=key, buckets=self._bucket_count(), side=side, whole=work.before is not None,
            )  # fmt: skip
            packed = self._mapped(frame, job)
            moved = packed if moved is None else moved.unionAll(packed)
        brought = moved.repartition(self._bucket_count(), "bucket")
        pickled = [(label, None) for label, _ in inputs]
        job = self._job(work.plan, pickled, constants, work.schema, whole=True)
        return self._mapped(brought, job)

    def _pairs(self, piece: Pairs) -> Any:
        left, right = (self._packed(child) for child in piece.inputs)
        crossed = left.selectExpr("items AS l").crossJoin(right.selectExpr("items AS r"))
        return crossed.mapInArrow(_crossed, layout(None))

    def _packed(self, piece: Piece) -> Any:
        """The elements of a piece, pickled."""
        if piece.schema is None:
            return self.frame(piece)
        operator = piece.root
        plan = Placeholder(label="all", columns=operator.schema, form=operator.element)
        job = self._job(plan, [("all", piece.schema)], {}, None)
        return self._mapped(self.frame(piece), job)

    def _job(
        self,
        plan: Operator,
        inputs: Sequence[tuple[str, pa.Schema | None]],
        constants: Mapping[str, list[Any]],
        schema: pa.Schema | None,
        **options: Any,
    ) -> Job:
        return Job(self._reference, plan, tuple(inputs), dict(constants), schema, **options)

    def _mapped(self, frame: Any, job: Job) -> Any:
        from pyspark import cloudpickle

        pickled: bytes = cloudpickle.dumps(job)  # type: ignore[no-untyped-call]
        paths = module_paths() if self._connection.sees_files else ()
        names: list[str] = frame.columns
        if not all(map(str.isidentifier, names)):
            # PySpark reads names as expressions: of `a.b` it wants the field b. Jobs go by place.
            frame = frame.toDF(*(f"c{place}" for place in range(len(names))))
        return frame.mapInArrow(worker(pickled, paths), layout(job.schema))

    def _collected(self, piece: Piece) -> list[Any]:
        frame, schema = self.frame(piece), piece.schema
        if schema is None:
            return fetch_elements(frame)
        convert = conversion(self._reference, ARROW, PYTHON)
        return list(convert(fetch(frame, schema), schema, piece.root.element))

    def _bucket_count(self) -> int:
        if not self._buckets:
            session = self._session
            self._buckets = int(session.conf.get("spark.sql.shuffle.partitions"))
        return self._buckets


def _crossed(batches: Any) -> Any:
    """Every element of the left items with every element of the right ones."""
    from umbel.platforms.spark.workers import loads, pickled_batches

    for batch in batches:
        for left, right in zip(*(batch.column(i).to_pylist() for i in (0, 1)), strict=True):
            others = loads(right)
            yield from pickled_batches((a, b) for a in loads(left) for b in others)


__all__ = ["SparkStage"]
