"""What goes from a site's network namespace: every packet, and what TLS hides, in clear.

A tap is a coordinator's door for a site whose keys the test has: it ends TLS on both sides, so what
the site says is there to be read. A wire listens to the link itself, so that nothing goes by the
tap.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tests.federation.harness import Federation
from umbel.federation.identity.keys import new_key, write_key

_ALL_PROTOCOLS = 3  # ETH_P_ALL
_OUTGOING = 4  # PACKET_OUTGOING
_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD
_TCP = 6
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA = 0


class Tap:
    """Forwards a site's connections to an endpoint, and keeps what the site says.

    Attributes:
        address: where the site dials.
        tables: how many were in what `heard` gave: whoever hears none has not listened.
    """

    def __init__(self, federation: Federation, site: Path, host: str) -> None:
        key = new_key()
        folder = federation.folder / "tap"
        folder.mkdir()
        issued = federation.authority.issue_server("coordinator", key.public_key(), [host])
        write_key(folder / "tap.key", key)
        (folder / "tap.pem").write_bytes(issued.pem())
        self._door = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=site / "root.pem")
        self._door.verify_mode = ssl.CERT_REQUIRED
        self._door.load_cert_chain(folder / "tap.pem", folder / "tap.key")
        self._dial = ssl.create_default_context(cafile=site / "root.pem")
        self._dial.load_cert_chain(site / "site.pem", site / "site.key")
        for context in (self._door, self._dial):
            context.set_alpn_protocols(["h2"])
        self._port = federation.endpoint.port
        self._listener = socket.create_server((host, 0))
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self.tables = 0
        self._said: list[bytearray] = []
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return  # it is closed
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError):
            near = self._door.wrap_socket(plain, server_side=True)
            far = self._dial.wrap_socket(
                socket.create_connection(("127.0.0.1", self._port)), server_hostname="127.0.0.1"
            )
            said = bytearray()
            with self._lock:
                self._said.append(said)
            # One thread for each way; OpenSSL lets one read while the other writes.
            threading.Thread(target=self._pump, args=(far, near, None), daemon=True).start()
            self._pump(near, far, said)

    @staticmethod
    def _pump(source: ssl.SSLSocket, sink: ssl.SSLSocket, said: bytearray | None) -> None:
        with contextlib.suppress(OSError), source, sink:
            while content := source.recv(65_536):
                if said is not None:
                    said += content
                sink.sendall(content)

    def heard(self) -> Iterator[bytes]:
        """All that the site has said: as it came, put together, and as Arrow shows it."""
        with self._lock:
            every = [bytes(said) for said in self._said]
        for said in every:
            yield said
            for content in messages(said):
                yield content
                for table in _tables(content):
                    self.tables += 1
                    yield repr(table.to_pydict()).encode()
                    for column in table.columns:
                        for chunk in column.chunks:
                            yield from (b.to_pybytes() for b in chunk.buffers() if b is not None)

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()


def messages(said: bytes) -> Iterator[bytes]:
    """The content of each stream of an HTTP/2 connection, whose frames cut it anywhere (RFC 9113)."""
    if not said.startswith(_PREFACE):
        raise AssertionError("a site says something that is no HTTP/2")
    position = len(_PREFACE)
    streams: dict[int, bytearray] = {}
    while position + 9 <= len(said):
        length = int.from_bytes(said[position : position + 3], "big")
        kind, flags = said[position + 3], said[position + 4]
        stream = int.from_bytes(said[position + 5 : position + 9], "big") & 0x7FFFFFFF
        content = said[position + 9 : position + 9 + length]
        if kind == _DATA:
            if flags & 0x8:  # padded
                content = content[1 : len(content) - content[0]]
            streams.setdefault(stream, bytearray()).extend(content)
        position += 9 + length
    yield from map(bytes, streams.values())


def _tables(content: bytes) -> Iterator[pa.Table]:
    """Arrow files in a message; their buffers are as they were before compression."""
    start = content.find(b"ARROW1\0\0")
    while start >= 0:
        end = content.find(b"ARROW1", start + 8)
        while end >= 0:
            with contextlib.suppress(pa.ArrowInvalid, OSError):
                with pa.ipc.open_file(pa.py_buffer(content[start : end + 6])) as reader:
                    yield reader.read_all()
                break
            end = content.find(b"ARROW1", end + 1)
        start = content.find(b"ARROW1\0\0", start + 8)


class Wire:
    """Listens to all packets of a network interface; `other` are those that go not to an address."""

    def __init__(self, interface: str, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._to = (socket.inet_aton(host), int(port))
        self._socket = socket.socket(
            socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS)
        )
        self._socket.bind((interface, 0))
        self._socket.settimeout(0.2)
        self.other: list[str] = []
        self.packets = self.bytes = 0
        self.raw = bytearray()
        self._open = True
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while self._open:
            try:
                packet, (_, _, direction, _, _) = self._socket.recvfrom(65_536)
            except TimeoutError:
                continue
            if direction == _OUTGOING:
                continue  # to the site
            self.packets += 1
            self.bytes += len(packet)
            self.raw += packet
            self._look(packet)

    def _look(self, packet: bytes) -> None:
        kind = struct.unpack("!H", packet[12:14])[0]
        if kind in (_ARP, _IPV6):  # who has an address; IPv6 has no route here, and says so
            return
        if kind == _IPV4 and packet[23] == _TCP:
            start = 14 + (packet[14] & 15) * 4
            port = struct.unpack("!H", packet[start + 2 : start + 4])[0]
            if (packet[30:34], port) == self._to:
                return
        self.other.append(packet[:80].hex())

    def close(self) -> None:
        """Listen no more."""
        self._open = False
        self._thread.join()
        self._socket.close()
