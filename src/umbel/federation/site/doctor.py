"""Looks for what would keep a site from its work, and says it in words."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from umbel.api.located import written_at
from umbel.api.session import Session
from umbel.dataclass import dataclass
from umbel.federation.identity.keys import key_fingerprint
from umbel.federation.rules import Form
from umbel.federation.site.settings import SiteSettings
from umbel.federation.site_config import read_site
from umbel.federation.wire.connection import Connection, SiteIdentity
from umbel.plan.errors import UmbelError

_FINE = "the line is fine now"
#: Bytes that should be free where results wait.
_ROOM = 2**30


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: the thing.
        good: whether it is as it should be.
        text: what was found.
        hint: what to do.
    """

    what: str
    good: bool
    text: str
    hint: str = ""


def examine(path: str | os.PathLike[str]) -> Iterator[Finding]:
    """Look at all that a site needs; the coordinator is dialled, but no word is said to it."""
    try:
        settings = SiteSettings.read(path)
    except UmbelError as error:
        yield Finding("configuration", False, error.message, error.hint)
        return
    yield Finding("configuration", True, f"{settings.file} is that of site {settings.name!r}")
    identity = None
    try:
        identity = SiteIdentity.read(settings.folder)
        identity.check()
        days = (identity.certificate.own.not_valid_after_utc - datetime.now(UTC)).days
        named = identity.site == settings.name
        text = f"of {identity.site!r}, for {days} more days; it renews itself"
        hint = "" if named else "write the certificate's name into [site]"
        yield Finding("certificate", named, text, hint)
        pin = key_fingerprint(identity.certificate.public_key)
        yield Finding("key", True, f"{pin}; other sites may pin it under [peers]")
    except UmbelError as error:
        yield Finding("certificate", False, error.message, error.hint)
    if identity is not None:
        connection = Connection(identity, settings.coordinator)
        said = connection.diagnose()
        connection.close()
        good = said == _FINE
        text = f"{settings.coordinator} answers" if good else f"{settings.coordinator}: {said}"
        hint = "" if good else "is the coordinator running, and does the firewall let us out?"
        yield Finding("coordinator", good, text, hint)
    yield _room(settings.folder)
    yield from _tables(settings)


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    return Finding(
        "disk",
        free >= _ROOM,
        f"{free / 1e9:,.1f} GB are free in {folder}",
        "" if free >= _ROOM else "results wait there until the coordinator has them",
    )


def _tables(settings: SiteSettings) -> Iterator[Finding]:
    try:
        with written_at(None):
            site = read_site(settings.file, session=Session(progress=False))
    except UmbelError as error:
        yield Finding("tables", False, error.message, error.hint)
        return
    if not site.tables:
        yield Finding("tables", False, "nothing is published", "write [tables.NAME]")
    for name, table in sorted(site.tables.items()):
        columns = len(table.schema)
        if table.rule.form is Form.NOTHING:
            hint = 'form = "aggregates" or "rows" lets something out'
            yield Finding(
                f"table {name}", True, f"{columns} columns, of which nothing leaves", hint
            )
        else:
            text = f"{columns} columns, of which {table.rule.form.value} leave"
            yield Finding(f"table {name}", True, text)


__all__ = ["Finding", "examine"]
