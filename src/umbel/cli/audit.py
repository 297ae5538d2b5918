"""`umbel audit`: what a site's audit log says, and whether it is whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from umbel.cli import audit_help as texts
from umbel.cli.federation import needed
from umbel.plan.errors import PlanError

if TYPE_CHECKING:
    from umbel.federation.audit import Head, Record

_KINDS = "began, recovered, allowed, refused, released, failed, approved or denied"

LogArgument = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="The site's configuration, its folder, or a log's folder."),
]


def audit_commands() -> typer.Typer:
    """Build `umbel audit`."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    app.command("show", help=texts.SHOW, short_help="Show what was asked and what left.")(show)
    app.command("verify", help=texts.VERIFY, short_help="Check that the log is whole.")(verify)
    app.command("export", help=texts.EXPORT, short_help="Write the log for other tools.")(export)
    return app


def show(
    log: LogArgument = Path(),
    last: Annotated[
        int, typer.Option(metavar="N", min=0, help="The newest N records; 0 for all.")
    ] = 20,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only of this user's tasks.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help=f"Only records of a kind: {_KINDS}.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a line each.")] = False,
) -> None:
    """Show records, the oldest first."""
    found = list(_chosen(log, user, kind))
    for record in found[-last:] if last else found:
        if as_json:
            print(json.dumps(record.to_dict()))
        else:
            print("\n".join(_words(record)))


def verify(
    log: LogArgument = Path(),
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The federation's root certificate; by default the site's."
        ),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N:DIGEST", help="A head known from elsewhere, as `umbel sites` shows it."
        ),
    ] = None,
) -> None:
    """Check a log; exit 1 if something is wrong."""
    needed()
    from umbel.federation.audit import verify as check
    from umbel.federation.identity import Certificate

    folder, known = _located(log)
    root = root or known
    report = check(
        folder,
        Certificate.read(root).own if root is not None else None,
        [_head(text) for text in head or ()],
    )
    for fault in report.faults:
        print(f"NO  {fault}")
    for note in report.notes:
        print(f"    {note}")
    if report.good:
        print(f"ok  {report.head.seq:,} records, each as it was written and in its place")
        if report.anchors:
            print(
                f"ok  countersigned by the coordinator up to record {report.anchored:,} "
                f"({report.anchors:,} times)"
            )
        else:
            print("    no head is countersigned: a cut at the end would not show")
        print(f"head {report.head.seq}:{report.head.digest}")
    else:
        raise typer.Exit(1)


def export(
    log: LogArgument = Path(),
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where to; by default JSON lines to standard output."),
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only of this user's tasks.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(metavar="KIND", help=f"Only records of a kind: {_KINDS}.")
    ] = None,
) -> None:
    """Write records as JSON lines, CSV or Parquet."""
    rows = (record.to_dict() for record in _chosen(log, user, kind))
    if output is None:
        for row in rows:
            print(json.dumps(row))
        return
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    if output.suffix == ".jsonl":
        output.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif output.suffix in (".csv", ".parquet"):
        flat = [{k: _flat(v) for k, v in row.items()} for row in rows]
        names = dict.fromkeys(name for row in flat for name in row)
        table = pa.table({name: [row.get(name) for row in flat] for name in names})
        if output.suffix == ".csv":
            pyarrow.csv.write_csv(table, output)
        else:
            pyarrow.parquet.write_table(table, output)
    else:
        raise PlanError(
            f"cannot write the log as {output.suffix or output.name!r}",
            hint="name a file .jsonl, .csv or .parquet",
        )
    print(f"{output}: written", file=sys.stderr)


def _located(given: Path) -> tuple[Path, Path | None]:
    """The log's folder, and the root certificate beside it if there is one."""
    needed()
    from umbel.federation.audit import audit_folder
    from umbel.federation.audit.log import RECORDS
    from umbel.federation.site import SiteSettings
    from umbel.federation.wire.connection import ROOT

    if (given / RECORDS).exists():
        root = given.parent / ROOT
        return given, root if root.exists() else None
    folder = SiteSettings.read(given).folder
    return audit_folder(folder), folder / ROOT


def _chosen(log: Path, user: str | None, kind: str | None) -> Any:
    """The records that are asked for; those of a task's end count as its user's."""
    folder, _ = _located(log)
    from umbel.federation.audit.log import RECORDS
    from umbel.federation.audit.records import records

    theirs: set[object] = set()
    for record in records(folder / RECORDS):
        if user is not None:
            if record.fields.get("user") == user:
                theirs.add(record.fields.get("task"))
            elif record.fields.get("task") not in theirs:
                continue
        if kind is None or record.kind == kind:
            yield record


def _words(record: Record) -> list[str]:
    """A record for people."""
    fields = record.fields
    first = f"{record.seq:>6}  {record.time}  {record.kind:<9}"
    task = str(fields.get("task", ""))[:12]
    match record.kind:
        case "allowed" | "refused":
            purpose = f" for {fields['purpose']!r}" if fields.get("purpose") else ""
            lines = [
                (
                    f"{first} task {task} of {fields.get('user')}{purpose}: "
                    f"{', '.join(fields.get('tables', ()))}"
                ),
                f"{'':8}{fields.get('question', '')}",
            ]
            if record.kind == "refused":
                return [*lines, f"{'':8}because {fields.get('why')}"]
            version = fields.get("policy_version")
            clauses = ", ".join(fields.get("clauses", ()))
            by = f", by {clauses}" if clauses else ""
            of = f", version {version} of the policy" if version else ""
            return [*lines, f"{'':8}{fields.get('rule')}{by}{of}"]
        case "released":
            return [
                (
                    f"{first} task {task}: {fields.get('rows'):,} rows, {fields.get('bytes'):,} bytes, "
                    f"sha256 {str(fields.get('sha256'))[:16]}…"
                )
            ]
        case "failed":
            return [
                f"{first} task {task}: {fields.get('why')}; at most {fields.get('rows'):,} rows left"
            ]
    rest = ", ".join(f"{name} {value}" for name, value in fields.items() if name != "task")
    return [f"{first} {f'task {task}: ' if task else ''}{rest}".rstrip()]


def _head(text: str) -> Head:
    from umbel.federation.audit import Head

    seq, colon, digest = text.partition(":")
    if not colon or not seq.isdigit() or len(digest) != 64:
        raise PlanError(f"{text[:80]!r} is no head", hint="write its number, a colon, its digest")
    return Head(int(seq), digest)


def _flat(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


__all__ = ["audit_commands"]
