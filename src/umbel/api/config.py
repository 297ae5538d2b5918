"""The configuration file: what a session finds attached, in TOML, checked to the last key.

    [catalog.lake]                       # session.table("lake.orders")
    url = "s3://lake/"
    options = { region = "eu-west-1", secret_access_key = "env:LAKE_SECRET", ... }

    [platforms.big]                      # frame.on("big")
    url = "spark://host:7077"

`umbel.connect` reads the file that it is given, or `$UMBEL_CONFIG`, or `umbel.toml` in the working
folder. Secrets stand in it by reference only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

from umbel.api.session import CONFIG, CONFIG_FILE, Session
from umbel.api.toml import TomlFile
from umbel.catalog.address import is_secret
from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError, UmbelError

#: What an option may be in TOML.
Option = str | bool | int | float


@dataclass(frozen=True)
class Entry:
    """One `[catalog.NAME]` or `[platforms.NAME]`.

    Attributes:
        section: "catalog" or "platforms".
        name: its name.
        url: where it is; a path is relative to the file's folder.
        options: further parts of the address.
    """

    section: str
    name: str
    url: str
    options: Mapping[str, Option] = field(default_factory=dict)


@dataclass(frozen=True)
class Config:
    """A configuration file that was read and checked.

    Attributes:
        path: the file.
        entries: what it names, in its order.
        limits: bounds on the memory of runs, for sessions that were given none.
    """

    path: Path
    entries: tuple[Entry, ...]
    file: TomlFile | None = field(default=None, repr=False, compare=False)
    limits: Mapping[str, int] = field(default_factory=dict)

    def attach_to(self, session: Session) -> None:
        """Attach everything that the file names; nothing is connected before it is needed.

        Raises:
            PlanError: an entry that cannot be attached; names the file, the line and the entry.
        """
        session.memory_limit = session.memory_limit or self.limits.get("memory_limit")
        session.memory_budget = session.memory_budget or self.limits.get("memory_budget")
        for entry in self.entries:
            try:
                if entry.section == "catalog":
                    session.catalog.attach(entry.name, entry.url, **entry.options)
                else:
                    session.platforms().attach(entry.name, entry.url, **entry.options)
            except UmbelError as error:
                if self.file is None:
                    raise
                raise self.file.at((entry.section, entry.name), error) from error


def find_config(given: str | os.PathLike[str] | None = None) -> Path | None:
    """Find the file that a session reads; None if there is none.

    Args:
        given: the file that was asked for.
    """
    if given is not None:
        return Path(given)
    named = os.environ.get(CONFIG)
    if named:
        return Path(named)
    return Path(CONFIG_FILE) if os.path.exists(CONFIG_FILE) else None  # noqa: PTH110 (quick: always asked)


def read_config(path: str | os.PathLike[str]) -> Config:
    """Read and check a configuration file.

    Raises:
        SourceError: it cannot be read, or is no TOML.
        PlanError: a key that does not exist, is missing or has a wrong value, or a secret that
            stands in the file; names the file, the line and the key, and what exists.
    """
    file = TomlFile.read(path, hint=f"name a file that is there, or unset {CONFIG}")
    checked = _validated(file)
    limits = {name: size for name, size in checked["limits"].items() if size is not None}
    return Config(file.path, tuple(_entries(file, checked)), file, limits)


def _entries(file: TomlFile, checked: Mapping[str, Any]) -> Iterator[Entry]:
    for section in ("catalog", "platforms"):
        for name, entry in checked[section].items():
            refuse_secrets(file.place((section, name, "url")), entry["url"])
            file.check_secrets((section, name, "options"), entry["options"])
            url = entry["url"] if "://" in entry["url"] else str(file.located(entry["url"]))
            yield Entry(section, name, url, entry["options"])


def _validated(file: TomlFile) -> dict[str, Any]:
    from pydantic import BaseModel, ConfigDict, Field, StrictStr

    class EntryModel(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        url: StrictStr = Field(min_length=1, examples=['"scheme://…"'])
        options: dict[str, str | bool | int | float] = {}

    class LimitsModel(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        memory_limit: Annotated[int | None, Field(gt=0)] = None
        memory_budget: Annotated[int | None, Field(gt=0)] = None

    class FileModel(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        limits: LimitsModel = LimitsModel()
        catalog: dict[str, EntryModel] = {}
        platforms: dict[str, EntryModel] = {}

    checked = file.validated(
        FileModel,
        hint='an entry is [catalog.NAME] with url = "…" and options = { name = value, … }',
    )
    return checked.model_dump()


def refuse_secrets(place: str, url: str) -> None:
    """Raise `PlanError` for a URL with a secret in it; the message does not repeat it.

    Args:
        place: where the URL stands.
        url: the URL.
    """
    parts = urlsplit(url)
    shown = f"{parts.scheme}://…"
    if parts.password is not None:
        raise PlanError(
            f"{place}: a password stands in the URL {shown}",
            hint='options = { password = "env:NAME" } reads a variable of the environment, '
            '"file:/path" a file',
        )
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if is_secret(name) and not value.startswith(("env:", "file:")):
            raise PlanError(
                f"{place}: {name} stands in the URL {shown}",
                hint=f'options = {{ {name} = "env:NAME" }} reads a variable of the environment, '
                '"file:/path" a file',
            )


__all__ = ["Config", "Entry", "find_config", "read_config", "refuse_secrets"]
