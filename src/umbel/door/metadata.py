"""What tools ask before they ask in SQL: catalogs, schemas, tables, types, and what is supported.

A namespace that is attached is a catalog; what stands between it and a table's name is a schema.
What a command gives is fixed by the protocol, in the schemas below.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from umbel.door.backend import Backend, Listed, Settings
from umbel.door.failures import log
from umbel.plan.errors import UmbelError

_TEXT, _INT = pa.string(), pa.int32()


def _schema(*fields: tuple[str, pa.DataType] | tuple[str, pa.DataType, bool]) -> pa.Schema:
    return pa.schema([pa.field(*field) for field in fields])


#: The schemas that the protocol fixes, by command.
SCHEMAS = {
    "CommandGetCatalogs": _schema(("catalog_name", _TEXT, False)),
    "CommandGetDbSchemas": _schema(("catalog_name", _TEXT), ("db_schema_name", _TEXT, False)),
    "CommandGetTables": _schema(
        ("catalog_name", _TEXT),
        ("db_schema_name", _TEXT),
        ("table_name", _TEXT, False),
        ("table_type", _TEXT, False),
    ),
    "CommandGetTableTypes": _schema(("table_type", _TEXT, False)),
    "CommandGetPrimaryKeys": _schema(
        ("catalog_name", _TEXT),
        ("db_schema_name", _TEXT),
        ("table_name", _TEXT, False),
        ("column_name", _TEXT, False),
        ("key_name", _TEXT),
        ("key_sequence", _INT, False),
    ),
    "CommandGetSqlInfo": _schema(
        ("info_name", pa.uint32(), False),
        (
            "value",
            pa.dense_union(
                [
                    pa.field("string_value", _TEXT),
                    pa.field("bool_value", pa.bool_()),
                    pa.field("bigint_value", pa.int64()),
                    pa.field("int32_bitmask", _INT),
                    pa.field("string_list", pa.list_(pa.field("string_data", _TEXT))),
                    pa.field(
                        "int32_to_int32_list_map",
                        pa.map_(_INT, pa.list_(pa.field("$data$", _INT))),
                    ),
                ]
            ),
            False,
        ),
    ),
    "CommandGetXdbcTypeInfo": _schema(
        ("type_name", _TEXT, False),
        ("data_type", _INT, False),
        ("column_size", _INT),
        ("literal_prefix", _TEXT),
        ("literal_suffix", _TEXT),
        ("create_params", pa.list_(pa.field("item", _TEXT, False))),
        ("nullable", _INT, False),
        ("case_sensitive", pa.bool_(), False),
        ("searchable", _INT, False),
        ("unsigned_attribute", pa.bool_()),
        ("fixed_prec_scale", pa.bool_(), False),
        ("auto_increment", pa.bool_()),
        ("local_type_name", _TEXT),
        ("minimum_scale", _INT),
        ("maximum_scale", _INT),
        ("sql_data_type", _INT, False),
        ("datetime_subcode", _INT),
        ("num_prec_radix", _INT),
        ("interval_precision", _INT),
    ),
}
_KEYS = _schema(
    *((f"{side}_{name}", _TEXT, name.endswith(("catalog_name", "schema_name")))
      for side in ("pk", "fk")
      for name in ("catalog_name", "db_schema_name", "table_name", "column_name")),
    ("key_sequence", _INT, False),
    ("fk_key_name", _TEXT),
    ("pk_key_name", _TEXT),
    ("update_rule", pa.uint8(), False),
    ("delete_rule", pa.uint8(), False),
)  # fmt: skip
for _command in ("ExportedKeys", "ImportedKeys", "CrossReference"):
    SCHEMAS[f"CommandGet{_command}"] = _KEYS

#: Commands whose answer is always empty: umbel keeps no keys.
_EMPTY = frozenset(
    f"CommandGet{what}"
    for what in ("PrimaryKeys", "ExportedKeys", "ImportedKeys", "CrossReference")
)


def schema_of(name: str, command: Any) -> pa.Schema:
    """Give the schema of a command's answer."""
    if name == "CommandGetTables" and command.include_schema:
        return SCHEMAS[name].append(pa.field("table_schema", pa.binary(), nullable=False))
    return SCHEMAS[name]


