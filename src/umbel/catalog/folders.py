"""Folders as namespaces: each file or folder in one is a table, wherever the folder lies.

The folder is of this machine (`file://`) or of an object store (`s3://`). A folder with a
`_delta_log` in it is a Delta table; any other folder is one table of the files below it, whose
suffix says their format.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from umbel.catalog.address import Address
from umbel.catalog.files import COMPRESSIONS, resolve
from umbel.catalog.namespace import TableEntry, ambiguous, unknown_table
from umbel.catalog.stores.base import Child
from umbel.catalog.stores.registry import attach_store, detach_store, store_of
from umbel.plan.errors import PlanError, SourceError, UnknownNameError
from umbel.plan.sinks import CsvSink, DeltaSink, FileSink, IpcSink, JsonLinesSink, ParquetSink, Sink
from umbel.plan.sources import Source, dotted

#: Formats of tables, by the suffix of their files.
SUFFIXES = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
}

_SINKS: dict[str, type[FileSink]] = {
    "parquet": ParquetSink,
    "csv": CsvSink,
    "json": JsonLinesSink,
    "ipc": IpcSink,
}


def open_folder(name: str, address: Address) -> FolderNamespace:
    """Open a folder, as the entry points of `umbel.namespaces` name it."""
    return FolderNamespace(name, address)


class FolderNamespace:
    """A folder whose files and folders are tables."""

    engine = "folder"

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        scheme = address.scheme.removeprefix("delta+")
        self._address = Address(
            scheme, address.host, address.port, address.user, address.path, address.options,
            address.secrets,
        )  # fmt: skip
        if scheme == "file":
            if address.options or address.secrets:
                raise PlanError("a folder of this machine takes no options")
            self._root = address.path.rstrip("/") or "/"
            return
        bare = Address(scheme, address.host, address.port, "", address.path)
        self._root = str(bare).rstrip("/")
        attach_store(self._root, self._address)
        self._release = weakref.finalize(self, detach_store, self._root)
        self._release.atexit = False

    @property
    def address(self) -> str:
        """Where it is, for people; without secrets."""
        return str(self._address) if self._address.scheme != "file" else self._root

    def tables(self) -> Sequence[TableEntry]:
        return [
            TableEntry(self.name, (table,), "folder" if child.is_folder else "file")
            for child in self._children(self._root)
            if (table := _table_name(child)) is not None
        ]

    def source(self, table: Sequence[str], **options: Any) -> Source:
        place = self._place(table)
        path, child = place
        if child.is_folder and self._is_delta(path):
            from umbel.catalog.delta import delta_source

            return delta_source(path, **options)
        form = _format_of(path, child)
        return _readers()[form]([path], **options)

    def sink(self, table: Sequence[str], mode: Any, **options: Any) -> Sink:
        try:
            path, child = self._place(table)
        except (UnknownNameError, SourceError):
            path, child = f"{self._root}/{'/'.join(table)}", None
        form = options.pop("format", None)
        if form == "delta" or (child is not None and child.is_folder and self._is_delta(path)):
            return DeltaSink(path=path, mode=mode, **_checked(options, ("partition_by",)))
        if mode == "append":
            raise PlanError(
                f"{dotted((self.name, *table))}: files take no further rows",
                hint="write it as a Delta table: write_table(name, mode='append', format='delta')",
            )
        if child is not None:
            if child.is_folder:
                raise PlanError(
                    f"{path}: a folder of files is there, which cannot be replaced at once",
                    hint="write a table of another name",
                )
            form = form or _format_of(path, child)
        elif (form := form or "parquet") in _SINKS:
            path += f".{form}"
        if form not in _SINKS:
            raise UnknownNameError("format", form, [*_SINKS, "delta"])
        return _SINKS[form](
            path=path,
            exists="fail" if mode == "error" else "replace",
            **_checked(options, ("compression",) if form == "parquet" else ()),
        )

    def close(self) -> None:
        if self._address.scheme != "file":
            self._release()

    # --- looking --------------------------------------------------------------------------------

    def _children(self, folder: str) -> list[Child]:
        return [c for c in store_of(folder).children(folder) if not c.name.startswith((".", "_"))]

    def _place(self, table: Sequence[str]) -> tuple[str, Child]:
        """Find the file or folder of a table."""
        folder = "/".join([self._root, *table[:-1]])
        found = [
            child
            for child in self._children(folder)
            if table[-1] in {child.name, _table_name(child)}
        ]
        if not found:
            raise unknown_table(self.name, table, self.tables())
        if len(found) > 1:
            exact = [child for child in found if child.name == table[-1]]
            if len(exact) != 1:
                raise ambiguous(table, [[*table[:-1], child.name] for child in found])
            found = exact
        return f"{folder}/{found[0].name}", found[0]

    def _is_delta(self, path: str) -> bool:
        return any(child.name == "_delta_log" for child in store_of(path).children(path))


def _readers() -> dict[str, Callable[..., Source]]:
    from umbel.catalog import infer

    return {
        "parquet": infer.parquet_source,
        "csv": infer.csv_source,
        "json": infer.json_source,
        "ipc": infer.ipc_source,
    }


def _table_name(child: Child) -> str | None:
    """Name the table that a file or folder is; None if it is none."""
    if child.is_folder:
        return child.name
    stem = _without_compression(child.name)
    for suffix in SUFFIXES:
        if stem.endswith(suffix) and stem != suffix:
            return stem.removesuffix(suffix)
    return None


def _format_of(path: str, child: Child) -> str:
    if not child.is_folder:
        return _form(path)
    files = [entry.path for entry in resolve([path])]
    forms = dict.fromkeys(map(_form, files))
    if len(forms) > 1:
        raise SourceError(
            f"{path}: its files have different formats: {', '.join(forms)}",
            hint="read them by pattern, such as session.read_csv('…/*.csv')",
        )
    return next(iter(forms))


def _form(path: str) -> str:
    stem = _without_compression(path)
    for suffix, form in SUFFIXES.items():
        if stem.endswith(suffix):
            return form
    raise SourceError(
        f"{path}: its name does not say what format it has",
        hint=f"names of tables' files end with {', '.join(SUFFIXES)}; or read it by its path",
    )


def _without_compression(name: str) -> str:
    for suffix in COMPRESSIONS:
        name = name.removesuffix(suffix)
    return name


def _checked(options: dict[str, Any], known: Iterable[str]) -> dict[str, Any]:
    known = tuple(known)
    for name in options:
        if name not in known:
            raise UnknownNameError("option", name, [*known, "format"])
    if isinstance(options.get("partition_by"), str):
        options["partition_by"] = (options["partition_by"],)
    return {n: tuple(v) if isinstance(v, list) else v for n, v in options.items()}


__all__ = ["SUFFIXES", "FolderNamespace", "open_folder"]
