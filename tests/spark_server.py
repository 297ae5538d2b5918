"""The run's Spark: a Spark Connect server that all processes of a test run share.

Starting Spark takes ten seconds and a gigabyte. It ends when the process that leads the run does,
however that ends: Spark waits for the end of a named pipe that only that process holds open for
writing.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from umbel.platforms.spark.java import refuse_java
from umbel.platforms.spark.server import Server

_FOLDER = "UMBEL_TEST_SPARK"


@cache
def available() -> bool:
    """Whether PySpark is installed, as `umbel[dev,spark]` has it, and a Java that it runs on.

    Without them the suites over all engines leave Spark out; its own tests fail.
    """
    needed = ("pyspark", "grpc", "pandas")
    return all(map(importlib.util.find_spec, needed)) and refuse_java() is None


def lead() -> Callable[[], None]:
    """Make the pipe, in the process that leads the run; gives what ends the run's Spark."""
    folder = Path(tempfile.mkdtemp(prefix="umbel-test-spark-"))
    os.mkfifo(folder / "alive")
    held = os.open(folder / "alive", os.O_RDWR)
    os.environ[_FOLDER] = str(folder)

    def end() -> None:
        os.close(held)
        shutil.rmtree(folder, ignore_errors=True)

    return end


def start() -> str:
    """Start the server if no process of the run has; give its URL."""
    if "UMBEL_SPARK_URL" in os.environ:  # one that somebody started, to save the time
        return os.environ["UMBEL_SPARK_URL"]
    folder = Path(os.environ[_FOLDER])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = folder / "server.txt"
        if not told.exists():
            alive = os.open(folder / "alive", os.O_RDONLY)
            settings = {
                # Little is compiled well in so short a life.
                "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
                "spark.sql.shuffle.partitions": "2",
            }
            tempfile.tempdir = str(folder)  # so that what Spark leaves goes with the run
            try:
                server = Server("local[2]", settings, memory=1 << 30, until_closed=alive)
            finally:
                tempfile.tempdir = None
            server.let_go()
            told.write_text(f"{server.url}\n{server.token}")
        url, token = told.read_text().split("\n")
    # The client takes the token of a server on this machine from here.
    os.environ["SPARK_CONNECT_AUTHENTICATE_TOKEN"] = token
    return url
