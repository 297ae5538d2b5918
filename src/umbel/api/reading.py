"""Where the frames of a session come from: values in memory and files."""

from __future__ import annotations

import datetime
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.api.dataframe import DataFrame
from umbel.api.dataset import Dataset
from umbel.api.items import items_source
from umbel.api.memory import arrow_table, column_of, memory_source
from umbel.api.values import TypeLike, schema_of
from umbel.plan.errors import PlanError, SourceError
from umbel.plan.sources import Source, split_name

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from umbel.api.catalog import TableName

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
SchemaLike: TypeAlias = pa.Schema | Mapping[str, TypeLike] | None


class Reading(ABC):
    """The part of a session that makes DataFrames and Datasets of values and files."""

    @abstractmethod
    def table(self, name: TableName, **options: Any) -> DataFrame:
        """A DataFrame of a table of what is attached."""

    @abstractmethod
    def _frame(self, source: Source) -> DataFrame:
        """A DataFrame of a source."""

    @abstractmethod
    def _dataset(self, source: Source) -> Dataset:
        """A Dataset of a source."""

    # --- memory -------------------------------------------------------------------------------

    def from_items(self, items: Iterable[Any]) -> Dataset:
        """A Dataset of Python values, which are never changed.

        Args:
            items: the values. If all are exactly of one type (or tuples alike), functions on them
                can be lifted to expressions.

        >>> import umbel as ub
        >>> ub.connect().from_items([3, 1, 2]).sort_by().collect()
        [1, 2, 3]
        """
        if isinstance(items, str | bytes) or not isinstance(items, Iterable):
            raise PlanError(
                f"from_items takes a list of values, not {type(items).__name__}",
                hint="put a single value into a list",
            )
        return self._dataset(items_source(items))

    def from_arrow(self, data: Any) -> DataFrame:
        """A DataFrame of a pyarrow Table, or of whatever speaks Arrow's C stream protocol."""
        return self._frame(memory_source(arrow_table(data)))

    def from_polars(self, data: pl.DataFrame) -> DataFrame:
        """A DataFrame of a Polars DataFrame."""
        if type(data).__name__ == "LazyFrame":
            raise PlanError("from_polars takes a DataFrame", hint="collect the LazyFrame first")
        if not hasattr(data, "to_arrow"):
            raise PlanError(f"from_polars takes a DataFrame, not {type(data).__name__}")
        return self._frame(memory_source(data.to_arrow()))

    def from_pandas(self, data: pd.DataFrame, *, include_index: bool = False) -> DataFrame:
        """A DataFrame of a pandas DataFrame. Missing values, NaN among them, become null.

        Args:
            data: the pandas DataFrame.
            include_index: make columns of its index too.
        """
        try:
            table = pa.Table.from_pandas(data, preserve_index=include_index)
        except (pa.ArrowException, AttributeError, TypeError) as error:
            raise SourceError(
                f"the pandas DataFrame has no Arrow form: {error}",
                hint="give each column values of one type",
            ) from None
        return self._frame(memory_source(table.replace_schema_metadata(None)))

    def from_dict(self, data: Mapping[str, Sequence[Any]], schema: SchemaLike = None) -> DataFrame:
        """A DataFrame of columns: a list of values for each name.

        Args:
            data: the columns, of equal lengths.
            schema: names and types; found from the values if None.
        """
        wanted = None if schema is None else schema_of(schema)
        columns, fields = [], []
        for name, values in data.items():
            index = -1 if wanted is None else wanted.get_field_index(name)
            if wanted is not None and index < 0:
                raise PlanError(f"the schema has no column {name!r}, which the data has")
            dtype = None if wanted is None else wanted.field(index).type
            column = column_of(name, values, dtype)
            columns.append(column)
            fields.append(
                wanted.field(index) if wanted is not None else pa.field(name, column.type)
            )
        missing: list[str] = [] if wanted is None else [n for n in wanted.names if n not in data]
        if missing:
            raise PlanError(f"the data has no column {missing[0]!r}, which the schema has")
        lengths = {name: len(c) for name, c in zip(data, columns, strict=True)}
        if len(set(lengths.values())) > 1:
            shown = ", ".join(f"{name!r} has {n}" for name, n in lengths.items())
            raise PlanError(f"the columns have different lengths: {shown}")
        return self._frame(memory_source(pa.Table.from_arrays(columns, schema=pa.schema(fields))))

    def from_dicts(self, data: Iterable[Mapping[str, Any]], schema: SchemaLike = None) -> DataFrame:
        """A DataFrame of rows: a mapping of names to values for each; what is not there is null.

        Args:
            data: the rows.
            schema: names and types; found from the values if None.
        """
        rows = list(data)
        names = list(dict.fromkeys(name for row in rows for name in row))
        wanted = None if schema is None else schema_of(schema)
        if wanted is not None:
            names = list(wanted.names)
        return self.from_dict({name: [row.get(name) for row in rows] for name in names}, wanted)

    # --- files --------------------------------------------------------------------------------

    def read_text(self, paths: Paths) -> Dataset:
        """A Dataset of the lines of UTF-8 text files, without their line ends.

        Args:
            paths: files, folders or glob patterns; .gz, .zst and .bz2 are decompressed.
        """
        from umbel.catalog.infer import text_source

        return self._dataset(text_source(_paths(paths)))

    def read_csv(
        self,
        paths: Paths,
        *,
        schema: SchemaLike = None,
        delimiter: str = ",",
        quote: str = '"',
        header: bool = True,
        null_values: str | Sequence[str] = ("",),
    ) -> DataFrame:
        """A DataFrame of CSV files.

        Args:
            paths: files, folders or glob patterns; .gz, .zst and .bz2 are decompressed.
            schema: names and types of the columns; found from the files if None.
            delimiter: between fields.
            quote: around fields that hold delimiters, quotes or line ends.
            header: the first line names the columns.
            null_values: what stands for null when it is not quoted.
        """
        from umbel.catalog.infer import csv_source

        source = csv_source(
            _paths(paths),
            schema=None if schema is None else schema_of(schema),
            delimiter=delimiter,
            quote=quote,
            header=header,
            null_values=(null_values,) if isinstance(null_values, str) else tuple(null_values),
        )
        return self._frame(source)

    def read_json(self, paths: Paths, *, schema: SchemaLike = None) -> DataFrame:
        """A DataFrame of files with one JSON object a line.

        Args:
            paths: files, folders or glob patterns; .gz, .zst and .bz2 are decompressed.
            schema: names and types of the columns; found from the files if None.
        """
        from umbel.catalog.infer import json_source

        wanted = None if schema is None else schema_of(schema)
        return self._frame(json_source(_paths(paths), schema=wanted))

    def read_parquet(self, paths: Paths) -> DataFrame:
        """A DataFrame of Parquet files.

        Args:
            paths: files, folders or glob patterns; folders `name=value` become columns.
        """
        from umbel.catalog.infer import parquet_source

        return self._frame(parquet_source(_paths(paths)))

    def read_ipc(self, paths: Paths) -> DataFrame:
        """A DataFrame of Arrow IPC (Feather) files."""
        from umbel.catalog.infer import ipc_source

        return self._frame(ipc_source(_paths(paths)))

    def read_delta(
        self,
        path: str | os.PathLike[str],
        *,
        version: int | None = None,
        timestamp: datetime.datetime | str | None = None,
    ) -> DataFrame:
        """A DataFrame of a Delta table, as it is now or was at a version; it stays at that version.

        Args:
            path: its folder, of this machine or an object store: "s3://lake/orders".
            version: what its log counts, from 0.
            timestamp: the version that was the latest then; without a time zone it is UTC.
        """
        from umbel.catalog.delta import delta_source

        return self._frame(delta_source(os.fspath(path), version=version, timestamp=timestamp))

    def read_iceberg(
        self,
        table: TableName,
        *,
        catalog: str | None = None,
        snapshot: int | None = None,
        as_of: datetime.datetime | str | None = None,
    ) -> DataFrame:
        """A DataFrame of an Iceberg table, as it is now or was; it stays at that snapshot.

        Args:
            table: its name in the catalogue, "db.table", or the path of its metadata file.
            catalog: what the catalogue is attached as.
            snapshot: the snapshot's id.
            as_of: the snapshot that was current then; without a time zone it is UTC.
        """
        if catalog is None:
            if isinstance(table, str) and table.endswith(".metadata.json"):
                from umbel.catalog.iceberg import static_source

                return self._frame(static_source(table, snapshot=snapshot, as_of=as_of))
            raise PlanError(
                "an Iceberg table is found by its catalogue",
                hint="session.catalog.attach('ice', 'iceberg+…'), then catalog='ice'",
            )
        parts = split_name(table) if isinstance(table, str) else tuple(table)
        return self.table((catalog, *parts), snapshot=snapshot, as_of=as_of)


def _paths(paths: Paths) -> list[str]:
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise PlanError("name at least one file")
    return [os.fspath(path) for path in given]


__all__ = ["Paths", "Reading", "SchemaLike"]
