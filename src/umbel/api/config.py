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

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from umbel.api.session import CONFIG, CONFIG_FILE, Session
from umbel.catalog.address import Secret, is_secret
from umbel.plan.errors import PlanError, SourceError, UmbelError

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
    """

    path: Path
    entries: tuple[Entry, ...]
    text: str = field(default="", repr=False, compare=False)

    def attach_to(self, session: Session) -> None:
        """Attach everything that the file names; nothing is connected before it is needed.

        Raises:
            PlanError: an entry that cannot be attached; names the file, the line and the entry.
        """
        for entry in self.entries:
            try:
                if entry.section == "catalog":
                    session.catalog.attach(entry.name, entry.url, **entry.options)
                else:
                    session.platforms().attach(entry.name, entry.url, **entry.options)
            except UmbelError as error:
                place = _place(self.path, self.text, (entry.section, entry.name))
                raise _at(place, error) from error


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
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise SourceError(
            f"{file}: the configuration cannot be read: {error.strerror}",
            hint=f"name a file that is there, or unset {CONFIG}",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SourceError(f"{file}: not TOML: {error}", hint="see https://toml.io") from None
    return Config(file, tuple(_entries(file, text, data)), text)


def _entries(file: Path, text: str, data: dict[str, Any]) -> Iterator[Entry]:
    checked = _validated(file, text, data)
    for section in ("catalog", "platforms"):
        for name, entry in checked[section].items():
            place = _place(file, text, (section, name, "url"))
            _refuse_secrets(place, entry["url"])
            for option, value in entry["options"].items():
                if is_secret(option):
                    here = _place(file, text, (section, name, "options", option))
                    try:
                        Secret.of(option, value)
                    except PlanError as error:
                        raise _at(here, error) from None
            yield Entry(section, name, _located(file, entry["url"]), entry["options"])


def _validated(file: Path, text: str, data: dict[str, Any]) -> dict[str, Any]:
    from pydantic import BaseModel, ConfigDict, Field, StrictStr, ValidationError

    class EntryModel(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        url: StrictStr = Field(min_length=1)
        options: dict[str, str | bool | int | float] = {}

    class FileModel(BaseModel):
        model_config = ConfigDict(extra="forbid", strict=True)
        catalog: dict[str, EntryModel] = {}
        platforms: dict[str, EntryModel] = {}

    try:
        return FileModel.model_validate(data).model_dump()
    except ValidationError as errors:
        first = errors.errors(include_input=False, include_url=False)[0]
    keys = tuple(str(part) for part in first["loc"] if not _is_branch(part))
    place, key = _place(file, text, keys), ".".join(keys)
    match first["type"]:
        case "extra_forbidden":
            known = list(FileModel.model_fields if len(keys) == 1 else EntryModel.model_fields)
            close = difflib.get_close_matches(keys[-1], known, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise PlanError(
                f"{place}: unknown key {key}", hint=f"{meant}There are: {', '.join(known)}"
            )
        case "missing":
            raise PlanError(
                f"{place}: key {key} is missing", hint=f'write {keys[-1]} = "scheme://…"'
            )
    raise PlanError(
        f"{place}: key {key}: {first['msg'][:1].lower()}{first['msg'][1:]}",
        hint='an entry is [catalog.NAME] with url = "…" and options = { name = value, … }',
    )


def _is_branch(part: Any) -> bool:
    """Whether a part of pydantic's place is the member of a union that it tried, and no key."""
    return part in {"str", "bool", "int", "float"}


def _refuse_secrets(place: str, url: str) -> None:
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


def _located(file: Path, url: str) -> str:
    """Take a path relative to the folder of the file that says it."""
    return url if "://" in url else str(file.absolute().parent / Path(url).expanduser())


def _place(file: Path, text: str, keys: tuple[str, ...]) -> str:
    """Name the file and, if it can be told, the line in which a key stands."""
    line = _line(text, keys)
    return f"{file}, line {line}" if line else str(file)


def _line(text: str, keys: tuple[str, ...]) -> int:
    """Find the line of a key: under the longest header that leads to it. 0 if there is none."""
    best = 0
    section: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$", line)
        if header:
            section = tuple(part.strip().strip("\"'") for part in header.group(1).split("."))
            if section[: len(keys)] == keys:
                return number
            if section == keys[: len(section)]:
                best = number
            continue
        rest = keys[len(section) :]
        if section != keys[: len(section)] or not rest:
            continue
        name = re.match(r"\s*[\"']?([\w-]+)[\"']?\s*[.=]", line)
        if name and name.group(1) == rest[0]:
            return number
    return best


def _at(place: str, error: UmbelError) -> UmbelError:
    kind = type(error) if _plain(error) else PlanError
    return kind(f"{place}: {error.message}", hint=error.hint)


def _plain(error: UmbelError) -> bool:
    """Whether an error is made of a message and a hint, as most are."""
    return type(error).__init__ is UmbelError.__init__


__all__ = ["Config", "Entry", "find_config", "read_config"]