def answer(name: str, command: Any, backend: Backend, settings: Settings) -> pa.Table:
    """Answer a command of `SCHEMAS`."""
    schema = schema_of(name, command)
    if name in _EMPTY:
        return schema.empty_table()
    rows = _ANSWERS[name](command, backend, settings)
    if name == "CommandGetSqlInfo":
        return _infos(list(rows), schema)
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _catalogs(command: Any, backend: Backend, settings: Settings) -> Iterable[Sequence[Any]]:
    return [(name,) for name in sorted(backend.catalogs())]


def _db_schemas(command: Any, backend: Backend, settings: Settings) -> Iterable[Sequence[Any]]:
    found = {(entry.catalog, entry.schema) for entry in _tables(command, backend)}
    wanted = _matcher(command, "db_schema_filter_pattern")
    return sorted(pair for pair in found if wanted(pair[1]))


def _listed(command: Any, backend: Backend, settings: Settings) -> Iterable[Sequence[Any]]:
    schemas = _matcher(command, "db_schema_filter_pattern")
    names = _matcher(command, "table_name_filter_pattern")
    kinds = set(command.table_types)
    rows = []
    for entry in _tables(command, backend):
        row = (entry.catalog, entry.schema, entry.name, entry.kind)
        if schemas(row[1]) and names(row[2]) and (not kinds or row[3] in kinds):
            rows.append((row, entry))
    rows.sort(key=lambda pair: pair[0])
    if not command.include_schema:
        return [row for row, _ in rows]
    return [(*row, _columns(entry, backend)) for row, entry in rows]


def _columns(entry: Listed, backend: Backend) -> bytes:
    """A table's schema; empty if the table cannot be read, so that the others are listed."""
    try:
        schema = backend.schema(entry)
    except UmbelError as error:
        log.warning("the columns of %s cannot be listed: %s", entry, error.message)
        schema = pa.schema([])
    return bytes(schema.serialize())


def _table_types(command: Any, backend: Backend, settings: Settings) -> Iterable[Sequence[Any]]:
    return [("TABLE",), ("VIEW",)]


def _tables(command: Any, backend: Backend) -> Sequence[Listed]:
    return backend.tables(command.catalog if command.HasField("catalog") else None)


