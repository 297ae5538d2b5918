"""A session without progress display, and runs whose lifting is chosen by the test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import umbel as ub
from umbel.executor import Result
from umbel.executor import run as run_plan


@pytest.fixture
def session() -> ub.Session:
    return ub.connect(progress=False)


@pytest.fixture
def run(session: ub.Session) -> Callable[..., Result]:
    """Run a dataset or frame; `lifting` is what the optimizer would else choose by cost."""

    def run(handle: ub.Dataset | ub.DataFrame, **options: Any) -> Result:
        return run_plan(handle.plan, platforms=session.platforms(), progress=False, **options)

    return run
