"""What every engine that holds tables asks before it writes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyarrow as pa

from umbel.plan.errors import RunError
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import dotted
from umbel.plan.types import type_name


def target_name(sink: RelationSink) -> str:
    """Name a table that is written, for people."""
    return dotted((sink.platform, *sink.relation))


def check_target(
    sink: RelationSink,
    schema: pa.Schema,
    kind: str | None,
    columns: Callable[[], Mapping[str, pa.DataType]],
    fits: Callable[[pa.DataType, pa.DataType], bool] | None = None,
) -> None:
    """Hold a write against the table that is there.

    Args:
        sink: what is written, and how.
        schema: the rows' columns.
        kind: what is there under the name: "table", "view" or the like; None if nothing is.
        columns: gives the columns of what is there; asked only to append.
        fits: whether a column of the first type may be written into one of another, second
            type; without it only into one of its own.

    Raises:
        RunError: the table is there and may not be, or is not and must be; it is no table; its
            columns do not take the rows.
    """
    shown = target_name(sink)
    if not schema.names:
        raise RunError(f"{shown}: a table needs at least one column")
    if kind is None:
        if sink.mode == "append":
            raise RunError(f"{shown}: there is no such table", hint="write it with mode='error'")
        return
    if sink.mode == "error":
        raise RunError(
            f"{shown}: the table is there already",
            hint="choose another name, or mode='replace' or mode='append'",
        )
    if kind != "table":
        raise RunError(f"{shown} is a {kind}, which cannot be written")
    if sink.mode == "append":
        _check_columns(shown, schema, columns(), fits)


def _check_columns(
    shown: str,
    schema: pa.Schema,
    there: Mapping[str, pa.DataType],
    fits: Callable[[pa.DataType, pa.DataType], bool] | None,
) -> None:
    for field in schema:
        if field.name not in there:
            raise RunError(
                f"{shown}: the table has no column {field.name!r}",
                hint=f"it has: {', '.join(there)}",
            )
        wanted = there[field.name]
        if field.type != wanted and not (fits and fits(field.type, wanted)):
            raise RunError(
                f"{shown}: column {field.name!r} is {type_name(wanted)}, "
                f"not {type_name(field.type)}",
                hint="cast it first: .cast(...)",
            )
