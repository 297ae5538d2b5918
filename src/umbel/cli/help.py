"""The texts of `--help`, and what each exit code means."""

from __future__ import annotations

INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143

#: What each exit code means; the errors of `umbel.plan.errors` carry 1 to 6 and 130, those of a
#: federation 10 to 16.
EXIT_CODES: dict[int, str] = {
    0: "all went well",
    1: "the script raised an exception, or something else went wrong",
    2: "wrong use of the command, or a plan that cannot mean anything",
    3: "a plan file is refused: not JSON, of another version, or malformed",
    4: "a source is missing, empty or malformed",
    5: "no platform can run some operator, or no plan fits the budget",
    6: "the run failed: a function raised, a value has no result, an engine gave up",
    10: "something between sites and their coordinator is wrong",
    11: "a credential is missing, forged, expired, revoked or another's",
    12: "a site's rules do not let out what was asked for",
    13: "a site could not do its part",
    14: "work at a site would take more than it may",
    15: "the coordinator or its OpenID provider cannot be reached, or is of another version",
    16: "the role does not allow it",
    INTERRUPTED: "cancelled by Ctrl-C",
    BROKEN_PIPE: "the reader of standard output went away",
    TERMINATED: "cancelled by SIGTERM",
}

# The character \b before a paragraph keeps its lines as they are.
UMBEL = f"""Write a data pipeline once; run it on the engines that serve it best.

\b
Examples:
  umbel demo                      see it at work
  umbel run pipeline.py           run a script
  umbel sql "select 1 + 1"        run an SQL statement
  umbel serve                     let other tools ask in SQL
  umbel explain pipeline.py       see how it would run, and why
  umbel platforms                 see what can run here
  umbel calibrate                 measure what the engines cost here
  umbel tables                    see the tables that umbel.toml names
  umbel runs list                 see the runs that are kept
  umbel sites URL                 see the sites of a federation

\b
Exit codes:
{chr(10).join(f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items())}

Results go to standard output, everything else to standard error.
"""

RUN = """Run a script, a plan that was written as JSON, or a file of SQL.

A script runs as Python would run it. Options stand before the script; what stands behind it is the
script's own. A plan's result is shown, or written with --output. With --durable the run is kept: if
this process dies, --resume goes on with it.

\b
Examples:
  umbel run pipeline.py
  umbel run --record pipeline.py --day 2026-11-22
  umbel run --on duckdb --on python pipeline.py
  umbel run plan.json --limit 20
  umbel run plan.json --format csv > result.csv
  umbel run plan.json --output result.parquet --budget-seconds 60
  umbel run query.sql --table orders=data/orders.parquet
  umbel run --durable pipeline.py
  umbel run --resume 20261122-0badcafe
"""

TABLES = """List the tables of what is configured, or say what is known of one.

The configuration is the file that --config or the variable UMBEL_CONFIG names, or umbel.toml in
the working folder.

\b
Examples:
  umbel tables
  umbel tables lake
  umbel tables --describe lake.orders
  umbel tables --config other.toml
  umbel tables --policy --coordinator https://umbel.example.org:8443
"""

CONFIG = """Work with configuration files.

\b
Examples:
  umbel config check umbel.toml
"""

CONFIG_CHECK = """Check a configuration file: its keys, and that each entry can be attached.

It may be a session's (umbel.toml), a coordinator's or a site's. Nothing is connected to. Secrets
must stand in it by reference: env:NAME or file:/path.

\b
Examples:
  umbel config check umbel.toml
  umbel config check coordinator.toml
  umbel config check site.toml
"""

SQL = """Run an SQL statement, and show or write what it gives.

Files are tables: 'orders.parquet' in quotes, read_csv('orders.csv', header=false), or a name that
--table gives them. --attach names a database. COPY (query) TO 'file' writes a file.

\b
Examples:
  umbel sql "select count(*) from 'orders.parquet'"
  umbel sql "select count(*) from patients" --coordinator https://umbel.example.org:8443
  umbel sql "select * from o join c using (id)" --table o=orders.parquet --table c=names.csv
  umbel sql "copy (select * from 'in.csv') to 'out.parquet'"
  umbel sql --dialect postgres "select 7 / 2"
  umbel sql - < query.sql
"""

