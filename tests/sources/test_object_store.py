"""Files of an object store: the same tables as of this machine, and only what is asked for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from tests.sources.conftest import ENGINES, Bucket, S3Server
from tests.sources.s3_server import KEY, SECRET
from umbel import col
from umbel.catalog import footers

TABLE = pa.table(
    {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "name": ["ann", "bob", None, "dörte"],
        "amount": [1.5, None, -0.25, 1e20],
    }
)


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def rows(frame: ub.DataFrame) -> list[dict[str, Any]]:
    return sorted(frame.collect().to_pylist(), key=lambda row: row["id"])


# --- every format, written and read ------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("form", ["parquet", "csv", "csv.gz", "json", "json.zst", "ipc"])
def test_what_is_written_is_read_again(
    session: ub.Session, bucket: Bucket, form: str, engine: str
) -> None:
    path = f"{bucket.url}/folder/table.{form}"
    kind = form.split(".", maxsplit=1)[0]
    getattr(session.from_arrow(TABLE).on(engine), f"write_{kind}")(path)
    assert bucket.keys() == [f"folder/table.{form}"]
    frame = getattr(session, f"read_{kind}")(f"{bucket.url}/folder/")
    assert rows(frame.on(engine)) == TABLE.to_pylist()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["words.txt", "words.txt.gz", "words.txt.bz2"])
def test_lines_of_text(session: ub.Session, bucket: Bucket, engine: str, name: str) -> None:
    path = f"{bucket.url}/{name}"
    session.from_items(["a b", "", "ç"]).write_text(path)
    assert session.read_text(path).on(engine).collect() == ["a b", "", "ç"]


@pytest.mark.parametrize("engine", ENGINES)
def test_hive_folders_and_patterns(
    session: ub.Session, bucket: Bucket, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Keep what is known of these files, though they are new.
    monkeypatch.setattr(footers, "_YOUNG", 0)
    for year in (2023, 2024):
        for month in (1, 2):
            table = pa.table({"id": [year * 100 + month]})
            bucket.put(f"t/year={year}/month={month}/a.parquet", parquet_bytes(table))
    bucket.put("t/year=2024/_SUCCESS", b"")
    frame = session.read_parquet(f"{bucket.url}/t/")
    expected = [{"id": y * 100 + m, "year": y, "month": m} for y in (2023, 2024) for m in (1, 2)]
    assert rows(frame.on(engine)) == expected
    chosen = session.read_parquet(f"{bucket.url}/t/year=*/month=2/*.parquet").on(engine)
    assert rows(chosen) == [row for row in expected if row["month"] == 2]
    deep = session.read_parquet(f"{bucket.url}/t/**/a.parquet").on(engine)
    assert rows(deep) == expected
    before = len(bucket.requests("GET"))
    # What is pinned is not rewritten: the filter is free to go into the scan.
    chosen = frame.filter(col("year") == 2024).select("id", "year", "month").on(engine)
    assert rows(chosen) == expected[2:]
    asked = {e["path"] for e in bucket.requests("GET")[before:] if "list-type" not in e["query"]}
    assert f"/{bucket.name}/t/year=2023/month=2/a.parquet" not in asked


# --- only what is asked for --------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_only_wanted_columns_and_row_groups_travel(
    session: ub.Session, bucket: Bucket, engine: str
) -> None:
    n = 200_000
    wide = pa.table(
        {
            "id": pa.array(range(n)),
            **{f"c{i}": pa.array([f"{(x * 7919 + i) % 999983}-{i}" for x in range(n)])
               for i in range(6)},
        }
    )  # fmt: skip
    content = parquet_bytes(wide, row_group_size=n // 10, compression="none")
    path = bucket.put("wide.parquet", content)
    frame = session.read_parquet(path)
    bucket_start = bucket.sent()
    assert bucket_start < 2**18  # the schema comes from the footer
    found = frame.filter(col("id") < n // 10).select(ub.col("c0").str.len_chars().sum()).on(engine)
    expected = sum(len(v) for v in wide.column("c0").slice(0, n // 10).to_pylist())
    assert found.collect().column(0).to_pylist() == [expected]
    # Of one row group of ten, id and c0: less than half of its seven columns, and footers.
    assert bucket.sent() - bucket_start < len(content) / 10 / 2 + 2**19


def test_the_schema_comes_from_one_footer(session: ub.Session, bucket: Bucket) -> None:
    for i in range(20):
        bucket.put(f"many/{i:02}.parquet", parquet_bytes(pa.table({"id": [i]})))
    start = len(bucket.requests())
    frame = session.read_parquet(f"{bucket.url}/many/")
    asked = [e["path"] for e in bucket.requests("GET")[start:] if "list-type" not in e["query"]]
    assert frame.schema.names == ["id"]
    assert set(asked) <= {f"/{bucket.name}/many/00.parquet"}


# --- writing ------------------------------------------------------------------------------------


def test_a_large_object_is_uploaded_in_parts(session: ub.Session, bucket: Bucket) -> None:
    values = pa.array(range(3_000_000))
    session.from_arrow(pa.table({"n": values})).write_parquet(
        f"{bucket.url}/big.parquet", compression="none"
    )
    queries = [e["query"] for e in bucket.requests("PUT", "POST")]
    assert any("partNumber=2" in query for query in queries)
    assert pq.read_metadata(io.BytesIO(bucket.get("big.parquet"))).num_rows == 3_000_000


def test_a_broken_upload_leaves_what_was_there(session: ub.Session, s3: S3Server) -> None:
    bucket = s3.bucket("-breaks")
    path = bucket.put("big.parquet", b"before").removesuffix("")
    frame = session.from_arrow(pa.table({"n": pa.array(range(3_000_000))}))
    with pytest.raises(ub.RunError, match="no permission"):
        frame.write_parquet(path, compression="none")
    assert bucket.get("big.parquet") == b"before"
    assert bucket.keys() == ["big.parquet"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_failing_run_writes_nothing(session: ub.Session, bucket: Bucket, engine: str) -> None:
    frame = session.from_dict({"text": ["1", "x"]}).select(col("text").cast(pa.int64()))
    with pytest.raises(ub.UmbelError):
        frame.on(engine).write_parquet(f"{bucket.url}/out.parquet")
    assert bucket.keys() == []
    assert not [e for e in bucket.requests("PUT", "POST") if e["path"].count("/") > 1]


def test_existing_objects_may_be_kept(session: ub.Session, bucket: Bucket) -> None:
    path = bucket.put("a.csv", b"x\n1\n")
    with pytest.raises(ub.RunError, match="there already"):
        session.from_arrow(TABLE).write_csv(path, exists="fail")
    assert bucket.get("a.csv") == b"x\n1\n"
    session.from_dict({"y": [2]}).write_csv(path)
    assert bucket.get("a.csv") == b"y\n2\n"


# --- what goes wrong ---------------------------------------------------------------------------


def complaint(work: Any) -> ub.UmbelError:
    with pytest.raises(ub.UmbelError) as caught:
        work()
    assert caught.value.hint
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("engine", ENGINES)
def test_an_object_removed_after_planning(session: ub.Session, bucket: Bucket, engine: str) -> None:
    path = bucket.put("a.parquet", parquet_bytes(TABLE))
    frame = session.read_parquet(path).on(engine)
    bucket.filesystem.delete_file(f"{bucket.name}/a.parquet")
    assert path in complaint(frame.collect).message


def test_missing_keys_and_buckets(session: ub.Session, bucket: Bucket) -> None:
    bucket.put("folder/sales.csv", b"a\n1\n")
    error = complaint(lambda: session.read_csv(f"{bucket.url}/folder/sale.csv"))
    assert "did you mean sales.csv?" in error.hint
    error = complaint(lambda: session.read_csv(f"{bucket.url}/folder/*.parquet"))
    assert "sales.csv" in error.hint
    error = complaint(lambda: session.read_csv("s3://no-such-bucket/a.csv"))
    assert "there is no bucket 'no-such-bucket'" in error.message
    error = complaint(lambda: session.from_arrow(TABLE).write_csv("s3://no-such-bucket/a.csv"))
    assert "there is no bucket 'no-such-bucket'" in error.message
    error = complaint(lambda: session.from_arrow(TABLE).write_csv(f"{bucket.url}/"))
    assert "not the name of an object" in error.message


def test_a_busy_store_is_asked_again(session: ub.Session, s3: S3Server) -> None:
    bucket = s3.bucket("-busy")
    path = bucket.put("a.csv", b"id\n7\n")
    assert rows(session.read_csv(path)) == [{"id": 7}]
    assert [e["status"] for e in bucket.requests() if e["path"].endswith("a.csv")].count(503) >= 1


def test_a_store_that_throttles(session: ub.Session, s3: S3Server) -> None:
    name = s3.bucket("-throttled").url
    session.catalog.attach("slow", name, retries=2)
    error = complaint(lambda: session.read_csv(f"{name}/a.csv"))
    assert "slow down, also after 2 tries" in error.message
    session.catalog.detach("slow")


def test_no_permission(session: ub.Session, s3: S3Server) -> None:
    bucket = s3.bucket("-denied")
    error = complaint(lambda: session.read_csv(f"{bucket.url}/a.csv"))
    assert "gives no permission" in error.message
    error = complaint(lambda: session.from_arrow(TABLE).write_csv(f"{bucket.url}/a.csv"))
    assert "gives no permission" in error.message


def test_a_wrong_key(session: ub.Session, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    error = complaint(lambda: session.read_csv(f"{s3.bucket().url}/a.csv"))
    assert "gives no permission" in error.message


def test_a_wrong_endpoint(
    session: ub.Session, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    error = complaint(lambda: session.read_csv("s3://any/a.csv"))
    assert "http://127.0.0.1:1 cannot be reached" in error.message


# --- credentials and endpoints ------------------------------------------------------------------


def test_profiles_of_the_standard_files(
    session: ub.Session, s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    config, credentials = tmp_path / "config", tmp_path / "credentials"
    config.write_text(f"[profile lab]\nregion = eu-west-1\nendpoint_url = {s3.endpoint}\n")
    credentials.write_text(f"[lab]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_PROFILE", "lab")
    path = s3.bucket().put("a.parquet", parquet_bytes(TABLE))
    for engine in ENGINES:
        assert rows(session.read_parquet(path).on(engine)) == TABLE.to_pylist()
    monkeypatch.setenv("AWS_PROFILE", "lap")
    assert "did you mean 'lab'?" in complaint(lambda: session.read_parquet(path)).hint


@pytest.mark.parametrize("engine", ENGINES)
def test_an_attached_store_keeps_its_secrets(
    session: ub.Session,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    engine: str,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name)
    bucket = s3.bucket()
    bucket.put("t/a.parquet", parquet_bytes(TABLE))
    (tmp_path / "secret").write_text(SECRET + "\n")
    monkeypatch.setenv("LAKE_KEY", KEY)
    session.catalog.attach(
        "lake",
        bucket.url,
        endpoint_url=s3.endpoint,
        access_key_id="env:LAKE_KEY",
        secret_access_key=f"file:{tmp_path / 'secret'}",
    )
    frame = session.read_parquet(f"{bucket.url}/t/").on(engine)
    assert rows(frame) == TABLE.to_pylist()
    result = session.run(frame.plan)
    shown = [
        repr(session.catalog), str(frame.explain()), ub.plan_to_json(frame.plan), str(frame),
        *(stage.text for stage in result.run.stages),
    ]  # fmt: skip
    assert not [text for text in shown if SECRET in text]
    session.catalog.detach("lake")


def test_secrets_as_they_are_are_refused(session: ub.Session) -> None:
    error = complaint(lambda: session.catalog.attach("lake", "s3://lake", secret_access_key=SECRET))
    assert "by reference" in error.message
    error = complaint(lambda: session.catalog.attach("lake", "s3://lake", endpoint="http://x"))
    assert "did you mean 'endpoint_url'?" in error.hint


@pytest.mark.parametrize("exists", ["replace", "fail"])
def test_an_object_of_a_durable_run_is_uploaded_once(
    session: ub.Session,
    bucket: Bucket,
    exists: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from umbel.executor.runs import RunStore, StoreError, recording

    def lost(*arguments: Any) -> None:
        raise StoreError("the store is away")

    path, store = f"{bucket.url}/out.csv", RunStore(tmp_path / "runs")
    durable = ub.connect(progress=False, durable=store)
    with monkeypatch.context() as away:  # between the upload and its record
        away.setattr(recording.Recorder, "keep", lambda self, planned, *rest: (
            lost() if planned.platform.name == "umbel" else None
        ))  # fmt: skip
        with pytest.raises(StoreError):
            durable.from_arrow(TABLE).write_csv(path, exists=exists)
    assert bucket.keys() == ["out.csv"]
    written, uploads = bucket.get("out.csv"), len(bucket.requests("PUT", "POST"))
    [run] = store.runs()
    assert durable.resume(run.id).table.to_pydict() == {"path": [path], "rows": [4]}
    assert len(bucket.requests("PUT", "POST")) == uploads
    assert bucket.get("out.csv") == written
    store.close()
