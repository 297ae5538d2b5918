"""A web server on this machine, which can be made to behave in the ways that servers do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Page:
    """What stands under a path.

    Attributes:
        content: its bytes.
        ranges: whether the server gives parts of it.
        length: whether the server says how long it is.
        headers: further headers of the answer.
        failures: statuses that are answered first, one per request.
        cut: the connection is closed after so many bytes.
        token: what must be in the request.
    """

    content: bytes = b""
    ranges: bool = True
    length: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    status: int = 200
    cut: int | None = None
    token: str = ""


class WebServer:
    """Serves pages, and remembers who asked for what."""

    def __init__(self) -> None:
        self.pages: dict[str, Page] = {}
        self.requests: list[dict[str, Any]] = []
        self.on_request: Callable[[str], None] = lambda path: None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def put(self, path: str, content: bytes = b"", **options: Any) -> str:
        self.pages[path] = Page(content, **options)
        return self.url + path

    def sent(self) -> int:
        return sum(request["bytes"] for request in self.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """The list of requests says it."""

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                outer.on_request(path)
                page = outer.pages.get(path)
                asked = self.headers.get("Range", "")
                note = {"path": path, "range": asked, "headers": dict(self.headers), "bytes": 0}
                outer.requests.append(note)
                if page is None:
                    return self.send_error(404)
                if page.failures:
                    self.send_response(page.failures.pop(0))
                    self.send_header("Retry-After", "0")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                if page.token and self.headers.get("Authorization") != f"Bearer {page.token}":
                    return self.send_error(401)
                content, status = page.content, page.status
                headers = dict(page.headers)
                if page.ranges and asked and status == 200:
                    start, end = (int(n) for n in asked.removeprefix("bytes=").split("-"))
                    if start >= len(content):
                        status = 416
                        headers["Content-Range"] = f"bytes */{len(content)}"
                        content = b""
                    else:
                        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
                        content, status = content[start : end + 1], 206
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if page.length:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                try:
                    note["bytes"] = len(content[: page.cut])
                    self.wfile.write(content[: page.cut])
                except (BrokenPipeError, ConnectionResetError):
                    note["bytes"] = 0  # who asked has gone
                return None

        return Handler


__all__ = ["Page", "WebServer"]
