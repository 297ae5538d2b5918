"""The coordinator's configuration: one commented TOML file, checked to the last key."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from umbel.api.config import refuse_secrets
from umbel.api.toml import TomlFile
from umbel.catalog.address import Secret
from umbel.federation.coordinator.oidc_settings import OidcSection
from umbel.federation.errors import IdentityError
from umbel.federation.identity.names import check_name
from umbel.federation.log_settings import TEMPLATE as LOG_TEMPLATE
from umbel.federation.log_settings import LogSection
from umbel.plan.errors import PlanError

#: The file's name in the folder that `umbel coordinator init` makes.
FILE = "coordinator.toml"


def _name(text: str) -> str:
    try:
        return check_name(text, "coordinator")
    except IdentityError as error:
        raise ValueError(f"{error.message}; {error.hint}") from None


def split_address(text: str) -> tuple[str, int]:
    """Read host and port, as of "127.0.0.1:8443" or "[::1]:8443".

    Raises:
        ValueError: it is no such address.

    >>> split_address("[::1]:8443")
    ('::1', 8443)
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError('write host:port, such as "0.0.0.0:8443"')
    return host, int(port)


def _listen(text: str) -> str:
    split_address(text)
    return text


Address = Annotated[str, AfterValidator(_listen)]
Name = Annotated[str, AfterValidator(_name)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CoordinatorSection(_Section):
    """What the coordinator is, and where it is reached."""

    name: Name = Field(default="coordinator", examples=['"coordinator"'])
    folder: str = Field(min_length=1, examples=['"."'])
    hosts: list[Annotated[str, Field(min_length=1)]] = Field(
        min_length=1, examples=['["umbel.example.org"]']
    )
    listen: Address = "127.0.0.1:8443"
    sites: Address = "127.0.0.1:8444"
    store: str = ""
    runs: str = ""


class LimitsSection(_Section):
    """What users may take of the coordinator."""

    runs: int = Field(default=8, ge=1, le=256)
    seconds: float = Field(default=3600.0, gt=0)
    plan_bytes: int = Field(default=16 * 2**20, ge=1024)
    upload_bytes: int = Field(default=256 * 2**20, ge=1024)
    uploads_bytes: int = Field(default=2**30, ge=1024)
    result_bytes: int = Field(default=8 * 2**30, ge=1024)
    keep_seconds: float = Field(default=600.0, gt=0)
    keep_days: float = Field(default=30.0, gt=0)
    memory_bytes: int | None = Field(default=None, ge=2**20)


class AttachedSection(_Section):
    """A database or folder of the coordinator's own."""

    url: str = Field(min_length=1, examples=['"scheme://…"'])
    options: dict[str, str | bool | int | float] = {}


class CoordinatorFile(_Section):
    """The whole file."""

    coordinator: CoordinatorSection
    limits: LimitsSection = LimitsSection()
    oidc: OidcSection | None = None
    log: LogSection = LogSection()
    catalog: dict[str, AttachedSection] = {}


class CoordinatorSettings:
    """A coordinator's configuration that was read and checked.

    Attributes:
        file: where it stands.
        name: the coordinator's, in its certificate.
        folder: where authority, key, store and results lie.
        hosts: the names and addresses at which it is reached, the first before all.
        listen: where people and tools reach it, by HTTPS: host and port.
        sites: where sites reach it, by Arrow Flight: host and port.
        limits: what users may take.
        oidc: the provider whose logins count here; None if only tokens do.
        log: what is logged, and how.
        catalog: databases and folders of its own: URL and options by name.
    """

    def __init__(self, file: TomlFile) -> None:
        checked = file.validated(CoordinatorFile, hint="see docs: Configuration of a federation")
        section = checked.coordinator
        self.file = file
        self.name = section.name
        self.folder: Path = file.located(section.folder)
        self.hosts = tuple(section.hosts)
        self.listen = split_address(section.listen)
        self.sites = split_address(section.sites)
        self.limits = checked.limits
        self.log = checked.log
        self.oidc = None if checked.oidc is None else checked.oidc.checked(file)
        self._store, self._runs = section.store, section.runs
        for host in self.hosts:
            if "://" in host or "/" in host:
                raise PlanError(
                    f"{file.place(('coordinator', 'hosts'))}: {host!r} is no host",
                    hint="write names or addresses alone, without https:// and without a port",
                )
        for key, url in (("store", self._store), ("runs", self._runs)):
            if url and not url.startswith(("env:", "file:")):
                refuse_secrets(file.place(("coordinator", key)), url)
        self.catalog: dict[str, tuple[str, dict[str, str | bool | int | float]]] = {}
        for name, entry in checked.catalog.items():
            keys = ("catalog", name)
            refuse_secrets(file.place((*keys, "url")), entry.url)
            file.check_secrets((*keys, "options"), entry.options)
            url = entry.url if "://" in entry.url else str(file.located(entry.url))
            self.catalog[name] = url, entry.options

    @classmethod
    def read(cls, path: str | Path) -> CoordinatorSettings:
        """Read a file, or the one in a folder.

        Raises:
            SourceError: it is not there, or is no TOML.
            PlanError: a key that does not exist, is missing or has a wrong value, or a secret
                that stands in the file; names the line and the key.
        """
        path = Path(path)
        found = path / FILE if path.is_dir() else path
        return cls(TomlFile.read(found, hint="umbel coordinator init FOLDER makes one"))

    @property
    def authority(self) -> Path:
        """The folder of the certificate authority."""
        return self.folder / "authority"

    @property
    def url(self) -> str:
        """Where people and tools reach it."""
        return f"https://{_shown(self.hosts[0])}:{self.listen[1]}"

    @property
    def store_url(self) -> str:
        """The SQLAlchemy URL of the store; it may hold a password, so it is shown nowhere."""
        if not self._store:
            return f"sqlite:///{self.folder / 'state.db'}"
        return _revealed("store", self._store)

    @property
    def runs_place(self) -> str:
        """Where runs are kept, as `umbel.executor.runs.RunStore` takes it; may hold a password."""
        return _revealed("runs", self._runs) if self._runs else str(self.folder / "runs")


def _revealed(key: str, url: str) -> str:
    if url.startswith(("env:", "file:")):
        return Secret.of(key, url).reveal()
    return url


def _shown(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host


TEMPLATE = """\
# Configuration of a coordinator. Check it: umbel config check {file}
# Start the coordinator: umbel coordinator serve {file}

[coordinator]
# The name in its certificate: small letters, digits, hyphens.
name = "{name}"
# Where its authority, keys, state and results lie; relative to this file.
folder = "."
# Names and addresses at which sites and people reach it; the first is the one that they are told.
hosts = [{hosts}]
# Where people and tools reach it, by HTTPS.
listen = "{listen}"
# Where sites reach it, by Arrow Flight with mutual TLS.
sites = "{sites}"
# State lies in SQLite in the folder. For PostgreSQL name a variable or a file that holds the URL:
# store = "env:UMBEL_STORE"        # postgresql+psycopg://umbel:…@db/umbel
# Runs are kept in the folder too, so that they go on after a restart. In PostgreSQL they need a
# folder beside it for what their stages gave:
# runs = "env:UMBEL_RUNS_STORE"    # postgresql://umbel:…@db/umbel?folder=/var/lib/umbel/runs

[limits]
# Runs at the same time; others wait.
runs = 8
# Seconds that a run may take.
seconds = 3600.0
# Bytes of a plan, of one table that a client sends, and of all of them, which stay in memory.
plan_bytes = 16_777_216
upload_bytes = 268_435_456
uploads_bytes = 1_073_741_824
# Bytes of the results that wait to be fetched, and seconds that they wait.
result_bytes = 8_589_934_592
keep_seconds = 600.0
# Days for which runs that are over are remembered.
keep_days = 30.0

# Let people log in at an OpenID provider (umbel login URL), beside those who have tokens.
# [oidc]
# issuer = "https://login.example.org/realms/umbel"
# client_id = "umbel"                 # a public client: no secret
# audience = "umbel"                  # for whom tokens must be; the client's id if left out
# user_claim = "sub"                  # one that is unique, and that users cannot change
# roles_claims = ["groups"]
# [oidc.roles]                        # which groups of the provider have which role here
# analyst = ["umbel-analysts"]
# operator = ["umbel-operators"]

# Databases and folders of the coordinator's own; every user with the role analyst may read them.
# [catalog.reference]
# url = "postgresql://reader@db/reference"
# options = {{ password = "env:REFERENCE_PASSWORD" }}

"""
TEMPLATE += LOG_TEMPLATE

__all__ = ["FILE", "TEMPLATE", "CoordinatorSettings", "LimitsSection", "split_address"]
