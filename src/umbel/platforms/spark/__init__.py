"""The engine Apache Spark: a stage is one Spark SQL job, with Python functions on its workers.

It is attached to a session by URL: `spark://local` starts one on this machine,
`spark://host:port` is a cluster, `sc://host:port` a Spark Connect server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.platforms.base import Engine, MissingEngineError

if TYPE_CHECKING:
    from umbel.catalog.address import Address
    from umbel.platforms.spark.platform import SparkPlatform


def check() -> None:
    """Raise `MissingEngineError` if PySpark is not installed."""
    from importlib.util import find_spec

    for module in ("pyspark", "grpc"):
        if find_spec(module) is None:
            raise MissingEngineError("Spark is not installed: pip install 'umbel[spark]'")


def attach(name: str, address: Address) -> SparkPlatform:
    """Make the platform of a Spark of this machine, a cluster or a Spark Connect server."""
    from umbel.platforms.spark.attach import attached

    return attached(name, address)


def limits() -> str | None:
    """Say that no Spark can be started here, for want of a Java. None is started to find out."""
    from umbel.platforms.spark.java import refuse_java

    reason = refuse_java()
    return None if reason is None else f"only sc:// can be attached: {reason}"


engine = Engine(schemes=("spark", "sc"), attach=attach, check=check, limits=limits)
