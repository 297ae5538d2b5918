"""Which store a path lies in.

A plan names files by path or URL only. How a URL is reached (its server, region, and where the
secrets are) is said once, of the part of it that many files share, by attaching that part; what is
attached nowhere is reached as the environment says. What is attached holds for all of a process,
as the URL of a file can mean only one file.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from umbel.catalog.address import Address
from umbel.catalog.stores.base import FileStore
from umbel.catalog.stores.local import LocalStore
from umbel.plan.errors import PlanError, SourceError

_LOCAL = LocalStore()
#: Reentrant, for a session may be collected, which detaches what it had, anywhere.
_LOCK = threading.RLock()
_ATTACHED: dict[str, tuple[FileStore, Address, int]] = {}


def _objects(address: Address) -> FileStore:
    from umbel.catalog.stores.objects import ObjectStore

    return ObjectStore(address)


def _web(address: Address) -> FileStore:
    from umbel.catalog.stores.web import WebStore

    return WebStore(address)


#: What makes a store of an address, by the scheme of its URLs.
STORES: dict[str, Callable[[Address], FileStore]] = {
    "s3": _objects,
    "http": _web,
    "https": _web,
}


def is_remote(path: str) -> bool:
    """Whether a path is a URL of another machine.

    >>> is_remote("s3://lake/a.csv"), is_remote("data/a.csv")
    (True, False)
    """
    return "://" in path and not path.startswith("file://")


def plain_path(path: str) -> str:
    """Give a path of this machine without `file://`, and with one name for S3's several.

    >>> plain_path("file:///tmp/a.csv"), plain_path("s3a://lake/a.csv")
    ('/tmp/a.csv', 's3://lake/a.csv')
    """
    if path.startswith("file://"):
        return path.removeprefix("file://")
    for other in ("s3a://", "s3n://"):
        if path.startswith(other):
            return "s3://" + path.removeprefix(other)
    return path


def store_of(path: str) -> FileStore:
    """Find the store that a path lies in.

    Raises:
        SourceError: no store takes URLs of this kind.
    """
    if "://" not in path:
        return _LOCAL
    with _LOCK:
        found = [item for item in tuple(_ATTACHED.items()) if _is_below(path, item[0])]
    if found:
        _, (store, *_) = max(found, key=lambda item: len(item[0]))
        return store
    scheme = path.partition("://")[0].lower()
    if scheme not in STORES:
        raise SourceError(
            f"{path}: no files are read by {scheme}",
            hint=f"URLs of files begin with {', '.join(f'{name}://' for name in STORES)}",
        )
    return _standard(scheme)


def attach_store(prefix: str, address: Address) -> None:
    """Say how the URLs that begin with `prefix` are reached.

    Raises:
        PlanError: the same is reached otherwise already.
    """
    store = STORES[address.scheme](address)
    known = _ATTACHED.get(prefix)
    if known is not None and not _same(known[1], address):
        gc.collect()  # a session that nobody has any more may still be there
    with _LOCK:
        known = _ATTACHED.get(prefix)
        if known is None:
            _ATTACHED[prefix] = (store, address, 1)
        elif _same(known[1], address):
            _ATTACHED[prefix] = (*known[:2], known[2] + 1)
        else:
            raise PlanError(
                f"{prefix} is attached already, with other options: {known[1]}",
                hint="detach that one first: session.catalog.detach(name)",
            )


def detach_store(prefix: str) -> None:
    """Take back one `attach_store`."""
    with _LOCK:
        store, address, count = _ATTACHED[prefix]
        if count > 1:
            _ATTACHED[prefix] = (store, address, count - 1)
        else:
            del _ATTACHED[prefix]


def open_file(path: str) -> Any:
    """Open a file for reading at any position, as a `pyarrow.NativeFile`.

    Raises:
        SourceError: it is not there, or cannot be reached.
    """
    return store_of(path).open(path)


@lru_cache(maxsize=8)
def _standard(scheme: str) -> FileStore:
    return STORES[scheme](Address(scheme))


def _is_below(path: str, prefix: str) -> bool:
    return path.startswith(prefix) and (
        prefix.endswith("/") or len(path) == len(prefix) or path[len(prefix)] == "/"
    )


def _same(left: Address, right: Address) -> bool:
    """Whether two addresses mean the same; secrets are the same if their references are."""
    return left.options == right.options and {
        name: secret.reference for name, secret in left.secrets.items()
    } == {name: secret.reference for name, secret in right.secrets.items()}


__all__ = [
    "STORES",
    "attach_store",
    "detach_store",
    "is_remote",
    "open_file",
    "plain_path",
    "store_of",
]
