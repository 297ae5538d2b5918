"""Files whose fault lies beyond what is looked at when the plan is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import umbel as ub

#: Every engine that reads files, and the optimizer's choice.
ENGINES = ["python", "polars", "duckdb", None]

#: Rows of the long files, and the row that is at fault: beyond the first MiB, from which the types
#: of columns are found.
ROWS, WRONG = 1_200, 1_151

PADDING = "x" * 1000

Expect = Callable[..., ub.UmbelError]


@pytest.fixture
def session() -> ub.Session:
    return ub.connect(progress=False)


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test works in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def raised(work: Callable[[], object], kind: type[ub.UmbelError]) -> ub.UmbelError:
    """Do what must fail; give the error, which says what to do and shows no engine's trace."""
    with pytest.raises(ub.UmbelError) as caught:
        work()
    error = caught.value
    assert isinstance(error, kind), f"{type(error).__name__}: {error}"
    assert error.hint, f"nothing says what to do: {error}"
    for noise in ("Traceback", "Stack", "0x0000", "pyo3", "site-packages"):
        assert noise not in str(error)
    assert len(error.message) < 1000
    return error


def on(handle: ub.DataFrame, engine: str | None) -> ub.DataFrame:
    return handle if engine is None else handle.on(engine)
