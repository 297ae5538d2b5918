"""Files of web servers: the same tables, only the ranges wanted, and servers that misbehave."""

from __future__ import annotations

import gzip
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from tests.sources.conftest import ENGINES
from tests.sources.web_server import WebServer
from umbel import col

CSV = b"id,name\n1,ann\n2,\n"
ROWS = [{"id": 1, "name": "ann"}, {"id": 2, "name": None}]


def rows(frame: ub.DataFrame) -> list[dict[str, Any]]:
    return sorted(frame.collect().to_pylist(), key=lambda row: row["id"])


def complaint(work: Any) -> ub.UmbelError:
    with pytest.raises(ub.UmbelError) as caught:
        work()
    assert caught.value.hint
    return caught.value


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ranges", [True, False])
def test_every_format(session: ub.Session, web: WebServer, engine: str, ranges: bool) -> None:
    table = pa.table({"id": [1, 2], "name": ["ann", None]})
    feather = io.BytesIO()
    with pa.ipc.new_file(feather, table.schema) as writer:
        writer.write_table(table)
    json = b'{"id": 1, "name": "ann"}\n{"id": 2, "name": null}\n'
    for read, path, content in (
        (session.read_csv, "/a.csv", CSV),
        (session.read_csv, "/b.csv.gz", gzip.compress(CSV)),
        (session.read_json, "/a.jsonl", json),
        (session.read_parquet, "/a.parquet", parquet_bytes(table)),
        (session.read_ipc, "/a.arrow", feather.getvalue()),
    ):
        url = web.put(path, content, ranges=ranges)
        assert rows(read(url).on(engine)) == ROWS, path
    text = web.put("/words.txt", b"a b\n\nc\n", ranges=ranges)
    assert session.read_text(text + "?version=2").on(engine).collect() == ["a b", "", "c"]


@pytest.mark.parametrize("engine", ENGINES)
def test_only_wanted_columns_travel(session: ub.Session, web: WebServer, engine: str) -> None:
    n = 100_000
    table = pa.table({f"c{i}": pa.array(range(i, n + i)) for i in range(10)})
    content = parquet_bytes(table, row_group_size=n // 10, compression="none", use_dictionary=False)
    url = web.put("/wide.parquet", content)
    frame = session.read_parquet(url).filter(col("c0") < 10).select("c0").on(engine)
    assert sorted(r["c0"] for r in frame.collect().to_pylist()) == list(range(10))
    # One column of one row group is a hundredth; footers are asked for a few times.
    assert web.sent() < len(content) / 10


def test_redirects_are_followed_but_not_in_circles(session: ub.Session, web: WebServer) -> None:
    url = web.put("/here.csv", CSV)
    moved = web.put("/moved.csv", status=302, headers={"Location": url})
    assert rows(session.read_csv(moved)) == ROWS
    circle = web.put("/circle.csv", status=302, headers={"Location": web.url + "/circle.csv"})
    assert "/circle.csv" in complaint(lambda: session.read_csv(circle)).message
    out = web.put("/out.csv", status=302, headers={"Location": "file:///etc/passwd"})
    assert "/out.csv" in complaint(lambda: session.read_csv(out)).message


def test_tokens_stay_with_their_host(
    session: ub.Session, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_TOKEN", "hunter2")
    url = web.put("/closed/a.csv", CSV, token="hunter2")
    error = complaint(lambda: session.read_csv(url))
    assert "401" in error.message
    assert "token=" in error.hint
    with WebServer() as other:
        elsewhere = other.put("/a.csv", CSV)
        web.put("/closed/b.csv", status=302, headers={"Location": elsewhere})
        session.catalog.attach("web", web.url + "/closed", token="env:WEB_TOKEN")
        assert rows(session.read_csv(url)) == ROWS
        assert rows(session.read_csv(web.url + "/closed/b.csv")) == ROWS
        assert not [r for r in other.requests if "Authorization" in r["headers"]]
    assert "hunter2" not in repr(session.catalog)
    session.catalog.detach("web")


def test_busy_servers_are_asked_again(session: ub.Session, web: WebServer) -> None:
    assert rows(session.read_csv(web.put("/busy.csv", CSV, failures=[503, 429]))) == ROWS
    url = web.put("/down.csv", CSV, failures=[503] * 99)
    session.catalog.attach("down", url, retries=2)
    assert "also after 2 tries" in complaint(lambda: session.read_csv(url)).message
    session.catalog.detach("down")


def test_files_without_ranges_have_a_limit(session: ub.Session, web: WebServer) -> None:
    for path, length in (("/long.csv", True), ("/endless.csv", False)):
        url = web.put(path, CSV * 100, ranges=False, length=length)
        session.catalog.attach("small", url, limit=100)
        assert "the limit is 100" in complaint(lambda u=url: session.read_csv(u)).message
        session.catalog.detach("small")
        assert session.read_csv(url, schema={"id": pa.string()}).count() == 299


def test_what_goes_wrong(session: ub.Session, web: WebServer) -> None:
    assert "404" in complaint(lambda: session.read_csv(web.url + "/none.csv")).message
    assert "lists no files" in complaint(lambda: session.read_csv(web.url + "/folder/")).message
    assert "lists no files" in complaint(lambda: session.read_csv(web.url + "/*.csv")).message
    error = complaint(lambda: session.read_csv("http://127.0.0.1:1/a.csv"))
    assert "127.0.0.1:1 cannot be reached" in error.message
    cut = web.put("/cut.csv", CSV * 1000, cut=50, ranges=False)
    assert "/cut.csv" in complaint(lambda: session.read_csv(cut)).message
    empty = web.put("/empty.csv", b"")
    assert "the file is empty" in complaint(lambda: session.read_csv(empty)).message
    wrong = web.put("/wrong.parquet", b"<html>not here</html>")
    assert "not well-formed Parquet" in complaint(lambda: session.read_parquet(wrong)).message


def test_a_file_that_changes_while_it_is_read(session: ub.Session, web: WebServer) -> None:
    table = pa.table({"id": range(300_000)})
    content = parquet_bytes(table, compression="none", use_dictionary=False)
    url = web.put("/a.parquet", content, headers={"ETag": '"1"'})
    frame = session.read_parquet(url)

    def change(path: str) -> None:
        if len([r for r in web.requests if r["range"] not in {"", "bytes=0-0"}]) >= asked + 1:
            web.pages[path].headers["ETag"] = '"2"'

    asked = len([r for r in web.requests if r["range"] not in {"", "bytes=0-0"}])
    web.on_request = change
    error = complaint(lambda: frame.on("python").select(col("id").sum()).collect())
    assert "changed while it was read" in error.message


def test_nothing_is_written(session: ub.Session, web: WebServer) -> None:
    error = complaint(lambda: session.from_dict({"a": [1]}).write_csv(web.url + "/a.csv"))
    assert "cannot be written by http" in error.message
    assert not web.requests


@pytest.mark.parametrize(
    "url", ["https://ann:hunter2@host/a.csv", "https://host/a.csv?X-Amz-Signature=hunter2",
            "https://host/a.csv?access_token=hunter2"],
)  # fmt: skip
def test_secrets_have_no_place_in_urls(session: ub.Session, url: str) -> None:
    error = complaint(lambda: session.read_csv(url))
    assert "no place in a URL" in error.message
    assert "hunter2" not in str(error)
