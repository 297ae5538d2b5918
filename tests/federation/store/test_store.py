"""The coordinator's store, the same on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from tests import postgres_server
from tests.federation.harness import task
from umbel.federation.access import Role, TokenRecord
from umbel.federation.errors import FederationError, IdentityError
from umbel.federation.identity import Authority, Certificate, Invitation
from umbel.federation.identity.keys import new_key
from umbel.federation.store import SegmentRecord, Store
from umbel.federation.store.schema import METADATA
from umbel.federation.tasks import Failure, FailureCode, Outcome

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
OUTCOME = Outcome(1, 8, 0.5, "SELECT 1")
SEGMENT = SegmentRecord("ab" * 32, 3, 1, b"abc")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path_factory.mktemp('store')}/coordinator.db"
    else:
        with postgres_server.server().fresh() as found:
            yield found


@pytest.fixture(scope="module")
def store(url: str) -> Iterator[Store]:
    opened = Store.open(url)
    opened.claim()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("ca"), "north")


def certificate(authority: Authority, site: str) -> Certificate:
    return authority.issue_site(site, new_key().public_key())


def test_the_migrations_make_the_tables_that_the_code_knows(store: Store) -> None:
    with store.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_an_invitation_is_used_once_also_by_eight_at_once(
    store: Store, authority: Authority
) -> None:
    invitation, _ = Invitation.make("once", "https://c:1", "ab", now=NOW)
    store.members.invite(invitation)
    assert store.members.invitation(invitation.id) == invitation
    certificates = [certificate(authority, "once") for _ in range(8)]
    words: list[str] = []

    def join(given: Certificate) -> None:
        try:
            store.members.join(invitation.id, given)
        except IdentityError as error:
            words.append(error.message)
        else:
            words.append(given.serial)

    threads = [threading.Thread(target=join, args=(one,)) for one in certificates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (serial,) = [word for word in words if "used already" not in word]
    assert len(words) == 8
    store.members.check("once", serial)
    assert store.members.invitation(invitation.id) is None


def test_revocation_holds_at_once_and_rejoining_does_not_bring_the_old_one_back(
    store: Store, authority: Authority
) -> None:
    first, second = certificate(authority, "site-r"), certificate(authority, "site-r")
    with pytest.raises(IdentityError, match="issued no such certificate"):
        store.members.check("site-r", first.serial)
    store.members.admit(first)
    store.members.check("site-r", first.serial)
    with pytest.raises(IdentityError, match="issued no such certificate"):
        store.members.check("another", first.serial)
    assert store.members.revoke("site-r")
    assert not store.members.revoke("site-r")
    with pytest.raises(IdentityError, match="'site-r' was revoked"):
        store.members.check("site-r", first.serial)
    with pytest.raises(IdentityError, match="'site-r' was revoked"):
        store.members.renew(second)
    invitation, _ = Invitation.make("site-r", "https://c:1", "ab", now=NOW)
    store.members.invite(invitation)
    store.members.join(invitation.id, second)
    store.members.check("site-r", second.serial)
    with pytest.raises(IdentityError, match="this certificate of site 'site-r' was revoked"):
        store.members.check("site-r", first.serial)


def test_saying_hello_by_a_renewed_certificate_ends_the_older(
    store: Store, authority: Authority
) -> None:
    first, second = certificate(authority, "site-n"), certificate(authority, "site-n")
    store.members.admit(first)
    store.members.renew(second)
    store.members.check("site-n", first.serial)
    store.members.saw("site-n", second.serial, "0.1", 12.5, 0.02)
    store.members.publish("site-n", "{}")
    with pytest.raises(IdentityError, match="certificate of site 'site-n' was revoked"):
        store.members.check("site-n", first.serial)
    site = store.members.site("site-n")
    assert site is not None
    assert (site.version, site.clock_ahead, site.round_trip) == ("0.1", 12.5, 0.02)
    assert site.manifest == "{}"
    assert site in store.members.sites()


def test_tokens_come_back_as_they_were(store: Store) -> None:
    expires = NOW + timedelta(days=1)
    token = TokenRecord("t1", "ann", "cd" * 32, (Role.ANALYST, Role.AUDITOR), expires)
    store.tokens.add(token)
    assert store.tokens.get("t1") == token
    assert store.tokens.all() == [token]
    assert store.tokens.revoke("t1")
    assert not store.tokens.revoke("t1")
    found = store.tokens.get("t1")
    assert found is not None
    assert found.revoked
    assert store.tokens.get("' OR 1=1 --") is None


def test_a_task_is_committed_once_and_stays_done(store: Store) -> None:
    work = task("r-commit", 1, 10)
    assert store.tasks.submit(work).state == "waiting"
    store.tasks.lease(work.id, 1, 5.0)
    answers: list[bool] = []

    def commit() -> None:
        answers.append(store.tasks.commit(work.id, [SEGMENT], OUTCOME))

    threads = [threading.Thread(target=commit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 5 + [True]
    for change in (store.tasks.wait, store.tasks.cancel):
        change(work.id)
    store.tasks.fail(work.id, Failure(FailureCode.PERMANENT, "late"))
    record = store.tasks.submit(work)
    assert (record.state, record.outcome, record.failure) == ("done", OUTCOME, None)
    assert store.tasks.segments(work.id) == [SEGMENT]
    assert store.tasks.of_run("r-commit") == [record]
    store.tasks.undo(work.id)
    assert store.tasks.submit(work).state == "waiting"
    assert store.tasks.forget("r-commit") == [work.id]
    assert store.tasks.get(work.id) is None
    assert store.tasks.segments(work.id) == []


def test_a_task_that_failed_may_be_asked_for_anew(store: Store) -> None:
    work = task("r-fail", 1, 10)
    store.tasks.submit(work)
    failure = Failure(FailureCode.RESOURCE, "the site's disk is full")
    store.tasks.fail(work.id, failure)
    found = store.tasks.get(work.id)
    assert found is not None
    assert (found.state, found.failure) == ("failed", failure)
    assert not store.tasks.commit(work.id, [], OUTCOME)
    assert store.tasks.submit(work).state == "waiting"


def test_two_coordinators_do_not_share_a_store(url: str, store: Store) -> None:
    other = Store.open(url)
    with pytest.raises(FederationError, match=r"a coordinator is running on .* already"):
        other.claim()
    work = task("r-two", 1, 10)
    with pytest.raises(FederationError, match="another coordinator has taken over"):
        other.tasks.submit(work)
    # One whose lock was lost, as by a broken connection, is fenced by the number of the start.
    store.tasks.submit(work)
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE coordinator SET epoch = epoch + 1"))
    with pytest.raises(FederationError, match="another coordinator has taken over"):
        store.tasks.commit(work.id, [], OUTCOME)
    other.close()
    store.close()
    store.claim()
    assert store.tasks.commit(work.id, [], OUTCOME)


def test_a_store_of_a_newer_umbel_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    Store.open(f"sqlite:///{path}").close()
    assert path.stat().st_mode & 0o077 == 0
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(FederationError, match="a newer umbel wrote"):
        Store.open(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("sqlite://", "in memory"),
        ("mysql://u:secret@h/d", "cannot be kept in 'mysql'"),
        ("nonsense", "URL is none"),
        ("sqlite:////nowhere/at/all.db", "cannot open the store"),
        ("postgresql://u:secret@127.0.0.1:1/d", "cannot open the store"),
    ],
)
def test_urls_that_are_none_are_named_without_their_password(url: str, word: str) -> None:
    with pytest.raises(FederationError, match=word) as caught:
        Store.open(url)
    assert "secret" not in str(caught.value)


def test_sqlite_keeps_what_is_committed_through_a_power_cut(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/c.db")
    levels = {}
    for durable in (True, False):
        with store.database.write(durable=durable) as connection:
            levels[durable] = connection.exec_driver_sql("PRAGMA synchronous").scalar()
    with store.database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert levels == {True: 2, False: 1}  # FULL and NORMAL
    store.close()
