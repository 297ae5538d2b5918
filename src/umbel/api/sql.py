"""What the names of tables in SQL mean in a session: registered frames, the catalogue, files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import Literal
from umbel.plan.operators import Element, Operator, Scan, Write, topological
from umbel.plan.origin import Origin
from umbel.plan.sinks import Sink
from umbel.plan.sources import FileSource, RelationSource, Source, dotted
from umbel.sql.reading import Name, read_sql
from umbel.sql.reading.names import matching

if TYPE_CHECKING:
    from umbel.api.session import Session

#: How a file is read, by the end of its name.
_READERS = {
    ".parquet": "read_parquet",
    ".pq": "read_parquet",
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".jsonl": "read_json",
    ".ndjson": "read_json",
    ".json": "read_json",
    ".arrow": "read_ipc",
    ".ipc": "read_ipc",
    ".feather": "read_ipc",
}
_COMPRESSIONS = (".gz", ".zst", ".bz2")
_SEPARATORS = {"delim": "delimiter", "sep": "delimiter", "delimiter": "delimiter"}
_OPTIONS = {**_SEPARATORS, "header": "header", "quote": "quote", "nullstr": "null_values"}


class SessionTables:
    """Finds tables for SQL in a session.

    A name of one part is a registered frame or, if it looks like one, a file; a name of more
    parts is a table of what is attached.

    Args:
        session: whose tables they are.
        files: whether files may be read and written by name; those who ask from elsewhere shall
            not read whatever this process may.

    Attributes:
        asked_more: what a statement means is not only up to the names of its tables.
    """

    def __init__(self, session: Session, *, files: bool = True) -> None:
        self._session = session
        self._files = files
        self._found: dict[tuple[Name, ...], Operator] = {}
        self.asked_more = False

    @property
    def found(self) -> dict[tuple[Name, ...], Operator]:
        """The names that were asked for, with what they mean."""
        return dict(self._found)

    def table(self, parts: Sequence[Name]) -> Operator:
        """Give the rows of a table, the same operator each time in one statement."""
        key = tuple(parts)
        if key not in self._found:
            self._found[key] = self._table(key)
        return self._found[key]

    def _table(self, parts: tuple[Name, ...]) -> Operator:
        registered = self._session.registered
        if len(parts) == 1:
            found = matching(parts[0], registered.items())
            if len(found) > 1:
                raise PlanError(
                    f"{parts[0].text!r} means several tables by upper and lower case",
                    hint='put the name in "quotes" as it is spelled',
                )
            if found:
                return found[0].plan
            if parts[0].quoted and is_file_name(parts[0].text):
                return self._file(parts[0].text)
            raise self._unknown(parts[0].text)
        return Scan(source=self._attached(parts))

    def _unknown(self, name: str) -> PlanError:
        known = self._session.missing(name)
        if known is not None:
            return known
        error = UnknownNameError("table", name, self._session.registered)
        attached = list(self._session.catalog)
        hints = [error.hint, "session.register(name, frame) adds one; files stand in 'quotes'"]
        if attached:
            hints.append(f"attached: {', '.join(attached)}")
        return PlanError(error.message, hint="; ".join(hints))

    def check_file(self, path: str) -> None:
        """Raise `PlanError` if files are not read and written by name."""
        if not self._files:
            raise PlanError(
                f"{path!r}: files are not read or written by name here",
                hint="umbel serve --allow-files lets them; or attach their folder under a name",
            )

    def _file(self, path: str) -> Operator:
        self.check_file(path)
        suffixes = [s for s in Path(path).suffixes if s.lower() not in _COMPRESSIONS]
        reader = _READERS[suffixes[-1].lower()]
        options: dict[str, Any] = {}
        if suffixes[-1].lower() == ".tsv":
            options["delimiter"] = "\t"
        plan: Operator = getattr(self._session, reader)(path, **options).plan
        return plan

    def _attached(self, parts: tuple[Name, ...]) -> Source:
        catalog = self._session.catalog
        spaces = matching(parts[0], [(name, name) for name in catalog])
        if not spaces:
            known = [*catalog, *self._session.registered]
            raise UnknownNameError("namespace", parts[0].text, known)
        names = [spaces[0], *(part.text for part in parts[1:])]
        try:
            return catalog.source(names)
        except UnknownNameError:
            # The name may be spelled otherwise there: match each part as SQL does.
            for entry in catalog.tables(spaces[0]):
                path = (entry.namespace, *entry.table)
                tail = path[len(path) - len(parts) + 1 :]
                if len(path) >= len(parts) and all(
                    matching(part, [(there, there)])
                    for part, there in zip(parts[1:], tail, strict=True)
                ):
                    return catalog.source(path)
            raise

    def function(self, name: str, paths: list[str], options: dict[str, Any]) -> Operator:
        """Read files as `read_csv(...)` and its like say."""
        self.asked_more = True
        self.check_file(", ".join(paths))
        chosen: dict[str, Any] = {}
        for option, value in options.items():
            if name != "read_csv" or option not in _OPTIONS:
                known = _OPTIONS if name == "read_csv" else ()
                raise UnknownNameError(f"option of {name}", option, known)
            chosen[_OPTIONS[option]] = value
        plan: Operator = getattr(self._session, name)(paths, **chosen).plan
        return plan

    def sink(self, parts: Sequence[Name], *, create: bool, replace: bool) -> Sink:
        """Give the sink of a table of what is attached."""
        self.asked_more = True
        if len(parts) < 2:
            raise PlanError(
                f"the table {parts[0].text!r} does not say where it is",
                hint="write namespace.table; files are written by COPY (...) TO 'file'",
            )
        spaces = matching(parts[0], [(name, name) for name in self._session.catalog])
        if not spaces:
            raise UnknownNameError("namespace", parts[0].text, self._session.catalog)
        mode = ("replace" if replace else "error") if create else "append"
        return self._session.catalog.sink([spaces[0], *(p.text for p in parts[1:])], mode)


@dataclass(frozen=True)
class _Reading:
    """A statement that was read, and what the names in it meant."""

    plan: Operator
    tables: dict[tuple[Name, ...], Operator]


class Readings:
    """Reads statements, and remembers them for when they are asked again.

    A reading serves again from the same line of a script, while each name of a table means what it
    did. Those of tables in memory are not kept: who lets go of a table gets its memory back.

    Args:
        limit: statements that are remembered.
    """

    #: Longer statements are not remembered.
    LONGEST = 20_000

    def __init__(self, limit: int = 100) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[str, str, Origin | None], _Reading] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def read(
        self,
        text: str,
        tables: SessionTables,
        dialect: str,
        origin: Origin | None,
        values: Sequence[Literal],
    ) -> Operator:
        """Give the plan of a statement.

        Args:
            text: the statement.
            tables: what names mean now.
            dialect: of the text.
            origin: the line of the script.
            values: of the statement's parameters; with them it is read anew.
        """
        key = text, dialect, origin
        kept = None if values else self._kept.get(key)
        if kept is not None:
            if _mean_the_same(kept.tables, tables):
                return kept.plan
            self._kept.pop(key, None)
        plan = read_sql(text, tables, dialect=dialect, origin=origin, values=values)
        if not values and not tables.asked_more and len(text) <= self.LONGEST and _of_files(plan):
            self._kept[key] = _Reading(plan, tables.found)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)
        return plan


def _mean_the_same(known: dict[tuple[Name, ...], Operator], tables: SessionTables) -> bool:
    """Whether names of tables mean what they did."""
    try:
        return all(tables.table(parts) == plan for parts, plan in known.items())
    except PlanError:
        return False  # reading the statement anew says where it is wrong


def _of_files(plan: Operator) -> bool:
    """Whether a plan reads files alone, and writes nothing."""
    return not any(
        isinstance(operator, Write)
        or (isinstance(operator, Scan) and not isinstance(operator.source, FileSource))
        for operator in topological(plan)
    )


def is_file_name(text: str) -> bool:
    """Whether a name in quotes looks like a file that can be read.

    >>> is_file_name("orders.csv.gz"), is_file_name("orders")
    (True, False)
    """
    suffixes = [s.lower() for s in Path(text).suffixes if s.lower() not in _COMPRESSIONS]
    return bool(suffixes) and suffixes[-1] in _READERS


def check_registered(name: str, plan: Operator) -> None:
    """Raise `PlanError` for what cannot be a table of SQL."""
    if not name or not isinstance(name, str):
        raise PlanError(f"a table's name is text, not {name!r}")
    if plan.element is not Element.ROW:
        raise PlanError(
            f"{dotted([name])} would be a Dataset", hint="give it columns: .to_frame(schema)"
        )


class SessionNames:
    """Names the tables of a plan as SQL in the same session does; `umbel.sql.writing.Namer`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def table(self, scan: Scan) -> tuple[str, ...]:
        """Name what a scan reads: a registered frame, an attached table, or a file."""
        source = scan.source
        for name, frame in self._session.registered.items():
            if frame.plan == Scan(source=source):
                return (name,)
        if isinstance(source, RelationSource):
            return (source.platform, *source.relation)
        if isinstance(source, FileSource) and len(source.paths) == 1:
            path = source.paths[0]
            found = SessionTables(self._session)
            if is_file_name(path) and found.table([Name(path, True)]) == Scan(source=source):
                return (path,)
        raise PlanError(
            f"{source.describe()} has no name in SQL",
            hint="give it one: session.register(name, frame)",
        )
