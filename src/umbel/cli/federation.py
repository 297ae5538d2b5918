"""`umbel coordinator`, `umbel site` and `umbel sites`: the processes of a federation."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from umbel.cli import federation_help as texts
from umbel.cli.requests import requests_commands
from umbel.plan.errors import PlanError

if TYPE_CHECKING:
    from umbel.federation.log_settings import LogSection

#: Seconds between looks at what is to be done.
_LOOK = 0.05

ConfigOption = Annotated[
    Path, typer.Option("--config", metavar="FILE", help="The configuration, or its folder.")
]

LogFormat = Annotated[
    str | None, typer.Option("--log-format", metavar="FORMAT", help="text or json.")
]
LogLevel = Annotated[
    str | None,
    typer.Option("--log-level", metavar="LEVEL", help="debug, info, warning or error."),
]


def coordinator_commands() -> typer.Typer:
    """Build `umbel coordinator`."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    app.command("init", help=texts.INIT, short_help="Make a coordinator.")(init)
    app.command("serve", help=texts.COORDINATOR_SERVE, short_help="Start a coordinator.")(serve)
    app.command("invite", help=texts.INVITE, short_help="Let a site join.")(invite)
    app.command("revoke", help=texts.REVOKE, short_help="Shut a site or a token out.")(revoke)
    app.command(
        "renew-issuer", help=texts.RENEW_ISSUER, short_help="Renew the authority's certificate."
    )(renew_issuer)
    app.command("token", help=texts.FOR_USERS, short_help="Give a user a token.")(token)
    return app


def site_commands() -> typer.Typer:
    """Build `umbel site`."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    app.command("join", help=texts.JOIN, short_help="Join a federation.")(join)
    app.command("run", help=texts.SITE_RUN, short_help="Start a site.")(run)
    app.command("doctor", help=texts.DOCTOR, short_help="Find what is wrong with a site.")(doctor)
    app.add_typer(requests_commands(), name="requests", short_help="Agree to questions, or not.")
    return app


# --- the coordinator ------------------------------------------------------------------------------


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where it will lie.")],
    federation: Annotated[
        str, typer.Option(metavar="NAME", help="What the federation is called.")
    ] = "federation",
    host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST", help="A name or address at which it is reached; several times."
        ),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where people and tools reach it.")
    ] = "127.0.0.1:8443",
    sites: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Where sites reach it.")
    ] = "127.0.0.1:8444",
) -> None:
    """Make a coordinator: its authority, its configuration, and an operator's token."""
    needed()
    from umbel.federation.access import Role
    from umbel.federation.coordinator import Coordinator, create

    settings = create(folder, federation, host or ["localhost"], listen=listen, sites=sites)
    coordinator = Coordinator.open(settings, serving=False)
    try:
        _, word = coordinator.new_token("operator", [Role.OPERATOR])
        print(f"{settings.file.path}: the configuration; look it over")
        print(f"authority {coordinator.authority.fingerprint}")
        root = settings.authority / "root.key"
        print(f"  keep {root} offline: it is needed again only when the issuer is renewed")
        print(f"operator's token, shown once: {word.encode()}")
        print(f"start it: umbel coordinator serve --config {folder}")
    finally:
        coordinator.close()


