"""A Spark of our own: a child process with a Spark Connect server on this machine.

The child listens on the loopback interface only and takes only whom it gave its token. It ends
with this process, however that ends: a shell between the two waits for the end of a pipe that
this process holds, and then ends Spark.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from umbel.plan.errors import RunError

_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
_LISTENS = "Spark Connect server started at: "
#: Starting takes 5 to 10 s; on a machine with much else to do, minutes.
_PATIENCE = 300.0
#: Waits until whoever holds the other end of the input is gone, and ends Spark.
_KEEPER = (
    'exec 3<&0 </dev/null; "$@" 3<&- & spark=$!; '
    "(cat >/dev/null; kill $spark 2>/dev/null) <&3 & wait $spark"
)

#: Settings of a Spark of our own. Nothing is capped that streams, nothing is served to browsers.
_SETTINGS = {
    "spark.connect.grpc.binding.address": "127.0.0.1",
    "spark.connect.grpc.binding.port": "0",
    "spark.driver.maxResultSize": "0",
    "spark.ui.enabled": "false",
    "spark.sql.catalogImplementation": "in-memory",
}


class Server:
    """A running Spark Connect server.

    Attributes:
        url: what clients connect to, without the token.
        token: what they must show.
    """

    def __init__(
        self,
        master: str,
        settings: Mapping[str, str],
        *,
        memory: int,
        until_closed: int | None = None,
    ) -> None:
        """Start one, and wait until it listens.

        Args:
            master: `local[*]` or `spark://host:port`.
            settings: Spark's own, which win over ours.
            memory: bytes of Spark's heap.
            until_closed: the server ends when this file descriptor reaches its end; without it,
                when this process ends.

        Raises:
            RunError: Spark did not start; says what it printed.
        """
        self.token = secrets.token_urlsafe(24)
        self._folder = tempfile.mkdtemp(prefix="umbel-spark-")
        self._output = Path(self._folder) / "errors.txt"
        self._pipe: int | None = None
        if until_closed is None:
            until_closed, self._pipe = os.pipe()
        try:
            self._process = self._launch(master, settings, memory, until_closed)
        finally:
            if self._pipe is not None:
                os.close(until_closed)
        self._finalizer = weakref.finalize(self, _end, self._process, self._pipe, self._folder)
        self._finalizer.atexit = self._pipe is not None
        port = self._wait()
        self.url = f"sc://localhost:{port}"

    def _launch(
        self, master: str, settings: Mapping[str, str], memory: int, keeper: int
    ) -> subprocess.Popen[str]:
        spec = find_spec("pyspark")
        if spec is None or spec.origin is None:
            raise RunError("pyspark is not installed", hint="pip install 'umbel[spark]'")
        home = Path(spec.origin).parent
        log = Path(__file__).with_name("log4j2.properties")
        local = master.startswith("local")
        every = {
            **_SETTINGS,
            "spark.local.dir": self._folder,
            "spark.sql.warehouse.dir": str(Path(self._folder) / "warehouse"),
            **({"spark.driver.host": "127.0.0.1"} if local else {}),
            **({"spark.driver.bindAddress": "127.0.0.1"} if local else {}),
            # Spark's 200 would be so many calls of Python, on the few cores of one machine.
            **({"spark.sql.shuffle.partitions": str(2 * _cores(master))} if local else {}),
            **settings,
        }
        java = f"-Dlog4j2.configurationFile={log.as_uri()} "
        every["spark.driver.extraJavaOptions"] = java + every.get(
            "spark.driver.extraJavaOptions", ""
        )
        command = [
            str(home / "bin" / "spark-submit"),
            *("--class", _CLASS, "--master", master),
            *("--driver-memory", f"{max(memory >> 20, 512)}m"),
            *(word for key, value in every.items() for word in ("--conf", f"{key}={value}")),
            "spark-internal",
        ]
        environment = {
            **os.environ,
            "SPARK_HOME": str(home),
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_CONNECT_AUTHENTICATE_TOKEN": self.token,
            # Equal keys must have equal hashes in all of Spark's Python workers.
            "PYTHONHASHSEED": "0",
            **({"SPARK_LOCAL_IP": "127.0.0.1"} if local else {}),
        }
        with self._output.open("wb") as errors:
            return subprocess.Popen(  # noqa: S603 (Spark's own script, and no shell text of others)
                ["/bin/sh", "-c", _KEEPER, "spark", *command],
                stdin=keeper,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,  # a Ctrl-C is for this process, which cancels its stages
                text=True,
            )

    def _wait(self) -> int:
        """Read what the server prints until it says its port."""
        timer = threading.Timer(_PATIENCE, self.close)
        timer.daemon = True
        timer.start()
        try:
            stdout = self._process.stdout
            for line in stdout or ():
                if _LISTENS in line:
                    return int(line.rpartition(":")[2])
        finally:
            timer.cancel()
            if stdout is not None:
                stdout.close()  # nobody reads on, and a full pipe would stop the server
        said = self._said()
        self.close()
        raise RunError(
            f"Spark did not start: {said}", hint="its Java and its settings are to blame"
        )

    def _said(self) -> str:
        """The last lines of what Spark complained of."""
        with contextlib.suppress(OSError):
            lines = self._output.read_text(encoding="utf-8", errors="replace").split("\n")
            told = [line.strip() for line in lines if line.strip() and "incubator" not in line]
            telling = [line for line in told if "rror" in line or "xception" in line] or told
            return "; ".join(telling[-3:])[:500] or "it said nothing"
        return "it said nothing"

    @property
    def died(self) -> str | None:
        """What a server said that ended by itself; None while it runs."""
        return None if self._process.poll() is None else self._said()

    def close(self) -> None:
        """End the server."""
        self._finalizer()

    def let_go(self) -> None:
        """Let the server run on when this process ends; `until_closed` still ends it."""
        self._finalizer.detach()
        self._process.returncode = 0  # or Python would complain of a child that outlives it


def _cores(master: str) -> int:
    """The number of cores of a master on this machine.

    >>> _cores("local[3]")
    3
    """
    named = master.removeprefix("local").strip("[]")
    return int(named) if named.isdigit() else os.cpu_count() or 1


def _end(process: subprocess.Popen[str], pipe: int | None, folder: str) -> None:
    if pipe is not None:
        os.close(pipe)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)
