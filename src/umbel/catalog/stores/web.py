"""Files of web servers, by http and https: read only, and each named by its URL.

A server that gives ranges of bytes is asked only for those that a reader wants, so that of a
Parquet file only the footer and the columns wanted travel. From any other the file is fetched
whole into a temporary file, up to a limit.
"""

from __future__ import annotations

import email.utils
import gzip
import http.client
import io
import ssl
import tempfile
import time
import urllib.error
import urllib.request
import urllib.response
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa

from umbel.catalog.address import Address, is_secret
from umbel.catalog.stores.base import Child, FileEntry
from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError, RunError, SourceError, UnknownNameError

#: What may be said of a server.
OPTIONS = ("token", "limit", "retries", "timeout")

#: Bytes of a file that is fetched whole, and tries of a request with growing pauses.
LIMIT, RETRIES, TIMEOUT = 2**32, 5, 30.0

#: The first pause, and the longest that a server may ask for.
_PAUSE, _LONGEST_PAUSE = 0.25, 30.0

_AGAIN = frozenset({429, 500, 502, 503, 504})

#: Bytes that are asked for at least: readers ask for many small pieces.
_LEAST = 2**16


@dataclass(frozen=True)
class _Head:
    """What a server says of a file.

    Attributes:
        size: its bytes; None if the server does not say.
        ranges: whether parts of it can be asked for.
        version: its entity tag, or the time of its last change; empty if neither is known.
        modified: nanoseconds of its last change; 0 if not known.
    """

    size: int | None
    ranges: bool
    version: str
    modified: int


