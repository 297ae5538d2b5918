"""The channel of a Spark platform, tables on their way there, and views of a run."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from umbel.dataclass import dataclass
from umbel.platforms.spark.arrow import from_physical, physical_schema, to_physical
from umbel.platforms.spark.connection import Connection
from umbel.platforms.spark.workers import NOTHING, PICKLED, loads, pickled_batches

#: Larger tables go to Spark as a Parquet file where it sees this machine's files: it reads that
#: several times as fast as what comes through its door.
_SMALL = 1 << 18


@dataclass
class SparkFrame:
    """Rows kept in a Spark session, until the last reference goes.

    Attributes:
        connection: the Spark that they are in.
        frame: Spark's DataFrame.
        pickled: elements are pickled, in the form that `umbel.platforms.spark.workers` describes.
        num_rows: how many rows or elements there are.
    """

    connection: Connection
    frame: Any = field(repr=False)
    pickled: bool
    num_rows: int

    def __len__(self) -> int:
        return self.num_rows


def upload(connection: Connection, table: pa.Table, schema: pa.Schema) -> Any:
    """Give a table of the plan's columns to Spark, as a DataFrame in its layouts."""
    if schema.names:
        return upload_physical(connection, to_physical(table, schema))
    return upload_physical(
        connection, pa.table({NOTHING.names[0]: pa.nulls(len(table), pa.bool_())})
    )


def upload_physical(connection: Connection, table: pa.Table) -> Any:
    """Give a table in Spark's layouts to Spark."""
    session = connection.session()
    if connection.sees_files and table.nbytes > _SMALL and table.num_rows:
        return spool(connection, table.schema, table.to_batches())
    if table.num_rows == 0:
        return session.createDataFrame(table.combine_chunks(), schema=ddl(table.schema))
    return session.createDataFrame(table.combine_chunks())


def spool(connection: Connection, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Any:
    """Give batches in Spark's layouts to Spark through a file, in bounded memory.

    The file is removed when the DataFrame goes.
    """
    folder = tempfile.mkdtemp(prefix="umbel-spark-")
    path = Path(folder) / "rows.parquet"
    try:
        with pq.ParquetWriter(path, schema, compression="lz4") as writer:
            for batch in batches:
                writer.write_batch(batch, row_group_size=1 << 17)
        session = connection.session()
        frame = session.read.parquet(file_path(path))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(frame, shutil.rmtree, folder, ignore_errors=True)
    return frame


def file_path(path: Path) -> str:
    r"""Name a file for Spark, which takes what it is given for a pattern.

    >>> file_path(Path("/data/a [1].parquet"))
    'file:/data/a \\[1\\].parquet'
    """
    return "file:" + "".join(f"\\{c}" if c in "{}[]*?\\" else c for c in str(path.resolve()))


def ddl(physical: pa.Schema) -> str:
    """Write layouts as Spark's DDL.

    >>> ddl(pa.schema([("a b", pa.int64()), ("t", pa.timestamp("us"))]))
    '`a b` BIGINT, `t` TIMESTAMP_NTZ'
    """
    from umbel.platforms.spark.types import type_text

    return ", ".join(
        f"`{item.name.replace('`', '``')}` {type_text(item.type)}" for item in physical
    )


def layout(schema: pa.Schema | None) -> str:
    """The DDL of a plan's columns, or of pickled elements."""
    if schema is None:
        return ddl(PICKLED)
    return ddl(physical_schema(schema)) if schema.names else ddl(NOTHING)


def upload_elements(connection: Connection, elements: Iterable[Any]) -> Any:
    """Give Python objects to Spark, pickled."""
    table = pa.Table.from_batches(list(pickled_batches(elements)), PICKLED)
    return upload_physical(connection, table)


def fetch(frame: Any, schema: pa.Schema) -> pa.Table:
    """Fetch a DataFrame of a plan's columns."""
    table = frame.toArrow()
    if table.num_columns != max(len(schema), 1):
        raise AssertionError(f"Spark gave {table.schema} for {schema}")
    return from_physical(table, schema)


def fetch_elements(frame: Any) -> list[Any]:
    """Fetch pickled elements."""
    rows = frame.select("items").toArrow().column("items")
    return list(itertools.chain.from_iterable(loads(items.as_py()) for items in rows))