def serve(
    config: ConfigOption = Path(),
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Start a coordinator, until Ctrl-C or SIGTERM."""
    needed()
    from umbel.api.located import written_at
    from umbel.api.session import Session
    from umbel.federation.coordinator import Coordinator, CoordinatorSettings, Server
    from umbel.federation.warming import warm

    settings = CoordinatorSettings.read(config)
    _log(settings.log, log_format, log_level)
    with written_at(None):  # there is no script whose line could be shown
        warm(Session(progress=False))
        coordinator = Coordinator.open(settings)
        try:
            with Server(coordinator) as server:
                host = coordinator.settings.url.rpartition(":")[0]
                print(f"people and tools: {host}:{server.port}", flush=True)
                print(f"sites: {coordinator.sites_address}", flush=True)
                _until_told()
        finally:
            coordinator.close()


def invite(
    site: Annotated[str, typer.Argument(metavar="SITE", help="What the site will be called.")],
    minutes: Annotated[
        float, typer.Option(metavar="N", min=0.1, max=10_080, help="How long it holds.")
    ] = 15.0,
    config: ConfigOption = Path(),
) -> None:
    """Make the word with which a site joins, once."""
    coordinator = _opened(config)
    try:
        invitation, word = coordinator.invite(site, timedelta(minutes=minutes))
    finally:
        coordinator.close()
    print(
        f"holds until {invitation.expires:%Y-%m-%d %H:%M} UTC, once; at the site:", file=sys.stderr
    )
    print(f"umbel site join --folder {site} --token {word}")


def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The site, or the token's id.")],
    is_token: Annotated[bool, typer.Option("--token", help="It is a token.")] = False,
    config: ConfigOption = Path(),
) -> None:
    """Shut a site or a token out, at once."""
    coordinator = _opened(config)
    try:
        if is_token:
            coordinator.revoke_token(name)
        else:
            coordinator.revoke_site(name)
    finally:
        coordinator.close()
    print(f"{name} is shut out")


def renew_issuer(config: ConfigOption = Path()) -> None:
    """Renew the certificate of the key that issues; the root's key must be there."""
    needed()
    from umbel.federation.coordinator import CoordinatorSettings
    from umbel.federation.identity import Authority

    authority = Authority.renew_issuer(CoordinatorSettings.read(config).authority)
    end = authority.issuer.own.not_valid_after_utc
    print(f"the issuing certificate holds until {end:%Y-%m-%d}; now restart the coordinator")


def token(
    user: Annotated[str, typer.Argument(metavar="USER", help="Whose it will be.")],
    role: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE", help="viewer, analyst, publisher, operator or auditor; several times."
        ),
    ] = None,
    days: Annotated[
        float, typer.Option(metavar="N", min=0.001, max=366, help="How long it holds.")
    ] = 90.0,
    config: ConfigOption = Path(),
) -> None:
    """Make a user's token; it is shown this once."""
    needed()
    from umbel.federation.access import Role

    roles = [Role.of(name) for name in role or ["analyst"]]
    coordinator = _opened(config)
    try:
        record, word = coordinator.new_token(user, roles, timedelta(days=days))
    finally:
        coordinator.close()
    held = ", ".join(r.value for r in roles)
    print(
        f"token {record.id} of {user} ({held}), until {record.expires:%Y-%m-%d} UTC; "
        "it is shown this once:",
        file=sys.stderr,
    )
    print(word.encode())


def _opened(config: Path) -> Any:
    """Open a coordinator's state, while the coordinator itself may run."""
    needed()
    from umbel.federation.coordinator import Coordinator, CoordinatorSettings

    return Coordinator.open(CoordinatorSettings.read(config), serving=False)


# --- sites ----------------------------------------------------------------------------------------


def join(
    token: Annotated[
        str,
        typer.Option(
            metavar="TOKEN", help="The invitation's word, or where it is: env:NAME or file:/path."
        ),
    ],
    url: Annotated[
        str | None,
        typer.Argument(metavar="URL", help="The coordinator; by default the token says it."),
    ] = None,
    folder: Annotated[
        Path, typer.Option(metavar="DIR", help="Where key, certificate and configuration go.")
    ] = Path(),
    again: Annotated[
        bool, typer.Option("--again", help="Replace the certificate of a site that joined.")
    ] = False,
) -> None:
    """Make the site's key, and get its certificate."""
    needed()
    from umbel.catalog.address import Secret
    from umbel.federation.site import join as join_federation

    if token.startswith(("env:", "file:")):
        token = Secret.of("token", token).reveal()
    settings = join_federation(token, folder, url=url, again=again)
    print(f"site {settings.name!r} has joined; its coordinator waits at {settings.coordinator}")
    print(f"{settings.file}: say there what the site publishes, then")
    print(f"  umbel site doctor {settings.file}")
    print(f"  umbel site run {settings.file}")


