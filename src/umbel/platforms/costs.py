"""What an engine's work costs, as data: linear functions that each engine's folder ships.

Seconds are those of the machine that `costs.toml` names; a calibration replaces them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from umbel.plan.errors import PlanError


@dataclass(frozen=True)
class Linear:
    """Seconds = fixed + per_row * rows + per_byte * bytes.

    >>> Linear(fixed=0.5, per_row=1e-6)(rows=1_000_000, size=0)
    1.5
    """

    fixed: float = 0.0
    per_row: float = 0.0
    per_byte: float = 0.0

    def __call__(self, rows: float, size: float) -> float:
        return self.fixed + self.per_row * rows + self.per_byte * size

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Linear:
        """Read from a table of a TOML file."""
        return cls(**{key: float(value) for key, value in data.items()})


@dataclass(frozen=True)
class Price:
    """What a platform's owner pays for it.

    Attributes:
        per_hour: dollars for each hour that the platform works.
        per_tb_scanned: dollars for each 10¹² bytes that it reads from its sources.

    >>> Price(per_hour=3.6)(seconds=2.0)
    0.002
    """

    per_hour: float = 0.0
    per_tb_scanned: float = 0.0

    def __post_init__(self) -> None:
        for name in ("per_hour", "per_tb_scanned"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise PlanError(f"a price {name} cannot be {value!r}", hint="it is in dollars")

    def __call__(self, seconds: float = 0.0, scanned: float = 0.0) -> float:
        """Dollars for work of some seconds that reads some bytes from sources."""
        return self.per_hour * seconds / 3600 + self.per_tb_scanned * scanned / 1e12


@dataclass(frozen=True)
class CostProfile:
    """What one engine's work costs in seconds.

    Attributes:
        start: importing and starting the engine, once.
        stage: compiling and launching one stage.
        operators: per operator name, over the rows and bytes of its inputs (of its output for
            sources, under the name `Scan.<kind>`).
        output: what an operator's output adds, over its rows and bytes, by operator name.
        read: what taking a stage's input costs, by channel.
        write: what giving a stage's output costs, by channel.
        expression: seconds per row for each function call or cast in an expression.
        functions: the same for functions that cost more or less than that.
        price: what the machine costs, unless the platform's own configuration says otherwise.
    """

    start: float = 0.0
    stage: float = 0.0
    operators: Mapping[str, Linear] = field(default_factory=dict)
    output: Mapping[str, Linear] = field(default_factory=dict)
    read: Mapping[str, Linear] = field(default_factory=dict)
    write: Mapping[str, Linear] = field(default_factory=dict)
    expression: float = 0.0
    functions: Mapping[str, float] = field(default_factory=dict)
    price: Price = Price()

    @classmethod
    def load(cls, path: Path) -> CostProfile:
        """Read a `costs.toml`."""
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(
            start=data["start"],
            stage=data["stage"],
            operators={k: Linear.of(v) for k, v in data["operators"].items()},
            output={k: Linear.of(v) for k, v in data.get("output", {}).items()},
            read={k: Linear.of(v) for k, v in data.get("read", {}).items()},
            write={k: Linear.of(v) for k, v in data.get("write", {}).items()},
            expression=data["expression"],
            functions=data.get("functions", {}),
            price=Price(**data.get("price", {})),
        )
