"""The platform `python`, as the optimizer and the executor see it."""

from __future__ import annotations

import platform as interpreter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from umbel.plan.operators import DoWhile, Fit, Operator, Repeat, WithModel, Write, is_signed
from umbel.plan.sources import FileSource, MemorySource
from umbel.platforms.base import ARROW, PYTHON, CompiledStage, Conversion, Stage
from umbel.platforms.costs import CostProfile, Linear
from umbel.platforms.python.arrow import arrow_to_python, python_to_arrow
from umbel.platforms.python.columnar import missing
from umbel.platforms.refusal import LEARNING, refuse_class, refuse_source

#: Seconds of a conversion; measured on the machine that costs.toml names.
_TO_PYTHON = Linear(fixed=2e-5, per_row=3e-7, per_byte=2e-8)
_TO_ARROW = Linear(fixed=2e-5, per_row=6e-7, per_byte=6e-8)


class PythonPlatform:
    """Runs every operator in this process, on one thread, with plain Python values."""

    evaluates_as_written: bool = True

    def __init__(self, name: str = "python") -> None:
        self._name = name

    @property
    def name(self) -> str:
        """Unique in a session; what `.on(...)` names."""
        return self._name

    @property
    def engine(self) -> str:
        """The engine's name."""
        return "python"

    @property
    def version(self) -> str:
        """The version of the Python interpreter."""
        return interpreter.python_version()

    @cached_property
    def costs(self) -> CostProfile:
        """The cost profile shipped with the engine."""
        return CostProfile.load(Path(__file__).parent / "costs.toml")

    @property
    def reads(self) -> Sequence[str]:
        """Channels that a stage can take as input."""
        return (PYTHON, ARROW)

    @property
    def writes(self) -> Sequence[str]:
        """Channels in which a stage can give its output."""
        return (PYTHON, ARROW)

    @property
    def conversions(self) -> Sequence[Conversion]:
        """From Arrow to Python values and back."""
        return (
            Conversion(ARROW, PYTHON, _TO_PYTHON, arrow_to_python),
            Conversion(PYTHON, ARROW, _TO_ARROW, python_to_arrow),
        )

    def refuse(self, operator: Operator) -> str | None:
        """Say why an operator cannot run here; None if it can."""
        if isinstance(operator, Repeat | DoWhile):
            return "the executor itself runs loops, round by round"
        if isinstance(operator, Write):
            return "the executor itself writes files"
        if isinstance(operator, Fit | WithModel):
            return refuse_class(operator)
        reason = refuse_source(operator, self.name, (FileSource, MemorySource))
        if reason is not None:
            return reason
        if is_signed(operator) and operator.function.code is None:
            return "signed code runs at sites, in processes of its own"
        from umbel.platforms.python.compile import BUILDERS

        if type(operator) not in BUILDERS:
            return f"it has no implementation of {operator.name}"
        return missing() if isinstance(operator, LEARNING) else None

    def started(self) -> bool:
        """The interpreter is always up."""
        return True

    def compile(self, stage: Stage) -> CompiledStage:
        """Translate a stage."""
        from umbel.platforms.python.compile import PythonStage

        return PythonStage(stage)
