"""Writes tables of Spark's catalogue, whole or not at all.

New rows go into a table of their own beside the old one, which takes its name when it is full;
rows to append are one insertion, which Spark commits at its end. Columns are stored as Spark's
types: `uint32` as BIGINT, say, and come back so.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from umbel.plan.errors import RunError
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import dotted
from umbel.plan.types import is_list, type_name
from umbel.platforms.spark.arrow import physical_schema
from umbel.platforms.spark.frames import ddl
from umbel.platforms.spark.tables import quoted
from umbel.platforms.spark.types import type_text


class Writing:
    """One writing of a table.

    Args:
        session: of Spark.
        sink: where the rows go.
        schema: of the rows.
    """

    def __init__(self, session: Any, sink: RelationSink, schema: pa.Schema) -> None:
        self._session = session
        self._sink = sink
        self._schema = schema
        self._beside: str | None = None

    def write(self, frame: Any) -> int:
        """Write the rows of a DataFrame in Spark's layouts; give their number."""
        from pyspark.sql.connect.functions import builtin
        from pyspark.sql.connect.observation import Observation

        name = quoted(self._sink.relation)
        observation = Observation()
        counted = frame.observe(observation, builtin.count(builtin.lit(1)).alias("rows"))
        if self._sink.mode == "append":
            columns = [f"`{item.name.replace('`', '``')}`" for item in self._there()]
            counted.select(*columns).write.insertInto(name)
            return int(observation.get["rows"])
        *space, table = self._sink.relation
        self._beside = quoted((*space, f"{table[:40]}_{secrets.token_hex(4)}"))
        self._session.sql(
            f"CREATE TABLE {self._beside} ({ddl(physical_schema(self._schema))}) USING parquet"
        )
        counted.write.insertInto(self._beside)
        rows = int(observation.get["rows"])
        if self._sink.mode == "replace":
            self._session.sql(f"DROP TABLE IF EXISTS {name}")
        self._session.sql(f"ALTER TABLE {self._beside} RENAME TO {name}")
        self._beside = None
        return rows

    def _there(self) -> Any:
        return self._session.table(quoted(self._sink.relation)).schema.fields

    def drop(self) -> None:
        """Remove what a writing that failed had begun."""
        if self._beside is not None:
            self._session.sql(f"DROP TABLE IF EXISTS {self._beside}")
            self._beside = None


def check_sink(sink: RelationSink, schema: pa.Schema, there: Mapping[str, str] | None) -> None:
    """Raise `RunError` if rows cannot be written.

    Args:
        sink: where they go.
        schema: of the rows.
        there: Spark's types of the columns of the table that is there, by name; None if none is.
    """
    shown = dotted((sink.platform, *sink.relation))
    if not schema.names:
        raise RunError(f"{shown}: a table needs at least one column")
    for field in schema:
        reason = _refuse_stored(field.type)
        if reason is not None:
            raise RunError(
                f"{shown}: column {field.name!r} is {type_name(field.type)}: {reason}",
                hint="cast it first: .cast(...), or write Parquet files: .write_parquet(path)",
            )
    if there is None:
        if sink.mode == "append":
            raise RunError(f"{shown}: there is no such table", hint="write it with mode='error'")
        return
    if sink.mode == "error":
        raise RunError(
            f"{shown}: the table is there already",
            hint="choose another name, or mode='replace' or mode='append'",
        )
    if sink.mode == "append":
        _check_columns(schema, there, shown)


def _refuse_stored(dtype: pa.DataType) -> str | None:
    if pa.types.is_null(dtype) or pa.types.is_time(dtype) or pa.types.is_duration(dtype):
        return "tables of Spark have no such type"
    if is_list(dtype):
        return _refuse_stored(dtype.value_type)
    if pa.types.is_struct(dtype):
        return next(filter(None, (_refuse_stored(field.type) for field in dtype)), None)
    return None


def _check_columns(schema: pa.Schema, there: Mapping[str, str], shown: str) -> None:
    missing = sorted(there.keys() - set(schema.names))
    extra = [name for name in schema.names if name not in there]
    if extra or missing:
        what = f"has no column {extra[0]!r}" if extra else f"has a column {missing[0]!r} too"
        raise RunError(f"{shown}: the table {what}", hint=f"it has: {', '.join(there)}")
    for field in schema:
        wanted, given = _plain(there[field.name]), _plain(type_text(field.type))
        if wanted != given:
            raise RunError(
                f"{shown}: column {field.name!r} is {there[field.name]} in Spark, "
                f"not {given} ({type_name(field.type)})",
                hint="cast it first: .cast(...)",
            )


def _plain(name: str) -> str:
    """A type's name, however it is written.

    >>> _plain("DECIMAL(15, 2)"), _plain("TIMESTAMP_LTZ")
    ('decimal(15,2)', 'timestamp')
    """
    return name.lower().replace(" ", "").replace("`", "").replace("timestamp_ltz", "timestamp")
