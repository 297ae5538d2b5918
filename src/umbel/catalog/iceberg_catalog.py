"""Iceberg catalogues as namespaces: SQL catalogues (SQLite) and REST catalogues."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.catalog.address import Address
from umbel.catalog.delta import check_columns
from umbel.catalog.iceberg import FILE_IO, explained, first_line, iceberg_source, library
from umbel.catalog.namespace import TableEntry, ambiguous, unknown_table
from umbel.plan.errors import PlanError, RunError, SourceError, UmbelError, UnknownNameError
from umbel.plan.sinks import IcebergSink, Sink
from umbel.plan.sources import Source, dotted
from umbel.plan.types import canonical_schema

_SQL_OPTIONS = ("warehouse",)
_REST_OPTIONS = ("warehouse", "prefix", "scope", "token", "credential", "oauth2_server_uri")

#: Commits that are tried while others commit to the same table.
_COMMITS = 4
#: What a snapshot of a durable run keeps: its token, and how many rows it wrote.
_TOKEN, _ROWS = "umbel.run", "umbel.rows"


def open_iceberg(name: str, address: Address) -> IcebergNamespace:
    """Open a catalogue, as the entry points of `umbel.namespaces` name it."""
    return IcebergNamespace(name, address)


class IcebergNamespace:
    """The tables of an Iceberg catalogue."""

    engine = "iceberg"

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self._address = address
        self._kind = address.scheme.removeprefix("iceberg+")
        known = _SQL_OPTIONS if self._kind == "sqlite" else _REST_OPTIONS
        for option in (*address.options, *address.secrets):
            if option not in known:
                raise UnknownNameError("option", option, known, where="an Iceberg catalogue")
        if self._kind == "sqlite" and "warehouse" not in address.options:
            raise PlanError(
                f"the Iceberg catalogue {name!r} has no warehouse, the folder of its tables",
                hint="give it: warehouse='s3://bucket/folder' or a folder of this machine",
            )
        self._catalog: Any = None

    @property
    def address(self) -> str:
        """Where it is, for people; without secrets."""
        return str(self._address)

    def tables(self) -> Sequence[TableEntry]:
        with self._reached():
            catalog = self._open()
            found = [
                identifier
                for namespace in _namespaces(catalog, ())
                for identifier in catalog.list_tables(namespace)
            ]
        return [TableEntry(self.name, tuple(identifier)) for identifier in sorted(found)]

    def source(self, table: Sequence[str], **options: Any) -> Source:
        for name in options:
            if name not in {"snapshot", "as_of"}:
                raise UnknownNameError("option", name, ["snapshot", "as_of"])
        identifier = self._identifier(table)
        with self._reached():
            loaded = self._open().load_table(identifier)
        return iceberg_source(loaded, dotted((self.name, *identifier)), **options)

    def sink(self, table: Sequence[str], mode: Any, **options: Any) -> Sink:
        for name in options:
            if name != "partition_by":
                raise UnknownNameError("option", name, ["partition_by"])
        columns = options.get("partition_by", ())
        columns = (columns,) if isinstance(columns, str) else tuple(columns)
        if len(table) < 2:
            raise PlanError(
                f"{dotted((self.name, *table))}: a table of an Iceberg catalogue is in a namespace",
                hint=f"write {dotted((self.name, 'NAMESPACE', *table))}",
            )
        return IcebergSink(
            mode=mode, partition_by=columns, catalog=self.name, table=tuple(table), data=self
        )

    def close(self) -> None:
        catalog, self._catalog = self._catalog, None
        if catalog is not None and hasattr(catalog, "close"):
            catalog.close()

    # --- writing --------------------------------------------------------------------------------

    def check(self, sink: IcebergSink, schema: pa.Schema) -> None:
        """Raise `RunError` if rows of a schema cannot be written to a table."""
        name = dotted((self.name, *sink.table))
        try:
            with self._reached():
                catalog = self._open()
                exists = catalog.table_exists(sink.table)
                known = catalog.load_table(sink.table) if exists else None
        except SourceError as error:
            raise RunError(error.message, hint=error.hint) from None
        if known is None:
            return
        if sink.mode == "error":
            raise RunError(
                f"{name}: the table is there already",
                hint="append to it or replace its rows: mode='append' or mode='replace'",
            )
        by = tuple(known.schema().find_column_name(f.source_id) for f in known.spec().fields)
        if sink.partition_by and sink.partition_by != by:
            raise RunError(
                f"{name}: the table is partitioned by {', '.join(by) or 'nothing'}, "
                f"not by {', '.join(sink.partition_by)}",
                hint="leave out partition_by, or write a table of another name",
            )
        from pyiceberg.io.pyarrow import schema_to_pyarrow

        columns = canonical_schema(schema_to_pyarrow(known.schema(), include_field_ids=False))
        check_columns(name, columns, schema)

    def committed(self, sink: IcebergSink, token: str) -> int | None:
        """Give the rows that a durable run has written with a token; None if none were.

        Snapshots keep tokens in their summaries.
        """
        with self._reached():
            catalog = self._open()
            if not catalog.table_exists(sink.table):
                return None
            return _committed(catalog.load_table(sink.table), token)

    def write(self, sink: IcebergSink, rows: pa.Table, token: str | None = None) -> None:
        """Write rows as the next snapshot of a table; what is not committed is no part of it."""
        from pyiceberg.exceptions import CommitFailedException

        self.check(sink, rows.schema)
        name = dotted((self.name, *sink.table))
        for tries_left in range(_COMMITS - 1, -1, -1):
            try:
                self._commit(sink, rows, token)
            except CommitFailedException as error:
                if not tries_left:
                    raise RunError(
                        f"{name}: others commit to the table at the same time: {first_line(error)}",
                        hint="the table is as they left it; run it again",
                    ) from error
            except UmbelError as error:
                raise RunError(error.message, hint=error.hint) from error
            except Exception as error:
                raise RunError(
                    f"{name}: the Iceberg table cannot be written: {first_line(error)}",
                    hint="the table is as it was before",
                ) from error
            else:
                return

    def _commit(self, sink: IcebergSink, rows: pa.Table, token: str | None) -> None:
        catalog = self._open()
        kept = {} if token is None else {_TOKEN: token, _ROWS: str(rows.num_rows)}
        if catalog.table_exists(sink.table):
            table = catalog.load_table(sink.table)
            if token is not None and _committed(table, token) is not None:
                return  # by whoever took the run over meanwhile
            known = table.schema().column_names
            ordered = rows.select([name for name in known if name in rows.column_names])
            if sink.mode == "append":
                table.append(ordered, snapshot_properties=kept)
            else:
                table.overwrite(ordered, snapshot_properties=kept)
            return
        for length in range(1, len(sink.table)):
            catalog.create_namespace_if_not_exists(sink.table[:length])
        with catalog.create_table_transaction(sink.table, schema=rows.schema) as transaction:
            if sink.partition_by:
                with transaction.update_spec() as spec:
                    for column in sink.partition_by:
                        spec.add_identity(column)
            transaction.append(rows, snapshot_properties=kept)

    # --- the catalogue --------------------------------------------------------------------------

    def _identifier(self, table: Sequence[str]) -> tuple[str, ...]:
        if len(table) > 1:
            with self._reached():
                if self._open().table_exists(tuple(table)):
                    return tuple(table)
        known = self.tables()
        found = [e.table for e in known if e.table[-len(table) :] == tuple(table)]
        if len(found) > 1:
            raise ambiguous(table, found)
        if not found:
            raise unknown_table(self.name, table, known)
        return found[0]

    def _reached(self) -> Any:
        return explained(f"the Iceberg catalogue {self.name!r} ({self._address})")

    def _open(self) -> Any:
        if self._catalog is None:
            library(f"the Iceberg catalogue {self.name!r}")
            self._catalog = self._sqlite() if self._kind == "sqlite" else self._rest()
        return self._catalog

    def _sqlite(self) -> Any:
        from pyiceberg.catalog.sql import SqlCatalog

        path, warehouse = self._address.path, self._address.options["warehouse"]
        folder = Path(path).parent
        if not folder.is_dir():
            raise SourceError(
                f"{path}: the folder of the Iceberg catalogue does not exist", hint=f"make {folder}"
            )
        if "://" not in warehouse:
            warehouse = Path(warehouse).expanduser().absolute().as_uri()
        return SqlCatalog(
            self.name,
            uri=f"sqlite:///{path}",
            warehouse=warehouse.rstrip("/"),
            **{"py-io-impl": FILE_IO},
        )

    def _rest(self) -> Any:
        from pyiceberg.catalog.rest import RestCatalog

        address, options = self._address, dict(self._address.options)
        place = Address(self._kind, address.host, address.port, "", address.path)
        secrets = {name: secret.reveal() for name, secret in address.secrets.items()}
        if "oauth2_server_uri" in options:
            options["oauth2-server-uri"] = options.pop("oauth2_server_uri")
        return RestCatalog(
            self.name,
            uri=str(place),
            **{**options, **secrets, "py-io-impl": FILE_IO},
        )


def _committed(table: Any, token: str) -> int | None:
    for snapshot in table.metadata.snapshots:
        summary = snapshot.summary
        if summary is not None and summary.get(_TOKEN) == token:
            return int(summary[_ROWS])
    return None


def _namespaces(catalog: Any, parent: tuple[str, ...]) -> list[tuple[str, ...]]:
    found = []
    for namespace in catalog.list_namespaces(parent):
        if namespace != parent:
            found += [tuple(namespace), *_namespaces(catalog, tuple(namespace))]
    return found


__all__ = ["IcebergNamespace", "open_iceberg"]
