"""A site's settings in TOML: what it has attached, what it publishes, and under which rules.

    [site]
    name = "hospital-a"

    [catalog.ward]                          # as in umbel.toml
    url = "postgresql://reader@localhost/ward"
    options = { password = "env:WARD_PASSWORD" }

    [tables.patients]
    from = "ward.public.patients"           # or parquet = "patients/*.parquet", csv = …
    form = "aggregates"                     # rows, aggregates, or nothing (which is the default)
    min_individuals = 10
    individual = "patient_id"
    tells_size = true

    [tables.patients.columns]               # where they differ from what the others have
    weight = { from = "weight_g", factor = 0.001 }

Secrets stand in it by reference only.
"""

from __future__ import annotations

import os
import secrets
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from umbel.api.dataframe import DataFrame
from umbel.api.session import Session, connect
from umbel.api.toml import TomlFile
from umbel.catalog.address import Secret
from umbel.federation.identity.keys import read_secret, write_secret
from umbel.federation.manifest import Link
from umbel.federation.publishing import Mapped, Site
from umbel.federation.rules import Form, Rule
from umbel.plan.errors import PlanError, UmbelError

_READERS = {
    "parquet": "read_parquet",
    "csv": "read_csv",
    "json": "read_json",
    "ipc": "read_ipc",
    "delta": "read_delta",
}


#: What a table says of what may leave where no policy does.
_OF_RULES = frozenset(
    {"form", "min_individuals", "individual", "to", "resident", "sites", "updates"}
)


#: The file with a site's own key of pseudonyms, beside its settings.
PSEUDONYM_KEY = "pseudonym.key"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SiteSection(_Strict):
    """The site itself, and what connects it."""

    name: str = Field(examples=['"hospital-a"'])
    bandwidth: float = Field(default=Link.bandwidth, gt=0)
    latency: float = Field(default=Link.latency, ge=0)
    dollars_per_gb: float = Field(default=0.0, ge=0)
    policy: str | None = None
    owner: str | None = Field(default=None, examples=['"ed25519:…"'])
    pseudonym_key: str | None = Field(default=None, examples=['"file:/path"'])


class EntrySection(_Strict):
    """What is attached under a name."""

    url: str = Field(min_length=1, examples=['"postgresql://user@host/database"'])
    options: dict[str, str | bool | int | float] = {}


class ColumnSection(_Strict):
    """How a published column is made."""

    from_: str = Field(default="", alias="from")
    factor: float | int | None = None
    offset: float | int | None = None
    type: str | None = None


class TableSection(_Strict):
    """A published table."""

    from_: str | None = Field(default=None, alias="from")
    parquet: str | None = None
    csv: str | None = None
    json_: str | None = Field(default=None, alias="json")
    ipc: str | None = None
    delta: str | None = None
    form: Literal["rows", "aggregates", "nothing"] = "nothing"
    min_individuals: int = Field(default=10, ge=1)
    individual: str = ""
    to: list[str] = ["*"]
    resident: bool = False
    sites: list[str] = ["*"]
    updates: int = Field(default=0, ge=0)
    tells_size: bool = False
    only: list[str] | None = None
    columns: dict[str, ColumnSection] = {}


class SiteFile(_Strict):
    """All settings of a site that planning and running need; others stand beside them."""

    model_config = ConfigDict(extra="ignore", strict=True)
    site: SiteSection
    catalog: dict[str, EntrySection] = {}
    tables: dict[str, TableSection] = {}
    routes: dict[str, str] = {}


