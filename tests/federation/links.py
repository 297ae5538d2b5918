"""Sites in network namespaces of their own, behind links of some speed and delay.

Speed is the kernel's (`tc tbf`, both ways); delay is a proxy's at the coordinator's end, for not
every kernel has netem. All of it needs root, and a kernel that lets it make namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

#: Bytes that are under way in a delaying line at most, each way.
_WINDOW = 4 << 20


@dataclass(frozen=True)
class Shape:
    """What a link is like: bits a second, and seconds there and back."""

    bits: float
    round_trip: float

    def __str__(self) -> str:
        return f"{self.bits / 1e6:g} Mbit/s, {1000 * self.round_trip:g} ms"


class Delay:
    """Forwards connections, and hands on what comes some time later; the order stays.

    Attributes:
        seconds: of delay, each way.
    """

    def __init__(self, listen: str, target: tuple[str, int]) -> None:
        self.seconds = 0.0
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        started = threading.Event()
        self.port = 0

        async def serve() -> None:
            server = await asyncio.start_server(self._connected, listen, 0)
            self.port = server.sockets[0].getsockname()[1]
            started.set()
            self._stop = asyncio.Event()
            await self._stop.wait()
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(serve(),))
        self._thread.start()
        started.wait(30)

    def close(self) -> None:
        """Stop."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
        self._loop.close()

    async def _connected(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            far, there = await asyncio.open_connection(*self._target)
        except OSError:
            back.close()  # nobody listens there, as yet
            return
        try:
            await asyncio.gather(self._pump(near, there), self._pump(far, back))
        except (OSError, asyncio.CancelledError):
            pass  # a side is gone, or we are being stopped: then the other goes, too
        finally:
            back.close()
            there.close()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        changed = asyncio.Condition()

        async def read() -> None:
            while True:
                content = await source.read(1 << 16)
                async with changed:
                    full = sum(len(one) for _, one in waiting) > _WINDOW
                    if full:
                        await changed.wait_for(lambda: not waiting)
                    waiting.append((time.monotonic() + self.seconds, content))
                    changed.notify_all()
                if not content:
                    return

        async def write() -> None:
            while True:
                async with changed:
                    await changed.wait_for(lambda: waiting)
                    due, content = waiting[0]
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if content:
                    sink.write(content)
                    await sink.drain()
                elif sink.can_write_eof():
                    with contextlib.suppress(OSError):
                        sink.write_eof()
                async with changed:
                    waiting.popleft()
                    changed.notify_all()
                if not content:
                    return

        await asyncio.gather(read(), write())


class Links:
    """A namespace for each site, joined to this one by a link.

    Attributes:
        inside: what goes before the command of a site's process.
        hosts: this end's address on each link, by site.
    """

    def __init__(self, sites: Sequence[str]) -> None:
        self._tag = f"u{os.getpid() % 100_000}"
        self._delays: dict[str, Delay] = {}
        self._sites = list(sites)
        subnet = os.getpid() % 200
        self.hosts = {site: f"10.{subnet}.{n + 1}.1" for n, site in enumerate(sites)}
        self.inside = {
            site: ("ip", "netns", "exec", self._space(number)) for number, site in enumerate(sites)
        }

    def _space(self, number: int) -> str:
        return f"{self._tag}-{number}"

    def _ends(self, site: str) -> tuple[str, str]:
        number = self._sites.index(site)
        return f"{self._tag}h{number}", f"{self._tag}s{number}"

    def open(self) -> None:
        """Make the namespaces and the links."""
        for number, site in enumerate(self._sites):
            here, there = self._ends(site)
            space, host = self._space(number), self.hosts[site]
            other = f"{host.rpartition('.')[0]}.2"
            _ip("netns", "add", space)
            _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", space)
            _ip("addr", "add", f"{host}/30", "dev", here)
            _ip("link", "set", here, "up")
            _ip("-n", space, "addr", "add", f"{other}/30", "dev", there)
            _ip("-n", space, "link", "set", there, "up")
            _ip("-n", space, "link", "set", "lo", "up")

    def dialled(self, site: str, port: int) -> str:
        """Where a site dials, so that what it says to a port here is delayed."""
        self._delays[site] = delay = Delay(self.hosts[site], ("127.0.0.1", port))
        return f"{self.hosts[site]}:{delay.port}"

    def shape(self, shape: Shape) -> None:
        """Give all links a speed and a delay."""
        burst = max(32_000, int(shape.bits / 8 / 100))
        rate = ("root", "tbf", "rate", f"{int(shape.bits)}bit", "burst", str(burst))
        for number, site in enumerate(self._sites):
            here, there = self._ends(site)
            _run("tc", "qdisc", "replace", "dev", here, *rate, "latency", "300ms")
            space = self._space(number)
            _run("tc", "-n", space, "qdisc", "replace", "dev", there, *rate, "latency", "300ms")
            self._delays[site].seconds = shape.round_trip / 2

    def cut(self, site: str) -> None:
        """Take a link down: nothing comes through, and nobody is told."""
        _ip("link", "set", self._ends(site)[0], "down")

    def mend(self, site: str) -> None:
        """Bring it up again."""
        _ip("link", "set", self._ends(site)[0], "up")

    def carried(self) -> int:
        """Bytes that went over all links, both ways."""
        folder = Path("/sys/class/net")
        return sum(
            int((folder / self._ends(site)[0] / "statistics" / way).read_text())
            for site in self._sites
            for way in ("rx_bytes", "tx_bytes")
        )

    def close(self) -> None:
        """Remove all."""
        for delay in self._delays.values():
            delay.close()
        for number in range(len(self._sites)):
            subprocess.run(["ip", "netns", "del", self._space(number)], check=False)


@contextmanager
def links(sites: Sequence[str]) -> Iterator[Links]:
    """Lend links; their ends are removed with their namespaces."""
    made = Links(sites)
    with ExitStack() as stack:
        stack.callback(made.close)
        made.open()
        yield made


def why_not() -> str:
    """Say why no links can be made here; empty if they can."""
    if shutil.which("ip") is None or shutil.which("tc") is None:
        return "ip and tc are not installed (Debian: iproute2)"
    if os.geteuid():
        return "only root makes network namespaces"
    try:
        with links(["probe"]) as made:
            here, _ = made._ends("probe")
            _run("tc", "qdisc", "replace", "dev", here, "root", "tbf", "rate", "1mbit", "burst",
                 "32000", "latency", "10ms")  # fmt: skip
    except subprocess.CalledProcessError as error:
        return f"this kernel does not let us: {error.stderr.strip()}"
    return ""


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
