"""URLs of databases and stores, and their secrets, which never show.

A secret is given by reference: `env:NAME` is a variable of the environment, `file:/path` a file.
A password inside a URL is taken too, and split off before anything else sees the URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError

#: Names of options that hold secrets.
_SECRET = re.compile(r"pass(word|phrase|wd)|secret|token|credential|private|api_?key|(^|_)key$|sas")
#: Names that the pattern takes for secrets, but which only say where one is.
_NO_SECRETS = frozenset({"passfile", "sslkey", "access_key_id", "aws_access_key_id"})
_HIDDEN = "***"


class Secret:
    """A value that is read when it is used, and never shown.

    >>> Secret.of("password", "env:HOME")
    Secret(env:HOME)
    >>> str(Secret("hunter2"))
    'Secret(***)'
    """

    def __init__(self, value: str | None = None, *, reference: str = "") -> None:
        self._value = value
        self.reference = reference

    @classmethod
    def of(cls, name: str, reference: Any) -> Secret:
        """Take a reference to a secret.

        Raises:
            PlanError: it is the secret itself; the message does not repeat it.
        """
        if isinstance(reference, Secret):
            return reference
        if isinstance(reference, str) and reference.startswith(("env:", "file:")):
            return cls(reference=reference)
        raise PlanError(
            f"{name} is given by reference, not as it is",
            hint=f"{name}='env:NAME' reads a variable of the environment, "
            f"{name}='file:/run/secrets/name' a file",
        )

    def reveal(self) -> str:
        """Give the value.

        Raises:
            PlanError: the variable or the file of the reference is not there.
        """
        if self._value is not None:
            return self._value
        kind, _, place = self.reference.partition(":")
        if kind == "env":
            if place not in os.environ:
                raise PlanError(f"the environment has no variable {place!r}, as a secret needs")
            return os.environ[place]
        try:
            return Path(place).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise PlanError(f"the secret in file {place} cannot be read: {reason}") from None

    def scrub(self, text: str) -> str:
        """Take the value out of a text, such as the message of a driver.

        >>> Secret("hunter2").scrub("no login with hunter2")
        'no login with ***'
        """
        try:
            value = self.reveal()
        except PlanError:
            return text
        for form in {value, quote(value, safe=""), quote(value)} - {""}:
            text = text.replace(form, _HIDDEN)
        return text

    def __repr__(self) -> str:
        return f"Secret({self.reference or _HIDDEN})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret stays in its process")


@dataclass(frozen=True)
class Address:
    """A URL in its parts, without its secrets.

    Attributes:
        scheme: what stands before `://`.
        host, port, user: who is spoken to, and as whom; host may be empty.
        path: what follows the host, with its first slash.
        options: what follows the `?`, and the options given beside the URL.
        secrets: by name; a password in the URL is "password".
    """

    scheme: str
    host: str = ""
    port: int | None = None
    user: str = ""
    path: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str, options: Mapping[str, Any] | None = None) -> Address:
        """Take a URL apart.

        Args:
            url: scheme://user:password@host:port/path?option=value.
            options: more of what could follow the `?`; they win. Secrets among them are
                references.

        Raises:
            PlanError: it is no URL; the message repeats no secret.

        >>> address = Address.of("postgresql://ann:hunter2@db:5433/sales?sslmode=require")
        >>> print(address, address.secrets)
        postgresql://ann@db:5433/sales?sslmode=require {'password': Secret(***)}
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise PlanError(
                "not a URL: its host or port cannot be read",
                hint="write it as scheme://user@host:port/path",
            ) from None
        if not parts.scheme:
            raise PlanError(
                "not a URL: nothing says what it is for",
                hint="write it as scheme://user@host:port/path, such as postgresql://ann@db/sales",
            )
        secrets: dict[str, Secret] = {}
        if parts.password is not None:
            secrets["password"] = Secret(unquote(parts.password))
        found: dict[str, str] = {}
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if not is_secret(name):
                found[name] = value
            elif value.startswith(("env:", "file:")):
                secrets[name] = Secret(reference=value)
            else:
                secrets[name] = Secret(value)
        for name, value in (options or {}).items():
            if is_secret(name):
                secrets[name] = Secret.of(name, value)
            else:
                found[name] = value if isinstance(value, str) else str(value)
        host = unquote(parts.hostname or "")
        user = unquote(parts.username or "")
        return cls(parts.scheme.lower(), host, port, user, unquote(parts.path), found, secrets)

    def scrub(self, text: str) -> str:
        """Take all secrets out of a text."""
        for secret in self.secrets.values():
            text = secret.scrub(text)
        return text

    def __str__(self) -> str:
        place = f"[{self.host}]" if ":" in self.host else quote(self.host)
        place += f":{self.port}" if self.port is not None else ""
        user = f"{quote(self.user, safe='')}@" if self.user else ""
        options = f"?{urlencode(dict(self.options))}" if self.options else ""
        return f"{self.scheme}://{user}{place}{quote(self.path)}{options}"


def is_secret(name: str) -> bool:
    """Whether an option of this name holds a secret.

    >>> is_secret("sslpassword"), is_secret("sslmode")
    (True, False)
    """
    return name not in _NO_SECRETS and _SECRET.search(name.lower()) is not None


__all__ = ["Address", "Secret", "is_secret"]