def read_site(
    path: str | os.PathLike[str],
    *,
    name: str = "",
    session: Session | None = None,
    governed: bool = True,
) -> Site:
    """Read a site's settings, attach its sources, and publish its tables.

    Args:
        path: the file; paths in it are relative to its folder.
        name: what the site has to be called; empty takes the file's word.
        session: what is to run the work there; None makes one of the installed engines.
        governed: put the tables under the policy that the file names, if it names one.

    Raises:
        IdentityError: the policy is not as its owner has signed it, or older than one before.
        SourceError: the file cannot be read, or a source of a table.
        PlanError: a key is wrong; names the file, the line and the key.
    """
    file = TomlFile.read(path)
    settings = file.validated(SiteFile)
    about = settings.site
    if name and about.name != name:
        place = file.place(("site", "name"))
        raise PlanError(f"{place}: the site is called {about.name!r}, not {name!r}")
    session = session or connect()
    for entry_name, entry in settings.catalog.items():
        file.check_secrets(("catalog", entry_name, "options"), entry.options)
        url = entry.url if "://" in entry.url else str(file.located(entry.url))
        _at(
            file,
            ("catalog", entry_name),
            lambda n=entry_name, u=url, e=entry: session.catalog.attach(n, u, **e.options),
        )
    link = Link(about.bandwidth, about.latency, about.dollars_per_gb)
    site = Site(about.name, session, link=link, routes=sorted(settings.routes))
    for table_name, table in settings.tables.items():
        _at(
            file,
            ("tables", table_name),
            lambda n=table_name, t=table: _publish(site, file, n, t),
        )
    if about.policy is not None and governed:
        _put_under(site, file, settings)
    return site


def _put_under(site: Site, file: TomlFile, settings: SiteFile) -> None:
    """Put what a site publishes under its owner's policy."""
    from umbel.federation.policy.signing import put_in_force, read_signed

    about = settings.site
    for name, table in settings.tables.items():
        for key in sorted(_OF_RULES & table.model_fields_set):
            raise PlanError(
                f"{file.place(('tables', name, key))}: the policy says what may leave, not {key}",
                hint=f"take {key} out, or site.policy",
            )
    if about.owner is None:
        raise PlanError(
            f"{file.place(('site', 'policy'))}: a policy is signed, and its owner is not named",
            hint='write owner = "ed25519:…" as umbel policy keys shows it',
        )
    policy = read_signed(file.located(about.policy or ""), about.owner)
    site.under(policy)
    if any(table.pseudonym for table in policy.tables.values()):
        site.pseudonym_key = _pseudonym_key(file, about.pseudonym_key)
    put_in_force(policy, file.path.absolute().parent)


def _pseudonym_key(file: TomlFile, reference: str | None) -> bytes:
    """The key of pseudonyms: the one that is referred to, or the site's own, made when needed.

    Raises:
        PlanError: what is referred to is not there, or is no key.
        IdentityError: others can read the site's own.
    """
    from umbel.federation.execution.pseudonyms import KEY_BYTES

    where = file.place(("site", "pseudonym_key"))
    if reference is not None:
        text = Secret.of("pseudonym_key", reference).reveal()
    else:
        path = file.path.absolute().parent / PSEUDONYM_KEY
        if not path.exists():
            write_secret(path, secrets.token_hex(KEY_BYTES).encode())
        text = read_secret(path).decode("ascii", "replace")
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) < KEY_BYTES:
        raise PlanError(
            f"{where}: the key of pseudonyms is {KEY_BYTES} bytes or more, as hexadecimal digits",
            hint=f"openssl rand -hex {KEY_BYTES}; without pseudonym_key the site makes its own",
        )
    return key


def _publish(site: Site, file: TomlFile, name: str, table: TableSection) -> None:
    mapping = {
        column: Mapped(made.from_, made.factor, made.offset, made.type)
        for column, made in table.columns.items()
    }
    rule = Rule(
        Form(table.form),
        table.min_individuals,
        table.individual,
        tuple(table.to),
        table.resident,
        tuple(table.sites),
        table.updates,
    )
    site.publish(
        name,
        _frame(site.session, file, table),
        rule,
        mapping=mapping,
        columns=table.only,
        tells_size=table.tells_size,
    )


def _frame(session: Session, file: TomlFile, table: TableSection) -> DataFrame:
    given = table.model_dump(by_alias=True)
    named = [kind for kind in ("from", *_READERS) if given[kind] is not None]
    if len(named) != 1:
        raise PlanError(
            "a table has one source",
            hint=f"write one of: from, {', '.join(_READERS)}",
        )
    (kind,) = named
    if kind == "from":
        return session.table(given[kind])
    path = given[kind] if "://" in given[kind] else str(file.located(given[kind]))
    frame: DataFrame = getattr(session, _READERS[kind])(path)
    return frame


def _at(file: TomlFile, keys: tuple[str, ...], work: Any) -> None:
    """Do some work; an error of it names the place in the file."""
    try:
        work()
    except UmbelError as error:
        raise file.at(keys, error) from error


__all__ = ["SiteFile", "read_site"]
