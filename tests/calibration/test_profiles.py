"""The file of measured profiles: what is written is read, and what does not hold is left aside."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest

import umbel as ub
from umbel import col
from umbel.platforms.calibrated import (
    Calibrated,
    Calibration,
    CalibrationWarning,
    calibration_path,
    load_calibration,
    read_calibration,
    this_machine,
    write_calibration,
)
from umbel.platforms.costs import CostProfile, Linear
from umbel.platforms.registry import Registry


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that sessions of the test read."""
    file = tmp_path / "below" / "costs.toml"
    monkeypatch.setenv("UMBEL_COSTS", str(file))
    return file


def calibration(**profiles: CostProfile) -> Calibration:
    """Profiles of the engines that are here."""
    here = {p.name: p for p in Registry.discover()}
    return Calibration(
        this_machine(),
        "2026-11-22",
        {
            name: Calibrated(here[name].engine, here[name].version, profile, (0.1, 0.4))
            for name, profile in profiles.items()
        },
    )


def shipped(name: str) -> CostProfile:
    return Registry.discover()[name].costs


@pytest.mark.filterwarnings("ignore:UMBEL_COSTS names")
def test_what_is_written_is_read(path: Path) -> None:
    profile = CostProfile(
        start=0.25,
        stage=0.125,
        expression=2e-8,
        operators={"Scan.parquet": Linear(per_byte=1e-9), "Limit": Linear()},
        read={"arrow": Linear(fixed=0.5, per_row=1e-8)},
        conversions={"arrow -> duckdb": Linear(per_byte=3e-9)},
        functions={"lower": 1e-7},
    )
    made = calibration(duckdb=profile)
    write_calibration(path, made)
    assert load_calibration(path) == made
    assert [p.name for p in path.parent.iterdir()] == ["costs.toml"]
    registry = Registry.discover()
    costs = registry.costs(registry["duckdb"])
    assert costs.stage == 0.125
    assert costs.operators["Limit"] == Linear()  # an entry wins as a whole
    assert costs.operators["Sort"] == shipped("duckdb").operators["Sort"]
    assert registry.costs(registry["polars"]) == shipped("polars")
    (kept,) = [c for c in registry.conversions if (c.source, c.target) == ("arrow", "duckdb")]
    assert kept.cost == Linear(per_byte=3e-9)


@pytest.mark.filterwarnings("ignore:UMBEL_COSTS names")
def test_a_file_of_an_engine_takes_the_costs_of_the_engine(path: Path, tmp_path: Path) -> None:
    own = {"duckdb": Linear(fixed=0.25)}
    write_calibration(path, calibration(duckdb=CostProfile(stage=0.5, write=own)))
    registry = Registry.discover()
    shop = registry.attach("shop", f"duckdb:///{tmp_path}/shop.duckdb")
    assert registry.costs(shop).stage == 0.5
    assert registry.costs(shop).write["shop"] == Linear(fixed=0.25)  # its own channel's name
    registry.detach("shop")
    assert all(edge.source != "shop" for edge in registry.conversions)


@pytest.mark.filterwarnings("ignore:UMBEL_COSTS names")
def test_sessions_place_by_it(path: Path) -> None:
    """With figures by which one engine takes hours, the other one is chosen."""
    slow = {"duckdb": "polars", "polars": "duckdb"}
    data = {"g": [i % 7 for i in range(1000)], "x": list(range(1000))}
    for dear, chosen in slow.items():
        costs = shipped(dear)
        hours = {name: replace(c, fixed=3600.0) for name, c in costs.operators.items()}
        write_calibration(path, calibration(**{dear: replace(costs, operators=hours)}))
        session = ub.connect()
        frame = session.from_dict(data).group_by("g").agg(col("x").sum())
        frame = frame.filter(col("x") > 10)
        registry = session.platforms().only("duckdb", "polars")
        result = ub.Session(platforms=registry, progress=False).run(frame.plan)
        assert result.run.plan.platforms == [chosen]
        assert result.data.num_rows == 7


def test_what_does_not_hold_is_left_aside_with_a_warning(path: Path) -> None:
    path.parent.mkdir()
    good = calibration_text(path)
    spoiled = {
        "not there": (None, "is not there"),
        "no TOML": ("form = [", "cannot be used"),
        "of another form": (good.replace("form = 1", "form = 2"), "its form is 2"),
        "of another machine": (good.replace("cores = ", "cores = 9"), "another machine"),
        "below zero": (good.replace("stage = 0.5", "stage = -0.5"), "stage is -0.5"),
        "a text": (good.replace("stage = 0.5", 'stage = "x"'), "stage is 'x'"),
        "not finite": (good.replace("stage = 0.5", "stage = inf"), "stage is inf"),
        "an unknown term": (good.replace("per_row", "per_cow"), "has no term 'per_cow'"),
        "an unknown section": (good.replace(".operators]", ".operator]"), "is no section"),
        "no engine": (good.replace('engine = "duckdb"', ""), "engine is missing"),
        "no machine": (good.replace("[machine]", "[machines]"), "'machine' is missing"),
        "another version": (good.replace('\nversion = "', '\nversion = "0.'), "measured with version"),
        "no text": ("\x00\xff", "cannot be used"),
    }  # fmt: skip
    for what, (text, why) in spoiled.items():
        path.unlink(missing_ok=True)
        if text is not None:
            assert text != good, what
            path.write_bytes(text.encode("latin-1"))
        with pytest.warns(CalibrationWarning) as caught:
            registry = Registry.discover()
        (warning,) = caught
        assert why in str(warning.message), what
        assert "`umbel calibrate`" in str(warning.message), what
        assert registry.costs(registry["duckdb"]) == shipped_costs(registry), what
        session = ub.Session(platforms=registry, progress=False)
        assert session.from_dict({"a": [1, 2]}).count() == 2


def calibration_text(path: Path) -> str:
    profile = CostProfile(stage=0.5, operators={"Sort": Linear(per_row=1e-7)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationWarning)
        write_calibration(path, calibration(duckdb=profile))
    return path.read_text()


def shipped_costs(registry: Registry) -> CostProfile:
    return registry["duckdb"].costs


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UMBEL_COSTS", str(tmp_path / "a.toml"))
    assert calibration_path() == tmp_path / "a.toml"
    monkeypatch.setenv("UMBEL_COSTS", "")
    assert calibration_path() is None
    assert read_calibration() == Calibration()
    monkeypatch.delenv("UMBEL_COSTS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert calibration_path() == tmp_path / "umbel" / "costs.toml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert calibration_path() == tmp_path / ".config" / "umbel" / "costs.toml"
    assert read_calibration() == Calibration()  # no file, and nobody named one


def test_a_file_that_cannot_be_written_leaves_the_old_one(path: Path) -> None:
    text = calibration_text(path)
    broken = calibration(duckdb=CostProfile(stage=None))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        write_calibration(path, broken)
    assert path.read_text() == text
    assert [p.name for p in path.parent.iterdir()] == ["costs.toml"]
