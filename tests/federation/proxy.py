"""A proxy between a site and its coordinator that cuts, hangs and delays what goes through it."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Forwards connections to an address.

    Attributes:
        address: where to dial instead.
        carried: bytes that went through, both ways.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._open = threading.Event()
        self._open.set()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.carried = 0
        #: After so many more bytes all connections are cut; once.
        self.cut_after: int | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def hang(self) -> None:
        """Forward nothing more, and keep all connections, as a broken route does."""
        self._open.clear()

    def heal(self) -> None:
        """Forward again."""
        self._open.set()

    def cut(self) -> None:
        """Cut all connections."""
        with self._lock:
            cut, self._sockets = self._sockets, set()
        for one in cut:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._open.set()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # it is closed
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()  # nobody listens there, as yet
                continue
            with self._lock:
                self._sockets |= {near, far}
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError), source, sink:
            while content := source.recv(65_536):
                self._open.wait()
                self.carried += len(content)
                if self.cut_after is not None and self.carried >= self.cut_after:
                    self.cut_after = None
                    self.cut()
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)
