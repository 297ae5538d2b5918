"""A federation of real processes: a coordinator and sites as operators start them, on loopback.

For tests that kill, stop and cut them, and for benchmarks.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import umbel as ub
from umbel.federation.access import Role
from umbel.federation.coordinator import Coordinator, CoordinatorSettings, create
from umbel.federation.site import join
from umbel.federation.site.settings import SiteSettings

#: How a process of umbel's is started.
UMBEL = (sys.executable, "-m", "umbel")
COORDINATOR = "coordinator"
#: Seconds that a process has to come up, or to end, on a machine that is busy.
PATIENCE = 90.0


def free_ports(count: int) -> list[int]:
    """Find ports that stay free while nobody listens: others are given ones above these.

    By true chance: tests of other processes seed `random` alike.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: list[int] = []
    while len(found) < count:
        port = 10_000 + secrets.randbelow(lowest - 10_000)
        with socket.socket() as one:
            if port not in found and one.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return found


def settles(holds: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"it does not come about: {what}"
        time.sleep(0.01)


class RealFederation:
    """A coordinator and sites, each a process.

    Attributes:
        folder: where all lies, logs among it.
        settings: of the coordinator.
        running: the processes, by name; the coordinator's is `COORDINATOR`.
    """

    def __init__(
        self,
        folder: Path,
        sites: Mapping[str, str],
        *,
        program: Sequence[str] = UMBEL,
        listen: str = "127.0.0.1",
        hosts: Sequence[str] = ("localhost", "127.0.0.1"),
        inside: Mapping[str, Sequence[str]] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Make the coordinator and start it; let the sites join, and start none yet.

        Args:
            folder: where all of it lies.
            sites: what each publishes, as a part of its configuration.
            program: starts a process, followed by the arguments of `umbel`.
            listen: the address at which the coordinator listens.
            hosts: the names by which it is reached; sites dial the first.
            inside: what goes before a process's command, by its name: `ip netns exec …`.
            environment: more variables of the processes.
        """
        self.folder = folder
        self.running: dict[str, subprocess.Popen[str]] = {}
        self._program, self._inside = tuple(program), dict(inside or {})
        self._environment = {**os.environ, **(environment or {})}
        ports = free_ports(2)
        self.settings = create(
            folder / COORDINATOR,
            "real",
            list(hosts),
            listen=f"{listen}:{ports[0]}",
            sites=f"{listen}:{ports[1]}",
        )
        opened = Coordinator.open(CoordinatorSettings.read(self.settings.folder), serving=False)
        words = {name: opened.invite(name)[1] for name in sites}
        self.token = opened.new_token("ann", [Role.ANALYST])[1].encode()
        opened.close()
        self.start(COORDINATOR)
        for name, published in sites.items():
            made = join(words[name], folder / name, url=self.url)
            text = made.file.read_text(encoding="utf-8")
            made.file.write_text(f"{text}\n{published}\n", encoding="utf-8")
        self.sites = list(sites)

    @property
    def url(self) -> str:
        """Where people reach the coordinator."""
        return self.settings.url

    def dials(self, site: str, address: str) -> None:
        """Have a site dial another address than the coordinator's own: a proxy's."""
        file = SiteSettings.read(self.folder / site).file
        lines = file.read_text(encoding="utf-8").splitlines()
        changed = [f'coordinator = "{address}"' if line.startswith("coordinator = ") else line
                   for line in lines]  # fmt: skip
        file.write_text("\n".join(changed) + "\n", encoding="utf-8")

    def start(self, name: str) -> None:
        """Start a process; return when a coordinator listens."""
        arguments = ["site", "run", str(self.folder / name)]
        if name == COORDINATOR:
            arguments = ["coordinator", "serve", "--config", str(self.settings.folder)]
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                [*self._inside.get(name, ()), *self._program, *arguments],
                stdout=subprocess.PIPE if name == COORDINATOR else log,
                stderr=log,
                text=True,
                env=self._environment,
                start_new_session=True,
            )
        self.running[name] = process
        if name == COORDINATOR:
            assert process.stdout is not None
            with process.stdout as told:
                said = next((line for line in told if line.startswith("sites:")), None)
            assert said is not None, self.log(name)

    def log(self, name: str) -> str:
        """What a process has said of late."""
        return (self.folder / f"{name}.log").read_text()[-4000:]

    def kill(self, name: str) -> None:
        """End a process at once."""
        self.running[name].kill()
        self.running[name].wait()

    def stop(self, name: str) -> None:
        """Let a process do nothing, and keep all that it has: as one that hangs."""
        self.running[name].send_signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        """Let a process that was stopped go on."""
        self.running[name].send_signal(signal.SIGCONT)

    def session(self, **options: Any) -> Any:
        """Connect a session; `url=` names another way to the coordinator."""
        options = {"url": self.url, "progress": False, **options}
        return ub.connect(options.pop("url"), token=self.token, **options)

    def there(self, session: Any, *names: str) -> None:
        """Wait until sites are connected, and have said what they publish."""

        def are() -> bool:
            known = {site["name"]: site for site in session.sites()}
            return all(
                known[name]["state"] == "connected" and known[name]["tables"] for name in names
            )

        settles(are, f"{', '.join(names)} connected")

    def end(self, *names: str) -> None:
        """Let processes that run end as an operator would have them; return when they have."""
        ending = [self.running.pop(name) for name in names if name in self.running]
        for process in ending:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in ending:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """End all processes."""
        self.end(*self.running)


@contextmanager
def real(folder: Path, sites: Mapping[str, str], **options: Any) -> Iterator[RealFederation]:
    """Lend a federation whose sites are started; see `RealFederation`."""
    made = RealFederation(folder, sites, **options)
    try:
        for name in made.sites:
            made.start(name)
        with made.session() as session:
            made.there(session, *made.sites)
        yield made
    finally:
        made.close()
