"""An Iceberg REST catalogue on this machine: the protocol's paths, over a catalogue in SQLite.

No REST catalogue can be installed from PyPI, so the protocol is served here, as far as reading and
writing of tables needs it. Source: github.com/apache/iceberg, open-api/rest-catalog-open-api.yaml.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
)
from pyiceberg.schema import Schema
from pyiceberg.table import CommitTableRequest


class RestCatalogue:
    """Serves a catalogue whose tables lie in `folder`; wants a token."""

    def __init__(self, folder: Path, token: str) -> None:
        self.token = token
        self.commits = 0
        self.fail_commits = 0
        self._catalog = SqlCatalog(
            "rest", uri=f"sqlite:///{folder}/rest.db", warehouse=(folder / "rest").as_uri()
        )
        self._lock = threading.Lock()  # the catalogue is for one thread at a time
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"iceberg+http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._catalog.close()

    def answer(self, method: str, path: list[str], query: str, body: bytes) -> tuple[int, Any]:
        catalog = self._catalog
        match method, path:
            case "GET", ["config"]:
                return 200, {"defaults": {}, "overrides": {}}
            case "GET", ["namespaces"]:
                parent = parse_qs(query).get("parent", [])
                return 200, {"namespaces": [] if parent else catalog.list_namespaces()}
            case "POST", ["namespaces"]:
                catalog.create_namespace(tuple(json.loads(body)["namespace"]))
                return 200, json.loads(body)
            case "GET", ["namespaces", space]:
                properties = catalog.load_namespace_properties(space)
                return 200, {"namespace": [space], "properties": properties}
            case "GET", ["namespaces", space, "tables"]:
                names = [name[-1] for name in catalog.list_tables(space)]
                return 200, {"identifiers": [{"namespace": [space], "name": n} for n in names]}
            case "POST", ["namespaces", space, "tables"]:
                asked = json.loads(body)
                columns = Schema.model_validate(asked["schema"])
                made = catalog._create_staged_table((space, asked["name"]), columns)
                return 200, {"metadata": json.loads(made.metadata.model_dump_json())}
            case "GET", ["namespaces", space, "tables", table]:
                loaded = catalog.load_table((space, table))
                return 200, {
                    "metadata-location": loaded.metadata_location,
                    "metadata": json.loads(loaded.metadata.model_dump_json()),
                }
            case "POST", ["namespaces", space, "tables", table]:
                if self.fail_commits:
                    self.fail_commits -= 1
                    raise CommitFailedException("another writer was faster")
                asked_commit = CommitTableRequest.model_validate_json(body)
                named: Any = SimpleNamespace(name=lambda: (space, table))
                done = catalog.commit_table(named, asked_commit.requirements, asked_commit.updates)
                self.commits += 1
                return 200, json.loads(done.model_dump_json(by_alias=True))
        return 404, {"error": {"message": "no such path", "type": "NotFound", "code": 404}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                path = [unquote(part) for part in parts.path.removeprefix("/v1/").split("/")]
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    if self.headers.get("Authorization") != f"Bearer {outer.token}":
                        status, answer = 401, _error("no permission", "NotAuthorizedException", 401)
                    else:
                        with outer._lock:
                            method = "GET" if self.command == "HEAD" else self.command
                            status, answer = outer.answer(method, path, parts.query, body)
                except (NoSuchTableError, NoSuchNamespaceError) as error:
                    kind = type(error).__name__.replace("Error", "Exception")
                    status, answer = 404, _error(str(error), kind, 404)
                except NamespaceAlreadyExistsError as error:
                    status, answer = 409, _error(str(error), "AlreadyExistsException", 409)
                except CommitFailedException as error:
                    status, answer = 409, _error(str(error), "CommitFailedException", 409)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_POST = do_HEAD = _serve  # noqa: N815

        return Handler


def _error(message: str, kind: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "code": code}}
