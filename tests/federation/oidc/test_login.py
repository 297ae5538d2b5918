"""Logging in at a provider, and asking a coordinator as whoever did."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import umbel as ub
from tests.federation.oidc.provider import TestProvider, serving
from umbel.cli.login import login as login_command
from umbel.cli.login import logout as logout_command
from umbel.federation.access import Role
from umbel.federation.client.login import log_in, root_of
from umbel.federation.coordinator import Coordinator, CoordinatorSettings, Server, create
from umbel.federation.errors import AccessError, IdentityError
from umbel.federation.oidc.grants import Prompt
from umbel.federation.oidc.logins import Bearer, Logins
from umbel.plan.errors import PlanError

SECTION = """
[oidc]
issuer = "{issuer}"
client_id = "umbel-client"
audience = "umbel"

[oidc.roles]
analyst = ["umbel-analysts"]
auditor = ["umbel-analysts", "umbel-auditors"]
"""


@dataclass
class Open:
    """A coordinator that listens, and the provider whose logins it takes."""

    coordinator: Coordinator
    url: str
    provider: TestProvider

    @property
    def root(self) -> bytes:
        return self.coordinator.authority.root_pem()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    with serving(TestProvider()) as provider:
        folder = tmp_path_factory.mktemp("oidc") / "c"
        create(folder, "north", ["localhost"], listen="127.0.0.1:0", sites="127.0.0.1:0")
        with (folder / "coordinator.toml").open("a") as file:
            file.write(SECTION.format(issuer=provider.url))
        coordinator = Coordinator.open(CoordinatorSettings.read(folder), serving=False)
        with Server(coordinator) as server:
            yield Open(coordinator, f"https://localhost:{server.port}", provider)
        coordinator.close()


@pytest.fixture
def at(both: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """The same, with nobody logged in, and the provider as it was at first."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("UMBEL_TOKEN", raising=False)
    provider = both.provider
    provider.user, provider.seconds, provider.pending = "ann", 300.0, 1
    provider.claims = {"groups": ["umbel-analysts"]}
    provider.asked.clear()
    return both


def by_device(at: Open) -> list[Prompt]:
    shown: list[Prompt] = []
    log_in(at.url, at.root, shown.append)
    return shown


def test_by_a_code_for_a_device(at: Open) -> None:
    assert by_device(at) == [Prompt(f"{at.provider.url}/code", "WDJB-MJHT")]
    device = "urn:ietf:params:oauth:grant-type:device_code"
    assert at.provider.asked.count(device) == 2  # one of them in vain
    file = Logins().path(at.url)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    with ub.connect(at.url, progress=False) as session:  # type: ignore[attr-defined]
        assert (session.user, session.roles) == ("ann", ("analyst", "auditor"))
        assert session.from_dict({"a": [1, 2]}).count() == 2
        assert session.sites() == []
        kept = Logins().find(at.url)
        assert kept is not None
        for shown in (repr(session), repr(session.connection), repr(kept)):
            assert kept.word not in shown
            assert kept.refresh not in shown
    # Tokens of the coordinator's own are taken beside.
    _, word = at.coordinator.new_token("bob", [Role.VIEWER])
    with ub.connect(at.url, token=word.encode()) as session:  # type: ignore[attr-defined]
        assert session.user == "bob"


def test_by_a_browser(at: Open) -> None:
    """It comes back to a port of this machine; what does not know our state is none of ours."""
    answers: list[int] = []

    def browse(prompt: Prompt) -> None:
        def go() -> None:
            with httpx.Client(trust_env=False) as browser:
                back = httpx.URL(prompt.url).params["redirect_uri"]
                forged = [back + query for query in ("?code=evil&state=x", "?code=evil", "icon")]
                answers.extend(browser.get(url).status_code for url in forged)
                answers.append(browser.get(prompt.url, follow_redirects=True).status_code)

        threading.Thread(target=go, daemon=True).start()

    known = log_in(at.url, at.root, browse, browser=True)
    assert known["user"] == "ann"
    assert answers[:3] == [400, 400, 400]


