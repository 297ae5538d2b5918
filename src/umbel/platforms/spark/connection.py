"""A platform's Spark: a session over Spark Connect, made when first asked for.

`sc://` names a server that runs; for `local[…]` and `spark://` a server of our own is started in
a child process (`umbel.platforms.spark.server`). So one process can use several Sparks.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import threading
import warnings
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from umbel.plan.errors import RunError, UmbelError
from umbel.platforms.spark.errors import condense, is_lost
from umbel.platforms.spark.java import refuse_java
from umbel.platforms.spark.retries import retry_policy

if TYPE_CHECKING:
    from umbel.catalog.address import Secret
    from umbel.platforms.spark.server import Server

#: What makes Spark mean what the plan means.
SETTINGS = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.parquet.inferTimestampNTZ.enabled": "true",
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",
    "spark.sql.legacy.parseNullPartitionAsStringLiteral": "false",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "20000",
    "spark.sql.execution.pyspark.udf.simplifiedTraceback.enabled": "true",
    "spark.sql.cbo.planStats.enabled": "true",  # so that EXPLAIN tells rows
    "spark.sql.mapKeyDedupPolicy": "EXCEPTION",
    "spark.sql.collation.objectLevel.enabled": "false",
}


class Connection:
    """One Spark, shared by all stages of a platform."""

    def __init__(
        self,
        master: str,
        *,
        token: Secret | None = None,
        settings: Mapping[str, str] | None = None,
        memory: int = 0,
        shared_files: bool = False,
    ) -> None:
        """Describe a Spark; nothing is started or connected yet.

        Args:
            master: `local[*]`, `spark://host:port` or `sc://host:port`.
            token: what a server asks its clients for.
            settings: Spark's own settings, of the session or of the server that is started.
            memory: bytes of the heap of a server that is started; 0 for a fourth of the machine's.
            shared_files: Spark sees this machine's files though it runs on others.
        """
        self.master = master
        self._token = token
        self._settings = dict(settings or {})
        self._memory = memory
        self._shared_files = shared_files
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._session: Any = None
        self._names = itertools.count()
        self._prefix = f"umbel_{os.getpid()}_{id(self):x}"

    @property
    def is_started(self) -> bool:
        """Whether there is a session."""
        return self._session is not None

    @property
    def sees_files(self) -> bool:
        """Whether Spark sees the files of this machine under the same names."""
        return self._shared_files or self.master.startswith(
            ("local", "sc://localhost", "sc://127.0.0.1")
        )

    def session(self) -> Any:
        """Give the session.

        Raises:
            RunError: Spark cannot be started or reached.
        """
        with self._lock:
            if self._session is not None and self._died() is not None:
                self._forget()
            if self._session is None:
                self._session = self._connect()
            return self._session

    def _died(self) -> str | None:
        return None if self._server is None else self._server.died

    def failure(self, error: BaseException) -> UmbelError:
        """Say in a line what an exception of Spark's client means here."""
        said = self._died()
        if said is not None:
            return RunError(
                f"Spark ({self.master}) ended while it was at work: {said}",
                hint="the next run starts it anew; if it had too little memory, attach it with "
                "more: spark://local?memory=8g",
            )
        if is_lost(error):
            return RunError(
                f"the connection to Spark at {self.master} was lost",
                hint="is its server up? What it did for the run is lost with its session",
            )
        return condense(error)

    @staticmethod
    def activate(session: Any) -> Any:
        """Make a session this thread's active one, where Spark's client looks for it.

        Returns:
            The one that was active before.
        """
        from pyspark.sql.connect.session import SparkSession

        active: Any = SparkSession._active_session
        before = getattr(active, "session", None)
        active.session = session
        return before

    def new_name(self, kind: str) -> str:
        """Give a name that no view of the session has."""
        return f"{self._prefix}_{kind}_{next(self._names)}"

    def _connect(self) -> Any:
        url, token = self.master, None if self._token is None else self._token.reveal()
        if url.startswith("sc://"):
            self._knock(url)
        else:
            url, token = self._start()
        _quieten()
        from pyspark.sql.connect.client import DefaultChannelBuilder
        from pyspark.sql.connect.session import SparkSession

        settings: dict[str, Any] = {
            **SETTINGS,
            **(self._settings if self._server is None else {}),
        }
        try:
            builder = DefaultChannelBuilder(url)
            if token is not None:
                builder.set(DefaultChannelBuilder.PARAM_TOKEN, token)
            session = SparkSession(connection=builder)
            session.client.set_retry_policies([retry_policy(lambda: self._died() is not None)])
            session.conf._set_all(configs=settings, silent=True)
            _check_version(session.version)
        except RunError:
            raise
        except Exception as error:
            said = condense(error).message
            said = said if self._token is None else self._token.scrub(said)
            raise RunError(
                f"Spark at {self.master} cannot be used: {said}",
                hint="is a Spark Connect server running there (sbin/start-connect-server.sh)?",
            ) from error
        weakref.finalize(self, _close, session)
        return session

    def _knock(self, url: str) -> None:
        """Raise if nothing answers at an address: Spark's client would try for ten minutes."""
        parts = urlsplit(url)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 15002), 10).close()
        except OSError as error:
            raise RunError(
                f"Spark at {self.master} cannot be reached: {error.strerror or error}",
                hint="is a Spark Connect server running there (sbin/start-connect-server.sh)?",
            ) from error

    def _start(self) -> tuple[str, str]:
        from umbel.platforms.spark.server import Server

        reason = refuse_java()
        if reason is not None:
            raise RunError(reason)
        memory = self._memory or _fourth_of_memory()
        self._server = Server(self.master, self._settings, memory=memory)
        return self._server.url, self._server.token

    def close(self) -> None:
        """End the session, and the server if it is ours."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._session is not None:
            _close(self._session)
            self._session = None
        if self._server is not None:
            self._server.close()
            self._server = None


def _close(session: Any) -> None:
    session.client.close()


def _fourth_of_memory() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(max(total // 4, 1 << 30), 16 << 30)


def _check_version(version: str) -> None:
    if int(version.partition(".")[0]) < 4:
        raise RunError(
            f"it is Spark {version}, and Spark 4 is the oldest whose answers are the plan's",
            hint="attach a newer one",
        )


def _quieten() -> None:
    """Keep the client from writing stack traces of what umbel itself reports."""
    warnings.filterwarnings("ignore", message="PySpark does not yet fully support pandas")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from pyspark.logger import PySparkLogger

    logger = PySparkLogger.getLogger("SQLQueryContextLogger")
    logger.setLevel(logging.CRITICAL)
