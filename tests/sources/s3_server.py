"""An S3 server on this machine: moto's, with a log of requests, a check of keys, and faults.

Run as `python -m tests.sources.s3_server FOLDER PID`: writes FOLDER/port once it listens and one
JSON line per request to FOLDER/requests, and ends when the process PID does. Names of buckets call
for faults: `…-throttled` always asks to slow down, `…-busy` does so twice for each object, and
`…-denied` gives no permission; `…-breaks` refuses the second part of every upload.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

KEY, SECRET = "umbel-tests", "umbel-tests-secret"

_ERROR = '<?xml version="1.0"?><Error><Code>{0}</Code><Message>{0}</Message></Error>'


class Watched:
    """The server's application, with what is around it."""

    def __init__(self, app: Callable[..., Iterable[bytes]], log: Path) -> None:
        self._app = app
        self._log = log.open("a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._seen: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        said: list[str] = []

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            said.append(status)
            return start_response(status, headers)

        fault = self._fault(environ, path, query)
        if fault is not None:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            status, code = fault
            start(status, [("Content-Type", "application/xml")])
            body = [] if environ["REQUEST_METHOD"] == "HEAD" else [_ERROR.format(code).encode()]
        else:
            body = list(self._app(environ, start))
        entry = {
            "method": environ["REQUEST_METHOD"],
            "path": path,
            "query": query,
            "range": environ.get("HTTP_RANGE", ""),
            "status": int(said[0].split()[0]),
            "bytes": sum(map(len, body)),
        }
        with self._lock:
            self._log.write(json.dumps(entry) + "\n")
        return body

    def _fault(self, environ: dict[str, Any], path: str, query: str) -> tuple[str, str] | None:
        bucket = path.split("/")[1]
        if f"Credential={KEY}/" not in environ.get("HTTP_AUTHORIZATION", ""):
            return "403 Forbidden", "InvalidAccessKeyId"
        if bucket.endswith("-throttled"):
            return "503 Slow Down", "SlowDown"
        if bucket.endswith("-denied"):
            return "403 Forbidden", "AccessDenied"
        if bucket.endswith("-breaks") and "partNumber=2" in query:
            return "403 Forbidden", "AccessDenied"
        asks = environ["REQUEST_METHOD"] in {"GET", "HEAD"} and len(path.split("/")) > 2
        if bucket.endswith("-busy") and asks:
            with self._lock:
                self._seen[path] += 1
                if self._seen[path] <= 2:
                    return "503 Slow Down", "SlowDown"
        return None


def main(folder: Path, watched: int) -> None:
    """Serve until the process `watched` ends."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    # The log of requests says what the server's own would.
    quiet = {"protocol_version": "HTTP/1.1", "log": lambda *_: None}
    handler: Any = type("Quiet", (WSGIRequestHandler,), quiet)
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server(
        "127.0.0.1", 0, Watched(app, folder / "requests"), threaded=True, request_handler=handler
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (folder / "port.new").write_text(str(server.server_address[1]))
    (folder / "port.new").rename(folder / "port")
    while True:
        time.sleep(0.5)
        try:
            os.kill(watched, 0)
        except ProcessLookupError:
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