class WebStore:
    """Files below one URL, reached with one set of options."""

    def __init__(self, address: Address) -> None:
        for name in (*address.options, *address.secrets):
            if name not in OPTIONS:
                raise UnknownNameError("option", name, OPTIONS, where="a web server")
        self.address = address
        self._limit = _number(address, "limit", LIMIT)
        self._retries = _number(address, "retries", RETRIES)
        self._timeout = float(_number(address, "timeout", int(TIMEOUT)))

    def find(self, path: str) -> Iterator[FileEntry]:
        _check(path)
        if "*" in path or urlsplit(path).path.endswith("/"):
            raise SourceError(
                f"{path}: a web server lists no files, so there are no folders and patterns",
                hint="name each file: ['https://host/a.csv', 'https://host/b.csv']",
            )
        head = self._head(path)
        yield FileEntry(path, head.size or 0, {}, head.modified)

    def children(self, path: str) -> list[Child]:
        raise SourceError(f"{path}: a web server lists no files", hint="read them by their URLs")

    def open(self, path: str) -> Any:
        _check(path)
        head = self._head(path)
        if head.ranges and head.size is not None:
            return pa.PythonFile(io.BufferedReader(_Ranges(self, path, head), _LEAST), mode="r")
        return pa.PythonFile(self._fetched(path, head), mode="r")

    def explain(self, path: str, error: BaseException) -> SourceError | None:
        seen: BaseException | None = error
        while seen is not None:
            if isinstance(seen, SourceError):
                return seen
            seen = seen.__cause__ or seen.__context__
        return None

    def check_target(self, path: str, exists: str) -> None:
        raise RunError(
            f"{path}: files cannot be written by http",
            hint="write to a file of this machine or to an object store (s3://…)",
        )

    def put(self, staged: Path, path: str, exists: str, check: Callable[[], None]) -> None:
        self.check_target(path, exists)

    def filesystem(self) -> Any:
        raise SourceError("a web server is no file system", hint="use an object store")

    def engine_options(self) -> Mapping[str, str] | None:
        return None

    # --- requests -------------------------------------------------------------------------------

    def _head(self, path: str) -> _Head:
        """Ask for the first byte: some servers know no HEAD, and others lie about ranges."""
        with self.request(path, {"Range": "bytes=0-0"}) as answer:
            headers = answer.headers
            version = headers.get("ETag", "") or headers.get("Last-Modified", "")
            modified = _time(headers.get("Last-Modified"))
            total = headers.get("Content-Range", "").rpartition("/")[2]
            if answer.status == 206 and total.isdigit() and not headers.get("Content-Encoding"):
                return _Head(int(total), True, version, modified)
            length = headers.get("Content-Length", "")
            size = int(length) if answer.status == 200 and length.isdigit() else None
            if headers.get("Content-Range", "").endswith("*/0"):
                size = 0
            return _Head(size, False, version, modified)

    def read_range(self, path: str, head: _Head, start: int, end: int) -> bytes:
        """Read bytes from `start` up to `end`."""
        with self.request(path, {"Range": f"bytes={start}-{end - 1}"}) as answer:
            version = answer.headers.get("ETag", "") or answer.headers.get("Last-Modified", "")
            if answer.status != 206 or (head.version and version != head.version):
                raise SourceError(
                    f"{path}: the file was changed while it was read", hint="run it again"
                )
            return self._read(path, answer, end - start)

    def _read(self, path: str, answer: Any, size: int) -> bytes:
        try:
            block: bytes = answer.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise SourceError(
                f"{path}: the connection was lost: {str(error) or type(error).__name__}",
                hint="run it again; if it happens again, fetch the file first",
            ) from None
        if len(block) != size:
            raise SourceError(
                f"{path}: the server sent {len(block)} of {size} bytes", hint="run it again"
            )
        return block

    def _fetched(self, path: str, head: _Head) -> IO[bytes]:
        """Fetch a file whole; the temporary file goes when it is closed."""
        if head.size is not None and head.size > self._limit:
            raise self._too_large(path, head.size)
        with self.request(path, {}) as answer:
            made = tempfile.TemporaryFile(prefix="umbel-web-")  # noqa: SIM115 (handed on open)
            total, expected = 0, answer.headers.get("Content-Length")
            try:
                while block := answer.read(2**20):
                    total += len(block)
                    if total > self._limit:
                        raise self._too_large(path, None)
                    made.write(block)
            except (OSError, http.client.HTTPException) as error:
                made.close()
                raise SourceError(
                    f"{path}: the connection was lost after {total} bytes: "
                    f"{str(error) or type(error).__name__}",
                    hint="run it again",
                ) from None
            except SourceError:
                made.close()
                raise
            if expected and expected.isdigit() and int(expected) != total:
                made.close()
                raise SourceError(
                    f"{path}: the server sent {total} of {expected} bytes", hint="run it again"
                )
            made.seek(0)
            if answer.headers.get("Content-Encoding", "").lower() == "gzip":
                return self._unpacked(path, made)
            return made

    def _unpacked(self, path: str, packed: IO[bytes]) -> IO[bytes]:
        """Take off the compression that a server put on for the way."""
        made = tempfile.TemporaryFile(prefix="umbel-web-")  # noqa: SIM115 (handed on open)
        try:
            with packed, gzip.GzipFile(fileobj=packed) as plain:
                while block := plain.read(2**20):
                    if made.tell() + len(block) > self._limit:
                        raise self._too_large(path, None)
                    made.write(block)
        except (OSError, EOFError) as error:
            made.close()
            raise SourceError(f"{path}: the server sent damaged gzip data: {error}") from None
        except SourceError:
            made.close()
            raise
        made.seek(0)
        return made

    def _too_large(self, path: str, size: int | None) -> SourceError:
        what = f"{size:,} bytes" if size is not None else f"more than {self._limit:,} bytes"
        return SourceError(
            f"{path}: the server gives no ranges, and the file has {what}; "
            f"the limit is {self._limit:,}",
            hint="fetch it first, or attach the server with a higher limit=…",
        )

    def request(self, path: str, headers: Mapping[str, str]) -> Any:
        """Ask for a file, again after a pause if the server is busy.

        Raises:
            SourceError: the server says no, or cannot be reached.
        """
        made = {"Accept-Encoding": "identity", "User-Agent": "umbel", **headers}
        pause = _PAUSE
        for tries_left in range(self._retries - 1, -1, -1):
            request = urllib.request.Request(path, headers=made)  # noqa: S310 (checked: http only)
            if "token" in self.address.secrets:
                # Not sent on to another host that the server sends us to.
                token = self.address.secrets["token"].reveal()
                request.add_unredirected_header("Authorization", f"Bearer {token}")
            try:
                return _OPENER.open(request, timeout=self._timeout)
            except urllib.error.HTTPError as error:
                with error:
                    status, asked = error.code, error.headers.get("Retry-After", "")
                    if status == 416:  # the range of an empty file
                        return self._empty(error)
                    if status not in _AGAIN or not tries_left:
                        raise self._refused(path, status, error.reason) from None
                wait = float(asked) if asked.isdigit() else pause
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, SourceError):
                    raise reason from None
                if not tries_left or not isinstance(reason, TimeoutError | ConnectionError):
                    raise _unreachable(path, reason) from None
                wait = pause
            time.sleep(min(wait, _LONGEST_PAUSE))
            pause *= 2
        raise AssertionError("the last try returns or raises")

    def _empty(self, error: urllib.error.HTTPError) -> Any:
        answer: Any = urllib.response.addinfourl(io.BytesIO(), error.headers, error.url, 416)
        return answer

    def _refused(self, path: str, status: int, reason: str) -> SourceError:
        if 300 <= status < 400:
            return SourceError(
                f"{path}: the server sends us on in circles, or to where no files are read",
                hint="ask for the file where it is",
            )
        what = f"{path}: the server answers {status} {reason}"
        if status in {401, 403}:
            return SourceError(
                what, hint="attach the server with a token: token='env:NAME' or 'file:/path'"
            )
        if status in {404, 410}:
            return SourceError(what, hint="check the URL")
        if status in _AGAIN:
            return SourceError(f"{what}, also after {self._retries} tries", hint="run it later")
        return SourceError(what, hint="check the URL, and what the server says of it")


