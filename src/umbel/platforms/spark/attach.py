"""Clusters and Spark Connect servers by URL."""

from __future__ import annotations

import re

from umbel.catalog.address import Address, is_secret
from umbel.plan.errors import PlacementError, PlanError
from umbel.platforms.spark.connection import Connection
from umbel.platforms.spark.java import refuse_java
from umbel.platforms.spark.platform import SparkPlatform

_PORTS = {"spark": 7077, "sc": 15002}


def attached(name: str, address: Address) -> SparkPlatform:
    """Make the platform of an address; nothing is started or connected yet.

    `spark://local` is a Spark of our own on this machine, with the options `cores` (all of them
    unless said) and `memory` (such as `2g`; a fourth of the machine's). `spark://host:port` is a
    cluster, whose driver runs here; `sc://host:port` a Spark Connect server, with the options
    `token="env:NAME"` and `use_ssl="true"`. `files="shared"` says that Spark sees this machine's
    files under the same names. Options that begin with `spark.` are Spark's own settings.

    Raises:
        PlanError: the address has no host, holds a token as it is, or an unknown option.
        PlacementError: the driver needs Java here, and there is none that fits.

    >>> attached("lab", Address.of("sc://localhost:15002")).started()
    False
    """
    if not address.host:
        raise PlanError(
            f"{address.scheme}:// needs a host",
            hint="write spark://local, spark://host:7077 or sc://host:15002",
        )
    options = {**_parameters(address), **address.options}
    own = address.scheme == "spark" and address.host == "local"
    shared = options.pop("files", "own")
    if shared not in ("own", "shared"):
        raise PlanError(f"files={shared!r}: it is 'own' or 'shared'")
    ssl = options.pop("use_ssl", "") if address.scheme == "sc" else ""
    cores = options.pop("cores", "*") if own else "*"
    memory = _bytes(options.pop("memory", "0")) if address.scheme == "spark" else 0
    settings = {key: options.pop(key) for key in list(options) if key.startswith("spark.")}
    if options:
        raise PlanError(
            f"Spark at {address.scheme}://{address.host} knows no option {min(options)!r}",
            hint="spark://local takes cores and memory, sc:// token and use_ssl, all take files "
            "and Spark's own settings, such as spark.executor.memory",
        )
    if address.scheme == "spark":
        reason = refuse_java()
        if reason is not None:
            raise PlacementError(f"platform {name!r} cannot start Spark", hint=reason)
    url = f"{address.scheme}://{address.host}:{address.port or _PORTS[address.scheme]}"
    if own:
        if cores != "*" and not (cores.isascii() and cores.isdigit() and int(cores)):
            raise PlanError(f"cores={cores!r} is no number of processor cores")
        url = f"local[{cores}]"
    elif address.scheme == "sc":
        words = {"use_ssl": ssl, "user_id": address.user}
        url += "/;" + ";".join(f"{key}={value}" for key, value in words.items() if value)
        url = url.removesuffix("/;")
    connection = Connection(
        url,
        token=address.secrets.get("token"),
        settings=settings,
        memory=memory,
        shared_files=shared == "shared",
    )
    return SparkPlatform(name, connection)


def _bytes(size: str) -> int:
    """Read a size such as `2g`.

    >>> _bytes("512m")
    536870912
    """
    match = re.fullmatch(r"([0-9]+)([kmg]?)b?", size.lower())
    if match is None:
        raise PlanError(f"memory={size!r} is no size", hint="write 2g or 512m")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2]]


def _parameters(address: Address) -> dict[str, str]:
    """The `;key=value` parts of a Spark Connect URL's path."""
    words = [word for word in address.path.lstrip("/").split(";") if word]
    parameters = dict(word.partition("=")[::2] for word in words)
    for key in parameters:
        if is_secret(key):
            raise PlanError(
                f"{key} stands in the URL, which is shown and kept",
                hint=f"give it by reference: attach(..., {key}='env:NAME')",
            )
    return parameters
