"""An SQLite file for the tests over all engines, with tables that stood in memory.

What is moved into SQLite from elsewhere may hold NaN, of which it would make null, so it refuses
floats that are moved. Floats of a table of its own it takes.
"""

from __future__ import annotations

import atexit
import itertools
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path

import pyarrow as pa

from umbel.catalog.address import Address
from umbel.plan.operators import Operator, Scan, Values, rebuild
from umbel.plan.sources import MemorySource, RelationSource
from umbel.plan.types import is_float
from umbel.platforms.sqlite import attach
from umbel.platforms.sqlite.file import identifier
from umbel.platforms.sqlite.platform import SQLitePlatform
from umbel.platforms.sqlite.types import DECLARED, has_nan, to_sqlite

NAME = "sqlite"
#: Tables in the file at most: whoever opens it reads the definitions of all.
_MOST = 40
#: The tables that the file has, by what they hold.
_tables: dict[bytes, str] = {}
_numbers = itertools.count()


@cache
def platform() -> SQLitePlatform:
    """The file's platform; the file goes when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="umbel-test-sqlite-")
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "tests.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("VACUUM")  # an empty file is no database yet
    return attach(NAME, Address.of(f"sqlite:///{path}"))


def storable(schema: pa.Schema) -> bool:
    """Whether a table of a file can have such columns, and gives them back as they are."""
    lowered = [name.lower() for name in schema.names]
    return (
        len(schema) > 0
        and all(dtype in DECLARED for dtype in schema.types)
        and len(set(lowered)) == len(lowered)
        and not any("\0" in name for name in schema.names)
    )


def relation(schema: pa.Schema, name: str = "any") -> RelationSource:
    """A table of the file, which need not be there if it is only asked what could be done with it."""
    return RelationSource(
        pa.schema(list(zip(schema.names, schema.types, strict=True))), NAME, (name,)
    )


def stored(plan: Operator) -> Operator:
    """The plan with its tables in the file, as far as that can hold them.

    Constant tables without floats stay: they are moved in.
    """
    if len(_tables) > _MOST:
        with closing(sqlite3.connect(platform().file.path)) as file:
            file.executescript(";".join(f"DROP TABLE {name}" for name in _tables.values()))
        _tables.clear()

    def change(operator: Operator) -> Operator:
        match operator:
            case Values(table=table) if any(is_float(dtype) for dtype in table.schema.types):
                source = _source(table)
                return operator if source is None else Scan(source=source, pin=operator.pin)
            case Scan(source=MemorySource(data=pa.Table() as table) as given):
                source = _source(table) if table.schema.equals(given.schema) else None
                return operator if source is None else replace(operator, source=source)
        return operator

    return rebuild(plan, change)


def _source(table: pa.Table) -> RelationSource | None:
    """The file's table with these rows, which is made if it is not there; None if it cannot be."""
    if not storable(table.schema) or any(map(has_nan, table.columns)):
        return None
    key = digest(table)
    if key not in _tables:
        name = f"t{next(_numbers)}"
        declared = [f"{identifier(f.name)} {DECLARED[f.type]}" for f in table.schema]
        marks = ", ".join("?" * len(declared))
        with closing(sqlite3.connect(platform().file.path, isolation_level=None)) as file:
            file.execute("PRAGMA synchronous = OFF")
            file.execute("BEGIN")
            file.execute(f"CREATE TABLE {name} ({', '.join(declared)})")
            rows = zip(*map(to_sqlite, table.columns), strict=True)
            file.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
            file.execute("COMMIT")
        _tables[key] = name
    return relation(table.schema, _tables[key])


def digest(table: pa.Table) -> bytes:
    """What tells tables apart."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())