class _Ranges(io.RawIOBase):
    """A file of a server, of which only what is read travels."""

    def __init__(self, store: WebStore, path: str, head: _Head) -> None:
        self._store, self._path, self._head = store, path, head
        self._size = head.size or 0
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: Any) -> int:
        end = min(self._size, self._place + len(buffer))
        if end <= self._place:
            return 0
        block = self._store.read_range(self._path, self._head, self._place, end)
        buffer[: len(block)] = block
        self._place += len(block)
        return len(block)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows up to ten redirects, by http and https only, and never from https to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        scheme = urlsplit(newurl).scheme.lower()
        if scheme != "https" and req.type == "https":
            raise SourceError(
                f"{req.full_url}: the server sends us on to {scheme or 'nowhere'}, "
                "which nothing protects",
                hint="ask for the file where it is",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


# Only http and https: no files, no FTP, whatever a redirect says.
_OPENER = urllib.request.OpenerDirector()
for _handler in (
    urllib.request.ProxyHandler(),
    urllib.request.UnknownHandler(),
    urllib.request.HTTPHandler(),
    urllib.request.HTTPSHandler(context=ssl.create_default_context()),
    _Redirects(),
    urllib.request.HTTPDefaultErrorHandler(),
    urllib.request.HTTPErrorProcessor(),
):
    _OPENER.add_handler(_handler)


def _check(path: str) -> None:
    """Refuse URLs that hold secrets: a path stands in plans, logs and errors."""
    parts = urlsplit(path)
    if parts.password is not None:
        raise PlanError(
            f"{parts.scheme}://{parts.hostname}{parts.path}: a password has no place in a URL",
            hint="attach the server with token='env:NAME'",
        )
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        if is_secret(name) or "signature" in name.lower() or name.lower() == "sig":
            raise PlanError(
                f"{parts.scheme}://{parts.hostname}{parts.path}: {name} is a secret, which has no "
                "place in a URL",
                hint="attach the server with token='env:NAME', or fetch the file first",
            )


def _unreachable(path: str, reason: Any) -> SourceError:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return SourceError(
            f"{path}: the server's certificate is not to be trusted: {reason.verify_message}",
            hint="check the host's name; SSL_CERT_FILE names further authorities",
        )
    host = urlsplit(path).netloc.rpartition("@")[2]
    what = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return SourceError(
        f"{path}: the server {host} cannot be reached: {what}",
        hint="check the URL and the network",
    )


def _time(text: str | None) -> int:
    try:
        parsed = email.utils.parsedate_to_datetime(text or "")
    except ValueError:
        return 0
    return int(parsed.timestamp()) * 10**9


def _number(address: Address, name: str, default: int) -> int:
    text = address.options.get(name, str(default))
    if not text.isdigit() or not int(text):
        raise PlanError(f"option {name} is a positive number, not {text!r}")
    return int(text)


__all__ = ["LIMIT", "OPTIONS", "WebStore"]
