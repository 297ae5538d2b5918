"""The SQL door to a federation: tools of others ask a coordinator's tables, as one user."""

from __future__ import annotations

from pathlib import Path

import adbc_driver_flightsql.dbapi as adbc
import pytest
from adbc_driver_flightsql import DatabaseOptions

import umbel as ub
from tests.federation.coordinator.conftest import PEOPLE, Running
from umbel.cli.serve import serve
from umbel.cli.settings import Settings
from umbel.federation.client import RemoteSession

_WORD = "a-word-that-callers-show"


def test_tools_ask_a_federation_and_list_its_tables(remote: RemoteSession, tmp_path: Path):
    (tmp_path / "door").write_text(_WORD)
    remote.register("old", remote.from_dict({"least": [80]}))
    shown = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {_WORD}"}
    question = "select count(*) from ref.people join old on age >= least where age < ?"
    with remote.serve(port=0, token=f"file:{tmp_path}/door") as door:
        with adbc.connect(door.url, db_kwargs=shown, autocommit=True) as connection:
            with connection.cursor() as cursor:
                cursor.execute(question, [85])
                expected = sum(80 <= age < 85 for _, age, _ in PEOPLE)
                assert cursor.fetchall() == [(expected,)]
                cursor.execute("select * from ref.people")  # more than one piece of rows
                assert sorted(cursor.fetchall()) == PEOPLE
                with pytest.raises(adbc.Error, match="nobody"):
                    cursor.execute("select nobody from ref.people")
            objects = connection.adbc_get_objects(depth="tables").read_all().to_pylist()
            found = {
                (catalog["catalog_name"], table["table_name"])
                for catalog in objects
                for schema in catalog["catalog_db_schemas"]
                for table in schema["db_schema_tables"]
            }
            assert {("ref", "people"), ("session", "old")} <= found
            schema = connection.adbc_get_table_schema(
                "people", catalog_filter="ref", db_schema_filter="main"
            )
            assert schema.names == ["id", "age", "name"]
        with pytest.raises(adbc.Error, match=r"(?i)token|unauthenticated"):
            _ask_without_a_token(door.url)


def _ask_without_a_token(url: str) -> None:
    with adbc.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("select 1")


def test_a_door_to_a_federation_wants_a_token(
    remote: RemoteSession, running: Running, tmp_path: Path
):
    with pytest.raises(ub.PlanError, match="would ask the federation 'north' as ann"):
        remote.serve(port=0)
    (tmp_path / "ann").write_text(running.token())
    settings = Settings(coordinator=running.url, token=f"file:{tmp_path}/ann")
    with pytest.raises(ub.PlanError, match="would ask the federation 'north' as ann"):
        serve(settings, [], [], config=None, grace=0.0, port=0, token=None)
