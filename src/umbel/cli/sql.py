"""`umbel sql` and SQL files: one statement over files and attached databases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from umbel.api.dataframe import DataFrame
from umbel.api.located import written_at
from umbel.api.sql import is_file_name
from umbel.cli.explain import show_explanation
from umbel.cli.run import show_plan
from umbel.cli.sessions import CommandSession, opened
from umbel.cli.settings import Settings
from umbel.plan.errors import PlanError, SourceError
from umbel.plan.origin import Origin


def run_sql(
    text: str,
    settings: Settings,
    tables: Sequence[str],
    attached: Sequence[str],
    dialect: str,
    *,
    output: Path | None = None,
    limit: int | None = None,
    form: str | None = None,
    file: Path | None = None,
) -> None:
    """Run a statement, and show or write what it gives.

    Args:
        text: the statement.
        settings: how to run it.
        tables: files by name, as `name=file`.
        attached: databases by name, as `name=url`.
        dialect: the dialect that it is written in.
        output: write the result there; None shows it.
        limit: take at most so many rows.
        form: how to show it: table, csv or json; None is table.
        file: where the statement stands; None if it was typed.
    """
    with opened(settings) as session:
        attach_and_register(session, tables, attached)
        frame = _read(session, text, dialect, file)
        show_plan(session, frame.plan, output=output, limit=limit, form=form)


def explain_sql(
    text: str,
    settings: Settings,
    tables: Sequence[str],
    attached: Sequence[str],
    dialect: str,
    form: str | None,
    output: Path | None,
    file: Path | None = None,
) -> None:
    """Explain a statement."""
    with opened(settings) as session:
        attach_and_register(session, tables, attached)
        show_explanation(_read(session, text, dialect, file).explain(), form, output)


def _read(session: CommandSession, text: str, dialect: str, file: Path | None) -> DataFrame:
    # No script wrote this: a file's name stands where a line of one would.
    with written_at(None if file is None else Origin(str(file), 1)):
        return session.sql(text, dialect=dialect)


def read_statement(file: Path) -> str:
    """Read a file of SQL.

    Raises:
        SourceError: it cannot be read, or is no UTF-8 text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceError(
            f"cannot read {file}: {error.strerror}", hint="name a file that is there"
        ) from None
    except UnicodeDecodeError:
        raise SourceError(f"{file} is no UTF-8 text", hint="save it as UTF-8") from None


def attach_and_register(
    session: CommandSession, tables: Sequence[str], attached: Sequence[str]
) -> None:
    """Let SQL know databases and files by the names of `--attach` and `--table`.

    Args:
        session: which is to know them.
        tables: files by name, as `name=file`.
        attached: databases by name, as `name=url`.
    """
    for name, url in _pairs(attached, "--attach", "NAME=URL"):
        session.catalog.attach(name, url)
    for name, path in _pairs(tables, "--table", "NAME=FILE"):
        session.register(name, _file(session, path))


def _file(session: CommandSession, path: str) -> DataFrame:
    if not is_file_name(path):
        raise PlanError(
            f"cannot tell the format of {path!r}", hint="end it in .parquet, .csv, .jsonl or .arrow"
        )
    quoted = path.replace('"', '""')
    return _read(session, f'from "{quoted}"', "duckdb", None)


def _pairs(given: Sequence[str], option: str, form: str) -> list[tuple[str, str]]:
    pairs = []
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise PlanError(f"{option} takes {form}, not {text!r}")
        pairs.append((name, value))
    return pairs
