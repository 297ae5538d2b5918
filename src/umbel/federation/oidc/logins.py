"""Logins that are kept: one file for each coordinator, which only its owner can read."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any

from umbel.dataclass import dataclass
from umbel.federation.errors import IdentityError, ProviderError
from umbel.federation.identity.keys import write_secret
from umbel.federation.oidc import grants
from umbel.federation.oidc.provider import Metadata, Provider, checked_url

#: Seconds before its end at which a token is renewed, and the part of its life that is at most.
_EARLY, _PART = 60.0, 0.2
_VERSION = 1
_LONGEST = 256 * 1024


@dataclass(frozen=True)
class Login:
    """Somebody's login at a coordinator.

    Attributes:
        url: the coordinator's.
        root: its authority's certificate, as PEM: whom to believe that they are it.
        issuer: the provider's.
        token: where the provider gives tokens.
        revocation: where it takes them back; empty if nowhere.
        client: the client's id at the provider.
        kind: which token goes to the coordinator: "access" or "id".
        word: that token.
        due: when to renew it, in seconds since 1970, by this machine's clock.
        ends: until when it holds.
        refresh: gets the next one.
    """

    url: str
    root: str
    issuer: str
    token: str
    revocation: str
    client: str
    kind: str
    word: str = field(repr=False)
    due: float
    ends: float
    refresh: str = field(repr=False)

    @classmethod
    def begin(
        cls, url: str, root: bytes, found: Metadata, client: grants.Client, grant: grants.Grant
    ) -> Login:
        """Make a login of what a provider gave."""
        made = cls(
            url, root.decode(), found.issuer, found.token, found.revocation, client.id,
            client.kind, "", 0.0, 0.0, "",
        )  # fmt: skip
        return made.after(grant)

    def after(self, grant: grants.Grant) -> Login:
        """The login with what a provider gave."""
        ends = time.time() + grant.seconds
        due = ends - min(_EARLY, _PART * grant.seconds)
        return replace(self, word=grant.word, due=due, ends=ends, refresh=grant.refresh)


class Logins:
    """The logins of this user, in a folder.

    Args:
        folder: where they lie; None for the user's own, which XDG_CONFIG_HOME may move.
    """

    def __init__(self, folder: Path | None = None) -> None:
        base = os.environ.get("XDG_CONFIG_HOME")
        own = (Path(base) if base else Path.home() / ".config") / "umbel" / "logins"
        self.folder = folder or own

    def path(self, url: str) -> Path:
        """The file of a coordinator's login."""
        return self.folder / f"{hashlib.sha256(url.rstrip('/').encode()).hexdigest()[:32]}.json"

    def find(self, url: str) -> Login | None:
        """Give the login at a coordinator; None if there is none.

        Raises:
            IdentityError: others can read it, or it is none.
        """
        path = self.path(url)
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise IdentityError(f"cannot read {path}: {error.strerror}") from None
        if os.name == "posix" and mode & 0o077:
            raise IdentityError(
                f"others can read your login {path}", hint="umbel logout URL; then log in anew"
            )
        try:
            found = json.loads(content[:_LONGEST])
            if found.pop("version") != _VERSION:
                raise ValueError
            login = Login(**found)
            if any(type(value) is not _FIELDS[name] for name, value in asdict(login).items()):
                raise TypeError
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            raise IdentityError(f"{path} holds no login", hint="umbel login URL") from None
        return login

    def keep(self, login: Login) -> None:
        """Keep a login.

        Raises:
            IdentityError: it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise IdentityError(f"cannot make {self.folder}: {error.strerror}") from None
        content = json.dumps({"version": _VERSION, **asdict(login)}, indent=1)
        write_secret(self.path(login.url), content.encode())

    def forget(self, url: str) -> bool:
        """Forget a login; give whether there was one."""
        path = self.path(url)
        there = path.exists()
        path.unlink(missing_ok=True)
        return there

    @contextmanager
    def alone(self, url: str) -> Iterator[None]:
        """Keep other processes from renewing a login, for a provider takes a refresh token once."""
        try:
            import fcntl
        except ImportError:  # not a POSIX system: the last one wins
            yield
            return
        with self.path(url).with_suffix(".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


_FIELDS = {name: float if name in ("due", "ends") else str for name in Login.__dataclass_fields__}


class Bearer:
    """The token of a login, renewed in time; safe to use from several threads and processes.

    Args:
        logins: where it is kept.
        login: as it was found.
    """

    def __init__(self, logins: Logins, login: Login) -> None:
        self._logins = logins
        self._login = login
        self._lock = threading.Lock()

    def word(self) -> str:
        """Give the token, a new one if it ends soon.

        Raises:
            IdentityError: the login has ended.
            ProviderError: the provider does not answer, and the token has ended.
        """
        with self._lock:
            if time.time() < self._login.due:
                return self._login.word
            with self._logins.alone(self._login.url):
                # Another process may have renewed it, or logged out.
                found = self._logins.find(self._login.url)
                if found is None:
                    raise IdentityError(
                        "you have logged out", hint=f"umbel login {self._login.url}"
                    )
                self._login = found
                if time.time() >= found.due:
                    self._renew()
            return self._login.word

    def _renew(self) -> None:
        login = self._login
        if not login.refresh:
            if time.time() < login.ends:
                return
            raise IdentityError("your login has ended", hint=f"umbel login {login.url}")
        provider = Provider(login.issuer)
        client = grants.Client(login.client, login.kind, (), {})
        try:
            plain = login.issuer.startswith("http:")
            url = checked_url(login.token, "where the provider gives tokens", plain=plain)
            grant = grants.renewed(provider, url, client, login.refresh)
        except ProviderError:
            if time.time() < login.ends:
                return  # it holds still
            raise
        finally:
            provider.close()
        self._login = login.after(grant)
        self._logins.keep(self._login)

    def __repr__(self) -> str:
        return f"Bearer({self._login.url})"


def log_out(logins: Logins, url: str) -> bool:
    """Forget a login, and ask the provider to; give whether there was one.

    Raises:
        IdentityError: others could read it; it is forgotten here, but not at the provider.
        ProviderError: it is forgotten here, but the provider does not answer.
    """
    try:
        login = logins.find(url)
    finally:
        logins.forget(url)
    if login is None:
        return False
    if login.revocation and login.refresh:
        provider = Provider(login.issuer)
        try:
            _revoke(provider, login)
        finally:
            provider.close()
    return True


def _revoke(provider: Provider, login: Login) -> None:
    plain = login.issuer.startswith("http:")
    url = checked_url(login.revocation, "where the provider takes tokens back", plain=plain)
    form: dict[str, Any] = {
        "token": login.refresh,
        "token_type_hint": "refresh_token",
        "client_id": login.client,
    }
    status, _ = provider.post(url, form)
    if status != 200:
        raise ProviderError(
            f"the provider {login.issuer} answers {status}",
            hint="the login is forgotten here; end it at the provider, too",
        )


__all__ = ["Bearer", "Login", "Logins", "log_out"]