def run(
    config: Annotated[
        Path, typer.Argument(metavar="FILE", help="The configuration, or its folder.")
    ] = Path(),
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Start a site, until Ctrl-C or SIGTERM."""
    needed()
    from umbel.federation.site import SiteProcess, SiteSettings

    _log(SiteSettings.read(config).log, log_format, log_level)
    site = SiteProcess(config)
    published = ", ".join(sorted(site.site.tables)) or "nothing yet"
    print(f"site {site.settings.name!r} dials {site.settings.coordinator}", flush=True)
    print(f"publishes {published}", flush=True)
    try:
        site.run()
    except KeyboardInterrupt:  # which SIGTERM is, too
        print("shutting down", file=sys.stderr, flush=True)


def doctor(
    config: Annotated[
        Path, typer.Argument(metavar="FILE", help="The configuration, or its folder.")
    ] = Path(),
) -> None:
    """Look for what would keep a site from its work."""
    needed()
    from umbel.federation.site import examine

    bad = 0
    for found in examine(config):
        print(f"{'ok' if found.good else 'NO':<3} {found.what}: {found.text}")
        if found.hint:
            print(f"      {found.hint}")
        bad += not found.good
    if bad:
        raise typer.Exit(1)


def sites(
    url: Annotated[
        str, typer.Argument(metavar="URL", envvar="UMBEL_COORDINATOR", help="The coordinator.")
    ],
    token: Annotated[
        str | None,
        typer.Option(metavar="REFERENCE", help="Your token: env:NAME or file:/path."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the sites of a federation."""
    needed()
    import json

    from umbel.federation.client import connect_to

    with connect_to(url, token=token, progress=False) as session:
        known = session.sites()
        certificates = session.status()["certificates"]
    for found in certificates:
        if found["late"]:
            print(f"{found['what']} ends in {found['days']} days: {found['hint']}", file=sys.stderr)
    if as_json:
        print(json.dumps(known, indent=2))
        return
    head = f"{'site':<20} {'state':<10} {'umbel':<10} {'line':<22} tables"
    print(head)
    for site in known:
        link = site["link"]
        line = (
            f"{link['bandwidth'] / 1e6:,.0f} MB/s, {link['latency'] * 1e3:.0f} ms" if link else ""
        )
        tables = ", ".join(f"{t['name']} ({t['form']})" for t in site["tables"])
        version = site["version"] or ""
        print(f"{site['name']:<20} {site['state']:<10} {version:<10} {line:<22} {tables}".rstrip())


# --- what they share ------------------------------------------------------------------------------


def needed() -> None:
    """Say what to install if the extra is not there."""
    try:
        import alembic  # noqa: F401
        import cryptography  # noqa: F401
        import fastapi  # noqa: F401
        import httpx  # noqa: F401
        import jwt  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise PlanError(
            f"a federation needs {error.name}", hint="pip install 'umbel[federation]'"
        ) from None


def _log(section: LogSection, form: str | None, level: str | None) -> None:
    """Send logs to standard error, as the configuration says, or else the command line."""
    from pydantic import ValidationError

    from umbel.federation.log_settings import LogSection
    from umbel.telemetry.logs import log_to

    given = {"format": form, "level": level}
    try:
        chosen = LogSection(
            **{**section.model_dump(), **{k: v for k, v in given.items() if v is not None}}
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise PlanError(f"--log-{first['loc'][0]}: {first['msg']}") from None
    log_to(sys.stderr, chosen.format, chosen.level)


def _until_told() -> None:
    never = threading.Event()
    try:
        # This thread must run Python code now and then: it is the one that stops queries of
        # Polars, see `umbel.platforms.polars.abort`.
        while not never.wait(_LOOK):
            pass
    except KeyboardInterrupt:  # which SIGTERM is, too
        print("shutting down", file=sys.stderr, flush=True)


__all__ = ["coordinator_commands", "needed", "site_commands", "sites"]
