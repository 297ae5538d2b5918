"""What a site's process must know beside what the site publishes: its folder, and whom it dials."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from umbel.api.toml import TomlFile
from umbel.dataclass import dataclass
from umbel.federation.identity.cards import check_pin
from umbel.federation.log_settings import TEMPLATE as LOG_TEMPLATE
from umbel.federation.log_settings import LogSection
from umbel.federation.site_config import SiteFile

#: The file's name in the folder that `umbel site join` makes.
FILE = "site.toml"


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError('write host:port, such as "umbel.example.org:8444"')
    return text


class AgentSection(BaseModel):
    """The process."""

    model_config = ConfigDict(extra="forbid", strict=True)
    coordinator: Annotated[str, AfterValidator(_address)] = Field(
        examples=['"umbel.example.org:8444"']
    )
    folder: str = "."
    slots: int = Field(default=2, ge=1, le=64)
    spool_bytes: int = Field(default=16 * 2**30, ge=2**20)
    listen: Annotated[str, AfterValidator(_address)] | None = None


class SiteProcessFile(SiteFile):
    """The whole file: `umbel.federation.site_config.SiteFile`, and the process."""

    model_config = ConfigDict(extra="forbid", strict=True)
    agent: AgentSection
    log: LogSection = LogSection()
    peers: dict[str, Annotated[str, AfterValidator(check_pin)]] | None = None
    routes: dict[str, Annotated[str, AfterValidator(_address)]] = Field(default_factory=dict)


@dataclass(frozen=True)
class SiteSettings:
    """A site's configuration that was read and checked.

    Attributes:
        file: where it stands.
        name: the site's.
        coordinator: where the coordinator waits for sites: host and port.
        folder: where the key, the certificate and results that wait lie.
        slots: tasks that run at the same time.
        spool_bytes: what results that wait may take on the disk.
        peers: fingerprints of the keys of the only other sites that are known, by name; None for
            all that have a certificate.
        listen: host and port of the door for what other sites bring straight; empty for none.
        routes: addresses of other sites' doors, by name.
        log: what is logged, and how.
    """

    file: Path
    name: str
    coordinator: str
    folder: Path
    slots: int
    spool_bytes: int
    peers: Mapping[str, str] | None = None
    listen: str = ""
    routes: Mapping[str, str] = field(default_factory=dict)
    log: LogSection = field(default_factory=LogSection)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> SiteSettings:
        """Read a file, or the one in a folder.

        Raises:
            SourceError: it is not there, or is no TOML.
            PlanError: a key that does not exist, is missing or has a wrong value; names the line
                and the key.
        """
        path = Path(path)
        found = path / FILE if path.is_dir() else path
        file = TomlFile.read(found, hint="umbel site join makes one")
        checked = file.validated(SiteProcessFile, hint="see docs: Configuration of a federation")
        agent = checked.agent
        folder = file.located(agent.folder)
        name = checked.site.name
        return cls(
            found,
            name,
            agent.coordinator,
            folder,
            agent.slots,
            agent.spool_bytes,
            checked.peers,
            agent.listen or "",
            checked.routes,
            checked.log,
        )


TEMPLATE = """\
# Configuration of a site. Check it: umbel config check {file}
# What is wrong: umbel site doctor {file}      Start: umbel site run {file}

[site]
# The name in the site's certificate.
name = "{name}"
# The line to the coordinator, for its plans: bytes a second, seconds there and back, and dollars
# for each 10^9 bytes that leave.
# bandwidth = 50_000_000.0
# latency = 0.01
# dollars_per_gb = 0.0

[agent]
# Where the coordinator waits for sites.
coordinator = "{address}"
# Where the site's key and certificate lie, and results until the coordinator has them.
folder = "."
# Tasks that run at the same time, and bytes of results that may wait.
slots = 2
spool_bytes = 17_179_869_184
# A door for what other sites bring straight; without it the site listens on nothing.
# listen = "0.0.0.0:8445"

# The keys of other sites, as their people told them (`umbel site doctor` there shows it). With
# this section results are sealed to these sites and taken from these sites only; without it the
# certificates that the coordinator issues are believed.
# [peers]
# hospital-b = "sha256:0123..."

# Where the doors of other sites are (`listen` there): what is sealed to them goes straight there,
# and by way of the coordinator only where that fails. Nobody is dialled who does not stand here.
# [routes]
# hospital-b = "umbel.hospital-b.example:8445"

# Where the data lies; secrets stand here by reference only: "env:NAME" or "file:/path".
# [catalog.ward]
# url = "postgresql://reader@localhost/ward"
# options = {{ password = "env:WARD_PASSWORD" }}

# What the federation may know of. Nothing leaves unless `form` says so.
# [tables.patients]
# from = "ward.public.patients"      # or: parquet = "patients/*.parquet", csv = "...", json = "..."
# form = "aggregates"                # rows, aggregates, or nothing
# min_individuals = 10               # an aggregate over fewer does not leave
# individual = "patient_id"          # of whom there must be so many
# to = ["*"]                         # the users who may ask
# sites = ["*"]                      # the other sites to which it may go on, sealed; [] for none
# tells_size = true                  # the federation may know about how many rows there are

# Where a column differs from what the other sites have:
# [tables.patients.columns]
# weight_kg = {{ from = "weight_g", factor = 0.001 }}

"""
TEMPLATE += LOG_TEMPLATE

__all__ = ["FILE", "TEMPLATE", "SiteSettings"]