def test_a_token_is_renewed_once_for_all_who_use_it(at: Open) -> None:
    """A refresh token is taken once: threads and other processes must not use it twice."""
    at.provider.seconds = 0.001
    by_device(at)
    at.provider.seconds = 300.0
    logins = Logins()
    first = logins.find(at.url)
    assert first is not None
    bearers = [Bearer(logins, first) for _ in range(4)]
    words: list[str] = []
    threads = [threading.Thread(target=lambda b=b: words.append(b.word())) for b in bearers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(words) == 4
    assert len(set(words)) == 1
    assert at.provider.asked.count("refresh_token") == 1
    last = logins.find(at.url)
    assert last is not None
    assert last.word == words[0] != first.word
    assert last.refresh != first.refresh


def test_a_login_that_has_ended(at: Open) -> None:
    at.provider.seconds = 0.001
    by_device(at)
    at.provider.refreshing.clear()
    with pytest.raises(IdentityError, match="your login has ended"):
        ub.connect(at.url)


def test_logging_out(at: Open, capsys: pytest.CaptureFixture[str]) -> None:
    by_device(at)
    kept = Logins().find(at.url)
    assert kept is not None
    logout_command(at.url)
    assert kept.refresh in at.provider.revoked
    assert not Logins().path(at.url).exists()
    logout_command(at.url)
    assert capsys.readouterr().out == f"logged out\nnobody is logged in to {at.url} here\n"
    with pytest.raises(IdentityError, match="nobody is known here"):
        ub.connect(at.url)


def test_who_may_not(at: Open) -> None:
    at.provider.pending = -1
    with pytest.raises(IdentityError, match="the login was refused"):
        by_device(at)
    at.provider.pending, at.provider.claims = 0, {"groups": ["others"]}
    with pytest.raises(AccessError, match="'ann' is known, but has no role here"):
        by_device(at)
    assert Logins().find(at.url) is None


def test_the_coordinator_is_vouched_for(at: Open, capsys: pytest.CaptureFixture[str]) -> None:
    """By a fingerprint, a file, or a person: never by whoever answers."""
    with pytest.raises(IdentityError, match="not the one that this fingerprint is for"):
        root_of(at.url, ca=None, authority="0" * 64)
    with pytest.raises(PlanError, match="nothing vouches for the certificate"):
        login_command(at.url)  # there is no person at standard input
    assert at.provider.asked == []
    login_command(at.url, authority=at.coordinator.authority.fingerprint)
    shown = capsys.readouterr()
    assert shown.out == "logged in to 'north' as ann (analyst, auditor)\n"
    assert "type the code WDJB-MJHT" in shown.err
    login_command(at.url)  # it is known from now on


def test_files_that_are_no_logins(at: Open) -> None:
    by_device(at)
    logins = Logins()
    file = logins.path(at.url)
    good = json.loads(file.read_text())
    wrong: list[Any] = [[], {}, {**good, "version": 2}, {**good, "more": 1}, {**good, "ends": "x"}]
    for content in wrong:
        file.write_text(json.dumps(content))
        with pytest.raises(IdentityError, match="holds no login"):
            logins.find(at.url)
    file.chmod(0o644)
    with pytest.raises(IdentityError, match="others can read your login"):
        ub.connect(at.url)


def test_a_stolen_coordinator_cannot_send_us_anywhere(at: Open) -> None:
    """Where tokens are renewed stands in the login's file, which nobody else writes; and checked."""
    at.provider.seconds = 0.001
    by_device(at)
    file = Logins().path(at.url)
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "token": "http://192.0.2.1/token"}))
    with pytest.raises(IdentityError, match="not a plain https"):
        ub.connect(at.url)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('issuer = "{issuer}"', 'issuer = "http://login.example.org"', "issuer is not a plain"),
        ("analyst =", "analist =", "'analist' is no role"),
        ('client_id = "umbel-client"', "", "client_id"),
        ("[oidc.roles]", "leeway_seconds = 3600.0\n[oidc.roles]", "leeway_seconds"),
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, old: str, new: str, match: str) -> None:
    section = SECTION.replace(old, new).replace("{issuer}", "https://login.example.org")
    create(tmp_path / "c", "north", ["localhost"], listen="127.0.0.1:0", sites="127.0.0.1:0")
    file = tmp_path / "c" / "coordinator.toml"
    file.write_text(file.read_text() + section)
    with pytest.raises(PlanError, match=match) as caught:
        CoordinatorSettings.read(file)
    assert "coordinator.toml" in str(caught.value)
