"""URLs come apart, and their secrets show nowhere."""

from __future__ import annotations

import copy
import pickle

import pytest

from umbel.catalog.address import Address, Secret, is_secret
from umbel.plan.errors import PlanError

PASSWORD = "p@ss w:rd/ü"
QUOTED = "p%40ss%20w%3Ard%2F%C3%BC"


def test_a_url_comes_apart():
    address = Address.of("PostgreSQL://ann:x@db.example:5433/sales?sslmode=require", {"port": 1})
    assert (address.scheme, address.host, address.port) == ("postgresql", "db.example", 5433)
    assert (address.user, address.path) == ("ann", "/sales")
    assert address.options == {"sslmode": "require", "port": "1"}


def test_an_inline_password_is_split_off_and_never_shown():
    address = Address.of(f"postgresql://ann:{QUOTED}@db/sales?sslpassword=hush")
    assert address.secrets["password"].reveal() == PASSWORD
    assert address.secrets["sslpassword"].reveal() == "hush"
    shown = f"{address} {address!r} {address.secrets}"
    for secret in (PASSWORD, QUOTED, "hush"):
        assert secret not in shown
    assert str(address) == "postgresql://ann@db/sales"


def test_a_message_is_scrubbed_of_the_secret_in_every_spelling():
    address = Address.of(f"postgresql://ann:{QUOTED}@db/sales")
    text = address.scrub(f"no login: {PASSWORD}, {QUOTED}")
    assert text == "no login: ***, ***"


def test_references_are_read_when_used(tmp_path, monkeypatch):
    file = tmp_path / "secret"
    options = {"password": "env:UMBEL_TEST_SECRET", "sslpassword": f"file:{file}"}
    address = Address.of("postgresql://db/sales", options)
    with pytest.raises(PlanError, match="no variable 'UMBEL_TEST_SECRET'"):
        address.secrets["password"].reveal()
    with pytest.raises(PlanError, match="cannot be read: No such file"):
        address.secrets["sslpassword"].reveal()
    monkeypatch.setenv("UMBEL_TEST_SECRET", "one")
    file.write_text("two\n")
    assert [secret.reveal() for secret in address.secrets.values()] == ["one", "two"]


def test_a_secret_given_as_it_is_is_refused_without_repeating_it():
    with pytest.raises(PlanError, match="password is given by reference") as caught:
        Address.of("postgresql://db/sales", {"password": "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["orders.csv", "//host/x", "postgresql://ann:hunter2@[::1/x"])
def test_what_is_no_url_is_refused_without_repeating_it(url):
    with pytest.raises(PlanError, match="not a URL") as caught:
        Address.of(url)
    assert "hunter2" not in str(caught.value)


def test_a_secret_does_not_leave_its_process():
    secret = Secret("hunter2")
    with pytest.raises(TypeError, match="stays in its process"):
        pickle.dumps(secret)
    with pytest.raises(TypeError, match="stays in its process"):
        copy.copy(secret)
    assert repr(secret) == "Secret(***)"


@pytest.mark.parametrize(
    ("name", "secret"),
    [("password", True), ("secret_access_key", True), ("sas_token", True), ("key", True),
     ("sslmode", False), ("access_key_id", False), ("passfile", False), ("region", False)],
)  # fmt: skip
def test_which_options_are_secret(name, secret):
    assert is_secret(name) is secret
