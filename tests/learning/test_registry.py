"""What is kept comes back the same, all of it or nothing, and what was changed is refused."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

import umbel as ub
from tests.learning.sites import LOGISTIC, PEOPLE, federation
from umbel.cli.models_app import models_commands
from umbel.learning.cards import card
from umbel.learning.lineage import Lineage, versions_of
from umbel.learning.registry import Registry, RegistryError, Version
from umbel.learning.state import from_bytes
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.operators import Scan, Union
from umbel.plan.sources import DeltaSource, IcebergSource, RelationSource

FEATURES: list[Any] = [
    ub.learn.numeric("age", scale=True),
    "ward",
    ub.learn.binned("id", edges=[100, 200]),
]


@pytest.fixture(scope="module")
def session() -> ub.Session:
    return ub.connect()


@pytest.fixture(scope="module")
def model(session: ub.Session) -> ub.learn.Model:
    df = session.from_arrow(PEOPLE)
    found: ub.learn.Model = ub.learn.fit(df, features=FEATURES, label="ill", model=LOGISTIC)
    return found


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def test_a_model_comes_back_as_it_was(
    session: ub.Session, model: ub.learn.Model, registry: Registry
) -> None:
    df = session.from_arrow(PEOPLE)
    saved = registry.save(model, "risk", metrics=model.evaluate(df), notes="First.")
    assert (saved.name, saved.number, saved.rows, saved.notes) == ("risk", 1, 900, "First.")
    assert saved.metrics["accuracy"] == model.evaluate(df)["accuracy"]
    back = registry.load("risk", session)
    assert back.design == model.design
    assert back.state.tobytes() == model.state.tobytes()
    assert back.predict(df).collect().equals(model.predict(df).collect())
    assert back.coefficients().equals(model.coefficients())
    assert back.rounds.equals(model.rounds)
    assert back.lineage == model.lineage
    assert model.lineage is not None
    assert len(model.lineage.plan) == 32
    assert model.lineage.parts == ("here",)


def test_versions_are_counted_and_promoted(
    session: ub.Session, model: ub.learn.Model, registry: Registry
) -> None:
    for quality in (0.5, 0.75):
        registry.save(model, "risk", metrics={"accuracy": quality})
    registry.promote("risk", 1, "production")
    registry.promote("risk", 2, "staging")
    assert registry.version("risk", "production").number == 1
    registry.promote("risk", "staging", "production")
    assert [v.stages for v in registry.versions("risk")] == [(), ("staging", "production")]
    assert registry.compare("risk")["accuracy"].to_pylist() == [0.5, 0.75]
    with pytest.raises(PlanError, match="risk 2 is in staging and production"):
        registry.delete("risk", 2)
    registry.delete("risk", 1)
    assert registry.save(model, "risk").number == 3
    assert registry.names() == ["risk"]


def test_lineage_says_what_sites_were_asked_and_under_which_rules(registry: Registry) -> None:
    pytest.importorskip("dp_accounting")
    people = federation().table("people")
    private = ub.learn.Private(4.0, ub.learn.Budget(50.0, 1e-5), 2, clip=ub.learn.FixedClip(1.0))
    model = ub.learn.fit(
        people, features=["age"], label="ill", model=LOGISTIC, strategy=private, rounds=2,
        without=["west"],
    )  # fmt: skip
    saved = registry.save(model, "risk")
    assert saved.lineage is not None
    assert saved.lineage.parts == ("north", "south")
    assert saved.lineage.epsilon is not None
    assert 0 < saved.lineage.epsilon <= 50
    shown = card(saved, registry.load("risk", people.session))
    assert "- parts: north, south" in shown
    assert "at delta 1e-05" in shown
    assert "people" in saved.lineage.policy


def test_lineage_tells_the_states_of_files(
    session: ub.Session, registry: Registry, tmp_path: Path
) -> None:
    file = tmp_path / "people.csv"

    def saved() -> Version:
        df = session.read_csv(str(file))
        model = ub.learn.fit(df, features=["x"], label="y", model=ub.learn.LinearRegression())
        return registry.save(model, "line")

    file.write_text("x,y\n0,1\n1,3\n2,5\n")
    first, same = saved().lineage, saved().lineage
    file.write_text("x,y\n0,1\n1,3\n2,5\n3,7\n")
    other = saved()
    assert first is not None
    assert same is not None
    assert other.lineage is not None
    assert first.plan == other.lineage.plan
    assert first.versions == same.versions != other.lineage.versions
    assert re.fullmatch(r"state [0-9a-f]{16}", other.lineage.versions[0])
    assert registry.version("line", 1).lineage == first
    asked = ["show", "line", "--folder", str(registry.folder)]
    shown = CliRunner().invoke(models_commands(), asked).output
    assert f"- reads: {other.lineage.sources[0]}, {other.lineage.versions[0]}\n" in shown
    # Of what was kept before there were versions nothing is said.
    about = registry.folder / "line" / "1" / "about.json"
    known = json.loads(about.read_bytes())
    assert known["lineage"].pop("versions")
    about.write_text(json.dumps(known))
    old = card(registry.version("line", 1), registry.load("line", session, 1))
    assert f"- reads: {first.sources[0]}\n" in old
    known["lineage"]["versions"] = ["one", "too many"]
    about.write_text(json.dumps(known))
    with pytest.raises(RegistryError, match="2 versions of 1 sources"):
        registry.version("line", 1)


def test_a_file_that_changes_while_a_model_is_trained_is_said(
    session: ub.Session, tmp_path: Path
) -> None:
    file = tmp_path / "people.csv"
    file.write_text("x,y\n0,0\n1,1\n2,0\n3,1\n")
    df = session.read_csv(str(file))
    model = ub.learn.fit(
        df, features=["x"], label="y", model=LOGISTIC,
        progress=lambda done: os.utime(file, ns=(done.number, done.number)),
    )  # fmt: skip
    assert model.lineage is not None
    assert model.lineage.reads == [f"{model.lineage.sources[0]}, changed during the training"]


def test_versions_of_lakehouses_are_theirs_and_of_others_unknown(session: ub.Session) -> None:
    schema = pa.schema({"x": pa.int64()})
    delta = DeltaSource(schema=schema, paths=("/lake/people",), version=3)
    iceberg = IcebergSource(schema=schema, paths=("/lake/m.json",), snapshot=71, name="db.people")
    there = RelationSource(schema=schema, platform="north", relation=("people",))
    scans = tuple(Scan(source=source) for source in (delta, iceberg, there))
    found = versions_of(Union(members=scans))
    assert found == {
        "delta /lake/people version 3": "version 3",
        "iceberg db.people snapshot 71": "snapshot 71",
        "north.people": "",
    }
    lineage = Lineage("p", tuple(found), ("here",), "", versions=tuple(found.values()))
    assert lineage.reads == [*list(found)[:2], "north.people, of unknown version"]


def test_a_session_has_the_models_that_are_kept(
    session: ub.Session, model: ub.learn.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMBEL_MODELS", str(tmp_path))
    session.models.save(model, "risk")
    session.models.promote("risk", 1, "production")
    assert session.models.names() == Registry().names() == ["risk"]
    back = ub.connect().models.load("risk", which="production")
    assert back.state.tobytes() == model.state.tobytes()
    assert back.session is not session
    assert session.models.load("risk").session is session
    with pytest.raises(PlanError, match="'risk' needs a session"):
        Registry().load("risk")


@pytest.mark.parametrize(
    ("file", "data", "message"),
    [
        ("state.safetensors", b"cbuiltins\neval\n.", "the state of risk 1 was changed"),
        ("design.json", b"{}", "the design of risk 1 was changed"),
        ("about.json", b"{", "about.json' cannot be read"),
        ("about.json", b'{"format": 9}', "has format 9, not 1"),
        ("about.json", b"[]", "about.json' cannot be read"),
        ("state.safetensors", None, "risk 1 cannot be read"),
    ],
)
def test_what_was_changed_is_refused(
    session: ub.Session,
    model: ub.learn.Model,
    registry: Registry,
    file: str,
    data: bytes | None,
    message: str,
) -> None:
    registry.save(model, "risk")
    path = registry.folder / "risk" / "1" / file
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(RegistryError, match=message):
        registry.load("risk", session)


def test_a_kill_leaves_all_or_nothing(
    model: ub.learn.Model, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before the renaming there is no version, and nothing is left behind."""

    def killed(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        registry.save(model, "risk")
    monkeypatch.undo()
    assert list((registry.folder / "risk").iterdir()) == []
    assert registry.names() == []
    assert registry.save(model, "risk").number == 1


@pytest.mark.parametrize("name", ["../risk", "Risk", "", "a/b", ".new", "a" * 65])
def test_names_stay_inside_the_folder(model: ub.learn.Model, registry: Registry, name: str) -> None:
    with pytest.raises(PlanError, match="cannot be a model's name"):
        registry.save(model, name)
    with pytest.raises(UnknownNameError):
        registry.version(name)


def test_the_command(model: ub.learn.Model, registry: Registry, tmp_path: Path) -> None:
    registry.save(model, "risk", metrics={"accuracy": 0.75})
    registry.save(model, "risk", metrics={"accuracy": 0.5})

    def umbel(*arguments: str) -> str:
        done = CliRunner().invoke(
            models_commands(),
            [*arguments, "--folder", str(registry.folder)],
            catch_exceptions=False,
        )
        assert done.exit_code == 0
        return done.stdout

    assert umbel("promote", "risk", "1", "production") == "risk 1 is in production\n"
    listed = [json.loads(line) for line in umbel("list", "--json").splitlines()]
    assert [(row["version"], row["stages"]) for row in listed] == [(1, "production"), (2, "")]
    assert "LogisticRegression of ill" in umbel("list", "risk")
    assert "# risk, version 1, in production" in umbel("show", "risk", "production")
    assert "0.75" in umbel("compare", "risk")
    file = tmp_path / "risk.safetensors"
    assert umbel("export", "risk", str(file), "--version", "1") == f"{file}\n"
    tensors, notes = from_bytes(file.read_bytes())
    assert np.array_equal(tensors["state/coefficients"].ravel(), model.state)
    assert json.loads(notes["about"])["metrics"] == {"accuracy": 0.75}
    assert umbel("delete", "risk", "2") == "risk 2 is deleted\n"
    with pytest.raises(UnknownNameError, match="'7'"):
        umbel("delete", "risk", "7")
    with pytest.raises(UnknownNameError, match="'risky'"):
        umbel("show", "risky")
    with pytest.raises(UnknownNameError, match="'live'"):
        umbel("promote", "risk", "1", "live")


def test_a_models_classes_keep_their_type(session: ub.Session, registry: Registry) -> None:
    """Text, whole numbers and booleans alike."""
    table = pa.table({"x": range(40), "y": [i % 3 for i in range(40)], "b": [True, False] * 20})
    model = ub.learn.fit(
        session.from_arrow(table), features=["x", "b"], label="y", model=ub.learn.NaiveBayes()
    )
    registry.save(model, "kind")
    assert registry.load("kind", session).design == model.design
