"""The commands, their options and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from umbel.cli import (
    audit,
    audit_help,
    code_app,
    code_help,
    federation,
    federation_help,
    login,
    models_app,
    models_help,
    policy_app,
    policy_help,
    runs_app,
)
from umbel.cli import help as texts
from umbel.cli.coordinators import CoordinatorOption, TokenOption
from umbel.cli.runs_app import DurableOption, ResumeOption, StoreOption
from umbel.cli.settings import Settings

SCRIPT_SUFFIX = ".py"
SQL_SUFFIX = ".sql"


class ScriptCommand(typer.core.TyperCommand):
    """A command whose first argument may be a script; what stands behind it is the script's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Leave everything behind a script to the script."""
        ctx.allow_interspersed_args = not any(arg.endswith(SCRIPT_SUFFIX) for arg in args)
        return super().parse_args(ctx, args)


OnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--on",
        metavar="PLATFORM",
        help="Use only this platform; may be given several times.",
    ),
]
SecondsOption = Annotated[
    float | None,
    typer.Option(metavar="S", help="Refuse plans that are estimated to take longer."),
]
DollarsOption = Annotated[
    float | None,
    typer.Option(metavar="D", help="Refuse plans that are estimated to cost more."),
]
FileArgument = Annotated[
    Path,
    typer.Argument(metavar="FILE", help="A script (.py), a plan (.json) or a statement (.sql)."),
]
ArgsArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="ARGS", show_default=False, help="Arguments of the script."),
]


OutputOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Write a plan's result to a file instead of showing it: .parquet, .csv, .jsonl, "
        ".arrow or .txt. It appears whole or not at all.",
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(metavar="N", min=0, help="Take at most N rows of a plan's result."),
]
FormOption = Annotated[
    str | None,
    typer.Option("--format", metavar="FORM", help="Show a plan's result as table, csv or json."),
]
ProgressOption = Annotated[
    bool | None,
    typer.Option(
        "--progress/--no-progress", help="A line per stage; by default in a terminal only."
    ),
]
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="Before each run, say how it will run, and why.")
]
RecordOption = Annotated[
    bool, typer.Option("--record", help="After each run, show estimates beside measurements.")
]
TableOption = Annotated[
    list[str] | None,
    typer.Option(
        "--table", metavar="NAME=FILE", help="A file that SQL knows by a name; several times."
    ),
]
AttachOption = Annotated[
    list[str] | None,
    typer.Option(
        "--attach", metavar="NAME=URL", help="A database that SQL knows by a name; several times."
    ),
]
DialectOption = Annotated[
    str, typer.Option(metavar="NAME", help="The dialect that the SQL is written in.")
]


