"""A coordinator that listens, with a database of its own and no site: enough for all that is HTTP."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

import umbel as ub
from umbel.federation.access import Role
from umbel.federation.client import RemoteSession
from umbel.federation.coordinator import Coordinator, CoordinatorSettings, Server, create

#: The people of the table ref.people: number, age, name.
PEOPLE = [(number, number % 90, f"n{number}") for number in range(1000)]


@dataclass
class Running:
    """A coordinator, and where it listens."""

    coordinator: Coordinator
    url: str

    def token(self, *roles: Role, user: str = "ann") -> str:
        """Make a token."""
        return self.coordinator.new_token(user, roles or (Role.ANALYST,))[1].encode()

    def http(self, *roles: Role, user: str = "ann") -> httpx.Client:
        """A bare client, to say what the real one never would."""
        headers = {"authorization": f"Bearer {self.token(*roles, user=user)}"}
        return httpx.Client(base_url=self.url, verify=False, headers=headers, trust_env=False)


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("coordinator")
    database = folder / "ref.db"
    with sqlite3.connect(database) as connection:
        connection.execute("create table people (id integer not null, age integer, name text)")
        connection.executemany("insert into people values (?, ?, ?)", PEOPLE)
    connection.close()
    create(folder / "c", "north", ["localhost"], listen="127.0.0.1:0", sites="127.0.0.1:0")
    file = folder / "c" / "coordinator.toml"
    text = file.read_text().replace("plan_bytes = 16_777_216", "plan_bytes = 100_000")
    text = text.replace("upload_bytes = 268_435_456", "upload_bytes = 1_000_000")
    file.write_text(text + f'\n[catalog.ref]\nurl = "sqlite://{database}"\n')
    coordinator = Coordinator.open(CoordinatorSettings.read(folder / "c"))
    with Server(coordinator) as server:
        yield Running(coordinator, f"https://localhost:{server.port}")
    coordinator.close()


@pytest.fixture(scope="session")
def remote(running: Running) -> Iterator[RemoteSession]:
    session: Any = ub.connect(running.url, token=running.token(), progress=False)
    with session:
        yield session


@pytest.fixture(scope="session")
def embedded(running: Running) -> ub.Session:
    session = ub.connect(progress=False)
    url, options = running.coordinator.settings.catalog["ref"]
    session.catalog.attach("ref", url, **options)
    return session


Ask = Callable[[ub.Session], Any]
