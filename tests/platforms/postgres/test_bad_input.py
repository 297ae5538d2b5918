"""Servers that are down, refuse, lock, change or end: each a clear error, and nothing is left."""

from __future__ import annotations

import os
import threading
import time

import pyarrow as pa
import pytest

import umbel as ub
from tests.postgres_server import PASSWORD
from umbel import col
from umbel.plan.errors import CancelledError, PlacementError, PlanError, RunError, SourceError

AT_WORK = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND state = 'active'"
)
SLOW = "SELECT g AS a, pg_sleep(0.01) IS NULL AS b FROM generate_series(1, 3000) AS g"


def attach(url: str, **options: str):
    session = ub.connect(progress=False)
    session.catalog.attach("warehouse", url, **options)
    return session


def test_a_server_that_is_down():
    session = attach("postgresql://ann:hunter2@127.0.0.1:1/sales")
    with pytest.raises(SourceError, match=r"'warehouse'.*cannot be reached") as caught:
        session.table("warehouse.orders")
    assert "check that it runs" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_host_that_does_not_exist():
    session = attach("postgresql://nowhere.invalid/sales")
    with pytest.raises(SourceError, match="cannot be reached"):
        session.catalog.tables("warehouse")


@pytest.fixture
def reader(postgres, execute):
    """A role of this process's own: all databases of the server have the same roles."""
    role = f"reader_{os.getpid()}"
    execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    yield role
    execute(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def tcp(postgres, database, login: str) -> str:
    name = database.split("@/")[1].split("?")[0]
    return f"postgresql://{login}@127.0.0.1:{postgres.port}/{name}"


def test_a_login_that_is_refused(postgres, database, reader):
    session = attach(tcp(postgres, database, f"{reader}:wrong"))
    with pytest.raises(SourceError, match="password authentication failed") as caught:
        session.table("warehouse.orders")
    assert "check the user and the password" in str(caught.value)
    assert "wrong" not in str(caught.value)


def test_a_password_by_reference(postgres, database, reader, monkeypatch, tmp_path):
    url = tcp(postgres, database, reader)
    monkeypatch.setenv("UMBEL_TEST_PASSWORD", PASSWORD)
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    for reference in ("env:UMBEL_TEST_PASSWORD", f"file:{file}"):
        session = attach(url, password=reference)
        assert len(session.catalog.tables("warehouse")) == 0
        assert PASSWORD not in repr(session.catalog)
        session.catalog.detach("warehouse")


def test_libpqs_own_ways_to_a_password_work(postgres, database, reader, monkeypatch, tmp_path):
    url = tcp(postgres, database, reader)
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert len(attach(url).catalog.tables("warehouse")) == 0
    monkeypatch.delenv("PGPASSWORD")
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"*:*:*:{reader}:{PASSWORD}\n")
    passfile.chmod(0o600)
    assert len(attach(url, passfile=str(passfile)).catalog.tables("warehouse")) == 0


def test_a_database_that_does_not_exist(postgres):
    session = attach(postgres.url("nothing_here"))
    with pytest.raises(SourceError, match='database "nothing_here" does not exist'):
        session.catalog.tables("warehouse")


def test_an_option_that_does_not_exist(postgres):
    with pytest.raises(PlanError, match="sslmood"):
        attach(postgres.url(), sslmood="require").catalog.tables("warehouse")


def test_a_table_that_does_not_exist_names_those_that_do(session, execute):
    execute("CREATE TABLE orders (id int)")
    with pytest.raises(PlanError, match=r"did you mean 'warehouse.public.orders'"):
        session.table("warehouse.order")


def test_a_short_name_in_two_schemas(session, execute):
    execute(
        "CREATE SCHEMA a", "CREATE SCHEMA b", "CREATE TABLE a.t (x int)", "CREATE TABLE b.t (x int)"
    )
    with pytest.raises(PlanError, match=r"may be one of: a.t, b.t"):
        session.table("warehouse.t")
    assert session.table("warehouse.a.t").schema.names == ["x"]


def test_a_query_that_is_wrong(session):
    with pytest.raises(RunError, match='syntax error at or near "t"'):
        session.query("warehouse", "SELECT 1 FORM t")
    with pytest.raises(SourceError, match="two columns 'a'"):
        session.query("warehouse", "SELECT 1 AS a, 2 AS a")


def test_a_query_cannot_change_anything(session, execute):
    execute("CREATE TABLE t (a int)", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS "
            "'INSERT INTO t VALUES (1) RETURNING a'")  # fmt: skip
    frame = session.query("warehouse", "SELECT f() AS a")
    with pytest.raises(RunError, match="read-only transaction"):
        frame.collect()
    assert execute("SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ALTER TABLE t ALTER a TYPE text", "column 'a' is string, not int32"),
        ("ALTER TABLE t DROP a", "column 'a' is gone"),
        ("ALTER TABLE t RENAME TO u", "not there any more"),
        ("DROP TABLE t", "not there any more"),
    ],
)
def test_a_table_that_changes_between_planning_and_running(
    session, execute, nothing_left, change, message
):
    execute("CREATE TABLE t AS SELECT 1 AS a, 2 AS b")
    frame = session.table("warehouse.t")
    assert frame.collect().to_pylist() == [{"a": 1, "b": 2}]
    execute(change)
    with pytest.raises(SourceError, match=message) as caught:
        frame.collect()
    assert "make the frame anew" in str(caught.value)