def build() -> Any:
    """Build the command with all its subcommands."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=False)
    app.callback(invoke_without_command=True, help=texts.UMBEL)(umbel)
    app.command(
        "run", cls=ScriptCommand, help=texts.RUN, short_help="Run a script, a plan or SQL."
    )(run)
    app.command("sql", help=texts.SQL, short_help="Run an SQL statement.")(sql)
    app.command("serve", help=texts.SERVE, short_help="Let other tools ask in SQL.")(serve)
    app.command(
        "explain", cls=ScriptCommand, help=texts.EXPLAIN, short_help="Say how a plan would run."
    )(explain)
    app.command("platforms", help=texts.PLATFORMS, short_help="List what can run something here.")(
        platforms
    )
    app.command("tables", help=texts.TABLES, short_help="List the tables that are configured.")(
        tables
    )
    config = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    config.command("check", help=texts.CONFIG_CHECK, short_help="Check a configuration file.")(
        config_check
    )
    app.add_typer(config, name="config", help=texts.CONFIG, short_help="Check configurations.")
    app.command(
        "calibrate", help=texts.CALIBRATE, short_help="Measure what the engines cost here."
    )(calibrate)
    runs_app.add_to(app)
    app.add_typer(
        federation.coordinator_commands(),
        name="coordinator",
        help=federation_help.COORDINATOR,
        short_help="Make and run a coordinator.",
    )
    app.add_typer(
        federation.site_commands(),
        name="site",
        help=federation_help.SITE,
        short_help="Join a federation, run a site.",
    )
    app.add_typer(
        policy_app.policy_commands(),
        name="policy",
        help=policy_help.POLICY,
        short_help="Write, check and sign a site's policy.",
    )
    app.add_typer(
        code_app.code_commands(),
        name="code",
        help=code_help.CODE,
        short_help="Sign functions that sites run.",
    )
    app.add_typer(
        models_app.models_commands(),
        name="models",
        help=models_help.MODELS,
        short_help="See and steer models that are kept.",
    )
    app.add_typer(
        audit.audit_commands(),
        name="audit",
        help=audit_help.AUDIT,
        short_help="Read and check a site's audit log.",
    )
    app.command("sites", help=federation_help.SITES, short_help="List a federation's sites.")(
        federation.sites
    )
    app.command("login", help=federation_help.LOGIN, short_help="Log in to a federation.")(
        login.login
    )
    app.command("logout", help=federation_help.LOGOUT, short_help="Forget a login.")(login.logout)
    app.command("demo", help=texts.DEMO, short_help="See umbel at work.")(demo)
    return typer.main.get_command(app)


def umbel(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    traceback: Annotated[
        bool,
        typer.Option("--traceback", help="Show Python's traceback of an error. Stands first."),
    ] = False,
) -> None:
    """Write a data pipeline once; run it on the engines that serve it best."""
    if version:
        from umbel import __version__

        print(f"umbel {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


def run(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A script (.py), a plan (.json) or SQL (.sql)."),
    ] = None,
    args: ArgsArgument = None,
    on: OnOption = None,
    budget_seconds: SecondsOption = None,
    budget_dollars: DollarsOption = None,
    output: OutputOption = None,
    limit: LimitOption = None,
    output_format: FormOption = None,
    progress: ProgressOption = None,
    explain: ExplainOption = False,
    record: RecordOption = False,
    table: TableOption = None,
    attach: AttachOption = None,
    dialect: DialectOption = "duckdb",
    durable: DurableOption = False,
    resume: ResumeOption = None,
    store: StoreOption = None,
    coordinator: CoordinatorOption = None,
    token: TokenOption = None,
) -> None:
    """Run a script, a plan that was written as JSON, or an SQL statement in a file."""
    from umbel.cli.run import run_plan, run_script

    if store is not None and not durable and resume is None:
        raise typer.BadParameter("--store is for --durable and --resume")
    if resume is not None:
        from umbel.cli.runs import resume_run

        if file is not None or durable:
            raise typer.BadParameter("--resume takes a run's id alone: what it runs is kept")
        if coordinator is not None:
            raise typer.BadParameter("a coordinator's run: umbel runs resume ID --coordinator URL")
        settings = Settings.of(None, None, None, progress, explain, record)
        resume_run(resume, settings, store, attach or [])
        return
    if file is None:
        raise typer.BadParameter("name a FILE, or a run: --resume ID")
    settings = Settings.of(
        on, budget_seconds, budget_dollars, progress, explain, record, coordinator, token
    )
    if file.suffix == SQL_SUFFIX:
        from umbel.cli.sql import read_statement, run_sql

        if args:
            raise typer.BadParameter(f"SQL takes no arguments, but there are: {' '.join(args)}")
        if durable:
            settings = _kept(settings, store, attach or [], output_format)
        names = table or [], attach or []
        text = read_statement(file)
        form = output_format
        run_sql(text, settings, *names, dialect, output=output, limit=limit, form=form, file=file)
        return
    if table or attach:
        raise typer.BadParameter("--table and --attach are for SQL")
    if is_script(file):
        if coordinator is not None:
            raise typer.BadParameter("a script names its coordinator itself: ub.connect(URL)")
        for option, value in (("output", output), ("limit", limit), ("format", output_format)):
            if value is not None:
                raise typer.BadParameter(
                    f"--{option} is for plans; a script prints and writes itself"
                )
        if durable:
            from umbel.cli.runs import keep_script

            keep_script(file, args or [], settings, store)
        else:
            run_script(file, args or [], settings)
        return
    if args:
        raise typer.BadParameter(f"a plan takes no arguments, but there are: {' '.join(args)}")
    if durable:
        settings = _kept(settings, store, [], output_format)
    run_plan(file, settings, output=output, limit=limit, form=output_format)


def _kept(settings: Settings, store: str | None, attach: list[str], form: str | None) -> Settings:
    from umbel.cli.runs import keeping_plans

    return keeping_plans(settings, store, attach, form)


def sql(
    statement: Annotated[
        str, typer.Argument(metavar="STATEMENT", help="One statement; - reads standard input.")
    ],
    table: TableOption = None,
    attach: AttachOption = None,
    dialect: DialectOption = "duckdb",
    on: OnOption = None,
    budget_seconds: SecondsOption = None,
    budget_dollars: DollarsOption = None,
    output: OutputOption = None,
    limit: LimitOption = None,
    output_format: FormOption = None,
    progress: ProgressOption = None,
    explain: ExplainOption = False,
    record: RecordOption = False,
    coordinator: CoordinatorOption = None,
    token: TokenOption = None,
) -> None:
    """Run an SQL statement, and show or write what it gives."""
    from umbel.cli.sql import run_sql

    settings = Settings.of(
        on, budget_seconds, budget_dollars, progress, explain, record, coordinator, token
    )
    if statement == "-":
        statement = typer.get_text_stream("stdin").read()
    names = table or [], attach or []
    run_sql(statement, settings, *names, dialect, output=output, limit=limit, form=output_format)


def serve(
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 31337,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where to listen; by default here only.")
    ] = "127.0.0.1",
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The configuration to go by.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="REFERENCE",
            help="What callers must show, by reference: env:NAME or file:/path.",
        ),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A certificate for TLS, in PEM form.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The certificate's key, in PEM form.")
    ] = None,
    allow_writes: Annotated[
        bool, typer.Option("--allow-writes", help="Let CREATE TABLE AS, INSERT and COPY in.")
    ] = False,
    allow_files: Annotated[
        bool, typer.Option("--allow-files", help="Let statements name files and web addresses.")
    ] = False,
    statements: Annotated[
        int, typer.Option(metavar="N", min=1, help="Statements that run at the same time.")
    ] = 8,
    timeout: Annotated[
        float, typer.Option(metavar="S", min=0, help="Seconds that a statement may take; 0: any.")
    ] = 3600.0,
    grace: Annotated[
        float, typer.Option(metavar="S", min=0, help="Seconds that statements have at the end.")
    ] = 5.0,
    table: TableOption = None,
    attach: AttachOption = None,
    dialect: DialectOption = "duckdb",
    on: OnOption = None,
    budget_seconds: SecondsOption = None,
    budget_dollars: DollarsOption = None,
    coordinator: CoordinatorOption = None,
    coordinator_token: Annotated[
        str | None,
        typer.Option(
            metavar="REFERENCE",
            help="Your token at the coordinator: env:NAME or file:/path; by default UMBEL_TOKEN, "
            "or your login.",
        ),
    ] = None,
) -> None:
    """Let other tools ask in SQL, by Arrow Flight SQL."""
    from umbel.cli.serve import serve as serve_sql

    bounds = on, budget_seconds, budget_dollars
    serve_sql(
        Settings.of(*bounds, progress=False, coordinator=coordinator, token=coordinator_token),
        table or [],
        attach or [],
        config=config,
        grace=grace,
        host=host,
        port=port,
        token=token,
        certificate=certificate,
        key=key,
        allow_writes=allow_writes,
        allow_files=allow_files,
        statements=statements,
        timeout=timeout or None,
        dialect=dialect,
    )


def explain(
    file: FileArgument,
    args: ArgsArgument = None,
    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            help="text, json, mermaid or svg; by default what the name of --output says, or text.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Write it to a file instead.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Explain the frame or dataset in this variable."),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Run the script to its end, and explain everything it runs."),
    ] = False,
    on: OnOption = None,
    budget_seconds: SecondsOption = None,
    budget_dollars: DollarsOption = None,
    table: TableOption = None,
    attach: AttachOption = None,
    dialect: DialectOption = "duckdb",
    coordinator: CoordinatorOption = None,
    token: TokenOption = None,
) -> None:
    """Say how a plan would run, what it is estimated to cost, and what lost against it."""
    from umbel.cli.explain import explain_plan, explain_script

    bounds = on, budget_seconds, budget_dollars
    settings = Settings.of(*bounds, coordinator=coordinator, token=token)
    if file.suffix == SQL_SUFFIX:
        from umbel.cli.sql import explain_sql, read_statement

        if args or name is not None or every:
            raise typer.BadParameter("ARGS, --name and --all are for scripts")
        names = table or [], attach or []
        text = read_statement(file)
        explain_sql(text, settings, *names, dialect, output_format, output, file)
        return
    if table or attach:
        raise typer.BadParameter("--table and --attach are for SQL")
    if is_script(file):
        if name is not None and every:
            raise typer.BadParameter("--name explains one plan, --all every one: give one of them")
        if coordinator is not None:
            raise typer.BadParameter("a script names its coordinator itself: ub.connect(URL)")
        explain_script(file, args or [], settings, output_format, output, name=name, every=every)
    else:
        if args or name is not None or every:
            raise typer.BadParameter("ARGS, --name and --all are for scripts")
        explain_plan(file, settings, output_format, output)


def platforms(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The configuration to go by.")
    ] = None,
) -> None:
    """List the platforms that can run something here, and those that are missing."""
    from umbel.cli.platforms import show_platforms

    show_platforms(as_json=as_json, config=config)


def tables(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="List those of this entry only.")
    ] = None,
    describe: Annotated[
        str | None, typer.Option(metavar="TABLE", help="Say what is known of one table.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The configuration to go by.")
    ] = None,
    policy: Annotated[
        bool, typer.Option("--policy", help="Say what of a federation's tables may be asked.")
    ] = False,
    coordinator: CoordinatorOption = None,
    token: TokenOption = None,
) -> None:
    """List the tables of what is configured, or describe one."""
    from umbel.cli.tables import show_policies, show_tables

    if policy:
        if coordinator is None:
            raise typer.BadParameter("--policy is for a federation: --coordinator URL")
        show_policies(name, coordinator, token)
        return
    if coordinator is not None or token is not None:
        raise typer.BadParameter("--coordinator and --token are for --policy")
    show_tables(name, describe, config)


def config_check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The configuration.")],
) -> None:
    """Check a configuration file."""
    from umbel.cli.tables import check_config

    check_config(file)


def calibrate(
    engines: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAMES",
            help="Only these platforms, with commas between; by default all of this machine.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write this file, not the one that sessions read."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The configuration to go by.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure roughly, in seconds.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what was found, and write nothing.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show every figure that changed.")
    ] = False,
    progress: ProgressOption = None,
) -> None:
    """Measure what the engines cost on this machine."""
    from umbel.cli.calibrate import run_calibration

    run_calibration(
        engines or [],
        output,
        config,
        quick=quick,
        dry_run=dry_run,
        verbose=verbose,
        progress=progress,
    )


def demo(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="hospitals: three sites answer one question together."),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Leave the demo's files in this folder."),
    ] = None,
) -> None:
    """See two pipelines planned and run across engines, with the reasons."""
    if name is None:
        from umbel.cli.demo import run_demo

        run_demo(keep)
    elif name == "hospitals":
        from umbel.cli.demo.hospitals import run_hospitals

        run_hospitals(keep)
    else:
        raise typer.BadParameter(f"there is no demo {name!r}; there is: hospitals")


def is_script(file: Path) -> bool:
    """Whether a file is a script; raises unless it is a script or a plan."""
    match file.suffix:
        case ".py":
            return True
        case ".json":
            return False
    raise typer.BadParameter(
        f"{file} is neither a script (.py), a plan (.json) nor a statement (.sql)"
    )


__all__ = ["build"]
