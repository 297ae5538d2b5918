"""Who is let in, and to do what."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import pytest
from pyarrow import flight

import umbel as ub
from umbel.door.server import Door

TOKEN = "correct-horse-battery-staple"
HEADER = "adbc.flight.sql.authorization_header"


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    (tmp_path / "token").write_text(TOKEN + "\n")
    return f"file:{tmp_path}/token"


@pytest.fixture
def guarded(session: ub.Session, token_file: str) -> Iterator[Door]:
    with session.serve(port=0, token=token_file) as made:
        yield made


def count(url: str, **options: Any) -> int:
    with (
        adbc.connect(url, db_kwargs=options, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("select count(*) from letters")
        ((rows,),) = cursor.fetchall()
        return int(rows)


def test_the_token_comes_as_bearer_or_as_a_password(guarded: Door) -> None:
    assert count(guarded.url, **{HEADER: f"Bearer {TOKEN}"}) == 3
    assert count(guarded.url, username="anybody", password=TOKEN) == 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {HEADER: "Bearer wrong"},
        {HEADER: f"Bearer {TOKEN}x"},
        {HEADER: "Bearer "},
        {HEADER: TOKEN},
        {HEADER: "Basic not base64"},
        {"username": "anybody", "password": "wrong"},
        {"username": TOKEN, "password": ""},
    ],
)
def test_no_token_or_a_wrong_one_is_refused(guarded: Door, options: dict[str, str]) -> None:
    with pytest.raises(adbc_driver_manager.Error, match=r"(?i)token") as caught:
        count(guarded.url, **options)
    assert TOKEN not in str(caught.value)


def test_every_call_needs_the_token(guarded: Door) -> None:
    with flight.connect(guarded.url) as client:
        descriptor = flight.FlightDescriptor.for_command(b"x")
        for call in (
            lambda: client.get_flight_info(descriptor),
            lambda: client.get_schema(descriptor),
            lambda: client.do_get(flight.Ticket(b"x")).read_all(),
            lambda: list(client.list_flights()),
            lambda: list(client.list_actions()),
            lambda: list(client.do_action("CancelFlightInfo")),
        ):
            # What pyarrow raises for streams is an OSError.
            with pytest.raises((flight.FlightUnauthenticatedError, OSError), match="no token"):
                call()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.org"])
def test_other_addresses_need_a_certificate_and_a_token(session: ub.Session, host: str) -> None:
    with pytest.raises(ub.PlanError, match="needs a certificate and a token"):
        session.serve(host=host, port=0)


def test_settings_that_cannot_work(session: ub.Session, token_file: str, tmp_path: Path) -> None:
    (tmp_path / "short").write_text("abc")
    for options, says in (
        ({"host": "0.0.0.0", "token": token_file}, r"needs a certificate\n"),
        ({"token": "as-it-is-in-the-open"}, "by reference"),
        ({"token": f"file:{tmp_path}/short"}, "shorter than 16"),
        ({"token": "env:NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE"),
        ({"certificate": "cert.pem"}, "go together"),
        ({"certificate": "none.pem", "key": "none.pem"}, "cannot read none.pem"),
        ({"statements": 0}, "too few"),
        ({"timeout": -1}, "within -1"),
    ):
        with pytest.raises(ub.UmbelError, match=says) as caught:
            session.serve(port=0, **options)
        assert "as-it-is-in-the-open" not in str(caught.value)


def test_a_port_that_is_taken(guarded: Door, session: ub.Session) -> None:
    with pytest.raises(ub.SourceError, match=f"cannot listen on 127.0.0.1:{guarded.port}"):
        session.serve(port=guarded.port)


def test_tls(session: ub.Session, token_file: str, tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    with session.serve(
        host="0.0.0.0", port=0, token=token_file, certificate=certificate, key=key
    ) as door:
        assert door.url == f"grpc+tls://0.0.0.0:{door.port}"
        url = f"grpc+tls://127.0.0.1:{door.port}"
        roots = {"adbc.flight.sql.client_option.tls_root_certs": certificate.read_text()}
        assert count(url, username="u", password=TOKEN, **roots) == 3
        with pytest.raises(adbc_driver_manager.Error):
            count(url, username="u", password=TOKEN)  # nobody has signed it
        with pytest.raises(adbc_driver_manager.Error):
            count(f"grpc://127.0.0.1:{door.port}", username="u", password=TOKEN)


def test_writing_is_let_in_only_if_allowed(session: ub.Session, folder: Path) -> None:
    statements = (
        "create table shop.made as select 1 as a",
        "insert into shop.orders values (9, 'x')",
    )
    with (
        session.serve(port=0) as door,
        adbc.connect(door.url, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        for text in statements:
            with pytest.raises(adbc_driver_manager.Error, match="--allow-writes"):
                cursor.execute(text)
        with pytest.raises(adbc_driver_manager.Error, match="--allow-writes"):
            cursor.executemany("insert into shop.orders values (?, ?)", [(9, "x")])
    assert session.sql("select count(*) as n from shop.orders").collect()["n"].to_pylist() == [3]
    with (
        session.serve(port=0, allow_writes=True) as door,
        adbc.connect(door.url, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("create table shop.made as select id, customer from shop.orders")
        assert cursor.fetchall() == [("shop.made", 3)]
        cursor.execute("select * from shop.made")
        assert len(cursor.fetchall()) == 3
        cursor.executemany("insert into shop.made values (?, ?)", [(7, "it's"), (8, None)])
        cursor.execute("select customer from shop.made where id > 6 order by id")
        assert cursor.fetchall() == [("it's",), (None,)]
        with pytest.raises(adbc_driver_manager.Error, match="writes nothing"):
            cursor.executemany("select ?", [(1,)])


def _certificate(folder: Path) -> tuple[Path, Path]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
