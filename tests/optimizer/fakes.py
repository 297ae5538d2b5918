"""Platforms that cost what a test says and run nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from umbel.plan.operators import Element, Operator
from umbel.platforms.base import ARROW, PYTHON, CompiledStage, Conversion, Stage
from umbel.platforms.costs import CostProfile, Linear


def _keep(data: Any, schema: pa.Schema, element: Element) -> Any:
    return data


def conversion(source: str, target: str, seconds: float) -> Conversion:
    """An edge of fixed cost."""
    return Conversion(source, target, Linear(fixed=seconds), _keep)


@dataclass(frozen=True)
class FakePlatform:
    """A platform for planning only."""

    name: str
    costs: CostProfile = field(default_factory=CostProfile)
    reads: Sequence[str] = (ARROW,)
    writes: Sequence[str] = (ARROW,)
    conversions: Sequence[Conversion] = ()
    refuses: frozenset[str] = frozenset()
    up: bool = True
    version: str = "0"

    @property
    def engine(self) -> str:
        return self.name

    def refuse(self, operator: Operator) -> str | None:
        return f"no {operator.name} here" if operator.name in self.refuses else None

    def started(self) -> bool:
        return self.up

    def compile(self, stage: Stage) -> CompiledStage:
        raise AssertionError("a fake platform runs nothing")


def profile(start: float = 0.0, stage: float = 0.0, **fixed: float) -> CostProfile:
    """A profile with a fixed cost per operator name."""
    return CostProfile(
        start=start,
        stage=stage,
        operators={name: Linear(fixed=seconds) for name, seconds in fixed.items()},
    )


__all__ = ["ARROW", "PYTHON", "FakePlatform", "conversion", "profile"]
