"""Serves a coordinator by HTTPS: always with TLS, from a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from types import TracebackType
from typing import Any, Self

import uvicorn

from umbel.federation.coordinator.app import build
from umbel.federation.coordinator.coordinator import Coordinator
from umbel.federation.errors import FederationError
from umbel.telemetry.logs import say

log = logging.getLogger("umbel.coordinator")

#: Seconds between looks at whether the server's certificate is to be renewed.
_RENEWAL = 3600.0
#: The same after it went wrong.
_RETRY = 60.0
#: Seconds that requests have to end when the server is closed.
_GRACE = 5
#: Turns of its loop that a connection takes to be closed, and some more.
_TURNS = 10


class _Server(uvicorn.Server):  # type: ignore[misc]
    """Uvicorn, without connections that outlive it."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the connections, and drop those whose other side does not answer to that."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            transport: Any = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        for _ in range(_TURNS):  # of the loop: the transports are closed in the next ones
            await asyncio.sleep(0)


class Server:
    """A coordinator that listens.

    Args:
        coordinator: what is served; the server does not close it.
        host, port: where to listen; port 0 takes a free one.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self, coordinator: Coordinator, host: str | None = None, port: int | None = None
    ) -> None:
        listen = coordinator.settings.listen
        self._coordinator = coordinator
        self._socket = _bound(
            listen[0] if host is None else host, listen[1] if port is None else port
        )
        self.port: int = self._socket.getsockname()[1]
        certificate, key = coordinator.server_certificate()
        config = uvicorn.Config(
            build(coordinator),
            ssl_certfile=certificate,
            ssl_keyfile=key,
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
            log_config=None,  # its own would print tracebacks with their messages
            log_level="warning",
            access_log=False,  # paths name runs, and headers hold tokens
            server_header=False,
            ws="none",
            lifespan="off",
        )
        config.load()
        self._loaded = certificate.read_bytes()
        tls: Any = config.ssl
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self._tls: ssl.SSLContext = tls
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._serve, name="umbel-https", daemon=True)
        self._closed = threading.Event()
        self._renewal = threading.Thread(target=self._renew, name="umbel-renewal", daemon=True)

    def start(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        self._renewal.start()
        return self

    def close(self) -> None:
        """Stop to listen; requests have a few seconds to end."""
        self._closed.set()
        self._server.should_exit = True
        self._coordinator.runs.hang_up()
        end = time.monotonic() + _GRACE
        while self._thread.is_alive():
            self._thread.join(0.05)
            # Connections that nobody uses are not waited for.
            if not self._server.server_state.tasks or time.monotonic() > end:
                self._server.force_exit = True
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def _renew(self) -> None:
        """Take up new certificates in time; connections of people keep the one that they have."""
        pause, loaded = 0.0, self._loaded
        while not self._closed.wait(pause):
            pause = _RENEWAL
            try:
                certificate, key = self._coordinator.server_certificate()
                content = certificate.read_bytes()
                # Only if it is new: a handshake at the same moment may see half of it.
                if content != loaded:
                    self._tls.load_cert_chain(certificate, key)
                    loaded = content
                self._coordinator.renew_endpoint()
            except (FederationError, OSError, ssl.SSLError) as error:
                say(
                    log,
                    logging.ERROR,
                    "certificate",
                    "one of the server's is not renewed",
                    cause=error,
                )
                pause = _RETRY
            for found in self._coordinator.certificates():
                if found["late"]:
                    what, days = found["what"], found["days"]
                    say(log, logging.WARNING, "certificate", found["hint"], what=what, days=days)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(1024)
    except OSError as error:
        made.close()
        raise FederationError(
            f"cannot listen at {host}:{port}: {error.strerror}",
            hint="another process may have the port; choose another in the configuration",
        ) from None
    return made


__all__ = ["Server"]
