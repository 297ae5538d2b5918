"""The port for sites gets a new certificate while sites are connected, and nobody loses anything."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

from cryptography import x509

from tests.federation.harness import Federation, compute, federation, numbers, settles, task


def shown(of: Federation) -> int:
    """The serial number of the certificate that the port shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", of.endpoint.port), timeout=30) as plain,
        context.wrap_socket(plain) as line,
    ):
        found = line.getpeercert(binary_form=True)
    assert found is not None
    return x509.load_der_x509_certificate(found).serial_number


def test_a_new_certificate_while_a_site_waits_and_while_it_works():
    """The agent comes back by itself: the same session, the same lease, each task begun once."""
    with federation() as made:
        begun, go = threading.Event(), threading.Event()

        def held(task, inputs, cancellation, deliver):
            if task.stage == 1:
                begun.set()
                assert go.wait(60)
            return compute(task, inputs, cancellation, deliver, pieces=8)

        made.agent("a", held)
        first = task("r", 0, 1000)
        assert made.run(first).equals(numbers(first))
        port, before = made.endpoint.port, shown(made)
        work = task("r", 1, 300_000)
        running = made.begin(work)
        assert begun.wait(30)
        made.endpoint.renew()
        go.set()
        assert running.result(60).equals(numbers(work))
        assert made.endpoint.port == port
        assert shown(made) == made.endpoint.certificate.own.serial_number != before
        assert {record.attempts for record in made.store.tasks.of_run("r")} == {1}
        settles(lambda: made.endpoint.presence("a").connected, 30)


def test_renewal_is_due_after_two_thirds_of_its_life():
    with federation() as made:
        certificate = made.endpoint.certificate
        life = timedelta(days=90)
        left = certificate.own.not_valid_after_utc - datetime.now(UTC)
        assert life - timedelta(minutes=1) < left <= life
        due = certificate.renewal - datetime.now(UTC)
        assert timedelta(days=59) < due < timedelta(days=61)
