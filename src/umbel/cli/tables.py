"""`umbel tables` and `umbel config check`: what a configuration names, and whether it is right."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from umbel.api.catalog import TableDescription, TableList
from umbel.api.config import find_config, read_config
from umbel.api.session import CONFIG, CONFIG_FILE, Session
from umbel.api.toml import TomlFile
from umbel.plan.errors import PlanError


def show_tables(name: str | None, describe: str | None, config: Path | None) -> None:
    """List the tables of what is configured, or say what is known of one.

    Args:
        name: list those of this entry only.
        describe: a table.
        config: the configuration; None looks where sessions look.

    Raises:
        PlanError: nothing is configured.
    """
    found = find_config(config)
    if found is None:
        raise PlanError(
            "nothing is configured",
            hint=f'write {CONFIG_FILE} with [catalog.NAME] and url = "…", or name a file by '
            f"{CONFIG} or --config",
        )
    session = Session(progress=False)
    read_config(found).attach_to(session)
    if describe is not None:
        _show(session.catalog.describe(describe))
    else:
        _show(session.catalog.tables(name))


def show_policies(name: str | None, url: str, token: str | None) -> None:
    """Say what of the tables of a federation may leave their sites, and for whom.

    Args:
        name: say it of this table only.
        url: of the coordinator.
        token: a reference to one; None takes the one of a login.
    """
    from umbel.cli.federation import needed

    needed()
    from umbel.federation.client import connect_to
    from umbel.federation.policy.rights import shown

    with connect_to(url, token=token, progress=False) as session:
        found = {
            (site["name"], table["name"]): table["policy"]
            for site in session.sites()
            for table in site["tables"]
            if name in (None, table["name"], f"{site['name']}.{table['name']}")
        }
    if not found:
        raise PlanError(
            f"no site publishes {name!r}" if name else "no site publishes anything",
            hint=f"umbel sites {url} lists them",
        )
    print(shown(found))


def check_config(file: Path) -> None:
    """Check a configuration: that it can be read, and that each entry can be attached.

    Nothing is connected to.
    """
    kind = _kind(file)
    if kind is not None:
        print(f"{file}: fine, a {kind}'s; nothing was connected to")
        return
    config = read_config(file)
    config.attach_to(Session(progress=False))
    for entry in config.entries:
        print(f"{entry.section}.{entry.name}: fine")
    print(f"{file}: fine, {len(config.entries)} entries; nothing was connected to")


def _kind(file: Path) -> str | None:
    """Check the configuration of a federation's process; None if it is a session's."""
    sections = TomlFile.read(file).data
    if "coordinator" in sections:
        from umbel.federation.coordinator.settings import CoordinatorSettings

        CoordinatorSettings.read(file)
        return "coordinator"
    if "site" in sections or "agent" in sections:
        from umbel.federation.site.settings import SiteSettings

        SiteSettings.read(file)
        return "site"
    return None


def _show(what: TableList | TableDescription) -> None:
    console = Console()
    if console.is_terminal:
        console.print(what)
    else:
        print(what)
