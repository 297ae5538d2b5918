"""Statements: a query, or a query whose rows go to a file or a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan import operators as ops
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import Literal
from umbel.plan.origin import Origin
from umbel.plan.sinks import CsvSink, IpcSink, JsonLinesSink, ParquetSink, Sink
from umbel.plan.types import is_float, is_numeric, is_string
from umbel.sql.reading import (  # noqa: F401 (they fill the table of handlers)
    aggregates,
    arithmetic,
    functions,
    grouping,
    operators,
    parameters,
    patterns,
    subqueries,
    temporal,
    tree,
)
from umbel.sql.reading.binder import Binder, Query, Tables
from umbel.sql.reading.errors import SqlError
from umbel.sql.reading.lower import plan_of
from umbel.sql.reading.names import Name, matching, name_of
from umbel.sql.reading.parameters import check_all_bound, check_parameters
from umbel.sql.reading.queries import bind_query
from umbel.sql.reading.syntax import DEFAULT_DIALECT, Syntax, UnreadError, parse, reading
from umbel.sql.reading.values import cast


def read_sql(
    text: str,
    tables: Tables,
    *,
    dialect: str = DEFAULT_DIALECT,
    origin: Origin | None = None,
    values: Sequence[Literal] = (),
) -> ops.Operator:
    """Make a plan of one statement.

    Args:
        text: a query, `CREATE TABLE ... AS`, `INSERT INTO ...` or `COPY (...) TO 'file'`.
        tables: what names of tables mean.
        dialect: a dialect of sqlglot.
        origin: the line of the user's script.
        values: the values of the statement's parameters, in their order.

    Raises:
        SqlError: the text has no meaning; says where and what to do.
    """
    node = parse(text, dialect)
    binder = Binder(text, dialect, tables, origin, values)
    try:
        check_parameters(values, node)
        plan = _plan(binder, node)
        check_all_bound(binder, node)
        return plan
    except SqlError:
        raise
    except UnreadError as error:
        raise binder.unread(error) from None
    except PlanError as error:
        raise binder.error(node, error.message, hint=error.hint) from None
    except RecursionError:
        raise SqlError(
            "the statement is nested too deeply", hint="split it with WITH, or write IN lists"
        ) from None


def _plan(binder: Binder, node: exp.Expr) -> ops.Operator:
    with reading(node) as syntax:
        if isinstance(node, exp.Copy):
            return _copy(binder, syntax)
        if isinstance(node, exp.Create):
            return _create(binder, syntax)
        if isinstance(node, exp.Insert):
            return _insert(binder, syntax)
        if not isinstance(node, exp.Query | exp.Values):
            raise PlanError(
                f"{type(node).__name__.upper()} is not supported",
                hint="a statement is a query, CREATE TABLE AS, INSERT INTO, or COPY TO",
            )
        for key in node.args:
            _ = syntax[key]  # read by the query
    return plan_of(binder, bind_query(binder, node, None))


_FORMATS: dict[str, type[Sink]] = {
    "csv": CsvSink,
    "json": JsonLinesSink,
    "ndjson": JsonLinesSink,
    "parquet": ParquetSink,
    "arrow": IpcSink,
    "ipc": IpcSink,
    "feather": IpcSink,
}


def _copy(binder: Binder, syntax: Syntax) -> ops.Operator:
    source, files = syntax["this"], syntax.many("files")
    if syntax["kind"]:
        raise PlanError(
            "COPY ... FROM is not supported", hint="INSERT INTO ... SELECT * FROM 'file'"
        )
    credentials = syntax["credentials"]
    if credentials is not None and any(credentials.args.values()):
        raise PlanError("COPY takes no credentials", hint="name them where the site is configured")
    options = {}
    for parameter in syntax.many("params"):
        with reading(parameter) as pair:
            value = pair["expression"]
            options[pair["this"].name.lower()] = "true" if value is None else value.name.lower()
            _ = "expressions" in parameter.args and pair["expressions"]
    if len(files) != 1 or not isinstance(files[0], exp.Literal):
        raise PlanError("COPY takes one file in quotes")
    binder.tables.check_file(files[0].name)
    query = bind_query(binder, source, None)
    plan = plan_of(binder, query)
    return ops.Write(input=plan, sink=_file_sink(files[0].name, options), origin=binder.origin)


def _file_sink(path: str, options: dict[str, str]) -> Sink:
    suffix = path.rsplit(".", 1)[-1].lower() if "." in path else ""
    name = options.pop("format", suffix)
    if name not in _FORMATS:
        raise UnknownNameError("format of COPY", name, _FORMATS)
    compression = options.pop("compression", "")
    header = options.pop("header", "true")
    if header not in ("true", "1"):
        raise PlanError("CSV files are written with a header here")
    if options:
        raise UnknownNameError("option of COPY", next(iter(options)), ["format", "compression"])
    cls: Any = _FORMATS[name]
    if not compression:
        return cls(path)
    if cls is not ParquetSink:
        raise PlanError(f"{name} files are written without compression")
    wanted = {"uncompressed": "none"}.get(compression, compression)
    if wanted not in ("zstd", "snappy", "none"):
        raise UnknownNameError("compression", compression, ["zstd", "snappy", "none"])
    return ParquetSink(path, compression=wanted)  # type: ignore[arg-type]


def table_parts(node: exp.Expr) -> list[Name]:
    """Read the name of a table that a statement writes."""
    with reading(node) as syntax:
        parts = [syntax[key] for key in ("catalog", "db", "this")]
    return [name_of(part) for part in parts if part is not None]


def _create(binder: Binder, syntax: Syntax) -> ops.Operator:
    kind, target, body = syntax["kind"], syntax["this"], syntax["expression"]
    replace = bool(syntax["replace"])
    if kind != "TABLE" or body is None or not isinstance(target, exp.Table):
        raise PlanError(
            f"CREATE {kind} is not supported in this form", hint="CREATE TABLE name AS SELECT ..."
        )
    plan = plan_of(binder, bind_query(binder, body, None))
    sink = binder.tables.sink(table_parts(target), create=True, replace=replace)
    return ops.Write(input=plan, sink=sink, origin=binder.origin)


def _insert(binder: Binder, syntax: Syntax) -> ops.Operator:
    target, body = syntax["this"], syntax["expression"]
    named: list[Name] = []
    if isinstance(target, exp.Schema):
        with reading(target) as schema:
            named = [name_of(item) for item in schema.many("expressions")]
            target = schema["this"]
    if body is None:
        raise PlanError("INSERT INTO needs a query or VALUES")
    query = bind_query(binder, body, None)
    parts = table_parts(target)
    fields = binder.tables.table(parts).schema
    if not syntax["by_name"]:
        names = [_column_of(name, fields) for name in named] or fields.names
        if len(names) != len(query.columns):
            raise PlanError(
                f"INSERT INTO {'.'.join(map(str, parts))} takes {len(names)} columns "
                f"({', '.join(names)}), but the query gives {len(query.columns)}",
                hint="name the columns that it gives: INSERT INTO t (a, b) ...",
            )
        pairs = zip(names, query.columns, strict=True)
        query = Query(query.relation, tuple((n, unique) for n, (_, unique) in pairs))
    elif named:
        raise PlanError("INSERT ... BY NAME goes by the names that the query gives, and no others")
    plan = plan_of(binder, _assigned(binder, query, fields))
    sink = binder.tables.sink(parts, create=False, replace=False)
    return ops.Write(input=plan, sink=sink, origin=binder.origin)


def _column_of(name: Name, fields: pa.Schema) -> str:
    found = matching(name, [(known, known) for known in fields.names])
    if len(found) != 1:
        raise UnknownNameError("column", name.text, fields.names)
    return found[0]


def _assigned(binder: Binder, query: Query, fields: pa.Schema) -> Query:
    """Convert values to the types of the columns that they go to, where SQL does so unasked."""
    items: list[tree.Named] = []
    columns = []
    for name, unique in query.columns:
        value = binder.columns.value(unique)
        wanted = fields.field(name).type if name in fields.names else value.dtype
        if value.dtype != wanted and _is_assigned(value.dtype, wanted):
            new = binder.columns.new(name, wanted)
            items.append((new, cast(value, wanted).node))
            unique = new  # noqa: PLW2901 (the column that stands for it from here on)
        columns.append((name, unique))
    relation = tree.Extend(query.relation, tuple(items)) if items else query.relation
    return Query(relation, tuple(columns))


def _is_assigned(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a value becomes one of another type without being asked; it fails if it cannot."""
    if is_numeric(given) and is_numeric(wanted):
        return not (is_float(given) and not is_float(wanted))  # nothing is rounded unasked
    both = pa.types.is_date(given) and pa.types.is_timestamp(wanted)
    return both or pa.types.is_null(given) or (is_string(given) and not is_string(wanted))