SERVE = """Let other tools ask in SQL, by Arrow Flight SQL, until Ctrl-C or SIGTERM.

What umbel.toml, --attach and --table name are the tables. The server listens on this machine only;
on another address it needs a certificate and a token. Statements only read, unless --allow-writes.

\b
Examples:
  umbel serve
  umbel serve --port 0 --table orders=orders.parquet
  umbel serve --config umbel.toml --token env:UMBEL_TOKEN --timeout 60
  umbel serve --host 0.0.0.0 --certificate cert.pem --key key.pem --token file:/run/secrets/umbel
  umbel serve --coordinator https://umbel.example.org:8443 --token file:door
"""

EXPLAIN = """Say how a plan would run, what it is estimated to cost, and what lost against it.

Nothing of the plan is run. A script is executed up to where it would run its first plan; that plan
is explained. A script that runs none has its last DataFrame or Dataset explained.

\b
Examples:
  umbel explain pipeline.py
  umbel explain --name late pipeline.py
  umbel explain --all pipeline.py
  umbel explain plan.json --format json
  umbel explain plan.json --output plan.svg
"""

PLATFORMS = """List the platforms that can run something here, and those that are missing.

Databases that umbel.toml attaches are platforms too; nothing is connected to.

\b
Examples:
  umbel platforms
  umbel platforms --json
"""

CALIBRATE = """Measure what the engines cost on this machine, so that plans are placed by its figures.

Small plans are run on each platform of this machine, a cost profile is fitted to their times, and
written to a file that every session reads: the one that the variable UMBEL_COSTS names, or
umbel/costs.toml below XDG_CONFIG_HOME (~/.config). It takes less than two minutes; nothing else
should run meanwhile. Attached databases are measured only where --engines names them; they need the
right to make temporary tables. Ctrl-C leaves the old file as it is.

\b
Examples:
  umbel calibrate
  umbel calibrate --quick --dry-run --verbose
  umbel calibrate --engines duckdb,polars
  umbel calibrate --engines warehouse --config umbel.toml
  umbel calibrate --output costs.toml
"""

DEMO = """See two pipelines planned and run across engines, with the reasons.

WordCount over real text, and a query over four files of four formats. It takes less than 20
seconds and leaves nothing behind. `umbel demo hospitals` starts a coordinator and three sites
here, each a process of its own, and has them answer one question together, in under a minute.

\b
Examples:
  umbel demo
  umbel demo hospitals
  umbel demo --keep flights
"""

RUNS = """See and steer the runs that are kept: those of `umbel run --durable` and `ub.connect(durable=…)`.

With --coordinator they are those that a coordinator keeps: yours, and with the role operator or
auditor those of all users.

\b
Examples:
  umbel runs list
  umbel runs list --coordinator https://umbel.example.org:8443
  umbel runs show 20261122-0badcafe
  umbel runs cancel 20261122-0badcafe
  umbel runs resume 20261122-0badcafe
  umbel runs prune --older-than 30d
"""

RUNS_LIST = """List the runs that are kept, the latest first, with their states.

A run is running, interrupted (its process has died), finished, failed or cancelled.

\b
Examples:
  umbel runs list
  umbel runs list --all --json
  umbel runs list --store /srv/runs
  umbel runs list --coordinator https://umbel.example.org:8443 --token env:UMBEL_TOKEN
"""

RUNS_SHOW = """Show a run: its tries, its stages with their times, and what it has written.

Of a coordinator's run: when each stage was at work and at which site, with rows, bytes and attempts.

\b
Examples:
  umbel runs show 20261122-0badcafe
  umbel runs show 20261122-0badcafe00c0ffee --coordinator https://umbel.example.org:8443
  umbel runs show 20261122-0badcafe --json
"""

RUNS_CANCEL = """Stop a run, whichever process runs it, also at sites. It can be resumed.

\b
Examples:
  umbel runs cancel 20261122-0badcafe
  umbel runs cancel 20261122-0badcafe00c0ffee --coordinator https://umbel.example.org:8443
"""

RUNS_RESUME = """Go on with a run where it stopped; the same as `umbel run --resume`.

A plan's result is shown. A script is run again, and what it has finished is taken over. A
coordinator goes on with runs by itself; this waits for the answer, or begins again what failed.

\b
Examples:
  umbel runs resume 20261122-0badcafe
  umbel runs resume 20261122-0badcafe00c0ffee --coordinator https://umbel.example.org:8443
  umbel runs resume 20261122-0badcafe --attach warehouse=postgresql://ann:…@db/sales
"""

RUNS_PRUNE = """Forget runs that are finished or cancelled, and remove what was kept of them.

\b
Examples:
  umbel runs prune
  umbel runs prune --older-than 12h
  umbel runs prune --older-than 0 --all --dry-run
"""