def _matcher(command: Any, field: str) -> Callable[[str], bool]:
    """Read a pattern in which % is any text and _ any character."""
    if not command.HasField(field):
        return lambda text: True
    pattern = "".join(
        ".*" if c == "%" else "." if c == "_" else re.escape(c) for c in getattr(command, field)
    )
    compiled = re.compile(pattern, re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None


def _sql_infos(command: Any, backend: Backend, settings: Settings) -> Iterable[Sequence[Any]]:
    known: Mapping[int, Any] = {
        0: "umbel",  # FLIGHT_SQL_SERVER_NAME
        1: version("umbel"),  # FLIGHT_SQL_SERVER_VERSION
        2: pa.__version__,  # FLIGHT_SQL_SERVER_ARROW_VERSION
        3: not settings.allow_writes,  # FLIGHT_SQL_SERVER_READ_ONLY
        4: True,  # FLIGHT_SQL_SERVER_SQL
        5: False,  # FLIGHT_SQL_SERVER_SUBSTRAIT
        8: _Bits(0),  # FLIGHT_SQL_SERVER_TRANSACTION: none
        9: True,  # FLIGHT_SQL_SERVER_CANCEL
        100: _Bits(0),  # FLIGHT_SQL_SERVER_STATEMENT_TIMEOUT
        101: _Bits(0),  # FLIGHT_SQL_SERVER_TRANSACTION_TIMEOUT
        500: False,  # SQL_DDL_CATALOG
        501: False,  # SQL_DDL_SCHEMA
        502: settings.allow_writes,  # SQL_DDL_TABLE
        503: _Bits(1),  # SQL_IDENTIFIER_CASE: insensitive
        504: '"',  # SQL_IDENTIFIER_QUOTE_CHAR
        505: _Bits(0),  # SQL_QUOTED_IDENTIFIER_CASE: as written
        506: True,  # SQL_ALL_TABLES_ARE_SELECTABLE
        507: _Bits(3),  # SQL_NULL_ORDERING: at the end
        515: True,  # SQL_SUPPORTS_COLUMN_ALIASING
        516: True,  # SQL_NULL_PLUS_NULL_IS_NULL
        518: True,  # SQL_SUPPORTS_TABLE_CORRELATION_NAMES
        519: False,  # SQL_SUPPORTS_DIFFERENT_TABLE_CORRELATION_NAMES
        520: True,  # SQL_SUPPORTS_EXPRESSIONS_IN_ORDER_BY
        521: True,  # SQL_SUPPORTS_ORDER_BY_UNRELATED
        522: _Bits(0b11),  # SQL_SUPPORTED_GROUP_BY: also what is not selected
        523: True,  # SQL_SUPPORTS_LIKE_ESCAPE_CLAUSE
        528: _Bits(2),  # SQL_OUTER_JOINS_SUPPORT_LEVEL: full
        529: "schema",  # SQL_SCHEMA_TERM
        531: "catalog",  # SQL_CATALOG_TERM
        532: True,  # SQL_CATALOG_AT_START
    }
    wanted = list(command.info) or list(known)
    return [(number, known[number]) for number in wanted if number in known]


class _Bits(int):
    """A number that the protocol sends as `int32_bitmask`."""


#: By which child of the union each Python type goes.
_CHILD = {str: 0, bool: 1, int: 2, _Bits: 3}


def _infos(rows: Sequence[Sequence[Any]], schema: pa.Schema) -> pa.Table:
    union = schema.field("value").type
    values: list[list[Any]] = [[] for _ in range(union.num_fields)]
    kinds, offsets = [], []
    for _, value in rows:
        child = _CHILD[type(value)]
        kinds.append(child)
        offsets.append(len(values[child]))
        values[child].append(value)
    fields = [union.field(index) for index in range(union.num_fields)]
    made = pa.UnionArray.from_dense(
        pa.array(kinds, pa.int8()),
        pa.array(offsets, pa.int32()),
        [pa.array(v, field.type) for v, field in zip(values, fields, strict=True)],
        [field.name for field in fields],
    )
    names = pa.array([number for number, _ in rows], pa.uint32())
    return pa.Table.from_arrays([names, made], schema=schema)


#: The types that a column can have, as JDBC and ODBC number them: name, number, size, quotes.
_TYPES: tuple[tuple[str, int, int | None, str | None], ...] = (
    ("BIGINT", -5, 19, None),
    ("BINARY", -3, None, None),
    ("BOOLEAN", -7, 1, None),
    ("DATE", 91, 10, "'"),
    ("DECIMAL", 3, 38, None),
    ("DOUBLE", 8, 53, None),
    ("INTEGER", 4, 10, None),
    ("REAL", 7, 24, None),
    ("SMALLINT", 5, 5, None),
    ("TIME", 92, 15, "'"),
    ("TIMESTAMP", 93, 26, "'"),
    ("TINYINT", -6, 3, None),
    ("VARCHAR", 12, None, "'"),
)


def _types(command: Any, backend: Backend, settings: Settings) -> Iterable[Sequence[Any]]:
    wanted = command.data_type if command.HasField("data_type") else None
    for name, number, size, quote in sorted(_TYPES, key=lambda row: (row[1], row[0])):
        if wanted in (None, number):
            numeric = number in (-5, 3, 8, 4, 7, 5, -6)
            datetime = {91: (9, 1), 92: (9, 2), 93: (9, 3)}.get(number)
            yield (
                name,
                number,
                size,
                quote,
                quote,
                ["precision", "scale"] if name == "DECIMAL" else None,
                1,  # may be null
                name == "VARCHAR",
                3,  # any operator in WHERE
                False if numeric else None,
                False,
                False if numeric else None,
                name,
                0 if name == "DECIMAL" else None,
                38 if name == "DECIMAL" else None,
                datetime[0] if datetime else number,
                datetime[1] if datetime else None,
                2 if number in (7, 8) else 10 if numeric else None,
                None,
            )


_ANSWERS: Mapping[str, Callable[[Any, Backend, Settings], Iterable[Sequence[Any]]]] = {
    "CommandGetCatalogs": _catalogs,
    "CommandGetDbSchemas": _db_schemas,
    "CommandGetTables": _listed,
    "CommandGetTableTypes": _table_types,
    "CommandGetSqlInfo": _sql_infos,
    "CommandGetXdbcTypeInfo": _types,
}

__all__ = ["SCHEMAS", "answer", "schema_of"]