def test_a_new_column_does_not_disturb(session, execute):
    execute("CREATE TABLE t AS SELECT 1 AS a")
    frame = session.table("warehouse.t")
    execute("ALTER TABLE t ADD b int")
    assert frame.collect().to_pylist() == [{"a": 1}]


def test_no_privilege_to_read(postgres, database, execute, reader):
    execute("CREATE TABLE secret (a int)")
    session = attach(database.replace("umbel@", f"{reader}@"))
    assert len(session.catalog.tables("warehouse")) == 0
    frame = session.table("warehouse.secret")
    with pytest.raises(RunError, match="permission denied for table secret") as caught:
        frame.collect()
    assert "GRANT" in str(caught.value)
    session.catalog.detach("warehouse")


def test_no_privilege_for_temporary_tables(postgres, database, execute, reader):
    name = execute("SELECT current_database()")[0][0]
    execute("CREATE TABLE t AS SELECT g AS a FROM generate_series(1, 100) g", f"GRANT SELECT ON t TO {reader}",
            f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC")  # fmt: skip
    session = attach(database.replace("umbel@", f"{reader}@"))
    table = session.table("warehouse.t")
    assert table.filter(col("a") < 3).count() == 2  # reading needs none
    mine = session.from_dict({"a": list(range(50))})
    assert table.join(mine, on="a").count() == 49  # placed elsewhere
    with pytest.raises(PlacementError, match=r"no temporary tables.*GRANT TEMPORARY"):
        mine.on("warehouse").collect()
    session.catalog.detach("warehouse")


# --- in the middle of a run -------------------------------------------------------------------


def while_running(execute, work, act) -> BaseException:
    """Do something while the server runs some work of another thread; give what that raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is what is asked for
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    until = time.monotonic() + 30
    while execute(AT_WORK) == [(0,)] and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.2)  # into the midst of it
    act()
    thread.join(20)
    assert not thread.is_alive()
    assert raised, "it did not fail"
    return raised[0]


def test_a_connection_that_drops_midway(session, execute, nothing_left):
    frame = session.query("warehouse", SLOW)
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()"
    )
    error = while_running(execute, frame.collect, lambda: execute(kill))
    assert isinstance(error, RunError)
    assert "'warehouse'" in str(error)
    assert "connection was lost" in str(error)
    assert session.query("warehouse", "SELECT 1 AS a").collect().to_pydict() == {"a": [1]}


def test_a_cancelled_run_stops_the_server_at_once(session, execute, nothing_left):
    frame = session.query("warehouse", SLOW)
    began = time.perf_counter()
    error = while_running(execute, frame.collect, session.cancel)
    assert isinstance(error, CancelledError)
    assert time.perf_counter() - began < 10  # the query takes 30 s
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND state = 'active' AND pid <> pg_backend_pid()"
    deadline = time.monotonic() + 5
    while execute(busy) != [(0,)] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert execute(busy) == [(0,)]


def test_a_cancelled_write_leaves_nothing(session, execute, nothing_left):
    frame = session.query("warehouse", SLOW)
    error = while_running(execute, lambda: frame.write_table("warehouse.t"), session.cancel)
    assert isinstance(error, CancelledError)
    time.sleep(0.2)
    assert execute(
        "SELECT count(*) FROM pg_class WHERE relname LIKE 't%' AND relkind = 'r' AND relnamespace = 'public'::regnamespace"
    ) == [(0,)]


def test_a_statement_that_takes_too_long(database, execute, nothing_left):
    execute(
        "ALTER DATABASE "
        + execute("SELECT current_database()")[0][0]
        + " SET statement_timeout = '300ms'"
    )
    session = attach(database)
    with pytest.raises(RunError, match="statement timeout") as caught:
        session.query("warehouse", SLOW).collect()
    assert "statement_timeout" in caught.value.hint
    session.catalog.detach("warehouse")


def test_a_table_that_is_locked(database, execute, nothing_left, postgres):
    import psycopg

    name = execute("SELECT current_database()")[0][0]
    execute("CREATE TABLE t AS SELECT 1 AS a", f"ALTER DATABASE {name} SET lock_timeout = '300ms'")
    session = attach(database)
    frame = session.table("warehouse.t")
    with psycopg.connect(host=str(postgres.folder), user="umbel", dbname=name) as other:
        other.execute("LOCK TABLE t")
        with pytest.raises(RunError, match="lock timeout") as caught:
            frame.collect()
        other.rollback()
    assert "another session holds a lock" in caught.value.hint
    assert frame.count() == 1
    session.catalog.detach("warehouse")


def test_detaching_closes_all_connections(session, execute, postgres):
    execute("CREATE TABLE t AS SELECT 1 AS a")
    assert session.table("warehouse.t").count() == 1
    session.catalog.detach("warehouse")
    time.sleep(0.2)
    assert execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    ) == [(0,)]


def test_a_value_that_does_not_fit_is_an_evaluation(session, execute):
    execute("CREATE TABLE t AS SELECT 9223372036854775807 AS a")
    frame = session.table("warehouse.t").select(b=col("a") + 1).on("warehouse")
    with pytest.raises(RunError, match="bigint out of range") as caught:
        frame.collect()
    assert "warehouse" in str(caught.value)
    strict = session.table("warehouse.t").select(b=col("a").cast(pa.int8())).on("warehouse")
    with pytest.raises(RunError, match="no int8: 9223372036854775807"):
        strict.collect()
