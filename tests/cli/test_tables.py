"""`umbel tables` and `umbel config check`."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run


def configure(folder: Path) -> None:
    (folder / "lake").mkdir()
    (folder / "lake" / "orders.csv").write_text("id,name\n1,ann\n2,\n")
    (folder / "umbel.toml").write_text('[catalog.lake]\nurl = "lake"\n')


def test_tables_are_listed_and_described(umbel: Run, folder: Path) -> None:
    configure(folder)
    assert umbel("tables").stdout == "lake.orders (file)\n"
    assert umbel("tables", "lake").stdout == "lake.orders (file)\n"
    described = umbel("tables", "--describe", "lake.orders").stdout
    assert "id: int64" in described
    assert "name: string" in described
    done = umbel("sql", "select count(*) as n from lake.orders", "--format", "csv")
    assert done.stdout == "n\n2\n"


def test_what_is_wrong_is_one_block(umbel: Run, folder: Path) -> None:
    done = umbel("tables")
    assert done.returncode == 2
    assert "nothing is configured" in done.stderr
    configure(folder)
    assert "did you mean 'lake'?" in umbel("tables", "lak").stderr
    assert "lake.orders" in umbel("tables", "--describe", "lake.order").stderr


def test_a_configuration_is_checked(umbel: Run, folder: Path) -> None:
    configure(folder)
    done = umbel("config", "check", "umbel.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "catalog.lake: fine" in done.stdout
    (folder / "umbel.toml").write_text('[catalog.lake]\nurl = "lake"\nulr = 1\n')
    done = umbel("config", "check", "umbel.toml")
    assert done.returncode == 2
    assert "umbel.toml, line 3: unknown key catalog.lake.ulr" in done.stderr
