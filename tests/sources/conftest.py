"""Real services for sources: an S3 server that all workers of a test run share, a web server."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import umbel as ub
from tests.sources.s3_server import KEY, SECRET
from tests.sources.web_server import WebServer

#: Every engine that reads files.
ENGINES = ["python", "polars", "duckdb"]


@dataclass
class Bucket:
    """A bucket of one test.

    Attributes:
        name: what it is called.
        filesystem: pyarrow's view of the server, for looking at what a test did.
    """

    name: str
    filesystem: Any
    log: Path

    @property
    def url(self) -> str:
        return f"s3://{self.name}"

    def put(self, key: str, content: bytes) -> str:
        with self.filesystem.open_output_stream(f"{self.name}/{key}", compression=None) as file:
            file.write(content)
        return f"{self.url}/{key}"

    def get(self, key: str) -> bytes:
        with self.filesystem.open_input_file(f"{self.name}/{key}") as file:
            content: bytes = file.read()
        return content

    def keys(self) -> list[str]:
        from pyarrow.fs import FileSelector, FileType

        found = self.filesystem.get_file_info(FileSelector(self.name, recursive=True))
        start = len(self.name) + 1
        return sorted(info.path[start:] for info in found if info.type == FileType.File)

    def requests(self, *methods: str) -> list[dict[str, Any]]:
        """The requests for the bucket so far, as the server saw them."""
        lines = map(json.loads, self.log.read_text().splitlines())
        mine = [e for e in lines if e["path"].split("/")[1] == self.name]
        return [e for e in mine if not methods or e["method"] in methods]

    def sent(self) -> int:
        """Bytes of objects that the server sent."""
        return sum(e["bytes"] for e in self.requests("GET") if "list-type" not in e["query"])


@dataclass
class S3Server:
    endpoint: str
    filesystem: Any
    log: Path

    def bucket(self, ending: str = "") -> Bucket:
        name = f"b{uuid.uuid4().hex[:12]}{ending}"
        made = Bucket(name, self.filesystem, self.log)
        with contextlib.suppress(OSError):  # those that give no permission are made all the same
            self.filesystem.create_dir(name)
        return made


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> S3Server:
    """The S3 server of this test run; it ends with the run."""
    from pyarrow import fs

    base = tmp_path_factory.getbasetemp()
    worker = "PYTEST_XDIST_WORKER" in os.environ
    folder, watched = (base.parent, os.getppid()) if worker else (base, os.getpid())
    folder /= "s3-server"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "port").exists():
            command = [sys.executable, "-m", "tests.sources.s3_server", str(folder), str(watched)]
            environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            with (folder / "output").open("wb") as output:
                streams = [(os.POSIX_SPAWN_DUP2, output.fileno(), n) for n in (1, 2)]
                server = os.posix_spawn(sys.executable, command, environ, file_actions=streams)
            deadline = time.monotonic() + 60
            while not (folder / "port").exists():
                ended = os.waitpid(server, os.WNOHANG) != (0, 0)
                assert not ended, (folder / "output").read_text()
                assert time.monotonic() < deadline, "the S3 server does not listen"
                time.sleep(0.05)
    endpoint = f"http://127.0.0.1:{(folder / 'port').read_text()}"
    filesystem = fs.S3FileSystem(
        access_key=KEY,
        secret_key=SECRET,
        endpoint_override=endpoint,
        region="us-east-1",
        allow_bucket_creation=True,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )
    return S3Server(endpoint, filesystem, folder / "requests")


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3Server:
    """The S3 server, in the places where AWS's own tools look."""
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
    return s3_server


@pytest.fixture
def bucket(s3: S3Server) -> Bucket:
    return s3.bucket()


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def session() -> ub.Session:
    return ub.connect(progress=False)
