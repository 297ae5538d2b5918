"""What an engine's work costs, as data: linear functions that each engine's folder ships.

Seconds are those of the machine that `costs.toml` names; a calibration replaces them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from umbel.dataclass import dataclass
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
class Work:
    """What one operator has to do, as cost profiles see it.

    Attributes:
        operator: its name, or `Scan.<kind>`.
        rows, size: rows and bytes of its inputs; of what is read for sources.
        given_rows, given_size: those of its output.
        functions: the functions that it calls for each row of its inputs, casts included.
    """

    operator: str
    rows: float
    size: float
    given_rows: float
    given_size: float
    functions: Sequence[str] = ()


#: A figure of a cost profile: the section, the entry and the term that it stands for; sections of
#: one figure, such as `stage`, have no entry, and figures per row no term.
Figure = tuple[str, str, str]


def linear_terms(
    section: str, entry: str, rows: float, size: float
) -> Iterator[tuple[Figure, float]]:
    """Yield what each figure of a linear function is multiplied with."""
    yield (section, entry, "fixed"), 1.0
    yield (section, entry, "per_row"), rows
    yield (section, entry, "per_byte"), size


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
        operators: per operator name, over the rows and bytes of its inputs (of what is read for
            sources, under the name `Scan.<kind>`).
        output: what an operator's output adds, over its rows and bytes, by operator name.
        read: what taking a stage's input costs, by channel.
        write: what giving a stage's output costs, by channel.
        expression: seconds per row for each function call or cast in an expression.
        functions: the same for functions that cost more or less than that.
        price: what the machine costs, unless the platform's own configuration says otherwise.
        conversions: what the platform's conversions cost, by `<channel> -> <channel>`, where that
            is not what they say themselves. A platform's own channel has its engine's name here.
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
    conversions: Mapping[str, Linear] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> CostProfile:
        """Read a `costs.toml`; one that ships with an engine is asked for by every session."""
        return _load(path, path.stat().st_mtime_ns)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> CostProfile:
        """Read from the tables of a TOML file."""
        linear = {
            section: {k: Linear.of(v) for k, v in data.get(section, {}).items()}
            for section in LINEAR_SECTIONS
        }
        return cls(
            start=data["start"],
            stage=data["stage"],
            expression=data["expression"],
            functions=data.get("functions", {}),
            price=Price(**data.get("price", {})),
            **linear,
        )

    def seconds(self, work: Work) -> float:
        """What an operator's work costs.

        >>> profile = CostProfile(operators={"Filter": Linear(per_row=2.0)}, expression=0.5)
        >>> profile.seconds(Work("Filter", 10, 80, 5, 40, functions=("less",)))
        25.0
        """
        seconds = 0.0
        if work.operator in self.operators:
            seconds += self.operators[work.operator](work.rows, work.size)
        if work.operator in self.output:
            seconds += self.output[work.operator](work.given_rows, work.given_size)
        for function in work.functions:
            seconds += work.rows * self.functions.get(function, self.expression)
        return seconds

    def terms(self, work: Work) -> Iterator[tuple[Figure, float]]:
        """Yield what each figure is multiplied with to give `seconds`."""
        yield from linear_terms("operators", work.operator, work.rows, work.size)
        if work.operator in self.output:
            yield from linear_terms("output", work.operator, work.given_rows, work.given_size)
        for function in work.functions:
            own = function in self.functions
            yield (("functions", function, "") if own else ("expression", "", "")), work.rows

    def figures(self) -> dict[Figure, float]:
        """All figures of the profile, but for the prices.

        >>> CostProfile(stage=0.5, operators={"Sort": Linear(per_row=2.0)}).figures()
        {('stage', '', ''): 0.5, ('operators', 'Sort', 'per_row'): 2.0}
        """
        found: dict[Figure, float] = {
            (name, "", ""): getattr(self, name) for name in ("start", "stage", "expression")
        }
        for function, seconds in self.functions.items():
            found["functions", function, ""] = seconds
        for section in LINEAR_SECTIONS:
            for entry, linear in getattr(self, section).items():
                for term in ("fixed", "per_row", "per_byte"):
                    found[section, entry, term] = getattr(linear, term)
        return {figure: value for figure, value in found.items() if value}

    def over(self, shipped: CostProfile) -> CostProfile:
        """This profile, with the entries that only another has; prices are the other's.

        >>> measured = CostProfile(stage=1.0, operators={"Sort": Linear(per_row=1.0)})
        >>> shipped = CostProfile(operators={"Sort": Linear(fixed=9.0), "Join": Linear(fixed=2.0)})
        >>> measured.over(shipped).operators["Sort"], measured.over(shipped).operators["Join"].fixed
        (Linear(fixed=0.0, per_row=1.0, per_byte=0.0), 2.0)
        """
        merged: dict[str, Any] = {
            section: {**getattr(shipped, section), **getattr(self, section)}
            for section in (*LINEAR_SECTIONS, "functions")
        }
        return replace(self, price=shipped.price, **merged)

    def with_figures(self, figures: Mapping[Figure, float]) -> CostProfile:
        """The profile with some figures replaced, or added."""
        changed: dict[str, Any] = {"functions": dict(self.functions)}
        for (section, entry, term), value in figures.items():
            if section == "functions":
                changed[section][entry] = value
            elif not entry:
                changed[section] = value
            else:
                entries = changed.setdefault(section, dict(getattr(self, section)))
                entries[entry] = replace(entries.get(entry, Linear()), **{term: value})
        return replace(self, **changed)


#: The sections of a profile whose entries are linear functions.
LINEAR_SECTIONS = ("operators", "output", "read", "write", "conversions")


@lru_cache(maxsize=64)
def _load(path: Path, changed: int) -> CostProfile:
    return CostProfile.of(tomllib.loads(path.read_text(encoding="utf-8")))
